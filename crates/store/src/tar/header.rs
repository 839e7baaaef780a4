//! The 512-byte header and its numbers.

use super::TarError;

pub(super) const BLOCK: usize = 512;

/// A header whose checksum is right.
#[derive(Debug)]
pub(super) struct RawHeader {
    block: [u8; BLOCK],
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl RawHeader {
    pub(super) fn check(block: [u8; BLOCK]) -> Result<Self, TarError> {
        let invalid = || TarError::malformed("archive/tar: invalid tar header");
        let stated = number(&block[148..156]).ok_or_else(invalid)?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (index, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(i8::from_ne_bytes([byte]));
        }
        // Old tars summed signed bytes.
        if stated != unsigned && stated != signed {
            return Err(invalid());
        }
        let format = match (&block[257..263], &block[263..265]) {
            (b"ustar\0", _) if &block[508..512] == b"tar\0" => Format::Star,
            (b"ustar\0", _) => Format::Ustar,
            (b"ustar ", b" \0") => Format::Gnu,
            _ => Format::V7,
        };
        Ok(Self { block, format })
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.block[156]
    }

    /// The name with ustar's prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let prefix = match self.format {
            Format::Ustar => text(&self.block[345..500]),
            Format::Star => text(&self.block[345..476]),
            Format::V7 | Format::Gnu => &[],
        };
        let name = text(&self.block[..100]);
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u16, TarError> {
        Ok(u16::try_from(self.field(100..108, "mode")? & 0o7777).unwrap_or_default())
    }

    pub(super) fn uid(&self) -> Result<u32, TarError> {
        self.narrow(108..116, "uid")
    }

    pub(super) fn gid(&self) -> Result<u32, TarError> {
        self.narrow(116..124, "gid")
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        let size = self.field(124..136, "size")?;
        u64::try_from(size).map_err(|_negative| TarError::malformed("negative size in tar header"))
    }

    pub(super) fn mtime(&self) -> Result<i64, TarError> {
        self.field(136..148, "mtime")
    }

    pub(super) fn major(&self) -> Result<u32, TarError> {
        if self.format == Format::V7 { Ok(0) } else { self.narrow(329..337, "device number") }
    }

    pub(super) fn minor(&self) -> Result<u32, TarError> {
        if self.format == Format::V7 { Ok(0) } else { self.narrow(337..345, "device number") }
    }

    /// What the header of an old GNU sparse file says.
    pub(super) fn gnu_sparse(&self) -> Result<GnuSparse, TarError> {
        if self.format != Format::Gnu {
            return Err(TarError::malformed("sparse file in an archive that is not GNU's"));
        }
        let real_size = self.field(483..495, "sparse size")?;
        let real_size = u64::try_from(real_size)
            .map_err(|_negative| TarError::malformed("negative size of a sparse file"))?;
        let mut pieces = Vec::new();
        gnu_pieces(&self.block[386..482], &mut pieces)?;
        Ok(GnuSparse { real_size, pieces, continued: self.block[482] != 0 })
    }

    fn field(&self, range: std::ops::Range<usize>, what: &str) -> Result<i64, TarError> {
        number(&self.block[range])
            .ok_or_else(|| TarError::malformed(format!("invalid {what} in tar header")))
    }

    fn narrow(&self, range: std::ops::Range<usize>, what: &str) -> Result<u32, TarError> {
        let value = self.field(range, what)?;
        u32::try_from(value)
            .map_err(|_range| TarError::malformed(format!("{what} {value} is out of range")))
    }
}

/// An old GNU sparse file.
pub(super) struct GnuSparse {
    pub(super) real_size: u64,
    /// Offset and length of each.
    pub(super) pieces: Vec<(u64, u64)>,
    /// Whether further blocks of pieces follow.
    pub(super) continued: bool,
}

/// Reads a continuation block of an old GNU sparse file; tells whether a further one follows.
pub(super) fn gnu_sparse_continued(
    block: &[u8; BLOCK],
    pieces: &mut Vec<(u64, u64)>,
) -> Result<bool, TarError> {
    gnu_pieces(&block[..504], pieces)?;
    Ok(block[504] != 0)
}

fn gnu_pieces(bytes: &[u8], pieces: &mut Vec<(u64, u64)>) -> Result<(), TarError> {
    for piece in bytes.chunks_exact(24) {
        if piece[0] == 0 {
            break;
        }
        let read = |bytes| number(bytes).and_then(|n| u64::try_from(n).ok());
        match (read(&piece[..12]), read(&piece[12..])) {
            (Some(offset), Some(length)) => pieces.push((offset, length)),
            _ => return Err(TarError::malformed("invalid map of a sparse file")),
        }
    }
    Ok(())
}

/// Text up to the first zero byte.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number: octal digits, or GNU's base 256 when the first bit is set.
fn number(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value: i128 = i128::from(first & 0x3f);
        if negative {
            value -= 0x40;
        }
        for &byte in &bytes[1..] {
            value = (value << 8) | i128::from(byte);
            if i64::try_from(value).is_err() {
                return None;
            }
        }
        return i64::try_from(value).ok();
    }
    let trim = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = bytes.iter().position(|byte| !trim(byte)).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    let end = digits.iter().position(trim).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_i64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[track_caller]
    fn check(bytes: &[u8], expect: Option<i64>) {
        assert_eq!(number(bytes), expect, "{bytes:?}");
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        check(b"0000644\0", Some(0o644));
        check(b"    644 ", Some(0o644));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"77777777777", Some(0o77777777777));
        check(b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1));
        check(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None);
        check(b"12x", None);
        check(b"9", None);
    }
}
