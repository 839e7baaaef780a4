//! `state`, `list`, `ps`, `features`.

use std::fs;

use ferry_oci::runtime::{State, Status, VERSION};
use ferry_sys::capabilities;
use serde_json::{Value, json};

use super::{Context, Outcome, life, only_id, print};
use crate::flags::{Flag, Given, switch, value};
use crate::record::{Home, Record};

pub(super) const LIST_FLAGS: &[Flag] = &[value("format", Some('f')), switch("quiet", Some('q'))];
pub(super) const PS_FLAGS: &[Flag] = &[value("format", Some('f'))];

pub(super) fn state(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let (home, record) = life::find(context, only_id(given)?)?;
    print(&pretty(&describe(&home, &record)?)?).map(|()| 0)
}

/// The specification's state, with what runc adds to it.
fn describe(home: &Home, record: &Record) -> Result<Value, String> {
    let status = home.status(record)?;
    let state = State {
        oci_version: VERSION.to_owned(),
        id: record.id.clone(),
        status,
        pid: Some(if status == Status::Stopped { 0 } else { record.pid }),
        bundle: record.bundle.clone(),
        annotations: record.spec.annotations.clone(),
    };
    let mut value = serde_json::to_value(state).map_err(|error| error.to_string())?;
    if let Value::Object(fields) = &mut value {
        fields.insert("rootfs".into(), json!(record.rootfs));
        fields.insert("created".into(), json!(record.created));
        fields.insert("owner".into(), json!(""));
    }
    Ok(value)
}

fn pretty(value: &Value) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|error| error.to_string())
}

pub(super) fn list(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let mut containers = Vec::new();
    let entries = match fs::read_dir(&context.root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        entries => Some(entries.map_err(|error| format!("{}: {error}", context.root.display()))?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.map_err(|error| format!("{}: {error}", context.root.display()))?;
        let home = Home::at(&context.root, &entry.file_name().to_string_lossy())?;
        // One that is being made, or that is just being deleted, is not there.
        if let Ok(record) = home.read() {
            containers.push(describe(&home, &record)?);
        }
    }
    containers.sort_by_key(|container| text(container, "created"));
    if given.is_set("quiet") {
        let ids: Vec<String> = containers.iter().map(|container| text(container, "id")).collect();
        return if ids.is_empty() { Ok(0) } else { print(&ids.join("\n")).map(|()| 0) };
    }
    match given.value("format") {
        Some("json") => print(&Value::Array(containers).to_string()).map(|()| 0),
        None | Some("table") => {
            let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
            let fields = ["id", "pid", "status", "bundle", "created", "owner"];
            let rows = containers.iter().map(|c| fields.map(|field| text(c, field)).to_vec());
            print(&table(&header, rows.collect())).map(|()| 0)
        }
        Some(other) => Err(format!("invalid format option {other:?}")),
    }
}

fn text(container: &Value, field: &str) -> String {
    match container.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Columns as wide as their widest field and three spaces, the last one as it is.
fn table(header: &[&str], mut rows: Vec<Vec<String>>) -> String {
    rows.insert(0, header.iter().map(ToString::to_string).collect());
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|field| field.chars().count()).max()
    };
    let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(field, width)| format!("{field:width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn ps(context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    let (_home, record) = life::find(context, only_id(given)?)?;
    let group = record.open_cgroup()?;
    let pids = match group {
        Some(group) => group.pids().map_err(|error| error.to_string())?,
        None => Vec::new(),
    };
    let pids: Vec<i32> = pids.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    match given.value("format") {
        Some("json") => print(&json!(pids).to_string()).map(|()| 0),
        None | Some("table") => {
            let rows = pids.iter().filter_map(|pid| process(*pid)).collect();
            print(&table(&["UID", "PID", "PPID", "CMD"], rows)).map(|()| 0)
        }
        Some(other) => Err(format!("invalid format option {other:?}")),
    }
}

/// One line of `ps`; nothing of a process that has ended meanwhile.
fn process(pid: i32) -> Option<Vec<String>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = command.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let command = match words.join(" ").trim_end() {
        "" => format!("[{}]", field("Name:")?),
        command => command.to_owned(),
    };
    Some(vec![field("Uid:")?, pid.to_string(), field("PPid:")?, command])
}

pub(super) fn features(_context: &Context, _given: &Given, _rest: Vec<String>) -> Outcome {
    let known = capabilities::known_to_kernel().map_err(|error| error.to_string())?;
    let names: Vec<String> = capabilities::names()
        .filter(|name| capabilities::number(name).is_some_and(|number| known.contains(number)))
        .collect();
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": [],
        "mountOptions": ferry_runtime::mount_options(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": names,
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                ],
                "archs": [
                    "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86",
                    "SCMP_ARCH_X86_64",
                ],
                "knownFlags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
                "supportedFlags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": false } },
        },
    });
    print(&pretty(&features)?).map(|()| 0)
}
