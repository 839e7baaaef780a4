//! Images in from a registry.

use std::path::PathBuf;
use std::time::Duration;

use ferry_testkit::registry::{At, Form, What};
use ferry_testkit::tar::Tar;
use ferry_testkit::{Compression, Env, FaultRegistry, Image, observe, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Bytes that no packing makes smaller; the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image with no program in it: so many layers, each with a file of so many bytes.
pub(crate) fn image_of(seed: u64, layers: u64, bytes: usize) -> Image {
    let layer = |at: u64| {
        let name = format!("file-{seed}-{at}");
        Tar::new().file(&name, 0o644, noise(seed * 100 + at, bytes)).finish()
    };
    Image::new((0..layers).map(layer).collect())
}

/// Everything that the engine keeps of images, but what was fetched in part.
pub(crate) fn kept(env: &Env) -> Vec<PathBuf> {
    let root = env.data_root();
    let mut all = Vec::new();
    for folder in ["blobs/sha256", "layers", "tmp"] {
        let files = observe::files(&root.join(folder));
        all.extend(files.into_iter().map(|path| root.join(folder).join(path)));
    }
    // Inside a layer there is only what was in it; `nothing` is what an image without layers has.
    all.retain(|path| !path.ends_with("layers/nothing"));
    let layers = root.join("layers");
    all.retain(|path| {
        path.strip_prefix(&layers).map_or(true, |rest| rest.components().count() < 2)
    });
    all.sort();
    all
}

/// Waits until nothing is kept but what was kept before; or not even all of that.
#[track_caller]
pub(crate) fn nothing_more_than(env: &Env, before: &[PathBuf]) {
    let mut more = Vec::new();
    let so = ferry_testkit::wait::poll(Duration::from_secs(10), || {
        more = kept(env);
        more.retain(|path| !before.contains(path));
        more.is_empty().then_some(())
    });
    assert!(so.is_some(), "left behind: {more:#?}");
}

/// Looks over the whole store and wants nothing to be wrong.
#[track_caller]
pub(crate) fn scrub(env: &Env) {
    let answer = env.api("POST", "/ferry/scrub", None).is(200);
    let lines: Vec<Value> =
        answer.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let report = lines.last().map(|line| &line["aux"]).unwrap_or(&Value::Null);
    assert!(report["Damaged"] == json!(0), "{}", answer.text());
}

/// The messages of a stream.
#[track_caller]
pub(crate) fn messages(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn remove(env: &Env, name: &str) {
    env.docker(&["rmi", "-f", name]).exits(0);
}

#[test]
fn a_pull_says_what_docker_says() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    let image = Image::busybox().layer(Tar::new().file("two", 0o644, "two"));
    let published = registry.publish("some/thing:1", &image, Form::docker());
    let name = registry.name("some/thing:1");
    let said = env.docker(&["pull", &name]).ok();
    let (digest, whole) = (&published.digest, &name);
    assert!(said.starts_with("1: Pulling from some/thing\n"), "{said}");
    let end = format!("Digest: {digest}\nStatus: Downloaded newer image for {whole}\n{whole}");
    assert!(said.ends_with(&end), "{said}");
    assert_eq!(env.inspect(&name, "{{.Id}} {{.RepoTags}}"), format!("{} [{name}]", image.id()));
    let by_digest = registry.name(&format!("some/thing@{digest}"));
    assert_eq!(env.inspect(&name, "{{.RepoDigests}}"), format!("[{by_digest}]"));
    assert_eq!(env.docker(&["run", "--rm", &name, "cat", "/two"]).ok(), "two");
    // Again: nothing but the manifest is asked for.
    registry.forget_requests();
    let said = env.docker(&["pull", &name]).ok();
    assert!(said.contains(&format!("Status: Image is up to date for {name}")), "{said}");
    assert!(registry.asked("GET", "/blobs/").iter().all(|seen| seen.path.contains(&image.id())));
    // What is here of another image is not fetched.
    let other = image.clone().layer(Tar::new().file("three", 0o644, "three"));
    let published = registry.publish("other:1", &other, Form::docker());
    registry.forget_requests();
    let said = env.docker(&["pull", &registry.name("other:1")]).ok();
    assert_eq!(said.matches("Already exists").count(), 2, "{said}");
    assert_eq!(said.matches("Pull complete").count(), 1, "{said}");
    for layer in &published.layers[..2] {
        assert!(registry.asked("GET", layer).is_empty(), "{layer} was fetched again");
    }
    assert_eq!(env.docker(&["pull", "-q", &name]).ok(), name);
    remove(&env, &name);
    remove(&env, &registry.name("other:1"));
}

#[test]
fn images_of_every_form() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    let plain = Form { layers: Compression::Plain, ..Form::default() };
    let zstd = Form { layers: Compression::Zstd, ..Form::default() };
    let forms =
        [("gzip", Form::default()), ("plain", plain), ("zstd", zstd), ("v2", Form::docker())];
    for (tag, form) in forms {
        // Each with a layer of its own, so that it is really fetched.
        let image = Image::busybox().layer(Tar::new().file("form", 0o644, tag));
        let published = registry.publish(&format!("form:{tag}"), &image, form);
        let name = registry.name(&format!("form:{tag}"));
        env.docker(&["pull", &name]).exits(0).prints(&published.digest);
        assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
        assert_eq!(env.docker(&["run", "--rm", &name, "cat", "/form"]).ok(), tag);
        remove(&env, &name);
    }
}

