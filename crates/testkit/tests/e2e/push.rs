//! Images out to a registry.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use ferry_testkit::command::find_program;
use ferry_testkit::env::reference_host;
use ferry_testkit::registry::{At, Form, What};
use ferry_testkit::tar::Tar;
use ferry_testkit::{Compression, Env, FaultRegistry, Image, Invocation, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pull::{image_of, messages, scrub};

#[track_caller]
fn load_as(env: &Env, image: &Image, name: &str) {
    env.load(image, name);
}

/// The digest in `TAG: digest: DIGEST size: SIZE`.
#[track_caller]
fn digest_of(said: &str) -> String {
    let line = said.lines().find(|line| line.contains(": digest: sha256:"));
    let line = line.unwrap_or_else(|| panic!("no digest is said: {said}"));
    line.split(' ').nth(2).unwrap().to_owned()
}

#[test]
fn what_is_pushed_can_be_pulled() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    let image = Image::busybox().layer(Tar::new().file("pushed", 0o644, "pushed"));
    let name = registry.name("some/thing:1");
    load_as(&env, &image, &name);
    let said = env.docker(&["push", &name]).ok();
    let repository = registry.name("some/thing");
    let head = format!("The push refers to repository [{repository}]\n");
    assert!(said.starts_with(&head), "{said}");
    assert_eq!(said.matches(": Pushed").count(), 2, "{said}");
    let digest = digest_of(&said);
    let manifest = registry.manifest("some/thing", "1").unwrap();
    let size = manifest.len();
    assert!(said.ends_with(&format!("1: digest: {digest} size: {size}")), "{said}");
    assert_eq!(digest, format!("sha256:{}", ferry_testkit::image::sha256(&manifest)));
    // It is of the form that every registry takes, and every part of it is there.
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(parsed["config"]["digest"].as_str(), Some(image.id().as_str()));
    for layer in parsed["layers"].as_array().unwrap() {
        let blob = registry.blob("some/thing", layer["digest"].as_str().unwrap()).unwrap();
        assert_eq!(layer["size"].as_u64(), Some(blob.len() as u64));
    }
    assert_eq!(env.inspect(&name, "{{.RepoDigests}}"), format!("[{repository}@{digest}]"));
    // Again, nothing is sent.
    registry.forget_requests();
    let again = env.docker(&["push", &name]).ok();
    assert_eq!(again.matches(": Layer already exists").count(), 2, "{again}");
    assert_eq!(digest_of(&again), digest);
    assert!(registry.asked("PATCH", "/uploads/").is_empty(), "nothing is sent twice");
    env.docker(&["rmi", "-f", &image.id()]).exits(0);
    env.docker(&["pull", &name]).exits(0).prints(&digest);
    assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
    assert_eq!(env.docker(&["run", "--rm", &name, "cat", "/pushed"]).ok(), "pushed");
    env.docker(&["rmi", "-f", &name]).exits(0);
    assert_eq!(registry.open_uploads(), 0, "every upload was ended");
}

#[test]
fn what_was_pulled_is_pushed_byte_for_byte() {
    let env = Env::builder().own().without_busybox().start();
    let (source, target) = (FaultRegistry::start(), FaultRegistry::start());
    let zstd = Form { layers: Compression::Zstd, ..Form::default() };
    let forms = [("gzip", Form::default()), ("v2", Form::docker()), ("zstd", zstd)];
    for (seed, (tag, form)) in (32..).zip(forms) {
        let image = image_of(seed, 2, 3000).layer(Tar::new().file("form", 0o644, tag));
        let published = source.publish(&format!("exact:{tag}"), &image, form);
        let (from, to) =
            (source.name(&format!("exact:{tag}")), target.name(&format!("copy:{tag}")));
        env.docker(&["pull", &from]).exits(0);
        env.docker(&["tag", &from, &to]).exits(0);
        let said = env.docker(&["push", &to]).ok();
        assert_eq!(digest_of(&said), published.digest, "{tag}");
        assert_eq!(target.manifest("copy", tag), source.manifest("exact", tag));
        assert_eq!(target.media_type("copy", tag), source.media_type("exact", tag));
        for layer in &published.layers {
            assert_eq!(target.blob("copy", layer), source.blob("exact", layer));
        }
    }
    scrub(&env);
}

