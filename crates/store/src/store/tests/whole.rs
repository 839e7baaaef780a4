//! What is damaged stays the affair of what it is, and comes again.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::arrival::Pin;
use crate::database::Stored;
use crate::tar::builder::TarBuilder;

const DIRECTORIES: LayerStoreKind = LayerStoreKind::Directories;

fn diff_id(layer: &[u8]) -> Digest {
    Digest::sha256_of(layer)
}

/// Turns one byte of a file over.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_bad_configuration_is_the_affair_of_one_image() {
    let scratch = Scratch::new(DIRECTORIES);
    let archive = named_docker_archive(&[layer("a", b"1")], "[\"bad:1\"]");
    scratch.load(&archive).unwrap();
    let good = scratch.load_layers(&[layer("b", b"2")]);
    let bad = scratch.store.images().resolve("bad:1").unwrap();
    spoil(&scratch.store.layout().blob(bad.digest()));
    // What was read before is kept in memory.
    let scratch = scratch.reopen();
    let listed = || -> Vec<ImageId> {
        scratch.store.images().list().unwrap().into_iter().map(|image| image.id).collect()
    };
    assert_eq!(listed(), [good]);
    assert_eq!(scratch.store.images().count().unwrap(), 2);
    assert!(scratch.store.images().get("bad:1").is_err());
    // It comes again without a scrub; and what a scrub said of it is forgotten.
    let stored = Stored::Blob(bad.digest());
    scratch.store.database().mark_damaged(stored, 1).unwrap();
    scratch.load(&archive).unwrap();
    assert_eq!(listed().len(), 2);
    assert!(!scratch.store.database().is_damaged(stored).unwrap());
    fs::remove_file(scratch.store.layout().blob(bad.digest())).unwrap();
    scratch.load(&archive).unwrap();
    assert!(scratch.reopen().store.images().get("bad:1").is_ok());
}

#[test]
fn a_damaged_layer_is_not_deleted_under_a_container() {
    let scratch = Scratch::new(DIRECTORIES);
    let archive = named_docker_archive(&[layer("a", b"kept")], "[\"a:1\"]");
    scratch.load(&archive).unwrap();
    let image = scratch.store.images().resolve("a:1").unwrap();
    scratch.store.create_container_fs("c", Some(&image)).unwrap();
    let mount = scratch.store.mount_container_fs("c", MountOptions::default()).unwrap();
    let file = PathBuf::from(format!("/proc/self/fd/{}/a", mount.as_raw_fd()));
    let layer = diff_id(&layer("a", b"kept"));
    let replace = |scratch: &Scratch| {
        scratch.store.database().mark_damaged(Stored::Layer(&layer), 1).unwrap();
        scratch.load(&archive).unwrap();
        assert!(!scratch.store.database().is_damaged(Stored::Layer(&layer)).unwrap());
    };
    let old = scratch.store.layout().layer(&layer).join("diff/a");
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&old).unwrap());
    let before = inode();
    replace(&scratch);
    assert_ne!(inode(), before);
    assert_eq!(fs::read(&file).unwrap(), b"kept");
    // Nor by the next engine, while the container is there.
    let scratch = scratch.reopen();
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        assert_eq!(fs::read(&file).unwrap(), b"kept");
        std::thread::yield_now();
    }
    drop(mount);
    scratch.store.remove_container_fs("c").unwrap().delete().unwrap();
    let scratch = scratch.reopen();
    let left = scratch.settled();
    assert!(!left.iter().any(|path| path.parent().unwrap().ends_with("tmp")), "{left:?}");
    // Nobody holds it: nothing is kept.
    replace(&scratch);
    assert!(!scratch.settled().iter().any(|path| path.parent().unwrap().ends_with("tmp")));
}

#[test]
fn a_layer_whose_files_went_comes_again() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let archive = named_docker_archive(&[layer("a", b"1")], "[\"a:1\"]");
        scratch.load(&archive).unwrap();
        let layer = diff_id(&layer("a", b"1"));
        // As a power failure leaves it that comes between a removal and its record.
        fs::remove_dir_all(scratch.store.layout().layer(&layer)).unwrap();
        let scratch = scratch.reopen();
        assert!(Pin::new(&scratch.store, &layer).unwrap().is_none());
        scratch.load(&archive).unwrap();
        let image = scratch.store.images().resolve("a:1").unwrap();
        scratch.store.create_container_fs("c", Some(&image)).unwrap();
        scratch.store.mount_container_fs("c", MountOptions::default()).unwrap();
    }
}

