use super::*;
use crate::scratch::{Layout, Scratch, layer};
use crate::store::LayerStoreKind;

fn digest(n: u32) -> Digest {
    Digest::sha256_of(&n.to_le_bytes())
}

fn manifest(n: u32, image: Option<u32>, subject: Option<u32>) -> SnapshotManifest {
    SnapshotManifest { digest: digest(n), image: image.map(digest), subject: subject.map(digest) }
}

#[test]
fn what_a_name_leads_to_is_needed() {
    // Index 1 lists image manifests 2 and 3 and statement 4; 5 is about 2; 6 is about nothing here.
    let snapshot = Snapshot {
        manifests: vec![
            manifest(1, None, None),
            manifest(2, Some(20), None),
            manifest(3, Some(30), None),
            manifest(4, None, None),
            manifest(5, None, Some(2)),
            manifest(6, None, Some(60)),
        ],
        children: HashMap::from([(digest(1), vec![digest(2), digest(3), digest(4)])]),
        targets: HashSet::from([digest(1)]),
        images: HashSet::from([digest(20)]),
        ..Snapshot::default()
    };
    assert_eq!(plan(&snapshot), [Garbage::Manifest(digest(6))]);
    // Without the name only the image's own manifest and what is about it.
    let snapshot = Snapshot { targets: HashSet::new(), ..snapshot };
    let mut expect: Vec<_> = [1, 3, 4, 6].map(|n| Garbage::Manifest(digest(n))).into();
    expect.sort();
    assert_eq!(plan(&snapshot), expect);
}

#[test]
fn layers_and_blobs_are_held_in_many_ways() {
    let snapshot = Snapshot {
        layers: (1..=4).map(|n| (digest(n), 1)).collect(),
        needed_layers: HashSet::from([digest(1)]),
        leased: HashSet::from([digest(2), digest(10)]),
        pinned: HashSet::from([digest(3)]),
        blobs: vec![
            (digest(10), None),
            (digest(11), None),
            (digest(12), None),
            (digest(13), Some(digest(4))),
            // Of layers that stay: one that nothing names, one that a manifest does, one that is
            // counted upon.
            (digest(14), Some(digest(1))),
            (digest(15), Some(digest(1))),
            (digest(16), Some(digest(3))),
        ],
        manifests: vec![manifest(20, None, None)],
        children: HashMap::from([(digest(20), vec![digest(11), digest(15)])]),
        targets: HashSet::from([digest(20)]),
        ..Snapshot::default()
    };
    let mut expect =
        vec![Garbage::Layer(digest(4)), Garbage::Blob(digest(12)), Garbage::Blob(digest(14))];
    expect.sort();
    assert_eq!(plan(&snapshot), expect);
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % most
    }

    fn some(&mut self, most: u32) -> HashSet<Digest> {
        (0..self.below(4)).map(|_| digest(self.below(most))).collect()
    }
}

fn arbitrary(numbers: &mut Numbers) -> Snapshot {
    let things = 12;
    let mut manifests: HashMap<Digest, SnapshotManifest> = HashMap::new();
    let mut children: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for _ in 0..numbers.below(8) {
        let optional = |numbers: &mut Numbers| Some(numbers.below(things)).filter(|n| n % 3 == 0);
        let (image, subject) = (optional(numbers), optional(numbers));
        let one = manifest(numbers.below(things), image, subject);
        children.insert(one.digest.clone(), numbers.some(things).into_iter().collect());
        manifests.insert(one.digest.clone(), one);
    }
    let layers = numbers.some(things);
    let blobs = numbers.some(things).into_iter().map(|blob| {
        let layer = layers.iter().next().cloned().filter(|_| numbers.below(2) == 0);
        (blob, layer)
    });
    Snapshot {
        blobs: blobs.collect(),
        needed_layers: numbers.some(things),
        images: numbers.some(things),
        targets: numbers.some(things),
        leased: numbers.some(things),
        pinned: numbers.some(things),
        layers: layers.into_iter().map(|layer| (layer, 1)).collect(),
        manifests: manifests.into_values().collect(),
        children,
    }
}

