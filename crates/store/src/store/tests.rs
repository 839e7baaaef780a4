use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use ferry_sys::fscontext::{FsContext, attach, with_private_mounts};

use super::*;
use crate::error::ErrorKind;
use crate::scratch::{Scratch, docker_archive, layer, named_docker_archive};

mod hostile;
mod whole;

const KINDS: [LayerStoreKind; 2] = [LayerStoreKind::Erofs, LayerStoreKind::Directories];

#[test]
fn a_data_root_has_one_user() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let layer_store = LayerStoreChoice::Auto;
    let data_root = scratch.store.data_root().to_owned();
    let error = Store::open(StoreConfig { data_root, layer_store }).unwrap_err();
    assert!(error.to_string().ends_with("is in use by another engine"));
}

#[test]
fn the_kernel_chooses_when_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || StoreConfig { data_root: dir.path().into(), layer_store: LayerStoreChoice::Auto };
    let kind = Store::open(config()).unwrap().layer_store();
    let can = Store::open(StoreConfig {
        layer_store: LayerStoreChoice::Only(LayerStoreKind::Erofs),
        ..config()
    });
    assert_eq!(kind == LayerStoreKind::Erofs, can.is_ok());
}

#[test]
fn newer_layouts_are_refused_and_not_touched() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let Scratch { dir, store } = scratch;
    drop(store);
    let data_root = dir.path().join("root");
    let open = || {
        let layer_store = LayerStoreChoice::Only(LayerStoreKind::Directories);
        Store::open(StoreConfig { data_root: data_root.clone(), layer_store }).unwrap_err()
    };
    fs::write(data_root.join("version"), "2\n").unwrap();
    assert!(open().to_string().ends_with("has layout version 2; this program knows up to 1"));
    assert_eq!(fs::read_to_string(data_root.join("version")).unwrap(), "2\n");
    fs::write(data_root.join("version"), "one").unwrap();
    assert!(matches!(open(), StoreError::Damaged(_)));
    fs::write(data_root.join("version"), "1\n").unwrap();
    let database = rusqlite::Connection::open(data_root.join("ferry.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    assert!(matches!(open(), StoreError::NewerLayout { found: 99, .. }));
}

#[test]
fn records_are_kept_by_kind_and_id() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let records = scratch.store.records();
    records.put("container", "b", 1, b"one").unwrap();
    records.put("container", "a", 2, b"\0\xff").unwrap();
    records.put("volume", "a", 1, b"").unwrap();
    records.put("container", "b", 3, b"two").unwrap();
    let scratch = scratch.reopen();
    let records = scratch.store.records();
    let list = records.list("container").unwrap();
    let list: Vec<_> = list.iter().map(|r| (r.id.as_str(), r.version, r.body.as_slice())).collect();
    assert_eq!(list, [("a", 2, b"\0\xff".as_slice()), ("b", 3, b"two")]);
    records.delete("container", "a").unwrap();
    records.delete("container", "never there").unwrap();
    assert_eq!(records.get("container", "a").unwrap(), None);
    assert_eq!(records.get("volume", "a").unwrap().unwrap().body, b"");
    assert!(records.list("other").unwrap().is_empty());
}

