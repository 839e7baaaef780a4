//! Images to and from other people's programs, where they are at hand.
//!
//! `FERRY_SKOPEO`, `FERRY_PODMAN` and `FERRY_DOCKER_REGISTRY` name them, each a program with the
//! arguments before its own; without them they are looked for along PATH. They see the system's
//! temporary folder and this machine's network.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use ferry_testkit::command::find_program;
use ferry_testkit::env::reference_host;
use ferry_testkit::image::sha256;
use ferry_testkit::registry::Form;
use ferry_testkit::tar::Tar;
use ferry_testkit::{
    Client, Compression, Env, FaultRegistry, Folder, Image, Invocation, Running, observe,
    wait_until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::pull::{image_of, scrub};

#[expect(clippy::print_stderr, reason = "a test says that it could not be run")]
fn note(text: &str) {
    eprintln!("note: {text}");
}

/// Somebody else's program.
struct Tool(Vec<String>);

impl Tool {
    /// The program of this name; says that a test is not run when there is none.
    fn find(name: &str) -> Option<Self> {
        let variable = format!("FERRY_{}", name.to_uppercase().replace('-', "_"));
        let named = std::env::var(&variable).ok().filter(|words| !words.is_empty());
        let words = named.map(|words| words.split(' ').map(ToOwned::to_owned).collect());
        let found = words.or_else(|| {
            find_program(name).map(|path: PathBuf| vec![path.to_string_lossy().into_owned()])
        });
        if found.is_none() {
            note(&format!("not run: there is no {name}; {variable} may name it"));
        }
        found.map(Self)
    }

    fn run(&self, words: &[&str]) -> Invocation {
        let before = self.0[1..].iter().map(String::as_str);
        Invocation::new(&self.0[0]).args(before.chain(words.iter().copied()))
    }
}

/// Docker's own registry.
struct Registry {
    running: Option<Running>,
    address: SocketAddr,
}

impl Registry {
    fn start(folder: &Folder) -> Option<Self> {
        let program = Tool::find("docker-registry")?;
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n",
            folder.at("registry")
        );
        std::fs::write(folder.at("registry.yml"), config).unwrap();
        let running = program.run(&["serve", &folder.at("registry.yml")]).spawn();
        wait_until("the registry listens", Duration::from_secs(20), || {
            TcpStream::connect(address).ok()
        });
        Some(Self { running: Some(running), address })
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        // The program may stand behind another that hears no signal.
        let mut all: Vec<u32> =
            observe::descendants(running.pid()).into_iter().map(|stat| stat.pid).collect();
        all.push(running.pid());
        for pid in all.into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            kill_process(pid, Signal::TERM).ok();
        }
        drop(running.finish());
    }
}

/// The bytes of a manifest as a registry gives them, and their digest.
#[track_caller]
fn digest_at(skopeo: &Tool, name: &str) -> String {
    let words = ["inspect", "--raw", "--tls-verify=false", name];
    let raw = skopeo.run(&words).run().exits(0).stdout;
    format!("sha256:{}", sha256(&raw))
}

