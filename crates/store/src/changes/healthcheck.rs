//! The `HEALTHCHECK` instruction.

use ferry_oci::image::Healthcheck;

use super::{divide, invalid, json_words};
use crate::error::StoreError;

const MILLISECOND: i64 = 1_000_000;

pub(super) fn parse(rest: &str) -> Result<Healthcheck, StoreError> {
    let mut healthcheck = Healthcheck::default();
    let mut rest = rest;
    while rest.starts_with("--") {
        let (flag, after) = divide(rest);
        rest = after;
        if flag == "--" {
            break;
        }
        set(&mut healthcheck, flag)?;
    }
    if rest.is_empty() {
        return Err(invalid("HEALTHCHECK requires at least one argument"));
    }
    let (kind, line) = divide(rest);
    healthcheck.test = Some(match kind.to_ascii_uppercase().as_str() {
        "NONE" if line.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" => match json_words(line)? {
            Some(words) if !words.is_empty() => {
                std::iter::once("CMD".to_owned()).chain(words).collect()
            }
            None if !line.is_empty() => vec!["CMD-SHELL".to_owned(), line.to_owned()],
            _ => return Err(invalid("Missing command after HEALTHCHECK CMD")),
        },
        kind => {
            return Err(invalid(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)")));
        }
    });
    Ok(healthcheck)
}

fn set(healthcheck: &mut Healthcheck, flag: &str) -> Result<(), StoreError> {
    let (name, value) = match flag[2..].split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (&flag[2..], None),
    };
    let value = || value.ok_or_else(|| invalid(format!("missing a value on flag: {name}")));
    let place = match name {
        "interval" => &mut healthcheck.interval,
        "timeout" => &mut healthcheck.timeout,
        "start-period" => &mut healthcheck.start_period,
        "start-interval" => &mut healthcheck.start_interval,
        "retries" => {
            let text = value()?;
            let count: i64 = text.parse().map_err(|_number| {
                invalid(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            })?;
            if count < 0 {
                return Err(invalid(format!("--retries cannot be negative, got {count}")));
            }
            healthcheck.retries = count;
            return Ok(());
        }
        _ => return Err(invalid(format!("unknown flag: --{name}"))),
    };
    *place = duration(value()?)?;
    if *place != 0 && *place < MILLISECOND {
        return Err(invalid(format!("Interval {name:?} cannot be less than 1ms")));
    }
    Ok(())
}

/// A duration as Go writes it, `1h2m3.5s`, in nanoseconds.
fn duration(text: &str) -> Result<i64, StoreError> {
    let wrong = || invalid(format!("time: invalid duration {text:?}"));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        let end = rest.find(|c| !digits(c)).unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_number| wrong())?;
        rest = &rest[end..];
        let end = rest.find(digits).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(invalid(format!("time: missing unit in duration {text:?}"))),
            unit => {
                return Err(invalid(format!("time: unknown unit {unit:?} in duration {text:?}")));
            }
        };
        total += number * unit;
        rest = &rest[end..];
    }
    // Beyond 2^53 nanoseconds, 104 days, the last digits are lost; nobody waits so exactly.
    if total >= 9.2e18 {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, reason = "just checked")]
    let nanoseconds = total.round() as i64;
    Ok(if negative { -nanoseconds } else { nanoseconds })
}
