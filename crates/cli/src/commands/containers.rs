//! The short commands: one request for each container that is named.

use ferry_api::ContainerInspect;
use ferry_api::query::{
    ContainerInspectQuery, ContainerKillQuery, ContainerRemoveQuery, ContainerStopQuery,
    ContainerTopQuery, ContainerWaitQuery,
};

use super::{all_or_failure, each};
use crate::command_line::Matches;
use crate::console;
use crate::format::{natural_key, tabs};
use crate::program::Cli;
use crate::report::{self, Failure};

/// `kill`
pub(super) async fn kill(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let signal = matches.value("signal").filter(|signal| !signal.is_empty()).map(str::to_owned);
    let query = ContainerKillQuery { signal };
    each(&matches.args, async |name| {
        cli.client.container_kill(name, &query).await?;
        Ok(name)
    })
    .await
}

fn stop_query(matches: &Matches) -> ContainerStopQuery {
    let signal = matches.value("signal").filter(|signal| !signal.is_empty()).map(str::to_owned);
    let timeout = matches.is_given("timeout").then(|| matches.int("timeout"));
    ContainerStopQuery { signal, timeout }
}

/// `stop`
pub(super) async fn stop(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let query = stop_query(matches);
    each(&matches.args, async |name| {
        cli.client.container_stop(name, &query).await?;
        Ok(name)
    })
    .await
}

/// `restart`
pub(super) async fn restart(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let query = stop_query(matches);
    each(&matches.args, async |name| {
        cli.client.container_restart(name, &query).await?;
        Ok(name)
    })
    .await
}

/// `pause`
pub(super) async fn pause(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    each(&matches.args, async |name| {
        cli.client.container_pause(name).await?;
        Ok(name)
    })
    .await
}

/// `unpause`
pub(super) async fn unpause(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    each(&matches.args, async |name| {
        cli.client.container_unpause(name).await?;
        Ok(name)
    })
    .await
}

/// `rm`
pub(super) async fn remove(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let query = ContainerRemoveQuery {
        volumes: matches.flag("volumes"),
        force: matches.flag("force"),
        link: matches.flag("link"),
    };
    each(&matches.args, async |name| {
        let trimmed = name.trim_matches('/');
        if trimmed.is_empty() {
            return Err(Failure::plain("container name cannot be empty"));
        }
        match cli.client.container_remove(trimmed, &query).await {
            Ok(()) => Ok(name),
            // Compat: with force it is no failure that there is none.
            Err(error) if query.force && error.is_not_found() => {
                console::complain(&report::words(&error));
                Ok("")
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// `rename`
pub(super) async fn rename(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let [old, new] = matches.args.as_slice() else { return Ok(()) };
    if old.trim().is_empty() || new.trim().is_empty() {
        return Err(Failure::plain("Error: Neither old nor new names may be empty"));
    }
    cli.client.container_rename(old.trim(), new.trim()).await.map_err(|error| {
        let words = report::words(&error);
        Failure::plain(format!("{words}\nError: failed to rename container named {old}"))
    })
}

/// `wait`
pub(super) async fn wait(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let query = ContainerWaitQuery { condition: None };
    let mut errors = Vec::new();
    for name in &matches.args {
        let ended = match cli.client.container_wait(name, &query).await {
            Ok(pending) => pending.end().await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(end) => console::line(&end.status_code.to_string())?,
            Err(error) => errors.push(report::words(&error)),
        }
    }
    all_or_failure(&errors)
}

/// `top`
pub(super) async fn top(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let Some((name, ps_args)) = matches.args.split_first() else { return Ok(()) };
    let ps_args = (!ps_args.is_empty()).then(|| ps_args.join(" "));
    let answer = cli.client.container_top(name, &ContainerTopQuery { ps_args }).await?;
    let mut text = String::new();
    for row in std::iter::once(&answer.titles).chain(&answer.processes) {
        text.push_str(&row.join("\t"));
        text.push('\n');
    }
    console::print(&tabs::align_from(&text, 20, 3))
}

/// `port`
pub(super) async fn port(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let Some((name, wanted)) = matches.args.split_first() else { return Ok(()) };
    let query = ContainerInspectQuery::default();
    let container: ContainerInspect = cli.client.container_inspect(name, &query).await?;
    let ports = container.network_settings.ports.unwrap_or_default();
    let address = |ip: &str, port: &str| {
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    let mut lines = Vec::new();
    if let Some(wanted) = wanted.first() {
        let (number, protocol) = match wanted.split_once('/') {
            Some((number, "")) => (number, "tcp"),
            Some(parts) => parts,
            None => (wanted.as_str(), "tcp"),
        };
        let is_port = number.parse::<u16>().is_ok();
        if !is_port {
            return Err(Failure::plain(format!(
                "Error: invalid port ({number}): strconv.ParseUint: parsing {number:?}: invalid syntax"
            )));
        }
        let bindings = ports.get(&format!("{number}/{protocol}")).cloned().flatten();
        let Some(bindings) = bindings.filter(|bindings| !bindings.is_empty()) else {
            return Err(Failure::plain(format!(
                "Error: No public port '{wanted}' published for {name}"
            )));
        };
        lines.extend(bindings.iter().map(|it| address(&it.host_ip, &it.host_port)));
    } else {
        for (port, bindings) in &ports {
            for binding in bindings.iter().flatten() {
                lines.push(format!("{port} -> {}", address(&binding.host_ip, &binding.host_port)));
            }
        }
    }
    lines.sort_by_cached_key(|line| natural_key(line));
    lines.iter().try_for_each(|line| console::line(line))
}
