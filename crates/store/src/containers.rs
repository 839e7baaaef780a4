//! Root filesystems of containers: an upper directory over an image's layers.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferry_oci::digest::Digest;
use ferry_sys::fscontext::{
    FsContextError, OverlayDir, OverlayUpper, mount_overlay, mount_overlay_by_options,
};
use ferry_sys::{SysError, tree};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::database::LayerRow;
use crate::error::StoreError;
use crate::image::ImageId;
use crate::store::{Discarded, FsSize, LayerStoreKind, MountOptions, Store};

const UPPER: &str = "upper";
const WORK: &str = "work";
/// Whatever the kernel's defaults are: an upper directory that says all that the container
/// changed, without pointers into the layers, so that it can be compared and committed.
const PARAMETERS: [(&str, &str); 3] =
    [("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")];
/// What the kernel leaves in the work directory of a volatile mount.
const MARK: &str = "work/incompat/volatile";
/// Which boot a volatile mount was made in.
const VOLATILE: &str = "volatile-since";

impl Store {
    /// The directory of a container, `containers/<id>`: made by [`Store::create_container_fs`];
    /// the engine may keep files of its own in it.
    pub fn container_dir(&self, container: &str) -> PathBuf {
        self.layout().containers().join(container)
    }

    /// Makes a container's directory with its upper layer, and holds the image's layers against
    /// removal. Without an image the filesystem is empty.
    ///
    /// # Errors
    /// `NotFound` for the image; `Conflict` when the container has a filesystem already.
    pub fn create_container_fs(
        &self,
        container: &str,
        image: Option<&ImageId>,
    ) -> Result<(), StoreError> {
        check_id(container)?;
        let path = self.container_dir(container);
        let half_made = self.layout().new_tmp_dir("container")?;
        for name in [UPPER, WORK] {
            let path = half_made.path().join(name);
            // What the container sees as its root has these permissions, as in Docker.
            let made = fs::DirBuilder::new().mode(0o755).create(&path);
            made.map_err(|e| StoreError::file("create", path, e))?;
        }
        // Order: the layers are held before the directory appears. The lock keeps the image, and
        // so its layers, from going in between.
        let _pins = self.lock_pins();
        let layers = match image {
            Some(image) => {
                if self.database().image(image)?.is_none() {
                    return Err(StoreError::NoSuchImage(image.to_string()));
                }
                self.database().image_layers(image)?
            }
            None => Vec::new(),
        };
        if path.try_exists().map_err(|e| StoreError::file("open", &path, e))?
            || !self.database().insert_container(container, image, &layers)?
        {
            return Err(StoreError::ContainerExists(container.to_owned()));
        }
        half_made.keep_as(&path, self.layout()).map(drop).or_else(|error| {
            self.database().delete_container(container)?;
            Err(error)
        })
    }

    /// Mounts a container's root filesystem, detached: it ends with its last descriptor and the
    /// last mount namespace it was attached in. Mount it once at a time.
    ///
    /// # Errors
    /// `NotFound`; `Internal` when the kernel refuses.
    pub fn mount_container_fs(
        &self,
        container: &str,
        options: MountOptions,
    ) -> Result<OwnedFd, StoreError> {
        check_id(container)?;
        let _forms = self.keep_forms();
        let Some(layers) = self.database().container_layers(container)? else {
            return Err(StoreError::NoSuchContainer(container.to_owned()));
        };
        let dir = self.container_dir(container);
        self.settle_volatile(&dir, options.volatile)?;
        let roots = self.open_roots(layers)?;
        let (upper, work) = (dir.join(UPPER), dir.join(WORK));
        let upper = OverlayUpper { upper: &upper, work: &work, volatile: options.volatile };
        Ok(self.mount_roots(&roots, Some(upper))?)
    }

    /// The root filesystem of a container that does not run, to be read only: a detached mount.
    ///
    /// # Errors
    /// `NotFound`; `Internal` when the kernel refuses.
    pub fn container_view(&self, container: &str) -> Result<OwnedFd, StoreError> {
        let upper = self.open_upper(container)?;
        let _forms = self.keep_forms();
        let Some(layers) = self.database().container_layers(container)? else {
            return Err(StoreError::NoSuchContainer(container.to_owned()));
        };
        let mut roots = vec![(LayerStoreKind::Directories, Arc::new(upper))];
        roots.extend(self.open_roots(layers)?);
        Ok(self.mount_roots(&roots, None)?)
    }

    /// What a container's upper directory lies on, to be read only.
    pub(crate) fn mount_lower(&self, container: &str) -> Result<OwnedFd, StoreError> {
        let _forms = self.keep_forms();
        let Some(layers) = self.database().container_layers(container)? else {
            return Err(StoreError::NoSuchContainer(container.to_owned()));
        };
        Ok(self.mount_roots(&self.open_roots(layers)?, None)?)
    }

