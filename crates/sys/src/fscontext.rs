//! Filesystem contexts: mounts that exist as descriptors only.
//!
//! `fsopen`, `fsconfig`, `fsmount` make a mount that is attached nowhere: no path leads to it, no
//! other process sees it, and it ends with its last descriptor. It can be a layer of an overlay
//! (by descriptor, Linux 6.15), and can be attached later with `move_mount` in any mount
//! namespace of the same user namespace.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, mount, mount_change, move_mount, open_tree,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::error::{Context as _, SysError};

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

/// Mounts an overlay, detached. `lower` is uppermost first and has at least one directory;
/// `parameters` are such as `index=off`.
/// Linux 6.5 (`lowerdir+`); see [`mount_overlay_by_options`] for older kernels.
///
/// # Errors
/// What the kernel answers.
pub fn mount_overlay(
    lower: &[OverlayDir<'_>],
    upper: Option<OverlayUpper<'_>>,
    parameters: &[(&str, &str)],
) -> Result<OwnedFd, FsContextError> {
    let context = FsContext::open("overlay")?;
    context.set("source", Path::new("overlay"))?;
    for (key, value) in parameters {
        context.set(key, Path::new(value))?;
    }
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
/// of a thread made for it, from which the mount is taken out detached. `lower` are directories
/// with a path; in the options they are named through `/proc/self/fd`, so that 128 of them fit.
/// `scratch` is any directory.
///
/// # Errors
/// What the kernel answers.
pub fn mount_overlay_by_options(
    lower: &[BorrowedFd<'_>],
    upper: Option<OverlayUpper<'_>>,
    parameters: &[(&str, &str)],
    scratch: &Path,
) -> Result<OwnedFd, FsContextError> {
    let fail = |(step, errno): (&'static str, Errno)| FsContextError {
        filesystem: "overlay",
        step: step.to_owned(),
        errno,
        messages: Vec::new(),
    };
    let mount = || {
        let during = |step: &'static str| move |errno| (step, errno);
        // An overlay's layers must be in its own mount namespace, so they are opened anew.
        let lower = lower.iter().map(|dir| open_again(*dir)).collect::<Result<Vec<_>, _>>();
        let lower = lower.map_err(during("open"))?;
        let options = overlay_options(&lower, upper, parameters);
        let options = options.ok_or(("options", Errno::INVAL))?;
        mount("overlay", scratch, "overlay", MountFlags::empty(), options.as_c_str())
            .map_err(during("mount"))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(rustix::fs::CWD, scratch, flags).map_err(during("open_tree"))
    };
    match with_private_mounts(mount) {
        Ok(result) => result.map_err(fail),
        Err(error) => Err(fail((error.op, error.errno))),
    }
}

/// Runs something on a thread with a mount namespace of its own, a copy of the present one: what
/// is mounted there, no other thread sees, and it ends with the thread and those it starts.
///
/// # Errors
/// When the namespace cannot be made; `EIO` when `work` panics.
pub fn with_private_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, SysError> {
    let run = || {
        // SAFETY: this thread was made for it and shares its current directory and mount
        // namespace with nobody afterwards; CLONE_FILES is not given, so descriptors stay shared
        // as Rust expects.
        unsafe { unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS) }
            .during("unshare", || "mount namespace")?;
        // Order: private first, else mounts would appear in the present namespace too.
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .during("mount", || "private propagation")?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        let panicked = |_panic| Err(SysError::new("thread", "with private mounts", Errno::IO));
        scope.spawn(run).join().unwrap_or_else(panicked)
    })
}

/// Attaches a detached mount at a directory. `move_mount(2)`, Linux 5.2.
///
/// # Errors
/// What the kernel answers.
pub fn attach(mount: BorrowedFd<'_>, at: &Path) -> Result<(), SysError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", rustix::fs::CWD, at, flags).map_err(|e| SysError::at("move_mount", at, e))
}

/// Opens a directory by the path that leads to it, in this thread's mount namespace.
fn open_again(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// `None` when a path contains what separates options.
fn overlay_options(
    lower: &[OwnedFd],
    upper: Option<OverlayUpper<'_>>,
    parameters: &[(&str, &str)],
) -> Option<CString> {
    let lower = lower.iter().map(|dir| format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let mut options = format!("lowerdir={}", lower.collect::<Vec<_>>().join(":"));
    if let Some(upper) = upper {
        let (dir, work) = (upper.upper.to_str()?, upper.work.to_str()?);
        if dir.contains([',', '\\']) || work.contains([',', '\\']) {
            return None;
        }
        options.push_str(&format!(",upperdir={dir},workdir={work}"));
        if upper.volatile {
            options.push_str(",volatile");
        }
    }
    for (key, value) in parameters {
        options.push_str(&format!(",{key}={value}"));
    }
    CString::new(options).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("ferry-fscontext-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            for dir in ["a", "b", "upper", "work", "scratch"] {
                fs::create_dir_all(path.join(dir)).unwrap();
            }
            fs::write(path.join("a/f"), "a").unwrap();
            fs::write(path.join("b/f"), "b").unwrap();
            fs::write(path.join("b/g"), "b").unwrap();
            Self(path)
        }

        fn open(&self, name: &str) -> OwnedFd {
            fs::File::open(self.0.join(name)).unwrap().into()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn path_of(mount: &OwnedFd) -> PathBuf {
        format!("/proc/self/fd/{}", mount.as_raw_fd()).into()
    }

    fn check(scratch: &Scratch, mount: impl Fn(OverlayUpper<'_>) -> OwnedFd) {
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let (upper, work) = (scratch.0.join("upper"), scratch.0.join("work"));
        let mount = mount(OverlayUpper { upper: &upper, work: &work, volatile: false });
        let path = path_of(&mount);
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "a");
        assert_eq!(fs::read_to_string(path.join("g")).unwrap(), "b");
        fs::write(path.join("g"), "new").unwrap();
        assert_eq!(fs::read_to_string(upper.join("g")).unwrap(), "new");
        let name = scratch.0.display().to_string();
        assert!(!before.contains(&name));
        let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!after.contains(&name), "the mount is attached nowhere");
    }

    #[test]
    fn overlays_are_made_by_paths_and_descriptors() {
        let scratch = Scratch::new("overlay");
        check(&scratch, |upper| {
            let b = scratch.0.join("b");
            let a = scratch.open("a");
            let lower = [OverlayDir::Fd(a.as_fd()), OverlayDir::Path(&b)];
            mount_overlay(&lower, Some(upper), &[("index", "off")]).unwrap()
        });
    }

    #[test]
    fn overlays_are_made_on_older_kernels_too() {
        let scratch = Scratch::new("options");
        check(&scratch, |upper| {
            let (a, b) = (scratch.open("a"), scratch.open("b"));
            let lower = [a.as_fd(), b.as_fd()];
            let place = scratch.0.join("scratch");
            mount_overlay_by_options(&lower, Some(upper), &[("index", "off")], &place).unwrap()
        });
    }

    #[test]
    fn the_kernel_says_what_is_wrong() {
        let error = FsContext::open("nosuchfs").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot mount nosuchfs: fsopen: {}", Errno::NODEV));
        let error = mount_overlay(&[], None, &[("index", "maybe")]).unwrap_err();
        assert_eq!((error.step.as_str(), error.errno), ("index", Errno::INVAL));
        assert!(!error.messages.is_empty(), "{error}");
        assert!(error.to_string().contains("(overlay: "), "{error}");
    }
}
