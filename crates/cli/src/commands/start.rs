//! `start`

use ferry_api::query::{ContainerAttachQuery, ContainerInspectQuery, ContainerStartQuery};

use super::attach::detach_keys;
use super::run::{exit_status, wait};
use crate::command_line::Matches;
use crate::program::Cli;
use crate::report::{self, Failure};
use crate::streams::keys::DetachKeys;
use crate::streams::signals::{Forwarding, Resized, follow_size};
use crate::streams::{self, End, Wiring};
use crate::{console, terminal};

/// `start`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let attach = matches.flag("attach") || matches.flag("interactive");
    let query = start_query(matches);
    let has_checkpoint = query.checkpoint.is_some();
    if attach && matches.args.len() > 1 {
        return Err(Failure::plain("you cannot start and attach multiple containers at once"));
    }
    if has_checkpoint && matches.args.len() > 1 {
        return Err(Failure::plain("you cannot restore multiple containers at once"));
    }
    let name = matches.args.first().map_or("", String::as_str);
    if attach {
        return start_attached(cli, matches, name, &query).await;
    }
    let mut failed = Vec::new();
    for name in &matches.args {
        match cli.client.container_start(name, &query).await {
            Ok(_was_stopped) => console::line(name)?,
            Err(error) => {
                console::complain(&report::words(&error));
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::plain(format!("Error: failed to start containers: {}", failed.join(", "))))
}

fn start_query(matches: &Matches) -> ContainerStartQuery {
    let given =
        |name: &str| matches.value(name).filter(|value| !value.is_empty()).map(str::to_owned);
    ContainerStartQuery {
        detach_keys: None,
        checkpoint: given("checkpoint"),
        checkpoint_dir: given("checkpoint-dir"),
    }
}

async fn start_attached(
    cli: &Cli,
    matches: &Matches,
    name: &str,
    query: &ContainerStartQuery,
) -> Result<(), Failure> {
    let container = cli.client.container_inspect(name, &ContainerInspectQuery::default()).await?;
    let tty = container.config.tty;
    let keys = detach_keys(cli, matches);
    let wiring = Wiring {
        stdin: matches.flag("interactive") && container.config.open_stdin,
        tty,
        detach_keys: DetachKeys::parse(keys.as_deref().unwrap_or_default())
            .map_err(Failure::plain)?,
    };
    let forwarding = (!tty).then(Forwarding::start);
    let attach = ContainerAttachQuery {
        detach_keys: keys,
        logs: false,
        stream: true,
        stdin: wiring.stdin,
        stdout: true,
        stderr: true,
    };
    let hijacked = cli.client.container_attach(&container.id, &attach).await?;
    let joined = streams::join(hijacked, wiring)?;
    // Order: the wait is registered before the start, so that no end is missed.
    let pending = wait(cli, &container.id, container.host_config.auto_remove).await?;
    cli.client.container_start(&container.id, query).await?;
    let whose = Resized::Container(container.id.clone());
    let beside = async {
        let forward = async {
            match forwarding {
                Some(forwarding) => forwarding.run(&cli.client, &container.id).await,
                None => std::future::pending().await,
            }
        };
        let size = async {
            if tty && terminal::is_output() {
                follow_size(&cli.client, &whose).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::join!(forward, size);
    };
    let follow = async {
        match joined.end().await {
            End::Detached => return Ok(()),
            End::Output(result) => result?,
        }
        match exit_status(pending).await {
            0 => Ok(()),
            code => Err(Failure::silent(code)),
        }
    };
    tokio::select! {
        result = follow => result,
        () = beside => Ok(()),
    }
}
