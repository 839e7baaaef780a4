//! The engine is killed while images come, go and are made: what is stored stays in order.

mod checks;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use ferry_testkit::env::programs;
use ferry_testkit::registry::Form;
use ferry_testkit::{Env, FaultRegistry, Image, Invocation, Running, wait_until};
use serde_json::json;

use crate::pull::{image_of, nothing_more_than, scrub};

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
        let image = image_of(70, 3, 400_000);
        drop(registry.publish("crash:1", &image, Form::default()));
        // It shares two layers with the other.
        let layers = [image.layers[..2].to_vec(), image_of(73, 1, 400_000).layers].concat();
        drop(registry.publish("crash-twin:1", &Image::new(layers), Form::default()));
        let archive = image_of(71, 2, 400_000).docker_archive(&["crash-loaded:1"]);
        Self { registry, archive }
    }

    /// Everything once; an image of each way in, and all of them out again.
    fn begin(&self, env: &Env, step: &str) -> Running {
        let name = self.registry.name("crash:1");
        match step {
            "pull" => env.invoke(&["pull", &name]).spawn(),
            "twin" => env.invoke(&["pull", &self.registry.name("crash-twin:1")]).spawn(),
            "load" => env.invoke(&["load"]).stdin(self.archive.clone()).spawn(),
            "commit" => env.invoke(&["commit", "crash-container", "crash-committed:1"]).spawn(),
            "live" => env.invoke(&["commit", RUNNING, "crash-live:1"]).spawn(),
            "push" => env.invoke(&["push", &self.registry.name("crash-pushed:1")]).spawn(),
            "prune" => env.invoke(&["image", "prune", "-af"]).spawn(),
            other => panic!("no such step: {other}"),
        }
    }

    /// Makes the step's work necessary again.
    fn undo(&self, env: &Env, step: &str) {
        match step {
            "push" => return self.registry.remove("crash-pushed"),
            // Something to be pruned.
            "prune" => return env.load(&image_of(72, 2, 20_000), "crash-unused:1"),
            _ => {}
        }
        let name = self.made_by(step).unwrap_or_default();
        // It may be there or not.
        drop(env.docker(&["rmi", "-f", &name]));
    }

    /// The image that a step brings.
    fn made_by(&self, step: &str) -> Option<String> {
        match step {
            "pull" => Some(self.registry.name("crash:1")),
            "twin" => Some(self.registry.name("crash-twin:1")),
            "load" => Some("crash-loaded:1".to_owned()),
            "commit" => Some("crash-committed:1".to_owned()),
            "live" => Some("crash-live:1".to_owned()),
            _ => None,
        }
    }

    /// What has a name, by what it is known: its id, or its layers where it has another at each
    /// attempt.
    fn ids(&self, env: &Env) -> BTreeMap<String, String> {
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        let listed = env.docker(&["images", "--no-trunc", "--format", format]).ok();
        let lines = listed.lines().filter_map(|line| line.split_once(' '));
        // A commit that came to its end unseen has lost its name to the next one.
        lines
            .filter(|(name, _)| !name.contains("<none>"))
            .map(|(name, id)| {
                let is_made_anew = ["commit", "live"]
                    .iter()
                    .any(|step| self.made_by(step).as_deref() == Some(name));
                let layers = || env.inspect(name, "{{.RootFS.Layers}}");
                (name.to_owned(), if is_made_anew { layers() } else { id.to_owned() })
            })
            .collect()
    }
}

/// What can be under way when the engine dies; in this order, but for the prune, at the end.
const STEPS: [&str; 7] = ["pull", "twin", "load", "commit", "live", "push", "prune"];

/// The container that runs all the time.
const RUNNING: &str = "crash-running";

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
    let script = format!("{script}; exec sleep 100000");
    env.run_detached(&["--name", RUNNING, "busybox", "sh", "-c", &script]);
    let written = ["exec", RUNNING, "test", "-s", "/d/8"];
    wait_until("the container has written", Duration::from_secs(20), || {
        (env.docker(&written).code == 0).then_some(())
    });
    env
}

