//! The tree that a layer's archive describes, judged before anything is made of it.
//!
//! Both layer stores are made from this tree and never from the archive's paths, so this is the
//! one place where a hostile archive is met. The tree has no paths, only names in directories: a
//! symbolic link is a leaf, nothing is ever followed, and what is not beneath the root cannot be
//! said. Entries that try are refused.
//!
//! Whiteouts (`.wh.name`, `.wh..wh..opq`; [OCI image, layer.md § Whiteouts]) become what overlayfs
//! knows: whiteout nodes and opaque directories.

mod attributes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::limits;
use crate::tar::{ByteSource, Entry, EntryKind, FileData, TarError, TarReader, show};

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
const OVERLAY_XATTRS: &[u8] = b"trusted.overlay.";

/// Index of a node.
pub(crate) type NodeId = usize;

/// A layer's tree. Node 0 is its root directory.
#[derive(Debug)]
pub(crate) struct LayerTree {
    nodes: Vec<Node>,
    /// Bytes that its names and contents take beside the nodes.
    memory: usize,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub attributes: Attributes,
    pub kind: NodeKind,
    /// Names that lead here; 0 when a later entry took the place of the last.
    pub links: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime_seconds: i64,
    pub mtime_nanoseconds: u32,
    pub xattrs: Box<[(Vec<u8>, Vec<u8>)]>,
}

#[derive(Debug)]
pub(crate) enum NodeKind {
    Directory(Directory),
    File(FileData),
    Symlink(Vec<u8>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    /// Hides what lower layers have under this name.
    Whiteout,
}

#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub children: BTreeMap<Box<[u8]>, NodeId>,
    /// Hides what lower layers have in this directory.
    pub opaque: bool,
}

impl LayerTree {
    pub(crate) const ROOT: NodeId = 0;

    /// Reads a whole archive.
    pub(crate) fn read<S: ByteSource>(reader: &mut TarReader<S>) -> Result<Self, TarError> {
        let mut tree = Self::new();
        let mut entries = 0;
        while let Some(entry) = reader.next_entry()? {
            entries += 1;
            if entries > limits::MAX_ENTRIES {
                return Err(TarError::Malformed(format!(
                    "more than {} entries in a layer",
                    limits::MAX_ENTRIES
                )));
            }
            tree.add(entry)?;
            tree.check_memory(limits::MAX_TREE_MEMORY)?;
        }
        if tree.content_size() > limits::MAX_CONTENT {
            return Err(TarError::Malformed("files of a layer are too large".to_owned()));
        }
        Ok(tree)
    }

    fn check_memory(&self, most: usize) -> Result<(), TarError> {
        if self.memory <= most {
            return Ok(());
        }
        let what = "names, links, extended attributes and pieces of sparse files";
        Err(TarError::Malformed(format!("{what} of a layer take more than {most} bytes")))
    }

    pub(crate) fn new() -> Self {
        let root = Node {
            attributes: Attributes::implied((0, 0)),
            kind: NodeKind::Directory(Directory::default()),
            links: 1,
        };
        Self { nodes: vec![root], memory: 0 }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// How many nodes were made; ids are beneath it. Some may be unreachable.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the layer changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.directory(Self::ROOT).is_some_and(|root| root.children.is_empty() && !root.opaque)
    }

    pub(crate) fn root_is_opaque(&self) -> bool {
        self.directory(Self::ROOT).is_some_and(|root| root.opaque)
    }

