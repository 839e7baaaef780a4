//! Images go out with the digests that they came with, and for the platforms that are asked for.

use std::time::Duration;

use ferry_testkit::registry::{At, Form, Guard, What};
use ferry_testkit::tar::Tar;
use ferry_testkit::{Compression, Env, FaultRegistry, Image, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pull::{image_of, messages, noise, scrub};
use crate::save::{json_of, members};

#[test]
fn every_packing_goes_out_as_it_came() {
    let env = Env::builder().own().without_busybox().start();
    let (source, target) = (FaultRegistry::start(), FaultRegistry::start());
    let image = image_of(80, 3, 30_000);
    let zstd = Form { layers: Compression::Zstd, ..Form::default() };
    // What is here in no packing, and in another one, is no reason not to fetch it.
    env.load(&image, "local:1");
    let forms = [("gzip", Form::default()), ("zstd", zstd), ("v2", Form::docker())];
    let published = forms.map(|(tag, form)| {
        let published = source.publish(&format!("packed:{tag}"), &image, form);
        env.docker(&["pull", &source.name(&format!("packed:{tag}"))]).exits(0);
        (tag, published)
    });
    for (tag, published) in &published {
        let from = source.name(&format!("packed:{tag}"));
        let to = target.name(&format!("copy:{tag}"));
        assert_eq!(env.inspect(&from, "{{.Id}}"), image.id());
        env.docker(&["tag", &from, &to]).exits(0);
        env.docker(&["push", &to]).exits(0).prints(&published.digest);
        assert_eq!(target.manifest("copy", tag), source.manifest("packed", tag));
        for blob in &published.layers {
            assert_eq!(target.blob("copy", blob), source.blob("packed", blob), "{tag}");
        }
        for name in [from, source.name(&format!("packed@{}", published.digest))] {
            let files = members(&env.docker(&["save", &name]).exits(0).stdout);
            let index = json_of(&files, "index.json");
            assert_eq!(index["manifests"][0]["digest"], published.digest.as_str(), "{name}");
            for blob in &published.layers {
                assert!(files.contains_key(&format!("blobs/sha256/{}", &blob[7..])), "{name}");
            }
        }
    }
    // Of three pulls of the same nothing is fetched twice.
    source.forget_requests();
    for (tag, _) in &published {
        env.docker(&["pull", &source.name(&format!("packed:{tag}"))]).exits(0);
    }
    for layer in published.iter().flat_map(|(_, published)| &published.layers) {
        assert!(source.asked("GET", layer).is_empty(), "{layer}");
    }
    scrub(&env);
    env.docker(&["rmi", "-f", &image.id()]).exits(0);
    scrub(&env);
}

#[test]
fn waits_are_counted_down() {
    // Docker comes again at once after a 429; its own waits are told like these.
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    drop(registry.publish("wait:1", &image_of(81, 1, 300), Form::default()));
    registry.fault(At::Layer(0), 1, What::RetryAfter(3));
    let path = format!("/images/create?fromImage={}&tag=1", registry.name("wait"));
    let answer = env.api("POST", &path, None).is(200);
    let told: Vec<String> = messages(&answer.text())
        .iter()
        .filter_map(|message| message["status"].as_str())
        .filter(|status| status.starts_with("Retrying"))
        .map(str::to_owned)
        .collect();
    let expect = ["Retrying in 3 seconds", "Retrying in 2 seconds", "Retrying in 1 second"];
    assert_eq!(told, expect, "{}", answer.text());
    env.docker(&["rmi", &registry.name("wait:1")]).exits(0);
}

#[test]
fn a_token_that_has_expired_on_its_way() {
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    registry.guard(Guard::Token { anybody_pulls: true });
    drop(registry.publish("way:1", &image_of(82, 2, 500), Form::default()));
    // The one that is kept, and the one that is fetched in its place.
    for at in [At::Config, At::Layer(1)] {
        registry.fault(at, 2, What::TokenExpires);
    }
    env.docker(&["pull", &registry.name("way:1")]).exits(0);
    assert!(registry.heal().is_empty());
}

#[test]
fn credentials_that_make_no_sense_are_nobodys() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    drop(registry.publish("open:1", &image_of(83, 1, 300), Form::default()));
    let name = registry.name("open");
    let pull = format!("/images/create?fromImage={name}&tag=1");
    // No base64; no JSON; JSON of something else; a name that is no text.
    for header in ["!!!", "bm90anNvbg==", "W10=", "eyJ1c2VybmFtZSI6IDF9", "e30"] {
        let auth = [("X-Registry-Auth", header)];
        let answer = env.api_raw("POST", &pull, &auth, None).is(200);
        assert!(answer.text().contains("Digest: sha256:"), "{header}: {}", answer.text());
        let path = format!("/distribution/{name}:1/json");
        drop(env.api_raw("GET", &path, &auth, None).is(200));
        let path = format!("/images/{name}/push?tag=1");
        let answer = env.api_raw("POST", &path, &auth, None).is(200);
        assert!(answer.text().contains("1: digest: sha256:"), "{header}: {}", answer.text());
    }
    env.docker(&["rmi", &registry.name("open:1")]).exits(0);
}