#[test]
fn skopeo_and_ferry_take_what_the_other_gives() {
    let folder = Folder::new();
    let Some(skopeo) = Tool::find("skopeo") else { return };
    let Some(registry) = Registry::start(&folder) else { return };
    let source = FaultRegistry::start();
    // Of zstd skopeo takes a note in the index, which then is another.
    let mine = source.publish("multi", &image_of(300, 3, 20_000), Form::default());
    let theirs = source.publish("multi", &image_of(301, 2, 20_000), Form::of("s390x"));
    let index = source.publish_index("multi:1", &[&mine, &theirs], false);
    let from = format!("docker://{}", source.name("multi:1"));
    let theirs_at = |tag: &str| format!("docker://{}", registry.name(&format!("multi:{tag}")));
    let copy = |from: &str, to: &str| {
        let words = ["image", "copy", "-a", "-q", from, to];
        let said = folder.client(Client::Ferry, &words).run().ok();
        assert_eq!(said, index, "ferry: {from} to {to}");
    };
    let skopeo_copy = |from: &str, to: &str| {
        let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        let words = ["--insecure-policy", "copy", "--all", "--preserve-digests"];
        let words: Vec<&str> = words.iter().chain(&insecure).copied().chain([from, to]).collect();
        skopeo.run(&words).run().exits(0);
    };
    // We write, they read; and the other way round.
    copy(&from, &theirs_at("ours"));
    assert_eq!(digest_at(&skopeo, &theirs_at("ours")), index);
    for (kind, ours, skopeos) in [
        ("oci", format!("oci:{}:v1", folder.at("ours")), format!("oci:{}:v1", folder.at("theirs"))),
        (
            "oci-archive",
            format!("oci-archive:{}:v1", folder.at("ours.tar")),
            format!("oci-archive:{}:v1", folder.at("theirs.tar")),
        ),
        (
            "dir",
            format!("dir:{}", folder.at("ours-dir")),
            format!("dir:{}", folder.at("theirs-dir")),
        ),
    ] {
        copy(&theirs_at("ours"), &ours);
        skopeo_copy(&ours, &theirs_at(&format!("{kind}-by-skopeo")));
        assert_eq!(digest_at(&skopeo, &theirs_at(&format!("{kind}-by-skopeo"))), index);
        skopeo_copy(&theirs_at("ours"), &skopeos);
        copy(&skopeos, &theirs_at(&format!("{kind}-by-ferry")));
        assert_eq!(digest_at(&skopeo, &theirs_at(&format!("{kind}-by-ferry"))), index);
    }
    // The engine's own way in.
    let env = Env::builder().own().without_busybox().start();
    let name = registry.name("multi:oci-by-ferry");
    env.docker(&["pull", &name]).exits(0).prints(&index);
    assert_eq!(env.inspect(&name, "{{.Id}}"), mine.id);
    scrub(&env);
}

/// An image with a program, and what is in it besides.
fn image(text: &str) -> Image {
    Image::busybox().layer(Tar::new().file("made", 0o644, text))
}

#[test]
fn skopeo_reads_what_is_saved() {
    let folder = Folder::new();
    let Some(skopeo) = Tool::find("skopeo") else { return };
    let env = Env::builder().own().without_busybox().start();
    let registry = FaultRegistry::start();
    let image = image("for skopeo");
    let published = registry.publish("saved:1", &image, Form::default());
    let name = registry.name("saved:1");
    env.docker(&["pull", &name]).exits(0);
    let archive = folder.at("saved.tar");
    env.docker(&["save", "-o", &archive, &name]).exits(0);
    for (from, to, same) in [
        (format!("docker-archive:{archive}"), "by-docker:1", false),
        (format!("oci-archive:{archive}"), "by-oci:1", true),
    ] {
        let to = registry.name(to);
        let target = format!("docker://{to}");
        let mut words =
            vec!["--insecure-policy", "copy", "--dest-tls-verify=false", &from, &target];
        if same {
            // Else it may take another packing of a layer that it remembers.
            words.push("--preserve-digests");
        }
        skopeo.run(&words).run().exits(0);
        if same {
            assert_eq!(digest_at(&skopeo, &target), published.digest);
        }
        env.docker(&["pull", &to]).exits(0);
        assert_eq!(env.inspect(&to, "{{.Id}}"), image.id(), "{from}");
    }
    // Archives of skopeo come in.
    for kind in ["docker-archive", "oci-archive"] {
        let file = folder.at(&format!("by-skopeo-{kind}.tar"));
        let to = format!("{kind}:{file}:loaded-{kind}:1");
        let from = format!("docker://{name}");
        let words = ["--insecure-policy", "copy", "--src-tls-verify=false", &from, &to];
        skopeo.run(&words).run().exits(0);
        env.docker(&["rmi", "-f", &image.id()]).exits(0);
        env.docker(&["load", "-i", &file]).exits(0);
        assert_eq!(env.inspect(&image.id(), "{{.Id}}"), image.id(), "{kind}");
        let said = env.docker(&["run", "--rm", &image.id(), "cat", "/made"]).ok();
        assert_eq!(said, "for skopeo", "{kind}");
    }
    scrub(&env);
}

