//! Numbers as Go reads them.

use crate::template::quote::quote;

/// `strconv.ParseBool`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text))),
    }
}

/// Splits a base prefix off, as with base zero in Go.
fn digits(text: &str) -> (u32, String) {
    let lower = text.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(rest) = lower.strip_prefix(prefix) {
            return (radix, rest.replace('_', ""));
        }
    }
    match lower.strip_prefix('0') {
        Some(rest) if !rest.is_empty() => (8, rest.replace('_', "")),
        _ => (10, lower),
    }
}

fn number(text: &str, function: &str) -> Result<u128, String> {
    let (radix, digits) = digits(text);
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if !is_number {
        return Err(format!("strconv.{function}: parsing {}: invalid syntax", quote(text)));
    }
    Ok(u128::from_str_radix(&digits, radix).unwrap_or(u128::MAX))
}

/// `strconv.ParseInt` to 64 bits.
pub(crate) fn int(text: &str) -> Result<i64, String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude =
        number(rest, "ParseInt").map_err(|error| error.replace(&quote(rest), &quote(text)))?;
    let value = i128::try_from(magnitude).unwrap_or(i128::MAX);
    i64::try_from(if negative { -value } else { value }).map_err(|_too_large| {
        format!("strconv.ParseInt: parsing {}: value out of range", quote(text))
    })
}

/// `strconv.ParseUint` up to a limit.
pub(crate) fn uint(text: &str, most: u64) -> Result<u64, String> {
    let value = number(text, "ParseUint")?;
    u64::try_from(value)
        .ok()
        .filter(|value| *value <= most)
        .ok_or_else(|| format!("strconv.ParseUint: parsing {}: value out of range", quote(text)))
}

/// A number of CPUs in billionths: `1.5` is 1,500,000,000.
pub(crate) fn nano_cpus(text: &str) -> Result<i64, String> {
    let bad = || format!("failed to parse {text} as a rational number");
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().map_err(|_error| bad())?),
        None => (text, 0),
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (numerator, denominator) = number.split_once('/').unwrap_or((number, "1"));
    let (whole, fraction) = numerator.split_once('.').unwrap_or((numerator, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.chars().all(|c| c.is_ascii_digit()) {
        return Err(bad());
    }
    let digits: i128 = all.parse().map_err(|_error| bad())?;
    let divisor: i128 = denominator.parse().map_err(|_error| bad())?;
    let power = 9 + exponent - i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let precise = || "value is too precise".to_owned();
    let scale = 10i128.checked_pow(power.unsigned_abs()).ok_or_else(precise)?;
    let (top, bottom) = if power >= 0 {
        (digits.checked_mul(scale).ok_or_else(bad)?, divisor)
    } else {
        (digits, divisor.checked_mul(scale).ok_or_else(precise)?)
    };
    if bottom == 0 {
        return Err(bad());
    }
    if top % bottom != 0 {
        return Err(precise());
    }
    let value = i64::try_from(top / bottom).map_err(|_error| bad())?;
    Ok(if negative { -value } else { value })
}

/// `time.ParseDuration`, in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let length =
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (amount, after) = rest.split_at(length);
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(invalid());
        }
        let length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let nanoseconds: i128 = match unit {
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quote(unit),
                    quote(text)
                ));
            }
        };
        let whole: i128 =
            if whole.is_empty() { 0 } else { whole.parse().map_err(|_error| invalid())? };
        total += whole.saturating_mul(nanoseconds);
        let fraction = fraction.get(..18).unwrap_or(fraction);
        if !fraction.is_empty() {
            let part: i128 = fraction.parse().map_err(|_error| invalid())?;
            let scale = 10i128.pow(u32::try_from(fraction.len()).unwrap_or(18));
            total += part * nanoseconds / scale;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_error| invalid())
}
