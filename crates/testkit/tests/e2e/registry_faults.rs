//! Registries that misbehave: each ends in success or in one line, and leaves nothing behind.

use std::time::Duration;

use ferry_testkit::registry::{At, Form, What};
use ferry_testkit::tar::{Entry, Tar};
use ferry_testkit::{Env, FaultRegistry, Image, Output};
use serde_json::{Value, json};

use crate::pull::{image_of, kept, nothing_more_than, scrub};

/// How a transfer is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    /// One line with these words.
    Failure(&'static str),
}
use End::{Failure, Success};

/// An engine that tries three times.
fn engine() -> Env {
    Env::builder()
        .own()
        .without_busybox()
        .flags(&["--max-download-attempts", "3", "--log-level", "trace"])
        .start()
}

/// One failure, in one line.
#[track_caller]
fn fails_plainly(what: &str, output: &Output, words: &str) {
    assert!(!output.timed_out && output.code == 1, "{what}: {output:?}");
    let err = output.err();
    assert!(err.contains(words), "{what}: expected {words:?}\n{output:?}");
    assert_eq!(err.lines().filter(|line| !line.trim().is_empty()).count(), 1, "{what}: {err}");
}

const PULL_FAULTS: &[(At, u32, What, End)] = &[
    // What passes is borne.
    (At::Manifest, 1, What::Cut { after: 20 }, Success),
    (At::Manifest, 1, What::Status(503), Success),
    (At::Manifest, 2, What::Status(500), Success),
    (At::Manifest, 1, What::RetryAfter(1), Success),
    (At::Manifest, 1, What::LostAnswer, Success),
    (At::Manifest, 9, What::MissingDigestHeader, Success),
    // The manifest says itself what it is.
    (At::Manifest, 9, What::WrongMediaType, Success),
    (At::Config, 1, What::Cut { after: 20 }, Success),
    (At::Config, 1, What::Status(502), Success),
    (At::Config, 1, What::RetryAfter(1), Success),
    (At::Layer(0), 1, What::Cut { after: 0 }, Success),
    (At::Layer(0), 2, What::Cut { after: 10_000 }, Success),
    (At::Layer(0), 1, What::Status(503), Success),
    (At::Layer(1), 1, What::RetryAfter(1), Success),
    (At::Layer(1), 1, What::LostAnswer, Success),
    (At::Layer(1), 9, What::Slow { bytes_per_second: 200_000 }, Success),
    (At::Layer(1), 9, What::NoRange, Success),
    (At::Layer(0), 1, What::WrongBytes, Success),
    // What stays is told.
    (At::Manifest, 9, What::Cut { after: 20 }, Failure("")),
    (At::Manifest, 9, What::Status(404), Failure("manifest unknown")),
    (At::Manifest, 9, What::Status(403), Failure("denied")),
    (At::Manifest, 9, What::Status(500), Failure("")),
    (
        At::Manifest,
        9,
        What::RateLimitWords,
        Failure("toomanyrequests: You have reached your pull rate limit"),
    ),
    (At::Manifest, 9, What::RetryAfter(3600), Failure("toomanyrequests")),
    (At::Manifest, 9, What::HugeBody, Failure("")),
    (At::Manifest, 9, What::WrongBytes, Failure("")),
    (At::Manifest, 9, What::WrongDigestHeader, Failure("")),
    (At::Manifest, 9, What::RedirectLoop, Failure("redirect")),
    (At::Config, 9, What::WrongBytes, Failure("")),
    (At::Config, 9, What::LongBody, Failure("")),
    (At::Config, 9, What::Status(404), Failure("")),
    (At::Config, 9, What::HugeBody, Failure("")),
    (At::Layer(0), 9, What::Cut { after: 0 }, Failure("")),
    (At::Layer(0), 9, What::WrongBytes, Failure("")),
    (At::Layer(0), 9, What::LongBody, Failure("")),
    (At::Layer(0), 9, What::Truncate { to: 5000 }, Failure("the blob has 5000 bytes, not")),
    (At::Layer(0), 9, What::Status(404), Failure("")),
    (At::Layer(1), 9, What::Status(403), Failure("denied")),
    (At::Layer(1), 9, What::RedirectLoop, Failure("redirect")),
    (At::Layer(1), 9, What::HugeBody, Failure("")),
];