    /// Opens what a container wrote. It must be whole: what was written without waiting for the
    /// disk is not, once the machine has gone down.
    pub(crate) fn open_upper(&self, container: &str) -> Result<OwnedFd, StoreError> {
        check_id(container)?;
        if self.database().container_layers(container)?.is_none() {
            return Err(StoreError::NoSuchContainer(container.to_owned()));
        }
        let dir = self.container_dir(container);
        self.check_volatile(&dir)?;
        let path = dir.join(UPPER);
        open_directory(&path).map_err(|errno| StoreError::file("open", path, errno))
    }

    /// The roots that an overlay of these layers needs, uppermost first: that is what every
    /// container has.
    fn open_roots(
        &self,
        layers: Vec<LayerRow>,
    ) -> Result<Vec<(LayerStoreKind, Arc<OwnedFd>)>, StoreError> {
        let open = |layer: LayerRow| Ok((layer.kind, self.roots().get(self.layout(), &layer)?));
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let roots: Vec<_> =
            needed(layers).into_iter().map(open).collect::<Result<_, StoreError>>()?;
        let setup = self.setup_on(&diff_ids, || match roots.is_empty() {
            true => Ok(None),
            false => Ok(Some(self.mount_roots(&roots, None)?)),
        })?;
        Ok(std::iter::once((LayerStoreKind::Directories, setup)).chain(roots).collect())
    }

    /// Mounts an overlay; without an upper directory it can only be read.
    fn mount_roots(
        &self,
        roots: &[(LayerStoreKind, Arc<OwnedFd>)],
        upper: Option<OverlayUpper<'_>>,
    ) -> Result<OwnedFd, FsContextError> {
        // An overlay must have a lower directory, also when the image has no layer.
        let nothing = self.layout().nothing();
        let paths: Vec<PathBuf> = roots
            .iter()
            .map(|(_, root)| format!("/proc/self/fd/{}", root.as_raw_fd()).into())
            .collect();
        let mut lower: Vec<OverlayDir<'_>> = Vec::with_capacity(roots.len() + 1);
        for ((kind, root), path) in roots.iter().zip(&paths) {
            lower.push(match kind {
                LayerStoreKind::Erofs => OverlayDir::Fd(root.as_fd()),
                LayerStoreKind::Directories => OverlayDir::Path(path),
            });
        }
        // Two where there is no upper one.
        let least = if upper.is_some() { 1 } else { 2 };
        if lower.len() < least {
            lower.push(OverlayDir::Path(&nothing));
        }
        match mount_overlay(&lower, upper, &PARAMETERS) {
            // Linux 6.5 and 6.6 do not know `lowerdir+`. Before 6.5 overlayfs looks at no parameter
            // until the mount is created, and refuses it then.
            Err(error)
                if error.errno == Errno::INVAL
                    && matches!(error.step.as_str(), "lowerdir+" | "create") =>
            {
                let mut lower: Vec<_> = roots.iter().map(|(_, root)| root.as_fd()).collect();
                let nothing = open_directory(&nothing).map_err(|errno| FsContextError {
                    filesystem: "overlay",
                    step: "open".to_owned(),
                    errno,
                    messages: Vec::new(),
                })?;
                if lower.len() < least {
                    lower.push(nothing.as_fd());
                }
                let scratch = self.layout().tmp();
                mount_overlay_by_options(&lower, upper, &PARAMETERS, &scratch)
            }
            other => other,
        }
    }

    /// A volatile mount leaves a mark that keeps it from being mounted again, since a power
    /// failure may have torn it. Within one boot it cannot have, and the mark is taken away.
    fn settle_volatile(&self, dir: &Path, volatile: bool) -> Result<(), StoreError> {
        if self.check_volatile(dir)? {
            let mark = dir.join(WORK).join(MARK);
            fs::remove_dir_all(&mark).map_err(|e| StoreError::file("delete", &mark, e))?;
        }
        if volatile {
            let note = dir.join(VOLATILE);
            fs::write(&note, self.boot_id()).map_err(|e| StoreError::file("write", &note, e))?;
        }
        Ok(())
    }

    /// Whether there is the mark of a volatile mount; refuses one of an earlier boot.
    fn check_volatile(&self, dir: &Path) -> Result<bool, StoreError> {
        let mark = dir.join(WORK).join(MARK);
        if !mark.try_exists().map_err(|e| StoreError::file("open", &mark, e))? {
            return Ok(false);
        }
        let note = dir.join(VOLATILE);
        let since = fs::read_to_string(&note).map_err(|e| StoreError::file("read", &note, e))?;
        if since == self.boot_id() {
            return Ok(true);
        }
        Err(StoreError::Damaged(format!(
            "{} was written without waiting for the disk before the machine went down",
            dir.display()
        )))
    }