/// After every death: nothing is damaged, nothing is half, and the same again succeeds.
#[track_caller]
fn check(env: &Env, work: &Work, what: &str, step: &str) {
    checks::at_rest(env, what, RUNNING);
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
        let step = match point.split('.').next().unwrap() {
            // Of a container that stands still meanwhile.
            "commit" => "live",
            other => other,
        };
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
        assert_eq!(env.inspect(RUNNING, "{{.State.Status}}"), "running", "{point}");
        check(&env, &work, point, step);
    }
    clear(&env);
}

/// Numbers of chance that can be had again by their seed: `FERRY_E2E_SEED`.
struct Chance(u64);

impl Chance {
    fn new() -> (Self, u64) {
        let given = std::env::var("FERRY_E2E_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        (Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), seed)
    }

    /// One of `0..limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    /// From one to three different steps.
    fn steps(&mut self) -> Vec<&'static str> {
        let mut left = STEPS.to_vec();
        let count = 1 + self.below(3);
        let mut take = || {
            let at = usize::try_from(self.below(left.len() as u64)).unwrap();
            left.swap_remove(at)
        };
        (0..count).map(|_| take()).collect()
    }
}

/// How long each step took the last time that nothing killed it, in microseconds.
type Durations = BTreeMap<&'static str, u64>;

/// Does a step until its end; it must succeed.
#[track_caller]
fn finish(env: &Env, work: &Work, step: &'static str, what: &str, durations: &mut Durations) {
    let begun = Instant::now();
    let output = work.begin(env, step).finish();
    assert!(output.code == 0, "{what}: {step} again: {output:?}\n{}", env.log_tail(20));
    let taken = u64::try_from(begun.elapsed().as_micros()).unwrap();
    durations.insert(step, taken);
}

#[test]
fn the_engine_can_die_at_any_moment_of_its_images() {
    let work = Work::new();
    let mut env = prepared(&work);
    let (mut chance, seed) = Chance::new();
    println!("FERRY_E2E_SEED={seed}");
    let mut durations = Durations::new();
    for step in STEPS.into_iter().rev() {
        work.undo(&env, step);
        finish(&env, &work, step, "at first", &mut durations);
    }
    let known = work.ids(&env);
    let mut too_late = 0;
    for round in 0..kills() {
        let steps = chance.steps();
        steps.iter().for_each(|step| work.undo(&env, step));
        // Together they take as long as the longest, or longer where they wait for each other.
        let longest = steps.iter().map(|step| durations[step]).max().unwrap();
        let wait = chance.below(longest + longest / 4 * steps.len() as u64);
        let what = format!("round {round} of seed {seed}, {steps:?} for {wait} us");
        let running: Vec<Running> = steps.iter().map(|step| work.begin(&env, step)).collect();
        ferry_testkit::wait::nap(Duration::from_micros(wait));
        env.kill_engine();
        let codes: Vec<i32> = running.into_iter().map(|one| one.finish().code).collect();
        too_late += u64::from(codes.iter().all(|code| *code == 0));
        env.start_engine();
        checks::at_rest(&env, &what, RUNNING);
        assert_eq!(env.inspect(RUNNING, "{{.State.Status}}"), "running", "{what}");
        // A prune first: it takes the others' away.
        for step in STEPS.into_iter().rev().filter(|step| steps.contains(step)) {
            finish(&env, &work, step, &what, &mut durations);
        }
        let again = work.ids(&env);
        for (name, id) in &again {
            assert_eq!(known.get(name), Some(id), "{what}: {name}");
        }
        let made = steps.iter().filter_map(|step| work.made_by(step));
        let kept = ["busybox:latest".to_owned(), work.registry.name("crash-pushed:1")];
        for name in made.chain(kept) {
            assert!(again.contains_key(&name), "{what}: {name} is not there: {again:?}");
        }
        env.docker(&["run", "--rm", "busybox", "true"]).exits(0);
    }
    println!("{} kills, {too_late} of them after the end", kills());
    env.docker(&["rm", "-f", RUNNING]).exits(0);
    clear(&env);
    checks::quiet(&env);
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
