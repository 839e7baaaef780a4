//! What the kernel says of processes, mounts, cgroups and links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every process id there is.
#[must_use]
pub fn processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
        .collect()
}

/// The parent, state letter and name of a process.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = text.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // The parent is field 4 of proc_pid_stat(5), the start field 22.
    let started = fields.nth(17)?.parse().ok()?;
    let name = head.split_once('(')?.1.to_owned();
    Some(Stat { pid, parent, state, name, started })
}

/// A line of `/proc/PID/stat`.
#[derive(Debug, Clone)]
pub struct Stat {
    /// Process id.
    pub pid: u32,
    /// Parent's id.
    pub parent: u32,
    /// `R`, `S`, `Z`...
    pub state: char,
    /// Name of the program.
    pub name: String,
    /// When it began, in ticks since the boot; with the id it is one process and no other.
    pub started: u64,
}

/// The processes beneath `ancestor`, it not included.
#[must_use]
pub fn descendants(ancestor: u32) -> Vec<Stat> {
    let all: Vec<Stat> = processes().into_iter().filter_map(stat).collect();
    let mut known = BTreeSet::from([ancestor]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for stat in &all {
            if known.contains(&stat.parent) && known.insert(stat.pid) {
                found.push(stat.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// The command line of a process, words joined by spaces.
#[must_use]
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// A field of `/proc/PID/status`, such as `CapEff`.
#[must_use]
pub fn status(pid: u32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == field)
        .map(|(_, value)| value.trim().to_owned())
}

/// Resident memory of a process in kilobytes.
#[must_use]
pub fn resident_kb(pid: u32) -> Option<u64> {
    status(pid, "VmRSS")?.split_whitespace().next()?.parse().ok()
}

/// The part of a process' resident memory that it shares with nobody, in kilobytes.
#[must_use]
pub fn private_kb(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    Some(lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

/// How many descriptors a process has open.
#[must_use]
pub fn open_descriptors(pid: u32) -> Option<usize> {
    fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count)
}

/// The number of a process' namespace of this kind, such as `net`.
#[must_use]
pub fn namespace(pid: u32, kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Whether a process bears one of these marks: in its command line, its environment, an open file,
/// its cgroup, or a mount of its namespace.
#[must_use]
pub fn is_marked(pid: u32, marks: &[String]) -> bool {
    let marked = |text: &str| marks.iter().any(|mark| mentions(text, mark));
    let file = |name: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if ["cmdline", "environ", "cgroup"].iter().any(|name| marked(&file(name))) {
        return true;
    }
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|target| marked(&target.to_string_lossy()))
}

/// Whether `text` has `mark` not followed by a further digit or letter.
fn mentions(text: &str, mark: &str) -> bool {
    text.match_indices(mark).any(|(at, _)| {
        let next = text[at + mark.len()..].chars().next();
        !next.is_some_and(|next| next.is_ascii_alphanumeric())
    })
}

/// The lines of this process' mount table that mention one of `marks`.
#[must_use]
pub fn mounts(marks: &[String]) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let marked = |line: &&str| marks.iter().any(|mark| mentions(line, mark));
    table.lines().filter(marked).map(ToOwned::to_owned).collect()
}

/// The roots of all mounted cgroup hierarchies.
#[must_use]
pub fn cgroup_roots() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut roots: Vec<PathBuf> = table
        .lines()
        .filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "))
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .collect();
    roots.sort();
    roots.dedup();
    roots
}

/// Directories named `parent` in any hierarchy, and all beneath them, deepest first.
#[must_use]
pub fn cgroups(parent: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in cgroup_roots() {
        collect(&root.join(parent.trim_start_matches('/')), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
    found.push(folder.to_path_buf());
}

/// Names of the links whose master is `bridge`.
#[must_use]
pub fn bridge_ports(bridge: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/sys/class/net/{bridge}/brif")) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Whether the link exists.
#[must_use]
pub fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

/// Every regular file, directory and socket beneath `folder`, relative to it.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(base: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            found.push(path.strip_prefix(base).unwrap_or(&path).to_path_buf());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(base, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_ends_where_a_number_goes_on() {
        assert!(mentions("/run/fy12/ferry.sock", "/run/fy12"));
        assert!(!mentions("/run/fy123/ferry.sock", "/run/fy12"));
    }

    #[test]
    fn this_process_is_found() {
        let stat = stat(std::process::id()).unwrap();
        assert_eq!(stat.parent, std::os::unix::process::parent_id());
        assert!(resident_kb(std::process::id()).unwrap() > 100);
    }
}
