#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

#[test]
fn a_tree_is_copied_once_with_links_modes_and_owners() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    let place = scratch.path().join("volume");
    let volume = place.join(DATA);
    fs::create_dir_all(root.join("data/sub")).unwrap();
    fs::create_dir_all(&volume).unwrap();
    fs::write(root.join("data/file"), "text").unwrap();
    fs::set_permissions(root.join("data/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(root.join("data/file"), root.join("data/sub/same")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("data/link")).unwrap();
    // A link to the directory that leads out of the root if it were followed there.
    std::os::unix::fs::symlink("/data", root.join("alias")).unwrap();
    fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o1777)).unwrap();
    let descriptor = OwnedFd::from(fs::File::open(&root).unwrap());

    copy_up(descriptor.as_fd(), "/alias", &place).unwrap();
    assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "text");
    let file = fs::metadata(volume.join("file")).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o4711);
    assert_eq!(file.ino(), fs::metadata(volume.join("sub/same")).unwrap().ino());
    assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o7777, 0o1777);

    // The volume is not empty any more: it is left alone.
    fs::write(root.join("data/late"), "x").unwrap();
    copy_up(descriptor.as_fd(), "/data", &place).unwrap();
    assert!(!volume.join("late").exists());
    copy_up(descriptor.as_fd(), "/missing", &place).unwrap();
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "nothing is left beside the data");
}

/// A root with `/data`, and an empty volume.
fn scratch() -> (tempfile::TempDir, OwnedFd, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir_all(scratch.path().join("root/data")).unwrap();
    let place = scratch.path().join("volume");
    fs::create_dir_all(place.join(DATA)).unwrap();
    let root = OwnedFd::from(fs::File::open(scratch.path().join("root")).unwrap());
    (scratch, root, place)
}

#[test]
fn a_copy_that_fails_leaves_the_volume_empty() {
    let (scratch, root, place) = scratch();
    let mut deep = scratch.path().join("root/data");
    fs::write(deep.join("file"), "text").unwrap();
    for _ in 0..=DEEPEST {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
    }
    copy_up(root.as_fd(), "/data", &place).unwrap_err();
    assert_eq!(fs::read_dir(place.join(DATA)).unwrap().count(), 0);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    // What was in the way has gone: now it is copied whole.
    fs::remove_dir_all(scratch.path().join("root/data/d")).unwrap();
    copy_up(root.as_fd(), "/data", &place).unwrap();
    assert_eq!(fs::read_to_string(place.join(DATA).join("file")).unwrap(), "text");
}

#[test]
fn a_copy_that_was_interrupted_is_made_anew_and_a_complete_one_delivered() {
    let (scratch, root, place) = scratch();
    let data = place.join(DATA);
    fs::write(scratch.path().join("root/data/file"), "text").unwrap();
    fs::create_dir(place.join(COPY)).unwrap();
    fs::write(place.join(COPY).join("file"), "te").unwrap();
    copy_up(root.as_fd(), "/data", &place).unwrap();
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "text");

    // One file had arrived, another was still to be moved.
    fs::create_dir(place.join(READY)).unwrap();
    fs::set_permissions(place.join(READY), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(place.join(READY).join("second"), "2").unwrap();
    fs::write(place.join(READY).join("file"), "not this").unwrap();
    settle(&place).unwrap();
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "text");
    assert_eq!(fs::read_to_string(data.join("second")).unwrap(), "2");
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
}

#[test]
fn many_linked_files_take_no_descriptors() {
    let (scratch, root, place) = scratch();
    let from = scratch.path().join("root/data");
    fs::create_dir(from.join("more")).unwrap();
    for number in 0..300 {
        fs::write(from.join(format!("{number}")), "x").unwrap();
        fs::hard_link(from.join(format!("{number}")), from.join(format!("more/{number}"))).unwrap();
    }
    let copy = OwnedFd::from(fs::File::open(place.join(DATA)).unwrap());
    let mut copier = Copier::new(&copy).unwrap();
    let source = ferry_sys::path::open_in_root(
        root.as_fd(),
        Path::new("data"),
        OFlags::RDONLY,
        Mode::empty(),
    );
    copier.directory(&source.unwrap(), &copy, 0).unwrap();
    // Other tests in this process hold descriptors elsewhere.
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let held = open.filter(|path| path.starts_with(scratch.path())).count();
    assert!(held < 10, "{held} descriptors are held");
    drop(copier);
    for number in 0..300 {
        let linked = fs::metadata(place.join(format!("_data/more/{number}"))).unwrap();
        assert_eq!(linked.nlink(), 2);
    }
}
