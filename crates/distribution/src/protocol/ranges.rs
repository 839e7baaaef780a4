//! Parts of bodies, and times to wait. [RFC 9110, sections 14.4 and 10.2.3]

use std::time::{Duration, SystemTime};

/// Reads `Content-Range: bytes 5-9/10`: the first byte, the last, and the size of the whole where
/// it is said.
pub fn parse_content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (unit, rest) = value.trim().split_once(' ')?;
    let (range, total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    let is_sound = first <= last && total.is_none_or(|total| last < total);
    (unit.eq_ignore_ascii_case("bytes") && is_sound).then_some((first, last, total))
}

/// Reads `Range: 0-9` of an upload and gives how many bytes have arrived. `0-0` is what registries
/// say when nothing has: a single byte cannot be told from it and is sent again.
/// [OCI distribution, pushing a blob in chunks]
pub fn parse_upload_range(value: &str) -> Option<u64> {
    let value = value.trim();
    let range = value.strip_prefix("bytes=").unwrap_or(value);
    let (first, last) = range.split_once('-')?;
    match (number(first)?, number(last)?) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}

/// How long a `Retry-After` asks to wait: seconds, or a date, which may have passed.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Some(seconds) = number(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let date = SystemTime::from(date.timestamp());
    Some(date.duration_since(now).unwrap_or_default())
}

/// Digits only: no sign, no space.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_bodies_are_read() {
        let check = |value, expect| assert_eq!(parse_content_range(value), expect, "{value}");
        check("bytes 5-9/10", Some((5, 9, Some(10))));
        check("Bytes 0-0/1", Some((0, 0, Some(1))));
        check("bytes 5-9/*", Some((5, 9, None)));
        for wrong in [
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-9/9",
            "bytes +5-9/10",
            "items 5-9/10",
            "5-9/10",
            "",
        ] {
            check(wrong, None);
        }
        check("bytes 0-18446744073709551616/*", None);
    }

    #[test]
    fn the_state_of_an_upload_is_read() {
        let check = |value, expect| assert_eq!(parse_upload_range(value), expect, "{value}");
        check("0-9", Some(10));
        check("bytes=0-9", Some(10));
        check("0-0", Some(0));
        for wrong in ["1-9", "0-", "-9", "0-18446744073709551615", "x"] {
            check(wrong, None);
        }
    }

    #[test]
    fn times_to_wait_are_seconds_or_dates() {
        // The date of the examples of RFC 9110: 784111777 seconds after the epoch.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_767);
        let check = |value, expect: Option<u64>| {
            assert_eq!(retry_after(value, now), expect.map(Duration::from_secs), "{value}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(10));
        check("Sat, 05 Nov 1994 08:49:37 GMT", Some(0));
        for wrong in ["", "-1", "soon", "1.5"] {
            check(wrong, None);
        }
    }
}
