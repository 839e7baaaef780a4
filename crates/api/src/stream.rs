//! The framing of output that has two streams: eight bytes, then the payload.
//!
//! ```text
//! | stream (0, 1, 2 or 3) | 0 | 0 | 0 | length, u32 big-endian | payload ... |
//! ```

/// The length of a frame's header.
pub const HEADER_LEN: usize = 8;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Standard input; a server never sends it, some write it for output.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// An error of the engine amid the stream.
    SystemError,
}

impl StreamKind {
    /// The first byte of the header.
    pub fn byte(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::SystemError => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::SystemError,
            _ => return None,
        })
    }
}

/// Makes the header of a frame of `len` bytes.
pub fn header(kind: StreamKind, len: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = len.to_be_bytes();
    [kind.byte(), 0, 0, 0, a, b, c, d]
}

/// A header whose first byte names no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized input header: {0}")]
pub struct UnknownStream(pub u8);

/// Takes frames apart as bytes come, without keeping payloads.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    header: [u8; HEADER_LEN],
    header_len: usize,
    current: Option<(StreamKind, usize)>,
}

impl Decoder {
    /// Takes the next piece of payload from the front of `input`.
    ///
    /// A piece is never empty and may be less than a frame. `None` means that `input` is used up.
    ///
    /// # Errors
    ///
    /// The stream is not framed, or its beginning was missed.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<(StreamKind, &'a [u8])>, UnknownStream> {
        loop {
            if let Some((kind, left)) = self.current {
                if input.is_empty() {
                    return Ok(None);
                }
                let (piece, rest) = input.split_at(left.min(input.len()));
                *input = rest;
                let left = left - piece.len();
                self.current = (left > 0).then_some((kind, left));
                return Ok(Some((kind, piece)));
            }
            let missing = HEADER_LEN - self.header_len;
            let (piece, rest) = input.split_at(missing.min(input.len()));
            *input = rest;
            self.header[self.header_len..][..piece.len()].copy_from_slice(piece);
            self.header_len += piece.len();
            if self.header_len < HEADER_LEN {
                return Ok(None);
            }
            self.header_len = 0;
            let [first, _, _, _, a, b, c, d] = self.header;
            let kind = StreamKind::from_byte(first).ok_or(UnknownStream(first))?;
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            self.current = (len > 0).then_some((kind, len));
        }
    }

    /// Whether the stream may end here: not within a header or a payload.
    pub fn is_between_frames(&self) -> bool {
        self.header_len == 0 && self.current.is_none()
    }
}

#[cfg(test)]
mod tests;
