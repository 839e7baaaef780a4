//! What every commit must pass; needs no root and no network once things are built.

use anyhow::Result;

use crate::tools::{self, installed, stream};

/// Runs all checks and stops at the first that fails.
pub(crate) fn check() -> Result<()> {
    stream(tools::cargo().args(["fmt", "--all", "--check"]))?;
    stream(tools::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    tidy()?;
    stream(
        tools::cargo()
            .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    if installed("cargo-deny") {
        stream(tools::cargo().args(["deny", "--all-features", "check"]))?;
    } else {
        println!("cargo-deny is not installed: licences and advisories were not looked at");
    }
    if installed("cargo-nextest") {
        stream(tools::cargo().args(["nextest", "run", "--workspace", "--locked"]))
    } else {
        stream(tools::cargo().args(["test", "--workspace", "--locked", "--lib", "--bins"]))
    }
}

/// The rules of the house, which are tests of this program.
pub(crate) fn tidy() -> Result<()> {
    stream(tools::cargo().args(["test", "--quiet", "--locked", "-p", "xtask", "tidy"]))
}
