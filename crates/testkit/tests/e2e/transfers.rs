//! Large pulls, many at once, and those that are given up: memory, order, and nothing lost.

use std::time::Duration;

use ferry_testkit::image::sha256;
use ferry_testkit::registry::{At, Form, What};
use ferry_testkit::tar::Tar;
use ferry_testkit::{Compression, Env, FaultRegistry, Image, Running, observe, wait};
use rustix::process::Signal;
use serde_json::json;

use crate::pull::{image_of, noise, nothing_more_than, scrub};

const MEBIBYTE: usize = 1 << 20;
/// What the engine may have had in memory at most, in kilobytes.
const RESIDENT_MAX_KB: u64 = 150 << 10;

/// Puts 12 layers of 25 MiB into a registry, half packed with gzip and half with zstd; gives the
/// image's id.
fn publish_large(registry: &FaultRegistry) -> String {
    let block = noise(260, MEBIBYTE);
    let packings = [Compression::Gzip, Compression::Zstd];
    // Both formats are sequences of members, so that one block need be packed only once.
    let packed = packings.map(|packing| packing.pack(&block));
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for number in 0..12 {
        let at = number % 2;
        let mut tar = Tar::new();
        tar.file(&format!("large-{number}"), 0o644, block.repeat(25));
        let whole = tar.finish();
        let (head, tail) = (&whole[..512], &whole[512 + 25 * MEBIBYTE..]);
        let mut blob = packings[at].pack(head);
        for _ in 0..25 {
            blob.extend_from_slice(&packed[at]);
        }
        blob.extend(packings[at].pack(tail));
        diff_ids.push(format!("sha256:{}", sha256(&whole)));
        let kind = ["gzip", "zstd"][at];
        layers.push(json!({
            "mediaType": format!("application/vnd.oci.image.layer.v1.tar+{kind}"),
            "digest": registry.put_blob("large", &blob), "size": blob.len(),
        }));
    }
    let config = json!({
        "architecture": ferry_testkit::image::architecture(), "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = config.to_string().into_bytes();
    let id = registry.put_blob("large", &config);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "layers": layers,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": id,
            "size": config.len(),
        },
    });
    registry.put_manifest("large:1", media_type, manifest.to_string().as_bytes());
    id
}

#[test]
fn a_large_pull_needs_little_memory() {
    let env = Env::builder().own().without_busybox().start();
    let registry = FaultRegistry::start();
    let id = publish_large(&registry);
    let name = registry.name("large:1");
    env.docker(&["pull", "-q", &name]).exits(0);
    let peak = observe::status(env.engine_pid(), "VmHWM").unwrap();
    let peak: u64 = peak.split(' ').next().unwrap().parse().unwrap();
    assert!(peak < RESIDENT_MAX_KB, "the engine had {peak} kB in memory");
    assert_eq!(env.inspect(&name, "{{.Id}}"), id);
}

/// Numbers of chance, the same for the same seed.
struct Chance(u64, u64);

impl Chance {
    fn new() -> Self {
        let seed = u64::from(std::process::id());
        Self(seed, 0)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.1 += 1;
        let bytes = noise(self.0 << 16 ^ self.1, 4);
        u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])) % limit
    }
}

/// Six images of four layers, three of which others have too.
fn publish_kin(registry: &FaultRegistry) -> Vec<Image> {
    let shared: Vec<_> = (0..4).map(|at| image_of(270 + at, 1, 150_000).layers).collect();
    let images = (0..6_u64).map(|number| {
        let from = usize::try_from(number).unwrap();
        let base = (0..3).map(|at| shared[(from + at) % 4].clone());
        let top = image_of(280 + number, 1, 20_000).layers;
        let image = Image::new(base.chain([top]).flatten().collect());
        drop(registry.publish(&format!("kin:{number}"), &image, Form::default()));
        image
    });
    images.collect()
}

