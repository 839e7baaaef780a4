//! The structures of an EROFS image, byte by byte. [Linux, `fs/erofs/erofs_fs.h`]

/// Log2 of our block size: an archive's, so that its contents can be mapped.
pub(super) const BLOCK_BITS: u32 = 9;
const BLOCK_BITS_BYTE: u8 = 9;
pub(super) const BLOCK: usize = 1 << BLOCK_BITS;
/// The unit in which inodes are addressed.
pub(super) const SLOT: u64 = 32;
pub(super) const INODE: usize = 64;
pub(super) const DIRENT: usize = 12;
pub(super) const CHUNK_INDEX: usize = 8;
/// Where the superblock is, and our only device right after it.
const SUPERBLOCK_AT: usize = 1024;
const DEVICE_SLOT: usize = 128;
const DEVICE_AT: usize = SUPERBLOCK_AT + 128;
/// Where inodes may begin.
pub(super) const METADATA_AT: u64 = (DEVICE_AT + DEVICE_SLOT) as u64;

const MAGIC: u32 = 0xE0F5_E1E2;
const COMPAT_MTIME: u32 = 0x2;
const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
const INCOMPAT_DEVICE_TABLE: u32 = 0x8;

const CHUNK_FORMAT_INDEXES: u16 = 0x20;
/// Five bits say how much larger than a block a chunk is.
pub(super) const MAX_CHUNK_BITS: u32 = 31;
/// A chunk that is not there.
pub(super) const HOLE: u32 = u32::MAX;

/// What the first blocks say of the whole.
pub(super) struct Superblock {
    pub root_slot: u16,
    pub inodes: u64,
    pub blocks: u32,
    pub device_blocks: u32,
}

impl Superblock {
    /// The bytes before the first inode.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; DEVICE_AT + DEVICE_SLOT];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let at = SUPERBLOCK_AT;
        put(at, &MAGIC.to_le_bytes());
        put(at + 8, &COMPAT_MTIME.to_le_bytes());
        put(at + 12, &[BLOCK_BITS_BYTE]);
        put(at + 14, &self.root_slot.to_le_bytes());
        put(at + 16, &self.inodes.to_le_bytes());
        put(at + 36, &self.blocks.to_le_bytes());
        put(at + 80, &(INCOMPAT_CHUNKED_FILE | INCOMPAT_DEVICE_TABLE).to_le_bytes());
        // One extra device, whose slot is counted in units of its own size.
        put(at + 86, &1_u16.to_le_bytes());
        put(at + 88, &narrow(DEVICE_AT / DEVICE_SLOT).to_le_bytes());
        put(DEVICE_AT + 64, &self.device_blocks.to_le_bytes());
        bytes
    }
}

/// How an inode's data is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In blocks of its own.
    Plain { block: u32 },
    /// Whole blocks of its own, and the last part right behind the inode.
    Inline { block: u32 },
    /// A table of chunks right behind the inode.
    Chunks { bits: u32 },
    /// No data but a device number.
    Device { number: u32 },
}

pub(super) struct Inode {
    pub layout: Layout,
    /// Bytes of extended attributes behind the inode.
    pub xattr_len: usize,
    pub mode: u16,
    pub size: u64,
    pub number: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime_seconds: i64,
    pub mtime_nanoseconds: u32,
    pub links: u32,
}

impl Inode {
    /// An extended inode.
    pub(super) fn encode(&self) -> [u8; INODE] {
        let mut bytes = [0; INODE];
        let (layout, data) = match self.layout {
            Layout::Plain { block } => (0_u16, block),
            Layout::Inline { block } => (2, block),
            Layout::Chunks { bits } => (4, u32::from(CHUNK_FORMAT_INDEXES) | bits),
            Layout::Device { number } => (0, number),
        };
        let count = if self.xattr_len == 0 { 0 } else { (self.xattr_len - XATTR_HEADER) / 4 + 1 };
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &(1 | layout << 1).to_le_bytes());
        put(2, &narrow(count).to_le_bytes());
        put(4, &self.mode.to_le_bytes());
        put(8, &self.size.to_le_bytes());
        put(16, &data.to_le_bytes());
        put(20, &self.number.to_le_bytes());
        put(24, &self.uid.to_le_bytes());
        put(28, &self.gid.to_le_bytes());
        put(32, &self.mtime_seconds.to_le_bytes());
        put(40, &self.mtime_nanoseconds.to_le_bytes());
        put(44, &self.links.to_le_bytes());
        bytes
    }
}

