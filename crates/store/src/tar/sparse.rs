//! Sparse files: the four forms that GNU tar has written, in one.

use super::TarError;
use super::header::BLOCK;
use super::pax::decimal;
use crate::limits;

/// A run of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where in the file.
    pub offset: u64,
    /// How long.
    pub length: u64,
    /// Where in the stored bytes of the entry.
    pub stored: u64,
}

/// What the `GNU.sparse.*` records of PAX headers say: versions 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) name: Option<Vec<u8>>,
    major: u32,
    minor: u32,
    size: Option<u64>,
    pieces: Vec<(u64, u64)>,
    pending_offset: Option<u64>,
    has_map: bool,
}

impl PaxSparse {
    /// Takes one record, without its prefix. The outer `None` is a malformed value.
    pub(super) fn read_record(&mut self, key: &[u8], value: &[u8]) -> Option<Result<(), TarError>> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.major = decimal(value)?,
            b"minor" => self.minor = decimal(value)?,
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"numblocks" => self.has_map = true,
            b"offset" => self.pending_offset = Some(decimal(value)?),
            b"numbytes" => self.pieces.push((self.pending_offset.take()?, decimal(value)?)),
            b"map" => {
                self.has_map = true;
                let mut numbers = value.split(|&byte| byte == b',').filter(|n| !n.is_empty());
                while let Some(offset) = numbers.next() {
                    self.pieces.push((decimal(offset)?, decimal(numbers.next()?)?));
                }
            }
            _ => {}
        }
        Some(check_count(self.pieces.len()))
    }

    /// The map of versions 0.0 and 0.1.
    pub(super) fn take_map(&mut self) -> Result<Option<Vec<Segment>>, TarError> {
        if self.is_1_0() || !self.has_map {
            return Ok(None);
        }
        place(std::mem::take(&mut self.pieces)).map(Some)
    }

    pub(super) fn is_1_0(&self) -> bool {
        (self.major, self.minor) == (1, 0)
    }

    pub(super) fn real_size(&self, stored: u64) -> u64 {
        self.size.unwrap_or(stored)
    }
}

/// Reads the map that version 1.0 puts before the data: decimal lines, padded to a block.
/// Returns its length and the segments.
pub(super) fn read_1_0_map(
    mut read_block: impl FnMut() -> Result<Option<[u8; BLOCK]>, TarError>,
    stored: u64,
) -> Result<(u64, Vec<Segment>), TarError> {
    let invalid = || TarError::malformed("invalid map of a sparse file");
    let mut text: Vec<u8> = Vec::new();
    let mut used = 0;
    let mut length = 0_u64;
    let mut next = || -> Result<u64, TarError> {
        loop {
            if let Some(end) = text[used..].iter().position(|&byte| byte == b'\n') {
                let number = decimal(&text[used..used + end]).ok_or_else(invalid)?;
                used += end + 1;
                return Ok(number);
            }
            // A number has at most 20 digits; without a line feed by then there is none.
            if text.len() - used > 20 || length + BLOCK as u64 > stored {
                return Err(invalid());
            }
            text.extend_from_slice(&read_block()?.ok_or_else(invalid)?);
            length += BLOCK as u64;
        }
    };
    let count = usize::try_from(next()?).map_err(|_large| invalid())?;
    check_count(count)?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push((next()?, next()?));
    }
    Ok((length, place(pieces)?))
}

/// Finds where each piece is stored: one after the other.
pub(super) fn place(pieces: Vec<(u64, u64)>) -> Result<Vec<Segment>, TarError> {
    let mut stored = 0_u64;
    let mut segments = Vec::with_capacity(pieces.len());
    for (offset, length) in pieces {
        segments.push(Segment { offset, length, stored });
        stored = stored
            .checked_add(length)
            .ok_or_else(|| TarError::malformed("invalid map of a sparse file"))?;
    }
    Ok(segments)
}

/// Checks a map against the file's size and the stored bytes, and drops empty pieces.
pub(super) fn check(
    segments: Vec<Segment>,
    real_size: u64,
    stored: u64,
) -> Result<Box<[Segment]>, TarError> {
    let invalid = || TarError::malformed("invalid map of a sparse file");
    let mut end = 0;
    let mut stored_end = 0;
    for segment in &segments {
        let segment_end = segment.offset.checked_add(segment.length).ok_or_else(invalid)?;
        if segment.offset < end || segment_end > real_size {
            return Err(invalid());
        }
        (end, stored_end) = (segment_end, segment.stored + segment.length);
    }
    if stored_end != stored || i64::try_from(real_size).is_err() {
        return Err(invalid());
    }
    Ok(segments.into_iter().filter(|segment| segment.length > 0).collect())
}

pub(super) fn check_count(count: usize) -> Result<(), TarError> {
    if count > limits::MAX_SPARSE_SEGMENTS {
        return Err(TarError::malformed(format!(
            "sparse file of {count} pieces; at most {} are taken",
            limits::MAX_SPARSE_SEGMENTS
        )));
    }
    Ok(())
}
