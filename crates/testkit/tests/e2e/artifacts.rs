//! `ferry artifact`: files in registries, and what refers to what there.

use std::fs;

use ferry_testkit::image::sha256;
use ferry_testkit::registry::{At, Form, What};
use ferry_testkit::{Client, FaultRegistry, Folder, Output};
use serde_json::{Value, json};

use crate::pull::image_of;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const TITLE: &str = "org.opencontainers.image.title";

#[track_caller]
fn ferry(folder: &Folder, words: &[&str]) -> Output {
    folder.client(Client::Ferry, words).run()
}

fn manifest(registry: &FaultRegistry, repository: &str, which: &str) -> Value {
    serde_json::from_slice(&registry.manifest(repository, which).unwrap()).unwrap()
}

/// The digests of what refers to the name, as `image referrers` lists them, sorted.
#[track_caller]
fn referrers(folder: &Folder, name: &str) -> Vec<String> {
    let listed = ferry(folder, &["image", "referrers", "--format", "{{.Digest}}", name]).ok();
    let mut digests: Vec<String> = listed.lines().map(str::to_owned).collect();
    digests.sort();
    digests
}

#[test]
fn files_come_back_as_they_were() {
    let (registry, folder) = (FaultRegistry::start(), Folder::new());
    let large = vec![7; 3 << 20];
    fs::create_dir(folder.at("d")).unwrap();
    fs::write(folder.at("a.txt"), "hello").unwrap();
    fs::write(folder.at("d/large"), &large).unwrap();
    fs::write(folder.at("c.json"), "{\"c\":1}").unwrap();
    let name = registry.name("files:1");
    let words = ["artifact", "push", &name, "a.txt:text/plain", "./d/large", "--annotation", "k=v"];
    let digest = ferry(&folder, &words).ok();
    let stored = manifest(&registry, "files", "1");
    assert_eq!(digest, format!("sha256:{}", sha256(&registry.manifest("files", "1").unwrap())));
    assert_eq!(stored["mediaType"], MANIFEST);
    assert_eq!(stored["artifactType"], "application/vnd.unknown.artifact.v1");
    assert_eq!(stored["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
    assert_eq!(stored["annotations"], json!({ "k": "v" }));
    assert_eq!(stored["layers"][0]["annotations"], json!({ TITLE: "a.txt" }));
    assert_eq!(stored["layers"][0]["mediaType"], "text/plain");
    assert_eq!(stored["layers"][1]["annotations"], json!({ TITLE: "d/large" }));
    // Cut in the middle, the large one goes on where it was.
    let blob = stored["layers"][1]["digest"].as_str().unwrap();
    assert_eq!(registry.blob("files", blob).unwrap(), large);
    registry.take_for_layer(blob, 1);
    registry.fault(At::Layer(1), 1, What::Cut { after: 1 << 20 });
    let pulled = ferry(&folder, &["artifact", "pull", "-o", "out", &name]).ok();
    assert!(registry.heal().is_empty());
    assert_eq!(pulled, digest);
    assert_eq!(fs::read(folder.at("out/a.txt")).unwrap(), b"hello");
    assert_eq!(fs::read(folder.at("out/d/large")).unwrap(), large);
    // What is there stays, unless it is asked for otherwise.
    fs::write(folder.at("out/a.txt"), "mine").unwrap();
    let again = ferry(&folder, &["artifact", "pull", "-o", "out", &name]).exits(1);
    drop(again.says("out/a.txt exists already; use --overwrite"));
    assert_eq!(fs::read(folder.at("out/a.txt")).unwrap(), b"mine");
    ferry(&folder, &["artifact", "pull", "-o", "out", "--overwrite", &name]).exits(0);
    assert_eq!(fs::read(folder.at("out/a.txt")).unwrap(), b"hello");
    assert_eq!(folder.files("out").len(), 3, "nothing else is left: {:?}", folder.files("out"));
    let listed = ferry(&folder, &["artifact", "ls", "--format", "{{.File}} {{.Size}}", &name]);
    assert_eq!(listed.ok(), "a.txt 5B\nd/large 3.146MB");
    let kind = ["artifact", "inspect", "--format", "{{.ArtifactType}}"];
    // A configuration says what it is.
    let with_config = ["artifact", "push", &name, "--config", "c.json:application/vnd.c+json"];
    ferry(&folder, &with_config).exits(0);
    let shown = ferry(&folder, &[&kind[..], &[&name]].concat()).ok();
    assert_eq!(shown, "application/vnd.c+json");
    assert!(manifest(&registry, "files", "1").get("artifactType").is_none());
}

#[test]
fn a_title_leads_nowhere_else() {
    let (registry, folder) = (FaultRegistry::start(), Folder::new());
    let outside = folder.at("outside");
    fs::create_dir_all(&outside).unwrap();
    let blob = registry.put_blob("evil", b"evil");
    let empty = registry.put_blob("evil", b"{}");
    let absolute = format!("{outside}/escaped");
    let titles = ["../escaped", "a/../../escaped", &absolute, "..", "", "door/escaped"];
    for (number, title) in titles.iter().enumerate() {
        let layer = |title: &str| {
            json!({
                "mediaType": "text/plain", "digest": blob, "size": 4,
                "annotations": { TITLE: title },
            })
        };
        let document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "text/x",
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 },
            "layers": [layer("good"), layer(title)],
        });
        let name = format!("evil:{number}");
        registry.put_manifest(&name, MANIFEST, document.to_string().as_bytes());
        let out = format!("out{number}");
        fs::create_dir_all(folder.at(&out)).unwrap();
        std::os::unix::fs::symlink(&outside, folder.at(&format!("{out}/door"))).unwrap();
        ferry(&folder, &["artifact", "pull", "-o", &out, &registry.name(&name)]).exits(1);
        assert!(!folder.path().join("escaped").exists(), "{title}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{title}");
        assert!(!folder.path().join(&out).join("good").exists(), "nothing was written: {title}");
    }
}