#[test]
fn pulls_from_a_registry_that_misbehaves() {
    let env = engine();
    let registry = FaultRegistry::start();
    let before = kept(&env);
    for (seed, (at, times, what, end)) in (100..).zip(PULL_FAULTS) {
        let image = image_of(seed, 2, 20_000);
        let tag = format!("fault:{seed}");
        drop(registry.publish(&tag, &image, Form::default()));
        let name = registry.name(&tag);
        let case = format!("{times} x {what:?} at {at:?}");
        registry.fault(*at, *times, what.clone());
        let output = env.docker(&["pull", &name]);
        let unmet = registry.heal();
        assert!(*times == 9 || unmet.is_empty(), "{case}: nobody met {unmet:?}");
        match end {
            Success => assert!(output.code == 0, "{case}: {output:?}"),
            Failure(words) => {
                fails_plainly(&case, &output, words);
                env.docker(&["image", "inspect", &name]).exits(1);
                // The registry is well again.
                env.docker(&["pull", &name]).exits(0);
            }
        }
        assert_eq!(env.inspect(&name, "{{.Id}}"), image.id(), "{case}");
        env.docker(&["rmi", &name]).exits(0);
    }
    scrub(&env);
    env.docker(&["image", "prune", "-af"]).exits(0);
    nothing_more_than(&env, &before);
}

const PUSH_FAULTS: &[(At, u32, What, End)] = &[
    (At::HasBlob, 1, What::Status(503), Success),
    (At::HasBlob, 1, What::LostAnswer, Success),
    // Whether it is there need not be known.
    (At::HasBlob, 99, What::Status(403), Success),
    (At::HasBlob, 99, What::Status(405), Success),
    (At::HasBlob, 99, What::Status(500), Success),
    (At::UploadStart, 1, What::Status(503), Success),
    (At::UploadStart, 1, What::LostAnswer, Success),
    (At::UploadStart, 1, What::RetryAfter(1), Success),
    (At::UploadEnd, 1, What::Status(503), Success),
    (At::UploadEnd, 1, What::Cut { after: 3000 }, Success),
    (At::UploadEnd, 1, What::LostAnswer, Success),
    (At::ManifestPut, 1, What::Status(502), Success),
    (At::ManifestPut, 1, What::Cut { after: 20 }, Success),
    (At::ManifestPut, 1, What::LostAnswer, Success),
    (At::UploadStart, 99, What::Status(403), Failure("denied")),
    (At::UploadStart, 99, What::Status(500), Failure("")),
    (At::UploadEnd, 99, What::Status(400), Failure("")),
    (At::ManifestPut, 99, What::Status(400), Failure("")),
    (At::ManifestPut, 99, What::Status(403), Failure("denied")),
    (At::ManifestPut, 99, What::WrongDigestHeader, Failure("")),
];

#[test]
fn pushes_to_a_registry_that_misbehaves() {
    let env = engine();
    let registry = FaultRegistry::start();
    let image = image_of(90, 2, 20_000);
    for (number, (at, times, what, end)) in PUSH_FAULTS.iter().enumerate() {
        let repository = format!("fault-{number}");
        let name = registry.name(&format!("{repository}:1"));
        env.load(&image, &name);
        let case = format!("{times} x {what:?} at {at:?}");
        registry.fault(*at, *times, what.clone());
        let output = env.docker(&["push", &name]);
        let unmet = registry.heal();
        assert!(*times == 99 || unmet.is_empty(), "{case}: nobody met {unmet:?}");
        match end {
            Success => assert!(output.code == 0, "{case}: {output:?}"),
            Failure(words) => {
                fails_plainly(&case, &output, words);
                env.docker(&["push", &name]).exits(0);
            }
        }
        assert!(registry.manifest(&repository, "1").is_some(), "{case}");
        env.docker(&["rmi", &name]).exits(0);
        // Else the next push finds everything to be mounted.
        registry.remove(&repository);
    }
    scrub(&env);
}

