use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use ferry_oci::manifest::media_type;

use super::*;
use crate::collect::{Collect, Collected};
use crate::database::{ManifestKind, Stored};
use crate::error::ErrorKind;
use crate::scratch::{Scratch, config, descriptor, gzip, layer, zstd};

const KINDS: [LayerStoreKind; 2] = [LayerStoreKind::Erofs, LayerStoreKind::Directories];
const LEASE: &str = "pull:test";

/// An image in a registry.
struct Remote {
    image: PulledImage,
    blobs: Vec<Vec<u8>>,
}

impl Remote {
    fn new(layers: &[Vec<u8>], compress: impl Fn(&[u8]) -> Vec<u8>, name: &str) -> Self {
        let blobs: Vec<Vec<u8>> = layers.iter().map(|layer| compress(layer)).collect();
        let media = media_type::OCI_LAYER_GZIP;
        let config = config(layers);
        let descriptors: Vec<_> = blobs.iter().map(|blob| descriptor(blob, media, "")).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            descriptor(config.as_bytes(), media_type::OCI_CONFIG, ""),
            descriptors.join(","),
        );
        let wanted = layers.iter().zip(&blobs).map(|(layer, blob)| WantedLayer {
            digest: Digest::sha256_of(blob),
            size: blob.len() as u64,
            media_type: media.to_owned(),
            diff_id: Some(Digest::sha256_of(layer)),
        });
        let image = PulledImage {
            config: ImageConfig::parse(config.as_bytes()).unwrap(),
            layers: wanted.collect(),
            manifest: kept(media_type::OCI_MANIFEST, manifest.into_bytes()),
            index: None,
            attestations: Vec::new(),
            names: vec![Reference::parse(name).unwrap()],
            platform: Platform::host(),
            source: "docker.io/library/a".to_owned(),
        };
        Self { image, blobs }
    }

    fn one(name: &str) -> Self {
        Self::new(&[layer("f", &noise(20_000))], gzip, name)
    }

    /// Pulls it; tells how many layers had to be fetched.
    fn pull(&self, store: &Store) -> Result<(usize, PulledOutcome), StoreError> {
        let intake = store.begin_pull(LEASE)?;
        let mut fetched = 0;
        for (layer, blob) in self.image.layers.iter().zip(&self.blobs) {
            if let Wanted::Fetch(fetch) = intake.want(layer)? {
                fetched += 1;
                fetch_all(fetch, blob)?;
            }
        }
        Ok((fetched, intake.commit(self.image.clone())?))
    }
}

fn kept(media_type: &str, bytes: Vec<u8>) -> KeptManifest {
    KeptManifest { digest: Digest::sha256_of(&bytes), media_type: media_type.to_owned(), bytes }
}

/// Bytes that hardly compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Writes what is missing while the layer is built.
fn fetch_all(fetch: LayerFetch, blob: &[u8]) -> Result<BuiltDigests, StoreError> {
    let have = usize::try_from(fetch.have()).unwrap();
    let (mut writer, builder) = fetch.split()?;
    std::thread::scope(|scope| {
        let builder = scope.spawn(move || builder.build(&mut |_| ()));
        for part in blob[have..].chunks(4096) {
            if writer.write(part).is_err() {
                break;
            }
        }
        let finished = writer.finish();
        let built = builder.join().unwrap()?;
        finished?;
        Ok(built)
    })
}

fn fetch(intake: &PullIntake, layer: &WantedLayer) -> LayerFetch {
    match intake.want(layer).unwrap() {
        Wanted::Fetch(fetch) => fetch,
        Wanted::Present => panic!("the layer is here"),
    }
}

fn is_present(intake: &PullIntake, layer: &WantedLayer) -> bool {
    matches!(intake.want(layer).unwrap(), Wanted::Present)
}

