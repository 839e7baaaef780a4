//! What containers, archives and other people of the machine may try.

use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::{Mode, OFlags};

use super::*;
use crate::limits;
use crate::tar::builder::TarBuilder;

/// Makes directories `d/d/d/…`, as a container can with a loop of mkdir and chdir.
fn dig(top: &Path, depth: usize) {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(top, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&here, "d", Mode::from_raw_mode(0o755)).unwrap();
        here = rustix::fs::openat(&here, "d", flags, Mode::empty()).unwrap();
    }
}

#[test]
fn deep_directories_are_measured_refused_and_deleted() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let store = &scratch.store;
    store.create_container_fs("a", None).unwrap();
    let upper = store.container_dir("a").join("upper");
    fs::write(upper.join("f"), [1; 100]).unwrap();
    dig(&upper, 3000);
    assert_eq!(store.container_fs_size("a").unwrap(), FsSize { rw: 100, root_fs: 100 });
    let error = store.export_tree(store.open_upper("a").unwrap(), &mut io::sink()).unwrap_err();
    assert!(error.to_string().starts_with("archive d/d/"), "{error}");
    // With a stack as small as that, a thousand levels of recursion would be too many.
    let discarded = store.remove_container_fs("a").unwrap();
    let delete = std::thread::Builder::new().stack_size(128 << 10).spawn(|| discarded.delete());
    delete.unwrap().join().unwrap().unwrap();
    assert!(scratch.leftovers().is_empty());
    // Left by an engine that was killed: the next start deletes it.
    let tmp = store.layout().new_tmp("container");
    fs::create_dir(&tmp).unwrap();
    dig(&tmp, 3000);
    let scratch = scratch.reopen();
    let end = Instant::now() + Duration::from_secs(60);
    while tmp.exists() && Instant::now() < end {
        std::thread::yield_now();
    }
    assert!(!tmp.exists());
    drop(scratch);
}

#[test]
fn nobody_else_can_read_the_data_root() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let scratch = Scratch::new(LayerStoreKind::Directories);
    scratch.store.create_container_fs("a", None).unwrap();
    let root = scratch.store.data_root().to_owned();
    let check = || {
        for name in ["ferry.db", "ferry.db-wal", "ferry.db-shm"] {
            assert_eq!(mode(&root.join(name)), 0o600, "{name}");
        }
        for path in [root.clone(), root.join("containers")] {
            assert_eq!(mode(&path), 0o710, "{}", path.display());
        }
        assert_eq!(mode(&root.join("containers/a")) & 0o007, 0);
    };
    check();
    // One that an older version made.
    for name in ["ferry.db", "ferry.db-wal", "ferry.db-shm"] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    for path in [root.clone(), root.join("containers")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let scratch = scratch.reopen();
    check();
    // Who has it tighter keeps it so.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    let _scratch = scratch.reopen();
    assert_eq!(mode(&root), 0o700);
}

#[test]
fn a_failure_to_place_holds_nobody_up() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let image = scratch.load_layers(&[layer("a", b"1"), layer("b", b"2"), layer("c", b"3")]);
    let blobs = scratch.store.layout().blobs();
    let away = blobs.with_extension("away");
    fs::rename(&blobs, &away).unwrap();
    fs::write(&blobs, "in the way").unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let store = scratch.store.clone();
    std::thread::spawn(move || {
        let failed = store.ensure_compressed(&image, &mut |_, _| ()).is_err();
        let made = store.create_container_fs("a", None).is_ok();
        send.send((failed, made)).unwrap();
    });
    let done = receive.recv_timeout(Duration::from_secs(30));
    assert_eq!(done, Ok((true, true)), "the lock was taken twice");
    fs::remove_file(&blobs).unwrap();
    fs::rename(&away, &blobs).unwrap();
}

#[test]
fn scattered_files_do_not_fill_the_disk() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let pieces: Vec<(u64, &[u8])> = (0..1000).map(|at| (at << 31, b"x".as_slice())).collect();
    let archive = |files: usize| {
        let sparse = |tar: TarBuilder, n| tar.gnu_sparse(&format!("f{n}"), 1000 << 31, &pieces);
        (0..files).fold(TarBuilder::new(), sparse).finish()
    };
    let import = |files| scratch.store.import(archive(files).as_slice(), ImportOptions::default());
    import(1).unwrap();
    let before = scratch.leftovers();
    let error = import(4).unwrap_err();
    assert_eq!(error.to_string(), "sparse file is too large and too scattered");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(scratch.leftovers(), before);
}

#[test]
fn a_directory_is_touched_only_once_it_is_known_to_be_ours() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let dir = tempfile::tempdir().unwrap();
    let layer_store = LayerStoreChoice::Only(LayerStoreKind::Directories);
    let open = |path: &Path| Store::open(StoreConfig { data_root: path.to_owned(), layer_store });
    // What is above it, others may walk through.
    let root = dir.path().join("a/b/root");
    let store = open(&root).unwrap();
    let modes = [dir.path().join("a"), dir.path().join("a/b"), root.clone()].map(|dir| mode(&dir));
    assert_eq!(modes, [0o755, 0o755, 0o710]);
    // It is in use.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    open(&root).unwrap_err();
    assert_eq!(mode(&root), 0o755);
    drop(store);
    // It is of a newer version.
    let version = fs::read(root.join("version")).unwrap();
    fs::write(root.join("version"), "99").unwrap();
    assert!(matches!(open(&root), Err(StoreError::NewerLayout { .. })));
    assert_eq!(mode(&root), 0o755);
    fs::write(root.join("version"), version).unwrap();
    open(&root).unwrap();
    assert_eq!(mode(&root), 0o710);
}

#[test]
fn what_swells_out_of_proportion_is_refused() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let zeros = vec![0; usize::try_from(limits::MAX_EXPANSION).unwrap() + (4 << 20)];
    let swelling = layer("zeros", &zeros);
    let refused = |result: Result<(), StoreError>, what: &str| {
        let error = result.unwrap_err();
        let words = format!("{what} decompresses to more than {} bytes", limits::MAX_EXPANSION);
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(scratch.settled().is_empty());
    };
    let import = |archive: &[u8]| {
        let created = "2024-01-01T00:00:00Z".to_owned();
        let options = ImportOptions { created, ..ImportOptions::default() };
        scratch.store.import(archive, options)
    };
    let load = |archive: &[u8]| scratch.load(archive).map(drop);
    let packed = crate::scratch::zstd(&swelling);
    refused(import(&packed).map(drop), "archive");
    refused(
        load(&crate::scratch::zstd(&docker_archive(std::slice::from_ref(&swelling)))),
        "archive",
    );
    let layout = crate::scratch::Layout::new(&[(swelling.clone(), packed)]);
    refused(load(&layout.finish("")), "layer");
    // Deflate does not reach what is too much, with zeros only neither.
    let honest = crate::scratch::gzip(&swelling);
    import(&honest).unwrap();
}