#[test]
fn one_client_goes_and_the_others_pulls_end() {
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    let image = image_of(84, 2, 500_000);
    let published = registry.publish("shared:1", &image, Form::default());
    registry.fault(At::Layer(0), 1, What::Slow { bytes_per_second: 150_000 });
    let name = registry.name("shared:1");
    let first = env.invoke(&["pull", &name]).spawn();
    let layer = &published.layers[0];
    wait_until("the first client's pull is under way", Duration::from_secs(20), || {
        (!registry.asked("GET", layer).is_empty()).then_some(())
    });
    let others: Vec<_> = (0..3).map(|_| env.invoke(&["pull", &name]).spawn()).collect();
    wait_until("the others have come", Duration::from_secs(20), || {
        let asked = registry.requests();
        let asked = asked.iter().filter(|seen| seen.path.contains("/manifests/"));
        (asked.count() >= 4).then_some(())
    });
    ferry_testkit::wait::nap(Duration::from_millis(300));
    assert_eq!(registry.asked("GET", layer).len(), 1, "they share what one fetches");
    first.signal(Signal::INT);
    drop(first.finish().fails());
    for other in others {
        other.finish().exits(0).prints("Digest: ");
    }
    // One of them has gone on where the first was; nobody began anew.
    let asked = registry.asked("GET", layer);
    assert_eq!(asked.len(), 2, "{asked:?}");
    let range = asked[1].header("range").unwrap_or("bytes=0-");
    assert_ne!(range, "bytes=0-");
    assert_eq!(registry.asked("GET", &published.layers[1]).len(), 1);
    assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
    scrub(&env);
}

/// The parameter for a platform.
fn parameter(architecture: &str) -> String {
    format!("%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22{architecture}%22%7D")
}