fn pull(env: &Env, registry: &FaultRegistry, number: usize) -> Running {
    env.invoke(&["pull", "-q", &registry.name(&format!("kin:{number}"))]).spawn()
}

#[test]
fn pulls_at_once_that_are_given_up_take_nothing_from_others() {
    let env = Env::builder().own().without_busybox().start();
    let before = crate::pull::kept(&env);
    let registry = FaultRegistry::start();
    let images = publish_kin(&registry);
    let mut chance = Chance::new();
    for round in 0..4 {
        for layer in 0..3 {
            registry.fault(At::Layer(layer), 2, What::Slow { bytes_per_second: 600_000 });
        }
        registry.fault(At::Layer(1), 1, What::Cut { after: 50_000 });
        let pulls: Vec<_> = (0..12)
            .map(|at| (at % 6, chance.below(3) == 0, pull(&env, &registry, at % 6)))
            .collect();
        for (number, is_given_up, pull) in pulls {
            if is_given_up {
                wait::nap(Duration::from_millis(chance.below(120)));
                pull.signal(Signal::INT);
                // It may have been done before.
                drop(pull.finish());
            } else {
                let said = pull.finish();
                let seed = chance.0;
                assert!(said.code == 0, "seed {seed}, round {round}, {number}: {said:?}");
            }
        }
        drop(registry.heal());
        scrub(&env);
        for (number, image) in images.iter().enumerate() {
            pull(&env, &registry, number).finish().exits(0);
            let name = registry.name(&format!("kin:{number}"));
            assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
        }
        env.docker(&["image", "prune", "-af"]).exits(0);
        nothing_more_than(&env, &before);
    }
    scrub(&env);
}

#[test]
fn containers_come_and_go_while_images_do() {
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    let images: Vec<Image> = (0..3)
        .map(|number| {
            let kin = Tar::new().file("kin", 0o644, noise(290, 100_000)).finish();
            let own = Tar::new().file("own", 0o644, format!("own {number}")).finish();
            Image::new([Image::busybox().layers, vec![kin, own]].concat())
        })
        .collect();
    for (number, image) in images.iter().enumerate() {
        drop(registry.publish(&format!("busy:{number}"), image, Form::default()));
    }
    let name = |number: usize| registry.name(&format!("busy:{number}"));
    // One container holds what others share.
    env.docker(&["pull", "-q", &name(0)]).exits(0);
    let held = env.run_detached(&[&name(0), "sleep", "1000"]);
    for round in 0..6_usize {
        let (one, two) = (round % 3, (round + 1) % 3);
        registry.fault(At::Layer(1), 1, What::Slow { bytes_per_second: 400_000 });
        let pulling = env.invoke(&["pull", "-q", &name(one)]).spawn();
        let running = env.invoke(&["run", "--rm", &name(two), "cat", "/own"]).spawn();
        let pruning = env.invoke(&["image", "prune", "-af"]).spawn();
        let removing = env.invoke(&["rmi", "-f", &name(one)]).spawn();
        drop(removing.finish());
        drop(pruning.finish().exits(0));
        drop(pulling.finish().exits(0));
        // The image may go between its pull and the container, which is said then.
        let ran = running.finish();
        assert!(
            ran.out() == format!("own {two}") || ran.err().contains("No such image"),
            "round {round}: {ran:?}"
        );
        assert_eq!(env.docker(&["exec", &held, "cat", "/own"]).ok(), "own 0", "round {round}");
        drop(registry.heal());
    }
    scrub(&env);
    for (number, image) in images.iter().enumerate() {
        env.docker(&["pull", "-q", &name(number)]).exits(0);
        assert_eq!(env.inspect(&name(number), "{{.Id}}"), image.id());
        let ran = env.docker(&["run", "--rm", &name(number), "sh", "-c", "wc -c </kin; cat /own"]);
        assert_eq!(ran.ok(), format!("100000\nown {number}"));
    }
    env.docker(&["rm", "-f", &held]).exits(0);
}
