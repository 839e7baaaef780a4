use std::io::{self, Read as _};

use ferry_oci::manifest::{Index, media_type};

use super::*;
use crate::database::Stored;
use crate::scratch::{Layout, Platforms, Scratch, layer, named_docker_archive};
use crate::store::LayerStoreKind;
use crate::tar::{EntryKind, StreamSource, TarReader};

const KINDS: [LayerStoreKind; 2] = [LayerStoreKind::Erofs, LayerStoreKind::Directories];

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn save(scratch: &Scratch, names: &[&str]) -> Result<Vec<u8>, StoreError> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut archive = Vec::new();
    scratch.store.save(&names, None, &mut archive)?;
    Ok(archive)
}

/// The files of an archive, by path.
fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut reader = TarReader::new(StreamSource::new(archive));
    let mut files = BTreeMap::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let EntryKind::File(data) = &entry.kind else { continue };
        let mut bytes = vec![0; usize::try_from(data.size).unwrap()];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += reader.read_data(&mut bytes[filled..]).unwrap();
        }
        files.insert(String::from_utf8(entry.path).unwrap(), bytes);
    }
    files
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout with gzip layers, under the name `a:1`.
fn layout(layers: &[Vec<u8>]) -> (Vec<u8>, Digest) {
    let layers: Vec<_> = layers.iter().map(|plain| (plain.clone(), gzipped(plain))).collect();
    let layout = Layout::new(&layers);
    let manifest = layout.manifest.clone();
    (layout.finish(r#""io.containerd.image.name":"docker.io/library/a:1""#), manifest)
}

#[test]
fn what_is_saved_is_loaded_and_saved_again_byte_by_byte() {
    for kind in KINDS {
        let one = Scratch::new(kind);
        let layers = [layer("a", &[1; 3000]), layer("b", b"x")];
        one.load(&named_docker_archive(&layers, r#"["a:1","b.io/c:d"]"#)).unwrap();
        one.tag("a:1", "a:0");
        let archive = save(&one, &["a", "b.io/c:d"]).unwrap();
        let two = Scratch::new(kind);
        let loaded = two.load(&archive).unwrap();
        assert_eq!(loaded, ["Loaded image: a:0", "Loaded image: a:1", "Loaded image: b.io/c:d"]);
        assert!(save(&two, &["a", "b.io/c:d"]).unwrap() == archive);
        let files = files(&archive);
        for (path, bytes) in &files {
            if let Some(hex) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(Digest::sha256_of(bytes).hex(), hex);
            }
        }
        let repositories = String::from_utf8(files["repositories"].clone()).unwrap();
        let top = Digest::sha256_of(&layers[1]);
        let hex = top.hex();
        assert_eq!(
            repositories,
            format!(
                "{{\"a\":{{\"0\":\"{hex}\",\"1\":\"{hex}\"}},\"b.io/c\":{{\"d\":\"{hex}\"}}}}\n"
            )
        );
    }
}

#[test]
fn manifests_and_compressed_layers_go_out_as_they_came() {
    let one = Scratch::new(LayerStoreKind::Erofs);
    let layers = [layer("a", &[1; 3000]), layer("b", b"x")];
    let (archive, manifest) = layout(&layers);
    one.load(&archive).unwrap();
    let saved = files(&save(&one, &["a:1"]).unwrap());
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::sha256_of(bytes).hex());
    for plain in &layers {
        assert_eq!(saved[&blob(&gzipped(plain))], gzipped(plain));
        assert!(!saved.contains_key(&blob(plain)));
    }
    let index = Index::parse(&saved["index.json"]).unwrap();
    assert_eq!(index.manifests.len(), 1);
    assert_eq!(index.manifests[0].digest, manifest);
    // Docker's own list says the same.
    let list: serde_json::Value = serde_json::from_slice(&saved["manifest.json"]).unwrap();
    assert_eq!(list[0]["RepoTags"][0], "a:1");
    assert_eq!(list[0]["Layers"][0], blob(&gzipped(&layers[0])));
    let diff_id = Digest::sha256_of(&layers[0]);
    assert_eq!(list[0]["LayerSources"][diff_id.as_str()]["size"], gzipped(&layers[0]).len());
    // Once a compressed layer is lost, the manifest is made over the plain ones.
    std::fs::remove_file(one.store.layout().blob(&Digest::sha256_of(&gzipped(&layers[1]))))
        .unwrap();
    let saved = files(&save(&one, &["a:1"]).unwrap());
    assert_eq!(saved[&blob(&layers[1])], layers[1]);
    assert_ne!(Index::parse(&saved["index.json"]).unwrap().manifests[0].digest, manifest);
}

#[test]
fn images_are_found_by_every_name_and_missing_ones_told_before_a_byte_is_written() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    scratch.load(&named_docker_archive(&[layer("a", b"1")], r#"["a:1"]"#)).unwrap();
    let id = scratch.store.images().resolve("a:1").unwrap();
    for name in [id.as_str(), id.digest().hex(), id.short()] {
        let saved = files(&save(&scratch, &[name]).unwrap());
        let list: serde_json::Value = serde_json::from_slice(&saved["manifest.json"]).unwrap();
        assert_eq!(list[0]["RepoTags"], serde_json::Value::Null);
        assert!(!saved.contains_key("repositories"));
    }
    let refused = |name: &str, words: &str| {
        let mut out = Vec::new();
        let names = ["a:1".to_owned(), name.to_owned()];
        let error = scratch.store.save(&names, None, &mut out).unwrap_err();
        assert_eq!(error.to_string(), words);
        assert_eq!(error.kind(), crate::ErrorKind::NotFound);
        assert!(out.is_empty());
    };
    refused("a:2", "reference does not exist");
    refused("nothing", "No such image: nothing");
    let arm: Platform = "linux/arm64".parse().unwrap();
    let error = scratch.store.save(&["a:1".to_owned()], Some(&arm), &mut io::sink()).unwrap_err();
    let words = "no suitable export target found for platform linux/arm64";
    assert_eq!(error.to_string(), words);
    // Compat: dockerd's status says that it was its own fault.
    assert_eq!(error.kind(), crate::ErrorKind::Internal);
}

/// Fails after so many bytes.
struct Gone(usize);

impl Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let layers = [layer("a", &vec![1; 400_000])];
    scratch.load(&named_docker_archive(&layers, r#"["a:1"]"#)).unwrap();
    let before = scratch.leftovers();
    for most in [0, 1000, 300_000] {
        let error = scratch.store.save(&["a:1".to_owned()], None, &mut Gone(most)).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Cancelled, "{error}");
    }
    assert_eq!(scratch.leftovers(), before);
    // Nothing is held any more.
    scratch.remove("a:1", false, &[]).unwrap();
    assert!(scratch.settled().is_empty());
}

#[test]
fn a_push_compresses_once_and_sends_the_same_bytes_ever_after() {
    for kind in KINDS {
        let scratch = Scratch::new(kind);
        let plain = [layer("a", &vec![7; 3_000_000]), layer("b", b"x"), layer("b", b"x")];
        scratch.load(&named_docker_archive(&plain, r#"["r.io/a:1"]"#)).unwrap();
        let image = scratch.store.images().resolve("r.io/a:1").unwrap();
        let mut told = BTreeMap::new();
        let mut tell = |layer: &Digest, bytes| {
            told.insert(layer.clone(), bytes);
        };
        let manifest = scratch.store.ensure_compressed(&image, &mut tell).unwrap();
        let expect = |layer: &Vec<u8>| (Digest::sha256_of(layer), layer.len() as u64);
        assert_eq!(told, plain[..2].iter().map(expect).collect());
        // A second time there is nothing to do.
        let again = scratch.store.ensure_compressed(&image, &mut |_, _| panic!("compressed"));
        assert_eq!(again.unwrap(), manifest);
        let plan = scratch.store.push_plan(&reference("r.io/a:1"), None).unwrap();
        assert_eq!(plan.top, manifest);
        assert!(plan.instead_of_index.is_none());
        let [sent] = plan.manifests.as_slice() else { panic!("{:?}", plan.manifests) };
        assert_eq!(sent.blobs.len(), 4);
        assert_eq!(sent.blobs[0].descriptor.digest, *image.digest());
        assert_eq!(sent.blobs[0].diff_id, None);
        for (blob, layer) in sent.blobs[1..].iter().zip(&plain) {
            assert_eq!(blob.diff_id, Some(Digest::sha256_of(layer)));
            let mut bytes = Vec::new();
            let mut file = scratch.store.blob_file(&blob.descriptor.digest).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, blob.descriptor.size);
            assert_eq!(Digest::sha256_of(&bytes), blob.descriptor.digest);
            let mut inflated = Vec::new();
            flate2::bufread::GzDecoder::new(&bytes[..]).read_to_end(&mut inflated).unwrap();
            assert!(inflated == *layer);
        }
        // What was made stays over a restart, and goes with the image.
        drop(plan);
        let scratch = scratch.reopen();
        let plan = scratch.store.push_plan(&reference("r.io/a:1"), None).unwrap();
        assert_eq!(plan.top, manifest);
        drop(plan);
        scratch.remove("r.io/a:1", false, &[]).unwrap();
        assert!(scratch.settled().is_empty());
    }
}

#[test]
fn a_push_is_remembered() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let (archive, manifest) = layout(&[layer("a", b"x")]);
    scratch.load(&archive).unwrap();
    scratch.tag("a:1", "r.io/b:2");
    let name = reference("r.io/b:2");
    let plan = scratch.store.push_plan(&name, None).unwrap();
    assert_eq!(plan.top.digest, manifest);
    assert!(plan.manifests[0].blobs.iter().all(|blob| blob.sources.is_empty()));
    scratch.store.note_pushed(&name, &plan.top.digest).unwrap();
    let image = scratch.store.images().get("r.io/b:2").unwrap();
    assert_eq!(image.repo_digests, [name.with_digest(manifest.clone())]);
    assert!(scratch.store.images().get(&format!("r.io/b@{manifest}")).is_ok());
    // The next push, to elsewhere, knows where its blobs are already.
    let plan = scratch.store.push_plan(&reference("a:1"), None).unwrap();
    for blob in &plan.manifests[0].blobs {
        assert_eq!(blob.sources, ["r.io/b"]);
    }
    let error =
        |name: &str| scratch.store.push_plan(&reference(name), None).unwrap_err().to_string();
    assert_eq!(error("r.io/b:9"), "tag does not exist: r.io/b:9");
    assert_eq!(error("r.io/c:9"), "An image does not exist locally with the tag: r.io/c");
    let arm: Platform = "linux/arm64".parse().unwrap();
    let error = scratch.store.push_plan(&name, Some(&arm)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image with reference r.io/b:2 was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)"
    );
}

#[test]
fn the_manifests_of_an_image_tell_what_is_here() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let plain = layer("a", &[1; 100]);
    let (archive, manifest) = layout(std::slice::from_ref(&plain));
    scratch.load(&archive).unwrap();
    let image = scratch.store.images().get("a:1").unwrap();
    let [summary] = &scratch.store.manifests_of(&image.id).unwrap()[..] else { panic!("one") };
    assert_eq!(summary.descriptor.digest, manifest);
    assert_eq!(summary.image.as_ref(), Some(&image.id));
    assert!(summary.available && !summary.is_attestation);
    assert_eq!(summary.platform.as_ref().unwrap().to_string(), "linux/amd64");
    let config = image.config.bytes().len() + gzipped(&plain).len();
    assert_eq!(summary.content_size, summary.descriptor.size + config as u64);
    assert_eq!(summary.unpacked_size, 100);
}

/// Lets `r.io/i:1` stand for an index of the image `a:1`, of a statement about it, and of `more`.
fn name_index(scratch: &Scratch, manifest: &Digest, more: &str) -> Digest {
    let image = scratch.store.images().get("a:1").unwrap();
    let bytes = std::fs::read(scratch.store.layout().blob(manifest)).unwrap();
    let parsed = Manifest::parse(&bytes).unwrap();
    let kept = |bytes: &[u8], media_type: &str| KeptManifest {
        digest: Digest::sha256_of(bytes),
        media_type: media_type.to_owned(),
        bytes: bytes.to_vec(),
    };
    let media = media_type::OCI_MANIFEST;
    // It leads to what is here anyway, so that it is whole.
    let statement = String::from_utf8(bytes.clone()).unwrap();
    let statement = statement.replacen('{', r#"{"annotations":{"about":"it"},"#, 1);
    let about = format!(
        r#","platform":{{"architecture":"unknown","os":"unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{manifest}"}}"#
    );
    let platform = r#","platform":{"architecture":"amd64","os":"linux"}"#;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}{more}]}}"#,
        media_type::OCI_INDEX,
        crate::scratch::descriptor(&bytes, media, platform),
        crate::scratch::descriptor(statement.as_bytes(), media, &about),
    );
    let index = kept(index.as_bytes(), media_type::OCI_INDEX);
    let target = index.digest.clone();
    let wanted = parsed.layers.iter().zip(&image.config.rootfs.diff_ids);
    let layers = wanted.map(|(layer, diff_id)| crate::WantedLayer {
        digest: layer.digest.clone(),
        size: layer.size,
        media_type: layer.media_type.clone(),
        diff_id: Some(diff_id.clone()),
    });
    let pulled = crate::PulledImage {
        layers: layers.collect(),
        platform: image.config.platform(),
        config: image.config,
        manifest: kept(&bytes, media),
        index: Some(index),
        attestations: vec![kept(statement.as_bytes(), media)],
        names: vec![reference("r.io/i:1")],
        source: "r.io/i".to_owned(),
    };
    scratch.store.begin_pull("pull:test").unwrap().commit(pulled).unwrap();
    target
}

#[test]
fn an_index_goes_out_whole_or_its_image_instead() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let (archive, manifest) = layout(&[layer("a", &[1; 100])]);
    scratch.load(&archive).unwrap();
    let name = reference("r.io/i:1");
    let target = name_index(&scratch, &manifest, "");
    let plan = scratch.store.push_plan(&name, None).unwrap();
    assert_eq!(plan.top.digest, target);
    assert!(plan.instead_of_index.is_none());
    let order: Vec<&Digest> = plan.manifests.iter().map(|sent| &sent.manifest.digest).collect();
    assert_eq!((order.len(), order[0], order[2]), (3, &manifest, &target));
    assert_eq!(plan.manifests[0].blobs[1].sources, ["r.io/i"]);
    assert!(plan.manifests[2].blobs.is_empty());
    // Of one platform only its manifest goes, as asked.
    let amd: Platform = "linux/amd64".parse().unwrap();
    let one = scratch.store.push_plan(&name, Some(&amd)).unwrap();
    assert_eq!((one.top.digest, one.instead_of_index), (manifest.clone(), None));
    let image = scratch.store.images().resolve("a:1").unwrap();
    let summaries = scratch.store.manifests_of(&image).unwrap();
    let told: Vec<_> = summaries.iter().map(|one| (one.is_attestation, one.available)).collect();
    assert_eq!(told, [(false, true), (true, true)]);
    assert_eq!(summaries[1].subject.as_ref(), Some(&manifest));
    // What is not here cannot go out.
    let absent = crate::scratch::descriptor(
        b"absent",
        media_type::OCI_MANIFEST,
        r#","platform":{"architecture":"arm64","os":"linux"}"#,
    );
    let target = name_index(&scratch, &manifest, &format!(",{absent}"));
    let plan = scratch.store.push_plan(&name, None).unwrap();
    assert_eq!(plan.top.digest, manifest);
    let (index, sent) = plan.instead_of_index.unwrap();
    assert_eq!((index.digest, sent.digest), (target.clone(), manifest.clone()));
    let summaries = scratch.store.manifests_of(&image).unwrap();
    assert!(summaries.len() == 3 && !summaries[2].available);
    // That it went elsewhere does not change what the name stands for.
    scratch.store.note_pushed(&name, &manifest).unwrap();
    assert_eq!(scratch.store.database().name_target(&name).unwrap(), Some(target));
    let arm: Platform = "linux/arm64".parse().unwrap();
    assert!(scratch.store.push_plan(&name, Some(&arm)).is_err());
}