#[test]
fn a_record_is_written_in_a_fraction_of_a_millisecond() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let body = [b'x'; 4096];
    let mut times: Vec<Duration> = (0..500)
        .map(|i| {
            let start = Instant::now();
            scratch.store.records().put("container", &format!("{}", i % 50), 1, &body).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    // Half of 0.3 ms in a release build on an idle machine; this one may be neither.
    assert!(times[250] < Duration::from_millis(3), "{:?}", times[250]);
}

#[test]
fn what_a_crash_left_is_swept() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        scratch.load(&named_docker_archive(&[layer("f", b"1")], r#"["a:1"]"#)).unwrap();
        let image = scratch.store.images().resolve("a:1").unwrap();
        scratch.store.create_container_fs("kept", Some(&image)).unwrap();
        scratch.store.create_container_fs("half-removed", Some(&image)).unwrap();
        let good = scratch.leftovers();
        let root = scratch.store.data_root().to_owned();
        // Died while unpacking; between placing and recording; while removing a container.
        fs::create_dir_all(root.join("tmp/layer-1/diff/a/b")).unwrap();
        fs::write(root.join("tmp/blob-1"), "x").unwrap();
        fs::create_dir_all(root.join(format!("layers/{}/diff", "a".repeat(64)))).unwrap();
        fs::write(root.join(format!("blobs/sha256/{}", "b".repeat(64))), "x").unwrap();
        fs::remove_dir_all(root.join("containers/half-removed")).unwrap();
        let scratch = scratch.reopen();
        assert_eq!(scratch.settled(), good);
        assert_eq!(scratch.store.container_fs_ids().unwrap(), ["kept"]);
        assert!(scratch.store.mount_container_fs("kept", MountOptions::default()).is_ok());
        assert_eq!(scratch.store.images().get("a:1").unwrap().id, image);
    }
}

/// A stream that fails after so many bytes, as a client that goes away.
struct Torn<'a>(&'a [u8], usize);

impl Read for Torn<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.1).min(self.0.len());
        if length == 0 {
            return Err(io::Error::other("the client went away"));
        }
        buffer[..length].copy_from_slice(&self.0[..length]);
        (self.0, self.1) = (&self.0[length..], self.1 - length);
        Ok(length)
    }
}

#[test]
fn a_stream_that_breaks_anywhere_leaves_nothing() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let layers = [layer("a", &[1; 3000]), layer("b", &[2; 3000])];
        let archive = docker_archive(&layers);
        for length in (0..archive.len() - 1024).step_by(777) {
            let error = scratch.store.load(Torn(&archive, length), None, &mut |_| ()).unwrap_err();
            assert_eq!(error.to_string(), "reading the archive: the client went away");
            let error =
                scratch.store.import(Torn(&layers[0], length.min(3000)), ImportOptions::default());
            assert!(error.is_err());
        }
        assert!(scratch.leftovers().is_empty());
        assert_eq!(scratch.load(&archive).unwrap().len(), 1);
    }
}

#[test]
fn containers_are_made_once_and_of_images_that_are_there() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let store = &scratch.store;
    store.create_container_fs("a", None).unwrap();
    let error = store.create_container_fs("a", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let nobody = ImageId::from(Digest::sha256_of(b"nobody"));
    let error = store.create_container_fs("b", Some(&nobody)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = store.mount_container_fs("b", MountOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "no filesystem of container b");
    assert_eq!(store.container_fs_size("b").unwrap_err().kind(), ErrorKind::NotFound);
    for id in ["", "..", "a/b", "../../etc", &"x".repeat(129)] {
        assert_eq!(store.create_container_fs(id, None).unwrap_err().kind(), ErrorKind::Invalid);
    }
    store.remove_container_fs("never-there").unwrap().delete().unwrap();
    assert_eq!(store.container_fs_ids().unwrap(), ["a"]);
}

#[test]
fn a_volatile_filesystem_is_not_trusted_after_a_power_failure() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let volatile = MountOptions { volatile: true };
    scratch.store.create_container_fs("a", None).unwrap();
    drop(scratch.store.mount_container_fs("a", volatile).unwrap());
    drop(scratch.store.mount_container_fs("a", volatile).unwrap());
    fs::write(scratch.store.container_dir("a").join("volatile-since"), "another boot").unwrap();
    let error = scratch.store.mount_container_fs("a", volatile).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    // Unless nothing was written by it that matters.
    scratch.store.forget_volatile("a").unwrap();
    drop(scratch.store.mount_container_fs("a", volatile).unwrap());
    scratch.store.forget_volatile("a").unwrap();
    scratch.store.forget_volatile("a").unwrap();
}

