use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;

use super::*;

/// Deeper than a path can say, the usual number of files can be open, or a small stack can follow.
const DEEP: usize = 3000;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ferry-tree-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> OwnedFd {
        openat(CWD, &self.0, DIRECTORY, Mode::empty()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0).unwrap();
    }
}

/// Makes directories `d/d/d/…` with a file of one byte beside each.
fn dig(top: &Path, depth: usize) {
    let mut here = openat(CWD, top, DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&here, "d", Mode::from_raw_mode(0o755)).unwrap();
        if depth < 2000 {
            let flags = OFlags::CREATE | OFlags::WRONLY;
            let file = openat(&here, "f", flags, Mode::from_raw_mode(0o644)).unwrap();
            rustix::io::write(&file, b"x").unwrap();
        }
        here = openat(&here, "d", DIRECTORY, Mode::empty()).unwrap();
    }
}

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    thread.spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_deep_tree_is_walked_and_deleted() {
    let scratch = Scratch::new("deep");
    let top = scratch.0.join("top");
    fs::create_dir(&top).unwrap();
    dig(&top, DEEP);
    on_a_small_stack(move || {
        let root = openat(CWD, &top, DIRECTORY, Mode::empty()).unwrap();
        let mut found = 0;
        walk(root.as_fd(), |stat| found += usize::from(stat.is_ok())).unwrap();
        assert_eq!(found, DEEP);
        remove(&top).unwrap();
        assert!(!top.exists());
    });
}

#[test]
fn nothing_is_told_twice_or_left_out_on_the_way_back() {
    let scratch = Scratch::new("back");
    dig(&scratch.0, 200);
    let mut sizes = Vec::new();
    walk(scratch.open().as_fd(), |stat| {
        let stat = stat.unwrap();
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            sizes.push(stat.st_size);
        }
    })
    .unwrap();
    assert_eq!(sizes, vec![1; 200]);
}

#[test]
fn links_are_not_followed() {
    let scratch = Scratch::new("links");
    let (outside, tree) = (scratch.0.join("outside"), scratch.0.join("tree"));
    fs::create_dir_all(outside.join("kept")).unwrap();
    fs::create_dir(&tree).unwrap();
    symlink(&outside, tree.join("door")).unwrap();
    let mut found = 0;
    let root = openat(CWD, &tree, DIRECTORY, Mode::empty()).unwrap();
    walk(root.as_fd(), |_| found += 1).unwrap();
    assert_eq!(found, 1);
    remove(&tree).unwrap();
    assert!(!tree.exists() && outside.join("kept").exists());
    // A link is deleted itself, and so is a file.
    let link = scratch.0.join("link");
    symlink(&outside, &link).unwrap();
    remove(&link).unwrap();
    assert!(link.symlink_metadata().is_err() && outside.join("kept").exists());
    fs::write(&link, "a file").unwrap();
    remove(&link).unwrap();
    remove(&link).unwrap();
    assert!(!link.exists());
}

#[test]
fn wide_trees_go_too() {
    let scratch = Scratch::new("wide");
    let top = scratch.0.join("top");
    for outer in 0..50 {
        let inner = top.join(format!("{outer}/a/b"));
        fs::create_dir_all(&inner).unwrap();
        for file in 0..20 {
            fs::write(inner.join(format!("{file}")), "x").unwrap();
        }
    }
    let root = openat(CWD, &top, DIRECTORY, Mode::empty()).unwrap();
    let mut bytes = 0;
    walk(root.as_fd(), |stat| {
        let stat = stat.unwrap();
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            bytes += stat.st_size;
        }
    })
    .unwrap();
    assert_eq!(bytes, 1000);
    remove(&top).unwrap();
    assert_eq!(fs::metadata(&scratch.0).unwrap().nlink(), 2);
}
