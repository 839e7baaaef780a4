//! Limits: of the cgroup and of each process.

use std::num::NonZeroU64;

/// Limits of a container's cgroup; absent is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<NonZeroU64>,
    /// Memory and swap together.
    pub memory_swap: MemorySwap,
    /// Bytes of memory under pressure.
    pub memory_reservation: Option<NonZeroU64>,
    /// Tendency to swap, 0 to 100.
    pub memory_swappiness: Option<u8>,
    /// The out-of-memory killer is off.
    pub oom_kill_disable: bool,
    /// Billionths of a processor.
    pub nano_cpus: Option<NonZeroU64>,
    /// Relative weight; 1024 is usual.
    pub cpu_shares: Option<NonZeroU64>,
    /// Period in microseconds.
    pub cpu_period: Option<NonZeroU64>,
    /// Microseconds per period; negative is unlimited.
    pub cpu_quota: Option<i64>,
    /// Real-time period in microseconds.
    pub cpu_realtime_period: Option<NonZeroU64>,
    /// Real-time microseconds per period.
    pub cpu_realtime_runtime: Option<i64>,
    /// Processors, `0-2,4`; empty is all.
    pub cpuset_cpus: String,
    /// Memory nodes; empty is all.
    pub cpuset_mems: String,
    /// How many processes and threads; zero and negative are unlimited.
    pub pids_limit: Option<i64>,
    /// Relative weight of block I/O, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Relative weight by device.
    pub blkio_weight_device: Vec<BlkioWeight>,
    /// Bytes read per second, by device.
    pub blkio_read_bps: Vec<BlkioThrottle>,
    /// Bytes written per second, by device.
    pub blkio_write_bps: Vec<BlkioThrottle>,
    /// Reads per second, by device.
    pub blkio_read_iops: Vec<BlkioThrottle>,
    /// Writes per second, by device.
    pub blkio_write_iops: Vec<BlkioThrottle>,
}

/// Memory and swap together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemorySwap {
    /// Twice the memory.
    #[default]
    Default,
    /// No limit.
    Unlimited,
    /// So many bytes.
    Bytes(NonZeroU64),
}

impl MemorySwap {
    /// From the number of the API: 0 is the default, -1 unlimited; `None` for another negative.
    #[must_use]
    pub fn from_api(bytes: i64) -> Option<Self> {
        match bytes {
            0 => Some(Self::Default),
            -1 => Some(Self::Unlimited),
            _ => u64::try_from(bytes).ok().and_then(NonZeroU64::new).map(Self::Bytes),
        }
    }

    /// To the number of the API.
    #[must_use]
    pub fn as_api(self) -> i64 {
        match self {
            Self::Default => 0,
            Self::Unlimited => -1,
            Self::Bytes(bytes) => i64::try_from(bytes.get()).unwrap_or(i64::MAX),
        }
    }
}

/// The weight of a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkioWeight {
    /// Path of the device on the host.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// The rate of a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlkioThrottle {
    /// Path of the device on the host.
    pub path: String,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// A resource limit of each process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// Its short name, `nofile`.
    pub name: String,
    /// In force; -1 is unlimited.
    pub soft: i64,
    /// The most; -1 is unlimited.
    pub hard: i64,
}
