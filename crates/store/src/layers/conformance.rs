//! What every layer store must do, asked of the kernel through a mounted container.

use std::fs;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ferry_oci::digest::Digest;

use crate::image::ImageId;
use crate::scratch::{Scratch, docker_archive};
use crate::store::{ImportOptions, LayerStoreKind, MountOptions};
use crate::tar::builder::{Fields, TarBuilder};

/// A mounted container; its root is reached through the descriptor.
struct Root {
    _mount: OwnedFd,
    path: PathBuf,
}

impl Scratch {
    fn mount(&self, image: Option<&ImageId>, options: MountOptions) -> Root {
        let id = format!("c{}", self.store.container_fs_ids().unwrap().len());
        self.store.create_container_fs(&id, image).unwrap();
        let mount = self.store.mount_container_fs(&id, options).unwrap();
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd()).into();
        Root { _mount: mount, path }
    }

    fn mounted(&self, archive: TarBuilder) -> Root {
        let archive = archive.finish();
        let image = self.import(&archive);
        // Whatever it is made into, the archive can be had again.
        let diff_id = Digest::sha256_of(&archive);
        let mut again = Vec::new();
        self.store.layer_archive(&diff_id).unwrap().read_to_end(&mut again).unwrap();
        assert_eq!(Digest::sha256_of(&again), diff_id);
        self.mount(Some(&image), MountOptions::default())
    }
}

impl Root {
    fn at(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.at(path)).unwrap()
    }

    /// What is in a directory, but what every container has in its root.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        if path.is_empty() {
            names.retain(|name| ![".dockerenv", "dev", "etc", "proc", "sys"].contains(&&**name));
        }
        names
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let length = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

