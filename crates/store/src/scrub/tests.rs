use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;

use rustix::io::Errno;

use super::*;
use crate::error::ErrorKind;
use crate::layout::file_name;
use crate::scratch::{Scratch, layer, named_docker_archive};
use crate::store::{LayerStoreKind, MountOptions};
use crate::tar::builder::TarBuilder;

const KINDS: [LayerStoreKind; 2] = [LayerStoreKind::Erofs, LayerStoreKind::Directories];

fn scrub(scratch: &Scratch) -> Vec<Damage> {
    let mut found = Vec::new();
    let mut last = 0;
    let mut tell = |step: ScrubStep| match step {
        ScrubStep::Found(damage) => found.push(damage),
        ScrubStep::Checking { current, total, .. } => {
            assert!(last <= current && current <= total, "{last} {current} {total}");
            last = current;
        }
    };
    let report = scratch.store.scrub(&mut tell, &AtomicBool::new(false)).unwrap();
    assert_eq!(report.damages, found);
    found
}

fn one(scratch: &Scratch) -> Damage {
    let found = scrub(scratch);
    let [damage] = found.as_slice() else { panic!("{found:?}") };
    damage.clone()
}

fn repair(scratch: &Scratch, damage: &Damage) -> Repair {
    scratch.store.repair_locally(damage, &|_| false).unwrap()
}