#[test]
fn a_pull_by_digest() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    let image = Image::busybox().with("Env", json!(["BY=digest"]));
    let published = registry.publish("a/b:1", &image, Form::default());
    let name = registry.name(&format!("a/b@{}", published.digest));
    let said = env.docker(&["pull", &name]).ok();
    assert!(
        said.ends_with(&format!("Status: Downloaded newer image for {name}\n{name}")),
        "{said}"
    );
    assert_eq!(
        env.inspect(&name, "{{.Id}} {{.RepoTags}} {{.RepoDigests}}"),
        format!("{} [] [{name}]", image.id())
    );
    assert_eq!(env.docker(&["run", "--rm", &name, "sh", "-c", "echo $BY"]).ok(), "digest");
    let line = env
        .docker(&["images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"])
        .ok();
    let expect = format!("{} <none> {}", registry.name("a/b"), published.digest);
    assert!(line.lines().any(|line| line == expect), "{line}");
    remove(&env, &name);
    let other = registry.name(&format!("a/b@sha256:{}", "0".repeat(64)));
    env.docker(&["pull", &other]).exits(1).says("not found");
}

#[test]
fn an_index_has_one_for_each_machine() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    let mine = registry.publish(
        "multi",
        &Image::busybox().with("Env", json!(["MINE=1"])),
        Form::default(),
    );
    let theirs = image_of(7, 1, 100);
    let theirs = registry.publish("multi", &theirs, Form::of("s390x"));
    for docker in [false, true] {
        let tag = format!("multi:{docker}");
        let digest = registry.publish_index(&tag, &[&theirs, &mine], docker);
        let name = registry.name(&tag);
        let said = env.docker(&["pull", &name]).ok();
        assert!(said.contains(&format!("Digest: {digest}\n")), "{said}");
        assert_eq!(env.inspect(&name, "{{.Id}}"), mine.id);
        assert_eq!(env.docker(&["run", "--rm", &name, "sh", "-c", "echo $MINE"]).ok(), "1");
        env.docker(&["pull", "--platform", "linux/s390x", &name]).exits(0);
        assert_eq!(env.inspect(&name, "{{.Id}} {{.Architecture}}"), format!("{} s390x", theirs.id));
        let said = env.docker(&["pull", "--platform", "linux/mips64le", &name]).exits(1);
        let said =
            said.says("no matching manifest for linux/mips64le in the manifest list entries");
        drop(said);
        remove(&env, &name);
    }
}

#[test]
fn all_tags_of_a_repository() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    registry.page(2);
    let tags = ["1", "2", "3", "4", "5"];
    for (seed, tag) in tags.iter().enumerate() {
        let image = image_of(20 + u64::try_from(seed).unwrap(), 1, 200);
        drop(registry.publish(&format!("many:{tag}"), &image, Form::default()));
    }
    let name = registry.name("many");
    let said = env.docker(&["pull", "-a", &name]).ok();
    assert_eq!(said.matches("Pulling from many").count(), 5, "{said}");
    let mut found: Vec<String> = env
        .docker(&["images", "--format", "{{.Tag}}", &name])
        .ok()
        .lines()
        .map(Into::into)
        .collect();
    found.sort();
    assert_eq!(found, tags);
    for tag in tags {
        remove(&env, &format!("{name}:{tag}"));
    }
}

