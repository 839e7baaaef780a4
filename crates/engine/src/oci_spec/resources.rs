//! Limits of the cgroup.

use std::num::NonZeroU64;

use ferry_oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources, ThrottleDevice, WeightDevice};

use super::{SpecInput, devices};
use crate::spec::{BlkioThrottle, MemorySwap};

/// Docker's period for `--cpus`, in microseconds.
const CPU_PERIOD: u64 = 100_000;

pub(super) fn resources(input: &SpecInput<'_>) -> Resources {
    Resources {
        devices: devices::rules(input),
        memory: Some(memory(input)),
        cpu: cpu(input),
        pids: pids(input),
        block_io: block_io(input),
        ..Resources::default()
    }
}

fn memory(input: &SpecInput<'_>) -> Memory {
    let asked = &input.spec.host.resources;
    let bytes = |bytes: NonZeroU64| i64::try_from(bytes.get()).unwrap_or(i64::MAX);
    let swap = match (asked.memory_swap, asked.memory) {
        // Compat: twice the memory when only the memory was said.
        (MemorySwap::Default, Some(memory)) => Some(bytes(memory).saturating_mul(2)),
        (MemorySwap::Bytes(swap), _) => Some(bytes(swap)),
        (MemorySwap::Default, None) | (MemorySwap::Unlimited, _) => None,
    };
    Memory {
        limit: asked.memory.map(bytes),
        reservation: asked.memory_reservation.map(bytes),
        swap,
        swappiness: asked.memory_swappiness.map(u64::from),
        disable_oom_killer: Some(asked.oom_kill_disable),
        ..Memory::default()
    }
}

fn cpu(input: &SpecInput<'_>) -> Option<Cpu> {
    let asked = &input.spec.host.resources;
    let mut cpu = Cpu {
        shares: asked.cpu_shares.map(NonZeroU64::get),
        quota: asked.cpu_quota.filter(|quota| *quota != 0),
        period: asked.cpu_period.map(NonZeroU64::get),
        realtime_runtime: asked.cpu_realtime_runtime.filter(|runtime| *runtime != 0),
        realtime_period: asked.cpu_realtime_period.map(NonZeroU64::get),
        cpus: asked.cpuset_cpus.clone(),
        mems: asked.cpuset_mems.clone(),
        ..Cpu::default()
    };
    if let Some(nano) = asked.nano_cpus {
        cpu.period = Some(CPU_PERIOD);
        let quota = nano.get().saturating_mul(CPU_PERIOD / 1000) / 1_000_000;
        cpu.quota = Some(i64::try_from(quota).unwrap_or(i64::MAX));
    }
    (cpu != Cpu::default()).then_some(cpu)
}

fn pids(input: &SpecInput<'_>) -> Option<Pids> {
    let limit = input.spec.host.resources.pids_limit.filter(|limit| *limit != 0)?;
    Some(Pids { limit: Some(limit.max(-1)) })
}

fn block_io(input: &SpecInput<'_>) -> Option<BlockIo> {
    let asked = &input.spec.host.resources;
    let throttles = |list: &[BlkioThrottle]| -> Vec<ThrottleDevice> {
        list.iter()
            .filter_map(|throttle| {
                let (major, minor) = *input.block_devices.get(&throttle.path)?;
                Some(ThrottleDevice { major, minor, rate: throttle.rate })
            })
            .collect()
    };
    let block_io = BlockIo {
        weight: asked.blkio_weight,
        weight_device: asked
            .blkio_weight_device
            .iter()
            .filter_map(|device| {
                let (major, minor) = *input.block_devices.get(&device.path)?;
                let weight = Some(device.weight);
                Some(WeightDevice { major, minor, weight, leaf_weight: None })
            })
            .collect(),
        throttle_read_bps_device: throttles(&asked.blkio_read_bps),
        throttle_write_bps_device: throttles(&asked.blkio_write_bps),
        throttle_read_iops_device: throttles(&asked.blkio_read_iops),
        throttle_write_iops_device: throttles(&asked.blkio_write_iops),
        ..BlockIo::default()
    };
    (block_io != BlockIo::default()).then_some(block_io)
}
