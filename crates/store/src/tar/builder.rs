//! Builds archives for tests, also ones that no sane program would write.

/// An archive in the making.
#[derive(Debug, Default, Clone)]
pub(crate) struct TarBuilder {
    bytes: Vec<u8>,
    /// Records for the PAX header of the next entry.
    pax: Vec<u8>,
}

/// The fields of a header that tests care about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub path: &'a [u8],
    pub link: &'a [u8],
    pub typeflag: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: u64,
    pub device: (u32, u32),
    pub gnu: bool,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self {
            path: b"",
            link: b"",
            typeflag: b'0',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 1_000_000_000,
            device: (0, 0),
            gnu: false,
        }
    }
}

impl TarBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The archive, with its two zero blocks.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    /// The archive, without its end.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        let path = path.as_bytes();
        self.entry(Fields { path, typeflag: b'5', mode: 0o755, ..Fields::default() }, b"")
    }

    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.entry(Fields { path: path.as_bytes(), ..Fields::default() }, data)
    }

    pub(crate) fn symlink(self, path: &str, link: &str) -> Self {
        let (path, link) = (path.as_bytes(), link.as_bytes());
        self.entry(Fields { path, link, typeflag: b'2', mode: 0o777, ..Fields::default() }, b"")
    }

    pub(crate) fn hard_link(self, path: &str, link: &str) -> Self {
        let (path, link) = (path.as_bytes(), link.as_bytes());
        self.entry(Fields { path, link, typeflag: b'1', ..Fields::default() }, b"")
    }

    /// Adds a record to the PAX header of the next entry.
    pub(crate) fn pax(mut self, key: &str, value: &[u8]) -> Self {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.pax.extend(format!("{length} {key}=").as_bytes());
        self.pax.extend(value);
        self.pax.push(b'\n');
        self
    }

    /// A GNU long name (`L`) or link (`K`) for the next entry.
    pub(crate) fn gnu_long(mut self, typeflag: u8, text: &[u8]) -> Self {
        let data = [text, b"\0"].concat();
        let fields = Fields { path: b"././@LongLink", typeflag, gnu: true, ..Fields::default() };
        self.raw(fields, &data, |_| ());
        self
    }

    /// Adds an entry with its data; its size is that of the data unless it is given.
    pub(crate) fn entry(mut self, fields: Fields<'_>, data: &[u8]) -> Self {
        self.flush_pax();
        self.raw(fields, data, |_| ());
        self
    }

    /// An old GNU sparse file of pieces `(offset, data)`.
    pub(crate) fn gnu_sparse(mut self, path: &str, size: u64, pieces: &[(u64, &[u8])]) -> Self {
        self.flush_pax();
        let data: Vec<u8> = pieces.iter().flat_map(|(_, data)| data.to_vec()).collect();
        let mut map: Vec<[u8; 24]> = Vec::new();
        for (offset, data) in pieces {
            map.push(gnu_piece(*offset, data.len() as u64));
        }
        let fields =
            Fields { path: path.as_bytes(), typeflag: b'S', gnu: true, ..Fields::default() };
        let (first, rest) = map.split_at(map.len().min(4));
        let header_at = self.bytes.len();
        self.raw(fields, &data, |block| {
            for (index, piece) in first.iter().enumerate() {
                block[386 + index * 24..][..24].copy_from_slice(piece);
            }
            block[482] = u8::from(!rest.is_empty());
            block[483..495].copy_from_slice(&gnu_piece(size, 0)[..12]);
        });
        // The continuation blocks come between the header and the data.
        let data = self.bytes.split_off(header_at + 512);
        let mut chunks = rest.chunks(21).peekable();
        while let Some(chunk) = chunks.next() {
            let mut block = [0; 512];
            for (index, piece) in chunk.iter().enumerate() {
                block[index * 24..][..24].copy_from_slice(piece);
            }
            block[504] = u8::from(chunks.peek().is_some());
            self.bytes.extend(block);
        }
        self.bytes.extend(data);
        self
    }

    fn flush_pax(&mut self) {
        let pax = std::mem::take(&mut self.pax);
        if !pax.is_empty() {
            let fields = Fields { path: b"PaxHeaders/x", typeflag: b'x', ..Fields::default() };
            self.raw(fields, &pax, |_| ());
        }
    }

    fn raw(&mut self, fields: Fields<'_>, data: &[u8], patch: impl FnOnce(&mut [u8; 512])) {
        let mut block = [0_u8; 512];
        let name = &fields.path[..fields.path.len().min(100)];
        block[..name.len()].copy_from_slice(name);
        let mut octal = |at: usize, width: usize, value: u64| {
            let text = format!("{value:0width$o}");
            block[at..at + width].copy_from_slice(text.as_bytes());
        };
        octal(100, 7, fields.mode.into());
        octal(108, 7, fields.uid.into());
        octal(116, 7, fields.gid.into());
        octal(124, 11, if fields.size > 0 { fields.size } else { data.len() as u64 });
        octal(136, 11, fields.mtime);
        octal(329, 7, fields.device.0.into());
        octal(337, 7, fields.device.1.into());
        block[156] = fields.typeflag;
        let link = &fields.link[..fields.link.len().min(100)];
        block[157..157 + link.len()].copy_from_slice(link);
        let magic: &[u8; 8] = if fields.gnu { b"ustar  \0" } else { b"ustar\x0000" };
        block[257..265].copy_from_slice(magic);
        if fields.gnu {
            // GNU has other things where ustar has its prefix.
            block[329..345].fill(0);
        }
        patch(&mut block);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend(block);
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }
}

fn gnu_piece(offset: u64, length: u64) -> [u8; 24] {
    let mut piece = [0; 24];
    for (field, number) in piece.chunks_exact_mut(12).zip([offset, length]) {
        if number < 1 << 33 {
            field[..11].copy_from_slice(format!("{number:011o}").as_bytes());
        } else {
            // Base 256.
            field[0] = 0x80;
            field[4..].copy_from_slice(&number.to_be_bytes());
        }
    }
    piece
}
