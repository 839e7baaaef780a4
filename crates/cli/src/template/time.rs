//! Moments and durations as Go prints them.

use std::rc::Rc;

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use super::value::Value;

/// Reads RFC 3339, keeping the offset it was written with.
fn read(text: &str) -> Option<Zoned> {
    let stamp: Timestamp = text.parse().ok()?;
    if text.ends_with(['Z', 'z']) {
        return Some(stamp.to_zoned(TimeZone::UTC));
    }
    let suffix = text.get(text.len().checked_sub(6)?..)?;
    let hours: i32 = suffix.get(1..3)?.parse().ok()?;
    let minutes: i32 = suffix.get(4..6)?.parse().ok()?;
    let sign = if suffix.starts_with('-') { -1 } else { 1 };
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
    Some(stamp.to_zoned(TimeZone::fixed(offset)))
}

/// `time.Time.String`.
pub(crate) fn print(text: &str) -> String {
    if text.starts_with("0001-01-01T00:00:00Z") {
        return "0001-01-01 00:00:00 +0000 UTC".into();
    }
    let Some(time) = read(text) else { return text.into() };
    let fraction = match time.subsec_nanosecond() {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    };
    let offset = time.strftime("%z").to_string();
    let local = time.with_time_zone(TimeZone::system());
    let zone = if text.ends_with(['Z', 'z']) {
        "UTC".to_owned()
    } else if local.offset() == time.offset() {
        local.strftime("%Z").to_string()
    } else {
        offset.clone()
    };
    format!("{}{fraction} {offset} {zone}", time.strftime("%Y-%m-%d %H:%M:%S"))
}

/// Calls a method of `time.Time`; `None` if we know none of that name.
pub(super) fn call(text: &Rc<str>, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let time = read(text).unwrap_or_else(|| Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC));
    let is_zero = text.starts_with("0001-01-01T00:00:00Z");
    let stamp = time.timestamp();
    let value = match (name, args) {
        ("Unix", []) => Value::Int(stamp.as_second(), "int64"),
        ("UnixMilli", []) => Value::Int(stamp.as_millisecond(), "int64"),
        ("UnixMicro", []) => Value::Int(stamp.as_microsecond(), "int64"),
        ("UnixNano", []) => Value::Int(i64::try_from(stamp.as_nanosecond()).ok()?, "int64"),
        ("Year", []) => Value::int(time.year().into()),
        ("Day", []) => Value::int(time.day().into()),
        ("Hour", []) => Value::int(time.hour().into()),
        ("Minute", []) => Value::int(time.minute().into()),
        ("Second", []) => Value::int(time.second().into()),
        ("Nanosecond", []) => Value::int(time.subsec_nanosecond().into()),
        ("YearDay", []) => Value::int(time.day_of_year().into()),
        ("Month", []) => Value::Str(time.strftime("%B").to_string().into(), "time.Month".into()),
        ("Weekday", []) => {
            Value::Str(time.strftime("%A").to_string().into(), "time.Weekday".into())
        }
        ("IsZero", []) => Value::Bool(is_zero),
        ("String", []) => Value::str(print(text)),
        ("UTC", []) => Value::Time(stamp.to_string().into()),
        ("Local", []) => {
            let local = stamp.to_zoned(TimeZone::system());
            Value::Time(local.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string().into())
        }
        ("Format", [Value::Str(layout, _)]) => Value::str(format(&time, layout)),
        _ => return None,
    };
    Some(Ok(value))
}

/// The pieces of a Go time layout, longest first, and what they are for `strftime`.
const LAYOUT: [(&str, &str); 28] = [
    ("January", "%B"),
    ("Monday", "%A"),
    ("-07:00", "%:z"),
    ("Z07:00", "%:z"),
    ("-0700", "%z"),
    ("2006", "%Y"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    (".000000000", ".%9f"),
    (".000000", ".%6f"),
    (".000", ".%3f"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
];

fn format(time: &Zoned, layout: &str) -> String {
    let mut out = String::new();
    let mut rest = layout;
    'text: while let Some(c) = rest.chars().next() {
        for (piece, conversion) in LAYOUT {
            if let Some(after) = rest.strip_prefix(piece) {
                let is_zulu = piece == "Z07:00" && time.offset().seconds() == 0;
                let text = time.strftime(conversion).to_string();
                out.push_str(if is_zulu { "Z" } else { &text });
                rest = after;
                continue 'text;
            }
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// `time.Duration.String`.
pub(super) fn duration(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".into();
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let decimal = |unit: u64, name: &str| {
        let (whole, part) = (all / unit, all % unit);
        let width = unit.ilog10() as usize;
        let fraction = format!("{part:0width$}");
        let fraction = fraction.trim_end_matches('0');
        if part == 0 {
            format!("{sign}{whole}{name}")
        } else {
            format!("{sign}{whole}.{fraction}{name}")
        }
    };
    match all {
        0..1_000 => return format!("{sign}{all}ns"),
        1_000..1_000_000 => return decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => return decimal(1_000_000, "ms"),
        _ => {}
    }
    let total = all / 1_000_000_000;
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    let part = all % 1_000_000_000;
    let mut text = sign.to_owned();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    text.push_str(&seconds.to_string());
    if part > 0 {
        text.push_str(format!(".{part:09}").trim_end_matches('0'));
    }
    text.push('s');
    text
}