    /// Bytes as Docker counts them: files and link texts, each once however many names it has.
    pub(crate) fn content_size(&self) -> u64 {
        let sizes = self.nodes.iter().filter(|node| node.links > 0).map(|node| match &node.kind {
            NodeKind::File(data) => data.size,
            NodeKind::Symlink(target) => target.len() as u64,
            _ => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }

    pub(crate) fn directory(&self, id: NodeId) -> Option<&Directory> {
        match &self.nodes[id].kind {
            NodeKind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Adds one entry; a later entry takes the place of an earlier one of the same name.
    pub(crate) fn add(&mut self, entry: Entry) -> Result<(), TarError> {
        let path = entry.path.clone();
        let components = components(&path)?;
        let mtime = (entry.mtime_seconds, entry.mtime_nanoseconds);
        let Some((name, parents)) = components.split_last() else {
            return self.set_root(entry);
        };
        let parent = self.ensure_parents(parents, &entry.path, mtime)?;
        if name.starts_with(WHITEOUT_PREFIX) {
            return self.add_whiteout(parent, name, &entry.path, mtime);
        }
        if let EntryKind::HardLink(target) = &entry.kind {
            return self.add_hard_link(parent, name, &entry.path, target);
        }
        let existing = self.child(parent, name);
        let is_directory = matches!(entry.kind, EntryKind::Directory);
        let (attributes, kind) = split(entry)?;
        match existing.map(|id| (id, &mut self.nodes[id])) {
            Some((_, node)) if is_directory && matches!(node.kind, NodeKind::Directory(_)) => {
                let memory = attributes.memory();
                self.memory -= std::mem::replace(&mut node.attributes, attributes).memory();
                self.memory += memory;
            }
            Some((_, node)) if is_directory && matches!(node.kind, NodeKind::Whiteout) => {
                // The whiteout applies to lower layers only, so of the directory it leaves this.
                self.memory += attributes.memory();
                node.attributes = attributes;
                node.kind = NodeKind::Directory(Directory { opaque: true, ..Directory::default() });
            }
            _ => {
                let id = self.push(attributes, kind);
                self.put(parent, name, id);
            }
        }
        Ok(())
    }

    fn set_root(&mut self, entry: Entry) -> Result<(), TarError> {
        if entry.kind != EntryKind::Directory {
            let path = show(&entry.path);
            return Err(TarError::Malformed(format!("{path}: the root must be a directory")));
        }
        let (attributes, _kind) = split(entry)?;
        self.memory += attributes.memory();
        let old = std::mem::replace(&mut self.nodes[Self::ROOT].attributes, attributes);
        self.memory -= old.memory();
        Ok(())
    }

    fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.directory(parent).and_then(|directory| directory.children.get(name).copied())
    }

    fn push(&mut self, attributes: Attributes, kind: NodeKind) -> NodeId {
        self.memory += attributes.memory() + kind.memory();
        self.nodes.push(Node { attributes, kind, links: 1 });
        self.nodes.len() - 1
    }

    /// Names a node, and unlinks whatever had that name.
    fn put(&mut self, parent: NodeId, name: &[u8], id: NodeId) {
        let NodeKind::Directory(directory) = &mut self.nodes[parent].kind else {
            unreachable!("`ensure_parents` gives directories only");
        };
        match directory.children.insert(name.into(), id) {
            Some(old) => self.unlink(old),
            None => self.memory += name.len() + limits::ALLOCATION,
        }
    }

    fn unlink(&mut self, id: NodeId) {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let node = &mut self.nodes[id];
            node.links -= 1;
            if node.links > 0 {
                continue;
            }
            // Nobody sees it any more: what it holds goes.
            self.memory -= node.attributes.memory() + node.kind.memory();
            node.attributes.xattrs = Box::default();
            if let NodeKind::Directory(directory) =
                std::mem::replace(&mut node.kind, NodeKind::Fifo)
            {
                for (name, child) in directory.children {
                    self.memory -= name.len() + limits::ALLOCATION;
                    pending.push(child);
                }
            }
        }
    }

    /// Finds the directory that an entry goes to, making those that the archive left out.
    fn ensure_parents(
        &mut self,
        parents: &[&[u8]],
        path: &[u8],
        mtime: (i64, u32),
    ) -> Result<NodeId, TarError> {
        let mut current = Self::ROOT;
        for name in parents {
            let refuse = |what: &str| {
                Err(TarError::Malformed(format!("{}: {} is {what}", show(path), show(name))))
            };
            if name.starts_with(WHITEOUT_PREFIX) {
                return refuse("a whiteout and can have nothing in it");
            }
            current = match self.child(current, name) {
                Some(id) => match &mut self.nodes[id].kind {
                    NodeKind::Directory(_) => id,
                    NodeKind::Symlink(_) => {
                        return refuse("a symbolic link; refusing to go through it");
                    }
                    kind @ NodeKind::Whiteout => {
                        let opaque = Directory { opaque: true, ..Directory::default() };
                        *kind = NodeKind::Directory(opaque);
                        id
                    }
                    _ => return refuse("no directory"),
                },
                None => {
                    let kind = NodeKind::Directory(Directory::default());
                    let id = self.push(Attributes::implied(mtime), kind);
                    self.put(current, name, id);
                    id
                }
            };
        }
        Ok(current)
    }

    fn add_whiteout(
        &mut self,
        parent: NodeId,
        name: &[u8],
        path: &[u8],
        mtime: (i64, u32),
    ) -> Result<(), TarError> {
        if name == WHITEOUT_OPAQUE {
            if let NodeKind::Directory(directory) = &mut self.nodes[parent].kind {
                directory.opaque = true;
            }
            return Ok(());
        }
        if name.starts_with(WHITEOUT_META_PREFIX) {
            // Compat: AUFS wrote notes to itself under such names; Docker skips them.
            return Ok(());
        }
        let hidden = &name[WHITEOUT_PREFIX.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(TarError::Malformed(format!("{}: whiteout of nothing", show(path))));
        }
        match self.child(parent, hidden) {
            // It applies to lower layers only; what this layer has under the name stays.
            Some(id) => {
                if let NodeKind::Directory(directory) = &mut self.nodes[id].kind {
                    directory.opaque = true;
                }
            }
            None => {
                let id = self.push(Attributes::implied(mtime), NodeKind::Whiteout);
                self.put(parent, hidden, id);
            }
        }
        Ok(())
    }

    fn add_hard_link(
        &mut self,
        parent: NodeId,
        name: &[u8],
        path: &[u8],
        target: &[u8],
    ) -> Result<(), TarError> {
        let refuse = |why: &str| {
            let (path, target) = (show(path), show(target));
            Err(TarError::Malformed(format!("invalid hard link {path} -> {target}: {why}")))
        };
        let mut id = Self::ROOT;
        for component in components(target)? {
            match self.child(id, component) {
                Some(child) => id = child,
                None if matches!(self.nodes[id].kind, NodeKind::Symlink(_)) => {
                    return refuse("it goes through a symbolic link");
                }
                None => return refuse("no such file in this layer"),
            }
        }
        match self.nodes[id].kind {
            NodeKind::Directory(_) => return refuse("it is a directory"),
            NodeKind::Whiteout => return refuse("it is a whiteout"),
            _ => {}
        }
        // Order: counted first, so that a link that replaces the file's own name keeps it alive.
        let links = self.nodes[id].links.checked_add(1);
        let Some(links) = links else { return refuse("too many links") };
        self.nodes[id].links = links;
        self.put(parent, name, id);
        Ok(())
    }
}

impl NodeKind {
    /// Bytes that it takes beside the node; without the names in a directory.
    fn memory(&self) -> usize {
        match self {
            Self::File(FileData { sparse: Some(pieces), .. }) => size_of_val(&**pieces),
            Self::Symlink(target) => target.len() + limits::ALLOCATION,
            _ => 0,
        }
    }
}

impl Attributes {
    /// Bytes that they take beside the node.
    fn memory(&self) -> usize {
        let pair = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len();
        self.xattrs.iter().map(|xattr| pair(xattr) + 2 * limits::ALLOCATION).sum()
    }

    /// Of a directory that an archive has something in but does not mention, as Docker makes it;
    /// and of whiteouts, where nobody sees them.
    fn implied((mtime_seconds, mtime_nanoseconds): (i64, u32)) -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime_seconds,
            mtime_nanoseconds,
            xattrs: Box::default(),
        }
    }
}