#[test]
fn a_plan_takes_nothing_that_is_needed_and_is_done_at_once() {
    for seed in 0..3000 {
        let mut snapshot = arbitrary(&mut Numbers(seed));
        let garbage = plan(&snapshot);
        for thing in &garbage {
            let (Garbage::Layer(digest) | Garbage::Blob(digest) | Garbage::Manifest(digest)) =
                thing;
            assert!(!snapshot.leased.contains(digest), "{seed}: {thing:?}");
            match thing {
                Garbage::Layer(layer) => assert!(!snapshot.needed_layers.contains(layer)),
                Garbage::Manifest(manifest) => assert!(!snapshot.targets.contains(manifest)),
                Garbage::Blob(_) => {}
            }
        }
        let is_kept = |thing: &Garbage| !garbage.contains(thing);
        snapshot.layers.retain(|layer, _| is_kept(&Garbage::Layer(layer.clone())));
        let layers = snapshot.layers.clone();
        snapshot.blobs.retain(|(blob, layer)| match layer {
            Some(layer) if !layers.contains_key(layer) => false,
            _ => is_kept(&Garbage::Blob(blob.clone())),
        });
        snapshot.manifests.retain(|one| is_kept(&Garbage::Manifest(one.digest.clone())));
        let manifests: HashSet<Digest> =
            snapshot.manifests.iter().map(|one| one.digest.clone()).collect();
        snapshot.children.retain(|parent, _| manifests.contains(parent));
        assert!(plan(&snapshot).is_empty(), "{seed}");
    }
}

fn partial(name: &str, size: u64, days: u64, is_locked: bool) -> Partial {
    let age = Some(Duration::from_secs(days * 24 * 3600));
    Partial { path: name.into(), size, age, is_locked }
}

#[track_caller]
fn check_doomed(partials: &[Partial], all: bool, expect: &[&str]) {
    let doomed = doomed(partials.to_vec(), all);
    let names: Vec<_> = doomed.iter().map(|partial| partial.path.to_str().unwrap()).collect();
    assert_eq!(names, expect);
}

#[test]
fn partial_blobs_go_when_they_are_old_or_too_many() {
    let few =
        [partial("old", 1, 8, false), partial("locked", 1, 9, true), partial("new", 1, 6, false)];
    check_doomed(&few, false, &["old"]);
    check_doomed(&few, true, &["old", "new"]);
    let many: Vec<_> = (1..=5).map(|n| partial(&n.to_string(), 3 << 30, n, n == 5)).collect();
    check_doomed(&many, false, &["4", "3"]);
    let future = Partial { age: None, ..partial("future", 1, 0, false) };
    check_doomed(&[future], false, &[]);
}

#[test]
fn manifests_of_the_first_schema_are_read_when_the_store_opens() {
    let plain = layer("a", b"1");
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let layout = Layout::new(&[(plain.clone(), plain.clone())]);
    let manifest = layout.manifest.clone();
    scratch.load(&layout.finish(r#""io.containerd.image.name":"docker.io/library/a:b""#)).unwrap();
    let children = scratch.store.database().children(&manifest).unwrap();
    assert_eq!(children.len(), 2);
    let database = scratch.store.data_root().join("ferry.db");
    let database = rusqlite::Connection::open(database).unwrap();
    database.execute("DELETE FROM manifest_children", []).unwrap();
    drop(database);
    assert!(scratch.store.database().children(&manifest).unwrap().is_empty());
    let scratch = scratch.reopen();
    assert_eq!(scratch.store.database().children(&manifest).unwrap(), children);
}

#[test]
fn notes_about_blobs_go_with_them() {
    let plain = layer("a", b"1");
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let store = &scratch.store;
    let layout = Layout::new(&[(plain.clone(), plain.clone())]);
    scratch.load(&layout.finish(r#""io.containerd.image.name":"docker.io/library/a:b""#)).unwrap();
    let blob = Digest::sha256_of(&plain);
    store.note_blob_source(&blob, "docker.io/library/x").unwrap();
    store.note_blob_source(&digest(1), "docker.io/library/x").unwrap();
    store.collect_garbage(Collect::default()).unwrap();
    assert_eq!(store.blob_sources(&blob).unwrap(), ["docker.io/library/x"]);
    assert!(store.blob_sources(&digest(1)).unwrap().is_empty());
    scratch.remove("a:b", false, &[]).unwrap();
    store.collect_garbage(Collect::default()).unwrap();
    assert!(store.blob_sources(&blob).unwrap().is_empty());
}
