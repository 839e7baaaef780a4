//! Sizes and durations for people, in the words of Docker's `go-units`.

/// A duration in one unit: `5 minutes`, `About an hour`.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Half an hour more is an hour more.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// A decimal size with `digits` significant digits: `1.24MB`.
pub(crate) fn human_size(bytes: i64, digits: usize) -> String {
    custom(bytes, digits, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
}

/// A binary size with four significant digits: `23.54GiB`.
pub(crate) fn binary_size(bytes: i64) -> String {
    custom(bytes, 4, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
}

fn custom(bytes: i64, digits: usize, base: f64, names: &[&str]) -> String {
    let mut size = float(bytes);
    let mut at = 0;
    while size >= base && at < names.len() - 1 {
        size /= base;
        at += 1;
    }
    format!("{}{}", significant(size, digits), names[at])
}

#[expect(clippy::cast_precision_loss, reason = "three or four digits of it are shown")]
fn float(bytes: i64) -> f64 {
    bytes as f64
}

/// Go's `%.Ng`.
fn significant(number: f64, digits: usize) -> String {
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let most = i32::try_from(digits).unwrap_or(i32::MAX);
    if power < -4 || power >= most {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), power.abs());
    }
    let decimals = usize::try_from(most - 1 - power).unwrap_or(0);
    trim(&format!("{number:.decimals$}"))
}

/// Reads a binary size such as `64m` or `1.5GiB`; the error is Docker's.
pub(crate) fn parse_bytes(text: &str) -> Result<i64, String> {
    let Some(last) = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ') else {
        return Err(format!("invalid size: '{text}'"));
    };
    let suffix = text[last + 1..].to_ascii_lowercase();
    let number = if text[last..].starts_with(' ') { &text[..last] } else { &text[..=last] };
    let is_number =
        number.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e'));
    let size = number
        .parse::<f64>()
        .ok()
        .filter(|_| is_number)
        .ok_or_else(|| format!("strconv.ParseFloat: parsing \"{number}\": invalid syntax"))?;
    if size < 0.0 {
        return Err(format!("invalid size: '{text}'"));
    }
    let bad = || format!("invalid suffix: '{suffix}'");
    let mut chars = suffix.chars();
    let Some(unit) = chars.next() else { return Ok(whole(size)) };
    let power = match unit {
        'b' if suffix.len() == 1 => return Ok(whole(size)),
        'k' => 1,
        'm' => 2,
        'g' => 3,
        't' => 4,
        'p' => 5,
        _ => return Err(bad()),
    };
    if !matches!(chars.as_str(), "" | "b" | "ib") {
        return Err(bad());
    }
    Ok(whole(size * 1024f64.powi(power)))
}

#[expect(clippy::cast_possible_truncation, reason = "Go truncates too, and `as` saturates")]
fn whole(size: f64) -> i64 {
    size as i64
}
