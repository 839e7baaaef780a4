//! PAX extended headers and GNU long names: what they say of the entry that follows.

use std::collections::HashMap;

use super::header::RawHeader;
use super::sparse::PaxSparse;
use super::{TarError, show};
use crate::limits;

/// What extended headers said of the next entry; it wins over the plain header.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    xattrs: Xattrs,
    pub(super) sparse: PaxSparse,
    seen: bool,
}

/// Extended attributes as they come; the last of a name counts, at its place.
#[derive(Debug, Default)]
struct Xattrs {
    /// One that a later one took the place of has no name.
    all: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where in `all` a name is.
    places: HashMap<Vec<u8>, usize>,
    bytes: usize,
}

impl Xattrs {
    fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), TarError> {
        self.bytes += name.len() + value.len() + 8;
        if let Some(place) = self.places.insert(name.to_vec(), self.all.len()) {
            // What it cost to read stays counted.
            let (name, value) = std::mem::take(&mut self.all[place]);
            self.bytes -= name.len() + value.len();
        }
        if self.bytes > limits::MAX_XATTRS_OF_FILE {
            return Err(TarError::malformed("extended attributes of one file are too long"));
        }
        self.all.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

impl Extensions {
    pub(super) fn take_xattrs(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = std::mem::take(&mut self.xattrs).all;
        all.retain(|(name, _)| !name.is_empty());
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.seen && self.long_name.is_none() && self.long_link.is_none()
    }

    pub(super) fn name(&mut self, header: &RawHeader) -> Vec<u8> {
        (self.long_name.take())
            .or_else(|| self.sparse.name.take())
            .or_else(|| self.path.take())
            .unwrap_or_else(|| header.name())
    }

    pub(super) fn link(&self, header: &RawHeader) -> Vec<u8> {
        (self.long_link.clone()).or_else(|| self.link_path.clone()).unwrap_or_else(|| header.link())
    }

    /// Reads the records of one PAX header: `<length> <key>=<value>\n`.
    pub(super) fn read_pax(&mut self, mut body: &[u8]) -> Result<(), TarError> {
        self.seen = true;
        while !body.is_empty() {
            let (key, value, rest) = split_record(body)
                .ok_or_else(|| TarError::malformed("archive/tar: invalid tar header"))?;
            self.read_record(key, value)?;
            body = rest;
        }
        Ok(())
    }

    fn read_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        let invalid = || {
            let key = show(key);
            TarError::malformed(format!("invalid value of {key} in an extended tar header"))
        };
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            if value.len() > limits::MAX_XATTR_VALUE || name.is_empty() || name.len() > 255 {
                return Err(invalid());
            }
            return self.xattrs.set(name, value);
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.read_record(key, value).ok_or_else(invalid)?;
        }
        // An empty value takes back what an earlier header said.
        let some = !value.is_empty();
        match key {
            b"path" | b"linkpath" if value.contains(&0) => return Err(invalid()),
            b"path" => self.path = some.then(|| value.to_vec()),
            b"linkpath" => self.link_path = some.then(|| value.to_vec()),
            b"size" => self.size = optional(value, decimal).ok_or_else(invalid)?,
            b"uid" => self.uid = optional(value, decimal).ok_or_else(invalid)?,
            b"gid" => self.gid = optional(value, decimal).ok_or_else(invalid)?,
            b"mtime" => self.mtime = optional(value, time).ok_or_else(invalid)?,
            // Times of access and change, names of owners, character sets, remarks: a layer has
            // no place for them, and Docker drops them too.
            _ => {}
        }
        Ok(())
    }
}

/// An empty value means none; the outer `None` is a malformed value.
#[expect(clippy::option_option, reason = "malformed, absent and present are three things")]
fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { parse(value).map(Some) }
}

/// A key, its value and what follows the record.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn split_record(body: &[u8]) -> Option<Record<'_>> {
    let space = body.iter().position(|&byte| byte == b' ')?;
    let length: usize = decimal(&body[..space])?;
    let record = body.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let key = &record[..equals];
    (!key.is_empty()).then_some((key, &record[equals + 1..], &body[length..]))
}

pub(super) fn decimal<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    if !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Seconds with a fraction, perhaps negative: rounded down to nanoseconds.
fn time(bytes: &[u8]) -> Option<(i64, u32)> {
    let (negative, bytes) = match bytes.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    let mut parts = bytes.splitn(2, |&byte| byte == b'.');
    let seconds: i64 = decimal(parts.next()?)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |index| fraction.get(index).map_or(0, |digit| u32::from(digit - b'0'));
    let nanoseconds = (0..9).fold(0, |value, index| value * 10 + digit(index));
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_down() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.0000000019"), Some((12, 1)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn the_last_attribute_of_a_name_counts() {
        let mut extensions = Extensions::default();
        let record = |key: &str| format!("{} SCHILY.xattr.{key}\n", key.len() + 17);
        let records = ["user.a=1", "user.b=2", "user.a=3"].map(record).concat();
        extensions.read_pax(records.as_bytes()).unwrap();
        let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        assert_eq!(extensions.take_xattrs(), [pair(b"user.b", b"2"), pair(b"user.a", b"3")]);
        assert!(extensions.take_xattrs().is_empty());
    }

    #[test]
    fn many_attributes_are_read_quickly_or_refused() {
        let record = |number: usize| {
            let key = format!("SCHILY.xattr.{:03x}=", number % 0xfff);
            format!("{} {key}\n", key.len() + 4)
        };
        let started = std::time::Instant::now();
        for same in [1, 4000] {
            let records: String = (0..40_000).map(|number| record(number % same)).collect();
            for _ in 0..10 {
                let error = Extensions::default().read_pax(records.as_bytes()).unwrap_err();
                assert!(error.to_string().contains("too long"), "{error}");
            }
        }
        // Each with each took minutes.
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }

    #[test]
    fn records_must_be_whole() {
        let read = |body: &[u8]| Extensions::default().read_pax(body);
        assert!(read(b"9 path=a\n").is_ok());
        assert!(read(b"12 uid=1000\n").is_ok());
        assert!(read(b"9 path=a").is_err());
        assert!(read(b"99 path=a\n").is_err());
        assert!(read(b"8 path=a\n").is_err());
        assert!(read(b"6 =ab\n").is_err());
        assert!(read(b"10 path=\0a\n").is_err());
        assert!(read(b"9 uid=-1\n").is_err());
    }
}