#[test]
fn a_file_that_is_wrong_gets_no_name() {
    let (registry, folder) = (FaultRegistry::start(), Folder::new());
    fs::write(folder.at("a"), vec![1; 200_000]).unwrap();
    let name = registry.name("wrong:1");
    ferry(&folder, &["artifact", "push", &name, "a"]).exits(0);
    // What a registry keeps under a digest need not have it.
    let mut document = manifest(&registry, "wrong", "1");
    registry.take_for_layer(document["layers"][0]["digest"].as_str().unwrap(), 0);
    registry.fault(At::Layer(0), 99, What::WrongBytes);
    ferry(&folder, &["artifact", "pull", "-o", "out", &name]).exits(1);
    assert!(folder.files("out").is_empty(), "{:?}", folder.files("out"));
    drop(registry.heal());
    // Nor have the size that it says.
    document["layers"][0]["size"] = 199_999.into();
    registry.put_manifest("wrong:short", MANIFEST, document.to_string().as_bytes());
    let short = registry.name("wrong:short");
    ferry(&folder, &["artifact", "pull", "-o", "out", &short]).exits(1);
    assert!(folder.files("out").is_empty(), "{:?}", folder.files("out"));
    // An upload that is cut goes on where it was.
    registry.remove("wrong");
    registry.fault(At::UploadEnd, 1, What::Cut { after: 1000 });
    ferry(&folder, &["artifact", "push", &name, "a"]).exits(0);
    assert!(registry.heal().is_empty());
    ferry(&folder, &["artifact", "pull", "-o", "out", &name]).exits(0);
    assert_eq!(fs::read(folder.at("out/a")).unwrap(), vec![1; 200_000]);
}

#[test]
fn what_refers_to_an_image_is_listed() {
    for has_list in [true, false] {
        let (registry, folder) = (FaultRegistry::start(), Folder::new());
        if !has_list {
            registry.without_referrers();
        }
        let published = registry.publish("it:1", &image_of(210, 1, 2000), Form::default());
        let (name, repository) = (registry.name("it:1"), registry.name("it"));
        fs::write(folder.at("sig"), "signature").unwrap();
        let push = |kind: &str, subject: &str| {
            let words = ["artifact", "push", "-q", &repository, "sig", "--artifact-type", kind];
            ferry(&folder, &[&words[..], &["--subject", subject]].concat()).ok()
        };
        let mut both = vec![push("text/one", &name), push("text/two", &published.digest)];
        // The same again is entered once.
        assert_eq!(push("text/one", &name), both[0]);
        both.sort();
        assert_eq!(referrers(&folder, &name), both, "has a list: {has_list}");
        let words = ["image", "referrers", "--artifact-type", "text/two", &name];
        let listed = ferry(&folder, &words).ok();
        assert_eq!(listed.lines().count(), 2, "{listed}");
        // Its tag stands for the list where there is none. [OCI distribution, referrers tag schema]
        let tag = published.digest.replace(':', "-");
        assert_eq!(registry.manifest("it", &tag).is_none(), has_list);
        let elsewhere = registry.name("other:1");
        let words = ["artifact", "push", &repository, "sig", "--subject", &elsewhere];
        drop(ferry(&folder, &words).exits(1).says("it must be in the repository"));
    }
}

