//! A registry with a token server, as the `docker` client and the engine meet it.

use ferry_testkit::registry::{At, Form, Guard, PASSWORD, SeenRequest, USER, What, secrets};
use ferry_testkit::{Client, Env, FaultRegistry};
use serde_json::Value;

use crate::pull::image_of;

/// An engine that tells much, and a registry that gives tokens.
fn guarded(anybody_pulls: bool) -> (Env, FaultRegistry) {
    let env = Env::builder().without_busybox().flags(&["--log-level", "debug"]).start();
    let registry = FaultRegistry::start();
    registry.guard(Guard::Token { anybody_pulls });
    (env, registry)
}

fn login(
    env: &Env,
    client: Client,
    registry: &FaultRegistry,
    password: &str,
) -> ferry_testkit::Output {
    let address = registry.address().to_string();
    let words = ["login", "-u", USER, "--password-stdin", &address];
    env.client(client, &words).stdin(password).run()
}

fn kept(env: &Env, registry: &FaultRegistry) -> Value {
    let file = env.host_folder().join("../../home/.docker/config.json");
    let config: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    config["auths"][registry.address().to_string()].clone()
}

/// What tokens were asked for, as the query or the form says it.
fn asked(registry: &FaultRegistry) -> Vec<(SeenRequest, String)> {
    let all = registry.requests().into_iter().filter(|request| request.path == "/token");
    all.map(|request| {
        let text = format!("{}&{}", request.query, String::from_utf8_lossy(&request.body));
        (request, text.replace("%3A", ":").replace("%2C", ","))
    })
    .collect()
}

/// Neither a password nor what stands for one is in the engine's log.
#[track_caller]
fn log_is_clean(env: &Env) {
    if env.is_foreign() {
        return;
    }
    let log = env.log_tail(usize::MAX);
    assert!(log.contains("DEBUG"), "there is a log");
    let known = secrets();
    // The marker stands in the identity token and in all tokens too.
    for secret in known.iter().map(String::as_str).chain(["identity-", "token-s3cr3t"]) {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "a secret is in the log: {line:?}");
    }
}

#[test]
fn anybody_pulls_without_a_name() {
    let (env, registry) = guarded(true);
    drop(registry.publish("public:1", &image_of(250, 3, 500), Form::default()));
    let name = registry.name("public:1");
    env.docker(&["pull", &name]).exits(0);
    let asked_for = asked(&registry);
    let [(request, text)] = asked_for.as_slice() else { panic!("one token: {asked_for:?}") };
    assert_eq!(request.method, "GET");
    assert!(text.contains("scope=repository:public:pull&") && !text.contains("push"), "{text}");
    assert!(text.contains("service=fault-registry"), "{text}");
    assert!(request.header("authorization").is_none() && !text.contains("account"), "{text}");
    env.docker(&["rmi", &name]).exits(0);
    log_is_clean(&env);
}