#[test]
fn loads_at_the_same_time_share_layers() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let layers: Vec<Vec<u8>> = (0..8).map(|i| layer(&format!("f{i}"), &[i; 9000])).collect();
        std::thread::scope(|scope| {
            for count in 1..=8 {
                let (scratch, layers) = (&scratch, &layers);
                scope.spawn(move || {
                    let names = format!("[\"n:{count}\"]");
                    scratch.load(&named_docker_archive(&layers[..count], &names)).unwrap();
                    if count % 2 == 0 {
                        scratch.remove(&format!("n:{count}"), false, &[]).unwrap();
                    }
                });
            }
        });
        assert_eq!(scratch.store.images().list().unwrap().len(), 4);
        // Images of 1, 3, 5 and 7 layers: seven layers, four configurations.
        assert_eq!(scratch.settled().len(), 11);
    }
}

/// Runs something with a small filesystem at a directory.
fn with_small_disk<T: Send>(bytes: u64, work: impl FnOnce(&Path) -> T + Send) -> T {
    let dir = tempfile::tempdir().unwrap();
    let mounted = || {
        let tmpfs = FsContext::open("tmpfs").unwrap();
        tmpfs.set("size", Path::new(&bytes.to_string())).unwrap();
        let tmpfs = tmpfs.mount(rustix::mount::MountAttrFlags::empty()).unwrap();
        attach(tmpfs.as_fd(), dir.path()).unwrap();
        work(dir.path())
    };
    with_private_mounts(mounted).unwrap()
}

/// Loads on a disk of so many bytes; `None` when not even a store fits.
fn load_on_small_disk(bytes: u64, archive: &[u8]) -> Option<bool> {
    with_small_disk(bytes, |dir| {
        let data_root = dir.join("root");
        // EROFS cannot be mounted from a file on tmpfs, so this is the choice of `Auto` too.
        let layer_store = LayerStoreChoice::Auto;
        let store = match Store::open(StoreConfig { data_root, layer_store }) {
            Ok(store) => store,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{bytes}: {error:?}");
                return None;
            }
        };
        assert_eq!(store.layer_store(), LayerStoreKind::Directories);
        let scratch = Scratch { dir: tempfile::tempdir().unwrap(), store };
        let Err(error) = scratch.load(archive) else {
            assert_eq!(scratch.store.images().get("a:1").unwrap().size, 400_000);
            return Some(true);
        };
        assert_eq!(error.kind(), ErrorKind::Full, "{bytes}: {error:?}");
        assert!(error.to_string().starts_with("no space left on device: "), "{error}");
        assert!(scratch.leftovers().is_empty(), "{bytes}: {:?}", scratch.leftovers());
        assert!(scratch.store.images().list().unwrap().is_empty());
        Some(false)
    })
}

#[test]
fn a_full_disk_is_told_and_changes_nothing() {
    let layers = [layer("a", &[1; 200_000]), layer("b", &[2; 200_000])];
    let archive = named_docker_archive(&layers, r#"["a:1"]"#);
    let outcomes: Vec<Option<bool>> =
        (4..1500).step_by(28).map(|kib| load_on_small_disk(kib << 10, &archive)).collect();
    let count = |outcome| outcomes.iter().filter(|known| **known == outcome).count();
    let counts = (count(None), count(Some(false)), count(Some(true)));
    assert!(counts.0 > 2 && counts.1 > 5 && counts.2 > 5, "{counts:?}");
}

#[test]
fn an_index_on_a_full_disk_is_told() {
    let mut many = crate::tar::builder::TarBuilder::new();
    for i in 0..2000 {
        many = many.dir(&format!("d{i}"));
    }
    let many = many.finish();
    let source = crate::tar::StreamSource::new(many.as_slice());
    let tree = crate::tree::LayerTree::read(&mut crate::tar::TarReader::new(source)).unwrap();
    with_small_disk(64 << 10, |dir| {
        let path = dir.join("layer.tar");
        fs::write(&path, layer("f", b"x")).unwrap();
        let file = fs::File::open(&path).unwrap();
        let built = layers::layer_store(LayerStoreKind::Erofs).build(dir, &file, &tree);
        assert_eq!(StoreError::from(built.unwrap_err()).kind(), ErrorKind::Full);
    });
}

/// The test is its own child when this says where to work and how.
const CRASH: &str = "FERRY_STORE_CRASH";

#[test]
fn death_at_any_moment_is_recovered_from() {
    if let Ok(work) = std::env::var(CRASH) {
        return load_and_remove_until_killed(&work);
    }
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..14 {
            kill_a_store_at_work(dir.path(), kind, round);
            check_recovered(dir.path(), kind);
        }
    }
}

