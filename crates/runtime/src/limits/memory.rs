//! Memory and swap.

use ferry_oci::runtime::Memory;
use ferry_sys::cgroup::Version;

use super::{Facts, LimitError, Steps, convert};

pub(super) fn plan<F: Facts>(steps: &mut Steps<'_, F>, memory: &Memory) -> Result<(), LimitError> {
    let Memory {
        limit,
        reservation,
        swap,
        // Without effect on every kernel since 5.16; runc passes it over too.
        kernel: _,
        kernel_tcp,
        swappiness,
        disable_oom_killer,
        // Every kernel since 6.0 has nothing else; runc passes it over too.
        use_hierarchy: _,
        check_before_update,
    } = memory;
    let wanted =
        [limit, reservation, swap, kernel_tcp].into_iter().flatten().any(|value| *value != 0)
            || swappiness.is_some()
            || *disable_oom_killer == Some(true);
    if !wanted {
        return Ok(());
    }
    let limit = limit.unwrap_or(0);
    let swap = swap.unwrap_or(0);
    match steps.need("memory", "memory")? {
        Version::One => {
            version1_limits(steps, limit, swap)?;
            if let Some(reservation) = reservation.filter(|value| *value != 0) {
                let file = "memory.soft_limit_in_bytes";
                steps.write("memory reservation", "memory", file, reservation.to_string())?;
            }
            if let Some(limit) = kernel_tcp.filter(|value| *value != 0) {
                let file = "memory.kmem.tcp.limit_in_bytes";
                steps.write("kernel TCP memory", "memory", file, limit.to_string())?;
            }
            if *disable_oom_killer == Some(true) {
                steps.write("the OOM killer", "memory", "memory.oom_control", "1")?;
            }
            match swappiness {
                None => {}
                Some(value @ 0..=100) => {
                    steps.write("swappiness", "memory", "memory.swappiness", value.to_string())?;
                }
                Some(value) => {
                    let text =
                        format!("invalid memory swappiness value: {value} (valid range is 0-100)");
                    return Err(LimitError::Invalid(text));
                }
            }
            Ok(())
        }
        Version::Two => {
            let refuse = |what: &str| {
                Err(LimitError::Invalid(format!("cannot set {what} with cgroup version 2")))
            };
            if swappiness.is_some() {
                return refuse("memory swappiness");
            }
            if *disable_oom_killer == Some(true) {
                return refuse("disableOOMKiller");
            }
            if kernel_tcp.is_some_and(|value| value != 0) {
                return refuse("kernel TCP memory");
            }
            if check_before_update == &Some(true) {
                check_usage(steps, limit)?;
            }
            if let Some(value) = convert::swap_alone(swap, limit)? {
                // Without swap accounting there is nothing to lift.
                if value != "max" || steps.facts.has("memory", "memory.swap.max") {
                    steps.write("swap", "memory", "memory.swap.max", value)?;
                }
            }
            if limit != 0 {
                steps.write("memory", "memory", "memory.max", convert::or_max(limit))?;
            }
            if let Some(reservation) = reservation.filter(|value| *value != 0) {
                let value = convert::or_max(reservation);
                steps.write("memory reservation", "memory", "memory.low", value)?;
            }
            Ok(())
        }
    }
}

/// Limit of memory, and of memory and swap together: the second must never be beneath the first, so
/// which goes first depends on where they are now.
fn version1_limits<F: Facts>(
    steps: &mut Steps<'_, F>,
    limit: i64,
    mut swap: i64,
) -> Result<(), LimitError> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    if limit == -1 && swap == 0 && steps.facts.has("memory", SWAP) {
        swap = -1;
    }
    let now = steps.facts.number("memory", LIMIT).unwrap_or(0);
    let swap_first =
        limit != 0 && swap != 0 && (swap == -1 || u64::try_from(swap).is_ok_and(|swap| now < swap));
    let mut order = [(limit, LIMIT, "memory"), (swap, SWAP, "swap")];
    if swap_first {
        order.reverse();
    }
    for (value, file, what) in order {
        if value != 0 {
            steps.write(what, "memory", file, value.to_string())?;
        }
    }
    Ok(())
}

fn check_usage<F: Facts>(steps: &Steps<'_, F>, limit: i64) -> Result<(), LimitError> {
    let used = steps.facts.number("memory", "memory.current").unwrap_or(0);
    match u64::try_from(limit) {
        Ok(limit) if limit != 0 && used > limit => Err(LimitError::Invalid(format!(
            "rejecting memory limit {limit} because resource usage is {used}"
        ))),
        _ => Ok(()),
    }
}
