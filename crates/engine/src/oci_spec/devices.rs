//! Devices: rules for the cgroup and nodes in `/dev`.

use std::collections::BTreeMap;

use ferry_oci::runtime::{Device, DeviceRule, DeviceType};

use super::SpecInput;

/// A device of the host for a container, looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostDevice {
    /// Where, inside the container.
    pub path: String,
    /// Which kind.
    pub kind: DeviceType,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

/// Numbers of block devices by their path.
pub(crate) type BlockDevices = BTreeMap<String, (i64, i64)>;

/// What runtimes make by themselves.
const MADE_ANYWAY: [&str; 8] = [
    "/dev/console",
    "/dev/full",
    "/dev/null",
    "/dev/ptmx",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];

pub(super) fn nodes(devices: &[HostDevice]) -> Vec<Device> {
    devices
        .iter()
        .filter(|device| !MADE_ANYWAY.contains(&device.path.as_str()))
        .map(|device| Device {
            path: device.path.clone().into(),
            kind: device.kind,
            major: device.major,
            minor: device.minor,
            file_mode: Some(device.mode),
            uid: Some(device.uid),
            gid: Some(device.gid),
        })
        .collect()
}

pub(super) fn rules(input: &SpecInput<'_>) -> Vec<DeviceRule> {
    let host = &input.spec.host;
    let mut rules = vec![rule(false, None, None, None, "rwm")];
    if host.privileged {
        rules.push(rule(true, None, None, None, "rwm"));
        return rules;
    }
    // Zero, null, urandom, random, tty, console.
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)] {
        rules.push(rule(true, Some("c"), Some(major), Some(minor), "rwm"));
    }
    // FUSE.
    rules.push(rule(false, Some("c"), Some(10), Some(229), "rwm"));
    for device in input.devices {
        let kind = match device.kind {
            DeviceType::Block => "b",
            DeviceType::Character => "c",
            DeviceType::Fifo => continue,
        };
        let (major, minor) = (i64::from(device.major), i64::from(device.minor));
        rules.push(rule(true, Some(kind), Some(major), Some(minor), &device.access));
    }
    rules.extend(host.device_cgroup_rules.iter().filter_map(|text| parse_device_rule(text)));
    rules
}

fn rule(
    allow: bool,
    kind: Option<&str>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> DeviceRule {
    DeviceRule {
        allow,
        kind: kind.map(str::to_owned),
        major,
        minor,
        access: Some(access.to_owned()),
    }
}

/// Reads `c 42:* rmw`.
pub(crate) fn parse_device_rule(text: &str) -> Option<DeviceRule> {
    let mut words = text.split(' ');
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let known = |c: char| matches!(c, 'r' | 'w' | 'm');
    if words.next().is_some()
        || !matches!(kind, "a" | "b" | "c")
        || access.is_empty()
        || access.len() > 3
        || !access.chars().all(known)
    {
        return None;
    }
    let number = |text: &str| match text {
        "*" => Some(-1),
        _ => text.parse::<u32>().ok().map(i64::from),
    };
    let (major, minor) = numbers.split_once(':')?;
    Some(rule(true, Some(kind), Some(number(major)?), Some(number(minor)?), access))
}