#[test]
fn what_a_pulled_name_leads_to_is_known() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let store = &scratch.store;
    let remote = Remote::one("h.example/a:1");
    let name = &remote.image.names[0];
    assert_eq!(store.documents_of(name).unwrap(), (None, HashMap::new()));
    remote.pull(store).unwrap();
    let manifest = &remote.image.manifest;
    let (target, found) = store.documents_of(name).unwrap();
    assert_eq!(target.as_ref(), Some(&manifest.digest));
    assert_eq!(found.len(), 2);
    assert_eq!(found[&manifest.digest], manifest.bytes);
    assert!(found.contains_key(remote.image.config.digest()));
    // What is damaged is not known.
    fs::write(store.layout().blob(&manifest.digest), b"{}").unwrap();
    assert_eq!(store.documents_of(name).unwrap(), (target, HashMap::new()));
}

#[test]
fn what_is_being_pushed_stays_when_its_image_goes() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let store = &scratch.store;
    let remote = Remote::one("h.example/a:1");
    remote.pull(store).unwrap();
    let plan = store.push_plan(&remote.image.names[0], None).unwrap();
    assert_eq!(scratch.remove_and_prune("h.example/a:1").unwrap().len(), 3);
    take_all(store);
    let blobs = &plan.manifests[0].blobs;
    assert_eq!(blobs.len(), 2);
    for blob in blobs {
        for from in [0, 7] {
            let mut bytes = Vec::new();
            blob.read(store, from).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, blob.descriptor.size - from);
            assert!(from > 0 || blob.descriptor.digest.matches(&bytes));
        }
    }
    drop(plan);
    take_all(store);
    assert!(!store.layout().blob(&remote.image.layers[0].digest).exists(), "nobody needs it");
}