/// Changes one byte.
fn spoil(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// An image `a:1` of one layer that is here compressed too.
fn with_blob(kind: LayerStoreKind) -> (Scratch, Digest, Digest) {
    let scratch = Scratch::new(kind);
    let plain = TarBuilder::new()
        .pax("SCHILY.xattr.user.a", b"1")
        .file("small", b"few bytes")
        .file("large", &[7; 10_000])
        .gnu_sparse("sparse", 100_000, &[(4096, &[5; 512])])
        .dir("d")
        .hard_link("d/link", "large")
        .finish();
    scratch.load(&named_docker_archive(&[plain], r#"["a:1"]"#)).unwrap();
    let image = scratch.store.images().resolve("a:1").unwrap();
    scratch.store.ensure_compressed(&image, &mut |_, _| ()).unwrap();
    let diff_id = scratch.store.database().image_layers(&image).unwrap().remove(0);
    let blob = scratch.store.database().blob_rows_of_layer(&diff_id).unwrap().remove(0).digest;
    (scratch, diff_id, blob)
}

fn read_all(scratch: &Scratch, id: &str) -> Vec<u8> {
    let image = scratch.store.images().resolve("a:1").unwrap();
    scratch.store.create_container_fs(id, Some(&image)).unwrap();
    let mount = scratch.store.mount_container_fs(id, MountOptions::default()).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    ["small", "d/link", "sparse"]
        .iter()
        .flat_map(|name| fs::read(root.join(name)).unwrap())
        .collect()
}

#[test]
fn what_is_whole_is_found_whole() {
    for kind in KINDS {
        let (scratch, ..) = with_blob(kind);
        assert_eq!(scrub(&scratch), []);
        // What is under way is no damage.
        fs::create_dir(scratch.store.layout().tmp().join("layer-1")).unwrap();
        assert_eq!(scrub(&scratch), []);
        let cancelled = scratch.store.scrub(&mut |_| (), &AtomicBool::new(true)).unwrap_err();
        assert_eq!(cancelled.kind(), ErrorKind::Cancelled);
    }
}

#[test]
fn an_archive_is_made_anew_of_its_blob() {
    for kind in KINDS {
        let (scratch, diff_id, _) = with_blob(kind);
        let good = read_all(&scratch, "before");
        let dir = scratch.store.layout().layer(&diff_id);
        let (file, at) = match kind {
            LayerStoreKind::Erofs => ("layer.tar", 3000),
            LayerStoreKind::Directories => ("diff/large", 10),
        };
        spoil(&dir.join(file), at);
        let damage = one(&scratch);
        assert_eq!((&damage.what, &damage.digest), (&DamagedThing::Layer, &diff_id));
        assert_eq!(damage.needed_by.len(), 1);
        // Until it is repaired it counts as not being here.
        assert!(!scratch.store.pin_layer(&diff_id).unwrap());
        assert_eq!(repair(&scratch, &damage), Repair::Done);
        assert!(scratch.store.pin_layer(&diff_id).unwrap());
        assert_eq!(scrub(&scratch), []);
        assert_eq!(read_all(&scratch, "after"), good);
    }
}

#[test]
fn what_was_made_of_an_archive_is_made_again() {
    type Spoil<'a> = &'a dyn Fn(&Path);
    let spoils: [(LayerStoreKind, Spoil<'_>); 6] = [
        (LayerStoreKind::Erofs, &|dir| spoil(&dir.join("index.erofs"), 1100)),
        (LayerStoreKind::Erofs, &|dir| fs::remove_file(dir.join("index.erofs")).unwrap()),
        (LayerStoreKind::Directories, &|dir| spoil(&dir.join("diff/small"), 0)),
        (LayerStoreKind::Directories, &|dir| spoil(&dir.join("diff/sparse"), 4100)),
        (LayerStoreKind::Directories, &|dir| fs::write(dir.join("diff/d/more"), b"").unwrap()),
        (LayerStoreKind::Directories, &|dir| {
            let permissions = fs::Permissions::from_mode(0o777);
            fs::set_permissions(dir.join("diff/d"), permissions).unwrap();
        }),
    ];
    for (index, (kind, spoil)) in spoils.into_iter().enumerate() {
        let (scratch, diff_id, blob) = with_blob(kind);
        let good = read_all(&scratch, "before");
        // Without the blob there is only the archive.
        let changes = scratch.store.lock_changes();
        scratch.store.drop_blob(&blob).unwrap();
        drop(changes);
        spoil(&scratch.store.layout().layer(&diff_id));
        let damage = one(&scratch);
        assert_eq!((&damage.what, &damage.digest), (&DamagedThing::Index, &diff_id), "{index}");
        assert_eq!(repair(&scratch, &damage), Repair::Done, "{index}");
        assert_eq!(scrub(&scratch), [], "{index}");
        assert_eq!(read_all(&scratch, "after"), good);
    }
}

#[test]
fn a_blob_of_our_own_is_made_again_and_others_need_a_pull() {
    let (scratch, _, blob) = with_blob(LayerStoreKind::Erofs);
    let path = scratch.store.layout().blob(&blob);
    spoil(&path, 100);
    let damage = one(&scratch);
    assert_eq!((&damage.what, &damage.digest), (&DamagedThing::Blob, &blob));
    assert_eq!(repair(&scratch, &damage), Repair::Done);
    assert_eq!(scrub(&scratch), []);
    fs::remove_file(&path).unwrap();
    assert_eq!(one(&scratch).what, DamagedThing::Blob);
    assert_eq!(repair(&scratch, &damage), Repair::Done);
    let image = scratch.store.images().resolve("a:1").unwrap();
    spoil(&scratch.store.layout().blob(image.digest()), 1);
    let damage = one(&scratch);
    assert_eq!(damage.what, DamagedThing::Config);
    let Repair::NeedsPull { names } = repair(&scratch, &damage) else { panic!("{damage:?}") };
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].familiar(), "a:1");
}

#[test]
fn a_layer_with_nothing_to_make_it_of_needs_a_pull() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        scratch.load(&named_docker_archive(&[layer("f", &[1; 1000])], r#"["a:1"]"#)).unwrap();
        let image = scratch.store.images().resolve("a:1").unwrap();
        let diff_id = scratch.store.database().image_layers(&image).unwrap().remove(0);
        fs::remove_dir_all(scratch.store.layout().layer(&diff_id)).unwrap();
        let damage = one(&scratch);
        assert_eq!(damage.what, DamagedThing::Layer);
        assert!(
            matches!(repair(&scratch, &damage), Repair::NeedsPull { names } if names.len() == 1)
        );
        // A load brings it too.
        scratch.load(&named_docker_archive(&[layer("f", &[1; 1000])], r#"["a:1"]"#)).unwrap();
        assert_eq!(scrub(&scratch), []);
    }
}

#[test]
fn a_directory_is_not_exchanged_under_a_container_that_runs() {
    let (scratch, diff_id, _) = with_blob(LayerStoreKind::Directories);
    let image = scratch.store.images().resolve("a:1").unwrap();
    scratch.store.create_container_fs("runs", Some(&image)).unwrap();
    spoil(&scratch.store.layout().layer(&diff_id).join("diff/large"), 10);
    let damage = one(&scratch);
    let repair = scratch.store.repair_locally(&damage, &|layer| *layer == diff_id).unwrap();
    assert_eq!(repair, Repair::InUse { containers: vec!["runs".to_owned()] });
}

#[test]
fn leaks_are_found_and_taken_away() {
    let (scratch, ..) = with_blob(LayerStoreKind::Erofs);
    let before = scratch.settled();
    let stray = Digest::sha256_of(b"stray");
    fs::write(scratch.store.layout().blobs().join(file_name(&stray)), b"x").unwrap();
    let stray = Digest::sha256_of(b"stray layer");
    fs::create_dir(scratch.store.layout().layers().join(file_name(&stray))).unwrap();
    let found = scrub(&scratch);
    assert_eq!(found.len(), 2);
    for damage in found {
        assert!(matches!(damage.what, DamagedThing::Leak(_)));
        assert_eq!(repair(&scratch, &damage), Repair::Done);
    }
    assert_eq!(scratch.settled(), before);
    assert_eq!(scrub(&scratch), []);
}

#[test]
fn a_scrub_is_given_up_within_a_layer() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        scratch.load_layers(&[layer("large", &vec![7; 8 << 20])]);
        let cancel = AtomicBool::new(false);
        let mut last = 0;
        let mut tell = |step: ScrubStep| {
            let ScrubStep::Checking { current, .. } = step else { panic!("{step:?}") };
            assert!(!cancel.load(Ordering::Relaxed), "it goes on");
            last = current;
            cancel.store(current > 1 << 20, Ordering::Relaxed);
        };
        let error = scratch.store.scrub(&mut tell, &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(last < 4 << 20, "{last}");
        // What was not read to its end is not damaged for that.
        assert_eq!(scrub(&scratch), []);
    }
}

#[test]
fn what_ran_out_says_nothing_of_a_layer() {
    let file = |errno: Errno| StoreError::file("read", "layer.tar", errno);
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
        assert!(!speaks_of_the_layer(&file(errno)), "{errno}");
        assert!(!speaks_of_the_layer(&StoreError::Read(errno.into())), "{errno}");
    }
    for errno in [Errno::IO, Errno::NOENT, Errno::UCLEAN] {
        assert!(speaks_of_the_layer(&file(errno)), "{errno}");
    }
    assert!(speaks_of_the_layer(&StoreError::Archive("malformed".to_owned())));
}

/// What a scrub says of a layer of directories once its tree was tampered with.
#[track_caller]
fn tampered(tamper: impl FnOnce(&Path)) -> Vec<String> {
    let (scratch, layer, _) = with_blob(LayerStoreKind::Directories);
    let diff = scratch.store.layout().layer(&layer).join("diff");
    tamper(&diff);
    scrub(&scratch).into_iter().map(|damage| damage.problem).collect()
}

#[test]
fn attributes_that_were_lost_or_added_are_found() {
    use rustix::fs::{XattrFlags, removexattr, setxattr};
    let said = |what: &str| format!("its tree says otherwise than its archive: {what}");
    let found = tampered(|diff| removexattr(diff.join("small"), "user.a").unwrap());
    assert!(found.len() == 1 && found[0].ends_with(&said("its attribute user.a")), "{found:?}");
    for name in ["user.b", "trusted.overlay.opaque"] {
        let found = tampered(|diff| {
            setxattr(diff.join("large"), name, b"y", XattrFlags::empty()).unwrap();
        });
        let expect = said(&format!("its attribute {name:?}, which the archive has not"));
        assert!(found.len() == 1 && found[0].ends_with(&expect), "{found:?}");
    }
    assert_eq!(tampered(|_| ()), [""; 0]);
}

#[test]
fn what_is_in_a_hole_is_found_and_a_rounded_time_is_none() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let set_time = |path: &Path, seconds: i64, nanoseconds: i64| {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
    };
    let found = tampered(|diff| {
        let path = diff.join("sparse");
        let time = fs::metadata(&path).unwrap().mtime();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"x", 50_000).unwrap();
        set_time(&path, time, 0);
    });
    assert!(found.len() == 1 && found[0].ends_with("what is in its holes"), "{found:?}");

    let scratch = Scratch::new(LayerStoreKind::Directories);
    let archive = TarBuilder::new().pax("mtime", b"1000000000.123456789").file("a", b"1").finish();
    scratch.load_layers(std::slice::from_ref(&archive));
    let file = scratch.store.layout().layer(&Digest::sha256_of(&archive)).join("diff/a");
    for nanoseconds in [123_456_789, 123_456_000, 0] {
        set_time(&file, 1_000_000_000, nanoseconds);
        assert_eq!(scrub(&scratch), []);
    }
    set_time(&file, 1_000_000_000, 5);
    assert_eq!(one(&scratch).what, DamagedThing::Index);
}
