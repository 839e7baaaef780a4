//! Gzip, the reading side: members one after the other, as one stream. [RFC 1952]
//!
//! The library's own reader computes the checksum with the library's own code, which takes a fifth
//! of the time; here the members are taken apart so that `crc32fast` can do it.

use std::io::{self, Read};
use std::ops::Range;

use crc32fast::Hasher as Crc;
use flate2::{Decompress, FlushDecompress, Status};

const INPUT: usize = 128 << 10;
/// Bytes of a member's checksum and size.
const TRAILER: usize = 8;

/// Reads what a stream of gzip contains.
#[derive(Debug)]
pub(super) struct GzipReader<R> {
    reader: R,
    input: Box<[u8]>,
    /// What of `input` was not used yet.
    unused: Range<usize>,
    /// Whether the reader has no more.
    is_end: bool,
    inflate: Decompress,
    /// Of the member: its checksum, and its size modulo 2^32.
    crc: Crc,
    size: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header { is_first: bool },
    Body,
    Trailer,
    End,
}

impl<R: Read> GzipReader<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            input: vec![0; INPUT].into(),
            unused: 0..0,
            is_end: false,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            size: 0,
            state: State::Header { is_first: true },
        }
    }

    /// Reads once more; false when there is no more, or no room for it.
    fn fill(&mut self) -> io::Result<bool> {
        if self.is_end || self.unused.len() == INPUT {
            return Ok(false);
        }
        self.input.copy_within(self.unused.clone(), 0);
        self.unused = 0..self.unused.len();
        loop {
            match self.reader.read(&mut self.input[self.unused.end..]) {
                Ok(0) => self.is_end = true,
                Ok(length) => self.unused.end += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(!self.is_end);
        }
    }

    /// Sees to it that there are so many bytes, if there are any more.
    fn need(&mut self, count: usize) -> io::Result<()> {
        while self.unused.len() < count && self.fill()? {}
        Ok(())
    }

    /// Reads the header of the next member, or finds that there is none.
    fn begin(&mut self, is_first: bool) -> io::Result<()> {
        self.need(1)?;
        if self.unused.is_empty() && !is_first {
            self.state = State::End;
            return Ok(());
        }
        let length = loop {
            match header(&self.input[self.unused.clone()])? {
                Some(length) => break length,
                None if self.fill()? => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        self.unused.start += length;
        self.inflate.reset(false);
        self.crc.reset();
        self.size = 0;
        self.state = State::Body;
        Ok(())
    }

    /// Compares the end of a member with what was read of it.
    fn end(&mut self) -> io::Result<()> {
        self.need(TRAILER)?;
        let Some(trailer) = self.input[self.unused.clone()].first_chunk::<TRAILER>() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let is = u64::from(self.size) << 32 | u64::from(self.crc.clone().finalize());
        if u64::from_le_bytes(*trailer) != is {
            return Err(invalid("corrupt gzip stream does not have a matching checksum"));
        }
        self.unused.start += TRAILER;
        self.state = State::Header { is_first: false };
        Ok(())
    }

    /// Inflates into the buffer; how much there is of it then, which may be nothing.
    fn inflate(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.need(1)?;
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let input = &self.input[self.unused.clone()];
        let status = self
            .inflate
            .decompress(input, buffer, FlushDecompress::None)
            .map_err(|_unspecified| invalid("corrupt deflate stream"))?;
        let [used, length] =
            [self.inflate.total_in() - before_in, self.inflate.total_out() - before_out]
                .map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        self.unused.start += used;
        self.crc.update(&buffer[..length]);
        self.size = self.size.wrapping_add(u32::try_from(length).unwrap_or_default());
        match status {
            Status::StreamEnd => self.state = State::Trailer,
            _ if used == 0 && length == 0 && self.unused.is_empty() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // There was input and room, and yet nothing moved.
            _ if used == 0 && length == 0 => return Err(invalid("corrupt deflate stream")),
            Status::Ok | Status::BufError => {}
        }
        Ok(length)
    }
}

impl<R: Read> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The size is counted in 32 bits.
        let room = buffer.len().min(1 << 30);
        let buffer = &mut buffer[..room];
        while !buffer.is_empty() {
            match self.state {
                State::Header { is_first } => self.begin(is_first)?,
                State::Body => match self.inflate(buffer)? {
                    0 => {}
                    length => return Ok(length),
                },
                State::Trailer => self.end()?,
                State::End => break,
            }
        }
        Ok(0)
    }
}

