//! `run`: create, attach, wait, start, and end as the container ends.

pub(super) mod plan;

use ferry_api::query::{ContainerAttachQuery, ContainerStartQuery, ContainerWaitQuery};
use ferry_client::{ClientError, PendingWait};

use super::create::{create, make_plan, with_help};
use crate::command_line::Matches;
use crate::program::Cli;
use crate::report::Failure;
use crate::streams::keys::DetachKeys;
use crate::streams::signals::{Forwarding, Resized, follow_size};
use crate::streams::{self, End, Joined, Wiring};
use crate::{console, terminal};
use plan::RunPlan;

/// `run`
pub(super) async fn run(cli: &Cli, path: &str, matches: &Matches) -> Result<(), Failure> {
    let plan = make_plan(cli, path, matches)?;
    let config = &plan.request.config;
    if plan.detach && matches.is_given("attach") {
        return Err(Failure::plain(
            "conflicting options: cannot specify both --attach and --detach",
        ));
    }
    if !plan.detach {
        terminal::check(config.attach_stdin, config.tty)?;
    }
    let refused = |failure: Failure| {
        if failure.message.is_empty() {
            return failure;
        }
        Failure::new(exit_code(&failure.message), with_help(cli, path, &failure.message))
    };
    let id = create(cli, &plan).await.map_err(refused)?;
    let forwarding = (plan.sig_proxy && !plan.detach).then(Forwarding::start);
    let forward = async {
        match forwarding {
            Some(forwarding) => forwarding.run(&cli.client, &id).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = follow(cli, &plan, &id) => result.map_err(|end| match end {
            Ended::Exit(code) => Failure::silent(code),
            Ended::Refused(error) => refused(error.into()),
            Ended::Failed(failure) => failure,
        }),
        () = forward => Ok(()),
    }
}

/// The ends of a run that are not success.
enum Ended {
    /// The container's own exit code.
    Exit(u8),
    /// The engine refused to start it.
    Refused(ClientError),
    Failed(Failure),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

async fn follow(cli: &Cli, plan: &RunPlan, id: &str) -> Result<(), Ended> {
    let config = &plan.request.config;
    let is_attached = config.attach_stdin || config.attach_stdout || config.attach_stderr;
    if !config.attach_stdout && !config.attach_stderr {
        console::line(id)?;
    }
    let joined = if is_attached { Some(attach(cli, plan, id).await?) } else { None };
    // Order: the wait is registered before the start, so that no end is missed.
    let auto_remove = plan.request.host_config.as_ref().is_some_and(|host| host.auto_remove);
    let pending = if plan.detach { None } else { Some(wait(cli, id, auto_remove).await?) };
    let started = cli.client.container_start(id, &ContainerStartQuery::default()).await;
    if let Err(error) = started {
        if let Some(joined) = joined {
            // What the container wrote, if it came so far.
            drop(tokio::time::timeout(std::time::Duration::from_secs(1), joined.end()).await);
        }
        if auto_remove && let Some(pending) = pending {
            drop(tokio::time::timeout(std::time::Duration::from_secs(10), pending.end()).await);
        }
        return Err(error.into());
    }
    let has_terminal = is_attached && config.tty && terminal::is_output();
    let whose = Resized::Container(id.to_owned());
    let resizing = async {
        if has_terminal {
            follow_size(&cli.client, &whose).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = finish(joined, pending) => result,
        () = resizing => Ok(()),
    }
}

/// Waits for the end of the streams, then for that of the container.
async fn finish(joined: Option<Joined>, pending: Option<PendingWait>) -> Result<(), Ended> {
    if let Some(joined) = joined {
        match joined.end().await {
            End::Detached => return Ok(()),
            End::Output(result) => result.map_err(Failure::from)?,
        }
    }
    let Some(pending) = pending else { return Ok(()) };
    match exit_status(pending).await {
        0 => Ok(()),
        code => Err(Ended::Exit(code)),
    }
}

/// Joins our streams to those of the container that is about to start.
async fn attach(cli: &Cli, plan: &RunPlan, id: &str) -> Result<Joined, Ended> {
    let config = &plan.request.config;
    let keys = match &plan.detach_keys {
        Some(keys) => Some(keys.clone()),
        None => cli.config.text("detachKeys").map(str::to_owned),
    };
    let detach_keys =
        DetachKeys::parse(keys.as_deref().unwrap_or_default()).map_err(Failure::plain)?;
    let query = ContainerAttachQuery {
        detach_keys: keys,
        logs: false,
        stream: true,
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
    };
    let hijacked = cli.client.container_attach(id, &query).await?;
    let wiring = Wiring { stdin: config.attach_stdin, tty: config.tty, detach_keys };
    Ok(streams::join(hijacked, wiring).map_err(Failure::from)?)
}

/// Waits for the next end of a container, or for its removal when it removes itself.
pub(super) async fn wait(
    cli: &Cli,
    id: &str,
    auto_remove: bool,
) -> Result<PendingWait, ClientError> {
    let condition = if auto_remove { "removed" } else { "next-exit" };
    let query = ContainerWaitQuery { condition: Some(condition.to_owned()) };
    cli.client.container_wait(id, &query).await
}

/// The exit code that a wait ends with; 125 if it fails.
pub(super) async fn exit_status(pending: PendingWait) -> u8 {
    match pending.end().await {
        Ok(end) => {
            if let Some(error) = end.error.filter(|error| !error.message.is_empty()) {
                console::complain(&format!("Error waiting for container: {}", error.message));
                return 125;
            }
            code(end.status_code)
        }
        Err(error) => {
            console::complain(&format!("error waiting for container: {error}"));
            125
        }
    }
}

/// An exit code as the kernel keeps it: the lowest byte.
pub(super) fn code(status: i64) -> u8 {
    u8::try_from(status & 0xff).unwrap_or(125)
}

/// The exit code for what the engine said: 127 and 126 are those of a shell for a program that is
/// not there or not for us.
fn exit_code(message: &str) -> u8 {
    const NOT_THERE: [&str; 3] = [
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ];
    const NOT_OURS: [&str; 2] = ["permission denied", "is a directory"];
    if NOT_THERE.iter().any(|words| message.contains(words)) {
        127
    } else if NOT_OURS.iter().any(|words| message.contains(words)) {
        126
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_words_of_the_engine() {
        assert_eq!(exit_code("exec: \"x\": executable file not found in $PATH"), 127);
        assert_eq!(exit_code("stat /x: no such file or directory"), 127);
        assert_eq!(exit_code("exec: \"/etc\": is a directory"), 126);
        assert_eq!(exit_code("exec: \"/x\": permission denied"), 126);
        assert_eq!(exit_code("Conflict."), 125);
        assert_eq!((code(300), code(137), code(-1)), (44, 137, 255));
    }
}
