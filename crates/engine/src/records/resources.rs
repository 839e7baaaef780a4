//! Limits, in a container's record.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::spec::{BlkioThrottle, BlkioWeight, MemorySwap, Resources};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ResourcesRecord {
    #[serde(default)]
    memory: Option<NonZeroU64>,
    #[serde(default)]
    memory_swap: i64,
    #[serde(default)]
    memory_reservation: Option<NonZeroU64>,
    #[serde(default)]
    memory_swappiness: Option<u8>,
    #[serde(default)]
    oom_kill_disable: bool,
    #[serde(default)]
    nano_cpus: Option<NonZeroU64>,
    #[serde(default)]
    cpu_shares: Option<NonZeroU64>,
    #[serde(default)]
    cpu_period: Option<NonZeroU64>,
    #[serde(default)]
    cpu_quota: Option<i64>,
    #[serde(default)]
    cpu_realtime_period: Option<NonZeroU64>,
    #[serde(default)]
    cpu_realtime_runtime: Option<i64>,
    #[serde(default)]
    cpuset_cpus: String,
    #[serde(default)]
    cpuset_mems: String,
    #[serde(default)]
    pids_limit: Option<i64>,
    #[serde(default)]
    blkio_weight: Option<u16>,
    #[serde(default)]
    blkio_weight_device: Vec<WeightRecord>,
    #[serde(default)]
    blkio_read_bps: Vec<ThrottleRecord>,
    #[serde(default)]
    blkio_write_bps: Vec<ThrottleRecord>,
    #[serde(default)]
    blkio_read_iops: Vec<ThrottleRecord>,
    #[serde(default)]
    blkio_write_iops: Vec<ThrottleRecord>,
}

impl ResourcesRecord {
    pub(super) fn from_domain(domain: &Resources) -> Self {
        let Resources {
            memory,
            memory_swap,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            nano_cpus,
            cpu_shares,
            cpu_period,
            cpu_quota,
            cpu_realtime_period,
            cpu_realtime_runtime,
            cpuset_cpus,
            cpuset_mems,
            pids_limit,
            blkio_weight,
            blkio_weight_device,
            blkio_read_bps,
            blkio_write_bps,
            blkio_read_iops,
            blkio_write_iops,
        } = domain;
        Self {
            memory: *memory,
            memory_swap: memory_swap.as_api(),
            memory_reservation: *memory_reservation,
            memory_swappiness: *memory_swappiness,
            oom_kill_disable: *oom_kill_disable,
            nano_cpus: *nano_cpus,
            cpu_shares: *cpu_shares,
            cpu_period: *cpu_period,
            cpu_quota: *cpu_quota,
            cpu_realtime_period: *cpu_realtime_period,
            cpu_realtime_runtime: *cpu_realtime_runtime,
            cpuset_cpus: cpuset_cpus.clone(),
            cpuset_mems: cpuset_mems.clone(),
            pids_limit: *pids_limit,
            blkio_weight: *blkio_weight,
            blkio_weight_device: blkio_weight_device
                .iter()
                .map(WeightRecord::from_domain)
                .collect(),
            blkio_read_bps: blkio_read_bps.iter().map(ThrottleRecord::from_domain).collect(),
            blkio_write_bps: blkio_write_bps.iter().map(ThrottleRecord::from_domain).collect(),
            blkio_read_iops: blkio_read_iops.iter().map(ThrottleRecord::from_domain).collect(),
            blkio_write_iops: blkio_write_iops.iter().map(ThrottleRecord::from_domain).collect(),
        }
    }

    pub(super) fn into_domain(self) -> Result<Resources, String> {
        let Self {
            memory,
            memory_swap,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            nano_cpus,
            cpu_shares,
            cpu_period,
            cpu_quota,
            cpu_realtime_period,
            cpu_realtime_runtime,
            cpuset_cpus,
            cpuset_mems,
            pids_limit,
            blkio_weight,
            blkio_weight_device,
            blkio_read_bps,
            blkio_write_bps,
            blkio_read_iops,
            blkio_write_iops,
        } = self;
        Ok(Resources {
            memory,
            memory_swap: MemorySwap::from_api(memory_swap).ok_or("memory swap")?,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            nano_cpus,
            cpu_shares,
            cpu_period,
            cpu_quota,
            cpu_realtime_period,
            cpu_realtime_runtime,
            cpuset_cpus,
            cpuset_mems,
            pids_limit,
            blkio_weight,
            blkio_weight_device: blkio_weight_device
                .into_iter()
                .map(WeightRecord::into_domain)
                .collect::<Result<_, _>>()?,
            blkio_read_bps: blkio_read_bps
                .into_iter()
                .map(ThrottleRecord::into_domain)
                .collect::<Result<_, _>>()?,
            blkio_write_bps: blkio_write_bps
                .into_iter()
                .map(ThrottleRecord::into_domain)
                .collect::<Result<_, _>>()?,
            blkio_read_iops: blkio_read_iops
                .into_iter()
                .map(ThrottleRecord::into_domain)
                .collect::<Result<_, _>>()?,
            blkio_write_iops: blkio_write_iops
                .into_iter()
                .map(ThrottleRecord::into_domain)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct WeightRecord {
    #[serde(default)]
    path: String,
    #[serde(default)]
    weight: u16,
}

impl WeightRecord {
    pub(super) fn from_domain(domain: &BlkioWeight) -> Self {
        let BlkioWeight { path, weight } = domain;
        Self { path: path.clone(), weight: *weight }
    }

    pub(super) fn into_domain(self) -> Result<BlkioWeight, String> {
        let Self { path, weight } = self;
        Ok(BlkioWeight { path, weight })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ThrottleRecord {
    #[serde(default)]
    path: String,
    #[serde(default)]
    rate: u64,
}

impl ThrottleRecord {
    pub(super) fn from_domain(domain: &BlkioThrottle) -> Self {
        let BlkioThrottle { path, rate } = domain;
        Self { path: path.clone(), rate: *rate }
    }

    pub(super) fn into_domain(self) -> Result<BlkioThrottle, String> {
        let Self { path, rate } = self;
        Ok(BlkioThrottle { path, rate })
    }
}
