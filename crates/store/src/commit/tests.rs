use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use ferry_oci::image::Healthcheck;

use super::*;
use crate::diff::{SETUP_DIRS, SETUP_FILES, SETUP_LINK};
use crate::scratch::Scratch;
use crate::store::{LayerStoreKind, MountOptions};
use crate::tar::builder::TarBuilder;
use crate::tar::{EntryKind, StreamSource, TarReader};

const KINDS: [LayerStoreKind; 2] = [LayerStoreKind::Erofs, LayerStoreKind::Directories];

fn base() -> TarBuilder {
    TarBuilder::new()
        .dir("etc")
        .file("etc/passwd", b"root")
        .file("gone", b"1")
        .file("dir/inner", b"1")
        .file("kept", b"1")
        .symlink("link", "kept")
}

/// A container of this image, mounted; it ends with the mount.
fn mount(scratch: &Scratch, id: &str, image: &ImageId) -> (OwnedFd, PathBuf) {
    scratch.store.create_container_fs(id, Some(image)).unwrap();
    let mount = scratch.store.mount_container_fs(id, MountOptions::default()).unwrap();
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd()).into();
    (mount, path)
}

fn commit() -> CommitImage {
    CommitImage { created: "2024-01-01T00:00:00Z".into(), ..CommitImage::default() }
}

/// Everything beneath a directory, as text that two equal trees share.
fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let content = match stat.file_type() {
                kind if kind.is_dir() => {
                    pending.push(path.clone());
                    String::new()
                }
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                kind if kind.is_file() => format!("{:?}", fs::read(&path).unwrap()),
                _ => stat.rdev().to_string(),
            };
            let mut value = [0; 64];
            let length = rustix::fs::lgetxattr(&path, "user.note", &mut value).unwrap_or(0);
            let links = if stat.is_dir() { 0 } else { stat.nlink() };
            let inside = path.strip_prefix(root).unwrap();
            // Of the places that every container has, the time is when they were made.
            let bytes = inside.as_os_str().as_bytes();
            let is_place = SETUP_FILES.contains(&bytes)
                || SETUP_DIRS.contains(&bytes)
                || bytes == SETUP_LINK.0;
            let time = if is_place { 0 } else { stat.mtime() };
            lines.push(format!(
                "{:?} {:o} {}:{} {} {links} {:?} {content}",
                inside,
                stat.mode(),
                stat.uid(),
                stat.gid(),
                time,
                &value[..length],
            ));
        }
    }
    lines.sort();
    lines
}

fn layer_paths(scratch: &Scratch, diff_id: &Digest) -> Vec<String> {
    archive_paths(scratch.store.layer_archive(diff_id).unwrap())
}

fn archive_paths(archive: impl io::Read) -> Vec<String> {
    let mut reader = TarReader::new(StreamSource::new(archive));
    let mut paths = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut path = String::from_utf8(entry.path).unwrap();
        if let EntryKind::HardLink(target) = entry.kind {
            path.push_str(&format!(" = {}", String::from_utf8(target).unwrap()));
        }
        paths.push(path);
    }
    paths
}