#[test]
fn a_platform_that_is_not_there_is_refused_as_by_docker() {
    let env = Env::start();
    let mine = ferry_testkit::image::architecture();
    let image = image_of(85, 1, 300);
    env.load(&image, "platform:1");
    let (here, other) = (parameter(mine), parameter("s390x"));
    let said = format!(
        "image with reference platform:1 was found but its platform (linux/{mine}) does not match \
         the specified platform (linux/s390x)"
    );
    for path in ["json?platform", "history?platform"] {
        drop(env.api("GET", &format!("/images/platform:1/{path}={here}"), None).is(200));
        let answer = env.api("GET", &format!("/images/platform:1/{path}={other}"), None).is(404);
        assert!(answer.text().contains(&said), "{}", answer.text());
        let answer = env.api("GET", &format!("/images/platform:1/{path}=garbage"), None).is(400);
        let why = "failed to parse platform: invalid character 'g' looking for beginning of value";
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    // Older versions did not know of it.
    drop(env.api("GET", &format!("/v1.48/images/platform:1/json?platform={other}"), None).is(200));
    let save = "/images/platform:1/get?platform";
    let answer = env.api("GET", &format!("{save}={other}"), None).is(500);
    let why = "no suitable export target found for platform linux/s390x";
    assert!(answer.text().contains(why), "{}", answer.text());
    let answer = env.api("GET", &format!("{save}={here}&platform={other}"), None).is(400);
    let why = "multiple platform parameters not supported";
    assert!(answer.text().contains(why), "{}", answer.text());
    let push = "/images/platform/push?tag=1&platform";
    let answer = env.api_raw("POST", &format!("{push}={other}"), &[], None).is(404);
    assert!(answer.text().contains(&said), "{}", answer.text());
    let remove = "/images/platform:1?platforms";
    let answer = env.api("DELETE", &format!("{remove}={other}"), None).is(404);
    assert!(answer.text().contains(&said), "{}", answer.text());
    drop(env.api("DELETE", &format!("{remove}="), None).is(400));
    let answer = env.api("DELETE", &format!("{remove}={here}"), None).is(200);
    let removed: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(removed[0], json!({ "Untagged": "platform:1" }));
}

#[test]
fn all_platforms_of_a_name_are_kept_together() {
    let env = Env::builder().own().without_busybox().start();
    let (source, target) = (FaultRegistry::start(), FaultRegistry::start());
    let mine = ferry_testkit::image::architecture();
    let other = if mine == "arm64" { "amd64" } else { "arm64" };
    let of = |seed: u64, architecture: &'static str| {
        let image = Image::new(vec![Tar::new().file("who", 0o644, noise(seed, 2000)).finish()]);
        source.publish("multi", &image, Form::of(architecture))
    };
    let (ours, theirs) = (of(86, mine), of(87, other));
    let index = source.publish_index("multi:1", &[&theirs, &ours], false);
    let (from, to) = (source.name("multi:1"), target.name("multi:1"));
    let theirs_named = format!("linux/{other}");
    env.docker(&["pull", "--platform", &theirs_named, &from]).exits(0);
    env.docker(&["pull", &from]).exits(0);
    // Both are here: the name is what it is in the registry, there, and in an archive.
    env.docker(&["tag", &from, &to]).exits(0);
    env.docker(&["push", &to]).exits(0).prints(&index);
    assert_eq!(target.manifest("multi", "1"), source.manifest("multi", "1"));
    let archive = env.docker(&["save", &from]).exits(0).stdout;
    let listed = json_of(&members(&archive), "index.json");
    assert_eq!(listed["manifests"][0]["digest"], index.as_str());
    let list = |env: &Env| env.docker(&["images", "-q", "--no-trunc"]).ok();
    env.docker(&["rmi", &from, &to]).exits(0);
    assert_eq!(list(&env), "");
    drop(env.invoke(&["load"]).stdin(archive.clone()).run().ok());
    assert_eq!(list(&env), ours.id);
    let inspect = ["image", "inspect", "--platform", &theirs_named, "-f", "{{.Id}}", &from];
    assert_eq!(env.docker(&inspect).ok(), theirs.id);
    assert_eq!(members(&env.docker(&["save", &from]).exits(0).stdout), members(&archive));
    // One of them alone, in and out.
    let one = env.docker(&["save", "--platform", &theirs_named, &from]).exits(0).stdout;
    let listed = json_of(&members(&one), "index.json");
    assert_eq!(listed["manifests"][0]["digest"], theirs.digest.as_str());
    env.docker(&["rmi", "--platform", &format!("linux/{mine}"), &from]).exits(0).prints(&ours.id);
    assert_eq!(env.inspect(&from, "{{.Id}}"), theirs.id);
    env.docker(&["rmi", "--platform", &theirs_named, &from]).exits(0);
    assert_eq!(list(&env), "");
    let load = ["load", "--platform", &theirs_named];
    env.invoke(&load).stdin(archive.clone()).run().exits(0).prints("Loaded image: ");
    assert_eq!(list(&env), theirs.id);
    env.docker(&["rmi", &from]).exits(0);
    let load = ["load", "--platform", "linux/s390x"];
    let said = "no image in the archive is for platform linux/s390x";
    drop(env.invoke(&load).stdin(archive).run().fails().says(said));
    scrub(&env);
}
