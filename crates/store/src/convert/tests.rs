use std::os::fd::AsRawFd as _;

use super::*;
use crate::image::ImageId;
use crate::scratch::{Scratch, layer};
use crate::store::MountOptions;
use crate::tar::builder::TarBuilder;

const KINDS: [LayerStoreKind; 2] = [LayerStoreKind::Erofs, LayerStoreKind::Directories];

fn other(kind: LayerStoreKind) -> LayerStoreKind {
    if kind == KINDS[0] { KINDS[1] } else { KINDS[0] }
}

fn image(scratch: &Scratch) -> ImageId {
    let lower = TarBuilder::new().file("a", &[1; 5000]).file("gone", b"x").finish();
    let upper = TarBuilder::new().file(".wh.gone", b"").hard_link_pair().finish();
    scratch.load_layers(&[lower, upper])
}

impl TarBuilder {
    fn hard_link_pair(self) -> Self {
        self.file("b", &[2; 100]).hard_link("c", "b")
    }
}

/// What a new container of the image sees.
fn seen(scratch: &Scratch, id: &str, image: &ImageId) -> Vec<(OsString, Vec<u8>)> {
    scratch.store.create_container_fs(id, Some(image)).unwrap();
    let mount = scratch.store.mount_container_fs(id, MountOptions::default()).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    let entries = fs::read_dir(&root).unwrap().map(Result::unwrap);
    // Every container has this one, and directories.
    let entries = entries.filter(|entry| entry.file_name() != ".dockerenv");
    let entries = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let mut files: Vec<_> =
        entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect();
    files.sort();
    files
}

fn convert(scratch: &Scratch, to: LayerStoreKind, used: bool) -> Converted {
    let mut told = 0;
    let mut tell = |_: &Digest, bytes: u64| told += bytes;
    let converted = scratch.store.convert_layers(to, &|_| used, &mut tell).unwrap();
    assert!(converted.converted.is_empty() || told > 0);
    converted
}

#[test]
fn layers_are_the_same_in_either_form_and_back_again() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let image = image(&scratch);
        let before = seen(&scratch, "before", &image);
        assert_eq!(before.len(), 3);
        for to in [other(kind), kind, kind] {
            let converted = convert(&scratch, to, false);
            let rows = scratch.store.database().layers().unwrap();
            assert!(rows.iter().all(|row| row.kind == to));
            assert!(converted.damaged.is_empty() && converted.in_use.is_empty());
            let id = format!("after{}", scratch.store.container_fs_ids().unwrap().len());
            assert_eq!(seen(&scratch, &id, &image), before);
            // Only the one form is left of each.
            for row in rows {
                let names = names(&scratch.store.layout().layer(&row.diff_id)).unwrap();
                assert_eq!(names.len(), 2, "{names:?}");
            }
        }
        // The digests of the archives are what they were.
        let mut found = Vec::new();
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let report = scratch.store.scrub(&mut |step| found.push(step), &cancel).unwrap();
        assert_eq!(report.damages, []);
        assert_eq!(report.layers, 2);
    }
}

#[test]
fn directories_under_running_containers_stay() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let image = scratch.import(&layer("a", b"1"));
    let converted = convert(&scratch, LayerStoreKind::Erofs, true);
    assert_eq!((converted.converted.len(), converted.in_use.len()), (0, 1));
    assert_eq!(seen(&scratch, "c", &image).len(), 1);
    // An EROFS mount holds what it needs.
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let image = scratch.import(&layer("a", b"1"));
    scratch.store.create_container_fs("c", Some(&image)).unwrap();
    let mount = scratch.store.mount_container_fs("c", MountOptions::default()).unwrap();
    assert_eq!(convert(&scratch, LayerStoreKind::Directories, true).converted.len(), 1);
    let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    assert_eq!(fs::read(root.join("a")).unwrap(), b"1");
}

#[test]
fn what_a_crash_left_is_cleared() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let image = scratch.import(&layer("a", b"1"));
    let diff_id = scratch.store.database().image_layers(&image).unwrap().remove(0);
    let dir = scratch.store.layout().layer(&diff_id);
    // Died after the new files had come, before the row said so.
    fs::write(dir.join("layer.tar"), b"torn").unwrap();
    fs::write(dir.join("index.erofs"), b"torn").unwrap();
    let scratch = scratch.reopen();
    assert_eq!(seen(&scratch, "c", &image), [("a".into(), b"1".to_vec())]);
    assert_eq!(convert(&scratch, LayerStoreKind::Erofs, false).converted, [diff_id]);
    assert_eq!(seen(&scratch, "d", &image), [("a".into(), b"1".to_vec())]);
    // Died after the row said so, before the old files had gone.
    fs::create_dir(dir.join("diff")).unwrap();
    assert_eq!(convert(&scratch, LayerStoreKind::Directories, false).converted.len(), 1);
    assert_eq!(seen(&scratch, "e", &image), [("a".into(), b"1".to_vec())]);
}

#[test]
fn damaged_layers_are_told_and_kept() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let image = scratch.import(&layer("a", b"1"));
    let diff_id = scratch.store.database().image_layers(&image).unwrap().remove(0);
    let path = scratch.store.layout().layer(&diff_id).join("layer.tar");
    let mut bytes = fs::read(&path).unwrap();
    bytes[512] ^= 1;
    fs::write(&path, bytes).unwrap();
    let converted = convert(&scratch, LayerStoreKind::Directories, false);
    assert_eq!(converted, Converted { damaged: vec![diff_id], ..Converted::default() });
}
