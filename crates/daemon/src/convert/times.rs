//! Times, as Docker writes and reads them.

use jiff::Timestamp;

/// What Go writes for a time that is not set.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Writes a time as RFC 3339 with as many digits as it needs.
pub(crate) fn written(time: Timestamp) -> String {
    // jiff writes no more digits of the fraction than it needs, as Go does.
    time.to_string()
}

/// Writes a time that may not be set.
pub(crate) fn written_or_never(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), written)
}

/// Reads a time of a query: seconds since 1970, with or without a fraction.
///
/// Clients turn all other forms into this one.
pub(crate) fn read(text: &str) -> Result<Timestamp, String> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let invalid = |part: &str| format!("strconv.ParseInt: parsing {part:?}: invalid syntax");
    let seconds: i64 = seconds.parse().map_err(|_error| invalid(seconds))?;
    let nanoseconds = if fraction.is_empty() {
        0
    } else {
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        digits.parse::<i32>().map_err(|_error| invalid(fraction))?
    };
    Timestamp::new(seconds, nanoseconds).map_err(|error| error.to_string())
}

/// Says how long something lasted, roughly, as `docker ps` does.
pub(crate) fn rough(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let minutes = seconds / 60;
    let hours = (seconds + 30 * 60) / 3600;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ => match (minutes, hours) {
            (1, _) => "About a minute".to_owned(),
            (..60, _) => format!("{minutes} minutes"),
            (_, 1) => "About an hour".to_owned(),
            (_, ..48) => format!("{hours} hours"),
            (_, ..336) => format!("{} days", hours / 24),
            (_, ..1440) => format!("{} weeks", hours / 24 / 7),
            (_, ..17520) => format!("{} months", hours / 24 / 30),
            _ => format!("{} years", hours / 24 / 365),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_said_as_docker_says_them() {
        for (seconds, expect) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (46 * 60, "46 minutes"),
            (3600, "About an hour"),
            (89 * 60, "About an hour"),
            (90 * 60, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86400, "13 days"),
            (14 * 86400, "2 weeks"),
            (59 * 86400, "8 weeks"),
            (60 * 86400, "2 months"),
            (729 * 86400, "24 months"),
            (730 * 86400, "2 years"),
        ] {
            assert_eq!(rough(seconds), expect, "{seconds}");
        }
    }

    #[test]
    fn times_are_written_with_the_digits_they_need() {
        let time = Timestamp::new(1_795_259_568, 341_800_840).unwrap();
        assert_eq!(written(time), "2026-11-21T11:12:48.34180084Z");
        assert_eq!(written(Timestamp::new(0, 0).unwrap()), "1970-01-01T00:00:00Z");
        assert_eq!(written_or_never(None), NEVER);
    }

    #[test]
    fn times_of_queries_are_seconds() {
        assert_eq!(read("5"), Ok(Timestamp::new(5, 0).unwrap()));
        assert_eq!(read("5.25"), Ok(Timestamp::new(5, 250_000_000).unwrap()));
        assert_eq!(read("5.0000000019"), Ok(Timestamp::new(5, 1).unwrap()));
        assert_eq!(
            read("abc"),
            Err("strconv.ParseInt: parsing \"abc\": invalid syntax".to_owned())
        );
    }
}