#[test]
fn what_is_not_there() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    drop(registry.publish("here:1", &image_of(1, 1, 100), Form::default()));
    let name = registry.name("here:2");
    env.docker(&["pull", &name])
        .exits(1)
        .says(&format!("manifest for {name} not found: manifest unknown: manifest unknown"));
    env.docker(&["pull", "-a", &registry.name("nowhere")])
        .exits(1)
        .says("repository name not known to registry");
    env.docker(&["pull", "UPPER"]).exits(1).says("must be lowercase");
    env.docker(&["run", "--rm", &name, "true"]).exits(125).says("Unable to find image");
    let nobody = "127.0.0.1:1/nobody";
    env.docker(&["pull", nobody]).exits(1).says("connection refused");
    // The old form that Docker gave up.
    let old = json!({ "schemaVersion": 1, "name": "here", "tag": "old", "architecture": "amd64", "fsLayers": [], "history": [], "signatures": [] });
    let media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    registry.put_manifest("here:old", media_type, old.to_string().as_bytes());
    env.docker(&["pull", &registry.name("here:old")]).exits(1);
    // Something that is no image.
    let artifact = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.example+json", "digest": registry.put_blob("here", b"{}"), "size": 2 },
        "layers": [] });
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    registry.put_manifest("here:artifact", media_type, artifact.to_string().as_bytes());
    env.docker(&["pull", &registry.name("here:artifact")]).exits(1);
    let names = env.docker(&["images", "--format", "{{.Repository}}"]).ok();
    assert!(!names.contains(&registry.address().to_string()), "{names}");
}

#[test]
fn run_fetches_what_is_missing() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    let image = Image::busybox().with("Env", json!(["FETCHED=yes"]));
    drop(registry.publish("fetched:1", &image, Form::default()));
    let name = registry.name("fetched:1");
    let said = env.docker(&["run", "--rm", &name, "sh", "-c", "echo $FETCHED"]).exits(0);
    assert_eq!(said.out(), "yes");
    assert!(said.err().contains(&format!("Unable to find image '{name}' locally")), "{said:?}");
    let said = env.docker(&["run", "--rm", "--pull", "never", &registry.name("none:1"), "true"]);
    drop(said.exits(125));
    registry.forget_requests();
    env.docker(&["run", "--rm", "--pull", "always", &name, "true"]).exits(0);
    assert!(
        registry.requests().iter().any(|seen| seen.path.contains("/manifests/")),
        "it was looked for"
    );
    remove(&env, &name);
}

#[test]
fn old_and_new_clients_pull() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    for version in ["1.24", "1.41", "1.51"] {
        let image = Image::busybox().with("Env", json!([format!("V={version}")]));
        drop(registry.publish(&format!("old:{version}"), &image, Form::docker()));
        if env.is_foreign() && version == "1.51" {
            continue;
        }
        let path =
            format!("/v{version}/images/create?fromImage={}&tag={version}", registry.name("old"));
        let answer = env.api("POST", &path, None).is(200);
        let lines = messages(&answer.text());
        assert_eq!(lines[0], json!({ "status": "Pulling from old", "id": version }));
        let name = registry.name(&format!("old:{version}"));
        assert_eq!(
            lines[lines.len() - 1],
            json!({ "status": format!("Status: Downloaded newer image for {name}") })
        );
        remove(&env, &name);
    }
}

#[test]
fn a_pull_is_told_as_an_event() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    drop(registry.publish("event:1", &image_of(2, 1, 100), Form::default()));
    let name = registry.name("event:1");
    env.docker(&["pull", &name]).exits(0);
    let told = env.docker(&[
        "events",
        "--since",
        "10m",
        "--until",
        "-1s",
        "--filter",
        "type=image",
        "--format",
        "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}",
    ]);
    let expect = format!("pull {name} {}", registry.name("event"));
    assert!(told.out().lines().any(|line| line == expect), "{told:?}");
    remove(&env, &name);
}

#[test]
fn pulls_at_once_fetch_each_layer_once() {
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    let base = image_of(3, 3, 60_000);
    let images: Vec<_> = (0..6_u64)
        .map(|at| {
            let top = Tar::new().file("top", 0o644, noise(900 + at, 1000)).finish();
            let image = Image::new([base.layers.clone(), vec![top]].concat());
            registry.publish(&format!("at-once:{at}"), &image, Form::default())
        })
        .collect();
    for layer in 0..3 {
        registry.fault(At::Layer(layer), 1, What::Slow { bytes_per_second: 120_000 });
    }
    let pulls: Vec<_> = (0..6)
        .map(|at| env.invoke(&["pull", &registry.name(&format!("at-once:{at}"))]).spawn())
        .collect();
    for pull in pulls {
        drop(pull.finish().exits(0));
    }
    for layer in &images[0].layers[..3] {
        assert_eq!(registry.asked("GET", layer).len(), 1, "{layer} was fetched once");
    }
    for (at, image) in images.iter().enumerate() {
        assert_eq!(env.inspect(&registry.name(&format!("at-once:{at}")), "{{.Id}}"), image.id);
    }
    scrub(&env);
}

