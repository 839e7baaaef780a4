//! The ways to registries: mirrors, proxies, and those who need no proof.
//!
//! Hosts of `.test` are known to the test's own proxy and to no resolver, so what reaches them went
//! through it.

use std::net::{SocketAddr, TcpListener};

use ferry_testkit::registry::{At, Authority, Form, Guard, PASSWORD, Proxy, What, secrets};
use ferry_testkit::{Env, EnvBuilder, FaultRegistry, Folder};
use serde_json::json;

use crate::pull::image_of;

/// A registry with a certificate for these names, and a file with the authority that vouches.
fn secured(folder: &Folder, names: &[&str]) -> (FaultRegistry, String) {
    let authority = Authority::new("of the test");
    let registry = FaultRegistry::start_as("127.0.0.1", &authority.server(names), None);
    let file = folder.at("authorities.pem");
    std::fs::write(&file, authority.certificate()).unwrap();
    (registry, file)
}

/// An engine that trusts the authorities in this file and no others.
fn trusting(file: &str) -> EnvBuilder {
    Env::builder().own().without_busybox().variable("SSL_CERT_FILE", file)
}

/// That nothing in the engine's log, or at these other hosts, is a secret.
#[track_caller]
fn nothing_is_told(env: &Env, others: &[&FaultRegistry]) {
    let log = env.log_tail(usize::MAX);
    for secret in secrets() {
        let line = log.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "a secret is in the log: {line:?}");
        for request in others.iter().flat_map(|other| other.requests()) {
            assert!(!request.text().contains(&secret), "told to another: {}", request.text());
        }
    }
}

#[test]
fn proxies_of_the_environment() {
    let folder = Folder::new();
    let (secured, authorities) = secured(&folder, &["tls.test"]);
    let plain = FaultRegistry::start();
    let (one, two) = (image_of(240, 1, 500), image_of(241, 2, 500));
    drop(secured.publish("a:1", &one, Form::default()));
    drop(plain.publish("b:1", &two, Form::default()));
    let routes = [("tls.test:443", secured.address()), ("plain.test:80", plain.address())];
    let proxy = Proxy::start_guarded(&routes, "somebody", PASSWORD);
    let url = format!("http://somebody:{PASSWORD}@{}", proxy.address());
    let env = trusting(&authorities)
        .variable("HTTPS_PROXY", &url)
        .variable("HTTP_PROXY", &url)
        .variable("NO_PROXY", "direct.test,.beneath.test")
        .flags(&["--insecure-registry", "plain.test", "--log-level", "debug"])
        .start();
    env.docker(&["pull", "tls.test/a:1"]).exits(0);
    assert_eq!(env.inspect("tls.test/a:1", "{{.Id}}"), one.id());
    assert!(proxy.asked_for("tls.test:443") > 0);
    env.docker(&["pull", "plain.test/b:1"]).exits(0);
    assert_eq!(env.inspect("plain.test/b:1", "{{.Id}}"), two.id());
    assert!(proxy.asked_for("plain.test:443") > 0, "those who speak TLS are preferred");
    assert!(proxy.asked_for("http://plain.test/v2/") > 0);
    env.docker(&["push", "plain.test/b:1"]).exits(0);
    // Those who are excepted are not asked for, and a machine's own registry never.
    for name in ["direct.test/a:1", "x.beneath.test/a:1"] {
        env.docker(&["pull", name]).exits(1).says("no such host");
    }
    env.docker(&["pull", &plain.name("b:1")]).exits(0);
    assert_eq!(proxy.asked_for("direct.test") + proxy.asked_for("beneath.test"), 0);
    assert_eq!(proxy.asked_for("127.0.0.1"), 0);
    // A host that the proxy does not know.
    env.docker(&["pull", "unknown.test/a:1"]).exits(1).says("/v2/\": Bad Gateway");
    assert!(plain.requests().iter().any(|it| it.header("proxy-authorization").is_some()));
    assert!(secured.requests().iter().all(|it| it.header("proxy-authorization").is_none()));
    let info = env.docker(&["info", "--format", "{{.HTTPProxy}} {{.NoProxy}}"]).ok();
    assert_eq!(info, format!("http://xxxxx:xxxxx@{} direct.test,.beneath.test", proxy.address()));
    nothing_is_told(&env, &[&secured]);
}