#[test]
fn a_commit_shows_what_the_container_saw() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let image = scratch.import(&base().finish());
        let (mounted, root) = mount(&scratch, "c", &image);
        fs::remove_file(root.join("gone")).unwrap();
        fs::remove_dir_all(root.join("dir")).unwrap();
        fs::create_dir(root.join("dir")).unwrap();
        fs::write(root.join("dir/new"), b"2").unwrap();
        fs::write(root.join("kept"), b"2").unwrap();
        fs::hard_link(root.join("kept"), root.join("twin")).unwrap();
        fs::remove_file(root.join("link")).unwrap();
        symlink("/etc/passwd", root.join("link")).unwrap();
        let permissions = fs::Permissions::from_mode(0o6710);
        fs::set_permissions(root.join("dir/new"), permissions).unwrap();
        std::os::unix::fs::lchown(root.join("link"), Some(7), Some(8)).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        let noted = rustix::fs::setxattr(root.join("dir"), "user.note", b"x", flags);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let seen = describe(&root);
        assert!(noted.is_err() || seen.iter().any(|line| line.contains("[120]")));
        drop(mounted);
        let new = scratch.store.commit_container("c", commit()).unwrap();
        let layers = scratch.store.database().image_layers(&new).unwrap();
        assert_eq!(layers.len(), 2);
        let expect = [
            "dir/",
            "dir/.wh..wh..opq",
            "dir/new",
            ".wh.gone",
            "kept",
            "link",
            "pipe",
            "twin = kept",
        ];
        assert_eq!(layer_paths(&scratch, &layers[1]), expect);
        let (_mounted, root) = mount(&scratch, "d", &new);
        assert_eq!(describe(&root), seen);
        // The same changes give the same layer.
        let again = scratch.store.commit_container("c", commit()).unwrap();
        assert_eq!(again, new);
        assert_eq!(scratch.store.images().get(new.as_str()).unwrap().parent, Some(image));
    }
}

#[test]
fn what_the_engine_puts_in_is_no_change() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let image = scratch.import(&base().finish());
        let (mounted, root) = mount(&scratch, "c", &image);
        // Copied up, or made by an engine that had no layer for them.
        for dir in ["proc", "sys", "dev"] {
            fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for file in ["etc/hosts", "etc/hostname", "etc/resolv.conf", ".dockerenv"] {
            fs::write(root.join(file), b"").unwrap();
        }
        drop(mounted);
        let new = scratch.store.commit_container("c", commit()).unwrap();
        assert_eq!(scratch.store.database().image_layers(&new).unwrap().len(), 1);
        let config = scratch.store.config(&new).unwrap();
        assert!(config.history.last().unwrap().empty_layer);
        // A change beside them is one, and does not take them along.
        let mounted = scratch.store.mount_container_fs("c", MountOptions::default()).unwrap();
        let root = PathBuf::from(format!("/proc/self/fd/{}", mounted.as_raw_fd()));
        fs::write(root.join("etc/new"), b"1").unwrap();
        fs::set_permissions(root.join("sys"), fs::Permissions::from_mode(0o700)).unwrap();
        drop(mounted);
        let new = scratch.store.commit_container("c", commit()).unwrap();
        let layers = scratch.store.database().image_layers(&new).unwrap();
        assert_eq!(layer_paths(&scratch, &layers[1]), ["etc/", "etc/new", "sys/"]);
    }
}

#[test]
fn the_configuration_is_merged_and_told() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let image = scratch.import(&base().finish());
    scratch.store.create_container_fs("c", Some(&image)).unwrap();
    let container_config = RunConfig {
        cmd: Some(vec!["sh".into(), "-c".into(), "x".into()]),
        env: Some(vec!["A=1".into(), "B=2".into()]),
        user: "7".into(),
        ..RunConfig::default()
    };
    let commit = CommitImage {
        reference: Some(Reference::parse("new").unwrap()),
        comment: "why".into(),
        author: "who".into(),
        changes: vec!["ENV A=3".into(), "LABEL x=y".into()],
        container_config,
        container: "c".into(),
        ..commit()
    };
    let id = scratch.store.commit_container("c", commit.clone()).unwrap();
    let image = scratch.store.images().get("new:latest").unwrap();
    assert_eq!(image.id, id);
    let run = &image.config.config;
    assert_eq!(run.env, Some(vec!["A=3".into(), "B=2".into()]));
    assert_eq!(run.cmd.as_ref().unwrap().len(), 3);
    assert_eq!(run.user, "7");
    assert_eq!(run.labels.as_ref().unwrap()["x"], "y");
    let last = image.config.history.last().unwrap();
    assert_eq!((last.created_by.as_str(), last.comment.as_str()), ("sh -c x", "why"));
    assert_eq!((last.author.as_str(), image.config.container.as_str()), ("who", "c"));
    assert_eq!(image.config.history.len(), 2);
    // A new program takes none of the old one's arguments.
    let mut run = RunConfig { entrypoint: Some(vec!["e".into()]), ..RunConfig::default() };
    merge(&mut run, &commit.container_config);
    assert_eq!((run.cmd, run.entrypoint), (None, Some(vec!["e".into()])));
    let mut run = RunConfig {
        healthcheck: Some(Healthcheck { retries: 3, ..Healthcheck::default() }),
        ..RunConfig::default()
    };
    let test = Some(vec!["CMD".to_owned()]);
    let theirs = Healthcheck { test: test.clone(), retries: 5, ..Healthcheck::default() };
    merge(&mut run, &RunConfig { healthcheck: Some(theirs), ..RunConfig::default() });
    let merged = run.healthcheck.unwrap();
    assert_eq!((merged.test, merged.retries), (test, 3));
}

