//! Writes `index.erofs`: first where everything goes, then the bytes in one ascending pass.
//!
//! ```text
//! superblock, device | inode xattrs tail | inode xattrs tail | ... | blocks of directories, links, copies
//! ```

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::super::BuildError;
use super::chunks::{self, ChunkPlan, Place};
use super::compare::{Comparison, Sink};
use super::format::{
    self, BLOCK, CHUNK_INDEX, Dirent, FileType, HOLE, INODE, Inode, Layout, METADATA_AT, SLOT,
    Superblock,
};
use crate::error::StoreError;
use crate::tar::FileData;
use crate::tree::{Directory, LayerTree, Node, NodeId, NodeKind};
use crate::{limits, space};

const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

/// Writes the index of `tree`, whose contents are in `archive`.
pub(super) fn write(
    tree: &LayerTree,
    archive: &File,
    index: &File,
    path: &Path,
) -> Result<(), BuildError> {
    let archive_len = archive.metadata().map_err(BuildError::file("stat", path))?.len();
    let plan = Plan::of(tree, archive_len)?;
    // It is written in one go: if there is space for it at all, there is now.
    space::check(index, path, plan.len()).map_err(|error| match error {
        StoreError::File { doing, path, source } => BuildError::File { doing, path, source },
        _ => BuildError::file("write", path)(io::ErrorKind::StorageFull.into()),
    })?;
    let device_blocks = device_blocks(archive_len)?;
    let writer = Writer { tree, plan: &plan, archive, device_blocks };
    let done = writer.write(BufWriter::with_capacity(1 << 18, index));
    // The last block may be a hole.
    done.and_then(|()| index.set_len(plan.len())).map_err(BuildError::file("write", path))
}

/// Whether `kept` is what [`write`] would make of `tree`; nothing is written.
pub(super) fn is_index_of(
    kept: &File,
    tree: &LayerTree,
    archive: &File,
    path: &Path,
) -> Result<bool, BuildError> {
    let archive_len = archive.metadata().map_err(BuildError::file("stat", path))?.len();
    let plan = Plan::of(tree, archive_len)?;
    if kept.metadata().map_err(BuildError::file("stat", path))?.len() != plan.len() {
        return Ok(false);
    }
    let writer = Writer { tree, plan: &plan, archive, device_blocks: device_blocks(archive_len)? };
    let mut comparison = Comparison::new(kept);
    let compared = writer.write(&mut comparison);
    if comparison.differs {
        return Ok(false);
    }
    compared.map_err(BuildError::file("read", path))?;
    comparison.skip_to(plan.len()).map_err(BuildError::file("read", path))?;
    Ok(!comparison.differs)
}

/// How many blocks the archive is, as the index says of its device.
fn device_blocks(archive_len: u64) -> Result<u32, BuildError> {
    u32::try_from(archive_len.div_ceil(BLOCK as u64))
        .map_err(|_large| BuildError::Archive("layer is larger than 2 TiB".to_owned()))
}

/// Where everything goes.
struct Plan {
    /// By node; only those that are reachable.
    places: Vec<Option<InodePlan>>,
    /// Reachable nodes in the order of their inodes: a directory's together.
    order: Vec<NodeId>,
    blocks: u32,
    /// What sparse files may still cost beyond the archive.
    sparse_budget: u64,
}

struct InodePlan {
    at: u64,
    parent: NodeId,
    number: u32,
    layout: Layout,
    /// Length of its encoded attributes.
    xattrs: usize,
    size: u64,
    chunks: Option<ChunkPlan>,
    /// First block of its copied chunks.
    copies: u32,
    subdirectories: u32,
}

impl InodePlan {
    fn slot(&self) -> u64 {
        self.at / SLOT
    }
}

impl Plan {
    /// Bytes of the index.
    fn len(&self) -> u64 {
        u64::from(self.blocks) * BLOCK as u64
    }

    fn of(tree: &LayerTree, archive_len: u64) -> Result<Self, BuildError> {
        let sparse_budget = limits::MAX_SPARSE_OVERHEAD.saturating_add(archive_len);
        let mut plan = Self { places: Vec::new(), order: Vec::new(), blocks: 0, sparse_budget };
        plan.places.resize_with(tree.len(), || None);
        let mut end = METADATA_AT;
        plan.place_inode(tree, LayerTree::ROOT, LayerTree::ROOT, &mut end)?;
        // The order grows while it is walked: breadth first.
        let mut next = 0;
        while let Some(&id) = plan.order.get(next) {
            next += 1;
            let Some(directory) = tree.directory(id) else { continue };
            let mut subdirectories = 0;
            for &child in directory.children.values() {
                subdirectories += u32::from(tree.directory(child).is_some());
                if plan.places[child].is_none() {
                    plan.place_inode(tree, child, id, &mut end)?;
                }
            }
            if let Some(place) = &mut plan.places[id] {
                place.subdirectories = subdirectories;
            }
        }
        plan.place_blocks(end)?;
        Ok(plan)
    }

