//! The daemon's own log, on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::Config;

/// Begins to log.
pub(crate) fn init(config: &Config) -> anyhow::Result<()> {
    let level = match (config.debug, config.log_level.as_str()) {
        (true, "trace") => "trace",
        (true, _) => "debug",
        (false, "fatal") => "error",
        (false, level) => level,
    };
    // What is beneath us says enough at `info`.
    let filter = EnvFilter::try_new(format!(
        "info,ferry_daemon={level},ferry_engine={level},ferry_store={level},ferry_network={level}"
    ))?;
    let filter =
        if matches!(level, "warn" | "error") { EnvFilter::try_new(level)? } else { filter };
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let started = if config.log_json {
        builder.json().try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
