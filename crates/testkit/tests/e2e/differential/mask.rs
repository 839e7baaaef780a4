//! What differs from run to run, replaced by what it is.

/// Masks ids, times, sizes, addresses and durations. Where anything was masked, widths of columns
/// follow from it, so the spaces of the whole text are squeezed.
pub(super) fn mask(text: &str) -> String {
    let masked: Vec<String> = text.lines().map(|line| words(&durations(line))).collect();
    let any = masked.iter().zip(text.lines()).any(|(masked, line)| masked != line);
    let lines: Vec<String> =
        masked.iter().map(|line| if any { squeeze(line) } else { line.clone() }).collect();
    lines.join("\n")
}

/// Replaces ids, stamps, sizes and addresses wherever a word of theirs begins and ends.
fn words(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for character in line.chars().chain(['\n']) {
        if character.is_ascii_alphanumeric() || matches!(character, '.' | ':' | '-' | '+') {
            word.push(character);
        } else {
            out.push_str(&one(&word));
            word.clear();
            out.push(character);
        }
    }
    out.truncate(out.len() - 1);
    out
}

fn squeeze(line: &str) -> String {
    let mut out = String::new();
    for part in line.split("  ").map(str::trim).filter(|part| !part.is_empty()) {
        if !out.is_empty() {
            out.push_str("  ");
        }
        out.push_str(part);
    }
    out
}

fn one(word: &str) -> String {
    let (head, bare) = match word.strip_prefix("sha256:") {
        Some(rest) => ("sha256:", rest),
        None => ("", word),
    };
    let trimmed = bare.trim_end_matches(['.', ':', '-']);
    let tail = &bare[trimmed.len()..];
    let hex = |length: usize| {
        trimmed.len() == length
            && trimmed.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let mask = if hex(64) {
        "<id>"
    } else if hex(12) {
        "<short id>"
    } else if is_stamp(trimmed) {
        "<time>"
    } else if is_size(trimmed) {
        "<size>"
    } else if trimmed.parse::<std::net::Ipv4Addr>().is_ok() {
        "<address>"
    } else {
        return word.to_owned();
    };
    format!("{head}{mask}{tail}")
}

/// `0B`, `1.98MB`.
fn is_size(word: &str) -> bool {
    ["GB", "MB", "kB", "B"]
        .iter()
        .find_map(|unit| word.strip_suffix(unit))
        .is_some_and(|number| number.parse::<f64>().is_ok())
}

/// `2024-05-06T07:08:09.123456789Z`, but the one time of the test images stays.
fn is_stamp(word: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let Some((date, time)) = word.split_once('T') else { return false };
    !date.starts_with("0001")
        && !date.starts_with("2024-05-06")
        && date.len() == 10
        && date.split('-').all(digits)
        && time.split([':', '.', 'Z', '+', '-']).filter(|part| !part.is_empty()).all(digits)
}

/// `3 seconds ago`, `About a minute ago`, `Up Less than a second`.
fn durations(line: &str) -> String {
    let mut out = line.to_owned();
    for unit in ["second", "minute", "hour", "day", "week", "month", "year"] {
        while let Some((from, to)) = find(&out, unit) {
            let ago = if out[to..].starts_with(" ago") { 4 } else { 0 };
            out.replace_range(from..to + ago, if ago > 0 { "<ago>" } else { "<while>" });
        }
    }
    out
}

/// Where a duration in this unit stands.
fn find(text: &str, unit: &str) -> Option<(usize, usize)> {
    text.match_indices(unit).find_map(|(at, _)| {
        let mut end = at + unit.len();
        if text[end..].starts_with('s') {
            end += 1;
        }
        let before = text[..at].strip_suffix(' ')?;
        let start = ["Less than a", "About a", "About an"]
            .iter()
            .find_map(|words| before.strip_suffix(words))
            .or_else(|| {
                let rest = before.trim_end_matches(|c: char| c.is_ascii_digit());
                (rest.len() < before.len()).then_some(rest)
            })?;
        Some((start.len(), end))
    })
}

#[test]
fn what_differs_is_masked() {
    let id = "0123456789abcdef".repeat(4);
    for (text, masked) in [
        (format!("a {id} b"), "a <id> b"),
        ("\"sha256:0123456789ab\"".to_owned(), "\"sha256:<short id>\""),
        ("Up 3 seconds".to_owned(), "Up <while>"),
        (
            "x   About a minute ago   Up Less than a second   y".to_owned(),
            "x  <ago>  Up <while>  y",
        ),
        ("at 2026-01-02T03:04:05.678Z now".to_owned(), "at <time> now"),
        ("10.200.3.4/24 v 1.51 plain".to_owned(), "<address>/24 v 1.51 plain"),
        ("0B (virtual 1.98MB) 6MB.".to_owned(), "<size> (virtual <size>) <size>."),
        ("Exited (0) 2 hours ago".to_owned(), "Exited (0) <ago>"),
    ] {
        assert_eq!(mask(&text), masked);
    }
}
