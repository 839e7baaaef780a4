//! The processes of a container as `ps` would print them, read from `/proc`.
//!
//! Compat: dockerd executes the host's `ps` and picks the container's lines; here the usual options
//! are understood and nothing is executed: `-ef`, `aux`, `-o`, `-eo`, `-eLf` is not.

use std::collections::HashMap;
use std::fs;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{EngineError, Result};
use crate::request::ProcessTable;

/// Clock ticks per second, as the kernel tells them to programs on every machine.
const TICKS: u64 = 100;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Pid,
    Ppid,
    Pgid,
    Sid,
    User,
    Uid,
    Group,
    Gid,
    CpuShare,
    CpuPercent,
    MemoryPercent,
    Virtual,
    Resident,
    Terminal,
    State,
    Start,
    Time,
    Elapsed,
    Nice,
    Threads,
    Name,
    Command,
}

/// Names of `-o`, with their titles.
const FIELDS: [(&str, Column, &str); 52] = [
    ("pid", Column::Pid, "PID"),
    ("tgid", Column::Pid, "TGID"),
    ("ppid", Column::Ppid, "PPID"),
    ("pgid", Column::Pgid, "PGID"),
    ("pgrp", Column::Pgid, "PGRP"),
    ("sid", Column::Sid, "SID"),
    ("sess", Column::Sid, "SESS"),
    ("session", Column::Sid, "SESS"),
    ("user", Column::User, "USER"),
    ("euser", Column::User, "EUSER"),
    ("ruser", Column::User, "RUSER"),
    ("uname", Column::User, "USER"),
    ("uid", Column::Uid, "UID"),
    ("euid", Column::Uid, "EUID"),
    ("ruid", Column::Uid, "RUID"),
    ("group", Column::Group, "GROUP"),
    ("egroup", Column::Group, "EGROUP"),
    ("rgroup", Column::Group, "RGROUP"),
    ("gid", Column::Gid, "GID"),
    ("egid", Column::Gid, "EGID"),
    ("rgid", Column::Gid, "RGID"),
    ("c", Column::CpuShare, "C"),
    ("%cpu", Column::CpuPercent, "%CPU"),
    ("pcpu", Column::CpuPercent, "%CPU"),
    ("%mem", Column::MemoryPercent, "%MEM"),
    ("pmem", Column::MemoryPercent, "%MEM"),
    ("vsz", Column::Virtual, "VSZ"),
    ("vsize", Column::Virtual, "VSZ"),
    ("rss", Column::Resident, "RSS"),
    ("rssize", Column::Resident, "RSS"),
    ("rsz", Column::Resident, "RSZ"),
    ("tty", Column::Terminal, "TT"),
    ("tt", Column::Terminal, "TT"),
    ("tname", Column::Terminal, "TTY"),
    ("stat", Column::State, "STAT"),
    ("s", Column::State, "S"),
    ("state", Column::State, "S"),
    ("stime", Column::Start, "STIME"),
    ("start_time", Column::Start, "START"),
    ("start", Column::Start, "STARTED"),
    ("time", Column::Time, "TIME"),
    ("cputime", Column::Time, "TIME"),
    ("etime", Column::Elapsed, "ELAPSED"),
    ("ni", Column::Nice, "NI"),
    ("nice", Column::Nice, "NI"),
    ("nlwp", Column::Threads, "NLWP"),
    ("thcount", Column::Threads, "THCNT"),
    ("comm", Column::Name, "COMMAND"),
    ("ucmd", Column::Name, "CMD"),
    ("args", Column::Command, "COMMAND"),
    ("cmd", Column::Command, "CMD"),
    ("command", Column::Command, "COMMAND"),
];