    fn place_inode(
        &mut self,
        tree: &LayerTree,
        id: NodeId,
        parent: NodeId,
        end: &mut u64,
    ) -> Result<(), BuildError> {
        let node = tree.node(id);
        let xattrs = encoded_xattrs(node).len();
        let head = INODE + xattrs;
        let (size, layout, chunks) = match &node.kind {
            NodeKind::Directory(directory) => {
                let size = directory_size(directory);
                (size, inline_or_plain(size, head), None)
            }
            NodeKind::Symlink(target) => {
                let size = target.len() as u64;
                (size, inline_or_plain(size, head), None)
            }
            NodeKind::File(data) if data.size == 0 => (0, Layout::Plain { block: 0 }, None),
            NodeKind::File(data) => {
                let scattered =
                    || BuildError::Archive("sparse file is too large and too scattered".to_owned());
                let chunks = chunks::plan(data).ok_or_else(scattered)?;
                if data.sparse.is_some() {
                    let left = self.sparse_budget.checked_sub(chunks.overhead(data.size));
                    self.sparse_budget = left.ok_or_else(scattered)?;
                }
                (data.size, Layout::Chunks { bits: chunks.bits }, Some(chunks))
            }
            NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                (0, Layout::Device { number: format::device_number(*major, *minor) }, None)
            }
            NodeKind::Whiteout => (0, Layout::Device { number: 0 }, None),
            NodeKind::Fifo => (0, Layout::Plain { block: 0 }, None),
        };
        let tail = match layout {
            Layout::Inline { .. } => size % BLOCK as u64,
            _ => 0,
        };
        let at = position(*end, head as u64, tail);
        let table = chunks.as_ref().map_or(0, ChunkPlan::table_len);
        let body = at + head as u64;
        *end = if table > 0 { body.next_multiple_of(8) + table } else { body + tail };
        let number = u32::try_from(self.order.len() + 1).unwrap_or(u32::MAX);
        let (copies, subdirectories) = (0, 0);
        self.places[id] = Some(InodePlan {
            at,
            parent,
            number,
            layout,
            xattrs,
            size,
            chunks,
            copies,
            subdirectories,
        });
        self.order.push(id);
        Ok(())
    }

    /// Gives blocks to what did not fit behind its inode.
    fn place_blocks(&mut self, end: u64) -> Result<(), BuildError> {
        let mut next = end.div_ceil(BLOCK as u64);
        let narrow = |block: u64| {
            u32::try_from(block)
                .map_err(|_large| BuildError::Archive("layer has too many files".to_owned()))
        };
        for &id in &self.order {
            let Some(place) = &mut self.places[id] else { continue };
            let size = place.size;
            match &mut place.layout {
                Layout::Plain { block } if size > 0 => {
                    *block = narrow(next)?;
                    next += size.div_ceil(BLOCK as u64);
                }
                Layout::Inline { block } if size >= BLOCK as u64 => {
                    *block = narrow(next)?;
                    next += size / BLOCK as u64;
                }
                _ => {}
            }
            if let Some(chunks) = &place.chunks {
                place.copies = narrow(next)?;
                for chunk in chunks.filled.iter().filter(|chunk| chunk.place == Place::Copy) {
                    next += chunks.copy_len(size, chunk.index) / BLOCK as u64;
                }
            }
        }
        self.blocks = narrow(next)?;
        Ok(())
    }

    fn place(&self, id: NodeId) -> io::Result<&InodePlan> {
        self.places[id].as_ref().ok_or_else(|| io::Error::other("a node has no place in the index"))
    }
}

/// A node's attributes, and overlayfs's note, as they go behind the inode.
fn encoded_xattrs(node: &Node) -> Vec<u8> {
    let xattrs = node.attributes.xattrs.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
    let opaque = matches!(&node.kind, NodeKind::Directory(directory) if directory.opaque);
    format::encode_xattrs(xattrs.chain(opaque.then_some(OPAQUE)))
}