/// Runs a claim over every layer store.
macro_rules! conformance {
    ($($name:ident => $check:ident;)*) => {
        mod erofs {
            $(#[test] fn $name() { super::$check(&super::Scratch::new(super::LayerStoreKind::Erofs)); })*
        }
        mod directories {
            $(#[test] fn $name() { super::$check(&super::Scratch::new(super::LayerStoreKind::Directories)); })*
        }
    };
}

conformance! {
    files_keep_their_bytes => check_bytes;
    attributes_are_kept => check_attributes;
    special_files_are_made => check_special_files;
    links_are_made => check_links;
    sparse_files_are_whole => check_sparse_files;
    names_are_any_bytes => check_names;
    large_directories_are_found_in => check_large_directories;
    extended_attributes_are_kept => check_xattrs;
    whiteouts_hide_lower_layers => check_whiteouts;
    writes_stay_in_the_container => check_writes;
    many_layers_are_possible => check_many_layers;
    containers_without_layers_work => check_no_layers;
    hostile_archives_leave_nothing => check_hostile_archives;
    directories_may_have_100_000_files => check_100_000_files;
    files_may_be_larger_than_4_gib => check_4_gib;
    names_in_other_layers_do_not_break_links => check_links_across_layers;
    layers_are_whole_and_give_their_archives_again => check_checks;
}

fn check_bytes(scratch: &Scratch) {
    let sizes = [0, 1, 511, 512, 513, 4095, 4096, 4097, 100_000, 3_000_000];
    let body =
        |size: usize| -> Vec<u8> { (0..size).map(|i| (i * 31 + size).to_le_bytes()[0]).collect() };
    let mut archive = TarBuilder::new();
    for size in sizes {
        archive = archive.file(&format!("d/{size}"), &body(size));
    }
    archive = archive.file("d/513", b"replaced");
    let root = scratch.mounted(archive);
    for size in sizes {
        let expect = if size == 513 { b"replaced".to_vec() } else { body(size) };
        assert_eq!(root.read(&format!("d/{size}")), expect, "{size}");
        assert_eq!(fs::metadata(root.at(&format!("d/{size}"))).unwrap().len(), expect.len() as u64);
    }
}

fn check_attributes(scratch: &Scratch) {
    let fields = |path, typeflag, mode| Fields {
        path,
        typeflag,
        mode,
        uid: 1_234_567,
        gid: 1_654_321,
        mtime: 1_111_111_111,
        ..Fields::default()
    };
    let archive = TarBuilder::new()
        .pax("mtime", b"1222222222.987654321")
        .entry(fields(b"f", b'0', 0o6751), b"x")
        .entry(fields(b"d/", b'5', 0o1777), b"")
        .entry(Fields { link: b"f", ..fields(b"l", b'2', 0o777) }, b"")
        .entry(fields(b"p", b'6', 0o604), b"")
        .file("implied/x", b"")
        .pax("mtime", b"-1.5")
        .file("old", b"");
    let root = scratch.mounted(archive);
    for (name, mode) in [("f", 0o6751), ("d", 0o1777), ("l", 0o777), ("p", 0o604)] {
        let metadata = fs::symlink_metadata(root.at(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!((metadata.uid(), metadata.gid()), (1_234_567, 1_654_321), "{name}");
        let time = if name == "f" { (1_222_222_222, 987_654_321) } else { (1_111_111_111, 0) };
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), time, "{name}");
    }
    let implied = fs::metadata(root.at("implied")).unwrap();
    assert_eq!((implied.permissions().mode() & 0o7777, implied.uid()), (0o755, 0));
    let old = fs::metadata(root.at("old")).unwrap();
    assert_eq!((old.mtime(), old.mtime_nsec()), (-2, 500_000_000));
}

fn check_special_files(scratch: &Scratch) {
    let fields = |path, typeflag, device| Fields { path, typeflag, device, ..Fields::default() };
    let archive = TarBuilder::new()
        .entry(fields(b"null", b'3', (1, 3)), b"")
        .entry(fields(b"disk", b'4', (259, 70_000)), b"")
        .entry(fields(b"pipe", b'6', (0, 0)), b"");
    let root = scratch.mounted(archive);
    let stat = |name| fs::metadata(root.at(name)).unwrap();
    assert!(stat("null").file_type().is_char_device());
    assert_eq!(stat("null").rdev(), rustix::fs::makedev(1, 3));
    assert!(stat("disk").file_type().is_block_device());
    assert_eq!(stat("disk").rdev(), rustix::fs::makedev(259, 70_000));
    assert!(stat("pipe").file_type().is_fifo());
}

fn check_links(scratch: &Scratch) {
    let long = "t/".repeat(1000);
    let archive = TarBuilder::new()
        .file("a", b"shared")
        .hard_link("d/b", "a")
        .hard_link("c", "./d/b")
        .symlink("s", "/a")
        .hard_link("s2", "s")
        .gnu_long(b'K', long.as_bytes())
        .symlink("long", "cut")
        .gnu_long(b'K', &[b'm'; 460])
        .symlink("medium", "cut");
    let root = scratch.mounted(archive);
    let stat = |name| fs::symlink_metadata(root.at(name)).unwrap();
    assert_eq!(root.read("d/b"), b"shared");
    assert_eq!((stat("a").nlink(), stat("c").nlink()), (3, 3));
    assert_eq!(stat("a").ino(), stat("d/b").ino());
    assert_eq!(fs::read_link(root.at("s2")).unwrap(), Path::new("/a"));
    assert_eq!(stat("s").nlink(), 2);
    assert_eq!(fs::read_link(root.at("long")).unwrap().as_os_str().as_bytes(), long.as_bytes());
    assert_eq!(fs::read_link(root.at("medium")).unwrap().as_os_str().len(), 460);
}

fn check_sparse_files(scratch: &Scratch) {
    let a = [1; 4096];
    let b = [2; 292];
    let pieces: [(u64, &[u8]); 4] =
        [(4096, &a), (10_000, &b), (1 << 20, &a[..512]), ((1 << 30) - 100, &b[..50])];
    let many: Vec<(u64, &[u8])> = (0..100).map(|i| (i * 5000 + 1, &b[..100])).collect();
    let archive = TarBuilder::new()
        .gnu_sparse("s", 1 << 30, &pieces)
        .gnu_sparse("holes", 123_456, &[])
        .gnu_sparse("many", 500_000, &many)
        .file("after", b"plain");
    let root = scratch.mounted(archive);
    assert_eq!(fs::metadata(root.at("s")).unwrap().len(), 1 << 30);
    let file = fs::File::open(root.at("s")).unwrap();
    let read = |at: u64, len: usize| {
        let mut bytes = vec![0xff; len];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, at).unwrap();
        bytes
    };
    assert_eq!(read(0, 4096), vec![0; 4096]);
    assert_eq!(read(4096, 4096), a);
    assert_eq!(read(9000, 3000)[1000..1292], b);
    assert_eq!(read(9000, 1000), vec![0; 1000]);
    assert_eq!(read(1 << 20, 1024), [vec![1; 512], vec![0; 512]].concat());
    assert_eq!(read((1 << 30) - 100, 100), [vec![2; 50], vec![0; 50]].concat());
    assert_eq!(root.read("holes"), vec![0; 123_456]);
    let mut expect = vec![0; 500_000];
    for (at, data) in many {
        expect[usize::try_from(at).unwrap()..][..data.len()].copy_from_slice(data);
    }
    assert!(root.read("many") == expect);
    assert_eq!(root.read("after"), b"plain");
}

fn check_names(scratch: &Scratch) {
    let longest = "x".repeat(255);
    let names: Vec<Vec<u8>> = vec![
        b"\xff\xfe\x80".to_vec(),
        b"new\nline".to_vec(),
        b" ".to_vec(),
        "ünïcode".into(),
        b"-".to_vec(),
        b"...".to_vec(),
        b"!before the dots".to_vec(),
        longest.into_bytes(),
    ];
    let mut archive = TarBuilder::new();
    for name in &names {
        archive = archive.gnu_long(b'L', &[b"d/", name.as_slice()].concat()).file("cut", name);
    }
    let deep = "deep/".repeat(400);
    archive = archive.pax("path", format!("{deep}end").as_bytes()).file("cut", b"bottom");
    let root = scratch.mounted(archive);
    for name in &names {
        let path = root.at("d").join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), *name);
    }
    assert_eq!(fs::read_dir(root.at("d")).unwrap().count(), names.len());
    assert_eq!(root.read(&format!("{deep}end")), b"bottom");
}