/// Which columns `ps` prints for some options.
///
/// # Errors
/// `Invalid` for what is not understood; `Internal`, as with Docker, when the pid is not among them.
fn columns(arguments: &str) -> Result<Vec<(Column, String)>> {
    let unknown = |what: &str| {
        EngineError::Invalid(format!(
            "ps: {what} is not understood; use -ef, aux, or -o with a list of columns"
        ))
    };
    let mut list = None;
    let mut words = arguments.split_whitespace();
    while let Some(word) = words.next() {
        let letters = word.trim_start_matches('-');
        match letters {
            "ef" | "f" | "fe" | "Af" | "fA" => list = Some(full()),
            "aux" | "au" | "axu" | "ux" | "u" => list = Some(by_user()),
            "e" | "A" | "a" | "ax" | "x" | "" => {}
            _ => {
                let flags = letters.split_once('o').filter(|(flags, _)| {
                    flags.chars().all(|flag| matches!(flag, 'e' | 'a' | 'x' | 'A'))
                });
                let Some((_, fields)) = flags else { return Err(unknown(word)) };
                let fields =
                    if fields.is_empty() { words.next().unwrap_or_default() } else { fields };
                let chosen: &mut Vec<_> = list.get_or_insert_with(Vec::new);
                for field in fields.split(',').filter(|field| !field.is_empty()) {
                    let (name, title) = field.split_once('=').unwrap_or((field, ""));
                    let found = FIELDS.iter().find(|(known, ..)| *known == name);
                    let (_, column, usual) = found.ok_or_else(|| unknown(name))?;
                    let title = if title.is_empty() { usual } else { title };
                    chosen.push((*column, title.to_owned()));
                }
            }
        }
    }
    let list = list.unwrap_or_else(brief);
    if !list.iter().any(|(column, _)| *column == Column::Pid) {
        return Err(EngineError::broken("Couldn't find PID field in ps output"));
    }
    Ok(list)
}

fn titled(columns: &[(Column, &str)]) -> Vec<(Column, String)> {
    columns.iter().map(|(column, title)| (*column, (*title).to_owned())).collect()
}

fn full() -> Vec<(Column, String)> {
    titled(&[
        (Column::User, "UID"),
        (Column::Pid, "PID"),
        (Column::Ppid, "PPID"),
        (Column::CpuShare, "C"),
        (Column::Start, "STIME"),
        (Column::Terminal, "TTY"),
        (Column::Time, "TIME"),
        (Column::Command, "CMD"),
    ])
}

fn by_user() -> Vec<(Column, String)> {
    titled(&[
        (Column::User, "USER"),
        (Column::Pid, "PID"),
        (Column::CpuPercent, "%CPU"),
        (Column::MemoryPercent, "%MEM"),
        (Column::Virtual, "VSZ"),
        (Column::Resident, "RSS"),
        (Column::Terminal, "TTY"),
        (Column::State, "STAT"),
        (Column::Start, "START"),
        (Column::Time, "TIME"),
        (Column::Command, "COMMAND"),
    ])
}

fn brief() -> Vec<(Column, String)> {
    titled(&[
        (Column::Pid, "PID"),
        (Column::Terminal, "TTY"),
        (Column::Time, "TIME"),
        (Column::Name, "CMD"),
    ])
}

/// Prints the processes; those that end meanwhile are left out.
///
/// # Errors
/// As [`columns`].
pub(crate) fn table(arguments: &str, pids: &[i32]) -> Result<ProcessTable> {
    let arguments = if arguments.trim().is_empty() { "-ef" } else { arguments };
    let columns = columns(arguments)?;
    let surroundings = Surroundings::read();
    let mut processes: Vec<Process> = pids.iter().filter_map(|pid| Process::read(*pid)).collect();
    processes.sort_by_key(|process| process.pid);
    let row = |process: &Process| {
        columns.iter().map(|(column, _)| process.show(*column, &surroundings)).collect()
    };
    Ok(ProcessTable {
        rows: processes.iter().map(row).collect(),
        titles: columns.iter().map(|(_, title)| title.clone()).collect(),
    })
}

struct Surroundings {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    uptime: f64,
    memory_kilobytes: u64,
    now: Timestamp,
    zone: TimeZone,
}

