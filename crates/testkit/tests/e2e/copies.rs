//! `ferry image copy`: images from place to place, without an engine.

use std::collections::BTreeSet;
use std::path::Path;

use ferry_testkit::registry::{At, Authority, Form, Guard, PASSWORD, Proxy, USER, What};
use ferry_testkit::{Client, Compression, Env, FaultRegistry, Folder, Output, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pull::image_of;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An index of two platforms, one packed with zstd, and a signature of the index.
struct Source {
    registry: FaultRegistry,
    index: String,
    mine: String,
    theirs: String,
    signature: String,
    /// The highest layer of `mine`.
    top: String,
}

impl Source {
    fn new() -> Self {
        let registry = FaultRegistry::start();
        let zstd = Form { layers: Compression::Zstd, ..Form::default() };
        let mine = registry.publish("source", &image_of(200, 3, 20_000), zstd);
        let theirs = registry.publish("source", &image_of(201, 2, 20_000), Form::of("s390x"));
        let index = registry.publish_index("source:1", &[&mine, &theirs], false);
        let signature = sign(&registry, "source", &index);
        let top = mine.layers[2].clone();
        Self { registry, index, mine: mine.digest, theirs: theirs.digest, signature, top }
    }

    fn name(&self) -> String {
        format!("docker://{}", self.registry.name("source:1"))
    }
}

/// Puts something into a repository that refers to a manifest there.
fn sign(registry: &FaultRegistry, repository: &str, subject: &str) -> String {
    let config = registry.put_blob(repository, b"{}");
    let layer = registry.put_blob(repository, b"the signature");
    let size = registry.manifest(repository, subject).unwrap().len();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.example", "digest": layer, "size": 13 }],
        "subject": {
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": subject, "size": size,
        },
    });
    registry.put_manifest(repository, MANIFEST, manifest.to_string().as_bytes())
}

#[track_caller]
fn copy(folder: &Folder, words: &[&str]) -> Output {
    let words: Vec<&str> = ["image", "copy"].iter().chain(words).copied().collect();
    folder.client(Client::Ferry, &words).run()
}

/// That a repository has what the source has of these manifests, and what belongs to them.
#[track_caller]
fn is_as_in(source: &Source, target: &FaultRegistry, repository: &str, manifests: &[&String]) {
    let mut blobs = BTreeSet::new();
    for digest in manifests {
        let bytes = source.registry.manifest("source", digest).unwrap();
        assert_eq!(target.manifest(repository, digest).as_ref(), Some(&bytes), "{digest}");
        assert_eq!(
            target.media_type(repository, digest),
            source.registry.media_type("source", digest),
            "{digest}"
        );
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        let parts = layers.iter().chain([&manifest["config"]]);
        blobs.extend(parts.filter_map(|part| Some(part["digest"].as_str()?.to_owned())));
    }
    let found: BTreeSet<String> = target.blobs(repository).into_iter().collect();
    assert_eq!(found, blobs, "{repository}");
    for blob in &blobs {
        let bytes = source.registry.blob("source", blob);
        assert_eq!(target.blob(repository, blob), bytes, "{blob}");
    }
}

/// Nothing that was being written is left.
#[track_caller]
fn nothing_half_made(folder: &Folder) {
    let files = folder.files("");
    let half = |path: &&std::path::PathBuf| {
        path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with(".tmp-") || name.starts_with(".ferry-")
        })
    };
    let half: Vec<_> = files.iter().filter(half).collect();
    assert!(half.is_empty(), "{half:?}");
}

#[test]
fn an_image_goes_every_way_with_its_digest() {
    let source = Source::new();
    let target = FaultRegistry::start();
    let folder = Folder::new();
    let place = |kind: &str, number: usize| match kind {
        "docker" => format!("docker://{}", target.name(&format!("at-{number}:1"))),
        "dir" => format!("dir:{}", folder.at(&format!("at-{number}"))),
        "oci" => format!("oci:{}:v1", folder.at(&format!("at-{number}"))),
        kind => format!("{kind}:{}:v1", folder.at(&format!("at-{number}.tar"))),
    };
    let kinds = ["docker", "oci", "oci-archive", "dir"];
    let manifests = [&source.index, &source.mine, &source.theirs];
    let mut number = 0;
    for from in kinds {
        number += 1;
        let first = place(from, number);
        let said = copy(&folder, &["-a", "-q", &source.name(), &first]).ok();
        assert_eq!(said, source.index, "into {from}");
        for to in kinds {
            number += 1;
            let second = place(to, number);
            let said = copy(&folder, &["-a", "-q", &first, &second]).ok();
            assert_eq!(said, source.index, "{from} to {to}");
            // What came out is looked at in a registry.
            number += 1;
            let said = copy(&folder, &["-a", "-q", &second, &place("docker", number)]).ok();
            assert_eq!(said, source.index, "{from} to {to} to a registry");
            is_as_in(&source, &target, &format!("at-{number}"), &manifests);
        }
    }
    assert_eq!(target.open_uploads(), 0, "every upload was ended");
    nothing_half_made(&folder);
}

