//! What the host can do: facts that are read once, at the start.

use std::fs;
use std::path::Path;

use ferry_sys::capabilities;
use ferry_sys::cgroup::Layout;

/// What the host can do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Which cgroup hierarchy limits are in.
    pub cgroup_version: CgroupVersion,
    /// What of the limits it supports.
    pub limits: LimitSupport,
    /// How many processors there are.
    pub cpus: usize,
    /// The processors that may be used, `0-1`.
    pub cpuset_cpus: String,
    /// The memory nodes that may be used, `0`.
    pub cpuset_mems: String,
    /// Bytes of memory.
    pub memory: u64,
    /// The host's name.
    pub hostname: String,
    /// The kernel's version, `6.18.5`.
    pub kernel: String,
    /// All capabilities that the kernel and we have, `CAP_…`, by number.
    pub capabilities: Vec<String>,
    /// Thermal throttling files of the processors, masked because they tell of neighbours.
    pub thermal_paths: Vec<String>,
}

/// Which cgroup hierarchy limits are in; a hybrid host counts as version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupVersion {
    /// One hierarchy per controller.
    V1,
    /// The unified one.
    #[default]
    V2,
}

/// Which limits the kernel and the mounted hierarchies support.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct LimitSupport {
    /// Memory at all.
    pub memory: bool,
    /// Swap.
    pub swap: bool,
    /// Memory reservation.
    pub memory_reservation: bool,
    /// Swappiness of a group.
    pub swappiness: bool,
    /// Turning the out-of-memory killer off.
    pub oom_kill_disable: bool,
    /// Processor weights.
    pub cpu_shares: bool,
    /// Processor quotas.
    pub cpu_quota: bool,
    /// Real-time scheduling of a group.
    pub cpu_realtime: bool,
    /// Sets of processors and memory nodes.
    pub cpuset: bool,
    /// Number of processes.
    pub pids: bool,
    /// Weight of block I/O.
    pub blkio_weight: bool,
    /// Rates of block devices.
    pub blkio_throttle: bool,
}

impl HostFacts {
    /// Reads the facts.
    #[must_use]
    pub fn read() -> Self {
        let mounts = Cgroups(Layout::parse(&read("/proc/self/mountinfo")));
        let uname = rustix::system::uname();
        let capabilities = capabilities::names()
            .filter(|name| capabilities::number(name).is_some_and(is_in_bounding_set))
            .collect();
        let cpuset_file = |v1: &str, v2: &str| match mounts.version() {
            CgroupVersion::V1 => mounts.directory("cpuset").map(|root| read(root.join(v1))),
            CgroupVersion::V2 => mounts.unified().map(|root| read(root.join(v2))),
        };
        Self {
            cgroup_version: mounts.version(),
            limits: mounts.support(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpuset_cpus: cpuset_file("cpuset.cpus", "cpuset.cpus.effective")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            cpuset_mems: cpuset_file("cpuset.mems", "cpuset.mems.effective")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            memory: memory_bytes(&read("/proc/meminfo")),
            hostname: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            capabilities,
            thermal_paths: thermal_paths(),
        }
    }
}

/// What the mounted hierarchies say.
struct Cgroups(Layout);

impl Cgroups {
    fn version(&self) -> CgroupVersion {
        if self.0.is_unified() { CgroupVersion::V2 } else { CgroupVersion::V1 }
    }

    fn directory(&self, controller: &str) -> Option<&Path> {
        self.0.version1(controller).map(|mounted| mounted.mountpoint.as_path())
    }

    fn unified(&self) -> Option<&Path> {
        self.0.unified().map(|mounted| mounted.mountpoint.as_path())
    }

    fn support(&self) -> LimitSupport {
        match self.version() {
            CgroupVersion::V1 => self.support_v1(),
            CgroupVersion::V2 => self.support_v2(),
        }
    }

    fn support_v1(&self) -> LimitSupport {
        let has = |controller: &str, file: &str| {
            self.directory(controller).is_some_and(|directory| directory.join(file).exists())
        };
        LimitSupport {
            memory: has("memory", "memory.limit_in_bytes"),
            swap: has("memory", "memory.memsw.limit_in_bytes"),
            memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
            swappiness: has("memory", "memory.swappiness"),
            oom_kill_disable: has("memory", "memory.oom_control"),
            cpu_shares: has("cpu", "cpu.shares"),
            cpu_quota: has("cpu", "cpu.cfs_quota_us"),
            cpu_realtime: has("cpu", "cpu.rt_runtime_us"),
            cpuset: has("cpuset", "cpuset.cpus"),
            pids: self.directory("pids").is_some(),
            blkio_weight: has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.weight"),
            blkio_throttle: has("blkio", "blkio.throttle.read_bps_device"),
        }
    }

    fn support_v2(&self) -> LimitSupport {
        let Some(root) = self.unified() else { return LimitSupport::default() };
        let controllers = read(root.join("cgroup.controllers"));
        let has = |name: &str| controllers.split_whitespace().any(|known| known == name);
        LimitSupport {
            memory: has("memory"),
            swap: has("memory") && Path::new("/proc/swaps").exists(),
            memory_reservation: has("memory"),
            swappiness: false,
            oom_kill_disable: false,
            cpu_shares: has("cpu"),
            cpu_quota: has("cpu"),
            cpu_realtime: false,
            cpuset: has("cpuset"),
            pids: has("pids"),
            blkio_weight: has("io"),
            blkio_throttle: has("io"),
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What is not in our own bounding set no child of ours can have.
fn is_in_bounding_set(number: u32) -> bool {
    use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};
    capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number)).unwrap_or(false)
}

fn memory_bytes(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn thermal_paths() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let mut paths: Vec<String> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let digits = name.to_string_lossy();
            digits.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok())
        })
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    paths.sort();
    paths
}

/// The numbers of a list such as `0-2,4`; `None` when it is malformed.
#[must_use]
pub(crate) fn parse_list(list: &str) -> Option<Vec<u32>> {
    const MOST: u32 = 8192;
    let mut numbers = Vec::new();
    if list.is_empty() {
        return Some(numbers);
    }
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last > MOST {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_counts_as_version_one() {
        let unified = "31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n";
        let hybrid = format!(
            "{unified}35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        );
        let mounts = Cgroups(Layout::parse(&hybrid));
        assert_eq!(mounts.version(), CgroupVersion::V1);
        assert_eq!(mounts.directory("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(Cgroups(Layout::parse(unified)).version(), CgroupVersion::V2);
    }

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(parse_list("0-2,4"), Some(vec![0, 1, 2, 4]));
        assert_eq!(parse_list(""), Some(vec![]));
        for bad in ["x", "2-1", "1,", "-1", "0-99999999"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(memory_bytes("MemTotal:        8044560 kB\nMemFree: 1 kB\n"), 8_237_629_440);
    }
}
