//! `exec`

use ferry_api::query::ContainerInspectQuery;
use ferry_api::{ExecCreateRequest, ExecStartRequest};

use super::attach::detach_keys;
use super::run::code;
use crate::command_line::Matches;
use crate::options::files;
use crate::program::Cli;
use crate::report::Failure;
use crate::streams::keys::DetachKeys;
use crate::streams::signals::{Resized, follow_size};
use crate::streams::{self, End, Wiring};
use crate::terminal;

/// `exec`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let Some((name, command)) = matches.args.split_first() else { return Ok(()) };
    let request = request(cli, matches, command)?;
    if !request.detach && request.attach_stdin && request.tty && !terminal::is_input() {
        // Compat: that there is no such container is told rather than that there is no terminal.
        cli.client.container_inspect(name, &ContainerInspectQuery::default()).await?;
        terminal::check(true, true)?;
    }
    let id = cli.client.exec_create(name, &request).await?;
    let start = ExecStartRequest {
        detach: request.detach,
        tty: request.tty,
        console_size: request.console_size,
    };
    if request.detach {
        return Ok(cli.client.exec_start_detached(&id, &start).await?);
    }
    let keys = DetachKeys::parse(&request.detach_keys).map_err(Failure::plain)?;
    let hijacked = cli.client.exec_start(&id, &start).await?;
    let wiring = Wiring { stdin: request.attach_stdin, tty: request.tty, detach_keys: keys };
    let joined = streams::join(hijacked, wiring)?;
    let has_terminal = request.tty && terminal::is_output();
    let whose = Resized::Exec(id.clone());
    let resizing = async {
        if has_terminal {
            follow_size(&cli.client, &whose).await;
        }
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = joined.end() => end,
        () = resizing => return Ok(()),
    };
    match end {
        End::Detached => return Err(Failure::plain("read escape sequence")),
        End::Output(result) => result?,
    }
    let status = cli.client.exec_inspect(&id).await?.exit_code.unwrap_or(0);
    match code(status) {
        0 => Ok(()),
        code => Err(Failure::silent(code)),
    }
}

fn request(cli: &Cli, matches: &Matches, command: &[String]) -> Result<ExecCreateRequest, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let files = matches.list("env-file");
    let env = files::key_values(&files, matches.list("env"), &variable).map_err(Failure::plain)?;
    let detach = matches.flag("detach");
    let tty = matches.flag("tty");
    let console_size = terminal::size()
        .filter(|_| tty)
        .map(|(rows, columns)| [u32::from(rows), u32::from(columns)]);
    Ok(ExecCreateRequest {
        user: matches.text("user").into(),
        privileged: matches.flag("privileged"),
        tty,
        console_size,
        attach_stdin: !detach && matches.flag("interactive"),
        attach_stderr: !detach,
        attach_stdout: !detach,
        detach,
        detach_keys: detach_keys(cli, matches).unwrap_or_default(),
        env: (!env.is_empty()).then_some(env),
        working_dir: matches.text("workdir").into(),
        cmd: Some(command.to_vec()),
    })
}
