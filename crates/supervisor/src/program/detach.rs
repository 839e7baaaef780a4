//! The keys that detach a client from a terminal.

/// Looks for a sequence of keys in what a client types.
///
/// As with Docker, the keys of a sequence that has begun are held back; when it goes on otherwise they
/// are passed on, and the key that broke it does not begin a new one.
#[derive(Debug, Default)]
pub(super) struct DetachFilter {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachFilter {
    pub(super) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Appends what is to be passed on, and says whether the sequence is complete; what follows it is
    /// dropped.
    pub(super) fn pass(&mut self, typed: &[u8], on: &mut Vec<u8>) -> bool {
        for byte in typed {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
                continue;
            }
            on.extend(self.keys.iter().take(self.matched));
            self.matched = 0;
            on.push(*byte);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keys: &[u8], typed: &[&[u8]], on: &[u8], detached: bool) {
        let mut filter = DetachFilter::new(keys.to_vec());
        let mut passed = Vec::new();
        let found = typed.iter().any(|piece| filter.pass(piece, &mut passed));
        assert_eq!((passed.as_slice(), found), (on, detached));
    }

    #[test]
    fn the_sequence_is_found_however_it_is_cut() {
        check(b"\x10\x11", &[b"ab\x10\x11cd"], b"ab", true);
        check(b"\x10\x11", &[b"ab\x10", b"\x11"], b"ab", true);
        check(b"a", &[b"xa"], b"x", true);
    }

    #[test]
    fn what_only_begins_like_it_is_passed_on() {
        check(b"\x10\x11", &[b"\x10", b"x"], b"\x10x", false);
        check(b"abc", &[b"ab", b"x", b"abc"], b"abx", true);
        check(b"\x10\x11", &[b"\x10"], b"", false);
    }

    #[test]
    fn a_broken_sequence_begins_no_new_one_with_the_key_that_broke_it() {
        check(b"\x10\x11", &[b"\x10\x10\x11"], b"\x10\x10\x11", false);
    }

    #[test]
    fn without_keys_everything_is_passed_on() {
        check(b"", &[b"\x10\x11"], b"\x10\x11", false);
    }
}