fn partials(store: &Store) -> BTreeSet<PathBuf> {
    fs::read_dir(store.layout().partials()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn take_all(store: &Store) -> Collected {
    store.collect_garbage(Collect { drop_idle_leases: true, all_partials: true }).unwrap()
}

#[test]
fn a_pulled_image_is_whole_and_goes_without_a_trace() {
    for kind in KINDS {
        for compress in [gzip, zstd, |b: &[u8]| b.to_vec()] {
            let scratch = Scratch::new(kind);
            let store = &scratch.store;
            let layers = [layer("a", &noise(9000)), layer("b", &[2; 300_000])];
            let remote = Remote::new(&layers, compress, "a:1");
            let (fetched, outcome) = remote.pull(store).unwrap();
            assert_eq!((fetched, outcome.was_here, outcome.moved.len()), (2, false, 0));
            let image = store.images().get("a:1").unwrap();
            assert_eq!((&image.id, image.size), (&outcome.image, 309_000));
            let manifest = &remote.image.manifest.digest;
            assert_eq!(image.manifest_digest.as_ref(), Some(manifest));
            let target = store.database().name_target(&remote.image.names[0]).unwrap();
            assert_eq!(target.as_ref(), Some(manifest));
            let row = store.database().manifest(manifest).unwrap().unwrap();
            assert_eq!((row.kind, row.image), (ManifestKind::Image, Some(outcome.image)));
            assert_eq!(row.platform, Some(Platform::host()));
            assert_eq!(store.database().children(manifest).unwrap().len(), 3);
            for blob in &remote.blobs {
                let digest = Digest::sha256_of(blob);
                assert_eq!(fs::read(store.layout().blob(&digest)).unwrap(), *blob);
                assert_eq!(store.blob_sources(&digest).unwrap(), ["docker.io/library/a"]);
            }
            assert!(store.database().leases().unwrap().is_empty() && partials(store).is_empty());
            let (fetched, outcome) = remote.pull(store).unwrap();
            assert_eq!((fetched, outcome.was_here), (0, true));
            scratch.remove("a:1", false, &[]).unwrap();
            assert!(scratch.settled().is_empty());
        }
    }
}

#[test]
fn a_pull_goes_on_from_whatever_is_there() {
    let remote = Remote::one("a:1");
    let (layer, blob) = (&remote.image.layers[0], &remote.blobs[0]);
    let size = blob.len();
    assert!(size > 20_000, "{size} bytes are too few to tell");
    for length in [0, 1, size / 2, size - 1, size, size + 7] {
        let scratch = Scratch::new(LayerStoreKind::Directories);
        let store = &scratch.store;
        let mut prefix = blob.clone();
        prefix.resize(length, b'x');
        fs::write(store.layout().partial(&layer.digest), prefix).unwrap();
        let intake = store.begin_pull(LEASE).unwrap();
        let fetch = fetch(&intake, layer);
        // More than there can be is nothing.
        let expect = if length > size { 0 } else { length };
        assert_eq!(fetch.have(), expect as u64);
        let built = fetch_all(fetch, blob).unwrap();
        assert_eq!(Some(built.diff_id), layer.diff_id);
        assert!(partials(store).is_empty());
        assert!(is_present(&intake, layer));
    }
}

#[test]
fn a_wrong_prefix_is_found_and_thrown_away() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let store = &scratch.store;
    let remote = Remote::one("a:1");
    let (layer, blob) = (&remote.image.layers[0], &remote.blobs[0]);
    fs::write(store.layout().partial(&layer.digest), [0; 5000]).unwrap();
    let intake = store.begin_pull(LEASE).unwrap();
    let error = fetch_all(fetch(&intake, layer), blob).unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
    assert!(scratch.leftovers().is_empty() && partials(store).is_empty());
    let again = fetch(&intake, layer);
    assert_eq!(again.have(), 0);
    fetch_all(again, blob).unwrap();
}

#[test]
fn a_writer_may_die_at_every_write() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let store = &scratch.store;
    let remote = Remote::one("a:1");
    let (layer, blob) = (&remote.image.layers[0], &remote.blobs[0]);
    for writes in 0..blob.len().div_ceil(1024) {
        let intake = store.begin_pull(LEASE).unwrap();
        let fetch = fetch(&intake, layer);
        let have = usize::try_from(fetch.have()).unwrap();
        assert_eq!(have, writes.saturating_sub(1) * 1024);
        let (mut writer, builder) = fetch.split().unwrap();
        let error = std::thread::scope(|scope| {
            let builder = scope.spawn(move || builder.build(&mut |_| ()));
            if writes > 0 {
                writer.write(&blob[have..have + 1024]).unwrap();
            }
            drop(writer);
            builder.join().unwrap().unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(scratch.leftovers().is_empty());
        assert_eq!(partials(store).len(), 1);
    }
    remote.pull(store).unwrap();
    assert!(partials(store).is_empty());
}

#[test]
fn wrong_bytes_are_told_as_such_whatever_they_look_like() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let intake = scratch.store.begin_pull(LEASE).unwrap();
    let remote = Remote::one("a:1");
    let layer = &remote.image.layers[0];
    let right = &remote.blobs[0];
    let mut late = right.clone();
    *late.last_mut().unwrap() ^= 1;
    let mut early = right.clone();
    early[3000] ^= 0xff;
    for wrong in [late, early, vec![0; right.len()], vec![b'x'; right.len()]] {
        let error = fetch_all(fetch(&intake, layer), &wrong).unwrap_err();
        assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(scratch.leftovers().is_empty() && partials(&scratch.store).is_empty());
    }
}

#[test]
fn right_bytes_that_are_no_layer_are_refused() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let intake = scratch.store.begin_pull(LEASE).unwrap();
    let mut truncated = gzip(&layer("f", &noise(9000)));
    truncated.truncate(5000);
    for blob in [b"hello".to_vec(), truncated, gzip(b"hello"), b"BZh91AY&SY".to_vec()] {
        let digest = Digest::sha256_of(&blob);
        let (size, media_type) = (blob.len() as u64, String::new());
        let layer = WantedLayer { digest, size, media_type, diff_id: None };
        let error = fetch_all(fetch(&intake, &layer), &blob).unwrap_err();
        assert!(matches!(error, StoreError::Archive(_)), "{error}");
        assert!(scratch.leftovers().is_empty() && partials(&scratch.store).is_empty());
    }
    let huge = WantedLayer {
        size: limits::MAX_LAYER_BLOB + 1,
        ..Remote::one("a:1").image.layers[0].clone()
    };
    assert_eq!(intake.want(&huge).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn sizes_are_kept_to() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let intake = scratch.store.begin_pull(LEASE).unwrap();
    let remote = Remote::one("a:1");
    let (layer, blob) = (&remote.image.layers[0], &remote.blobs[0]);
    let (mut writer, _builder) = fetch(&intake, layer).split().unwrap();
    let error = intake.want(layer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "two cannot fetch the same");
    writer.write(&blob[..100]).unwrap();
    let mut long = blob.clone();
    long.push(0);
    assert_eq!(writer.write(&long[100..]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_writer_may_begin_anew_and_hears_of_a_builder_that_is_gone() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let intake = scratch.store.begin_pull(LEASE).unwrap();
    let remote = Remote::one("a:1");
    let (layer, blob) = (&remote.image.layers[0], &remote.blobs[0]);
    let (mut writer, builder) = fetch(&intake, layer).split().unwrap();
    drop(builder);
    assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::Cancelled);
    drop(writer);
    let (mut writer, builder) = fetch(&intake, layer).split().unwrap();
    let mut furthest = 0;
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| builder.build(&mut |at| furthest = at));
        writer.write(&[7; 9000]).unwrap();
        writer.restart().unwrap();
        writer.write(blob).unwrap();
        writer.finish().unwrap();
        builder.join().unwrap().unwrap();
    });
    assert_eq!(furthest, blob.len() as u64);
}