/// Small data goes behind its inode when both fit into one block.
fn inline_or_plain(size: u64, head: usize) -> Layout {
    let tail = size % BLOCK as u64;
    if tail > 0 && tail + head as u64 <= BLOCK as u64 {
        Layout::Inline { block: 0 }
    } else {
        Layout::Plain { block: 0 }
    }
}

/// Where an inode can begin: its fixed part and, with a tail, all of it, must not cross a block.
fn position(end: u64, head: u64, tail: u64) -> u64 {
    let at = end.next_multiple_of(SLOT);
    let together = if tail > 0 { head + tail } else { INODE as u64 };
    let block = BLOCK as u64;
    if at % block + together > block { at.next_multiple_of(block) } else { at }
}

fn directory_size(directory: &Directory) -> u64 {
    format::directory_size(names(directory).map(<[u8]>::len))
}

/// All names of a directory, sorted, with the two dots in their places.
fn names(directory: &Directory) -> impl Iterator<Item = &[u8]> {
    let dots: [&[u8]; 2] = [b".", b".."];
    let mut dots = dots.into_iter().peekable();
    let mut children = directory.children.keys().map(|name| &**name).peekable();
    std::iter::from_fn(move || match (dots.peek(), children.peek()) {
        (Some(dot), Some(child)) if child < dot => children.next(),
        (Some(_), _) => dots.next(),
        (None, _) => children.next(),
    })
}

struct Writer<'a> {
    tree: &'a LayerTree,
    plan: &'a Plan,
    archive: &'a File,
    device_blocks: u32,
}

