//! An engine and a shell, to try things.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result};
use ferry_testkit::Env;
use ferry_testkit::env::programs;

use crate::{dist, install, tools};

/// Starts an engine on a scratch root and a shell in which `docker` is `ferry`.
pub(crate) fn play() -> Result<()> {
    tools::need_root("an engine")?;
    install::for_demo()?;
    dist::ensure_built()?;
    let env = Env::builder().own().without_leak_check().start();
    let bin = env.host_folder();
    let ferry = fs::canonicalize(programs().join("ferry")).context("finding ferry")?;
    for name in ["docker", "ferry"] {
        symlink(&ferry, bin.join(name)).with_context(|| format!("linking {name}"))?;
    }
    let old = std::env::var("PATH").unwrap_or_default();
    println!("engine {}; leave the shell and all of it is gone", env.host());
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let status = tools::command(shell)
        .env("DOCKER_HOST", env.host())
        .env("PATH", format!("{}:{old}", bin.display()))
        .status()
        .context("starting the shell")?;
    println!("the shell ended with {status}");
    Ok(())
}