#[test]
fn proxies_of_the_configuration() {
    let folder = Folder::new();
    let (secured, authorities) = secured(&folder, &["tls.test"]);
    drop(secured.publish("a:1", &image_of(242, 1, 500), Form::default()));
    let proxy = Proxy::start_guarded(&[("tls.test:443", secured.address())], "me", "of-the-proxy");
    let address = proxy.address();
    let proxies = json!({ "proxies": {
        "https-proxy": format!("http://me:of-the-proxy@{address}"),
        "no-proxy": "direct.test",
    } });
    // What is configured goes before the environment.
    let env = trusting(&authorities)
        .configuration(proxies)
        .variable("HTTPS_PROXY", "http://127.0.0.1:1")
        .start();
    env.docker(&["pull", "tls.test/a:1"]).exits(0);
    env.docker(&["pull", "direct.test/a:1"]).exits(1).says("no such host");
    assert_eq!(proxy.asked_for("direct.test"), 0);
    drop(env);
    // One who does not know the password, and one who is not there.
    for (url, words) in [
        (format!("http://{address}"), ": Proxy Authentication Required"),
        (format!("http://{}", nobody()), ": proxyconnect tcp: dial tcp "),
    ] {
        let proxies = json!({ "proxies": { "https-proxy": url } });
        let env = trusting(&authorities).configuration(proxies).start();
        env.docker(&["pull", "tls.test/a:1"]).exits(1).says(words);
    }
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Docker's own registry, at a proxy, with credentials kept for it.
struct Hub {
    registry: FaultRegistry,
    proxy: Proxy,
    authorities: String,
    _folder: Folder,
}

impl Hub {
    fn new() -> Self {
        let folder = Folder::new();
        let (registry, authorities) = secured(&folder, &["registry-1.docker.io"]);
        let proxy = Proxy::start(&[("registry-1.docker.io:443", registry.address())]);
        Self { registry, proxy, authorities, _folder: folder }
    }

    /// An engine on the way to it, and a client that is known there.
    fn env(&self, mirrors: &[String]) -> Env {
        let env = trusting(&self.authorities)
            .configuration(json!({ "registry-mirrors": mirrors }))
            .variable("HTTPS_PROXY", &format!("http://{}", self.proxy.address()))
            .flags(&["--log-level", "debug"])
            .start();
        let home = env.host_folder().join("../../home/.docker");
        std::fs::create_dir_all(&home).unwrap();
        let auths = json!({ "https://index.docker.io/v1/": { "auth": secrets()[1] } });
        let config = json!({ "auths": auths }).to_string();
        std::fs::write(home.join("config.json"), config).unwrap();
        env
    }
}

#[test]
fn a_mirror_that_fails_is_passed_over() {
    let hub = Hub::new();
    let image = image_of(243, 2, 30_000);
    drop(hub.registry.publish("library/a:1", &image, Form::default()));
    let mirror = FaultRegistry::start();
    let mirrors = [format!("http://{}", nobody()), format!("http://{}", mirror.address())];
    let env = hub.env(&mirrors);
    let pull = |what: &str| {
        env.docker(&["pull", "a:1"]).exits(0);
        assert_eq!(env.inspect("a:1", "{{.Id}}"), image.id(), "{what}");
        env.docker(&["rmi", "a:1"]).exits(0);
        env.docker(&["image", "prune", "-af"]).exits(0);
    };
    pull("it has nothing");
    assert!(!mirror.requests().is_empty(), "it was asked");
    let here = mirror.publish("library/a:1", &image, Form::default());
    hub.registry.forget_requests();
    pull("it has all");
    assert!(hub.registry.requests().is_empty(), "the registry itself is not asked");
    for (at, what) in [
        (At::Manifest, What::Status(500)),
        (At::Manifest, What::WrongBytes),
        (At::Config, What::Status(404)),
        (At::Config, What::WrongBytes),
        (At::Layer(1), What::Status(503)),
        (At::Layer(1), What::WrongBytes),
        (At::Layer(0), What::WrongBytes),
        (At::Layer(1), What::Cut { after: 1000 }),
    ] {
        mirror.fault(at, 99, what.clone());
        let lies = || {
            let log = env.log_tail(usize::MAX);
            let named = log.lines().filter(|line| line.contains(&mirror.address().to_string()));
            named.filter(|line| line.contains(" WARN ") && line.contains("gave ")).count()
        };
        let before = lies();
        hub.registry.forget_requests();
        pull(&format!("{at:?} {what:?}"));
        assert!(!hub.registry.requests().is_empty(), "{at:?} {what:?}: it gave what was missing");
        // A lie is told to who keeps the machine.
        let told = env.is_foreign() || lies() > before;
        assert_eq!(told, what == What::WrongBytes || env.is_foreign(), "{at:?} {what:?}");
        drop(mirror.heal());
    }
    // Pushes pass mirrors over.
    mirror.forget_requests();
    env.docker(&["pull", "a:1"]).exits(0);
    assert!(!mirror.asked("GET", &here.digest).is_empty() || !mirror.requests().is_empty());
    mirror.forget_requests();
    env.docker(&["tag", "a:1", "somebody/pushed:1"]).exits(0);
    env.docker(&["push", "somebody/pushed:1"]).exits(0);
    assert!(hub.registry.manifest("somebody/pushed", "1").is_some());
    assert!(mirror.requests().is_empty());
}

#[test]
fn a_mirror_is_not_told_who_one_is_at_the_registry() {
    let hub = Hub::new();
    let image = image_of(244, 2, 500);
    for guard in [Guard::Basic, Guard::Token { anybody_pulls: false }] {
        drop(hub.registry.publish("library/secret:1", &image, Form::default()));
        hub.registry.guard(guard);
        // Mirrors that have nothing, and that ask who it is.
        let (open, basic, token) =
            (FaultRegistry::start(), FaultRegistry::start(), FaultRegistry::start());
        basic.guard(Guard::Basic);
        token.guard(Guard::Token { anybody_pulls: false });
        let all = [&open, &basic, &token];
        let mirrors = all.map(|mirror| format!("http://{}", mirror.address()));
        let env = hub.env(&mirrors);
        env.docker(&["pull", "secret:1"]).exits(0);
        assert_eq!(env.inspect("secret:1", "{{.Id}}"), image.id());
        for mirror in all {
            assert!(!mirror.requests().is_empty(), "{guard:?}: it was asked");
        }
        nothing_is_told(&env, &[&open, &basic]);
        for request in open.requests().iter().chain(&basic.requests()) {
            assert!(request.header("authorization").is_none(), "{}", request.text());
        }
        // This one gives tokens of its own to anybody, and they come back to it.
        for request in token.requests() {
            let header = request.header("authorization").unwrap_or("Bearer ");
            let asks = request.path == "/token" && header != "Bearer ";
            assert!(header.starts_with("Bearer ") && !asks, "{}", request.text());
            assert!(!request.query.contains("account"), "{}", request.text());
        }
    }
}

#[test]
fn registries_that_need_no_proof() {
    let authority = Authority::new("nobody knows it");
    let untrusted =
        FaultRegistry::start_as("127.0.0.1", &authority.server(&["insecure.test"]), None);
    let plain = FaultRegistry::start();
    drop(untrusted.publish("a:1", &image_of(245, 1, 500), Form::default()));
    drop(plain.publish("b:1", &image_of(246, 1, 500), Form::default()));
    let proxy = Proxy::start(&[
        ("insecure.test:443", untrusted.address()),
        ("plain.test:80", plain.address()),
        ("secure.test:443", untrusted.address()),
        ("secure.test:80", plain.address()),
    ]);
    let url = format!("http://{}", proxy.address());
    let env = Env::builder()
        .own()
        .without_busybox()
        .variable("HTTP_PROXY", &url)
        .variable("HTTPS_PROXY", &url)
        .configuration(json!({ "insecure-registries": ["insecure.test", "plain.test"] }))
        .start();
    env.docker(&["pull", "insecure.test/a:1"]).exits(0);
    env.docker(&["pull", "plain.test/b:1"]).exits(0);
    // One that is not named is neither believed nor asked in the clear.
    let before = plain.requests().len();
    env.docker(&["pull", "secure.test/b:1"]).exits(1).says("x509: ");
    assert_eq!(plain.requests().len(), before);
    assert_eq!(proxy.asked_for("http://secure.test"), 0);
    let template =
        "{{range $name, $one := .RegistryConfig.IndexConfigs}}{{$name}}={{$one.Secure}} {{end}}";
    let said = env.docker(&["info", "--format", template]).ok();
    assert!(said.contains("insecure.test=false") && said.contains("plain.test=false"), "{said}");
}