#[test]
fn a_silent_registry_is_not_waited_for_for_ever() {
    let env = engine();
    let registry = FaultRegistry::start();
    let image = image_of(91, 1, 20_000);
    drop(registry.publish("silent:1", &image, Form::default()));
    registry.fault(At::Layer(0), 1, What::Stall);
    let name = registry.name("silent:1");
    let pull = env.invoke(&["pull", &name]).deadline(Duration::from_secs(120));
    drop(pull.run().exits(0));
    assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
}

/// How a manifest is made to lie.
type Change = Box<dyn FnOnce(&mut Value)>;

#[test]
fn manifests_that_lie_are_refused() {
    let env = engine();
    let registry = FaultRegistry::start();
    let before = kept(&env);
    let layer = |at: usize, key: &'static str, value: Value| {
        Box::new(move |manifest: &mut Value| manifest["layers"][at][key] = value) as Change
    };
    let config = |key: &'static str, value: Value| {
        Box::new(move |manifest: &mut Value| manifest["config"][key] = value) as Change
    };
    let zeros = format!("sha256:{}", "0".repeat(64));
    let cases: Vec<(&str, Change)> = vec![
        ("a layer that is longer", layer(0, "size", json!(100))),
        ("a layer that is shorter", layer(0, "size", json!(1 << 20))),
        ("a layer of no size", layer(1, "size", json!(0))),
        ("a layer of a size beneath nothing", layer(1, "size", json!(-5))),
        ("a layer larger than any", layer(1, "size", json!(1_u64 << 60))),
        ("a layer that is not there", layer(0, "digest", json!(zeros))),
        ("a digest that is none", layer(0, "digest", json!("sha256:../../../etc/passwd"))),
        (
            "a digest of another kind",
            layer(0, "digest", json!("md5:d41d8cd98f00b204e9800998ecf8427e")),
        ),
        ("a configuration that is longer", config("size", json!(10))),
        ("a configuration of the wrong size", config("size", json!(1 << 30))),
        ("no layers", Box::new(|manifest| manifest["layers"] = json!([]))),
        (
            "a layer too few",
            Box::new(|manifest| drop(manifest["layers"].as_array_mut().unwrap().pop())),
        ),
        (
            "a layer twice",
            Box::new(|manifest| {
                let again = manifest["layers"][0].clone();
                manifest["layers"].as_array_mut().unwrap().push(again);
            }),
        ),
        (
            "layers in the wrong order",
            Box::new(|manifest| manifest["layers"].as_array_mut().unwrap().reverse()),
        ),
        (
            "ten thousand layers",
            Box::new(|manifest| {
                let again = manifest["layers"][0].clone();
                manifest["layers"] = json!(vec![again; 10_000]);
            }),
        ),
        ("layers that are a word", Box::new(|manifest| manifest["layers"] = json!("nonsense"))),
        ("another version", Box::new(|manifest| manifest["schemaVersion"] = json!(7))),
    ];
    for (seed, (what, change)) in (200..).zip(cases) {
        let tag = format!("liar:{seed}");
        let image = image_of(seed, 2, 5000);
        drop(registry.publish_changed(&tag, &image, Form::default(), change));
        let output = env.docker(&["pull", &registry.name(&tag)]);
        fails_plainly(what, &output, "");
        env.docker(&["image", "inspect", &registry.name(&tag)]).exits(1);
    }
    scrub(&env);
    env.docker(&["image", "prune", "-af"]).exits(0);
    nothing_more_than(&env, &before);
}

