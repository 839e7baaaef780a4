//! `logs`

use ferry_api::query::ContainerLogsQuery;

use crate::command_line::Matches;
use crate::options::numbers;
use crate::program::Cli;
use crate::report::Failure;
use crate::streams::Sorter;

/// `logs`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let name = matches.args.first().map_or("", String::as_str);
    let query = ContainerLogsQuery {
        follow: matches.flag("follow"),
        stdout: true,
        stderr: true,
        since: moment(matches, "since")?,
        until: moment(matches, "until")?,
        timestamps: matches.flag("timestamps"),
        details: matches.flag("details"),
        tail: Some(matches.value("tail").unwrap_or("all").to_owned()),
    };
    let mut stream = cli.client.container_logs(name, &query).await?;
    let mut sorter = Sorter::new(stream.is_multiplexed());
    while let Some(bytes) = stream.next().await? {
        sorter.take(&bytes)?;
    }
    Ok(())
}

fn moment(matches: &Matches, name: &str) -> Result<Option<String>, Failure> {
    let Some(text) = matches.value(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    timestamp(text, jiff::Timestamp::now())
        .map(Some)
        .map_err(|error| Failure::plain(format!("invalid value for \"{name}\": {error}")))
}

/// Seconds since 1970 of a moment: a duration before `now`, RFC 3339 or a shorter form of it, or
/// such seconds already.
pub(super) fn timestamp(text: &str, now: jiff::Timestamp) -> Result<String, String> {
    let seconds = |nanoseconds: i128| {
        format!(
            "{}.{:09}",
            nanoseconds.div_euclid(1_000_000_000),
            nanoseconds.rem_euclid(1_000_000_000)
        )
    };
    if let Ok(before) = numbers::duration(text) {
        return Ok(seconds(now.as_nanosecond() - i128::from(before)));
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    if is_number(whole) && is_number(fraction) {
        return Ok(text.into());
    }
    let zone = jiff::tz::TimeZone::system();
    // Shorter forms lack what is zero.
    let padded = match text.len() {
        4 => format!("{text}-01-01T00:00:00"),
        7 => format!("{text}-01T00:00:00"),
        10 => format!("{text}T00:00:00"),
        13 => format!("{text}:00:00"),
        16 => format!("{text}:00"),
        _ => text.into(),
    };
    let stamp = padded.parse::<jiff::Timestamp>().or_else(|_error| {
        let local = padded.trim_end_matches('Z').parse::<jiff::civil::DateTime>()?;
        let zone = if padded.ends_with('Z') { jiff::tz::TimeZone::UTC } else { zone };
        local.to_zoned(zone).map(|zoned| zoned.timestamp())
    });
    match stamp {
        Ok(stamp) => Ok(seconds(stamp.as_nanosecond())),
        Err(_error) => Err(format!(
            "failed to parse value as time or duration: {}",
            crate::template::quote::quote(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_durations_dates_or_seconds() {
        let now = "2026-01-02T03:04:05.5Z".parse().unwrap();
        let check = |text: &str, expect: Result<&str, &str>| {
            let got = timestamp(text, now);
            assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned), "{text}");
        };
        check("1m30s", Ok("1767322955.500000000"));
        check("2026-01-02T03:04:05Z", Ok("1767323045.000000000"));
        check("2026-01-02T03:04:05+01:00", Ok("1767319445.000000000"));
        check("1700000000.25", Ok("1700000000.25"));
        check("nope", Err("failed to parse value as time or duration: \"nope\""));
    }
}