fn check_large_directories(scratch: &Scratch) {
    let mut archive = TarBuilder::new();
    let name = |i: usize| format!("{}{i}", "n".repeat(i % 90));
    for i in 0..3000 {
        archive = archive.file(&format!("d/{}", name(i)), i.to_string().as_bytes());
    }
    for i in 0..200 {
        archive = archive.dir(&format!("e/{i}"));
    }
    let root = scratch.mounted(archive);
    for i in 0..3000 {
        assert_eq!(root.read(&format!("d/{}", name(i))), i.to_string().as_bytes());
    }
    assert!(!root.at("d/n").exists() && !root.at("d/zzz").exists() && !root.at("d/!").exists());
    assert_eq!(fs::read_dir(root.at("d")).unwrap().count(), 3000);
    assert_eq!(root.names("e").len(), 200);
}

fn check_xattrs(scratch: &Scratch) {
    // A valid version 2 capability: cap_net_raw, effective.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = vec![b'v'; 3000];
    let archive = TarBuilder::new()
        .pax("SCHILY.xattr.security.capability", &capability)
        .pax("SCHILY.xattr.user.long", &long)
        .file("ping", b"#!")
        .pax("SCHILY.xattr.user.a", b"1")
        .pax("SCHILY.xattr.trusted.b", b"2")
        .pax("SCHILY.xattr.com.apple.quarantine", b"3")
        .dir("d")
        .pax("SCHILY.xattr.trusted.link", b"4")
        .symlink("l", "d");
    let root = scratch.mounted(archive);
    assert_eq!(xattr(&root.at("ping"), "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(xattr(&root.at("ping"), "user.long"), Some(long));
    assert_eq!(xattr(&root.at("d"), "user.a").as_deref(), Some(b"1".as_slice()));
    assert_eq!(xattr(&root.at("d"), "trusted.b").as_deref(), Some(b"2".as_slice()));
    assert_eq!(xattr(&root.at("l"), "trusted.link").as_deref(), Some(b"4".as_slice()));
    assert_eq!(xattr(&root.at("d"), "com.apple.quarantine"), None);
}

fn check_whiteouts(scratch: &Scratch) {
    let lower = TarBuilder::new()
        .file("gone", b"1")
        .file("kept", b"1")
        .file("changed", b"1")
        .file("d/gone", b"1")
        .file("d/kept", b"1")
        .file("o/hidden", b"1")
        .file("o/s/hidden", b"1")
        .file("w/hidden", b"1")
        .file("tree/a/b", b"1");
    let upper = TarBuilder::new()
        .file(".wh.gone", b"")
        .file("changed", b"2")
        .file("d/.wh.gone", b"")
        .file("o/.wh..wh..opq", b"")
        .file("o/new", b"2")
        .file(".wh.w", b"")
        .file("w/new", b"2")
        .file(".wh.tree", b"");
    let layers = [lower.finish(), upper.finish()];
    let image = scratch.load_layers(&layers);
    let root = scratch.mount(Some(&image), MountOptions::default());
    assert_eq!(root.names(""), ["changed", "d", "kept", "o", "w"]);
    assert_eq!(root.read("changed"), b"2");
    assert_eq!(root.names("d"), ["kept"]);
    assert_eq!(root.names("o"), ["new"]);
    assert_eq!(root.names("w"), ["new"]);
    // A root that hides everything beneath it.
    let opaque = TarBuilder::new().file(".wh..wh..opq", b"").file("only", b"").finish();
    let image = scratch.load_layers(&[layers[0].clone(), opaque]);
    let root = scratch.mount(Some(&image), MountOptions::default());
    assert_eq!(root.names(""), ["only"]);
}

fn check_writes(scratch: &Scratch) {
    let image = scratch.import(&TarBuilder::new().file("d/f", b"old").finish());
    let one = scratch.mount(Some(&image), MountOptions::default());
    let two = scratch.mount(Some(&image), MountOptions { volatile: true });
    fs::write(one.at("d/f"), b"new").unwrap();
    fs::write(one.at("d/g"), vec![0; 1000]).unwrap();
    fs::remove_file(two.at("d/f")).unwrap();
    assert_eq!(one.read("d/f"), b"new");
    assert_eq!(two.names("d"), Vec::<String>::new());
    let size = scratch.store.container_fs_size("c0").unwrap();
    assert_eq!((size.rw, size.root_fs), (1003, 1006));
    // What a container wrote is there at its next start, volatile or not.
    drop((one, two));
    let again = |id: &str, volatile| {
        let mount = scratch.store.mount_container_fs(id, MountOptions { volatile }).unwrap();
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd()).into();
        Root { _mount: mount, path }
    };
    assert_eq!(again("c0", false).read("d/f"), b"new");
    assert_eq!(again("c1", true).names("d"), Vec::<String>::new());
    scratch.store.remove_container_fs("c0").unwrap().delete().unwrap();
    assert!(!scratch.store.container_dir("c0").exists());
    assert_eq!(scratch.store.container_fs_ids().unwrap(), ["c1"]);
}

fn check_many_layers(scratch: &Scratch) {
    let layer = |i: usize| {
        TarBuilder::new().file(&format!("f{i}"), b"").file("top", i.to_string().as_bytes()).finish()
    };
    let mut layers: Vec<Vec<u8>> = (0..150).map(layer).collect();
    // One that comes twice, and an empty one.
    layers.push(layer(3));
    layers.push(TarBuilder::new().finish());
    let image = scratch.load_layers(&layers);
    let root = scratch.mount(Some(&image), MountOptions::default());
    assert_eq!(root.names("").len(), 151);
    assert_eq!(root.read("top"), b"3");
}

fn check_no_layers(scratch: &Scratch) {
    let empty = scratch.load_layers(&[]);
    for image in [None, Some(&empty)] {
        let root = scratch.mount(image, MountOptions::default());
        assert_eq!(root.names(""), Vec::<String>::new());
        fs::write(root.at("x"), b"y").unwrap();
        assert_eq!(root.read("x"), b"y");
    }
}

fn check_hostile_archives(scratch: &Scratch) {
    let before = scratch.leftovers();
    let archives = [
        TarBuilder::new().file("ok", b"").file("../escape", b"").finish(),
        TarBuilder::new().symlink("l", "/tmp").file("l/escape", b"").finish(),
        TarBuilder::new().hard_link("x", "/etc/passwd").finish(),
        TarBuilder::new().file("a/../../.wh.x", b"").finish(),
        TarBuilder::new().file("cut", &[1; 5000]).unfinished()[..3000].to_vec(),
    ];
    for archive in archives {
        let error = scratch.store.import(archive.as_slice(), ImportOptions::default()).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Invalid, "{error}");
        let outer = docker_archive(&[archive]);
        let error = scratch.store.load(outer.as_slice(), None, &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Invalid, "{error}");
    }
    assert_eq!(scratch.leftovers(), before);
    assert!(scratch.store.images().list().unwrap().is_empty());
}