/// Waits until a part of this blob is on disk, and says how much.
#[track_caller]
fn part_of(env: &Env, digest: &str, least: u64) -> u64 {
    let path = env.data_root().join("blobs/partial").join(digest.trim_start_matches("sha256:"));
    wait_until("a part of the layer is here", Duration::from_secs(20), || {
        std::fs::metadata(&path).ok().map(|it| it.len()).filter(|length| *length >= least)
    })
}

/// Where the last request for this blob began.
#[track_caller]
fn began_at(registry: &FaultRegistry, digest: &str) -> u64 {
    let asked = registry.asked("GET", digest);
    let range = asked.last().unwrap().header("range").unwrap_or("bytes=0-");
    range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap()
}

#[test]
fn a_cancelled_pull_goes_on_where_it_was() {
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    let image = image_of(4, 2, 600_000);
    let published = registry.publish("cancel:1", &image, Form::default());
    let name = registry.name("cancel:1");
    registry.fault(At::Layer(1), 1, What::Slow { bytes_per_second: 200_000 });
    let pull = env.invoke(&["pull", &name]).spawn();
    part_of(&env, &published.layers[1], 100_000);
    pull.signal(Signal::INT);
    drop(pull.finish().fails());
    env.docker(&["image", "inspect", &name]).exits(1);
    let first = &published.layers[0];
    wait_until("the engine has noticed", Duration::from_secs(10), || {
        // The whole layer is kept, the other not; nobody writes any more.
        let before = part_of(&env, &published.layers[1], 1);
        ferry_testkit::wait::nap(Duration::from_millis(300));
        (part_of(&env, &published.layers[1], 1) == before).then_some(())
    });
    registry.forget_requests();
    env.docker(&["pull", &name]).exits(0);
    assert!(began_at(&registry, &published.layers[1]) >= 100_000);
    assert!(registry.asked("GET", first).is_empty(), "a whole layer is not fetched again");
    assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
    scrub(&env);
}

#[test]
fn a_killed_engine_goes_on_where_it_was() {
    let mut env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    let image = image_of(5, 2, 600_000);
    let published = registry.publish("killed:1", &image, Form::default());
    let name = registry.name("killed:1");
    registry.fault(At::Layer(1), 1, What::Slow { bytes_per_second: 200_000 });
    let pull = env.invoke(&["pull", &name]).spawn();
    part_of(&env, &published.layers[1], 100_000);
    env.kill_engine();
    drop(pull.finish().fails());
    env.start_engine();
    registry.forget_requests();
    env.docker(&["pull", &name]).exits(0);
    assert!(began_at(&registry, &published.layers[1]) >= 100_000);
    assert!(registry.asked("GET", &published.layers[0]).is_empty());
    assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
    scrub(&env);
}

#[test]
fn a_mirror_is_asked_first() {
    let mirror = FaultRegistry::start();
    let image = Image::busybox().with("Env", json!(["FROM=mirror"]));
    drop(mirror.publish("library/mirrored:1", &image, Form::docker()));
    let address = format!("http://{}", mirror.address());
    let env = Env::builder().own().flags(&["--registry-mirror", &address]).start();
    let said = env.docker(&["pull", "mirrored:1"]).ok();
    assert!(said.ends_with("docker.io/library/mirrored:1"), "{said}");
    assert_eq!(env.docker(&["run", "--rm", "mirrored:1", "sh", "-c", "echo $FROM"]).ok(), "mirror");
    let mirrors = env.docker(&["info", "--format", "{{.RegistryConfig.Mirrors}}"]).ok();
    assert_eq!(mirrors, format!("[{address}/]"));
}

#[test]
fn a_pull_needs_no_more_than_the_images_files() {
    let env = Env::builder().own().start();
    let before = kept(&env);
    let registry = FaultRegistry::start();
    let published = registry.publish("clean:1", &image_of(6, 3, 5000), Form::default());
    let name = registry.name("clean:1");
    env.docker(&["pull", &name]).exits(0);
    let root = env.data_root().join("blobs/sha256");
    for digest in published.layers.iter().chain([&published.digest, &published.id]) {
        assert!(root.join(&digest[7..]).exists(), "{digest} is kept as it came");
    }
    remove(&env, &name);
    env.docker(&["image", "prune", "-af"]).exits(0);
    nothing_more_than(&env, &before);
    scrub(&env);
}