#[test]
fn what_a_dead_pull_has_done_is_kept_until_its_lease_ends() {
    let layers = [layer("a", &noise(9000)), layer("b", &noise(5000))];
    let remote = Remote::new(&layers, gzip, "a:1");
    let mut scratch = Scratch::new(LayerStoreKind::Directories);
    let begin = |store: &Store| {
        let intake = store.begin_pull(LEASE).unwrap();
        fetch_all(fetch(&intake, &remote.image.layers[0]), &remote.blobs[0]).unwrap();
        let (mut writer, _builder) = fetch(&intake, &remote.image.layers[1]).split().unwrap();
        writer.write(&remote.blobs[1][..1000]).unwrap();
        // While it is under way nothing of it goes.
        assert_eq!(take_all(store), Collected::default());
    };
    begin(&scratch.store);
    scratch = scratch.reopen();
    {
        let intake = scratch.store.begin_pull(LEASE).unwrap();
        assert!(is_present(&intake, &remote.image.layers[0]));
        assert_eq!(fetch(&intake, &remote.image.layers[1]).have(), 1000);
    }
    // When its time has come it ends, unless somebody holds it.
    let end = |store: &Store| {
        let database = rusqlite::Connection::open(store.data_root().join("ferry.db")).unwrap();
        database.execute("UPDATE leases SET expires = 1", []).unwrap();
    };
    let held = scratch.store.begin_pull(LEASE).unwrap();
    end(&scratch.store);
    scratch.store.collect_garbage(Collect::default()).unwrap();
    assert_eq!(scratch.leftovers().len(), 2);
    drop(held);
    end(&scratch.store);
    let collected = scratch.store.collect_garbage(Collect::default()).unwrap();
    assert_eq!((collected.layers, collected.blobs, collected.partials), (1, 1, 0));
    assert!(collected.bytes > 9000);
    assert!(scratch.settled().is_empty());
    assert_eq!(take_all(&scratch.store).partials, 1);
    // And at once when that is asked for.
    begin(&scratch.store);
    let collected = take_all(&scratch.store);
    assert_eq!((collected.layers, collected.blobs, collected.partials), (1, 1, 1));
    assert!(scratch.settled().is_empty() && partials(&scratch.store).is_empty());
}