impl Surroundings {
    fn read() -> Self {
        let names = |path: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let entry = |line: &str| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((fields.nth(1)?.parse().ok()?, name))
            };
            text.lines().filter_map(entry).collect()
        };
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let uptime = text("/proc/uptime");
        let total = text("/proc/meminfo");
        let total = total.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        Self {
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
            uptime: uptime.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0.0),
            memory_kilobytes: total
                .and_then(|it| it.split_whitespace().next()?.parse().ok())
                .unwrap_or(0),
            now: Timestamp::now(),
            zone: TimeZone::system(),
        }
    }
}

/// A process as `/proc` tells it. See `proc_pid_stat(5)`.
#[derive(Debug, Default)]
struct Process {
    pid: i32,
    name: String,
    state: String,
    ppid: i32,
    pgid: i32,
    sid: i32,
    terminal: u32,
    cpu_ticks: u64,
    nice: i32,
    threads: u32,
    start_ticks: u64,
    virtual_kilobytes: u64,
    resident_kilobytes: u64,
    uid: u32,
    gid: u32,
    arguments: Vec<String>,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut process = Self::parse_stat(pid, &String::from_utf8_lossy(&stat))?;
        let id = |name: &str| -> u32 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        };
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        process.resident_kilobytes =
            resident.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        process.uid = id("Uid:");
        process.gid = id("Gid:");
        process.arguments = cmdline
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        Some(process)
    }

    fn parse_stat(pid: i32, stat: &str) -> Option<Self> {
        let (start, end) = (stat.find('(')?, stat.rfind(')')?);
        let name = stat.get(start + 1..end)?.to_owned();
        let fields: Vec<&str> = stat.get(end + 1..)?.split_whitespace().collect();
        let number = |index: usize| -> i64 {
            fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0)
        };
        let positive = |index: usize| u64::try_from(number(index)).unwrap_or(0);
        let small = |index: usize| i32::try_from(number(index)).unwrap_or(0);
        Some(Self {
            pid,
            name,
            state: (*fields.first()?).to_owned(),
            ppid: small(1),
            pgid: small(2),
            sid: small(3),
            terminal: u32::try_from(number(4)).unwrap_or(0),
            cpu_ticks: positive(11) + positive(12),
            nice: small(16),
            threads: u32::try_from(number(17)).unwrap_or(0),
            start_ticks: positive(19),
            virtual_kilobytes: positive(20) / 1024,
            ..Self::default()
        })
    }

    fn show(&self, column: Column, around: &Surroundings) -> String {
        let named = |names: &HashMap<u32, String>, id: u32| {
            names.get(&id).cloned().unwrap_or_else(|| id.to_string())
        };
        match column {
            Column::Pid => self.pid.to_string(),
            Column::Ppid => self.ppid.to_string(),
            Column::Pgid => self.pgid.to_string(),
            Column::Sid => self.sid.to_string(),
            Column::User => named(&around.users, self.uid),
            Column::Uid => self.uid.to_string(),
            Column::Group => named(&around.groups, self.gid),
            Column::Gid => self.gid.to_string(),
            Column::CpuShare => format!("{:.0}", self.cpu_percent(around).floor()),
            Column::CpuPercent => format!("{:.1}", self.cpu_percent(around)),
            Column::MemoryPercent => format!("{:.1}", self.memory_percent(around)),
            Column::Virtual => self.virtual_kilobytes.to_string(),
            Column::Resident => self.resident_kilobytes.to_string(),
            Column::Terminal => self.terminal_name(),
            Column::State => self.state_letters(),
            Column::Start => self.start_time(around),
            Column::Time => clock(self.cpu_ticks / TICKS, true),
            Column::Elapsed => clock(self.elapsed_seconds(around), false),
            Column::Nice => self.nice.to_string(),
            Column::Threads => self.threads.to_string(),
            Column::Name => self.name.clone(),
            Column::Command if self.arguments.is_empty() => format!("[{}]", self.name),
            Column::Command => self.arguments.join(" "),
        }
    }

    fn elapsed_seconds(&self, around: &Surroundings) -> u64 {
        std::time::Duration::try_from_secs_f64(around.uptime)
            .unwrap_or_default()
            .as_secs()
            .saturating_sub(self.start_ticks / TICKS)
    }

    fn cpu_percent(&self, around: &Surroundings) -> f64 {
        let elapsed = self.elapsed_seconds(around).max(1);
        ratio(self.cpu_ticks, elapsed * TICKS) * 100.0
    }

    fn memory_percent(&self, around: &Surroundings) -> f64 {
        ratio(self.resident_kilobytes, around.memory_kilobytes.max(1)) * 100.0
    }

    fn terminal_name(&self) -> String {
        let (major, minor) = (
            (self.terminal >> 8) & 0xfff,
            (self.terminal & 0xff) | ((self.terminal >> 12) & 0xfff00),
        );
        match major {
            0 => "?".to_owned(),
            136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
            4 if minor < 64 => format!("tty{minor}"),
            4 => format!("ttyS{}", minor - 64),
            _ => "?".to_owned(),
        }
    }

    fn state_letters(&self) -> String {
        let mut letters = self.state.clone();
        if self.nice < 0 {
            letters.push('<');
        }
        if self.nice > 0 {
            letters.push('N');
        }
        if self.sid == self.pid {
            letters.push('s');
        }
        if self.threads > 1 {
            letters.push('l');
        }
        letters
    }

    /// The time of a start today, the day of an earlier one.
    fn start_time(&self, around: &Surroundings) -> String {
        let elapsed = i64::try_from(self.elapsed_seconds(around)).unwrap_or(0);
        let started = around.now - jiff::SignedDuration::from_secs(elapsed);
        let (started, now) =
            (started.to_zoned(around.zone.clone()), around.now.to_zoned(around.zone.clone()));
        let form = if started.date() == now.date() { "%H:%M" } else { "%b%d" };
        started.strftime(form).to_string()
    }
}

