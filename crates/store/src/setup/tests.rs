use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::scratch::{Scratch, layer};
use crate::store::{LayerStoreKind, MountOptions};
use crate::tar::builder::{Fields, TarBuilder};

const KINDS: [LayerStoreKind; 2] = [LayerStoreKind::Erofs, LayerStoreKind::Directories];

/// What is in a container's root in these places: permissions, owner, and length or target.
fn places(scratch: &Scratch, id: &str, archive: Option<Vec<u8>>) -> BTreeMap<String, String> {
    let image = archive.map(|archive| scratch.import(&archive));
    scratch.store.create_container_fs(id, image.as_ref()).unwrap();
    let mount = scratch.store.mount_container_fs(id, MountOptions::default()).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    let paths = PARENTS.iter().chain(&MISSING).chain(&SETUP_FILES).chain([&SETUP_LINK.0]);
    let told = |path: &&'static [u8]| {
        let path = std::str::from_utf8(path).unwrap();
        let place = root.join(path);
        let metadata = fs::symlink_metadata(&place).unwrap();
        let said = if metadata.is_symlink() {
            fs::read_link(&place).unwrap().display().to_string()
        } else {
            let length = if metadata.is_dir() { "dir".into() } else { metadata.len().to_string() };
            format!("{:o} {} {length}", metadata.mode() & 0o7777, metadata.uid())
        };
        (path.to_owned(), said)
    };
    paths.map(told).collect()
}

fn upper_is_empty(scratch: &Scratch, id: &str) -> bool {
    fs::read_dir(scratch.store.container_dir(id).join("upper")).unwrap().next().is_none()
}

#[test]
fn every_container_has_the_places_of_what_is_mounted_in_it() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        for (id, archive) in [("none", None), ("one", Some(layer("file", b"x")))] {
            let places = places(&scratch, id, archive);
            for (path, said) in places {
                let expect = match path.as_str() {
                    "etc/mtab" => "/proc/mounts",
                    path if SETUP_FILES.contains(&path.as_bytes()) => "755 0 0",
                    _ => "755 0 dir",
                };
                assert_eq!(said, expect, "{id} {path}");
            }
            assert!(upper_is_empty(&scratch, id));
        }
    }
}

#[test]
fn the_images_own_directories_are_as_they_were() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let etc =
            Fields { path: b"etc/", typeflag: b'5', mode: 0o700, uid: 7, ..Fields::default() };
        let archive = TarBuilder::new()
            .pax("SCHILY.xattr.user.a", b"1")
            .entry(etc, b"")
            .file("etc/hosts", b"mine")
            .file("etc/other", b"stays")
            .symlink("etc/hostname", "other")
            .dir("etc/mtab")
            .symlink("dev", "/nowhere")
            .finish();
        let places = places(&scratch, "c", Some(archive));
        assert_eq!(places["etc"], "700 7 dir");
        assert_eq!(places["etc/hosts"], "755 0 0");
        assert_eq!(places["etc/hostname"], "755 0 0");
        assert!(places["etc/mtab"].ends_with("dir"), "{places:?}");
        // Compat: a link gives way.
        assert_eq!(places["dev"], "755 0 dir");
        let view = scratch.store.container_view("c").unwrap();
        let root = PathBuf::from(format!("/proc/self/fd/{}", view.as_raw_fd()));
        assert_eq!(fs::read(root.join("etc/other")).unwrap(), b"stays");
        let mut value = [0; 4];
        let length = rustix::fs::getxattr(root.join("etc"), "user.a", &mut value).unwrap();
        assert_eq!(&value[..length], b"1");
    }
}

#[test]
fn images_share_them_and_other_boots_do_not() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let dir = scratch.store.layout().setups();
    for (id, name) in [("a", "one"), ("b", "two")] {
        places(&scratch, id, Some(layer(name, b"x")));
    }
    let boot = scratch.store.setups_of_this_boot();
    assert_eq!(fs::read_dir(&boot).unwrap().count(), 1);
    fs::create_dir_all(dir.join("another-boot/x")).unwrap();
    let scratch = scratch.reopen();
    let left: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [boot.as_path()]);
    // It is there already.
    places(&scratch, "d", Some(layer("three", b"x")));
    assert_eq!(fs::read_dir(&boot).unwrap().count(), 1);
}

#[test]
fn attributes_that_the_filesystem_does_not_take_keep_no_container_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let large = vec![7; 65_000];
    let cases: [(&[u8], &[u8]); 5] = [
        (b"nonsense", b"1"),
        (b"security.capability", b"none"),
        (b"system.nobody", b"1"),
        (b"user.a", b"1"),
        (b"user.large", &large),
    ];
    let xattrs = cases.map(|(name, value)| (name.to_vec(), value.to_vec())).to_vec();
    let parent = Parent { path: b"etc", mode: 0o700, owner: (0, 0), xattrs };
    let plan = Plan { parents: vec![parent], dirs: Vec::new(), files: Vec::new(), has_link: false };
    plan.make(dir.path()).unwrap();
    let mut value = [0; 4];
    let length = rustix::fs::getxattr(dir.path().join("etc"), "user.a", &mut value).unwrap();
    assert_eq!(&value[..length], b"1");
    // From an image, whose filesystem may take more than ours.
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let large = vec![b'7'; 50_000];
        let archive = TarBuilder::new().pax("SCHILY.xattr.trusted.large", &large);
        let etc = Fields { path: b"etc/", typeflag: b'5', mode: 0o710, ..Fields::default() };
        let archive = archive.entry(etc, b"").finish();
        let options =
            crate::ImportOptions { created: "2024-01-01T00:00:00Z".into(), ..Default::default() };
        // Where layers are directories it may be refused as a whole.
        let Ok(image) = scratch.store.import(archive.as_slice(), options) else { continue };
        scratch.store.create_container_fs("c", Some(&image)).unwrap();
        let mount = scratch.store.mount_container_fs("c", MountOptions::default()).unwrap();
        let etc = format!("/proc/self/fd/{}/etc", mount.as_raw_fd());
        assert_eq!(fs::metadata(etc).unwrap().mode() & 0o7777, 0o710);
    }
}