/// The length of a member's header; nothing when it is not here whole. [RFC 1952, 2.3]
fn header(bytes: &[u8]) -> io::Result<Option<usize>> {
    const HEADER_CHECKSUM: u8 = 1 << 1;
    const EXTRA: u8 = 1 << 2;
    const NAME: u8 = 1 << 3;
    const COMMENT: u8 = 1 << 4;
    let Some(fixed) = bytes.first_chunk::<10>() else {
        return match [0x1f, 0x8b].starts_with(&bytes[..bytes.len().min(2)]) {
            true => Ok(None),
            false => Err(invalid("invalid gzip header")),
        };
    };
    let flags = fixed[3];
    if !fixed.starts_with(&[0x1f, 0x8b, 8]) {
        return Err(invalid("invalid gzip header"));
    }
    let mut length = fixed.len();
    if flags & EXTRA != 0 {
        let Some(size) = bytes[length..].first_chunk::<2>() else { return Ok(None) };
        length += 2 + usize::from(u16::from_le_bytes(*size));
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            let rest = bytes.get(length..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == 0) else { return Ok(None) };
            length += end + 1;
        }
    }
    if flags & HEADER_CHECKSUM != 0 {
        length += 2;
    }
    Ok((length <= bytes.len()).then_some(length))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::GzEncoder;
    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn pack(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        GzipReader::new(bytes).read_to_end(&mut plain)?;
        Ok(plain)
    }

    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len());
            self.0.read(&mut buffer[..length])
        }
    }

    /// Bytes of all kinds: noise, runs, text and what came long before.
    fn mixture(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u32::try_from(state >> 32).unwrap()
        };
        let mut bytes: Vec<u8> = Vec::with_capacity(length + 70_000);
        while bytes.len() < length {
            let count = usize::try_from(random() % 4000).unwrap();
            match random() % 5 {
                0 => bytes.extend((0..count).map(|_| random().to_be_bytes()[2])),
                1 => bytes.resize(bytes.len() + count, random().to_be_bytes()[1]),
                2 => bytes.extend((0..count).map(|_| b"etaoin shrdlu\n"[random() as usize % 14])),
                _ if bytes.is_empty() => {}
                _ => {
                    let back = 1 + random() as usize % bytes.len().min(40_000);
                    let begin = bytes.len() - back;
                    (0..count).for_each(|at| bytes.push(bytes[begin + at]));
                }
            }
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn what_all_levels_make_is_read() {
        for length in [0, 1, 100, 65_535, 300_000, 2_000_000] {
            let plain = mixture(length as u64, length);
            for level in 0..10 {
                let packed = pack(&plain, level);
                assert!(unpack(&packed).unwrap() == plain, "{length} {level}");
            }
        }
    }

    #[test]
    fn pieces_of_any_size_do() {
        let plain = mixture(5, 700_000);
        let packed = pack(&plain, 6);
        for size in [1, 7, 1000, 100_000] {
            let mut unpacked = Vec::new();
            GzipReader::new(Drops(&packed, size)).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == plain, "{size}");
        }
    }

    #[test]
    fn members_follow_each_other() {
        let parts: Vec<Vec<u8>> = (0..5).map(|part| mixture(part, 50_000)).collect();
        let mut packed: Vec<u8> = parts.iter().flat_map(|part| pack(part, 9)).collect();
        assert!(unpack(&packed).unwrap() == parts.concat());
        packed.extend_from_slice(b"and no member");
        let error = unpack(&packed).unwrap_err();
        assert_eq!(error.to_string(), "invalid gzip header");
    }

    #[test]
    fn headers_have_parts() {
        let builder = GzBuilder::new().filename("a name").comment("a comment").extra(vec![7; 5000]);
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(b"content").unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(unpack(&packed).unwrap(), b"content");
        let mut unpacked = Vec::new();
        GzipReader::new(Drops(&packed, 3)).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, b"content");
    }

    #[test]
    fn what_is_cut_or_changed_is_refused() {
        let plain = mixture(9, 30_000);
        let packed = pack(&plain, 6);
        for end in 0..packed.len() {
            let error = unpack(&packed[..end]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{end}");
        }
        // All bytes but those of the header that say nothing, and but its flags. Bits that fill up
        // a byte say nothing either.
        for at in (0..packed.len()).filter(|at| !(3..10).contains(at)) {
            let mut changed = packed.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(unpack(&changed).map_or(true, |same| same == plain), "{at}");
        }
    }

    proptest! {
        #[test]
        fn noise_breaks_nothing(noise in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
            bytes.extend(&noise);
            drop(unpack(&bytes));
        }

        /// What the library's own reader cannot inflate we refuse, and the rest is the same.
        #[test]
        fn the_librarys_reader_reads_the_same(seed: u64, level in 0_u32..10, at: usize, change: u8) {
            let mut packed = pack(&mixture(seed, 3000), level);
            // Not in the header, of which that reader knows more.
            let at = 10 + at % (packed.len() - 10);
            packed[at] ^= change;
            let mut theirs = Vec::new();
            let read = flate2::bufread::MultiGzDecoder::new(&packed[..]).read_to_end(&mut theirs);
            match (unpack(&packed), read) {
                (Ok(ours), Ok(_length)) => prop_assert_eq!(ours, theirs),
                (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok()),
            }
        }
    }
}
