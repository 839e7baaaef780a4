//! The engine is killed while images come, go and are made: what is stored stays in order.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use ferry_testkit::env::programs;
use ferry_testkit::registry::Form;
use ferry_testkit::{Env, FaultRegistry, Image, Invocation, Running, wait_until};
use serde_json::json;

use crate::pull::{image_of, noise, nothing_more_than, scrub};

/// How often the engine is killed at a moment of chance: `FERRY_E2E_KILLS`.
fn kills() -> u64 {
    std::env::var("FERRY_E2E_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Every step at which the engine can be made to kill itself.
pub(crate) fn all_failpoints() -> Vec<String> {
    let listing = Invocation::new(programs().join("ferryd")).arg("--list-failpoints").run().ok();
    listing.lines().map(ToOwned::to_owned).collect()
}

/// Whether a step is one of an image's life.
pub(crate) fn is_of_images(point: &str) -> bool {
    STEPS.iter().any(|step| point.split('.').next() == Some(step))
}

/// What is done to images; it is repeated until it succeeds.
struct Work {
    registry: FaultRegistry,
    archive: Vec<u8>,
}

impl Work {
    fn new() -> Self {
        let registry = FaultRegistry::start();
        drop(registry.publish("crash:1", &image_of(70, 3, 40_000), Form::default()));
        let archive = image_of(71, 2, 40_000).docker_archive(&["crash-loaded:1"]);
        Self { registry, archive }
    }

    /// Everything once; an image of each way in, and all of them out again.
    fn begin(&self, env: &Env, step: &str) -> Running {
        let name = self.registry.name("crash:1");
        match step {
            "pull" => env.invoke(&["pull", &name]).spawn(),
            "load" => env.invoke(&["load"]).stdin(self.archive.clone()).spawn(),
            "commit" => env.invoke(&["commit", "crash-container", "crash-committed:1"]).spawn(),
            "push" => env.invoke(&["push", &self.registry.name("crash-pushed:1")]).spawn(),
            "prune" => env.invoke(&["image", "prune", "-af"]).spawn(),
            other => panic!("no such step: {other}"),
        }
    }

    /// Makes the step's work necessary again.
    fn undo(&self, env: &Env, step: &str) {
        let name = match step {
            "pull" => self.registry.name("crash:1"),
            "load" => "crash-loaded:1".to_owned(),
            "commit" => "crash-committed:1".to_owned(),
            "push" => return self.registry.remove("crash-pushed"),
            // Something to be pruned.
            _ => {
                env.load(&image_of(72, 2, 20_000), "crash-unused:1");
                return;
            }
        };
        // It may be there or not.
        drop(env.docker(&["rmi", "-f", &name]));
    }
}

const STEPS: [&str; 5] = ["pull", "load", "commit", "push", "prune"];

/// An engine with a container to commit and an image to push.
fn prepared(work: &Work) -> Env {
    let env = Env::builder().own().start();
    let script =
        "mkdir /d; for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/d/$i bs=4k count=4; done";
    env.docker(&["run", "--name", "crash-container", "busybox", "sh", "-c", script]).exits(0);
    let pushed = work.registry.name("crash-pushed:1");
    let image = Image::busybox().with("Env", json!(["PUSHED=1"]));
    env.load(&image, &pushed);
    // A container keeps it from being pruned.
    env.docker(&["create", "--name", "keeps-pushed", &pushed]).exits(0);
    env
}

/// After every death: nothing is damaged, nothing is half, and the same again succeeds.
#[track_caller]
fn check(env: &Env, work: &Work, what: &str, step: &str) {
    scrub(env);
    let output = work.begin(env, step).finish();
    assert!(output.code == 0, "{what}: the same again: {output:?}");
    env.docker(&["run", "--rm", "busybox", "true"]).exits(0);
}

/// Everything away, and no file is left.
fn clear(env: &Env) {
    let ids = env.docker(&["ps", "-aq"]).ok();
    for id in ids.lines() {
        env.docker(&["rm", "-f", id]).exits(0);
    }
    env.docker(&["image", "prune", "-af"]).exits(0);
    let left = env.docker(&["images", "-q"]).ok();
    assert_eq!(left, "", "nothing is kept from being pruned");
    nothing_more_than(env, &[]);
    let parts = env.data_root().join("blobs/partial");
    let parts = std::fs::read_dir(parts).map_or(0, Iterator::count);
    assert_eq!(parts, 0, "nothing fetched in part is kept");
    scrub(env);
}

#[test]
fn the_engine_can_die_at_any_step_of_an_image() {
    let work = Work::new();
    let mut env = prepared(&work);
    let mut points = all_failpoints();
    points.retain(|point| is_of_images(point));
    assert!(points.len() >= 5, "{points:?}");
    for point in &points {
        let step = point.split('.').next().unwrap();
        work.undo(&env, step);
        env.stop_engine();
        let child = env.spawn_engine(&["--failpoint", point], &[]);
        env.adopt_engine(child);
        wait_until("the engine answers", Duration::from_secs(20), || {
            ferry_testkit::api::request(env.socket(), "GET", "/_ping", &[], None).ok()
        });
        let output = work.begin(&env, step).finish();
        let ended = env.wait_engine_end(Duration::from_secs(5));
        let ended = ended.unwrap_or_else(|| panic!("{point}: was not passed: {output:?}"));
        assert_eq!(ended.signal(), Some(9), "{point}: ended by itself");
        env.start_engine();
        check(&env, &work, point, step);
    }
    clear(&env);
}

#[test]
fn the_engine_can_die_at_any_moment_of_an_image() {
    let work = Work::new();
    let mut env = prepared(&work);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    for round in 0..kills() {
        let step = STEPS[usize::try_from(round).unwrap() % STEPS.len()];
        work.undo(&env, step);
        let chance = noise(seed ^ round << 20, 2);
        let wait = u64::from(u16::from_le_bytes([chance[0], chance[1]])) % 400;
        let running = work.begin(&env, step);
        ferry_testkit::wait::nap(Duration::from_millis(wait));
        env.kill_engine();
        drop(running.finish());
        env.start_engine();
        check(&env, &work, &format!("round {round}, {step} for {wait} ms, seed {seed}"), step);
    }
    clear(&env);
}

#[test]
fn removing_while_pulling() {
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    let base = image_of(73, 2, 30_000);
    for at in 0..4_u64 {
        let top = image_of(74 + at, 1, 2000).layers;
        let image = Image::new([base.layers.clone(), top].concat());
        drop(registry.publish(&format!("busy:{at}"), &image, Form::default()));
    }
    for round in 0..5 {
        let pulls: Vec<_> = (0..4)
            .map(|at| env.invoke(&["pull", "-q", &registry.name(&format!("busy:{at}"))]).spawn())
            .collect();
        let prune = env.invoke(&["image", "prune", "-af"]).spawn();
        let name = registry.name(&format!("busy:{}", round % 4));
        drop(env.docker(&["rmi", "-f", &name]));
        drop(prune.finish().exits(0));
        for pull in pulls {
            drop(pull.finish().exits(0));
        }
        // Whatever has a name now is whole.
        for name in env
            .docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", &registry.name("busy")])
            .ok()
            .lines()
        {
            let archive = env.docker(&["save", name]).exits(0).stdout;
            assert!(archive.len() > 60_000, "{name} has its layers");
        }
        scrub(&env);
    }
}
