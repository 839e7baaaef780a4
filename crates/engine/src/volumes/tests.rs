#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::os::fd::AsFd as _;

use ferry_store::{LayerStoreChoice, LayerStoreKind, StoreConfig};

use super::*;

fn store(root: &Path) -> Store {
    let layer_store = LayerStoreChoice::Only(LayerStoreKind::Directories);
    Store::open(StoreConfig { data_root: root.to_owned(), layer_store }).unwrap()
}

fn named(name: &str) -> VolumeRequest {
    VolumeRequest { name: name.to_owned(), ..VolumeRequest::default() }
}

fn names_of(volumes: &Volumes) -> Vec<String> {
    let all = volumes.list(&BTreeMap::new()).unwrap();
    all.into_iter().map(|volume| volume.name).collect()
}

#[test]
fn what_a_lost_database_does_not_know_is_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store(scratch.path());
    let volumes = Volumes::open(&store).unwrap();
    volumes.create(named("kept"), None).unwrap();
    fs::write(volumes.mountpoint("kept").join("file"), "text").unwrap();
    store.records().delete(VOLUMES, "kept").unwrap();
    // Neither of them is a volume.
    fs::write(scratch.path().join("volumes/stray"), "").unwrap();
    fs::create_dir(scratch.path().join("volumes/lost+found")).unwrap();
    for _ in 0..2 {
        let volumes = Volumes::open(&store).unwrap();
        volumes.adopt_unrecorded();
        assert_eq!(names_of(&volumes), ["kept"]);
        assert_eq!(fs::read_to_string(volumes.mountpoint("kept").join("file")).unwrap(), "text");
        assert!(!volumes.get("kept").unwrap().anonymous);
    }
    assert!(scratch.path().join("volumes/stray").exists());
    assert!(scratch.path().join("volumes/lost+found").exists());
}

#[test]
fn the_volume_of_a_container_that_was_never_finished_goes_in_the_same_boot() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store(scratch.path());
    let container = Id::random();
    let make =
        |volumes: &Volumes| volumes.create_for_container(BTreeMap::new(), &container).unwrap().name;
    let volumes = Volumes::open(&store).unwrap();
    let (unfinished, recorded, older) = (make(&volumes), make(&volumes), make(&volumes));
    volumes.record(&recorded).unwrap();
    let mark = scratch.path().join("volumes").join(&older).join("unfinished");
    fs::write(mark, "another boot").unwrap();

    let volumes = Volumes::open(&store).unwrap();
    volumes.adopt_unrecorded();
    let mut expected = vec![recorded.clone(), older];
    expected.sort();
    assert_eq!(names_of(&volumes), expected);
    assert!(!scratch.path().join("volumes").join(unfinished).exists());
    // Its record may be lost later: it is no unfinished one any more.
    store.records().delete(VOLUMES, &recorded).unwrap();
    let volumes = Volumes::open(&store).unwrap();
    volumes.adopt_unrecorded();
    assert_eq!(names_of(&volumes), expected);
}

#[test]
fn what_a_container_is_made_with_can_not_be_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store(scratch.path());
    let volumes = Volumes::open(&store).unwrap();
    let container = Id::random();
    assert!(volumes.create(named("vol"), None).unwrap().1);
    assert!(!volumes.create(named("vol"), Some(&container)).unwrap().1);
    let error = volumes.remove("vol").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("remove vol: volume is in use - [{}]", container.as_str())
    );
    volumes.let_go(&container);
    volumes.remove("vol").unwrap();
    assert!(!scratch.path().join("volumes/vol").exists());
    assert!(names_of(&Volumes::open(&store).unwrap()).is_empty());
}

#[test]
fn an_anonymous_volume_whose_directory_is_gone_is_forgotten() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store(scratch.path());
    let volumes = Volumes::open(&store).unwrap();
    let anonymous = volumes.create(named(""), None).unwrap().0.name;
    volumes.create(named("named"), None).unwrap();
    for name in [&anonymous, "named"] {
        fs::remove_dir_all(scratch.path().join("volumes").join(name)).unwrap();
    }
    let volumes = Volumes::open(&store).unwrap();
    assert_eq!(names_of(&volumes), ["named"]);
    assert!(volumes.mountpoint("named").is_dir());
    assert!(store.records().get(VOLUMES, &anonymous).unwrap().is_none());
}

#[test]
fn containers_that_fill_one_volume_do_so_one_after_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store(&scratch.path().join("data"));
    let volumes = Volumes::open(&store).unwrap();
    volumes.create(named("vol"), None).unwrap();
    let root = scratch.path().join("root");
    fs::create_dir_all(root.join("data")).unwrap();
    for number in 0..200 {
        fs::write(root.join(format!("data/{number}")), "x").unwrap();
    }
    let root = fs::File::open(root).unwrap();
    let together = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        let fill = || {
            together.wait();
            volumes.fill("vol", root.as_fd(), "/data").unwrap();
            assert_eq!(fs::read_dir(volumes.mountpoint("vol")).unwrap().count(), 200);
        };
        for _ in 0..8 {
            scope.spawn(fill);
        }
    });
}