    /// Says that a volatile mount that has ended wrote nothing whose loss would matter: after a power
    /// failure the filesystem can be mounted again, as if it had not been mounted.
    ///
    /// # Errors
    /// When the mark cannot be removed.
    pub fn forget_volatile(&self, container: &str) -> Result<(), StoreError> {
        check_id(container)?;
        let dir = self.container_dir(container);
        let mark = dir.join(WORK).join(MARK);
        match fs::remove_dir_all(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::file("delete", mark, error))
            }
            _ => Ok(()),
        }
    }

    /// Takes a container's whole directory out of sight at once and lets go of its layers; the
    /// files are deleted by [`Discarded::delete`]. A container that is not there is no error.
    ///
    /// # Errors
    /// When the directory cannot be moved or the database not be written.
    pub fn remove_container_fs(&self, container: &str) -> Result<Discarded, StoreError> {
        check_id(container)?;
        let path = self.container_dir(container);
        let to = self.layout().new_tmp("container");
        // Order: out of sight first. A row without a directory is forgotten at the next start.
        let path = match fs::rename(&path, &to) {
            Ok(()) => Some(to),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::file("move away", path, error)),
        };
        let discarded = Discarded { path };
        let changes = self.lock_changes();
        if self.database().delete_container(container)? {
            self.remove_unused_layers(&changes)?;
        }
        Ok(discarded)
    }

    /// The ids of all containers that have a filesystem or a directory, sorted.
    ///
    /// # Errors
    /// When the directory or the database cannot be read.
    pub fn container_fs_ids(&self) -> Result<Vec<String>, StoreError> {
        let path = self.layout().containers();
        let mut ids: BTreeSet<String> = self.database().containers()?.into_iter().collect();
        for entry in fs::read_dir(&path).map_err(|e| StoreError::file("read", &path, e))? {
            let entry = entry.map_err(|e| StoreError::file("read", &path, e))?;
            ids.extend(entry.file_name().into_string());
        }
        Ok(ids.into_iter().collect())
    }

    /// How much a container wrote. Walks all its files.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn container_fs_size(&self, container: &str) -> Result<FsSize, StoreError> {
        check_id(container)?;
        let Some(layers) = self.database().container_layers(container)? else {
            return Err(StoreError::NoSuchContainer(container.to_owned()));
        };
        let path = self.container_dir(container).join(UPPER);
        let rw = open_directory(&path).and_then(|root| tree_size(&root).map_err(|e| e.errno));
        let rw = rw.map_err(|e| StoreError::file("read", path, e))?;
        let lower: u64 = layers.iter().fold(0, |all, layer| layer.content_size.saturating_add(all));
        Ok(FsSize { rw, root_fs: rw.saturating_add(lower) })
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(rustix::fs::CWD, path, flags, rustix::fs::Mode::empty())
}

/// The layers that an overlay needs, uppermost first.
fn needed(layers: Vec<LayerRow>) -> Vec<LayerRow> {
    let mut needed: Vec<LayerRow> = Vec::new();
    let mut seen = HashSet::new();
    for layer in layers.into_iter().rev() {
        let opaque = layer.root_is_opaque;
        // A layer that comes twice is needed at its upper place only: all that it says is said
        // there, and overlayfs refuses a directory that it has already.
        if !layer.is_empty && seen.insert(layer.diff_id.clone()) {
            needed.push(layer);
        }
        // Overlayfs does not look for the mark on roots.
        if opaque {
            break;
        }
    }
    needed
}

/// Bytes in a tree as Docker counts them: no directories, files with several names once. The
/// container may be running, and its tree is its own affair: what cannot be read does not count.
fn tree_size(root: &OwnedFd) -> Result<u64, SysError> {
    let mut total = 0_u64;
    let mut linked = HashSet::new();
    let mut unread = 0_u64;
    tree::walk(root.as_fd(), |found| match found {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
        Ok(stat) if stat.st_nlink == 1 || linked.insert(stat.st_ino) => {
            total = total.saturating_add(u64::try_from(stat.st_size).unwrap_or_default());
        }
        Ok(_) => {}
        Err(_) => unread += 1,
    })?;
    if unread > 0 {
        tracing::warn!(unread, "files of a container could not be measured");
    }
    Ok(total)
}

/// Ids become names of directories.
fn check_id(container: &str) -> Result<(), StoreError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if container.is_empty() || container.len() > 128 || !container.bytes().all(plain) {
        return Err(StoreError::Invalid(format!("{container:?} is no id of a container")));
    }
    Ok(())
}
