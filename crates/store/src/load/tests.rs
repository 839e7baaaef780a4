use std::io::Write as _;

use super::*;
use crate::error::ErrorKind;
use crate::scratch::{
    Layout, Platforms, Scratch, blob_path, config, descriptor, docker_archive, gzip, layer,
    named_docker_archive, zstd,
};
use crate::store::LayerStoreKind;
use crate::tar::builder::{Fields, TarBuilder};

fn scratch() -> Scratch {
    Scratch::new(LayerStoreKind::Erofs)
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[track_caller]
fn refused(archive: &[u8], words: &str) {
    let scratch = scratch();
    let error = scratch.load(archive).unwrap_err();
    assert_eq!(error.to_string(), words);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(scratch.leftovers().is_empty());
    assert!(scratch.store.images().list().unwrap().is_empty());
}

#[test]
fn every_compression_is_taken_inside_and_outside() {
    let plain = layer("f", &[1; 10_000]);
    for compress in [|b: &[u8]| b.to_vec(), gzip, zstd, xz] {
        let scratch = scratch();
        let archive = TarBuilder::new()
            .file("l/layer.tar", &compress(&plain))
            .file("c.json", config(std::slice::from_ref(&plain)).as_bytes())
            .file(
                "manifest.json",
                br#"[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l/layer.tar"]}]"#,
            )
            .finish();
        let loaded = scratch.load(&compress(&archive)).unwrap();
        assert_eq!(loaded, ["Loaded image: a:b"]);
        let image = scratch.store.images().get("a:b").unwrap();
        assert_eq!((image.size, image.layer_sizes), (10_000, vec![10_000]));
        // The configuration and the layer, nothing else.
        assert_eq!(scratch.leftovers().len(), 2);
    }
    refused(b"BZh91AY&SY", "bzip2 compression is not supported; use gzip, zstd or xz");
}

#[test]
fn the_manifest_may_come_first_or_last() {
    let plain = layer("f", b"x");
    let scratch = scratch();
    let archive = TarBuilder::new()
        .file(
            "./manifest.json",
            br#"[{"Config":"c.json","RepoTags":["a:b","c.io/d:e"],"Layers":["l.tar"]}]"#,
        )
        .file("./c.json", config(std::slice::from_ref(&plain)).as_bytes())
        .file("./l.tar", &plain)
        .finish();
    assert_eq!(scratch.load(&archive).unwrap(), ["Loaded image: a:b", "Loaded image: c.io/d:e"]);
}

#[test]
fn linked_layers_of_old_archives_are_found() {
    let plain = layer("f", b"x");
    let scratch = scratch();
    let archive = TarBuilder::new()
        .file("one/layer.tar", &plain)
        .symlink("two/layer.tar", "../one/layer.tar")
        .hard_link("three/layer.tar", "one/layer.tar")
        .file("c.json", config(&[plain.clone(), plain.clone(), plain.clone()]).as_bytes())
        .file(
            "manifest.json",
            br#"[{"Config":"c.json","Layers":["one/layer.tar","two/layer.tar","three/layer.tar"]}]"#,
        )
        .finish();
    assert_eq!(scratch.load(&archive).unwrap().len(), 1);
    assert_eq!(scratch.store.images().list().unwrap()[0].layer_sizes, [1, 1, 1]);
}

#[test]
fn layers_that_are_here_are_not_built_again() {
    let scratch = scratch();
    let layers = [layer("a", b"1"), layer("b", b"2")];
    scratch.load(&docker_archive(&layers[..1])).unwrap();
    let path = scratch.store.layout().layer(&Digest::sha256_of(&layers[0]));
    let made = std::fs::metadata(&path).unwrap().modified().unwrap();
    scratch.load(&docker_archive(&layers)).unwrap();
    scratch.load(&docker_archive(&layers)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), made);
    assert_eq!(scratch.store.images().list().unwrap().len(), 2);
    // Two layers, two configurations.
    assert_eq!(scratch.leftovers().len(), 4);
}

