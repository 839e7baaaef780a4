//! The programs as they are released.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::tools::{self, run, stream};

/// Builds every program, unless `FERRY_BIN_DIR` names a folder of built ones; gives the folder.
pub(crate) fn ensure_built() -> Result<PathBuf> {
    std::env::var_os("FERRY_BIN_DIR").map_or_else(build, |folder| Ok(folder.into()))
}

/// Builds every program and gives the folder they are in.
///
/// The supervisor and the runtime are static: they are executed from memory and in foreign roots,
/// and a static program starts in a third of the time.
pub(crate) fn build() -> Result<PathBuf> {
    let target = tools::target();
    let triple = host_triple()?;
    let facts = facts();
    stream(
        tools::cargo()
            .args(["build", "--release", "--locked", "-p", "ferry-cli", "-p", "ferry-daemon"])
            .envs(facts.iter().map(|(name, value)| (name, value))),
    )?;
    stream(
        tools::cargo()
            .args(["build", "--profile", "tiny", "--locked", "--target", &triple])
            .args(["-p", "ferry-supervisor", "-p", "ferry-runtime"])
            .env("RUSTFLAGS", "-C target-feature=+crt-static"),
    )?;
    let dist = target.join("dist");
    fs::create_dir_all(&dist).with_context(|| format!("making {}", dist.display()))?;
    let release = target.join("release");
    let tiny = target.join(triple).join("tiny");
    for (folder, program) in [
        (&release, "ferry"),
        (&release, "ferryd"),
        (&tiny, "ferry-supervisor"),
        (&tiny, "ferry-runtime"),
    ] {
        publish(&folder.join(program), &dist.join(program))?;
    }
    Ok(dist)
}

/// What the programs say of their origin: the commit and its time, where there is a checkout.
fn facts() -> Vec<(&'static str, String)> {
    let ask = |name, format: &str| {
        let mut git = tools::command("git");
        git.current_dir(tools::root()).args(["log", "-1", "--date=iso-strict", format]);
        run(&mut git).ok().map(|answer| (name, answer.trim().to_owned()))
    };
    [ask("FERRY_REVISION", "--format=%h"), ask("FERRY_BUILT", "--format=%cd")]
        .into_iter()
        .flatten()
        .collect()
}

/// Copies beside the old program and renames over it, for the old one may be running.
fn publish(from: &Path, to: &Path) -> Result<()> {
    let half = to.with_extension("new");
    fs::copy(from, &half).with_context(|| format!("copying {}", from.display()))?;
    fs::rename(&half, to).with_context(|| format!("publishing {}", to.display()))
}

fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = run(tools::command(rustc).arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(ToOwned::to_owned)
        .context("rustc -vV names its host")
}