#[test]
fn an_index_is_saved_with_all_of_it_that_is_here_and_loaded_again() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let platforms = Platforms::new();
    let archive = platforms.archive();
    assert_eq!(scratch.load(&archive).unwrap(), ["Loaded image: multi:1"]);
    let name = reference("multi:1");
    // The whole of it goes to a registry, with what is said about it.
    let plan = scratch.store.push_plan(&name, None).unwrap();
    assert_eq!((&plan.top.digest, plan.instead_of_index), (&platforms.index, None));
    assert_eq!(plan.manifests.len(), 4);
    drop(plan.manifests);
    let saved = save(&scratch, &["multi:1"]).unwrap();
    let there = files(&saved);
    for (path, bytes) in files(&archive) {
        if path.starts_with("blobs/") {
            assert_eq!(there.get(&path), Some(&bytes), "{path}");
        }
    }
    let index = Index::parse(&there["index.json"]).unwrap();
    assert_eq!(index.manifests[0].digest, platforms.index);
    // Docker's own list has what a container would be made of.
    let list: serde_json::Value = serde_json::from_slice(&there["manifest.json"]).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["Config"], platforms.config(0));
    let other = Scratch::new(LayerStoreKind::Directories);
    assert_eq!(other.load(&saved).unwrap(), ["Loaded image: multi:1"]);
    assert!(save(&other, &["multi:1"]).unwrap() == saved);
    assert_eq!(other.store.push_plan(&name, None).unwrap().top.digest, platforms.index);
    // One of them alone.
    let arm: Platform = "linux/arm64".parse().unwrap();
    let mut one = Vec::new();
    other.store.save(&["multi:1".to_owned()], Some(&arm), &mut one).unwrap();
    let one = files(&one);
    let index = Index::parse(&one["index.json"]).unwrap();
    assert_eq!(index.manifests[0].digest, platforms.manifests[1]);
    assert!(!one.contains_key(&platforms.config(0)));
    for scratch in [scratch, other] {
        scratch.remove("multi:1", false, &[]).unwrap();
        assert!(scratch.settled().is_empty(), "{:?}", scratch.settled());
    }
}