/// A zstd frame of so many mebibytes of zeros after a tar header; a few kilobytes long.
fn bomb(mebibytes: u64) -> Vec<u8> {
    const BLOCK: u32 = 128 << 10;
    let size = mebibytes << 20;
    let header = Tar::new().entry(&Entry::new(b'0', "zeros", 0o644)).finish();
    let mut header = header[..512].to_vec();
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    // Magic number; no content size, a window of 128 KiB. [RFC 8878, 3.1.1]
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    let block = |kind: u32, size: u32, is_last: bool| {
        let head = size << 3 | kind << 1 | u32::from(is_last);
        head.to_le_bytes()[..3].to_vec()
    };
    frame.extend(block(0, 512, false));
    frame.extend(header);
    let count = size / u64::from(BLOCK);
    for _ in 0..count {
        frame.extend(block(1, BLOCK, false));
        frame.push(0);
    }
    frame.extend(block(1, 1024, true));
    frame.push(0);
    frame
}

#[test]
fn a_layer_that_swells_is_refused() {
    let env = engine();
    let registry = FaultRegistry::start();
    let before = kept(&env);
    let image = image_of(92, 1, 100);
    let packed = bomb(3 << 10);
    let digest = registry.put_blob("bomb", &packed);
    drop(registry.publish_changed("bomb:1", &image, Form::default(), |manifest| {
        manifest["layers"][0] = json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
            "digest": digest, "size": packed.len(),
        });
    }));
    let output = env.docker(&["pull", &registry.name("bomb:1")]);
    fails_plainly("a bomb", &output, "");
    env.docker(&["image", "prune", "-af"]).exits(0);
    nothing_more_than(&env, &before);
    scrub(&env);
}

/// Layers that try to leave their root come through registries as through archives.
#[test]
fn a_layer_that_leaves_its_root_is_refused() {
    let env = engine();
    let registry = FaultRegistry::start();
    let before = kept(&env);
    let upwards = Tar::new().file("../../escaped", 0o644, "evil").finish();
    let link = Tar::new().symlink("door", "/tmp").file("door/escaped", 0o644, "evil").finish();
    for (tag, layer) in [("hostile:1", upwards), ("hostile:2", link)] {
        drop(registry.publish(tag, &Image::new(vec![layer]), Form::default()));
        drop(env.docker(&["pull", &registry.name(tag)]));
        assert!(!std::path::Path::new("/tmp/escaped").exists(), "{tag} got out");
    }
    let names = env.docker(&["images", "-q"]).ok();
    for id in names.lines() {
        env.docker(&["rmi", "-f", id]).exits(0);
    }
    env.docker(&["image", "prune", "-af"]).exits(0);
    nothing_more_than(&env, &before);
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let folder = std::path::PathBuf::from(format!("/var/tmp/ferry-full-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let disk = Disk::small(&folder);
    let env = Env::builder().own().without_busybox().data_root(&disk.0).start();
    let before = kept(&env);
    let registry = FaultRegistry::start();
    drop(registry.publish("full:1", &image_of(93, 1, 40 << 20), Form::default()));
    let output = env.docker(&["pull", &registry.name("full:1")]);
    fails_plainly("a full disk", &output, "no space left on device");
    assert_eq!(kept(&env), before);
    env.docker(&["image", "prune", "-af"]).exits(0);
    let small = image_of(94, 1, 1000);
    drop(registry.publish("full:2", &small, Form::default()));
    env.docker(&["pull", &registry.name("full:2")]).exits(0);
    scrub(&env);
}

/// A file system in memory of 24 MiB.
struct Disk(std::path::PathBuf);

impl Disk {
    fn small(path: &std::path::Path) -> Self {
        let mount = ferry_testkit::Invocation::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(path).run().exits(0);
        Self(path.to_path_buf())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(ferry_testkit::Invocation::new("umount").arg("-l").arg(&self.0).run());
        drop(std::fs::remove_dir(&self.0));
    }
}
