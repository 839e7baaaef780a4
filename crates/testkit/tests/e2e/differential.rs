//! Both clients against the engine say, to the letter, what `docker` says against Docker.
//!
//! What Docker says was recorded (`golden/differential.json`, with the version of the client that
//! was heard) and is asked anew where a reference engine is at hand (`FERRY_REFERENCE`). To record:
//! `FERRY_E2E_RECORD=crates/testkit/tests/e2e/golden FERRY_E2E_HOST=unix:///...`.

use std::collections::BTreeMap;

use ferry_testkit::env::reference_host;
use ferry_testkit::{Client, Env, Image};
use serde_json::{Value, json};

mod mask;
mod scenarios;

use scenarios::{SCENARIOS, Scenario};

/// What a command line said, masked.
type Said = (String, i32, String, String);

fn play(env: &Env, client: Client, scenario: &Scenario) -> Vec<Said> {
    let before = env.containers();
    let mut said = Vec::new();
    for line in scenario.lines {
        let words = split(line);
        let output = env.client(client, &words).run();
        assert!(!output.timed_out, "{output:?}");
        said.push((
            (*line).to_owned(),
            output.code,
            mask::mask(&named(client, &output.stdout)),
            mask::mask(&named(client, &output.stderr)),
        ));
    }
    for id in env.containers().difference(&before) {
        drop(env.client(client, &["rm", "-fv", id]).run());
    }
    said
}

/// What was said, with the name of the program that every client has as its own.
fn named(client: Client, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes)
        // The one word of a configuration that is the engine's own, and one that is the kernel's.
        .replace("\"Runtime\":\"ferry\"", "\"Runtime\":\"runc\"")
        .replace("\"CgroupnsMode\":\"private\"", "\"CgroupnsMode\":\"host\"");
    match client {
        Client::Docker => text,
        Client::Ferry => text
            .replace("ferry: ", "docker: ")
            .replace("'ferry ", "'docker ")
            .replace("Usage:  ferry ", "Usage:  docker ")
            .replace("command: ferry ", "command: docker "),
    }
}

/// Words of a line; single quotes keep spaces.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(ToOwned::to_owned));
        }
    }
    words
}

/// The image of the scenarios, the same to the byte wherever they are recorded and played.
fn prepare(env: &Env) {
    let tiny = Image::busybox()
        .with("Labels", json!({ "kind": "tiny" }))
        .with("Cmd", json!(["echo", "tiny"]))
        .created("2025-05-06T07:08:09Z");
    env.load(&tiny, "tiny:1");
}

fn docker_version() -> Option<String> {
    let program = Client::Docker.program()?;
    let version = ferry_testkit::Invocation::new(program).args(["--version"]).run().ok();
    // Docker version 28.2.2, build ...
    let number = version.split([' ', ',']).nth(2)?;
    Some(number.split('.').next()?.to_owned())
}

fn recorded() -> Value {
    serde_json::from_str(include_str!("golden/differential.json")).unwrap()
}

fn expected(recorded: &Value, scenario: &str) -> Vec<Said> {
    let list = recorded["scenarios"][scenario]
        .as_array()
        .unwrap_or_else(|| panic!("{scenario} was not recorded"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let code = |value: &Value| i32::try_from(value.as_i64().unwrap()).unwrap();
    list.iter().map(|one| (text(&one[0]), code(&one[1]), text(&one[2]), text(&one[3]))).collect()
}

#[expect(clippy::print_stderr, reason = "a test says what it could compare with")]
fn note(text: &str) {
    eprintln!("note: {text}");
}

fn differences(who: &str, expected: &[Said], said: &[Said]) -> Vec<String> {
    let mut faults = Vec::new();
    for (want, got) in expected.iter().zip(said) {
        let (line, code, stdout, stderr) = want;
        let parts = [
            ("code", code.to_string(), got.1.to_string()),
            ("stdout", stdout.clone(), got.2.clone()),
            ("stderr", stderr.clone(), got.3.clone()),
        ];
        for (part, want, got) in parts {
            if want != got {
                faults
                    .push(format!("{who}: `{line}`: {part}\n--- docker\n{want}\n--- {who}\n{got}"));
            }
        }
    }
    faults
}

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|one| one.name == name).unwrap()
}