fn check_100_000_files(scratch: &Scratch) {
    let mut archive = TarBuilder::new();
    for i in 0..100_000 {
        archive = archive.file(&format!("d/{i:x}"), b"");
    }
    let root = scratch.mounted(archive.file("d/last", b"found"));
    assert_eq!(fs::read_dir(root.at("d")).unwrap().count(), 100_001);
    for i in (0..100_000).step_by(997) {
        assert!(root.at(&format!("d/{i:x}")).exists(), "{i}");
    }
    assert!(!root.at("d/186a0").exists());
    assert_eq!(root.read("d/last"), b"found");
}

fn check_4_gib(scratch: &Scratch) {
    // Sparse, so that it is cheap; what lies beyond 4 GiB is dense and does not end at a block.
    let start = (4 << 30) + 12_288;
    let tail: Vec<u8> = (0..70_001_u32).map(|i| i.to_le_bytes()[i as usize % 2]).collect();
    let size = start + tail.len() as u64;
    let pieces: [(u64, &[u8]); 2] = [(4096, &[9; 4096]), (start, &tail)];
    let root = scratch.mounted(TarBuilder::new().gnu_sparse("f", size, &pieces).file("g", b"1"));
    let file = fs::File::open(root.at("f")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), size);
    let mut found = vec![1; tail.len() + 4096];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, start - 4096).unwrap();
    assert!(found[..4096] == [0; 4096] && found[4096..] == tail);
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut found[..8192], 0).unwrap();
    assert!(found[..4096] == [0; 4096] && found[4096..8192] == [9; 4096]);
    assert_eq!(root.read("g"), b"1");
}