#[test]
fn an_image_of_an_index_is_pushed() {
    let env = Env::builder().own().without_busybox().start();
    let (source, target) = (FaultRegistry::start(), FaultRegistry::start());
    let image = image_of(36, 2, 3000);
    let mine = source.publish("multi", &image, Form::default());
    let theirs = source.publish("multi", &image_of(31, 1, 100), Form::of("s390x"));
    source.publish_index("multi:1", &[&theirs, &mine], false);
    let (from, to) = (source.name("multi:1"), target.name("multi:1"));
    env.docker(&["pull", &from]).exits(0);
    env.docker(&["tag", &from, &to]).exits(0);
    let said = env.docker(&["push", &to]).ok();
    // Only the one that is here can be sent, and it is said so.
    assert_eq!(digest_of(&said), mine.digest, "{said}");
    env.docker(&["pull", "--platform", "linux/s390x", &from]).exits(0);
    env.docker(&["rmi", "-f", &to]).exits(0);
    env.docker(&["pull", &to]).exits(0).prints(&mine.digest);
}

#[test]
fn layers_are_mounted_from_where_they_are() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    let image = Image::busybox().layer(Tar::new().file("mounted", 0o644, "mounted"));
    let (one, two) = (registry.name("one:1"), registry.name("two:1"));
    load_as(&env, &image, &one);
    env.docker(&["push", &one]).exits(0);
    env.docker(&["tag", &one, &two]).exits(0);
    registry.forget_requests();
    let said = env.docker(&["push", &two]).ok();
    assert_eq!(said.matches(": Mounted from one").count(), 2, "{said}");
    let sent = registry.asked("PATCH", "/two/blobs/uploads/");
    let most = sent.iter().map(|seen| seen.length).max().unwrap_or(0);
    assert!(most < 4096, "no layer was sent: {most}");
    assert_eq!(registry.manifest("two", "1"), registry.manifest("one", "1"));
    env.docker(&["rmi", "-f", &image.id()]).exits(0);
}

#[test]
fn all_tags_are_pushed() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    for tag in ["a", "b"] {
        let image = image_of(if tag == "a" { 40 } else { 41 }, 1, 300);
        load_as(&env, &image, &registry.name(&format!("all:{tag}")));
    }
    env.docker(&["push", "-a", &registry.name("all")]).exits(0);
    assert!(registry.manifest("all", "a").is_some() && registry.manifest("all", "b").is_some());
    for tag in ["a", "b"] {
        env.docker(&["rmi", &registry.name(&format!("all:{tag}"))]).exits(0);
    }
}

#[test]
fn what_cannot_be_pushed() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    let name = registry.name("none:1");
    env.docker(&["push", &name])
        .exits(1)
        .says(&format!("An image does not exist locally with the tag: {}", registry.name("none")));
    env.docker(&["tag", "busybox", &name]).exits(0);
    env.docker(&["push", &registry.name("none:2")])
        .exits(1)
        .says(&format!("tag does not exist: {}", registry.name("none:2")));
    env.docker(&["push", &format!("{}@sha256:{}", registry.name("none"), "0".repeat(64))])
        .exits(1)
        .says("cannot push a digest reference");
    let nobody = "127.0.0.1:1/nobody:1";
    env.docker(&["tag", "busybox", nobody]).exits(0);
    env.docker(&["push", nobody]).exits(1).says("connection refused");
    env.docker(&["rmi", &name, nobody]).exits(0);
}

#[test]
fn old_and_new_clients_push() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    for version in ["1.24", "1.41"] {
        let name = registry.name(&format!("old:{version}"));
        load_as(&env, &Image::busybox(), &name);
        let path = format!("/v{version}/images/{}/push?tag={version}", registry.name("old"));
        let auth = [("X-Registry-Auth", "e30=")];
        let answer = env.api_raw("POST", &path, &auth, None).is(200);
        let lines = messages(&answer.text());
        let head = format!("The push refers to repository [{}]", registry.name("old"));
        assert_eq!(lines[0], json!({ "status": head }));
        let last = &lines[lines.len() - 1];
        assert_eq!(last["aux"]["Tag"], version, "{last}");
        let digest = last["aux"]["Digest"].as_str().unwrap();
        assert!(registry.manifest("old", digest).is_some());
        env.docker(&["rmi", &name]).exits(0);
    }
}

#[test]
fn an_upload_that_breaks_goes_on_where_it_was() {
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    let image = image_of(42, 1, 300_000);
    let name = registry.name("broken:1");
    load_as(&env, &image, &name);
    for at in [At::UploadData, At::UploadEnd] {
        registry.remove("broken");
        registry.fault(at, 1, What::Cut { after: 100_000 });
        let said = env.docker(&["push", &name]).ok();
        assert!(said.contains("1: digest: sha256:"), "{said}");
        drop(registry.heal());
    }
    assert!(registry.manifest("broken", "1").is_some());
}