/// A count that has 16 bits in the format and is limited to them before it comes here: names to
/// 255 bytes, values to 64 KiB, all of a file's attributes to `MAX_XATTRS_OF_FILE`, places in a
/// directory's block to 512.
fn narrow(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// The kernel's encoding of a device number.
pub(super) fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// One chunk: the device it is on (0 the index, 1 the archive) and its block.
pub(super) fn chunk_index(device: u16, block: u32) -> [u8; CHUNK_INDEX] {
    let mut bytes = [0; CHUNK_INDEX];
    bytes[2..4].copy_from_slice(&device.to_le_bytes());
    bytes[4..].copy_from_slice(&block.to_le_bytes());
    bytes
}

const XATTR_HEADER: usize = 12;
const XATTR_PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
const XATTR_ACLS: [(&[u8], u8); 2] =
    [(b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3)];

/// Divides an attribute's name into what EROFS numbers and the rest; `None` when it cannot.
pub(super) fn xattr_name(name: &[u8]) -> Option<(u8, &[u8])> {
    if let Some((_, index)) = XATTR_ACLS.iter().find(|(known, _)| *known == name) {
        return Some((*index, b""));
    }
    XATTR_PREFIXES.iter().find_map(|(prefix, index)| {
        let rest = name.strip_prefix(*prefix)?;
        (!rest.is_empty()).then_some((*index, rest))
    })
}

/// Encodes extended attributes; empty when there are none. Those that EROFS cannot name are left
/// out, as Docker leaves out what the filesystem does not take.
pub(super) fn encode_xattrs<'a>(xattrs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut bytes = vec![0; XATTR_HEADER];
    for (name, value) in xattrs {
        let Some((index, rest)) = xattr_name(name) else { continue };
        bytes.extend([narrow(rest.len()).to_le_bytes()[0], index]);
        bytes.extend(narrow(value.len()).to_le_bytes());
        bytes.extend(rest);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    if bytes.len() == XATTR_HEADER { Vec::new() } else { bytes }
}

/// Kinds of directory entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileType {
    Regular = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

impl FileType {
    /// The kind as mode bits.
    pub(super) fn mode(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
        }
    }
}

/// A name in a directory.
pub(super) struct Dirent<'a> {
    pub name: &'a [u8],
    pub slot: u64,
    pub file_type: FileType,
}

/// How many blocks the names of a directory fill, and how much of the last.
///
/// `lengths` are those of the sorted names, dots included.
pub(super) fn directory_size(lengths: impl Iterator<Item = usize>) -> u64 {
    let (mut full, mut used) = (0_u64, 0);
    for length in lengths {
        if used + DIRENT + length > BLOCK {
            (full, used) = (full + 1, 0);
        }
        used += DIRENT + length;
    }
    full * BLOCK as u64 + used as u64
}

/// Encodes a directory: in each block first the entries, then their names.
pub(super) fn encode_directory(entries: &[Dirent<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let mut used = 0;
        let fitting = rest.iter().take_while(|entry| {
            used += DIRENT + entry.name.len();
            used <= BLOCK
        });
        let (block, more) = rest.split_at(fitting.count());
        encode_directory_block(block, &mut bytes);
        if !more.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        rest = more;
    }
    bytes
}

fn encode_directory_block(entries: &[Dirent<'_>], bytes: &mut Vec<u8>) {
    let mut name_at = entries.len() * DIRENT;
    for entry in entries {
        bytes.extend(entry.slot.to_le_bytes());
        bytes.extend(narrow(name_at).to_le_bytes());
        bytes.extend([entry.file_type as u8, 0]);
        name_at += entry.name.len();
    }
    for entry in entries {
        bytes.extend(entry.name);
    }
}