#[test]
fn layers_must_be_those_of_the_configuration() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let store = &scratch.store;
    let mut remote = Remote::one("a:1");
    let other = Remote::new(&[layer("evil", b"x")], gzip, "a:1");
    remote.image.config = other.image.config.clone();
    remote.image.layers[0].diff_id.clone_from(&other.image.layers[0].diff_id);
    let error = remote.pull(store).unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
    assert!(store.images().list().unwrap().is_empty());
    // The layer itself is right, and stays for who wants it.
    assert_eq!(scratch.leftovers().len(), 2);
    take_all(store);
    assert!(scratch.settled().is_empty());

    let mut remote = Remote::one("a:1");
    remote.image.manifest.bytes.push(b' ');
    assert!(matches!(remote.pull(store).unwrap_err(), StoreError::DigestMismatch { .. }));
    let mut remote = Remote::one("a:1");
    remote.image.layers.clear();
    assert!(matches!(remote.pull(store).unwrap_err(), StoreError::Archive(_)));
    let remote = Remote::new(&[layer("never", b"fetched")], gzip, "a:1");
    let error = store.begin_pull(LEASE).unwrap().commit(remote.image).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn an_image_may_have_two_manifests() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let store = &scratch.store;
    let layers = [layer("f", &noise(9000))];
    let first = Remote::new(&layers, gzip, "a:1");
    let second = Remote::new(&layers, zstd, "b:1");
    let (_, one) = first.pull(store).unwrap();
    let (fetched, two) = second.pull(store).unwrap();
    // The layer is the same; its other packing is wanted all the same.
    assert_eq!((fetched, &one.image), (1, &two.image));
    assert_eq!(second.pull(store).unwrap().0, 0);
    let digests = |id: &ImageId| -> BTreeSet<Digest> {
        let rows = store.database().manifests_of_image(id).unwrap();
        rows.into_iter().map(|row| row.digest).collect()
    };
    let expect = [&first, &second].map(|remote| remote.image.manifest.digest.clone());
    assert_eq!(digests(&one.image), BTreeSet::from(expect));
    scratch.tag("b:1", "c:1");
    let target =
        |name: &str| store.database().name_target(&Reference::parse(name).unwrap()).unwrap();
    assert_eq!(target("c:1"), Some(second.image.manifest.digest.clone()));
    assert_eq!(target("a:1"), Some(first.image.manifest.digest.clone()));
    for (name, remote) in [("a:1", &first), ("b:1", &second), ("c:1", &second)] {
        let name = Reference::parse(name).unwrap();
        let plan = store.push_plan(&name, None).unwrap();
        assert_eq!(plan.top, remote.image.manifest);
        let layer = &plan.manifests[0].blobs[1];
        assert_eq!(layer.descriptor.digest, remote.image.layers[0].digest);
        assert_eq!(
            fs::read(store.layout().blob(&layer.descriptor.digest)).unwrap(),
            remote.blobs[0]
        );
    }
    for name in ["a:1", "b:1", "c:1"] {
        scratch.remove(name, false, &[]).unwrap();
    }
    assert!(scratch.settled().is_empty());
}

#[test]
fn another_packing_is_as_the_first_when_it_comes_late_or_wrong() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let store = &scratch.store;
        let layers = [layer("f", &noise(9000)), layer("g", b"g")];
        // It was here before in no packing at all.
        let local = scratch.load_layers(&layers[..1]);
        let remote = Remote::new(&layers, gzip, "a:1");
        assert_eq!(remote.pull(store).unwrap().0, 2);
        let other = Remote::new(&layers, zstd, "b:1");
        // Cut in the middle, it goes on from there.
        let intake = store.begin_pull(LEASE).unwrap();
        let (mut writer, builder) = fetch(&intake, &other.image.layers[0]).split().unwrap();
        writer.write(&other.blobs[0][..100]).unwrap();
        drop((writer, builder));
        assert_eq!(fetch(&intake, &other.image.layers[0]).have(), 100);
        drop(intake);
        assert_eq!(other.pull(store).unwrap().0, 2);
        assert!(partials(store).is_empty());
        // The blob alone is damaged: it comes again, the layer stays.
        let blob = &other.image.layers[0].digest;
        store.database().mark_damaged(Stored::Blob(blob), 1).unwrap();
        fs::write(store.layout().blob(blob), "damaged").unwrap();
        assert_eq!(other.pull(store).unwrap().0, 1);
        assert_eq!(fs::read(store.layout().blob(blob)).unwrap(), other.blobs[0]);
        // With the image its packing goes, and nothing of what others are made of.
        scratch.remove("a:1", false, &[]).unwrap();
        scratch.remove("b:1", false, &[]).unwrap();
        assert_eq!(scratch.settled().len(), 2, "{:?}", scratch.settled());
        scratch.remove(local.as_str(), false, &[]).unwrap();
        assert!(scratch.settled().is_empty());
    }
}