#[track_caller]
fn check(name: &str) {
    let scenario = scenario(name);
    let env = Env::start();
    if env.is_foreign() && std::env::var_os("FERRY_E2E_RECORD").is_some() {
        // Recording is one test of its own, over all scenarios.
        return;
    }
    prepare(&env);
    let recorded = recorded();
    let golden = expected(&recorded, name);
    let said = play(&env, Client::Ferry, scenario);
    let mut faults = differences("ferry on ferryd", &golden, &said);
    let version = docker_version();
    if version.as_deref() == recorded["client"].as_str() {
        faults.extend(differences(
            "docker on ferryd",
            &golden,
            &play(&env, Client::Docker, scenario),
        ));
    } else if version.is_some() {
        note("this docker client has other words than the recorded one: exit codes are compared");
        for (want, got) in golden.iter().zip(play(&env, Client::Docker, scenario)) {
            // What the client refuses by itself is its own affair.
            let of_engine = want.1 == 0 || want.3.contains("Error response from daemon");
            if of_engine && want.1 != got.1 {
                faults.push(format!("docker: `{}` ends with {}, not {}", want.0, got.1, want.1));
            }
        }
    }
    drop(env);
    match reference_host() {
        Some(host) => {
            let reference = Env::foreign(&host);
            prepare(&reference);
            let now = play(&reference, Client::Docker, scenario);
            faults.extend(differences("docker on the reference, now", &golden, &now));
            faults.extend(differences(
                "ferry on the reference",
                &golden,
                &play(&reference, Client::Ferry, scenario),
            ));
        }
        None => note("no FERRY_REFERENCE: compared with what was recorded"),
    }
    assert!(faults.is_empty(), "{} differences\n{}", faults.len(), faults.join("\n\n"));
}

#[test]
fn record() {
    let Ok(folder) = std::env::var("FERRY_E2E_RECORD") else {
        // Every scenario has a recording, and every recording a scenario.
        let recorded = recorded();
        let names: Vec<&String> = recorded["scenarios"].as_object().unwrap().keys().collect();
        let mut known: Vec<&str> = SCENARIOS.iter().map(|one| one.name).collect();
        known.sort_unstable();
        assert_eq!(names, known);
        return;
    };
    let env = Env::start();
    assert!(env.is_foreign(), "what Docker says is recorded from Docker: set FERRY_E2E_HOST");
    prepare(&env);
    let mut all = BTreeMap::new();
    for scenario in SCENARIOS {
        all.insert(scenario.name, play(&env, Client::Docker, scenario));
    }
    let version = docker_version().unwrap();
    let text =
        serde_json::to_string_pretty(&json!({ "client": version, "scenarios": all })).unwrap();
    std::fs::write(std::path::Path::new(&folder).join("differential.json"), text + "\n").unwrap();
}

#[test]
fn running() {
    check("running");
}

#[test]
fn lives() {
    check("lives");
}

#[test]
fn lists() {
    check("lists");
}

#[test]
fn images() {
    check("images");
}

#[test]
fn refusals() {
    check("refusals");
}

#[test]
fn logs_and_execs() {
    check("logs and execs");
}

#[test]
fn templates() {
    check("templates");
}

/// The paths of all keys of a JSON value; lists count by their first element.
fn keys(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                // Names of networks, labels and the like are data, not structure.
                let id = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
                let path = format!("{at}.{}", if id { "<id>" } else { key });
                found.push(path.clone());
                if !matches!(key.as_str(), "Labels" | "GraphDriver" | "Metadata") {
                    keys(value, &path, found);
                }
            }
        }
        Value::Array(list) => {
            if let Some(first) = list.first() {
                keys(first, &format!("{at}[]"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn answers_have_dockers_shape() {
    let env = Env::start();
    prepare(&env);
    env.docker(&["run", "-d", "--name", "one", "-v", "/data", "tiny:1", "sleep", "1000"]).exits(0);
    let body = json!({ "Cmd": ["true"] });
    let exec = env.api("POST", "/containers/one/exec", Some(&body)).is(201).json();
    let exec = format!("/v1.51/exec/{}/json", exec["Id"].as_str().unwrap());
    let mut shapes = BTreeMap::new();
    for (name, path) in [
        ("container", "/v1.51/containers/one/json"),
        ("containers", "/v1.51/containers/json?all=1&size=1"),
        ("image", "/v1.51/images/tiny:1/json"),
        ("images", "/v1.51/images/json"),
        ("history", "/v1.51/images/tiny:1/history"),
        ("exec", &exec),
        ("network", "/v1.51/networks/bridge"),
        ("volumes", "/v1.51/volumes"),
        ("version", "/v1.51/version"),
    ] {
        let mut found = Vec::new();
        keys(&env.api("GET", path, None).is(200).json(), "", &mut found);
        shapes.insert(name, found);
    }
    let foreign = env.is_foreign();
    env.docker(&["rm", "-fv", "one"]).exits(0);
    if let (Ok(folder), true) = (std::env::var("FERRY_E2E_RECORD"), foreign) {
        let text = serde_json::to_string_pretty(&shapes).unwrap();
        std::fs::write(std::path::Path::new(&folder).join("shapes.json"), text + "\n").unwrap();
        return;
    }
    let golden: BTreeMap<String, Vec<String>> =
        serde_json::from_str(include_str!("golden/shapes.json")).unwrap();
    let mut faults = Vec::new();
    for (name, found) in &shapes {
        let want = &golden[*name];
        faults.extend(
            want.iter()
                .filter(|key| !found.contains(key))
                .map(|key| format!("{name}{key} is missing")),
        );
        faults.extend(
            found
                .iter()
                .filter(|key| !want.contains(key))
                .map(|key| format!("{name}{key} is not Docker's")),
        );
        if faults.is_empty() && want != found {
            faults.push(format!("{name}: the keys are in another order:\n{want:?}\n{found:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
