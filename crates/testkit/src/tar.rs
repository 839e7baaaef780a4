//! A writer of tar archives that can also write what no honest tool writes.

use std::io::Write as _;

/// An archive being written.
#[derive(Debug, Clone, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

/// One header in full; [`Entry::new`] fills in the ordinary.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Name, in whatever form.
    pub name: &'a str,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds.
    pub mtime: u64,
    /// Type flag: `b'0'` file, `b'1'` hard link, `b'2'` symbolic link, `b'3'` character device...
    pub kind: u8,
    /// Target of a link.
    pub link: &'a str,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Content.
    pub content: &'a [u8],
    /// PAX records that stand before the entry.
    pub pax: &'a [(&'a str, &'a [u8])],
}

impl<'a> Entry<'a> {
    /// A root-owned entry of `kind`.
    #[must_use]
    pub fn new(kind: u8, name: &'a str, mode: u32) -> Self {
        Self {
            name,
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_700_000_000,
            kind,
            link: "",
            device: (0, 0),
            content: &[],
            pax: &[],
        }
    }
}

impl Tar {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory.
    pub fn directory(&mut self, name: &str, mode: u32) -> &mut Self {
        self.entry(&Entry::new(b'5', name, mode))
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> &mut Self {
        self.entry(&Entry { content: content.as_ref(), ..Entry::new(b'0', name, mode) })
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(&Entry { link: target, ..Entry::new(b'2', name, 0o777) })
    }

    /// Adds a hard link.
    pub fn hard_link(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(&Entry { link: target, ..Entry::new(b'1', name, 0o644) })
    }

    /// Adds an entry exactly as given; names that do not fit a header get a PAX record.
    pub fn entry(&mut self, entry: &Entry<'_>) -> &mut Self {
        let mut pax: Vec<(&str, &[u8])> = entry.pax.to_vec();
        if entry.name.len() > 100 {
            pax.push(("path", entry.name.as_bytes()));
        }
        if entry.link.len() > 100 {
            pax.push(("linkpath", entry.link.as_bytes()));
        }
        if !pax.is_empty() {
            let mut body = Vec::new();
            for (key, value) in pax {
                body.extend(pax_record(key, value));
            }
            let header = Entry { content: &body, ..Entry::new(b'x', "PaxHeaders/entry", 0o644) };
            self.raw(&header);
        }
        self.raw(entry)
    }

    /// Adds a file whose name is too long for a header in GNU's way: an `L` entry before it.
    pub fn gnu_long_file(&mut self, name: &str, content: &[u8]) -> &mut Self {
        let mut long = name.as_bytes().to_vec();
        long.push(0);
        self.raw(&Entry { content: &long, ..Entry::new(b'L', "././@LongLink", 0o644) });
        self.raw(&Entry { content, ..Entry::new(b'0', &name[..100], 0o644) })
    }

    /// Adds a sparse file in GNU's old format: `data` at `offset`, holes around it up to `size`.
    pub fn gnu_sparse_file(
        &mut self,
        name: &str,
        offset: u64,
        data: &[u8],
        size: u64,
    ) -> &mut Self {
        let mut header = header(&Entry { content: data, ..Entry::new(b'S', name, 0o644) });
        header[257..265].copy_from_slice(b"ustar  \0");
        let number = |value: u64| format!("{value:011o}\0").into_bytes();
        // Four pairs of offset and length stand at 386, the real size at 483.
        header[386..398].copy_from_slice(&number(offset));
        header[398..410].copy_from_slice(&number(data.len() as u64));
        header[410..422].copy_from_slice(&number(size));
        header[422..434].copy_from_slice(&number(0));
        header[483..495].copy_from_slice(&number(size));
        seal(&mut header);
        self.put(&header, data)
    }

    fn raw(&mut self, entry: &Entry<'_>) -> &mut Self {
        self.put(&header(entry), entry.content)
    }

    fn put(&mut self, header: &[u8; 512], content: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// Ends the archive.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

fn header(entry: &Entry<'_>) -> [u8; 512] {
    let mut header = [0_u8; 512];
    let mut text = |at: usize, room: usize, value: &[u8]| {
        let length = value.len().min(room);
        header[at..at + length].copy_from_slice(&value[..length]);
    };
    text(0, 100, entry.name.as_bytes());
    text(100, 8, format!("{:07o}", entry.mode).as_bytes());
    text(108, 8, format!("{:07o}", entry.uid).as_bytes());
    text(116, 8, format!("{:07o}", entry.gid).as_bytes());
    text(124, 12, format!("{:011o}", entry.content.len()).as_bytes());
    text(136, 12, format!("{:011o}", entry.mtime).as_bytes());
    text(156, 1, &[entry.kind]);
    text(157, 100, entry.link.as_bytes());
    text(257, 8, b"ustar\x0000");
    text(329, 8, format!("{:07o}", entry.device.0).as_bytes());
    text(337, 8, format!("{:07o}", entry.device.1).as_bytes());
    seal(&mut header);
    header
}

fn seal(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let mut field = &mut header[148..156];
    write!(field, "{sum:06o}\0 ").expect("the field has room for the sum");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pax_record_counts_its_own_length() {
        assert_eq!(pax_record("path", b"x"), b"9 path=x\n");
        assert_eq!(pax_record("paths", b"x"), b"11 paths=x\n");
        let long = pax_record("path", &[b'a'; 91]);
        assert!(long.starts_with(b"101 path=a") && long.len() == 101);
    }

    #[test]
    fn a_header_has_the_sum_of_its_bytes() {
        let mut tar = Tar::new();
        let bytes = tar.file("a", 0o644, "hello").finish();
        let stated = std::str::from_utf8(&bytes[148..154]).unwrap();
        let mut blank = bytes[..512].to_vec();
        blank[148..156].fill(b' ');
        let sum: u32 = blank.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(u32::from_str_radix(stated, 8).unwrap(), sum);
        assert_eq!(bytes.len(), 512 + 512 + 1024);
    }
}