#[test]
fn referrers_go_along_when_they_are_asked_for() {
    let source = Source::new();
    for with_list in [true, false] {
        let target = FaultRegistry::start();
        if !with_list {
            target.without_referrers();
        }
        let folder = Folder::new();
        let layout = format!("oci:{}:v1", folder.at("layout"));
        let archive = format!("oci-archive:{}:v1", folder.at("a.tar"));
        let to = format!("docker://{}", target.name("signed:1"));
        for (from, to) in [(&source.name(), &layout), (&layout, &archive), (&archive, &to)] {
            let said = copy(&folder, &["-a", "-q", "--referrers", from, to]).ok();
            assert_eq!(said, source.index, "{from} to {to}");
        }
        let bytes = source.registry.manifest("source", &source.signature);
        assert_eq!(target.manifest("signed", &source.signature), bytes, "the signature");
        let words = ["image", "referrers", &target.name("signed:1"), "--format", "{{.Digest}}"];
        let listed = folder.client(Client::Ferry, &words).run().ok();
        assert_eq!(listed, source.signature, "with the registry's list: {with_list}");
        // Nobody asked for it here.
        let to = format!("docker://{}", target.name("unsigned:1"));
        copy(&folder, &["-a", "-q", &archive, &to]).exits(0);
        assert_eq!(target.manifest("unsigned", &source.signature), None);
    }
}

#[test]
fn one_platform_is_copied_alone() {
    let source = Source::new();
    let target = FaultRegistry::start();
    let folder = Folder::new();
    let to = |tag: &str| format!("docker://{}", target.name(tag));
    let said = copy(&folder, &["-q", &source.name(), &to("usual:1")]).ok();
    assert_eq!(said, source.mine, "the one for this machine");
    is_as_in(&source, &target, "usual", &[&source.mine]);
    let words = ["-q", "--platform", "linux/s390x", &source.name(), &to("other:1")];
    assert_eq!(copy(&folder, &words).ok(), source.theirs);
    is_as_in(&source, &target, "other", &[&source.theirs]);
    let words = ["--platform", "linux/mips64le", &source.name(), &to("none:1")];
    copy(&folder, &words).exits(1).says("no matching manifest for linux/mips64le");
    let words = ["-a", "--platform", "linux/s390x", &source.name(), &to("none:1")];
    copy(&folder, &words).exits(1).says("cannot specify both --all and --platform");
    assert!(target.blobs("none").is_empty());
    // Within one registry nothing is fetched.
    source.registry.forget_requests();
    let mounted = format!("docker://{}", source.registry.name("mounted:1"));
    assert_eq!(copy(&folder, &["-a", "-q", &source.name(), &mounted]).ok(), source.index);
    assert!(source.registry.asked("PATCH", "/uploads/").is_empty(), "blobs are mounted");
    is_as_in(&source, &source.registry, "mounted", &[&source.index, &source.mine, &source.theirs]);
}

#[test]
fn an_archive_of_docker_is_a_source() {
    let (registry, folder) = (FaultRegistry::start(), Folder::new());
    let image = image_of(202, 2, 5000);
    std::fs::write(folder.at("a.tar"), image.docker_archive(&["in-it:1"])).unwrap();
    let from = format!("docker-archive:{}", folder.at("a.tar"));
    for (number, from) in [from.clone(), format!("{from}:in-it:1")].iter().enumerate() {
        let tag = number.to_string();
        let to = format!("docker://{}", registry.name(&format!("out:{tag}")));
        let digest = copy(&folder, &["-q", from, &to]).ok();
        let bytes = registry.manifest("out", &tag).unwrap();
        assert_eq!(digest, format!("sha256:{}", ferry_testkit::image::sha256(&bytes)));
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(manifest["config"]["digest"].as_str(), Some(image.id().as_str()));
    }
    copy(&folder, &[&format!("{from}:other:1"), "dir:d"]).exits(1);
    assert!(folder.files("d").is_empty());
}