#[test]
fn what_only_says_that_it_is_a_known_layer_is_not_taken_for_it() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let store = &scratch.store;
    let known = Remote::one("a:1");
    known.pull(store).unwrap();
    for content in [noise(9000), noise(90_000)] {
        let mut lies = Remote::new(&[layer("evil", &content)], gzip, "b:1");
        lies.image.config = known.image.config.clone();
        lies.image.layers[0].diff_id.clone_from(&known.image.layers[0].diff_id);
        let error = lies.pull(store).unwrap_err();
        assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
        assert!(store.images().get("b:1").is_err());
    }
    take_all(store);
    assert_eq!(known.pull(store).unwrap().0, 0);
    // Bytes that cannot be unpacked are refused as ever, and not kept.
    let mut broken = gzip(&layer("f", &noise(20_000)));
    broken.truncate(9000);
    let lies = WantedLayer {
        digest: Digest::sha256_of(&broken),
        size: broken.len() as u64,
        media_type: String::new(),
        diff_id: known.image.layers[0].diff_id.clone(),
    };
    let intake = store.begin_pull(LEASE).unwrap();
    let error = fetch_all(fetch(&intake, &lies), &broken).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(partials(store).is_empty());
}

/// An index of two images and a statement about the first.
fn index(one: &Remote, two: &Remote) -> (KeptManifest, KeptManifest) {
    let about = &one.image.manifest.digest;
    let statement = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
        descriptor(b"{}", media_type::OCI_CONFIG, "")
    );
    let more = format!(
        r#","platform":{{"os":"unknown","architecture":"unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{about}"}}"#
    );
    let media = media_type::OCI_MANIFEST;
    let bytes = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
        descriptor(&one.image.manifest.bytes, media, ""),
        descriptor(&two.image.manifest.bytes, media, ""),
        descriptor(statement.as_bytes(), media, &more),
    );
    (kept(media_type::OCI_INDEX, bytes.into_bytes()), kept(media, statement.into_bytes()))
}

#[test]
fn an_index_is_kept_as_long_as_a_name_stands_for_it() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let store = &scratch.store;
    let mut one = Remote::new(&[layer("one", &noise(3000))], gzip, "a:1");
    let mut two = Remote::new(&[layer("two", &noise(3000))], gzip, "a:1");
    let (index, statement) = index(&one, &two);
    for remote in [&mut one, &mut two] {
        remote.image.index = Some(index.clone());
    }
    one.image.attestations = vec![statement.clone()];
    let (_, first) = one.pull(store).unwrap();
    assert!(!first.was_here);
    let row = store.database().manifest(&statement.digest).unwrap().unwrap();
    assert_eq!(row.kind, ManifestKind::Attestation);
    assert_eq!(row.subject, Some(one.image.manifest.digest.clone()));
    let target = store.database().name_target(&one.image.names[0]).unwrap();
    assert_eq!(target, Some(index.digest.clone()));
    assert_eq!(store.database().children(&index.digest).unwrap().len(), 3);
    // Another platform takes the name; the first image stays without one.
    let (_, second) = two.pull(store).unwrap();
    assert_eq!(second.moved, [(one.image.names[0].clone(), first.image.clone())]);
    // Two images of a layer, a blob, a configuration and a manifest each, the index, the statement.
    assert_eq!(scratch.settled().len(), 10);
    // It is a further platform of the name, which one may remove, and goes with it.
    assert_eq!(store.images().parts().unwrap(), HashSet::from([first.image.clone()]));
    scratch.remove(first.image.as_str(), false, &[]).unwrap();
    assert!(store.database().manifest(&index.digest).unwrap().is_some());
    one.pull(store).unwrap();
    scratch.remove("a:1", false, &[]).unwrap();
    assert!(scratch.settled().is_empty());
}