#[test]
fn each_name_is_saved_by_what_it_stands_for() {
    let scratch = Scratch::new(LayerStoreKind::Erofs);
    let (archive, manifest) = layout(&[layer("a", &[1; 100])]);
    scratch.load(&archive).unwrap();
    let target = name_index(&scratch, &manifest, "");
    let by_digest = format!("r.io/i@{target}");
    scratch.tag("r.io/i:1", "r.io/i:2");
    let name = reference("r.io/i:1");
    scratch.store.note_pushed(&name, &target).unwrap();
    let saved = files(&save(&scratch, &["a:1", "r.io/i:1", "r.io/i:2", &by_digest]).unwrap());
    let index = Index::parse(&saved["index.json"]).unwrap();
    let listed: Vec<_> = index.manifests.iter().map(|one| &one.digest).collect();
    assert_eq!(listed, [&manifest, &target, &target]);
    let other = Scratch::new(LayerStoreKind::Erofs);
    let mut archive = Vec::new();
    let names = ["a:1", "r.io/i:1"].map(str::to_owned);
    scratch.store.save(&names, None, &mut archive).unwrap();
    other.load(&archive).unwrap();
    for (name, expect) in [("a:1", &manifest), ("r.io/i:1", &target)] {
        let found = other.store.database().name_target(&reference(name)).unwrap();
        assert_eq!(found.as_ref(), Some(expect), "{name}");
    }
}