/// Without a list of its own the registry knows only what its clients write: a client that writes
/// over what another has written since loses it.
#[test]
fn many_enter_what_refers_at_once() {
    let (registry, folder) = (FaultRegistry::start(), Folder::new());
    registry.without_referrers();
    let published = registry.publish("busy:1", &image_of(211, 1, 2000), Form::default());
    let repository = registry.name("busy");
    let words = ["artifact", "push", "-q", &repository, "--subject", &published.digest];
    let running: Vec<_> = (0..6)
        .map(|number| {
            let note = format!("n={number}");
            let words = [&words[..], &["--annotation", &note]].concat();
            folder.client(Client::Ferry, &words).spawn()
        })
        .collect();
    let mut pushed: Vec<String> =
        running.into_iter().map(|one| one.finish().exits(0).out()).collect();
    pushed.sort();
    assert_eq!(referrers(&folder, &registry.name("busy:1")), pushed);
}

#[test]
fn what_cannot_be_an_artifact_is_refused() {
    let (registry, folder) = (FaultRegistry::start(), Folder::new());
    registry.publish("image:1", &image_of(212, 1, 2000), Form::default());
    fs::write(folder.at("a"), "a").unwrap();
    fs::create_dir(folder.at("d")).unwrap();
    let (name, image) = (registry.name("x:1"), registry.name("image:1"));
    let nothing = registry.name("nothing:1");
    for (words, expect) in [
        (vec!["push", &name, "d"], "d is a directory; pack it into an archive"),
        (vec!["push", &name, "none"], "No such file"),
        (vec!["push", &name, "a:text"], "is no media type such as text/plain"),
        (vec!["push", &name, "a", "./a"], "two files would be called \"a\""),
        (vec!["push", &name, "a", "--annotation", "x"], "expected key=value"),
        (vec!["push", &name, "--config", "a"], "its media type is missing"),
        (vec!["push", &name, "a", "--artifact-type", "x"], "is no media type"),
        (vec!["pull", &image], "has no files with titles"),
        (vec!["pull", &nothing], "not found"),
    ] {
        let words: Vec<&str> = std::iter::once("artifact").chain(words).collect();
        drop(ferry(&folder, &words).exits(1).says(expect));
    }
    assert!(registry.manifest("x", "1").is_none() && registry.open_uploads() == 0);
}

#[test]
fn what_an_artifact_says_does_not_command_the_terminal() {
    let (registry, folder) = (FaultRegistry::start(), Folder::new());
    let (config, file) = (registry.put_blob("a", b"{}"), registry.put_blob("a", b"x"));
    let words = "\u{1b}[2J\u{9b}31m\u{7f}";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": words,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
        "layers": [{
            "mediaType": words, "digest": file, "size": 1, "annotations": { TITLE: words },
        }],
        "annotations": { "k": words },
    });
    registry.put_manifest("a:1", MANIFEST, manifest.to_string().as_bytes());
    let name = registry.name("a:1");
    for words in [
        &["inspect"][..],
        &["inspect", "--format", "json"],
        &["inspect", "--format", "{{.ArtifactType}} {{.Annotations.k}}"],
        &["ls"],
        &["ls", "--format", "{{.File}} {{.MediaType}}"],
    ] {
        let shown = ferry(&folder, &[&["artifact"], words, &[&name]].concat()).ok();
        assert!(shown.contains("[2J"), "{words:?}: {shown}");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{words:?}: {shown:?}");
    }
    let shown: Value =
        serde_json::from_str(&ferry(&folder, &["artifact", "inspect", &name]).ok()).unwrap();
    assert_eq!(shown["ArtifactType"], words, "it is only written otherwise");
}
