//! Turns answers into the text that Docker's client prints.

pub(crate) mod listing;
pub(crate) mod tabs;
pub(crate) mod units;

use std::borrow::Cow;

/// The first twelve digits of an id, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// Cuts `text` to `most` columns, the last of them an ellipsis.
pub(crate) fn ellipsis(text: &str, most: usize) -> Cow<'_, str> {
    use unicode_width::UnicodeWidthChar as _;
    // Compat: Docker counts wide characters as two columns and all others as one.
    let width = |c: char| if c.width() == Some(2) { 2 } else { 1 };
    if text.chars().map(width).sum::<usize>() <= most {
        return text.into();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += width(c);
        if used > most.saturating_sub(1) {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept.into()
}

/// Quotes a command as `strconv.Quote` does, after cutting it if asked.
pub(crate) fn command(text: &str, truncate: bool) -> String {
    if truncate {
        crate::template::quote::quote(&ellipsis(text, 20))
    } else {
        crate::template::quote::quote(text)
    }
}

/// JSON spread over lines with four spaces, as Go's `json.Indent` does: nothing else changes.
pub(crate) fn indent_json(raw: &str) -> String {
    indent_json_by(raw, "    ")
}

/// The same with another indentation.
pub(crate) fn indent_json_by(raw: &str, indent: &str) -> String {
    let mut out = String::with_capacity(raw.len() * 2);
    let mut depth = 0usize;
    let mut in_string = false;
    let mut is_fresh = false;
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            match c {
                '\\' => out.extend(chars.next()),
                '"' => in_string = false,
                _ => {}
            }
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let newline = |out: &mut String, depth: usize| {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        };
        if is_fresh && !matches!(c, ']' | '}') {
            depth += 1;
            newline(&mut out, depth);
        }
        match c {
            ']' | '}' if is_fresh => out.push(c),
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
        is_fresh = matches!(c, '[' | '{');
    }
    out
}

/// A key that sorts numbers within texts by their value.
pub(crate) fn natural_key(text: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let words = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(words);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(digits);
        key.push((0, word.to_owned()));
        key.push((number.parse().unwrap_or(0), String::new()));
        rest = after;
    }
    key
}

#[cfg(test)]
mod tests;