#[test]
fn names_move_to_the_image_that_was_loaded_last() {
    let scratch = scratch();
    scratch.load(&named_docker_archive(&[layer("a", b"1")], r#"["x:1","y:1"]"#)).unwrap();
    let before = scratch.store.images().resolve("x:1").unwrap();
    let mut told = Vec::new();
    let archive = named_docker_archive(&[layer("a", b"2")], r#"["x:1"]"#);
    scratch.store.load(archive.as_slice(), None, &mut |progress| told.push(progress)).unwrap();
    let reference = Reference::parse("x:1").unwrap();
    assert!(told.contains(&LoadProgress::Renamed { reference, from: before.clone() }));
    assert!(matches!(told[0], LoadProgress::Layer { current, total, .. } if current == total));
    assert_ne!(scratch.store.images().resolve("x:1").unwrap(), before);
    assert_eq!(scratch.store.images().resolve("y:1").unwrap(), before);
}

#[test]
fn layouts_keep_their_manifests_and_blobs() {
    let plain = [layer("a", b"1"), layer("b", &[2; 5000])];
    let scratch = scratch();
    let blobs = [(plain[0].clone(), gzip(&plain[0])), (plain[1].clone(), zstd(&plain[1]))];
    let layout = Layout::new(&blobs);
    let manifest = layout.manifest.clone();
    let archive = layout.finish(
        r#""io.containerd.image.name":"docker.io/library/a:b","org.opencontainers.image.ref.name":"b""#,
    );
    assert_eq!(scratch.load(&archive).unwrap(), ["Loaded image: a:b"]);
    let image = scratch.store.images().get("a:b").unwrap();
    assert_eq!(image.manifest_digest.as_ref(), Some(&manifest));
    assert!(image.repo_digests.is_empty());
    for (_, blob) in &blobs {
        let path = scratch.store.data_root().join(blob_path(blob));
        assert_eq!(std::fs::read(path).unwrap(), *blob);
    }
    // Known by the digest of the blob, so not even decompressed.
    assert_eq!(scratch.load(&archive).unwrap(), ["Loaded image: a:b"]);
    scratch.remove("a:b", false, &[]).unwrap();
    assert!(scratch.settled().is_empty());
}

#[test]
fn layouts_name_images_in_several_ways() {
    let plain = layer("a", b"1");
    for (annotations, expect) in [
        (r#""org.opencontainers.image.ref.name":"quay.io/x/y:z""#, Some("quay.io/x/y:z")),
        (r#""org.opencontainers.image.ref.name":"latest""#, None),
        (r#""io.containerd.image.name":"docker.io/library/q""#, Some("q:latest")),
        ("", None),
    ] {
        let scratch = scratch();
        let archive = Layout::new(&[(plain.clone(), plain.clone())]).finish(annotations);
        let loaded = scratch.load(&archive).unwrap();
        match expect {
            Some(name) => assert_eq!(loaded, [format!("Loaded image: {name}")]),
            None => assert!(loaded[0].starts_with("Loaded image ID: sha256:")),
        }
    }
}

#[test]
fn an_index_of_platforms_gives_the_one_for_this_machine() {
    let scratch = scratch();
    let ours = Layout::new(&[(layer("a", b"1"), layer("a", b"1"))]);
    let host = Platform::host();
    let (media, size) = ("application/vnd.oci.image.manifest.v1+json", ours.manifest_len);
    let item = |digest: &Digest, size: usize, os: &str, architecture: &str| {
        format!(
            r#"{{"mediaType":"{media}","digest":"{digest}","size":{size},"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#
        )
    };
    let missing = Digest::sha256_of(b"not in the archive");
    let inner = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
        item(&missing, 1, "linux", "s390x"),
        item(&missing, 1, "unknown", "unknown"),
        item(&ours.manifest, size, &host.os, &host.architecture),
    );
    let name = r#","annotations":{"io.containerd.image.name":"docker.io/library/multi:1"}"#;
    let outer = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        descriptor(inner.as_bytes(), "application/vnd.oci.image.index.v1+json", name)
    );
    let archive = ours
        .archive
        .file(&blob_path(inner.as_bytes()), inner.as_bytes())
        .file("index.json", outer.as_bytes())
        .finish();
    assert_eq!(scratch.load(&archive).unwrap(), ["Loaded image: multi:1"]);
}

#[test]
fn archives_of_new_dockers_are_both_kinds() {
    let scratch = scratch();
    let plain = layer("a", b"1");
    let mut layout = Layout::new(&[(plain.clone(), plain.clone())]);
    let manifest = layout.manifest.clone();
    let config = config(std::slice::from_ref(&plain));
    let list = format!(
        r#"[{{"Config":"{}","RepoTags":["n:1","n:2"],"Layers":["{}"]}}]"#,
        blob_path(config.as_bytes()),
        blob_path(&plain)
    );
    layout.archive = layout.archive.file("manifest.json", list.as_bytes());
    let archive = layout.finish("");
    assert_eq!(scratch.load(&archive).unwrap(), ["Loaded image: n:1", "Loaded image: n:2"]);
    let image = scratch.store.images().get("n:2").unwrap();
    assert_eq!(image.manifest_digest, Some(manifest));
}

#[test]
fn archives_of_very_old_dockers_are_converted() {
    let scratch = scratch();
    let (lower, upper) = ("a".repeat(64), "b".repeat(64));
    let archive = TarBuilder::new()
        .file("repositories", format!(r#"{{"old":{{"1":"{upper}"}}}}"#).as_bytes())
        .file(&format!("{lower}/VERSION"), b"1.0")
        .file(&format!("{lower}/json"), br#"{"created":"2014-01-01T00:00:00Z","container_config":{"Cmd":["/bin/sh","-c","x"]}}"#)
        .file(&format!("{lower}/layer.tar"), &layer("a", b"1"))
        .file(&format!("{upper}/json"), format!(r#"{{"parent":"{lower}","os":"linux","architecture":"amd64","config":{{"Cmd":["sh"]}}}}"#).as_bytes())
        .file(&format!("{upper}/layer.tar"), &layer("b", b"22"))
        .finish();
    assert_eq!(scratch.load(&archive).unwrap(), ["Loaded image: old:1"]);
    let image = scratch.store.images().get("old:1").unwrap();
    assert_eq!(image.layer_sizes, [1, 2]);
    assert_eq!(image.config.config.cmd, Some(vec!["sh".to_owned()]));
    assert_eq!(image.config.history[0].created_by, "/bin/sh -c x");
}

#[test]
fn what_is_no_archive_of_images_is_refused() {
    let nothing = "archive has neither manifest.json nor index.json nor repositories: it is not an archive of images";
    refused(&TarBuilder::new().finish(), nothing);
    refused(&TarBuilder::new().file("a", b"b").finish(), nothing);
    refused(b"x", "unexpected EOF");
    refused(&gzip(b"hello"), "unexpected EOF");
    refused(&[b'x'; 1000], "archive/tar: invalid tar header");
    let whole = docker_archive(&[layer("a", &[0; 9000])]);
    refused(&whole[..5000], "unexpected EOF");
    let mut truncated = gzip(&whole);
    truncated.truncate(truncated.len() - 10);
    refused(&truncated, "unexpected EOF");
}

#[test]
fn contradictions_are_refused() {
    let (one, two) = (layer("a", b"1"), layer("a", b"2"));
    let archive = |layers: &[&[u8]], config: &str, manifest: &str| {
        let mut archive = TarBuilder::new();
        for (index, layer) in layers.iter().enumerate() {
            archive = archive.file(&format!("{index}.tar"), layer);
        }
        archive
            .file("c.json", config.as_bytes())
            .file("manifest.json", manifest.as_bytes())
            .finish()
    };
    let manifest = r#"[{"Config":"c.json","Layers":["0.tar"]}]"#;
    let one_config = config(std::slice::from_ref(&one));
    refused(
        &archive(&[&two], &one_config, manifest),
        &format!(
            "invalid diffID for layer 0: expected \"{}\", got \"{}\"",
            Digest::sha256_of(&one),
            Digest::sha256_of(&two)
        ),
    );
    refused(
        &archive(&[&one], &config(&[]), manifest),
        "invalid manifest, layers length mismatch: expected 0, got 1",
    );
    refused(&archive(&[], &one_config, manifest), "0.tar is not in the archive");
    refused(&archive(&[&[b'x'; 600]], &one_config, manifest), "0.tar: it is no layer");
    refused(
        &archive(
            &[&one],
            &one_config,
            r#"[{"Config":"c.json","RepoTags":["X:1"],"Layers":["0.tar"]}]"#,
        ),
        "invalid reference format: repository name (library/X) must be lowercase",
    );
    refused(
        &archive(
            &[&one],
            &one_config,
            r#"[{"Config":"c.json","RepoTags":["x"],"Layers":["0.tar"]}]"#,
        ),
        "invalid tag \"x\"",
    );
    refused(&archive(&[&one], "[]", manifest), "c.json: image configuration is no JSON object");
    refused(
        &archive(&[&one], &one_config, r#"[{"Config":"../c.json","Layers":["0.tar"]}]"#),
        "\"../c.json\": path leaves the root of the archive",
    );
}

#[test]
fn blobs_that_are_not_what_they_are_named_are_refused() {
    let plain = layer("a", b"1");
    let compressed = gzip(&plain);
    let mut layout = Layout::new(&[(plain, compressed.clone())]);
    // The same path again with other bytes: the later entry counts.
    let evil = gzip(&layer("a", b"evil"));
    layout.archive = layout.archive.file(&blob_path(&compressed), &evil);
    let path = blob_path(&compressed);
    let (expected, actual) = (Digest::sha256_of(&compressed), Digest::sha256_of(&evil));
    refused(&layout.finish(""), &format!("{path} has digest {actual}, not {expected}"));
}

#[test]
fn documents_beyond_their_limits_are_refused() {
    let mut config = b"{".to_vec();
    config.resize(9 << 20, b' ');
    let archive = TarBuilder::new()
        .file("c.json", &config)
        .file("manifest.json", br#"[{"Config":"c.json","Layers":[]}]"#)
        .finish();
    refused(&archive, "c.json: 9437184 bytes are too many for a document");
    let archive =
        TarBuilder::new().entry(Fields { path: b"../x", ..Fields::default() }, b"y").finish();
    refused(&archive, "\"../x\": path leaves the root of the archive");
}

#[test]
fn a_layer_may_begin_with_a_name_like_a_document() {
    for name in ["[id].tsx", "{a}", "[", " [x]"] {
        let plain = layer(name, b"x");
        let scratch = scratch();
        assert_eq!(scratch.load(&docker_archive(std::slice::from_ref(&plain))).unwrap().len(), 1);
        assert_eq!(scratch.store.images().list().unwrap()[0].layer_sizes, [1]);
    }
}

#[test]
fn one_platform_of_an_index_is_taken_alone() {
    let platforms = Platforms::new();
    let archive = platforms.archive();
    let load = |scratch: &Scratch, platform: &str| {
        let platform: Platform = platform.parse().unwrap();
        scratch.store.load(archive.as_slice(), Some(&platform), &mut |_| ())
    };
    for (index, platform) in ["linux/amd64", "linux/arm64"].into_iter().enumerate() {
        let scratch = scratch();
        assert_eq!(load(&scratch, platform).unwrap().len(), 1);
        let images = scratch.store.images().list().unwrap();
        let [image] = images.as_slice() else { panic!("{images:?}") };
        assert_eq!(image.config.platform().to_string(), platform);
        assert_eq!(image.manifest_digest.as_ref(), Some(&platforms.manifests[index]));
        assert_eq!(image.repo_tags.len(), 1);
        // The other can follow, and completes it.
        load(&scratch, ["linux/arm64", "linux/amd64"][index]).unwrap();
        let plan = scratch.store.push_plan(&image.repo_tags[0], None).unwrap();
        assert_eq!((plan.top.digest, plan.instead_of_index), (platforms.index.clone(), None));
        drop(plan.manifests);
        scratch.remove("multi:1", false, &[]).unwrap();
        assert!(scratch.settled().is_empty(), "{:?}", scratch.settled());
    }
    let scratch = scratch();
    let error = load(&scratch, "linux/s390x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "no image in the archive is for platform linux/s390x");
    assert!(scratch.leftovers().is_empty());
    // The same of Docker's own archives.
    let archive = named_docker_archive(&[layer("a", b"1")], r#"["x:1"]"#);
    let arm: Platform = "linux/arm64".parse().unwrap();
    let error = scratch.store.load(archive.as_slice(), Some(&arm), &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let amd: Platform = "linux/amd64".parse().unwrap();
    scratch.store.load(archive.as_slice(), Some(&amd), &mut |_| ()).unwrap();
    assert!(scratch.store.images().get("x:1").is_ok());
}

#[test]
fn paths_beside_the_layers_are_short() {
    let path = "x/".repeat(300);
    let archive = TarBuilder::new().pax("path", path.as_bytes()).file("", b"");
    refused(&archive.finish(), &format!("{path:?}: path is too long"));
}
