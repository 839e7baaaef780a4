//! The values of flags: how each is checked when it is read, and what is made of it.
//!
//! Every message is Docker's.

pub(crate) mod devices;
pub(crate) mod files;
pub(crate) mod lists;
pub(crate) mod mounts;
pub(crate) mod networks;
pub(crate) mod numbers;
pub(crate) mod platforms;
pub(crate) mod ports;
pub(crate) mod references;

use crate::command_line::{Flag, Kind};
use crate::format::units::parse_bytes;

/// Checks the value of a flag and returns it in the form that is kept.
pub(crate) fn check(flag: &Flag, value: &str) -> Result<String, String> {
    let same = || value.to_owned();
    match flag.kind {
        Kind::Bool => numbers::boolean(value).map(|it| it.to_string()),
        Kind::Int => numbers::int(value).map(|it| it.to_string()),
        Kind::Uint16 => numbers::uint(value, u16::MAX.into()).map(|it| it.to_string()),
        Kind::Uint64 => numbers::uint(value, u64::MAX).map(|it| it.to_string()),
        Kind::Bytes if flag.long == "memory-swap" && value == "-1" => Ok(same()),
        Kind::Bytes => parse_bytes(value).map(|it| it.to_string()),
        Kind::Decimal => numbers::nano_cpus(value).map(|it| it.to_string()),
        Kind::Duration => numbers::duration(value).map(|it| it.to_string()),
        Kind::Filter => lists::filter(value),
        Kind::Mount => mounts::mount(value).map(|_mount| same()),
        Kind::Network => networks::network(value).map(|_network| same()),
        Kind::Ulimit => devices::ulimit(value).map(|_ulimit| same()),
        Kind::Gpus => devices::gpus(value).map(|_request| same()),
        Kind::Map if flag.long == "sysctl" => lists::sysctl(value),
        Kind::List => list(flag.long, value),
        Kind::Text | Kind::Strings | Kind::Map => Ok(same()),
    }
}

fn list(name: &str, value: &str) -> Result<String, String> {
    match name {
        "env" => lists::env(value, &|name| std::env::var(name).ok()),
        "label" => lists::label(value),
        "add-host" => lists::extra_host(value),
        "attach" => lists::attach(value),
        "dns" => lists::ip_address(value),
        "dns-search" => lists::dns_search(value),
        "link" => lists::link(value),
        "device-cgroup-rule" => devices::cgroup_rule(value),
        "device-read-bps" | "device-write-bps" => {
            devices::throttle(value, true).map(|_| value.into())
        }
        "device-read-iops" | "device-write-iops" => {
            devices::throttle(value, false).map(|_| value.into())
        }
        "blkio-weight-device" => devices::weight(value).map(|_| value.into()),
        _ => Ok(value.into()),
    }
}

#[cfg(test)]
mod tests;