#[test]
fn podman_and_ferry_load_what_the_other_saves() {
    let folder = Folder::new();
    let Some(podman) = Tool::find("podman") else { return };
    let (root, run) = (folder.at("podman"), folder.at("podman-run"));
    let podman = |words: &[&str]| {
        let before = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
        let words: Vec<&str> = before.iter().chain(words).copied().collect();
        podman.run(&words).run()
    };
    let env = Env::builder().own().without_busybox().start();
    let image = image("for podman");
    env.load(&image, "for-podman:1");
    let archive = folder.at("saved.tar");
    env.docker(&["save", "-o", &archive, "for-podman:1"]).exits(0);
    podman(&["load", "-i", &archive]).exits(0);
    let id = podman(&["image", "inspect", "--format", "{{.Id}}", "for-podman:1"]).ok();
    assert_eq!(format!("sha256:{}", id.trim_start_matches("sha256:")), image.id());
    for format in ["docker-archive", "oci-archive"] {
        let file = folder.at(&format!("{format}.tar"));
        podman(&["save", "--format", format, "-o", &file, "for-podman:1"]).exits(0);
        env.docker(&["rmi", "-f", &image.id()]).exits(0);
        env.docker(&["load", "-i", &file]).exits(0);
        let said = env.docker(&["run", "--rm", &image.id(), "cat", "/made"]).ok();
        assert_eq!(said, "for podman", "{format}");
    }
    podman(&["rmi", "-a", "-f"]).exits(0);
    scrub(&env);
}

#[test]
fn the_reference_and_ferry_load_what_the_other_saves() {
    let Some(host) = reference_host() else {
        note("not run: there is no FERRY_REFERENCE to load it in");
        return;
    };
    let folder = Folder::new();
    let env = Env::builder().own().without_busybox().start();
    let reference = Env::foreign(&host);
    // Pulled by us, so saved as it came, and by the reference, which packs it anew.
    let registry = FaultRegistry::start();
    for (tag, form) in [
        ("oci", Form::default()),
        ("zstd", Form { layers: Compression::Zstd, ..Form::default() }),
        ("v2", Form::docker()),
    ] {
        let image = image(tag);
        drop(registry.publish(&format!("both:{tag}"), &image, form));
        let name = registry.name(&format!("both:{tag}"));
        for (giver, taker, who) in [(&env, &reference, "ours"), (&reference, &env, "theirs")] {
            giver.docker(&["pull", &name]).exits(0);
            let file = folder.at(&format!("{who}-{tag}.tar"));
            giver.docker(&["save", "-o", &file, &name]).exits(0);
            giver.docker(&["rmi", "-f", &image.id()]).exits(0);
            let said = taker.docker(&["load", "-i", &file]).ok();
            assert_eq!(said, format!("Loaded image: {name}"), "{who}");
            assert_eq!(taker.inspect(&name, "{{.Id}}"), image.id(), "{who}");
            let ran = taker.docker(&["run", "--rm", &name, "cat", "/made"]).ok();
            assert_eq!(ran, tag, "{who}");
            taker.docker(&["rmi", "-f", &image.id()]).exits(0);
        }
    }
    scrub(&env);
}

#[test]
fn a_digest_is_the_same_at_every_registry() {
    let folder = Folder::new();
    let Some(registry) = Registry::start(&folder) else { return };
    let source = FaultRegistry::start();
    let image = image("everywhere");
    let env = Env::builder().own().without_busybox().start();
    for (tag, form) in [
        ("oci", Form::default()),
        ("plain", Form { layers: Compression::Plain, ..Form::default() }),
        ("v2", Form::docker()),
    ] {
        let image = image.clone().layer(Tar::new().file("form", 0o644, tag));
        let published = source.publish(&format!("exact:{tag}"), &image, form);
        let (from, to) = (source.name(&format!("exact:{tag}")), registry.name(&format!("e:{tag}")));
        env.docker(&["pull", &from]).exits(0);
        env.docker(&["tag", &from, &to]).exits(0);
        env.docker(&["push", &to]).exits(0).prints(&published.digest);
        env.docker(&["rmi", "-f", &published.id]).exits(0);
        let by_digest = registry.name(&format!("e@{}", published.digest));
        env.docker(&["pull", &by_digest]).exits(0);
        assert_eq!(env.inspect(&by_digest, "{{.Id}}"), image.id());
        // And back out of it, byte for byte.
        let back = format!("docker://{}", source.name(&format!("back-{tag}:1")));
        let words = ["image", "copy", "-q", &to, &back];
        assert_eq!(folder.client(Client::Ferry, &words).run().ok(), published.digest);
        let bytes = source.manifest("exact", tag);
        assert_eq!(source.manifest(&format!("back-{tag}"), "1"), bytes);
        let manifest: Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let digest = layer["digest"].as_str().unwrap();
            let copied = source.blob(&format!("back-{tag}"), digest);
            assert_eq!(copied, source.blob("exact", digest));
        }
    }
    scrub(&env);
}
