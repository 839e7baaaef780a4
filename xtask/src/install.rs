//! What a fresh Debian lacks.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use ferry_testkit::command::find_program;

use crate::tools::{self, installed, run, stream};

/// What is needed: the program that shows it is there, and Debian's package of it.
const TESTING: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("cc", "gcc"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ps", "procps"),
    ("setsid", "util-linux"),
    ("tmux", "tmux"),
];

/// What the demonstration needs.
const SHOWING: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("cc", "gcc"),
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
];

/// What booting a guest needs.
const BOOTING: &[(&str, &str)] = &[("qemu-system-x86_64", "qemu-system-x86"), ("depmod", "kmod")];

/// Installs what the tests in a guest need; gives the `docker` client if there is one.
pub(crate) fn for_guest() -> Result<Option<PathBuf>> {
    packages(BOOTING)?;
    for_tests()
}

/// Installs what the tests need; gives the `docker` client if there is one.
pub(crate) fn for_tests() -> Result<Option<PathBuf>> {
    packages(TESTING)?;
    docker_client()
}

/// Installs what the demonstration needs.
pub(crate) fn for_demo() -> Result<()> {
    packages(SHOWING)
}

fn packages(needed: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(program, _)| !installed(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    tools::need_root(&format!("installing {}", missing.join(", ")))?;
    ensure!(installed("apt-get"), "this is no Debian; please install {}", missing.join(", "));
    stream(apt_get().args(["update", "-qq"]))?;
    stream(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing))
}

fn apt_get() -> std::process::Command {
    let mut command = tools::command("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The unmodified `docker` client: the one installed, else Debian's. Where the client has no package
/// of its own, only that program is taken out of the engine's, which is never installed.
fn docker_client() -> Result<Option<PathBuf>> {
    let folder = tools::target().join("tools");
    let kept = folder.join("usr/bin/docker");
    let known = std::env::var_os("FERRY_DOCKER").map(PathBuf::from);
    if let Some(found) = known.or_else(|| find_program("docker")).or(Some(kept.clone()))
        && found.exists()
    {
        return Ok(Some(found));
    }
    fs::create_dir_all(&folder).context("making the folder of tools")?;
    for package in ["docker-cli", "docker.io"] {
        if !has_candidate(package) {
            continue;
        }
        let half = folder.join("download");
        fs::create_dir_all(&half).context("making the download folder")?;
        run(apt_get()
            .args(["-o", "APT::Sandbox::User=root", "download", package])
            .current_dir(&half))?;
        for entry in fs::read_dir(&half).context("listing the download folder")? {
            let file = entry.context("listing the download folder")?.path();
            run(tools::command("dpkg-deb").arg("-x").arg(file).arg(&folder))?;
        }
        fs::remove_dir_all(&half).context("removing the download folder")?;
        if kept.exists() {
            return Ok(Some(kept));
        }
    }
    println!("no docker client can be had here: the tests use `ferry` alone");
    Ok(None)
}

fn has_candidate(package: &str) -> bool {
    let policy = run(tools::command("apt-cache").args(["policy", package]).env("LC_ALL", "C"));
    policy.is_ok_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
}