impl Writer<'_> {
    fn write<W: Sink>(&self, sink: W) -> io::Result<()> {
        let root = self.plan.place(LayerTree::ROOT)?;
        let superblock = Superblock {
            root_slot: u16::try_from(root.slot()).map_err(io::Error::other)?,
            inodes: self.plan.order.len() as u64,
            blocks: self.plan.blocks,
            device_blocks: self.device_blocks,
        };
        let mut output = Output { inner: sink, at: 0 };
        output.put(0, &superblock.encode())?;
        for &id in &self.plan.order {
            self.write_inode(&mut output, id)?;
        }
        for &id in &self.plan.order {
            self.write_blocks(&mut output, id)?;
        }
        output.inner.flush()
    }

    fn write_inode<W: Sink>(&self, output: &mut Output<W>, id: NodeId) -> io::Result<()> {
        let (place, node) = (self.plan.place(id)?, self.tree.node(id));
        let file_type = file_type(&node.kind);
        let links = match node.kind {
            NodeKind::Directory(_) => 2 + place.subdirectories,
            _ => node.links,
        };
        let inode = Inode {
            layout: place.layout,
            xattr_len: place.xattrs,
            mode: file_type.mode() | node.attributes.mode,
            size: place.size,
            number: place.number,
            uid: node.attributes.uid,
            gid: node.attributes.gid,
            mtime_seconds: node.attributes.mtime_seconds,
            mtime_nanoseconds: node.attributes.mtime_nanoseconds,
            links,
        };
        output.put(place.at, &inode.encode())?;
        output.put(output.at, &encoded_xattrs(node))?;
        if let Layout::Inline { .. } = place.layout {
            let data = self.data(id)?;
            let tail = data.len() - data.len() % BLOCK;
            output.put(output.at, &data[tail..])?;
        }
        if let Some(chunks) = &place.chunks {
            Self::write_table(output, place, chunks)?;
        }
        Ok(())
    }

    fn write_table<W: Sink>(
        output: &mut Output<W>,
        place: &InodePlan,
        chunks: &ChunkPlan,
    ) -> io::Result<()> {
        let table = output.at.next_multiple_of(CHUNK_INDEX as u64);
        output.put(table, &[])?;
        let mut copy = place.copies;
        let mut next = 0;
        for chunk in &chunks.filled {
            output.put_holes(chunk.index - next)?;
            next = chunk.index + 1;
            let entry = match chunk.place {
                Place::Archive { block } => format::chunk_index(1, block),
                Place::Copy => {
                    let entry = format::chunk_index(0, copy);
                    let length = chunks.copy_len(place.size, chunk.index);
                    copy += u32::try_from(length / BLOCK as u64).map_err(io::Error::other)?;
                    entry
                }
            };
            output.put(output.at, &entry)?;
        }
        output.put_holes(chunks.count - next)
    }

    fn write_blocks<W: Sink>(&self, output: &mut Output<W>, id: NodeId) -> io::Result<()> {
        let place = self.plan.place(id)?;
        let at = |block: u32| u64::from(block) * BLOCK as u64;
        match place.layout {
            Layout::Plain { block } if place.size > 0 => output.put(at(block), &self.data(id)?)?,
            Layout::Inline { block } if place.size >= BLOCK as u64 => {
                let data = self.data(id)?;
                output.put(at(block), &data[..data.len() - data.len() % BLOCK])?;
            }
            _ => {}
        }
        let (Some(chunks), NodeKind::File(data)) = (&place.chunks, &self.tree.node(id).kind) else {
            return Ok(());
        };
        let mut to = at(place.copies);
        for chunk in chunks.filled.iter().filter(|chunk| chunk.place == Place::Copy) {
            let start = chunk.index * chunks.chunk_size();
            let length = chunks.copy_len(place.size, chunk.index);
            self.copy_chunk(output, data, start..start + length, to)?;
            to += length;
        }
        Ok(())
    }

    /// Copies the parts of a sparse file that are in `range` to `to`; the rest stays a hole.
    fn copy_chunk<W: Sink>(
        &self,
        output: &mut Output<W>,
        data: &FileData,
        range: std::ops::Range<u64>,
        to: u64,
    ) -> io::Result<()> {
        let segments = data.sparse.as_deref().unwrap_or_default();
        let first = segments.partition_point(|s| s.offset + s.length <= range.start);
        for segment in segments[first..].iter().take_while(|s| s.offset < range.end) {
            let start = segment.offset.max(range.start);
            let end = (segment.offset + segment.length).min(range.end);
            let mut from = data.offset + segment.stored + (start - segment.offset);
            let mut to = to + (start - range.start);
            let mut left = end - start;
            let mut buffer = [0; 16 << 10];
            while left > 0 {
                let most = usize::try_from(left).map_or(buffer.len(), |l| l.min(buffer.len()));
                self.archive.read_exact_at(&mut buffer[..most], from)?;
                output.put(to, &buffer[..most])?;
                (from, to, left) = (from + most as u64, to + most as u64, left - most as u64);
            }
        }
        Ok(())
    }

    /// What a directory or a symbolic link contains.
    fn data(&self, id: NodeId) -> io::Result<Vec<u8>> {
        let directory = match &self.tree.node(id).kind {
            NodeKind::Directory(directory) => directory,
            NodeKind::Symlink(target) => return Ok(target.clone()),
            _ => return Ok(Vec::new()),
        };
        let place = self.plan.place(id)?;
        let entries = names(directory).map(|name| {
            let target = match name {
                b"." => id,
                b".." => place.parent,
                name => directory.children[name],
            };
            let file_type = file_type(&self.tree.node(target).kind);
            Ok(Dirent { name, slot: self.plan.place(target)?.slot(), file_type })
        });
        Ok(format::encode_directory(&entries.collect::<io::Result<Vec<_>>>()?))
    }
}

fn file_type(kind: &NodeKind) -> FileType {
    match kind {
        NodeKind::Directory(_) => FileType::Directory,
        NodeKind::File(_) => FileType::Regular,
        NodeKind::Symlink(_) => FileType::Symlink,
        NodeKind::CharDevice { .. } | NodeKind::Whiteout => FileType::CharDevice,
        NodeKind::BlockDevice { .. } => FileType::BlockDevice,
        NodeKind::Fifo => FileType::Fifo,
    }
}

/// Writes at ascending positions; what is left out is zero.
struct Output<W> {
    inner: W,
    at: u64,
}

impl<W: Sink> Output<W> {
    fn put(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        const ZEROES: [u8; 4096] = [0; 4096];
        match at.checked_sub(self.at) {
            None => return Err(io::Error::other("the index is not written in order")),
            Some(gap) if gap <= ZEROES.len() as u64 => {
                self.inner.write_all(&ZEROES[..usize::try_from(gap).unwrap_or_default()])?;
            }
            Some(_) => self.inner.skip_to(at)?,
        }
        self.inner.write_all(bytes)?;
        self.at = at + bytes.len() as u64;
        Ok(())
    }

    fn put_holes(&mut self, count: u64) -> io::Result<()> {
        let hole = format::chunk_index(0, HOLE);
        for _ in 0..count {
            self.put(self.at, &hole)?;
        }
        Ok(())
    }
}
