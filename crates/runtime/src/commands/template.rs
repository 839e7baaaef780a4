//! `spec`: a configuration to begin with.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use ferry_oci::runtime::{
    Capabilities, DeviceRule, Linux, Mount, Namespace, NamespaceType, Process, Resources, Rlimit,
    Root, Spec, VERSION,
};

use super::{Context, Outcome};
use crate::flags::{Flag, Given, value};

pub(super) const FLAGS: &[Flag] = &[value("bundle", Some('b'))];

pub(super) fn spec(_context: &Context, given: &Given, _rest: Vec<String>) -> Outcome {
    if let Some(operand) = given.operands.first() {
        return Err(format!("unexpected argument {operand:?}"));
    }
    let path = Path::new(given.value("bundle").unwrap_or(".")).join("config.json");
    let text = serde_json::to_string_pretty(&template()).map_err(|error| error.to_string())?;
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    match file.and_then(|mut file| writeln!(file, "{text}")) {
        Ok(()) => Ok(0),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(format!("file {} exists. Remove it first", path.display()))
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// A shell with little more than nothing, as runc's.
fn template() -> Spec {
    Spec {
        oci_version: VERSION.into(),
        process: Some(process()),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        hostname: "ferry".into(),
        mounts: mounts(),
        linux: Some(linux()),
        ..Spec::default()
    }
}

fn strings(strings: &[&str]) -> Vec<String> {
    strings.iter().map(ToString::to_string).collect()
}

fn process() -> Process {
    let capabilities = strings(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    Process {
        terminal: true,
        args: strings(&["sh"]),
        env: strings(&[
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TERM=xterm",
        ]),
        cwd: "/".into(),
        capabilities: Some(Capabilities {
            bounding: capabilities.clone(),
            effective: capabilities.clone(),
            permitted: capabilities,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), hard: 1024, soft: 1024 }],
        no_new_privileges: true,
        ..Process::default()
    }
}

fn mounts() -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect(),
        ..Mount::default()
    };
    let pts = "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5";
    vec![
        mount("/proc", "proc", "proc", ""),
        mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "devpts", pts),
        mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
    ]
}

fn linux() -> Linux {
    let namespaces = [
        NamespaceType::Pid,
        NamespaceType::Network,
        NamespaceType::Ipc,
        NamespaceType::Uts,
        NamespaceType::Mount,
        NamespaceType::Cgroup,
    ];
    let masked = "/proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list \
                  /proc/timer_stats /proc/sched_debug /sys/firmware /proc/scsi";
    let readonly = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger";
    let nothing = DeviceRule { allow: false, access: Some("rwm".into()), ..DeviceRule::default() };
    Linux {
        resources: Some(Resources { devices: vec![nothing], ..Resources::default() }),
        namespaces: namespaces.map(|kind| Namespace { kind, path: None }).to_vec(),
        masked_paths: masked.split_whitespace().map(Into::into).collect(),
        readonly_paths: readonly.split_whitespace().map(Into::into).collect(),
        ..Linux::default()
    }
}