fn check_links_across_layers(scratch: &Scratch) {
    // A link is of its own layer: another layer's file of one of its names is another file.
    let lower = TarBuilder::new().file("a", b"lower").hard_link("b", "a").hard_link("c", "a");
    let upper = TarBuilder::new().file("a", b"upper").hard_link("d", "a").file(".wh.c", b"");
    let image = scratch.load_layers(&[lower.finish(), upper.finish()]);
    let root = scratch.mount(Some(&image), MountOptions::default());
    assert_eq!(root.names(""), ["a", "b", "d"]);
    assert_eq!(
        (root.read("a"), root.read("b"), root.read("d")),
        (b"upper".to_vec(), b"lower".to_vec(), b"upper".to_vec(),)
    );
    let inode = |name| {
        let metadata = fs::metadata(root.at(name)).unwrap();
        (metadata.dev(), metadata.ino())
    };
    assert_eq!(inode("a"), inode("d"));
    assert_ne!(inode("a"), inode("b"));
}

fn check_checks(scratch: &Scratch) {
    let fields = |path, typeflag, device| Fields {
        path,
        typeflag,
        device,
        uid: 70_000,
        mode: 0o2751,
        ..Fields::default()
    };
    let archive = TarBuilder::new()
        .pax("mtime", b"-1.5")
        .pax("SCHILY.xattr.user.a", b"1")
        .pax("SCHILY.xattr.com.apple.quarantine", b"3")
        .entry(fields(b"d/", b'5', (0, 0)), b"")
        .entry(fields(b"d/null", b'3', (1, 3)), b"")
        .entry(fields(b"d/pipe", b'6', (0, 0)), b"")
        .pax("SCHILY.xattr.user.b", b"not for links")
        .symlink("d/link", "nowhere")
        .file("d/small", b"x")
        .file("d/large", &[1; 5000])
        .file("d/large", &[2; 6000])
        .hard_link("twin", "d/large")
        .gnu_sparse("sparse", 50_000, &[(8192, &[3; 700]), (40_000, &[4; 100])])
        .file("o/.wh..wh..opq", b"")
        .file("o/.wh.gone", b"")
        .file("implied/f", &[5; 64])
        .finish();
    scratch.import(&archive);
    let diff_id = Digest::sha256_of(&archive);
    let store = super::layer_store(scratch.store.layer_store());
    let dir = scratch.store.layout().layer(&diff_id);
    let check = store.check(&dir, &mut |_| Ok(())).unwrap();
    assert_eq!(check.problem, None);
    assert_eq!(check.diff_id, diff_id);
    let row = scratch.store.database().layer(&diff_id).unwrap().unwrap();
    assert_eq!(
        (check.archive_size, check.content_size, check.is_empty, check.root_is_opaque),
        (row.archive_size, row.content_size, row.is_empty, row.root_is_opaque)
    );
}