#[test]
fn damaged_things_are_fetched_again() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let store = &scratch.store;
        let remote = Remote::one("a:1");
        remote.pull(store).unwrap();
        let layer = &remote.image.layers[0];
        let diff_id = layer.diff_id.clone().unwrap();
        let database = rusqlite::Connection::open(store.data_root().join("ferry.db")).unwrap();
        let damage = |digest: &Digest, what: &str| {
            let sql = "INSERT INTO damaged VALUES (?, ?, 1)";
            database.execute(sql, [digest.as_str(), what]).unwrap();
        };
        damage(&diff_id, "layer");
        damage(&layer.digest, "blob");
        fs::write(store.layout().blob(&layer.digest), "damaged").unwrap();
        fs::remove_dir_all(store.layout().layer(&diff_id)).unwrap();
        fs::create_dir(store.layout().layer(&diff_id)).unwrap();
        let (fetched, outcome) = remote.pull(store).unwrap();
        assert_eq!((fetched, outcome.was_here), (1, true));
        assert_eq!(fs::read(store.layout().blob(&layer.digest)).unwrap(), remote.blobs[0]);
        let mut archive = Vec::new();
        std::io::Read::read_to_end(&mut store.layer_archive(&diff_id).unwrap(), &mut archive)
            .unwrap();
        assert_eq!(Digest::sha256_of(&archive), diff_id);
        assert!(!store.database().is_damaged(Stored::Layer(&diff_id)).unwrap());
        assert!(!store.database().is_damaged(Stored::Blob(&layer.digest)).unwrap());
        // Under a container a directory cannot be exchanged.
        store.create_container_fs("c", Some(&outcome.image)).unwrap();
        damage(&diff_id, "layer");
        let wanted = store.begin_pull(LEASE).unwrap().want(layer);
        match kind {
            LayerStoreKind::Erofs => assert!(matches!(wanted.unwrap(), Wanted::Fetch(_))),
            LayerStoreKind::Directories => {
                assert_eq!(wanted.unwrap_err().kind(), ErrorKind::Conflict);
            }
        }
    }
}

#[test]
fn pulls_and_loads_at_the_same_time_share_layers() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let layers: Vec<Vec<u8>> = (0..6).map(|i| layer(&format!("f{i}"), &[i; 9000])).collect();
    std::thread::scope(|scope| {
        for count in 1..=6 {
            let (scratch, layers) = (&scratch, &layers);
            // Each compresses in its own way, so that the blobs differ and the layers do not.
            scope.spawn(move || {
                let level = i32::try_from(count).unwrap();
                let compress = |bytes: &[u8]| zstd::encode_all(bytes, level).unwrap();
                let remote = Remote::new(&layers[..count], compress, &format!("n:{count}"));
                let intake = scratch.store.begin_pull(&format!("pull:{count}")).unwrap();
                for (layer, blob) in remote.image.layers.iter().zip(&remote.blobs) {
                    let wanted = loop {
                        match intake.want(layer) {
                            Err(StoreError::Conflict(_)) => std::thread::yield_now(),
                            other => break other.unwrap(),
                        }
                    };
                    if let Wanted::Fetch(fetch) = wanted {
                        fetch_all(fetch, blob).unwrap();
                    }
                }
                intake.commit(remote.image).unwrap();
                if count % 2 == 0 {
                    scratch.remove(&format!("n:{count}"), false, &[]).unwrap();
                }
            });
        }
    });
    assert_eq!(scratch.store.images().list().unwrap().len(), 3);
    for count in [1, 3, 5] {
        scratch.remove(&format!("n:{count}"), false, &[]).unwrap();
    }
    assert!(scratch.settled().is_empty());
}
