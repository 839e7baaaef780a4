//! Who one is at a registry, and who is told.

use std::path::PathBuf;

use ferry_testkit::registry::{At, Form, Guard, PASSWORD, USER, What, secrets};
use ferry_testkit::{Env, FaultRegistry};
use serde_json::Value;

use crate::pull::image_of;

#[track_caller]
fn log_in(env: &Env, registry: &FaultRegistry) {
    let address = registry.address().to_string();
    let login = env.invoke(&["login", "-u", USER, "--password-stdin", &address]).stdin(PASSWORD);
    drop(login.run().exits(0).prints("Login Succeeded"));
}

fn config_file(env: &Env) -> Value {
    // The home folder of the clients of this environment.
    let home = env.host_folder().join("../../home/.docker/config.json");
    std::fs::read(home).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
}

/// That nobody but the registry itself was told.
#[track_caller]
fn was_told_nothing(other: &FaultRegistry) {
    for request in other.requests() {
        for secret in secrets() {
            assert!(!request.text().contains(&secret), "told to another host: {}", request.text());
        }
    }
}

#[test]
fn a_registry_that_wants_a_password() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    registry.guard(Guard::Basic);
    let image = image_of(60, 1, 500);
    drop(registry.publish("private:1", &image, Form::default()));
    let name = registry.name("private:1");
    env.docker(&["pull", &name]).exits(1).says("no basic auth credentials");
    let address = registry.address().to_string();
    let login = |password: &str| {
        let words = ["login", "-u", USER, "--password-stdin", &address];
        env.invoke(&words).stdin(password).run()
    };
    let said = login("wrong").exits(1);
    assert!(said.err().contains("401 Unauthorized"), "{said:?}");
    assert!(config_file(&env)["auths"][&address].is_null(), "what is wrong is not kept");
    env.docker(&["pull", &name]).exits(1).says("no basic auth credentials");
    log_in(&env, &registry);
    assert!(config_file(&env)["auths"][&address]["auth"].is_string());
    env.docker(&["pull", &name]).exits(0);
    env.docker(&["tag", &name, &registry.name("pushed:1")]).exits(0);
    env.docker(&["push", &registry.name("pushed:1")]).exits(0);
    assert!(registry.manifest("pushed", "1").is_some());
    env.docker(&["logout", &address]).exits(0).prints("Removing login credentials for");
    assert!(config_file(&env)["auths"][&address].is_null());
    env.docker(&["push", &registry.name("pushed:1")]).exits(1).says("no basic auth credentials");
    env.docker(&["rmi", &name, &registry.name("pushed:1")]).exits(0);
}

#[test]
fn a_registry_that_wants_tokens() {
    let env = Env::start();
    let registry = FaultRegistry::start();
    registry.guard(Guard::Token { anybody_pulls: true });
    drop(registry.publish("public:1", &image_of(61, 1, 500), Form::default()));
    let name = registry.name("public:1");
    // Anybody may pull, not everybody push.
    env.docker(&["pull", &name]).exits(0);
    env.docker(&["tag", &name, &registry.name("mine:1")]).exits(0);
    env.docker(&["push", &registry.name("mine:1")])
        .exits(1)
        .says("denied: requested access to the resource is denied");
    log_in(&env, &registry);
    env.docker(&["push", &registry.name("mine:1")]).exits(0);
    // A token whose time is over is replaced.
    env.docker(&["rmi", &name]).exits(0);
    registry.expire_tokens();
    env.docker(&["pull", &name]).exits(0);
    for request in registry.requests() {
        let header = request.header("authorization").unwrap_or_default();
        let at_token_server = request.path == "/token";
        assert!(at_token_server || !header.starts_with("Basic"), "{}", request.text());
    }
    env.docker(&["logout", &registry.address().to_string()]).exits(0);
    env.docker(&["rmi", &name, &registry.name("mine:1")]).exits(0);
}

#[test]
fn a_token_that_ends_in_the_middle() {
    let env = Env::builder().own().start();
    let registry = FaultRegistry::start();
    registry.guard(Guard::Token { anybody_pulls: true });
    drop(registry.publish("middle:1", &image_of(62, 3, 500), Form::default()));
    for at in [At::Config, At::Layer(2)] {
        registry.fault(at, 1, What::TokenExpires);
    }
    let name = registry.name("middle:1");
    env.docker(&["pull", &name]).exits(0);
    assert!(registry.heal().is_empty());
    log_in(&env, &registry);
    registry.fault(At::ManifestPut, 1, What::TokenExpires);
    env.docker(&["tag", &name, &registry.name("other:1")]).exits(0);
    env.load(&image_of(63, 2, 500), &registry.name("other:1"));
    env.docker(&["push", &registry.name("other:1")]).exits(0);
    assert!(registry.heal().is_empty());
    // One who is not believed is told so before anything begins.
    registry.fault(At::Token, 99, What::Status(401));
    registry.expire_tokens();
    let path = format!("/images/create?fromImage={}&tag=1", registry.name("nothing"));
    let answer = env.api("POST", &path, None);
    assert!(answer.status >= 400, "{} {}", answer.status, answer.text());
}

