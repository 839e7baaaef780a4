//! Numbers of version 1 in the scales of version 2, as runc converts them.

use super::LimitError;

/// `cpu.shares` (2 to 262144, usually 1024) as `cpu.weight` (1 to 10000, usually 100); 0 is unset.
pub(super) fn cpu_weight(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1..=2 => Some(1),
        262_144.. => Some(10_000),
        shares => {
            // A parabola of the logarithms through (2, 1), (1024, 100) and (262144, 10000), so that
            // what is usual stays usual.
            let log = f64::from(u32::try_from(shares).unwrap_or(u32::MAX)).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            (1_u32..=10_000)
                .find(|weight| f64::from(*weight) >= 10_f64.powf(exponent))
                .map(u64::from)
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.max(10)) - 10) * 9999 / 990
}

/// Memory and swap together, as swap alone; `None` leaves it.
pub(super) fn swap_alone(both: i64, memory: i64) -> Result<Option<String>, LimitError> {
    let invalid = |text: &str| Err(LimitError::Invalid(text.to_owned()));
    match (both, memory) {
        // No limit of memory without a word about swap is no limit of swap either.
        (0, -1) => Ok(Some("max".to_owned())),
        (0, _) => Ok(None),
        (-1, _) => Ok(Some("max".to_owned())),
        (both, _) if both < 0 => invalid(&format!("invalid memory+swap value: {both}")),
        (_, 0 | -1) => invalid("unable to set swap limit without memory limit"),
        (_, memory) if memory < 0 => invalid(&format!("invalid memory value: {memory}")),
        (both, memory) if both < memory => invalid("memory+swap limit should be >= memory limit"),
        (both, memory) => Ok(Some((both - memory).to_string())),
    }
}

/// A limit where -1 is none.
pub(super) fn or_max(limit: i64) -> String {
    if limit == -1 { "max".to_owned() } else { limit.to_string() }
}