#[test]
fn a_layer_and_a_blob_of_one_digest_are_two_things() {
    let scratch = Scratch::new(DIRECTORIES);
    let database = scratch.store.database();
    let digest = Digest::sha256_of(b"a layer that was pulled as it is");
    let (blob, layer) = (Stored::Blob(&digest), Stored::Layer(&digest));
    database.mark_damaged(blob, 1).unwrap();
    assert!(database.is_damaged(blob).unwrap() && !database.is_damaged(layer).unwrap());
    database.mark_damaged(layer, 1).unwrap();
    database.forget_damage(layer).unwrap();
    assert!(database.is_damaged(blob).unwrap() && !database.is_damaged(layer).unwrap());
    database.forget_damage(blob).unwrap();
    assert!(!database.is_damaged(blob).unwrap());
}

#[test]
fn wrong_rows_of_an_image_are_put_right_when_it_comes_again() {
    let scratch = Scratch::new(DIRECTORIES);
    let layers = [layer("a", b"1"), layer("b", b"2")];
    let image = scratch.load_layers(&layers);
    let other = rusqlite::Connection::open(scratch.store.layout().database()).unwrap();
    let wrong = "UPDATE image_layers SET diff_id =
        (SELECT diff_id FROM image_layers WHERE position = 1) WHERE position = 0";
    assert_eq!(other.execute(wrong, []).unwrap(), 1);
    drop(other);
    let scrub = || scratch.store.scrub(&mut |_| (), &AtomicBool::new(false)).unwrap().damages;
    assert_eq!(scrub().len(), 1);
    assert_eq!(scratch.load_layers(&layers), image);
    assert_eq!(scrub(), []);
    let rows = scratch.store.database().image_layers(&image).unwrap();
    assert_eq!(rows, layers.map(|layer| diff_id(&layer)));
}

#[test]
fn what_is_being_read_is_not_converted() {
    let scratch = Scratch::new(DIRECTORIES);
    let archive = TarBuilder::new().file("a", &[1; 50_000]).file("b", &[2; 50_000]).finish();
    scratch.load_layers(std::slice::from_ref(&archive));
    let layer = diff_id(&archive);
    let convert =
        || scratch.store.convert_layers(LayerStoreKind::Erofs, &|_| false, &mut |_, _| ()).unwrap();
    let pin = Pin::new(&scratch.store, &layer).unwrap();
    let mut half = vec![0; 60_000];
    let mut reader = scratch.store.layer_archive(&layer).unwrap();
    reader.read_exact(&mut half).unwrap();
    assert_eq!(convert().in_use, std::slice::from_ref(&layer));
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!([half, rest].concat(), archive);
    drop(pin);
    // So it is while the files of a container are read that does not run.
    let image = scratch.store.database().image_ids().unwrap().remove(0);
    scratch.store.create_container_fs("c", Some(&image)).unwrap();
    let kept = scratch.store.keep_layers("c").unwrap();
    let view = scratch.store.container_view("c").unwrap();
    assert_eq!(convert().in_use, std::slice::from_ref(&layer));
    let file = format!("/proc/self/fd/{}/b", view.as_raw_fd());
    assert_eq!(fs::read(file).unwrap(), [2; 50_000]);
    drop(kept);
    assert_eq!(convert().converted, [layer]);
    assert_eq!(scratch.store.keep_layers("gone").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn what_a_killed_conversion_left_is_swept() {
    let scratch = Scratch::new(DIRECTORIES);
    let archive = layer("a", b"1");
    scratch.load_layers(std::slice::from_ref(&archive));
    let dir = scratch.store.layout().layer(&diff_id(&archive));
    fs::write(dir.join("layer.tar"), &archive).unwrap();
    let scratch = scratch.reopen();
    scratch.settled();
    let mut left: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["archive.parts", "diff"]);
}

#[test]
fn of_two_first_starts_at_once_one_has_the_data_root() {
    for _ in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(4);
        let open = || {
            start.wait();
            let layer_store = LayerStoreChoice::Only(DIRECTORIES);
            Store::open(StoreConfig { data_root: dir.path().join("root"), layer_store })
        };
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            let opened: Vec<_> = opened.into_iter().map(|one| one.join().unwrap()).collect();
            assert_eq!(opened.iter().filter(|one| one.is_ok()).count(), 1);
        });
    }
}
