//! What is damaged on disk is found, named and mended: `ferry system scrub`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ferry_testkit::registry::{At, Form, Guard, PASSWORD, Published, USER, What};
use ferry_testkit::{Client, Env, FaultRegistry, Image, Output, wait_until};
use rustix::process::Signal;

use crate::pull::{image_of, kept, scrub as nothing_is_damaged};

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip,
    Truncate,
    Delete,
}

const HARMS: [Harm; 3] = [Harm::Flip, Harm::Truncate, Harm::Delete];

impl Harm {
    #[track_caller]
    fn to(self, path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        match self {
            Self::Flip => bytes[middle] ^= 0x20,
            Self::Truncate => bytes.truncate(middle),
            Self::Delete => return std::fs::remove_file(path).unwrap(),
        }
        std::fs::write(path, bytes).unwrap();
    }
}

fn scrub(env: &Env, words: &[&str]) -> Output {
    let words: Vec<&str> = ["system", "scrub"].iter().chain(words).copied().collect();
    env.client(Client::Ferry, &words).run()
}

/// The lines about what is damaged, each without what is wrong with it: `blob sha256:... (done)`.
#[track_caller]
fn found(output: &Output) -> Vec<String> {
    let text = output.out();
    let lines = text.lines().take_while(|line| !line.starts_with("Checked: "));
    let short = |line: &str| {
        let (thing, rest) = line.split_once(": ").unwrap_or_else(|| panic!("{output:?}"));
        let repair = rest.rsplit_once(" (").map_or("", |(_, repair)| repair.trim_end_matches(')'));
        let is_repair = ["done", "pulled", "needs-pull", "in-use"].contains(&repair);
        format!("{thing} {}", if is_repair { repair } else { "" }).trim_end().to_owned()
    };
    let mut found: Vec<String> = lines.map(short).collect();
    found.sort();
    found
}

#[track_caller]
fn ends_with(output: &Output, damaged: usize, repaired: usize) {
    let end = format!("\nDamaged: {damaged}\nRepaired: {repaired}");
    assert!(format!("\n{}", output.out()).ends_with(&end), "{output:?}");
}

struct Stored {
    env: Env,
    registry: FaultRegistry,
    image: Image,
    published: Published,
    name: String,
}

impl Stored {
    fn new(seed: u64, flags: &[&str]) -> Self {
        let env = Env::builder().own().flags(flags).start();
        let registry = FaultRegistry::start();
        let image = image_of(seed, 2, 30_000);
        let published = registry.publish("stored:1", &image, Form::default());
        let name = registry.name("stored:1");
        env.docker(&["pull", &name]).exits(0);
        nothing_is_damaged(&env);
        Self { env, registry, image, published, name }
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.env.data_root().join("blobs/sha256").join(&digest["sha256:".len()..])
    }

    fn diff_id(&self, at: usize) -> String {
        format!("sha256:{}", ferry_testkit::image::sha256(&self.image.layers[at]))
    }

    fn layer(&self, at: usize, file: &str) -> PathBuf {
        let folder = self.env.data_root().join("layers");
        folder.join(&self.diff_id(at)["sha256:".len()..]).join(file)
    }

    /// That the image is whole again, as a container and as an archive show it.
    #[track_caller]
    fn is_whole(&self) {
        nothing_is_damaged(&self.env);
        let archive = self.env.docker(&["save", &self.name]).exits(0).stdout;
        assert!(archive.len() > 60_000, "it has its layers");
        assert_eq!(self.env.inspect(&self.name, "{{.Id}}"), self.published.id);
        let id = self.env.docker(&["create", &self.name, "x"]).ok();
        let files = self.env.docker(&["export", &id]).exits(0).stdout;
        for layer in &self.image.layers {
            // Headers and content of the one file that each layer has.
            let content = &layer[512..30_512];
            assert!(files.windows(content.len()).any(|part| part == content));
        }
        self.env.docker(&["rm", &id]).exits(0);
    }
}

