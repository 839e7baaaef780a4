//! What can not be, in Docker's words; all faults at once.

use std::collections::BTreeSet;

use super::{
    ContainerSpec, HostOptions, IpcMode, LogConfig, LogDriver, MemorySwap, MountSource,
    NetworkMode, Resources, RestartPolicy, UtsMode,
};
use crate::capabilities;
use crate::error::{EngineError, Result};
use crate::host::{HostFacts, parse_list};
use crate::signal;

/// Docker's least memory.
const MINIMUM_MEMORY: u64 = 6 * 1024 * 1024;

impl ContainerSpec {
    /// Checks the merged spec against itself and the host; what the host can not do is dropped from
    /// it and told as a warning.
    ///
    /// # Errors
    /// `Invalid` with all faults, one to a line; `NotImplemented` for what is not supported yet.
    pub fn validate(&mut self, facts: &HostFacts) -> Result<Vec<String>> {
        self.refuse_unsupported()?;
        let mut faults = Faults::default();
        let mut warnings = Vec::new();
        self.check_process(&mut faults);
        self.check_modes(&mut faults);
        self.check_mounts(&mut faults);
        self.host.check(&mut faults);
        self.host.log.check(&mut faults);
        self.host.resources.check_memory(facts, &mut faults, &mut warnings);
        self.host.resources.check_cpu(facts, &mut faults, &mut warnings);
        self.host.resources.check_io(facts, &mut faults, &mut warnings);
        faults.into_result()?;
        Ok(warnings)
    }

