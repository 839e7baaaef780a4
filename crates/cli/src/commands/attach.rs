//! `attach`

use ferry_api::ContainerInspect;
use ferry_api::query::{ContainerAttachQuery, ContainerInspectQuery, ContainerWaitQuery};

use super::run::code;
use crate::command_line::Matches;
use crate::program::Cli;
use crate::report::Failure;
use crate::streams::keys::DetachKeys;
use crate::streams::signals::{Forwarding, Resized, follow_size, resize_to};
use crate::streams::{self, End, Wiring};
use crate::terminal;

/// `attach`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let name = matches.args.first().map_or("", String::as_str);
    let container = check_state(cli, name).await?;
    let tty = container.config.tty;
    let wants_stdin = !matches.flag("no-stdin");
    terminal::check(wants_stdin, tty)?;
    let keys = detach_keys(cli, matches);
    let wiring = Wiring {
        stdin: wants_stdin && container.config.open_stdin,
        tty,
        detach_keys: DetachKeys::parse(keys.as_deref().unwrap_or_default())
            .map_err(Failure::plain)?,
    };
    let waiting = cli.client.container_wait(name, &ContainerWaitQuery { condition: None }).await?;
    let forwarding = (matches.flag_or_true("sig-proxy") && !tty).then(Forwarding::start);
    let query = ContainerAttachQuery {
        detach_keys: keys,
        logs: false,
        stream: true,
        stdin: wiring.stdin,
        stdout: true,
        stderr: true,
    };
    let hijacked = cli.client.container_attach(name, &query).await?;
    let joined = streams::join(hijacked, wiring)?;
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
                redraw(cli, &whose).await;
                follow_size(&cli.client, &whose).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::join!(forward, size);
    };
    let follow = async {
        match joined.end().await {
            End::Detached => return Err(Failure::plain("read escape sequence")),
            End::Output(result) => result?,
        }
        let end = waiting.end().await?;
        if let Some(error) = end.error.filter(|error| !error.message.is_empty()) {
            return Err(Failure::plain(error.message));
        }
        match code(end.status_code) {
            0 => Ok(()),
            code => Err(Failure::silent(code)),
        }
    };
    tokio::select! {
        result = follow => result,
        () = beside => Ok(()),
    }
}

/// The detach keys of the command line, else of the configuration.
pub(super) fn detach_keys(cli: &Cli, matches: &Matches) -> Option<String> {
    let given = matches.value("detach-keys").filter(|keys| !keys.is_empty());
    given.or_else(|| cli.config.text("detachKeys")).map(str::to_owned)
}

async fn check_state(cli: &Cli, name: &str) -> Result<ContainerInspect, Failure> {
    let container = cli.client.container_inspect(name, &ContainerInspectQuery::default()).await?;
    let state = &container.state;
    let problem = if !state.running {
        "You cannot attach to a stopped container, start it first"
    } else if state.paused {
        "You cannot attach to a paused container, unpause it first"
    } else if state.restarting {
        "You cannot attach to a restarting container, wait until it is running"
    } else {
        return Ok(container);
    };
    Err(Failure::plain(problem))
}

/// Makes the program in the terminal draw itself anew: to another size and back.
async fn redraw(cli: &Cli, whose: &Resized) {
    if let Some((rows, columns)) = terminal::size() {
        let (rows, columns) = (u32::from(rows), u32::from(columns));
        drop(resize_to(&cli.client, whose, rows + 1, columns + 1).await);
    }
}