#[test]
fn a_copy_that_fails_leaves_nothing_half_made() {
    let source = Source::new();
    let target = FaultRegistry::start();
    let folder = Folder::new();
    let archive = folder.at("old.tar");
    std::fs::write(&archive, "what was here").unwrap();
    let layout = folder.at("layout");
    let into_layout = format!("oci:{layout}:old");
    copy(&folder, &["-q", &source.name(), &into_layout]).exits(0);
    let index = std::fs::read(format!("{layout}/index.json")).unwrap();
    let places = [
        format!("docker://{}", target.name("broken:1")),
        format!("oci-archive:{archive}:v1"),
        format!("oci:{layout}:new"),
        format!("dir:{}", folder.at("dir")),
    ];
    for what in [What::WrongBytes, What::Status(404), What::Truncate { to: 100 }] {
        for to in &places {
            // Of s390x, which the layout has not.
            source.registry.fault(At::Layer(1), 99, what.clone());
            let words = ["-q", "--platform", "linux/s390x", &source.name(), to];
            let said = copy(&folder, &words).exits(1);
            assert!(said.stdout.is_empty(), "{what:?} {to}: {said:?}");
            drop(source.registry.heal());
        }
        assert_eq!(target.manifest("broken", "1"), None, "{what:?}: it has no name");
        assert_eq!(std::fs::read(&archive).unwrap(), b"what was here", "{what:?}");
        assert_eq!(std::fs::read(format!("{layout}/index.json")).unwrap(), index, "{what:?}");
        assert!(!Path::new(&folder.at("dir/manifest.json")).exists(), "{what:?}");
        nothing_half_made(&folder);
    }
    // What was there is as good as before, and the same again succeeds.
    let again = format!("docker://{}", target.name("again:1"));
    assert_eq!(copy(&folder, &["-q", &into_layout, &again]).ok(), source.mine);
    for to in &places {
        let words = ["-q", "--platform", "linux/s390x", &source.name(), to];
        assert_eq!(copy(&folder, &words).ok(), source.theirs, "{to}");
    }
    // A target that does not take the manifest.
    target.fault(At::ManifestPut, 99, What::Status(403));
    let to = format!("docker://{}", target.name("refused:1"));
    copy(&folder, &["-q", &source.name(), &to]).exits(1).says("denied");
    assert_eq!(target.manifest("refused", "1"), None);
}

#[test]
fn a_copy_that_is_interrupted_leaves_nothing_half_made() {
    let source = Source::new();
    let target = FaultRegistry::start();
    let folder = Folder::new();
    for to in [
        format!("docker://{}", target.name("cut:1")),
        format!("oci-archive:{}", folder.at("cut.tar")),
        format!("oci:{}", folder.at("cut-layout")),
        format!("dir:{}", folder.at("cut-dir")),
    ] {
        source.registry.forget_requests();
        source.registry.fault(At::Layer(2), 1, What::Slow { bytes_per_second: 2000 });
        let words = ["image", "copy", "-q", &source.name(), &to];
        let copying = folder.client(Client::Ferry, &words).spawn();
        wait_until("the slow layer is asked for", std::time::Duration::from_secs(20), || {
            (!source.registry.asked("GET", &source.top).is_empty()).then_some(())
        });
        copying.signal(Signal::INT);
        let said = copying.finish().exits(130);
        assert!(said.stdout.is_empty(), "{said:?}");
        nothing_half_made(&folder);
    }
    assert_eq!(target.manifest("cut", "1"), None);
    for file in ["cut.tar", "cut-layout/index.json", "cut-dir/manifest.json"] {
        assert!(!Path::new(&folder.at(file)).exists(), "{file}");
    }
}

#[test]
fn who_one_is_at_either_end() {
    let (source, target) = (Source::new(), FaultRegistry::start());
    source.registry.guard(Guard::Basic);
    target.guard(Guard::Token { anybody_pulls: false });
    let folder = Folder::new();
    let to = format!("docker://{}", target.name("mine:1"));
    let creds = format!("{USER}:{PASSWORD}");
    let from = source.name();
    copy(&folder, &["-q", &from, &to]).exits(1).says("no basic auth credentials");
    let said = copy(&folder, &["-q", "--src-creds", &creds, &from, &to]).exits(1);
    assert!(!said.err().contains(PASSWORD), "{said:?}");
    let words = ["-q", "-a", "--src-creds", &creds, "--dest-creds", &creds, &from, &to];
    assert_eq!(copy(&folder, &words).ok(), source.index);
    // What a login left is used by itself.
    let auth = |registry: &FaultRegistry| {
        let auth = [(registry.address().to_string(), json!({ "auth": basic() }))];
        auth.into_iter().collect::<serde_json::Map<_, _>>()
    };
    let mut auths = auth(&source.registry);
    auths.extend(auth(&target));
    std::fs::create_dir_all(folder.at("home/.docker")).unwrap();
    let config = json!({ "auths": auths }).to_string();
    std::fs::write(folder.at("home/.docker/config.json"), config).unwrap();
    let to = format!("docker://{}", target.name("again:1"));
    assert_eq!(copy(&folder, &["-q", "-a", &from, &to]).ok(), source.index);
}

fn basic() -> String {
    ferry_testkit::registry::secrets()[1].clone()
}