#[test]
fn secrets_are_told_to_nobody_else() {
    let env = Env::builder().own().flags(&["--log-level", "trace"]).start();
    for guard in [Guard::Basic, Guard::Token { anybody_pulls: false }] {
        let registry = FaultRegistry::start();
        let image = image_of(64 + u64::from(guard == Guard::Basic), 2, 2000);
        drop(registry.publish("secret:1", &image, Form::default()));
        let other = registry.beside();
        registry.guard(guard);
        log_in(&env, &registry);
        for at in [At::Config, At::Layer(0), At::Layer(1)] {
            registry.fault(at, 9, What::RedirectTo(other.address()));
        }
        let name = registry.name("secret:1");
        env.docker(&["pull", &name]).exits(0);
        assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
        assert!(other.asked("GET", "/blobs/").len() >= 3, "{guard:?}: the other host was asked");
        was_told_nothing(&other);
        assert!(
            other.requests().iter().all(|request| request.header("authorization").is_none()),
            "{guard:?}: not even a token"
        );
        registry.heal();
        env.docker(&["tag", &name, &registry.name("sent:1")]).exits(0);
        env.docker(&["push", &registry.name("sent:1")]).exits(0);
        env.docker(&["rmi", &name, &registry.name("sent:1")]).exits(0);
    }
    let log = env.log_tail(usize::MAX);
    assert!(log.contains("DEBUG"), "there is a log: {log}");
    for secret in secrets() {
        let line = log.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "a secret is in the log: {line:?}");
    }
}

#[test]
fn credentials_of_one_registry_are_not_anothers() {
    let env = Env::start();
    let (mine, other) = (FaultRegistry::start(), FaultRegistry::start());
    mine.guard(Guard::Basic);
    other.guard(Guard::Basic);
    log_in(&env, &mine);
    drop(other.publish("theirs:1", &image_of(66, 1, 100), Form::default()));
    env.docker(&["pull", &other.name("theirs:1")]).exits(1).says("no basic auth credentials");
    was_told_nothing(&other);
    env.docker(&["logout", &mine.address().to_string()]).exits(0);
}

/// A folder of certificates for one registry, removed afterwards.
struct Trusted(PathBuf);

impl Trusted {
    fn new(registry: &FaultRegistry) -> Self {
        let folder = PathBuf::from(format!("/etc/docker/certs.d/{}", registry.address()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.crt"), registry.certificate().unwrap()).unwrap();
        Self(folder)
    }
}

impl Drop for Trusted {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
        // Only when nobody else uses them.
        for folder in ["/etc/docker/certs.d", "/etc/docker"] {
            drop(std::fs::remove_dir(folder));
        }
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for() {
    let env = Env::builder().own().start();
    // Registries on 127.0.0.1 need no certificate; those on the bridge do.
    let address = format!("{}.1", env.slot().subnet());
    let registry = FaultRegistry::start_tls(&address);
    drop(registry.publish("tls:1", &image_of(67, 2, 500), Form::default()));
    let name = registry.name("tls:1");
    env.docker(&["pull", &name])
        .exits(1)
        .says("tls: failed to verify certificate: x509: certificate signed by unknown authority");
    assert!(registry.requests().is_empty(), "nothing is asked of whom nobody knows");
    {
        let _trusted = Trusted::new(&registry);
        env.docker(&["pull", &name]).exits(0);
        let pushed = registry.name("pushed:1");
        env.docker(&["tag", &name, &pushed]).exits(0);
        env.docker(&["push", &pushed]).exits(0);
        env.docker(&["rmi", &name, &pushed]).exits(0);
    }
    env.docker(&["pull", &name]).exits(1).says("certificate signed by unknown authority");
    let plain = FaultRegistry::start();
    plain.fault(At::Manifest, 1, What::RedirectTo(registry.address()));
    env.docker(&["pull", &plain.name("tls:1")]).fails();
}

#[test]
fn a_registry_that_is_trusted_without_proof() {
    // The subnet of a bridge is known only when it is there; so all of them are named.
    let env = Env::builder().own().flags(&["--insecure-registry", "10.0.0.0/8"]).start();
    let address = format!("{}.1", env.slot().subnet());
    let registry = FaultRegistry::start_tls(&address);
    drop(registry.publish("insecure:1", &image_of(68, 1, 500), Form::default()));
    env.docker(&["pull", &registry.name("insecure:1")]).exits(0);
}