#[test]
fn what_an_index_lists_twice_is_saved_once() {
    let scratch = Scratch::new(LayerStoreKind::Directories);
    let platforms = Platforms::new();
    scratch.load(&platforms.archive()).unwrap();
    let plain = save(&scratch, &["multi:1"]).unwrap();
    // It names itself, too, as no digest could.
    let other = rusqlite::Connection::open(scratch.store.layout().database()).unwrap();
    for (position, child) in [(7, &platforms.manifests[1]), (8, &platforms.index)] {
        let sql = "INSERT INTO manifest_children SELECT parent, ?1, ?2, size, descriptor \
            FROM manifest_children WHERE parent = ?3 AND position = 1";
        let digests = [child, &platforms.index].map(|digest| digest.as_str().to_owned());
        let values = rusqlite::params![position, digests[0], digests[1]];
        assert_eq!(other.execute(sql, values).unwrap(), 1);
    }
    drop(other);
    let image = scratch.store.images().resolve("multi:1").unwrap();
    let name = reference("multi:1");
    let image = scratch.store.saved_image(&image, Some(&name)).unwrap();
    let index = scratch.store.saved_index(&name, &image).unwrap().unwrap();
    assert_eq!((index.others.len(), index.documents.len()), (1, 2));
    assert!(save(&scratch, &["multi:1"]).unwrap() == plain);
}

