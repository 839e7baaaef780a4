use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{
    NewFile, clean, ensure_directory, ensure_file, ensure_plain_file, open_beneath, place_in_root,
};

/// A directory of our own that goes away with the test.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ferry-path-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("root")).unwrap();
        Self(path)
    }

    fn root(&self) -> std::path::PathBuf {
        self.0.join("root")
    }

    fn open(&self) -> std::os::fd::OwnedFd {
        rustix::fs::open(self.root(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn cleaning_never_leaves_the_root() {
    assert_eq!(clean(Path::new("/a/./b/../c")), Path::new("a/c"));
    assert_eq!(clean(Path::new("../../etc")), Path::new("etc"));
    assert_eq!(clean(Path::new("/")), Path::new(""));
}

#[test]
fn absolute_links_and_dot_dot_stay_in_the_root() {
    let scratch = Scratch::new("links");
    fs::create_dir(scratch.root().join("etc")).unwrap();
    symlink("/etc", scratch.root().join("absolute")).unwrap();
    symlink("../../../../../../etc", scratch.root().join("climbing")).unwrap();
    let root = scratch.open();
    let inside =
        rustix::fs::fstat(place_in_root(root.as_fd(), Path::new("/etc")).unwrap()).unwrap();
    for way in ["absolute", "climbing", "../../etc", "/absolute/../etc"] {
        let found = place_in_root(root.as_fd(), Path::new(way)).unwrap();
        assert_eq!(rustix::fs::fstat(found).unwrap().st_ino, inside.st_ino, "{way}");
    }
}

#[test]
fn directories_are_made_behind_links_but_inside_the_root() {
    let scratch = Scratch::new("make");
    fs::create_dir(scratch.root().join("real")).unwrap();
    symlink("/real", scratch.root().join("link")).unwrap();
    let root = scratch.open();
    ensure_directory(root.as_fd(), Path::new("/link/a/b"), Mode::from_raw_mode(0o755)).unwrap();
    assert!(scratch.root().join("real/a/b").is_dir());
    ensure_file(root.as_fd(), Path::new("/link/c/file")).unwrap();
    assert!(scratch.root().join("real/c/file").is_file());
    // Again is no error.
    ensure_file(root.as_fd(), Path::new("/link/c/file")).unwrap();
}

#[test]
fn a_dangling_link_to_the_outside_is_refused() {
    let scratch = Scratch::new("dangling");
    let outside = scratch.0.join("outside");
    symlink(&outside, scratch.root().join("trap")).unwrap();
    let root = scratch.open();
    let refused = ensure_directory(root.as_fd(), Path::new("/trap/x"), Mode::from_raw_mode(0o755));
    assert_eq!(refused.unwrap_err().errno, Errno::EXIST);
    assert_eq!(ensure_file(root.as_fd(), Path::new("/trap")).unwrap_err().errno, Errno::EXIST);
    assert!(!outside.exists());
}

#[test]
fn a_plain_file_is_made_or_found_but_no_link_followed() {
    let scratch = Scratch::new("plain");
    fs::write(scratch.root().join("file"), "").unwrap();
    symlink("file", scratch.root().join("link")).unwrap();
    let root = scratch.open();
    ensure_plain_file(root.as_fd(), Path::new("/file")).unwrap();
    ensure_plain_file(root.as_fd(), Path::new("/new/file")).unwrap();
    assert!(scratch.root().join("new/file").is_file());
    let refused = ensure_plain_file(root.as_fd(), Path::new("/link"));
    assert_eq!(refused.unwrap_err().errno, Errno::LOOP);
}

#[test]
fn nothing_is_followed_beneath() {
    let scratch = Scratch::new("beneath");
    fs::write(scratch.root().join("file"), "").unwrap();
    symlink("file", scratch.root().join("link")).unwrap();
    let root = scratch.open();
    open_beneath(root.as_fd(), Path::new("file"), OFlags::RDONLY).unwrap();
    let refused = open_beneath(root.as_fd(), Path::new("link"), OFlags::RDONLY);
    assert_eq!(refused.unwrap_err(), Errno::LOOP);
    let refused = open_beneath(root.as_fd(), Path::new("../root/file"), OFlags::RDONLY);
    assert_eq!(refused.unwrap_err(), Errno::XDEV);
}

#[test]
fn a_new_file_is_there_when_it_is_whole() {
    let scratch = Scratch::new("new-file");
    let (outside, folder) = (scratch.0.join("outside"), scratch.root());
    fs::create_dir(&outside).unwrap();
    symlink(&outside, folder.join("door")).unwrap();
    let root = scratch.open();
    let create = |path: &str, replaces: bool| {
        NewFile::create(root.as_fd(), Path::new(path), 0o644, replaces)
    };
    let write = |path: &str, text: &str, replaces: bool| {
        let mut file = create(path, replaces)?;
        file.file().write_all(text.as_bytes()).unwrap();
        assert_ne!(fs::read_to_string(folder.join(path)).ok().as_deref(), Some(text));
        file.keep()
    };
    let read = || fs::read_to_string(folder.join("a/b")).unwrap();
    write("a/b", "one", false).unwrap();
    assert_eq!(read(), "one");
    assert_eq!(create("a/b", false).unwrap_err().errno, Errno::EXIST);
    write("a/b", "two", true).unwrap();
    assert_eq!(read(), "two");
    // What is there by the time it is whole stays too.
    let late = create("a/c", false).unwrap();
    fs::write(folder.join("a/c"), "first").unwrap();
    assert_eq!(late.keep().unwrap_err().errno, Errno::EXIST);
    drop(create("a/d", false).unwrap());
    // A link that leads out leads nowhere, and `..` stops at the root.
    assert!(create("door/x", true).is_err());
    write("../../up", "up", false).unwrap();
    assert_eq!(fs::read_to_string(folder.join("up")).unwrap(), "up");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let names = fs::read_dir(folder.join("a")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["b", "c"], "nothing half-made stays");
}