    fn refuse_unsupported(&self) -> Result<()> {
        let refuse = |what: String| Err(EngineError::NotImplemented(what));
        if !matches!(self.host.restart, RestartPolicy::No) && !self.host.auto_remove {
            let name = self.host.restart.name();
            return refuse(format!("restart policy \"{name}\" is not supported yet; use \"no\""));
        }
        for mount in &self.host.mounts {
            if let MountSource::Volume { driver, driver_options, subpath, .. } = &mount.source {
                if !matches!(driver.as_str(), "" | "local") {
                    return Err(EngineError::NotFound(format!(
                        "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
                    )));
                }
                if !driver_options.is_empty() {
                    return refuse(
                        "options of the local volume driver are not supported yet".into(),
                    );
                }
                if !subpath.is_empty() {
                    return refuse("a volume's subpath is not supported yet".into());
                }
            }
        }
        if !matches!(self.host.volume_driver.as_str(), "" | "local") {
            let driver = &self.host.volume_driver;
            return Err(EngineError::NotFound(format!(
                "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            )));
        }
        Ok(())
    }

    fn check_process(&self, faults: &mut Faults) {
        if self.arguments().is_empty() {
            faults.add("no command specified");
        }
        if !self.working_dir.is_empty() && !self.working_dir.starts_with('/') {
            faults.add(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                self.working_dir
            ));
        }
        for entry in self.env.iter().filter(|entry| entry.is_empty() || entry.starts_with('=')) {
            faults.add(format!("invalid environment variable: {entry}"));
        }
        if let Some(name) = &self.stop_signal
            && signal::parse(name).is_none()
        {
            faults.add(format!("invalid signal: {name}"));
        }
        let nul = self
            .arguments()
            .iter()
            .chain(&self.env)
            .chain([&self.working_dir, &self.user, &self.hostname, &self.domainname])
            .any(|text| text.contains('\0'));
        if nul {
            faults.add("a zero byte is not allowed in arguments, variables and names");
        }
        if self.hostname.len() > 64 || self.domainname.len() > 64 {
            faults.add("host and domain names have at most 64 characters");
        }
    }

    fn check_modes(&self, faults: &mut Faults) {
        let host = &self.host;
        if host.uts == UtsMode::Host && !self.hostname.is_empty() {
            faults.add("conflicting options: hostname and the UTS mode");
        }
        if let NetworkMode::Container(_) = host.network {
            let conflicts = [
                (!self.hostname.is_empty(), "hostname"),
                (!host.names.dns.is_empty(), "dns"),
                (!host.names.extra_hosts.is_empty(), "custom host-to-IP mapping"),
                (host.endpoint.mac.is_some(), "mac-address"),
            ];
            for (_, what) in conflicts.iter().filter(|(conflict, _)| *conflict) {
                faults.add(format!("conflicting options: {what} and the network mode"));
            }
        }
        if host.auto_remove && !matches!(host.restart, RestartPolicy::No) {
            faults.add("can't create 'AutoRemove' container with restart policy");
        }
        if matches!(host.ipc, IpcMode::None) && host.shm_size.is_some_and(|size| size > 0) {
            // Compat: taken, without effect.
        }
    }

    fn check_mounts(&self, faults: &mut Faults) {
        let mut targets = BTreeSet::new();
        for mount in &self.host.mounts {
            if let Some(fault) = mount.fault() {
                faults.add(fault);
            } else if !targets.insert(super::mounts::clean(&mount.target)) {
                faults.add(format!("Duplicate mount point: {}", mount.target));
            }
            if let MountSource::Volume { name: Some(name), .. } = &mount.source
                && let Some(fault) = crate::names::volume_fault(name)
            {
                faults.add(format!("create {name}: {fault}"));
            }
        }
        for path in &self.volumes {
            if !path.starts_with('/') {
                faults.add(format!(
                    "invalid volume specification: '{path}': invalid mount config for type \
                     \"volume\": invalid mount path: '{path}' mount path must be absolute"
                ));
            } else if super::mounts::clean(path) == "/" {
                faults.add(
                    "invalid mount config for type \"volume\": invalid specification: \
                     destination can't be '/'",
                );
            }
        }
    }
}

impl HostOptions {
    fn check(&self, faults: &mut Faults) {
        for (list, name) in [(&self.cap_add, "CapAdd"), (&self.cap_drop, "CapDrop")] {
            if let Err(unknown) = capabilities::normalise(list) {
                faults.add(format!("invalid {name}: unknown capability: \"{unknown}\""));
            }
        }
        if !(-1000..=1000).contains(&self.oom_score_adj) {
            faults.add(format!(
                "Invalid value {}, range for oom score adj is [-1000, 1000]",
                self.oom_score_adj
            ));
        }
        if !matches!(self.runtime.as_str(), "" | "ferry" | "runc" | "io.containerd.runc.v2") {
            faults.add(format!("unknown or invalid runtime name: {}", self.runtime));
        }
        for ulimit in &self.ulimits {
            let kind = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
            if ferry_sys::rlimit::by_name(&kind).is_none() {
                faults.add(format!("invalid ulimit type: {}", ulimit.name));
            } else if ulimit.hard != -1 && (ulimit.soft == -1 || ulimit.soft > ulimit.hard) {
                faults.add(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                    ulimit.soft, ulimit.hard
                ));
            }
        }
        for rule in &self.device_cgroup_rules {
            if crate::oci_spec::parse_device_rule(rule).is_none() {
                faults.add(format!("invalid device cgroup rule format: '{rule}'"));
            }
        }
        for device in &self.devices {
            let known = |c: char| matches!(c, 'r' | 'w' | 'm');
            if !device.permissions.chars().all(known) {
                faults.add(format!("invalid device mode: {}", device.permissions));
            }
            if !device.container_path.is_empty() && !device.container_path.starts_with('/') {
                faults.add(format!("{} is not an absolute path", device.container_path));
            }
        }
        for entry in &self.names.extra_hosts {
            match entry.split_once([':', '=']) {
                Some((name, address)) if !name.is_empty() => {
                    let address = address.trim_start_matches('[').trim_end_matches(']');
                    if address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err() {
                        faults.add(format!("invalid IP address in add-host: \"{address}\""));
                    }
                }
                _ => faults.add(format!("bad format for add-host: \"{entry}\"")),
            }
        }
        for address in &self.names.dns {
            if address.parse::<std::net::IpAddr>().is_err() {
                faults.add(format!("bad nameserver address {address}"));
            }
        }
        if self.annotations.keys().any(String::is_empty) {
            faults
                .add("invalid Annotations: the empty string is not permitted as an annotation key");
        }
        if !self.cgroup_parent.is_empty() && self.cgroup_parent.split('/').any(|part| part == "..")
        {
            faults.add(format!("invalid cgroup parent: {}", self.cgroup_parent));
        }
    }
}

impl LogConfig {
    fn check(&self, faults: &mut Faults) {
        let known: &[&str] = match self.driver {
            LogDriver::JsonFile => &[
                "max-file",
                "max-size",
                "compress",
                "labels",
                "labels-regex",
                "env",
                "env-regex",
                "tag",
                "mode",
                "max-buffer-size",
            ],
            LogDriver::None => &[],
        };
        for (name, value) in &self.options {
            if !known.contains(&name.as_str()) {
                let driver = self.driver.name();
                faults.add(format!("unknown log opt '{name}' for {driver} log driver"));
            } else if matches!(
                name.as_str(),
                "compress"
                    | "labels"
                    | "labels-regex"
                    | "env"
                    | "env-regex"
                    | "tag"
                    | "max-buffer-size"
            ) || (name == "mode" && value != "blocking")
            {
                faults.add(format!("log opt '{name}' is not supported yet"));
            }
        }
    }
}

impl Resources {
    fn check_memory(&mut self, facts: &HostFacts, faults: &mut Faults, warnings: &mut Vec<String>) {
        let support = facts.limits;
        let get = |bytes: Option<std::num::NonZeroU64>| bytes.map_or(0, std::num::NonZeroU64::get);
        if (1..MINIMUM_MEMORY).contains(&get(self.memory)) {
            faults.add("Minimum memory limit allowed is 6MB");
        }
        if self.memory.is_some() && !support.memory {
            warnings.push("Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.".into());
            self.memory = None;
            self.memory_swap = MemorySwap::Unlimited;
        }
        if self.memory.is_some() && self.memory_swap != MemorySwap::Unlimited && !support.swap {
            warnings.push("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.".into());
            self.memory_swap = MemorySwap::Unlimited;
        }
        if let MemorySwap::Bytes(swap) = self.memory_swap {
            match self.memory {
                None => faults.add(
                    "You should always set the Memory limit when using Memoryswap limit, see usage",
                ),
                Some(memory) if swap < memory => faults
                    .add("Minimum memoryswap limit should be larger than memory limit, see usage"),
                Some(_) => {}
            }
        }
        if let Some(swappiness) = self.memory_swappiness {
            if swappiness > 100 {
                faults.add(format!(
                    "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
                ));
            } else if !support.swappiness {
                warnings.push("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.".into());
                self.memory_swappiness = None;
            }
        }
        if (1..MINIMUM_MEMORY).contains(&get(self.memory_reservation)) {
            faults.add("Minimum memory reservation allowed is 6MB");
        }
        if let (Some(memory), Some(reservation)) = (self.memory, self.memory_reservation)
            && memory < reservation
        {
            faults.add(
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            );
        }
        if self.oom_kill_disable && !support.oom_kill_disable {
            warnings.push(
                "Your kernel does not support OomKillDisable. OomKillDisable discarded.".into(),
            );
            self.oom_kill_disable = false;
        } else if self.oom_kill_disable && self.memory.is_none() {
            warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".into());
        }
        if self.pids_limit.is_some_and(|limit| limit > 0) && !support.pids {
            warnings.push("Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.".into());
            self.pids_limit = None;
        }
    }