#[test]
fn a_platform_that_is_damaged_does_not_keep_others_from_being_saved() {
    let arm: Platform = "linux/arm64".parse().unwrap();
    let amd: Platform = "linux/amd64".parse().unwrap();
    let harms: [fn(&Scratch, &ImageId); 3] = [
        |scratch, image| {
            std::fs::write(scratch.store.layout().blob(image.digest()), "{}").unwrap();
        },
        |scratch, image| {
            std::fs::remove_file(scratch.store.layout().blob(image.digest())).unwrap();
        },
        |scratch, image| {
            let diff_id = scratch.store.config(image).unwrap().rootfs.diff_ids[0].clone();
            let layer = Stored::Layer(&diff_id);
            scratch.store.database().mark_damaged(layer, 1).unwrap();
        },
    ];
    for (index, harm) in harms.into_iter().enumerate() {
        let scratch = Scratch::new(LayerStoreKind::Directories);
        let platforms = Platforms::new();
        scratch.load(&platforms.archive()).unwrap();
        let images = scratch.store.images();
        let other = images.get_for("multi:1", &arm).unwrap().id;
        // What was read before is kept in memory.
        let scratch = scratch.reopen();
        harm(&scratch, &other);
        let saved = files(&save(&scratch, &["multi:1"]).unwrap());
        assert!(saved.contains_key(&platforms.config(0)), "{index}");
        assert!(!saved.contains_key(&platforms.config(1)), "{index}");
        let image = scratch.store.images().get_for("multi:1", &amd).unwrap();
        assert_ne!(image.id, other);
        // What cannot go out whole does not go out; a damaged layer has its blob still.
        let plan = scratch.store.push_plan(&reference("multi:1"), None).unwrap();
        assert_eq!(plan.instead_of_index.is_some(), index < 2, "{index}");
    }
}