/// Splits a path at its slashes and resolves its dots; refuses one that leaves the root.
///
/// An absolute path is taken as relative to the root, as Docker does.
pub(crate) fn components(path: &[u8]) -> Result<Vec<&[u8]>, TarError> {
    let refuse = |why: &str| Err(TarError::Malformed(format!("{}: {why}", show(path))));
    if path.len() > limits::MAX_PATH {
        return refuse("path is too long");
    }
    if path.contains(&0) {
        return refuse("path contains a zero byte");
    }
    let mut components = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if components.is_empty() => return refuse("path leaves the root of the archive"),
            b".." => drop(components.pop()),
            // Of a whiteout it is the name that it hides which must fit.
            name if name.strip_prefix(WHITEOUT_PREFIX).unwrap_or(name).len() > limits::MAX_NAME => {
                return refuse("name is too long");
            }
            name => components.push(name),
        }
    }
    Ok(components)
}

/// Divides an entry into what all nodes have and what only its kind has.
fn split(entry: Entry) -> Result<(Attributes, NodeKind), TarError> {
    let Entry { path, kind, mode, uid, gid, mtime_seconds, mtime_nanoseconds, mut xattrs } = entry;
    let refuse = |why: &str| Err(TarError::Malformed(format!("{}: {why}", show(&path))));
    // To the kernel that is nobody: chown(2) takes it for "as it is", which is root.
    if uid == u32::MAX || gid == u32::MAX {
        return refuse("id is out of range");
    }
    let kind = match kind {
        EntryKind::Directory => NodeKind::Directory(Directory::default()),
        EntryKind::File(data) if i64::try_from(data.size).is_err() => {
            return refuse("file is too large");
        }
        EntryKind::File(data) => NodeKind::File(data),
        // The text of a symbolic link is data: it is never followed here, and in a container it
        // cannot lead out of the root. So links with too many `..` are taken, as Docker does.
        EntryKind::Symlink(target) => {
            if target.is_empty() || target.len() > limits::MAX_PATH || target.contains(&0) {
                return refuse("invalid target of a symbolic link");
            }
            NodeKind::Symlink(target)
        }
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor }
            if major >= 1 << 12 || minor >= 1 << 20 =>
        {
            return refuse("device number is out of range");
        }
        // What overlayfs takes for a whiteout is one, whoever wrote it.
        EntryKind::CharDevice { major: 0, minor: 0 } => NodeKind::Whiteout,
        EntryKind::CharDevice { major, minor } => NodeKind::CharDevice { major, minor },
        EntryKind::BlockDevice { major, minor } => NodeKind::BlockDevice { major, minor },
        EntryKind::Fifo => NodeKind::Fifo,
        EntryKind::HardLink(_) => return refuse("hard link to the root"),
    };
    let count = xattrs.len();
    // Overlayfs keeps its own notes here; an archive must not speak for it.
    xattrs.retain(|(name, _)| !name.starts_with(OVERLAY_XATTRS));
    if xattrs.len() < count {
        tracing::warn!(path = %show(&path), "dropped overlayfs's own attributes from an archive");
    }
    for (name, value) in &xattrs {
        if let Some(fault) = attributes::fault(&kind, name, value) {
            return refuse(&format!("extended attribute {}: {fault}", show(name)));
        }
    }
    let xattrs = xattrs.into_boxed_slice();
    let attributes = Attributes { mode, uid, gid, mtime_seconds, mtime_nanoseconds, xattrs };
    Ok((attributes, kind))
}