#[test]
fn what_cannot_be_committed_leaves_nothing() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let image = scratch.import(&base().finish());
    scratch.store.create_container_fs("c", Some(&image)).unwrap();
    let before = scratch.leftovers();
    let refused = |commit: CommitImage, container: &str| {
        scratch.store.commit_container(container, commit).unwrap_err().kind()
    };
    use crate::ErrorKind;
    assert_eq!(refused(commit(), "d"), ErrorKind::NotFound);
    let changes = vec!["FROM x".to_owned()];
    assert_eq!(refused(CommitImage { changes, ..commit() }, "c"), ErrorKind::Invalid);
    let digest = Reference::parse(&format!("a@{}", image.digest())).unwrap();
    let reference = Some(digest);
    assert_eq!(refused(CommitImage { reference, ..commit() }, "c"), ErrorKind::Invalid);
    assert_eq!(scratch.leftovers(), before);
}

#[test]
fn an_export_is_the_whole_tree() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let image = scratch.import(&base().finish());
        let (mounted, root) = mount(&scratch, "c", &image);
        fs::remove_file(root.join("gone")).unwrap();
        fs::write(root.join("etc/new"), b"2").unwrap();
        let seen = describe(&root);
        let export = |root: OwnedFd| {
            let mut archive = Vec::new();
            scratch.store.export_tree(root, &mut archive).unwrap();
            archive
        };
        // While it runs, and when it has ended.
        let running = export(mounted);
        let ended = export(scratch.store.container_view("c").unwrap());
        assert!(running == ended);
        let image = scratch.import(&running);
        let (_mounted, root) = mount(&scratch, "d", &image);
        assert_eq!(describe(&root), seen);
        // A container of no image has only what every one has.
        scratch.store.create_container_fs("empty", None).unwrap();
        let mut archive = Vec::new();
        let view = scratch.store.container_view("empty").unwrap();
        scratch.store.export_tree(view, &mut archive).unwrap();
        let expect = [
            ".dockerenv",
            "dev/",
            "dev/console",
            "dev/pts/",
            "dev/shm/",
            "etc/",
            "etc/hostname",
            "etc/hosts",
            "etc/mtab",
            "etc/resolv.conf",
            "proc/",
            "sys/",
        ];
        assert_eq!(archive_paths(archive.as_slice()), expect);
    }
}

#[test]
fn an_image_that_could_not_be_started_is_not_made() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let layers: Vec<Vec<u8>> = (0..limits::MAX_LAYERS)
        .map(|index| TarBuilder::new().file(&format!("f{index}"), b"").finish())
        .collect();
    let image = scratch.load_layers(&layers);
    let (mounted, path) = mount(&scratch, "c", &image);
    assert!(path.join("f0").exists() && path.join("f497").exists());
    drop(mounted);
    // What adds no layer may be made.
    scratch.store.commit_container("c", commit()).unwrap();
    let before = scratch.settled();
    fs::write(scratch.store.container_dir("c").join("upper/new"), b"").unwrap();
    let error = scratch.store.commit_container("c", commit()).unwrap_err();
    let words = "max depth exceeded: the image would have 499 layers, more than 498";
    assert_eq!((error.kind(), &*error.to_string()), (crate::ErrorKind::Invalid, words));
    assert_eq!(scratch.settled(), before);
}
