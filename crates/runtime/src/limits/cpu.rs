//! Processors.

use ferry_oci::runtime::Cpu;
use ferry_sys::cgroup::Version;

use super::{Facts, LimitError, Steps, convert};

pub(super) fn plan<F: Facts>(steps: &mut Steps<'_, F>, cpu: &Cpu) -> Result<(), LimitError> {
    let Cpu { shares, quota, burst, period, realtime_runtime, realtime_period, cpus, mems, idle } =
        cpu;
    let shares = shares.filter(|value| *value != 0);
    let quota = quota.filter(|value| *value != 0);
    let period = period.filter(|value| *value != 0);
    let realtime_runtime = realtime_runtime.filter(|value| *value != 0);
    let realtime_period = realtime_period.filter(|value| *value != 0);
    let time = shares.is_some()
        || quota.is_some()
        || burst.is_some()
        || period.is_some()
        || idle.is_some()
        || realtime_runtime.is_some()
        || realtime_period.is_some();
    if time {
        match steps.need("CPU", "cpu")? {
            Version::One => {
                version1(steps, &Time { shares, quota, burst: *burst, period, idle: *idle })?;
                if let Some(period) = realtime_period {
                    let value = period.to_string();
                    steps.write("CPU real-time period", "cpu", "cpu.rt_period_us", value)?;
                }
                if let Some(runtime) = realtime_runtime {
                    let value = runtime.to_string();
                    steps.write("CPU real-time runtime", "cpu", "cpu.rt_runtime_us", value)?;
                }
            }
            Version::Two => {
                if realtime_runtime.is_some() || realtime_period.is_some() {
                    let text = "cannot set CPU real-time limits with cgroup version 2";
                    return Err(LimitError::Invalid(text.to_owned()));
                }
                version2(steps, &Time { shares, quota, burst: *burst, period, idle: *idle })?;
            }
        }
    }
    for (what, file, value) in
        [("CPUs", "cpuset.cpus", cpus), ("memory nodes", "cpuset.mems", mems)]
    {
        if !value.is_empty() {
            steps.write(what, "cpuset", file, value.clone())?;
        }
    }
    Ok(())
}

/// What is set about processor time.
struct Time {
    shares: Option<u64>,
    quota: Option<i64>,
    burst: Option<u64>,
    period: Option<u64>,
    idle: Option<i64>,
}

fn version1<F: Facts>(steps: &mut Steps<'_, F>, time: &Time) -> Result<(), LimitError> {
    if let Some(shares) = time.shares {
        steps.write("CPU shares", "cpu", "cpu.shares", shares.to_string())?;
    }
    // Order: a quota is checked against the period, and a burst against the quota.
    if let Some(period) = time.period {
        steps.write("CPU period", "cpu", "cpu.cfs_period_us", period.to_string())?;
    }
    if let Some(quota) = time.quota {
        steps.write("CPU quota", "cpu", "cpu.cfs_quota_us", quota.to_string())?;
    }
    if let Some(burst) = time.burst {
        steps.write("CPU burst", "cpu", "cpu.cfs_burst_us", burst.to_string())?;
    }
    if let Some(idle) = time.idle {
        steps.write("CPU idle", "cpu", "cpu.idle", idle.to_string())?;
    }
    Ok(())
}

fn version2<F: Facts>(steps: &mut Steps<'_, F>, time: &Time) -> Result<(), LimitError> {
    if let Some(idle) = time.idle {
        steps.write("CPU idle", "cpu", "cpu.idle", idle.to_string())?;
    }
    // An idle group has no weight.
    if let Some(weight) = time.shares.and_then(convert::cpu_weight)
        && time.idle != Some(1)
    {
        steps.write("CPU shares", "cpu", "cpu.weight", weight.to_string())?;
    }
    if time.quota.is_some() || time.period.is_some() {
        let quota = match time.quota {
            Some(quota) if quota > 0 => quota.to_string(),
            _ => "max".to_owned(),
        };
        let period = time.period.unwrap_or(100_000);
        steps.write("CPU quota", "cpu", "cpu.max", format!("{quota} {period}"))?;
    }
    if let Some(burst) = time.burst {
        steps.write("CPU burst", "cpu", "cpu.max.burst", burst.to_string())?;
    }
    Ok(())
}
