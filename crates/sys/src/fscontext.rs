//! Filesystem contexts: mounts that exist as descriptors only.
//!
//! `fsopen`, `fsconfig`, `fsmount` make a mount that is attached nowhere: no path leads to it, no
//! other process sees it, and it ends with its last descriptor. It can be a layer of an overlay
//! (by descriptor, Linux 6.15), and can be attached later with `move_mount` in any mount
//! namespace of the same user namespace.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

/// Why a mount could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot mount {filesystem}: {step}: {errno}{}", said(.messages))]
pub struct FsContextError {
    /// The type of filesystem.
    pub filesystem: &'static str,
    /// The call or parameter that was refused.
    pub step: String,
    /// The kernel's answer.
    pub errno: Errno,
    /// What the kernel said about it, if anything.
    pub messages: Vec<String>,
}

fn said(messages: &[String]) -> String {
    if messages.is_empty() { String::new() } else { format!(" ({})", messages.join("; ")) }
}

/// A filesystem being configured. fsopen(2), Linux 5.2.
#[derive(Debug)]
pub struct FsContext {
    filesystem: &'static str,
    fd: OwnedFd,
}

impl FsContext {
    /// Opens a context for a type of filesystem.
    ///
    /// # Errors
    /// `ENODEV` when the kernel does not know it.
    pub fn open(filesystem: &'static str) -> Result<Self, FsContextError> {
        match fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(fd) => Ok(Self { filesystem, fd }),
            Err(errno) => Err(FsContextError {
                filesystem,
                step: "fsopen".to_owned(),
                errno,
                messages: Vec::new(),
            }),
        }
    }

    /// Sets a parameter to a text.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn set(&self, key: &str, value: &Path) -> Result<(), FsContextError> {
        self.check(key, fsconfig_set_string(self.fd.as_fd(), key, value))
    }

    /// Sets a parameter that has no value.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn set_flag(&self, key: &str) -> Result<(), FsContextError> {
        self.check(key, fsconfig_set_flag(self.fd.as_fd(), key))
    }

    /// Sets a parameter to a file by its descriptor.
    ///
    /// # Errors
    /// What the kernel answers; `EINVAL` when this parameter takes only texts.
    pub fn set_fd(&self, key: &str, value: BorrowedFd<'_>) -> Result<(), FsContextError> {
        self.check(key, fsconfig_set_fd(self.fd.as_fd(), key, value))
    }

    /// Makes the filesystem and a detached mount of it.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn mount(self, attributes: MountAttrFlags) -> Result<OwnedFd, FsContextError> {
        self.check("create", fsconfig_create(self.fd.as_fd()))?;
        let mount = fsmount(self.fd.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        self.check("fsmount", mount)
    }

    fn check<T>(&self, step: &str, result: Result<T, Errno>) -> Result<T, FsContextError> {
        result.map_err(|errno| FsContextError {
            filesystem: self.filesystem,
            step: step.to_owned(),
            errno,
            messages: self.messages(),
        })
    }

    /// Reads what the kernel has to say; one message per read, `ENODATA` when there is no more.
    fn messages(&self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut buffer = [0_u8; 1024];
        while let Ok(length) = rustix::io::read(&self.fd, &mut buffer) {
            let Some(text) = buffer.get(..length) else { break };
            let text = String::from_utf8_lossy(text);
            // Each begins with its severity: `e `, `w `, `i `.
            messages.push(text.trim_end().get(2..).unwrap_or_default().to_owned());
            if length == 0 {
                break;
            }
        }
        messages
    }
}