#[test]
fn a_login_leaves_a_token_and_not_the_password() {
    for client in [Client::Docker, Client::Ferry] {
        if client.program().is_none() {
            println!("not run with {client:?}: it is not installed");
            continue;
        }
        let (env, registry) = guarded(false);
        drop(registry.publish("mine:1", &image_of(251, 2, 500), Form::default()));
        let name = registry.name("mine:1");
        env.client(client, &["pull", &name]).run().exits(1);
        let wrong = login(&env, client, &registry, "wrong").exits(1);
        let url = format!("http://{}/v2/", registry.address());
        let words = format!("Get \"{url}\": unauthorized: incorrect username or password");
        assert!(wrong.err().contains(&words), "{wrong:?}");
        drop(login(&env, client, &registry, PASSWORD).exits(0).prints("Login Succeeded"));
        let auth = kept(&env, &registry);
        assert!(
            auth["identitytoken"].as_str().is_some_and(|it| it.starts_with("identity-")),
            "{auth}"
        );
        assert!(!auth.to_string().contains(&secrets()[1]), "the password is not kept: {auth}");
        registry.forget_requests();
        env.client(client, &["pull", &name]).run().exits(0);
        env.client(client, &["tag", &name, &registry.name("other:1")]).run().exits(0);
        env.client(client, &["push", &registry.name("other:1")]).run().exits(0);
        for (request, text) in asked(&registry) {
            assert_eq!(request.method, "POST", "{client:?}: {text}");
            assert!(text.contains("grant_type=refresh_token"), "{client:?}: {text}");
            assert!(request.header("authorization").is_none(), "{client:?}: {text}");
        }
        let scopes: Vec<String> = asked(&registry).into_iter().map(|(_, text)| text).collect();
        let has = |scope: &str| scopes.iter().any(|text| text.contains(scope));
        assert!(has("repository:mine:pull"), "{scopes:?}");
        assert!(
            has("repository:other:") && scopes.iter().any(|text| text.contains("push")),
            "{scopes:?}"
        );
        for request in registry.requests().iter().filter(|request| request.path != "/token") {
            let header = request.header("authorization").unwrap_or("Bearer ");
            assert!(header.starts_with("Bearer "), "{}", request.text());
        }
        // Its time is over: it is replaced by means of the one that stands for the password.
        registry.expire_tokens();
        env.client(client, &["rmi", &name, &registry.name("other:1")]).run().exits(0);
        env.client(client, &["pull", &name]).run().exits(0);
        let address = registry.address().to_string();
        env.client(client, &["logout", &address]).run().exits(0);
        assert!(kept(&env, &registry).is_null());
        env.client(client, &["push", &registry.name("mine:1")]).run().exits(1).says("denied");
        log_is_clean(&env);
    }
}

#[test]
fn tokens_do_not_follow_to_other_hosts() {
    let (env, registry) = guarded(false);
    let image = image_of(252, 3, 2000);
    drop(registry.publish("far:1", &image, Form::default()));
    let other = registry.beside();
    drop(login(&env, Client::usual(), &registry, PASSWORD).exits(0));
    for at in [At::Manifest, At::Config, At::Layer(0), At::Layer(2)] {
        registry.fault(at, 9, What::RedirectTo(other.address()));
    }
    let name = registry.name("far:1");
    env.docker(&["pull", &name]).exits(0);
    assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
    assert!(other.asked("GET", "/").len() >= 4, "the other host was asked");
    for request in other.requests() {
        assert!(request.header("authorization").is_none(), "{}", request.text());
        assert!(!request.text().contains(PASSWORD), "{}", request.text());
    }
    drop(registry.heal());
    // An upload that is sent elsewhere takes nothing along either.
    registry.fault(At::UploadStart, 9, What::RedirectTo(other.address()));
    env.docker(&["tag", &name, &registry.name("sent:1")]).exits(0);
    other.forget_requests();
    // What was sent elsewhere is not where the manifest goes.
    drop(env.docker(&["push", &registry.name("sent:1")]).exits(1));
    assert!(!other.asked("POST", "/v2/sent/blobs/uploads/").is_empty(), "they began there");
    for request in other.requests() {
        assert!(request.header("authorization").is_none(), "{}", request.text());
    }
    log_is_clean(&env);
}

#[test]
fn a_token_server_that_fails() {
    // Docker gives up at once.
    let env = Env::builder().own().without_busybox().flags(&["--log-level", "debug"]).start();
    let registry = FaultRegistry::start();
    registry.guard(Guard::Token { anybody_pulls: true });
    let image = image_of(253, 2, 500);
    drop(registry.publish("public:1", &image, Form::default()));
    let name = registry.name("public:1");
    // What passes is waited for.
    for what in [What::Status(503), What::Cut { after: 3 }, What::RetryAfter(1)] {
        registry.fault(At::Token, 1, what.clone());
        env.docker(&["pull", &name]).exits(0);
        assert!(registry.heal().is_empty(), "{what:?}");
        env.docker(&["rmi", &name]).exits(0);
        registry.expire_tokens();
    }
    // What does not is said in one line.
    for what in [What::Status(403), What::Truncate { to: 5 }, What::HugeBody] {
        registry.fault(At::Token, 99, what.clone());
        let said = env.docker(&["pull", &name]).exits(1);
        assert_eq!(said.err().lines().count(), 1, "{what:?}: {said:?}");
        drop(registry.heal());
    }
    env.docker(&["pull", &name]).exits(0);
    log_is_clean(&env);
}