fn load_and_remove_until_killed(work: &str) {
    let (kind, data_root) = work.split_once(':').unwrap();
    let kind = if kind == "erofs" { KINDS[0] } else { KINDS[1] };
    let layer_store = LayerStoreChoice::Only(kind);
    let store = Store::open(StoreConfig { data_root: data_root.into(), layer_store }).unwrap();
    let layers: Vec<Vec<u8>> = (0..4).map(|i| layer(&format!("f{i}"), &[i; 50_000])).collect();
    let archive = named_docker_archive(&layers, "[\"a:1\"]");
    println!("ready");
    for container in 0.. {
        store.load(archive.as_slice(), None, &mut |_| ()).unwrap();
        let image = store.images().resolve("a:1").unwrap();
        let container = format!("c{container}");
        store.create_container_fs(&container, Some(&image)).unwrap();
        drop(store.mount_container_fs(&container, MountOptions::default()).unwrap());
        store.remove_container_fs(&container).unwrap().delete().unwrap();
        store.images().remove("a:1", false, false, &|_| Vec::new()).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "the child is this very program")]
fn kill_a_store_at_work(dir: &Path, kind: LayerStoreKind, round: u64) {
    let kind = if kind == LayerStoreKind::Erofs { "erofs" } else { "directories" };
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::death_at_any_moment_is_recovered_from", "--nocapture"])
        .env(CRASH, format!("{kind}:{}", dir.display()))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut output = io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert_ne!(io::BufRead::read_line(&mut output, &mut line).unwrap(), 0, "the child ended");
    }
    // It says nothing more, so this waits a little longer each round; it ends only by a failure.
    let wait =
        rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::try_from(round * 3_100_000).unwrap() };
    let mut ended = [rustix::event::PollFd::new(output.get_ref(), rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut ended, Some(&wait)).unwrap(), 0, "the child failed");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn check_recovered(dir: &Path, kind: LayerStoreKind) {
    let layer_store = LayerStoreChoice::Only(kind);
    let store = Store::open(StoreConfig { data_root: dir.to_owned(), layer_store }).unwrap();
    // Containers are the engine's to remove; it has no record of this one.
    for container in store.container_fs_ids().unwrap() {
        store.remove_container_fs(&container).unwrap().delete().unwrap();
    }
    let scratch = Scratch { dir: tempfile::tempdir().unwrap(), store };
    let images = scratch.store.images().list().unwrap();
    // An image has its configuration and four layers; without one there is nothing.
    assert_eq!(scratch.settled().len(), images.len() * 5);
    for image in images {
        assert_eq!(image.size, 200_000);
        scratch.store.create_container_fs("check", Some(&image.id)).unwrap();
        let mount = scratch.store.mount_container_fs("check", MountOptions::default()).unwrap();
        let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        for i in 0..4_u8 {
            assert_eq!(fs::read(root.join(format!("f{i}"))).unwrap(), [i; 50_000]);
        }
        scratch.store.remove_container_fs("check").unwrap().delete().unwrap();
    }
}
