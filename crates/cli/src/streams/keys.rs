//! The keys that detach: `ctrl-p,ctrl-q` unless configured otherwise.

use std::borrow::Cow;

/// A sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// No keys: nothing detaches.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads `ctrl-p,ctrl-q`; empty is Docker's default.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(vec![16, 17]));
        }
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Watches input for the keys.
    pub(crate) fn watch(self) -> Watch {
        Watch { keys: self.0, matched: 0 }
    }
}

fn key(name: &str) -> Result<u8, String> {
    let unknown = || format!("Unknown character: '{name}'");
    if let [byte] = name.as_bytes() {
        return Ok(*byte);
    }
    match name.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
        Some(b"@") => Ok(0),
        Some(b"[") => Ok(27),
        Some(b"\\") => Ok(28),
        Some(b"]") => Ok(29),
        Some(b"^") => Ok(30),
        Some(b"_") => Ok(31),
        _ => Err(unknown()),
    }
}

/// How far into the keys the input has come.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: Vec<u8>,
    matched: usize,
}

impl Watch {
    /// What of `bytes` goes on to the container, and whether the keys are complete.
    ///
    /// The beginning of the keys is held back until it is known to be something else.
    pub(crate) fn pass<'a>(&mut self, bytes: &'a [u8]) -> (Cow<'a, [u8]>, bool) {
        let Some(first) = self.keys.first() else { return (bytes.into(), false) };
        if self.matched == 0 && !bytes.contains(first) {
            return (bytes.into(), false);
        }
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte != self.keys[self.matched] {
                out.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (out.into(), true);
                }
            } else {
                out.push(*byte);
            }
        }
        (out.into(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_are_read() {
        assert_eq!(DetachKeys::parse("").unwrap().0, [16, 17]);
        assert_eq!(DetachKeys::parse("ctrl-a,x,ctrl-_").unwrap().0, [1, b'x', 31]);
        assert_eq!(DetachKeys::parse("ctrl-1").unwrap_err(), "Unknown character: 'ctrl-1'");
    }

    #[test]
    fn keys_are_found_however_the_input_is_cut() {
        let mut watch = DetachKeys::parse("").unwrap().watch();
        assert_eq!(watch.pass(b"ab"), (Cow::from(b"ab".as_slice()), false));
        assert_eq!(watch.pass(b"c\x10"), (Cow::from(b"c".as_slice()), false));
        assert_eq!(watch.pass(b"d"), (Cow::from(b"\x10d".as_slice()), false));
        assert_eq!(watch.pass(b"\x10\x10\x11rest"), (Cow::from(b"\x10".as_slice()), true));
    }

    #[test]
    fn without_keys_all_passes() {
        assert_eq!(DetachKeys::none().watch().pass(b"\x10\x11").0.as_ref(), b"\x10\x11");
    }
}