#[expect(clippy::cast_precision_loss, reason = "percentages are rounded to a tenth anyway")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// `00:01:02` or, for elapsed times, without leading zeroes beyond minutes.
fn clock(seconds: u64, with_hours: bool) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) if !with_hours => format!("{minutes:02}:{seconds:02}"),
        (0, _) => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}-{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &str, expect: &str) {
        let said = match columns(arguments) {
            Ok(list) => list.iter().map(|(_, title)| title.as_str()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expect);
    }

    #[test]
    fn the_usual_options_of_ps_are_understood() {
        check("-ef", "UID PID PPID C STIME TTY TIME CMD");
        check("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        check("-o pid,comm", "PID COMMAND");
        check("-eo user,pid,args=CMD", "USER PID CMD");
        check("-opid", "PID");
        check("-e -o pid -o ppid", "PID PPID");
        check("-o comm", "Couldn't find PID field in ps output");
        check(
            "-o pid,colour",
            "ps: colour is not understood; use -ef, aux, or -o with a list of columns",
        );
        check(
            "--forest",
            "ps: --forest is not understood; use -ef, aux, or -o with a list of columns",
        );
    }

    #[test]
    fn this_process_is_shown() {
        let me = i32::try_from(std::process::id()).unwrap();
        let table = table("-o pid,ppid,args,user", &[me, i32::MAX]).unwrap();
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0][0], me.to_string());
        assert_ne!(table.rows[0][2], "");
    }

    #[test]
    fn names_with_brackets_and_blanks_are_read() {
        let stat = "7 (a) b) S 1 7 7 34816 7 0 0 0 0 0 150 50 0 0 20 0 3 0 1000 4096000 100 0";
        let process = Process::parse_stat(7, stat).unwrap();
        assert_eq!((process.name.as_str(), process.ppid, process.threads), ("a) b", 1, 3));
        assert_eq!((process.cpu_ticks, process.start_ticks), (200, 1000));
        assert_eq!(process.terminal_name(), "pts/0");
        assert_eq!(process.state_letters(), "Ssl");
    }

    #[test]
    fn times_are_shown_as_clocks() {
        assert_eq!(clock(62, true), "00:01:02");
        assert_eq!(clock(62, false), "01:02");
        assert_eq!(clock(90_061, true), "1-01:01:01");
    }
}