    fn check_cpu(&mut self, facts: &HostFacts, faults: &mut Faults, warnings: &mut Vec<String>) {
        if let Some(nano) = self.nano_cpus {
            if self.cpu_period.is_some() {
                faults.add("Conflicting options: Nano CPUs and CPU Period cannot both be set");
            }
            if self.cpu_quota.is_some_and(|quota| quota > 0) {
                faults.add("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
            }
            let cpus = facts.cpus as u64;
            if nano.get() > cpus * 1_000_000_000 {
                faults.add(format!(
                    "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
                ));
            }
        }
        let wants_quota = self.nano_cpus.is_some()
            || self.cpu_period.is_some()
            || self.cpu_quota.is_some_and(|quota| quota != 0);
        if wants_quota && !facts.limits.cpu_quota {
            warnings.push(
                "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
                    .into(),
            );
            (self.nano_cpus, self.cpu_period, self.cpu_quota) = (None, None, None);
        }
        if self.cpu_period.is_some_and(|period| !(1_000..=1_000_000).contains(&period.get())) {
            faults.add("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
        }
        if self.cpu_quota.is_some_and(|quota| (1..1000).contains(&quota)) {
            faults.add("CPU cfs quota can not be less than 1ms (i.e. 1000)");
        }
        if (self.cpu_realtime_period.is_some() || self.cpu_realtime_runtime.is_some_and(|n| n != 0))
            && !facts.limits.cpu_realtime
        {
            faults.add("kernel does not support CPU real-time scheduler");
        }
        if self.cpu_shares.is_some() && !facts.limits.cpu_shares {
            warnings.push("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.".into());
            self.cpu_shares = None;
        }
        let sets = [
            (&self.cpuset_cpus, &facts.cpuset_cpus, "cpus", "CPUs"),
            (&self.cpuset_mems, &facts.cpuset_mems, "mems", "memory nodes"),
        ];
        for (asked, available, name, words) in sets {
            let Some(wanted) = parse_list(asked) else {
                faults.add(format!(
                    "Invalid value {asked} for cpuset {name}: invalid format: {asked}"
                ));
                continue;
            };
            let there = parse_list(available).unwrap_or_default();
            if facts.limits.cpuset && !wanted.iter().all(|number| there.contains(number)) {
                faults.add(format!(
                    "Requested {words} are not available - requested {asked}, available: {available}"
                ));
            }
        }
        let wants_cpuset = !self.cpuset_cpus.is_empty() || !self.cpuset_mems.is_empty();
        if wants_cpuset && !facts.limits.cpuset {
            warnings.push("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.".into());
            self.cpuset_cpus.clear();
            self.cpuset_mems.clear();
        }
    }

    fn check_io(&mut self, facts: &HostFacts, faults: &mut Faults, warnings: &mut Vec<String>) {
        if let Some(weight) = self.blkio_weight
            && !(10..=1000).contains(&weight)
        {
            faults.add("Range of blkio weight is from 10 to 1000");
        }
        if self.blkio_weight.is_some() && !facts.limits.blkio_weight {
            warnings.push("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.".into());
            self.blkio_weight = None;
        }
        if !self.blkio_weight_device.is_empty() && !facts.limits.blkio_weight {
            warnings.push("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.".into());
            self.blkio_weight_device.clear();
        }
        let throttles = [
            (&mut self.blkio_read_bps, "BPS Block I/O read"),
            (&mut self.blkio_write_bps, "BPS Block I/O write"),
            (&mut self.blkio_read_iops, "IOPS Block read"),
            (&mut self.blkio_write_iops, "IOPS Block write"),
        ];
        for (list, name) in throttles {
            if !list.is_empty() && !facts.limits.blkio_throttle {
                warnings.push(format!("Your kernel does not support {name} limit or the cgroup is not mounted. Block I/O limit discarded."));
                list.clear();
            }
        }
    }
}

/// Faults, collected.
#[derive(Debug, Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    fn into_result(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(EngineError::Invalid(self.0.join("\n"))) }
    }
}

#[cfg(test)]
mod tests;