/// The registry that others use, so that it is not only our own idea of one that is spoken with.
#[test]
fn a_registry_of_somebody_elses() {
    let named = std::env::var_os("FERRY_DOCKER_REGISTRY").map(PathBuf::from);
    let Some(program) = named.or_else(|| find_program("docker-registry")) else {
        println!("not run: there is no docker-registry (apt-get install docker-registry)");
        return;
    };
    let env = Env::start();
    let folder = env.host_folder();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let root = folder.join("registry");
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
        root.display()
    );
    let file = folder.join("registry.yml");
    std::fs::write(&file, config).unwrap();
    let registry = Invocation::new(program).arg("serve").arg(&file).spawn();
    wait_until("the registry listens", Duration::from_secs(20), || {
        TcpStream::connect(address).ok()
    });
    let image = Image::busybox().layer(Tar::new().file("theirs", 0o644, "theirs"));
    let name = format!("{address}/some/thing:1");
    load_as(&env, &image, &name);
    let digest = digest_of(&env.docker(&["push", &name]).ok());
    env.docker(&["rmi", "-f", &image.id()]).exits(0);
    env.docker(&["pull", &name]).exits(0).prints(&digest);
    assert_eq!(env.docker(&["run", "--rm", &name, "cat", "/theirs"]).ok(), "theirs");
    // Mounted, not sent.
    let other = format!("{address}/other:1");
    env.docker(&["tag", &name, &other]).exits(0);
    env.docker(&["push", &other]).exits(0).prints("Mounted from some/thing");
    // What came from elsewhere, as it came; Docker packs it anew.
    if !env.is_foreign() {
        let source = FaultRegistry::start();
        let zstd = Form { layers: Compression::Zstd, ..Form::default() };
        let published = source.publish("exact:1", &image_of(48, 3, 200_000), zstd);
        let exact = format!("{address}/exact:1");
        env.docker(&["pull", &source.name("exact:1")]).exits(0);
        env.docker(&["tag", &source.name("exact:1"), &exact]).exits(0);
        assert_eq!(digest_of(&env.docker(&["push", &exact]).ok()), published.digest);
    }
    env.docker(&["push", "-a", &format!("{address}/nothing")]).exits(1);
    for name in [&name, &other] {
        env.docker(&["rmi", "-f", name]).exits(0);
    }
    registry.signal(Signal::TERM);
    drop(registry.finish());
}

/// What is said of each layer, in order, and what is said besides.
type Story = (BTreeMap<String, Vec<String>>, Vec<String>);

/// Reads a stream, without what depends on time.
fn story(text: &str) -> Story {
    let passing = ["Waiting", "Downloading", "Extracting", "Pushing"];
    let (mut layers, mut besides) = (BTreeMap::<String, Vec<String>>::new(), Vec::new());
    for message in messages(text) {
        let status = message["status"].as_str().unwrap_or_default().to_owned();
        match (message["id"].as_str(), message["progressDetail"].is_object()) {
            (Some(id), true) if !passing.contains(&status.as_str()) => {
                layers.entry(id.to_owned()).or_default().push(status);
            }
            (Some(_), true) => {}
            _ if message["error"].is_string() => besides.push(message.to_string()),
            // Docker writes the manifest anew, we send the one that came.
            _ if message["aux"]["Digest"].is_string() => besides.push("the digest".to_owned()),
            _ => besides.push(status.split("digest: ").next().unwrap_or_default().to_owned()),
        }
    }
    (layers, besides)
}

/// What an engine tells of a pull, of the same again, and of pushes.
fn stories(env: &Env, registry: &FaultRegistry) -> Vec<Story> {
    let ask = |path: &str| {
        let answer = env.api_raw("POST", path, &[("X-Registry-Auth", "e30=")], None);
        answer.text()
    };
    let pull = format!("/images/create?fromImage={}&tag=1", registry.name("story"));
    let mut told = vec![story(&ask(&pull)), story(&ask(&pull))];
    let digest = registry.asked("GET", "/manifests/").len();
    assert!(digest > 0, "the registry was asked");
    for path in ["story:nope", "nowhere:1"] {
        let (name, tag) = path.split_once(':').unwrap();
        let text = ask(&format!("/images/create?fromImage={}&tag={tag}", registry.name(name)));
        told.push((BTreeMap::new(), vec![text.trim().to_owned()]));
    }
    told.push(story(&ask(&format!("/images/{}/push?tag=1", registry.name("story")))));
    told.push(story(&ask(&format!("/images/{}/push?tag=none", registry.name("story")))));
    told.push(story(&ask(&format!("/images/{}/push?tag=1", registry.name("none")))));
    env.docker(&["rmi", "-f", &registry.name("story:1")]).exits(0);
    told
}

#[test]
fn transfers_are_told_as_the_reference_tells_them() {
    let Some(host) = reference_host() else {
        println!("not run: there is no FERRY_REFERENCE to compare with");
        return;
    };
    let registry = FaultRegistry::start();
    drop(registry.publish("story:1", &image_of(49, 3, 2000), Form::docker()));
    let ours = stories(&Env::builder().own().without_busybox().start(), &registry);
    let theirs = stories(&Env::foreign(&host), &registry);
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "step {number}");
    }
}