/// Mounts EROFS images from files, detached and read-only. Linux 6.12.
///
/// `image` holds the metadata, `devices` the files that its device table names, in order.
///
/// # Errors
/// What the kernel answers; `ENOTBLK` when it cannot mount EROFS from a file.
pub fn mount_erofs(image: &Path, devices: &[&Path]) -> Result<OwnedFd, FsContextError> {
    let context = FsContext::open("erofs")?;
    context.set("source", image)?;
    for device in devices {
        context.set("device", device)?;
    }
    context.set_flag("ro")?;
    context.mount(MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// A directory that takes part in an overlay.
#[derive(Debug, Clone, Copy)]
pub enum OverlayDir<'a> {
    /// A directory or the root of a detached mount. Linux 6.13, detached ones 6.15.
    Fd(BorrowedFd<'a>),
    /// A path, as the calling thread sees it.
    Path(&'a Path),
}

/// Where an overlay keeps what is written.
#[derive(Debug, Clone, Copy)]
pub struct OverlayUpper<'a> {
    /// The upper directory.
    pub upper: &'a Path,
    /// Its working directory, empty, on the same filesystem.
    pub work: &'a Path,
    /// Never wait for the disk. Linux 5.10.
    pub volatile: bool,
}

/// Mounts an overlay, detached. `lower` is uppermost first and has at least one directory.
/// Linux 6.5 (`lowerdir+`); see [`mount_overlay_by_options`] for older kernels.
///
/// # Errors
/// What the kernel answers.
pub fn mount_overlay(
    lower: &[OverlayDir<'_>],
    upper: Option<OverlayUpper<'_>>,
) -> Result<OwnedFd, FsContextError> {
    let context = FsContext::open("overlay")?;
    context.set("source", Path::new("overlay"))?;
    for dir in lower {
        match dir {
            OverlayDir::Fd(fd) => context.set_fd("lowerdir+", *fd)?,
            OverlayDir::Path(path) => context.set("lowerdir+", path)?,
        }
    }
    if let Some(upper) = upper {
        context.set("upperdir", upper.upper)?;
        context.set("workdir", upper.work)?;
        if upper.volatile {
            context.set_flag("volatile")?;
        }
    }
    context.mount(MountAttrFlags::empty())
}

/// The same by mount(2) and its one page of options, for kernels before 6.5: in a mount namespace
/// of a thread made for it, from which the mount is taken out detached. `lower` are directories;
/// they are named through `/proc/self/fd`, so that 128 of them fit.
///
/// # Errors
/// What the kernel answers.
pub fn mount_overlay_by_options(
    lower: &[BorrowedFd<'_>],
    upper: Option<OverlayUpper<'_>>,
    scratch: &Path,
) -> Result<OwnedFd, FsContextError> {
    let mut options = String::from("lowerdir=");
    for (index, fd) in lower.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        options.push_str(&format!("{colon}/proc/self/fd/{}", fd.as_raw_fd()));
    }
    if let Some(upper) = upper {
        let (dir, work) = (upper.upper.display(), upper.work.display());
        options.push_str(&format!(",upperdir={dir},workdir={work}"));
        if upper.volatile {
            options.push_str(",volatile");
        }
    }
    let fail = |step: &'static str| {
        move |errno| FsContextError {
            filesystem: "overlay",
            step: step.to_owned(),
            errno,
            messages: Vec::new(),
        }
    };
    let options = CString::new(options).map_err(|_nul| fail("options")(Errno::INVAL))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            mount_in_own_namespace(&options, scratch).map_err(|(step, errno)| fail(step)(errno))
        });
        thread.join().unwrap_or_else(|_panic| Err(fail("thread")(Errno::IO)))
    })
}

/// Runs on a thread that ends afterwards, since it leaves the process's mount namespace.
fn mount_in_own_namespace(
    options: &CString,
    scratch: &Path,
) -> Result<OwnedFd, (&'static str, Errno)> {
    use rustix::mount::{
        MountFlags, MountPropagationFlags, mount, mount_change, open_tree, unmount,
    };
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: this thread was made for it and shares its current directory and mount namespace
    // with nobody afterwards; CLONE_FILES is not given, so descriptors stay shared as Rust expects.
    unsafe { unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS) }
        .map_err(|errno| ("unshare", errno))?;
    // Order: private first, else the mount would appear in the host's namespace too.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(|errno| ("make private", errno))?;
    mount("overlay", scratch, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(|errno| ("mount", errno))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, scratch, flags).map_err(|errno| ("open_tree", errno))?;
    unmount(scratch, UnmountFlags::DETACH).map_err(|errno| ("unmount", errno))?;
    Ok(tree)
}