#[test]
fn damage_is_named_and_a_pull_mends_it() {
    let stored = Stored::new(220, &[]);
    let (env, published) = (&stored.env, &stored.published);
    let before = kept(env);
    let places = [
        (format!("blob {}", published.layers[0]), stored.blob(&published.layers[0])),
        (format!("manifest {}", published.digest), stored.blob(&published.digest)),
        (format!("config {}", published.id), stored.blob(&published.id)),
        (format!("layer {}", stored.diff_id(1)), stored.layer(1, "layer.tar")),
    ];
    for (thing, path) in &places {
        for harm in HARMS {
            harm.to(path);
            let said = scrub(env, &[]).exits(1);
            assert_eq!(found(&said), std::slice::from_ref(thing), "{harm:?}");
            ends_with(&said, 1, 0);
            env.docker(&["pull", &stored.name]).exits(0);
            let said = scrub(env, &[]).exits(0);
            ends_with(&said, 0, 0);
        }
        stored.is_whole();
    }
    // All of it at once.
    for (_, path) in &places {
        Harm::Flip.to(path);
    }
    let mut things: Vec<String> = places.iter().map(|(thing, _)| thing.clone()).collect();
    things.sort();
    assert_eq!(found(&scrub(env, &[]).exits(1)), things);
    env.docker(&["pull", &stored.name]).exits(0);
    stored.is_whole();
    crate::pull::nothing_more_than(env, &before);
}

#[test]
fn damage_is_mended_from_what_is_here() {
    let stored = Stored::new(221, &[]);
    let env = &stored.env;
    // Nobody is to be asked.
    stored.registry.forget_requests();
    let layer = format!("layer {} done", stored.diff_id(0));
    let index = format!("index {} done", stored.diff_id(0));
    for (thing, file) in [(&layer, "layer.tar"), (&index, "index.erofs")] {
        for harm in HARMS {
            harm.to(&stored.layer(0, file));
            let said = scrub(env, &["--repair"]).exits(0);
            assert_eq!(found(&said), [thing.as_str()], "{file} {harm:?}: {said:?}");
            ends_with(&said, 1, 1);
            nothing_is_damaged(env);
        }
        stored.is_whole();
    }
    // Something that belongs to nothing.
    let stray = env.data_root().join("blobs/sha256").join("ab".repeat(32));
    std::fs::write(&stray, "stray").unwrap();
    let said = scrub(env, &["--repair"]).exits(0);
    assert!(found(&said)[0].starts_with("leak "), "{said:?}");
    assert!(!stray.exists());
    assert!(stored.registry.requests().is_empty(), "nothing was fetched");
}

#[test]
fn damage_is_mended_from_its_registry() {
    let stored = Stored::new(222, &[]);
    let (env, published) = (&stored.env, &stored.published);
    let blob = &published.layers[1];
    for digest in [blob, &published.id, &published.digest] {
        Harm::Flip.to(&stored.blob(digest));
        let said = scrub(env, &["--repair"]).exits(0);
        assert!(found(&said)[0].ends_with(&format!("{digest} pulled")), "{said:?}");
        ends_with(&said, 1, 1);
        stored.is_whole();
    }
    // One that asks who it is.
    stored.registry.guard(Guard::Basic);
    let needs = format!("blob {blob} needs-pull");
    Harm::Delete.to(&stored.blob(blob));
    let said = scrub(env, &["--repair"]).exits(1);
    assert_eq!(found(&said), [needs.as_str()], "{said:?}");
    ends_with(&said, 1, 0);
    let address = stored.registry.address().to_string();
    let login = ["login", "-u", USER, "--password-stdin", &address];
    drop(env.client(Client::Ferry, &login).stdin(PASSWORD).run().exits(0));
    let said = scrub(env, &["--repair", "--registry", &address]).exits(0);
    assert_eq!(found(&said), [format!("blob {blob} pulled")], "{said:?}");
    stored.is_whole();
    // One that has it no more.
    stored.registry.guard(Guard::Open);
    stored.registry.remove("stored");
    Harm::Flip.to(&stored.blob(blob));
    let said = scrub(env, &["--repair"]).exits(1);
    assert_eq!(found(&said), [needs.as_str()], "{said:?}");
    drop(stored.registry.publish("stored:1", &stored.image, Form::default()));
    env.docker(&["pull", &stored.name]).exits(0);
    stored.is_whole();
}