#[test]
fn a_copy_trusts_whom_it_is_told_to_trust() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let start = |name| FaultRegistry::start_as("127.0.0.1", &ours.server(&[name]), None);
    let (source, target) = (start("source.test"), start("target.test"));
    let published = source.publish("a:1", &image_of(203, 2, 500), Form::default());
    // What is not this machine's own needs proof; the proxy knows where it is.
    let proxy = Proxy::start(&[
        ("source.test:443", source.address()),
        ("target.test:443", target.address()),
    ]);
    let folder = Folder::new();
    let copy = |words: &[&str]| {
        let ends = ["docker://source.test/a:1", "docker://target.test/b:1"];
        let words: Vec<&str> = ["image", "copy", "-q"].iter().chain(words).copied().collect();
        folder
            .client(Client::Ferry, &words)
            .args(ends)
            .env("HTTPS_PROXY", format!("http://{}", proxy.address()))
            .run()
    };
    let unknown = "certificate signed by unknown authority";
    copy(&[]).exits(1).says(unknown);
    copy(&["--src-tls-verify=false"]).exits(1).says(unknown);
    copy(&["--dest-tls-verify=false"]).exits(1).says(unknown);
    assert!(target.requests().is_empty() && target.blobs("b").is_empty());
    let both = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    assert_eq!(copy(&both).ok(), published.digest);
    target.remove("b");
    let trust = |name: &str, authority: &Authority| {
        let certs = folder.at(&format!("home/.docker/certs.d/{name}"));
        std::fs::create_dir_all(&certs).unwrap();
        std::fs::write(format!("{certs}/ca.crt"), authority.certificate()).unwrap();
    };
    trust("source.test", &ours);
    trust("target.test", &other);
    copy(&[]).exits(1).says(unknown);
    trust("target.test", &ours);
    assert_eq!(copy(&[]).ok(), published.digest);
    assert_eq!(target.manifest("b", "1"), source.manifest("a", "1"));
    assert!(proxy.asked_for("source.test:443") > 0 && proxy.asked_for("target.test:443") > 0);
}

#[test]
fn an_archive_of_docker_is_a_target() {
    let env = Env::builder().own().without_busybox().start();
    let (source, folder) = (Source::new(), Folder::new());
    let image = image_of(200, 3, 20_000);
    let file = folder.at("a.tar");
    let to = format!("docker-archive:{file}:some/name:1");
    assert_eq!(copy(&folder, &["-q", &source.name(), &to]).ok(), source.mine);
    let said = env.docker(&["load", "-i", &file]).ok();
    assert_eq!(said, "Loaded image: some/name:1");
    assert_eq!(env.inspect("some/name:1", "{{.Id}}"), image.id());
    // It is not written over when nothing can come of it.
    let old = std::fs::read(&file).unwrap();
    copy(&folder, &["-a", &source.name(), &to]).exits(1).says("holds one image");
    copy(&folder, &["--referrers", &source.name(), &to]).exits(1).says("refers to an image");
    source.registry.fault(At::Layer(0), 99, What::WrongBytes);
    copy(&folder, &["-q", &source.name(), &to]).exits(1);
    assert_eq!(std::fs::read(&file).unwrap(), old);
    nothing_half_made(&folder);
}

#[test]
fn every_tag_of_a_repository_is_copied() {
    let (source, target, folder) = (FaultRegistry::start(), FaultRegistry::start(), Folder::new());
    source.page(2);
    let tags = ["1", "2", "3", "4", "5"];
    let digests: Vec<String> = (210..)
        .zip(tags)
        .map(|(seed, tag)| {
            source.publish(&format!("many:{tag}"), &image_of(seed, 2, 500), Form::default()).digest
        })
        .collect();
    let (from, to) = (source.name("many"), target.name("copied"));
    let all: Vec<String> =
        tags.iter().zip(&digests).map(|(tag, digest)| format!("{tag} {digest}")).collect();
    assert_eq!(copy(&folder, &["-q", "--all-tags", &from, &to]).ok(), all.join("\n"));
    for tag in tags {
        assert_eq!(target.manifest("copied", tag), source.manifest("many", tag), "{tag}");
    }
    copy(&folder, &["--all-tags", &format!("{from}:1"), &to]).exits(1).says("tag can't be used");
    // One of them cannot be had.
    target.remove("copied");
    let broken = source.manifest("many", "3").unwrap();
    let media_type = source.media_type("many", "3").unwrap();
    source.put_manifest("many:3", &media_type, &broken[..broken.len() / 2]);
    let said = copy(&folder, &["-q", "--all-tags", "--keep-going", &from, &to]).exits(1);
    assert!(said.err().contains("3: "), "{said:?}");
    let there: Vec<bool> =
        tags.iter().map(|tag| target.manifest("copied", tag).is_some()).collect();
    assert_eq!(there, [true, true, false, true, true]);
}
