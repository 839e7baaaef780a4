//! Every limit on what an archive may ask of us, and on what is kept, with its reason.

use std::time::Duration;

/// Entries of one layer. A tree node takes about 200 bytes of memory while a layer is taken in, so
/// this bounds the nodes at under a gigabyte; the largest known images have about a million files.
pub(crate) const MAX_ENTRIES: usize = 4_000_000;

/// Entries of the outer archive: a layer, a configuration and a manifest each, for many images.
pub(crate) const MAX_OUTER_ENTRIES: usize = 100_000;

/// Length of a path in the outer archive, all of which are kept; those of layers have 76 bytes.
pub(crate) const MAX_OUTER_PATH: usize = 512;

/// Length of a path; the kernel's `PATH_MAX` without its zero byte.
pub(crate) const MAX_PATH: usize = 4095;

/// Length of a name; the kernel's `NAME_MAX`, and what EROFS and ext4 can hold.
pub(crate) const MAX_NAME: usize = 255;

/// A PAX header or a GNU long name: as in Go's `archive/tar`, so that Docker's limit is ours.
pub(crate) const MAX_EXTENDED_HEADER: u64 = 1 << 20;

/// Value of one extended attribute; the kernel's `XATTR_SIZE_MAX`.
pub(crate) const MAX_XATTR_VALUE: usize = 65_535;

/// All extended attributes of one file: what an EROFS inode can count (16 bits of 4 bytes each),
/// less headers.
pub(crate) const MAX_XATTRS_OF_FILE: usize = 200 << 10;

/// Pieces of one sparse file. GNU tar writes one per run of data; ours to bound memory.
pub(crate) const MAX_SPARSE_SEGMENTS: usize = 1 << 20;

/// Memory for the names, link texts, extended attributes and pieces of sparse files of one layer
/// together. A million files with a label each take 150 MB.
pub(crate) const MAX_TREE_MEMORY: usize = 512 << 20;

/// What one such text or attribute costs beyond its bytes: the allocator's and the vector's part.
pub(crate) const ALLOCATION: usize = 48;

/// The files of one layer together, holes and all: an exbibyte, so that sums of a few layers fit
/// into the database's 63 bits.
pub(crate) const MAX_CONTENT: u64 = 1 << 60;

/// What the EROFS index may cost for all sparse files of a layer beyond the size of its archive:
/// their chunk tables, and copies of chunks that lie askew in the archive.
pub(crate) const MAX_SPARSE_OVERHEAD: u64 = 256 << 20;

/// An image configuration; containerd's limit is the same.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

/// A manifest or an index; the distribution specification asks registries for 4 MiB.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;

/// `manifest.json` and `index.json` of an archive, which name many images.
pub(crate) const MAX_LISTING: u64 = 16 << 20;

/// All small files of an archive kept in memory while it is read.
pub(crate) const MAX_DOCUMENTS: u64 = 128 << 20;

/// Layers of one image: the kernel's overlayfs takes 500 directories, of which a container has one for
/// its places, and the view of one that has ended another for what it wrote; Docker makes at most 127.
pub(crate) const MAX_LAYERS: usize = 498;

/// How much memory an xz stream may ask for; level 9 takes 65 MiB.
pub(crate) const MAX_XZ_MEMORY: u64 = 256 << 20;

/// Log2 of the largest zstd window; `zstd --ultra -22` takes 27.
pub(crate) const MAX_ZSTD_WINDOW_LOG: u32 = 27;

/// How often an index may lead to another index.
pub(crate) const MAX_INDEX_DEPTH: usize = 4;

/// Mounted layers kept ready although no container's mount asks for them now; each holds one
/// descriptor and one small superblock.
pub(crate) const MAX_IDLE_LAYER_MOUNTS: usize = 256;

/// A compressed layer: larger than any known, small enough that its size is not an attack.
pub(crate) const MAX_LAYER_BLOB: u64 = 128 << 30;

/// What any layer or archive may decompress to, however small it is: honest ones have preallocated
/// files and disks, of which zstd makes a 32,768th, and xz a 7000th. Tests need not write as much.
pub(crate) const MAX_EXPANSION: u64 = if cfg!(test) { 64 << 20 } else { 64 << 30 };

/// How many times its size a layer or archive may decompress to beyond that: more than deflate ever
/// reaches, which is 1032.
pub(crate) const MAX_EXPANSION_RATIO: u64 = 1100;

/// How often the free space is looked at while a layer comes in.
pub(crate) const FREE_SPACE_EVERY: u64 = 64 << 20;

/// What a layer leaves of the disk: the database and the containers need some.
pub(crate) const MIN_FREE_BYTES: u64 = 1 << 30;
pub(crate) const MIN_FREE_PERCENT: u64 = 2;

/// How long what an unfinished pull has done is kept for the next attempt.
pub(crate) const LEASE_SECONDS: i64 = 7 * 24 * 3600;

/// How long a blob that came in part is kept for the next attempt.
pub(crate) const MAX_PARTIAL_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// All blobs together that came in part.
pub(crate) const MAX_PARTIAL_BYTES: u64 = 10 << 30;