#[test]
fn a_scrub_ends_with_its_client() {
    let stored = Stored::new(226, &[]);
    let (env, blob) = (&stored.env, &stored.published.layers[1]);
    let tasks = || env.api("GET", "/info", None).json()["NGoroutines"].as_i64().unwrap();
    let before = tasks();
    Harm::Flip.to(&stored.blob(blob));
    // It waits for a registry that says nothing, and much longer than this test.
    stored.registry.forget_requests();
    stored.registry.fault(At::Layer(1), 1, What::Stall);
    let scrubbing = env.client(Client::Ferry, &["system", "scrub", "--repair"]).spawn();
    wait_until("the layer is asked for", Duration::from_secs(20), || {
        (!stored.registry.asked("GET", blob).is_empty()).then_some(())
    });
    assert!(tasks() > before);
    scrubbing.signal(Signal::KILL);
    drop(scrubbing.finish().exits(137));
    wait_until("nobody scrubs any more", Duration::from_secs(10), || {
        (tasks() <= before).then_some(())
    });
    // The next one is kept out by nothing, and mends what is damaged.
    let said = scrub(env, &["--repair"]).exits(0);
    assert_eq!(found(&said), [format!("blob {blob} pulled")], "{said:?}");
    stored.is_whole();
}

#[test]
fn nothing_is_exchanged_under_a_container_that_runs() {
    let env =
        Env::builder().own().without_busybox().flags(&["--storage-driver", "overlay2"]).start();
    let registry = FaultRegistry::start();
    drop(registry.publish("held:1", &Image::busybox(), Form::default()));
    let name = registry.name("held:1");
    env.docker(&["pull", &name]).exits(0);
    let id = env.run_detached(&[&name, "sleep", "1000"]);
    let layer = format!("sha256:{}", ferry_testkit::image::sha256(&Image::busybox().layers[0]));
    let passwd = env.data_root().join("layers").join(&layer[7..]).join("diff/etc/passwd");
    let good = std::fs::read(&passwd).unwrap();
    Harm::Flip.to(&passwd);
    let said = scrub(&env, &["--repair"]).exits(1);
    assert_eq!(found(&said), [format!("layer {layer} in-use")], "{said:?}");
    ends_with(&said, 1, 0);
    env.docker(&["stop", "-t", "0", &id]).exits(0);
    let said = scrub(&env, &["--repair"]).exits(0);
    assert_eq!(found(&said), [format!("layer {layer} done")], "{said:?}");
    assert_eq!(std::fs::read(&passwd).unwrap(), good);
    nothing_is_damaged(&env);
    env.docker(&["start", &id]).exits(0);
    env.docker(&["rm", "-f", &id]).exits(0);
    // What a mounted EROFS has, it keeps: it is exchanged beneath.
    let env = Env::builder().own().start();
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    let layers = env.data_root().join("layers");
    let index = ferry_testkit::observe::files(&layers);
    let index = index.iter().find(|path| path.ends_with("index.erofs")).expect("an index");
    std::fs::remove_file(layers.join(index)).unwrap();
    let said = scrub(&env, &["--repair"]).exits(0);
    assert!(found(&said)[0].ends_with(" done"), "{said:?}");
    assert_eq!(env.docker(&["exec", &id, "cat", "/etc/hostname"]).ok(), &id[..12]);
    assert_eq!(env.shell(&[], "echo new").ok(), "new");
    env.docker(&["rm", "-f", &id]).exits(0);
}
