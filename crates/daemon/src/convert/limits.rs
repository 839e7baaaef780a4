//! Limits: from the numbers of the API.

use std::{collections::BTreeMap, num::NonZeroU64};

use ferry_api::{HostConfig, host_config};
use ferry_engine::spec::{BlkioThrottle, BlkioWeight, MemorySwap, Resources, Ulimit};

use crate::convert::Faults;

/// Converts the limits of the cgroup.
pub(crate) fn resources(config: &HostConfig, faults: &mut Faults) -> Resources {
    Resources {
        memory: positive(config.memory, "Minimum memory limit allowed is 6MB", faults),
        memory_swap: MemorySwap::from_api(config.memory_swap).unwrap_or_else(|| {
            faults
                .invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
            MemorySwap::Default
        }),
        memory_reservation: positive(
            config.memory_reservation,
            "Minimum memory reservation allowed is 6MB",
            faults,
        ),
        memory_swappiness: swappiness(config.memory_swappiness, faults),
        oom_kill_disable: config.oom_kill_disable.unwrap_or_default(),
        nano_cpus: positive(config.nano_cpus, &cpu_range(), faults),
        cpu_shares: positive(config.cpu_shares, "CPU shares can not be negative", faults),
        cpu_period: positive(
            config.cpu_period,
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            faults,
        ),
        cpu_quota: Some(config.cpu_quota).filter(|quota| *quota != 0),
        cpu_realtime_period: positive(
            config.cpu_realtime_period,
            "CPU real-time period can not be negative",
            faults,
        ),
        cpu_realtime_runtime: Some(config.cpu_realtime_runtime).filter(|runtime| *runtime != 0),
        cpuset_cpus: config.cpuset_cpus.clone(),
        cpuset_mems: config.cpuset_mems.clone(),
        // Compat: zero and everything negative are no limit.
        pids_limit: config.pids_limit.filter(|limit| *limit > 0),
        blkio_weight: Some(config.blkio_weight).filter(|weight| *weight != 0),
        blkio_weight_device: config
            .blkio_weight_device
            .iter()
            .flatten()
            .map(|host_config::WeightDevice { path, weight }| BlkioWeight {
                path: path.clone(),
                weight: *weight,
            })
            .collect(),
        blkio_read_bps: throttles(config.blkio_device_read_bps.as_ref()),
        blkio_write_bps: throttles(config.blkio_device_write_bps.as_ref()),
        blkio_read_iops: throttles(config.blkio_device_read_iops.as_ref()),
        blkio_write_iops: throttles(config.blkio_device_write_iops.as_ref()),
    }
}

/// Converts the limits of each process; those of the daemon apply where there is none.
pub(crate) fn ulimits(
    asked: Option<&[host_config::Ulimit]>,
    defaults: &BTreeMap<String, Ulimit>,
) -> Vec<Ulimit> {
    let asked: Vec<Ulimit> = asked
        .unwrap_or_default()
        .iter()
        .map(|host_config::Ulimit { name, hard, soft }| Ulimit {
            name: name.clone(),
            soft: *soft,
            hard: *hard,
        })
        .collect();
    let others =
        defaults.values().filter(|default| asked.iter().all(|own| own.name != default.name));
    let others: Vec<Ulimit> = others.cloned().collect();
    asked.into_iter().chain(others).collect()
}

fn cpu_range() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available")
}

fn positive(value: i64, refusal: &str, faults: &mut Faults) -> Option<NonZeroU64> {
    match u64::try_from(value) {
        Ok(value) => NonZeroU64::new(value),
        Err(_) => {
            faults.invalid(refusal);
            None
        }
    }
}

fn swappiness(value: Option<i64>, faults: &mut Faults) -> Option<u8> {
    match value {
        None | Some(-1) => None,
        Some(value) => match u8::try_from(value) {
            Ok(value @ 0..=100) => Some(value),
            Ok(_) | Err(_) => {
                faults.invalid(format!(
                    "Invalid value: {value}, valid memory swappiness range is 0-100"
                ));
                None
            }
        },
    }
}

fn throttles(devices: Option<&Vec<host_config::ThrottleDevice>>) -> Vec<BlkioThrottle> {
    let devices = devices.into_iter().flatten();
    devices
        .map(|host_config::ThrottleDevice { path, rate }| BlkioThrottle {
            path: path.clone(),
            rate: *rate,
        })
        .collect()
}
