//! The tests, run and counted.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{dist, install, tools};

/// How many tests did what.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    /// Programs that ended badly without saying a number.
    broken: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.broken += other.broken;
    }
}

/// README's test command: installs, builds, runs everything, and counts.
pub(crate) fn test() -> Result<()> {
    tools::need_root("the whole suite")?;
    let docker = install::for_tests()?;
    let dist = dist::ensure_built()?;
    let mut tally = count(tools::cargo().args([
        "test",
        "--workspace",
        "--exclude",
        "ferry-testkit",
        "--locked",
        "--no-fail-fast",
    ]))?;
    tally += end_to_end(&dist, docker.as_deref(), &[])?;
    conclude(tally)
}

/// The end-to-end suite alone, on freshly built programs.
pub(crate) fn e2e(words: &[&str]) -> Result<()> {
    tools::need_root("the end-to-end suite")?;
    let docker = install::for_tests()?;
    let dist = dist::ensure_built()?;
    conclude(end_to_end(&dist, docker.as_deref(), words)?)
}

fn end_to_end(dist: &Path, docker: Option<&Path>, words: &[&str]) -> Result<Tally> {
    let mut cargo = tools::cargo();
    cargo.args(["test", "-p", "ferry-testkit", "--locked", "--no-fail-fast", "--"]).args(words);
    cargo.env("FERRY_BIN_DIR", dist);
    if let Some(docker) = docker {
        cargo.env("FERRY_DOCKER", docker);
    }
    count(&mut cargo)
}

pub(crate) fn conclude(tally: Tally) -> Result<()> {
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    ensure!(tally.broken == 0, "a test program ended without a result; see above");
    ensure!(tally.failed == 0, "{} tests failed", tally.failed);
    ensure!(tally.passed > 0, "no test was run");
    Ok(())
}

/// Runs `cargo test`, shows what it says, and adds up its results.
fn count(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let stdout = child.stdout.take().context("cargo's output is piped")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading cargo's output")?;
        println!("{line}");
        tally += result_of(&line);
    }
    let status = child.wait().context("waiting for cargo")?;
    if !status.success() && tally.failed == 0 {
        if tally.passed == 0 {
            bail!("the tests could not be run ({status})");
        }
        tally.broken += 1;
    }
    Ok(tally)
}

/// Reads `test result: ok. 3 passed; 0 failed; ...`.
pub(crate) fn result_of(line: &str) -> Tally {
    let Some(rest) = line.trim().strip_prefix("test result: ") else { return Tally::default() };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let before = |word: &str| {
        let at = words.iter().position(|candidate| candidate.trim_end_matches(';') == word);
        at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or_default()
    };
    Tally { passed: before("passed"), failed: before("failed"), broken: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out";
        let tally = result_of(line);
        assert_eq!((tally.passed, tally.failed), (12, 3));
        assert_eq!(result_of("test foo ... ok").passed, 0);
    }
}
