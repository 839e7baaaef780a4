//! Times as RFC 3339, as Go writes them: UTC, no zeroes at the end of the fraction.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Writes a time: `2024-05-06T07:08:09.12Z`.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let mut text = Vec::with_capacity(32);
    Clock::default().write(time, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Now, as RFC 3339.
#[must_use]
pub fn now() -> String {
    rfc3339(SystemTime::now())
}

/// Writes times one after another, and remembers the date and time of the last second.
#[derive(Debug, Default)]
pub struct Clock {
    second: u64,
    text: Vec<u8>,
}

impl Clock {
    /// Appends a time.
    pub fn write(&mut self, time: SystemTime, to: &mut Vec<u8>) {
        // No clock of a container host is before 1970.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.text.is_empty() || self.second != since.as_secs() {
            self.second = since.as_secs();
            self.text.clear();
            write_second(since.as_secs(), &mut self.text);
        }
        to.extend(&self.text);
        let nanos = since.subsec_nanos();
        if nanos != 0 {
            let mut digits = [b'0'; 9];
            let mut rest = nanos;
            for digit in digits.iter_mut().rev() {
                *digit = ascii_digit(rest % 10);
                rest /= 10;
            }
            let zeroes = digits.iter().rev().take_while(|digit| **digit == b'0').count();
            to.push(b'.');
            to.extend(digits.iter().take(9 - zeroes));
        }
        to.push(b'Z');
    }
}

fn write_second(second: u64, to: &mut Vec<u8>) {
    let (year, month, day) = civil(second / 86_400);
    let clock = second % 86_400;
    let text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    );
    to.extend(text.as_bytes());
}

fn ascii_digit(value: u32) -> u8 {
    b'0' + u8::try_from(value).unwrap_or(0)
}

/// The date of a day since 1970-01-01, by counting years from March so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: u64, nanos: u32, expect: &str) {
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::new(seconds, nanos)), expect);
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        check(0, 0, "1970-01-01T00:00:00Z");
        check(951_782_400, 1, "2000-02-29T00:00:00.000000001Z");
        check(1_709_251_199, 120_000_000, "2024-02-29T23:59:59.12Z");
        check(1_709_251_200, 999_999_999, "2024-03-01T00:00:00.999999999Z");
        check(4_102_444_799, 500_000_000, "2099-12-31T23:59:59.5Z");
    }

    #[test]
    fn a_clock_that_remembers_gives_the_same() {
        let mut clock = Clock::default();
        for step in 0..200_u32 {
            let time = UNIX_EPOCH
                + Duration::from_millis(1_700_000_000_000)
                + step * Duration::from_millis(777);
            let mut text = Vec::new();
            clock.write(time, &mut text);
            assert_eq!(String::from_utf8_lossy(&text), rfc3339(time));
        }
    }
}
