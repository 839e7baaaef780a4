//! What an engine left behind, and its removal.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Signal, kill_process};

use crate::command::{Invocation, find_program, pid_of};
use crate::slot::Slot;
use crate::{observe, wait};

/// Processes by id and start, for ids are used again.
pub type Kin = BTreeSet<(u32, u64)>;

/// How many links an engine at rest keeps ready for the next containers.
pub const READY_LINKS: usize = 10;

/// What is left of containers while their engine runs and should have none.
#[must_use]
pub fn of_containers(slot: &Slot) -> Vec<String> {
    of_all_but(slot, READY_LINKS)
}

/// What is left, where so many links may be.
#[must_use]
pub fn of_all_but(slot: &Slot, links: usize) -> Vec<String> {
    let mut found = Vec::new();
    for cgroup in children_of_parent(slot) {
        found.push(format!("cgroup {cgroup}"));
    }
    let ports = observe::bridge_ports(&slot.bridge());
    if ports.len() > links {
        found.push(format!("{} links on {}, not {links}: {ports:?}", ports.len(), slot.bridge()));
    }
    for mount in observe::mounts(&slot.marks()) {
        found.push(format!("mount {mount}"));
    }
    for (folder, what) in [
        (slot.exec_root().join("containers"), "run-time folder"),
        (slot.folder().join("data/containers"), "container folder"),
        (slot.folder().join("data/tmp"), "half-made file"),
    ] {
        for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            found.push(format!("{what} {}", entry.path().display()));
        }
    }
    found
}

/// What is left when the engine has ended too.
#[must_use]
pub fn of_engine(slot: &Slot, known: &Kin) -> Vec<String> {
    let mut found = of_all_but(slot, 0);
    for pid in left_processes(slot, known) {
        let name = observe::stat(pid).map(|stat| stat.name).unwrap_or_default();
        found.push(format!("process {pid} ({name}): {}", observe::command_line(pid)));
    }
    found
}

/// Zombies among the descendants of a process.
#[must_use]
pub fn zombies(ancestor: u32) -> Vec<String> {
    observe::descendants(ancestor)
        .into_iter()
        .filter(|stat| stat.state == 'Z')
        .map(|stat| format!("zombie {} ({}) of {}", stat.pid, stat.name, stat.parent))
        .collect()
}

fn children_of_parent(slot: &Slot) -> Vec<String> {
    let suffix = slot.cgroup_parent();
    observe::cgroups(&suffix)
        .into_iter()
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| !path.ends_with(&suffix))
        .collect()
}

/// Live processes of this slot: known descendants of its engine, and whoever bears its marks.
fn left_processes(slot: &Slot, known: &Kin) -> Vec<u32> {
    let marks = slot.marks();
    let own = std::process::id();
    observe::processes()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter(|pid| is_engine_kin(*pid, known) || observe::is_marked(*pid, &marks))
        .filter(|pid| observe::stat(*pid).is_some_and(|stat| stat.state != 'Z'))
        .collect()
}

fn is_engine_kin(pid: u32, known: &Kin) -> bool {
    observe::stat(pid).is_some_and(|stat| known.contains(&(pid, stat.started)))
}

/// Removes everything that can be found of this slot.
pub fn sweep(slot: &Slot) {
    sweep_known(slot, &Kin::new());
}

/// Removes everything that can be found of this slot and the processes already known.
pub(crate) fn sweep_known(slot: &Slot, known: &Kin) {
    wait::poll(Duration::from_secs(10), || {
        let left = left_processes(slot, known);
        for pid in &left {
            kill_process(pid_of(*pid), Signal::KILL).ok();
        }
        left.is_empty().then_some(())
    });
    for line in observe::mounts(&slot.marks()).iter().rev() {
        if let Some(target) = line.split(' ').nth(4) {
            unmount(target, UnmountFlags::DETACH).ok();
        }
    }
    remove_cgroups(slot);
    remove_links(slot);
    for folder in [slot.exec_root(), slot.folder()] {
        drop(fs::remove_dir_all(folder));
    }
}

fn remove_cgroups(slot: &Slot) {
    wait::poll(Duration::from_secs(5), || {
        let left = observe::cgroups(&slot.cgroup_parent());
        for cgroup in &left {
            thaw(cgroup);
            drop(fs::remove_dir(cgroup));
        }
        left.is_empty().then_some(())
    });
}

/// A frozen process does not die.
fn thaw(cgroup: &Path) {
    for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if cgroup.join(file).exists() {
            drop(fs::write(cgroup.join(file), word));
        }
    }
}

fn remove_links(slot: &Slot) {
    let bridge = slot.bridge();
    let Some(ip) = find_program("ip") else { return };
    for link in observe::bridge_ports(&bridge).into_iter().chain([bridge.clone()]) {
        if observe::link_exists(&link) {
            drop(Invocation::new(&ip).args(["link", "delete", &link]).run());
        }
    }
    for table in tables(&bridge) {
        let words = table.split(' ').map(ToOwned::to_owned);
        drop(Invocation::new(program("nft")).args(["delete", "table"]).args(words).run());
    }
}

/// The nftables tables of an engine, which bear its bridge's name: `ip fyt1`.
#[must_use]
pub fn tables(bridge: &str) -> Vec<String> {
    let Some(nft) = find_program("nft") else { return Vec::new() };
    let listing = Invocation::new(&nft).args(["list", "tables"]).run().out();
    let named = |table: &&str| table.split(' ').next_back() == Some(bridge);
    listing
        .lines()
        .filter_map(|line| line.strip_prefix("table "))
        .filter(named)
        .map(Into::into)
        .collect()
}

fn program(name: &str) -> std::path::PathBuf {
    find_program(name).unwrap_or_else(|| name.into())
}
