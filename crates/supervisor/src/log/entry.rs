//! One entry of a log.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::Deserialize;

use crate::time::Clock;

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output; all of a terminal's.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in an entry.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One entry, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was printed.
    pub stream: Stream,
    /// When, as written: RFC 3339.
    pub time: String,
    /// The text; without a newline at its end it goes on in the next entry of the stream.
    pub line: Vec<u8>,
    /// Attributes, as a JSON object.
    pub attributes: Option<String>,
}

/// Writes an entry; `attributes` is a JSON object or empty.
pub fn encode(
    stream: Stream,
    text: &[u8],
    newline: bool,
    attributes: &str,
    (time, clock): (SystemTime, &mut Clock),
    to: &mut Vec<u8>,
) {
    to.extend(br#"{"log":""#);
    escape(text, to);
    if newline {
        to.extend(br"\n");
    }
    to.extend(br#"","stream":""#);
    to.extend(stream.name().as_bytes());
    to.push(b'"');
    if !attributes.is_empty() {
        to.extend(br#","attrs":"#);
        to.extend(attributes.as_bytes());
    }
    to.extend(br#","time":""#);
    clock.write(time, to);
    to.extend(b"\"}\n");
}

/// Whether a byte stands for itself. Docker escapes `<`, `>` and `&` too.
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..0x80) && !matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'&')
}

/// Writes text as the inside of a JSON string; each byte that is not UTF-8 becomes `\ufffd`.
fn escape(mut text: &[u8], to: &mut Vec<u8>) {
    loop {
        let plain = text.iter().position(|byte| !is_plain(*byte)).unwrap_or(text.len());
        let (front, rest) = text.split_at(plain);
        to.extend_from_slice(front);
        let Some(byte) = rest.first() else { return };
        if *byte < 0x80 {
            escape_ascii(*byte, to);
            text = rest.get(1..).unwrap_or_default();
        } else {
            let end = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
            let (foreign, after) = rest.split_at(end);
            escape_foreign(foreign, to);
            text = after;
        }
    }
}

fn escape_ascii(byte: u8, to: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'\\' | b'"' => to.extend([b'\\', byte]),
        b'\n' => to.extend(br"\n"),
        b'\r' => to.extend(br"\r"),
        _ => {
            let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
            to.extend(br"\u00");
            to.extend([digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

fn escape_foreign(text: &[u8], to: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        // Line and paragraph separators end a line in JavaScript.
        let mut valid = chunk.valid();
        while let Some(at) = valid.find(['\u{2028}', '\u{2029}']) {
            let (front, rest) = valid.split_at(at);
            to.extend_from_slice(front.as_bytes());
            let mut characters = rest.chars();
            let separator = characters.next();
            to.extend(if separator == Some('\u{2028}') { br"\u2028" } else { br"\u2029" });
            valid = characters.as_str();
        }
        to.extend_from_slice(valid.as_bytes());
        for _ in chunk.invalid() {
            to.extend(br"\ufffd");
        }
    }
}

/// Reads an entry; `None` when it is none, such as a line that was cut off by a crash.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Entry> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(borrow, default)]
        log: Cow<'a, str>,
        #[serde(borrow, default)]
        stream: Cow<'a, str>,
        #[serde(borrow, default)]
        time: Cow<'a, str>,
        #[serde(borrow, default)]
        attrs: Option<&'a serde_json::value::RawValue>,
    }
    let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
    Some(Entry {
        stream: match raw.stream.as_ref() {
            "stdout" => Stream::Stdout,
            "stderr" => Stream::Stderr,
            _ => return None,
        },
        time: raw.time.into_owned(),
        line: raw.log.into_owned().into_bytes(),
        attributes: raw.attrs.map(|attributes| attributes.get().to_owned()),
    })
}
