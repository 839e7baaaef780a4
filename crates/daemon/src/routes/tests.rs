//! The whole edge over a real engine, in a network namespace and directories of its own; no
//! container is started.

use std::{future::Future, path::Path, sync::Arc};

use ferry_api::{ENDPOINTS, Endpoint, ErrorBody, Method, endpoint::Body as BodyKind};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::{
    app::App,
    config::{Config, Flags},
    http::{connection, service, wire::Stream},
    start,
};

#[test]
fn what_stands_before_the_host_of_a_proxy_is_hidden() {
    for (url, expect) in [
        ("http://me:s3cret@h:3128", "http://xxxxx:xxxxx@h:3128"),
        ("me:s3cret@h:3128", "xxxxx:xxxxx@h:3128"),
        ("me:s3:/@cr@et@h", "xxxxx:xxxxx@h"),
        ("http://me@h/path", "http://xxxxx:xxxxx@h/path"),
        ("socks5://h:1080", "socks5://h:1080"),
        ("h:3128", "h:3128"),
    ] {
        assert_eq!(super::system::hidden(Some(url)), expect);
    }
    assert_eq!(super::system::hidden(None), "");
}

/// Runs a test with a daemon that has nothing, beside the host's network.
#[track_caller]
fn with_daemon<F: Future<Output = ()>>(test: impl FnOnce(Arc<App>) -> F + Send) {
    let root = tempfile::tempdir().unwrap();
    let (_netns, ()) = ferry_sys::netns::create(|_| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let app = start::prepare(config(root.path())).await.unwrap();
            test(Arc::clone(&app)).await;
            app.engine.shutdown().await;
        });
    })
    .unwrap();
}

fn config(root: &Path) -> Config {
    use clap::Parser as _;

    let file = root.join("daemon.json");
    let supervisor = root.join("supervisor");
    std::fs::write(&file, "").unwrap();
    std::fs::write(&supervisor, "#!/bin/false\n").unwrap();
    let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
    Config::load(Flags::parse_from([
        "ferryd".to_owned(),
        flag("config-file", &file),
        flag("data-root", &root.join("data")),
        flag("exec-root", &root.join("exec")),
        flag("supervisor", &supervisor),
        "--bridge=fyt0".to_owned(),
        "--bip=10.231.7.1/24".to_owned(),
        format!("--cgroup-parent=/ferry-test-{}-api", std::process::id()),
    ]))
    .unwrap()
}

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends a request on a connection of its own.
async fn send(app: &Arc<App>, request: &str) -> Answer {
    let (mut client, server) = UnixStream::pair().unwrap();
    let handler = Arc::clone(app);
    let handle = move |request| service::serve(Arc::clone(&handler), request);
    app.connections.spawn(connection::serve(
        handle,
        Stream::Unix(server),
        app.closing.child_token(),
    ));
    client.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {len}\r\n\
         {headers}\r\n{body}"
    )
}

async fn get(app: &Arc<App>, path: &str) -> Answer {
    send(app, &request("GET", path, "", "")).await
}

fn path_of(endpoint: &Endpoint) -> String {
    let mut path = String::new();
    for part in endpoint.path.split('/').skip(1) {
        path.push('/');
        path.push_str(if part.starts_with('{') { "nope" } else { part });
    }
    if path == "/events" {
        // Else it never ends.
        path.push_str("?until=1");
    }
    path
}

/// Checks that an answer is a refusal as Docker writes them.
#[track_caller]
fn check_refusal(answer: &Answer, statuses: &[u16], endpoint: &Endpoint) {
    assert!(statuses.contains(&answer.status), "{endpoint:?}: {answer:?}");
    assert!(answer.head.contains("Content-Type: application/json"), "{endpoint:?}: {answer:?}");
    assert!(answer.head.contains("Api-Version: 1.51"), "{endpoint:?}: {answer:?}");
    if endpoint.method == Method::Head {
        return;
    }
    assert!(answer.body.ends_with('\n'), "{endpoint:?}: {answer:?}");
    let body: ErrorBody = serde_json::from_str(&answer.body).unwrap();
    assert!(!body.message.is_empty(), "{endpoint:?}: {answer:?}");
}

#[test]
fn every_endpoint_answers_as_the_table_says() {
    with_daemon(|app| async move {
        for endpoint in ENDPOINTS {
            let path = path_of(endpoint);
            let method = endpoint.method.as_str();
            let answer = send(&app, &request(method, &path, "", "")).await;
            if !endpoint.is_served {
                check_refusal(&answer, &[501, 503], endpoint);
                continue;
            }
            assert!(!matches!(answer.status, 0 | 501 | 503), "{endpoint:?}: {answer:?}");
            if endpoint.body == BodyKind::Json {
                let json = "Content-Type: application/json\r\n";
                let broken = send(&app, &request(method, &path, json, "{")).await;
                check_refusal(&broken, &[400], endpoint);
                assert!(broken.body.contains("invalid JSON: unexpected EOF"), "{broken:?}");
                let text = "Content-Type: text/plain\r\n";
                let text = send(&app, &request(method, &path, text, "{}")).await;
                check_refusal(&text, &[400], endpoint);
            }
        }
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    with_daemon(|app| async move {
        let exec = r#"{"Cmd":["true"]}"#;
        let json = "Content-Type: application/json\r\n";
        for (method, path, body, message) in [
            ("GET", "/containers/nope/json", "", "No such container: nope"),
            ("POST", "/containers/nope/start", "", "No such container: nope"),
            ("POST", "/containers/nope/stop", "", "No such container: nope"),
            ("POST", "/containers/nope/restart", "", "No such container: nope"),
            (
                "POST",
                "/containers/nope/kill",
                "",
                "cannot kill container: nope: No such container: nope",
            ),
            ("POST", "/containers/nope/pause", "", "No such container: nope"),
            ("POST", "/containers/nope/unpause", "", "No such container: nope"),
            ("POST", "/containers/nope/wait", "", "No such container: nope"),
            ("POST", "/containers/nope/rename?name=a", "", "No such container: nope"),
            ("POST", "/containers/nope/resize?h=1&w=1", "", "No such container: nope"),
            ("GET", "/containers/nope/logs?stdout=1", "", "No such container: nope"),
            ("GET", "/containers/nope/top", "", "No such container: nope"),
            ("DELETE", "/containers/nope", "", "No such container: nope"),
            ("POST", "/containers/nope/exec", exec, "No such container: nope"),
            ("GET", "/exec/nope/json", "", "No such exec instance: nope"),
            ("POST", "/exec/nope/start", "{}", "No such exec instance: nope"),
            ("POST", "/exec/nope/resize?h=1&w=1", "", "No such exec instance: nope"),
            ("GET", "/images/nope/json", "", "No such image: nope:latest"),
            ("GET", "/images/nope/history", "", "No such image: nope:latest"),
            ("POST", "/images/nope/tag?repo=a", "", "No such image: nope:latest"),
            ("DELETE", "/images/nope", "", "No such image: nope:latest"),
            ("GET", "/networks/nope", "", "network nope not found"),
            ("GET", "/plugins/nope/json", "", "plugin \\\"nope\\\" not found"),
            ("GET", "/volumes/nope", "", "get nope: no such volume"),
            ("DELETE", "/volumes/nope", "", "get nope: no such volume"),
            (
                "POST",
                "/containers/create",
                r#"{"Image":"nope","Cmd":["a"]}"#,
                "No such image: nope:latest",
            ),
        ] {
            let headers = if body.is_empty() { "" } else { json };
            let answer = send(&app, &request(method, path, headers, body)).await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            assert_eq!(answer.body, format!("{{\"message\":\"{message}\"}}\n"), "{method} {path}");
        }
        let attach = send(&app, &request("POST", "/containers/nope/attach", "", "")).await;
        assert_eq!((attach.status, attach.body.as_str()), (404, "No such container: nope\r\n"));
    });
}

#[test]
fn bad_requests_are_refused_in_docker_s_words() {
    with_daemon(|app| async move {
        for (method, path, status, message) in [
            (
                "GET",
                "/v1.99/info",
                400,
                "client version 1.99 is too new. Maximum supported API version is 1.51",
            ),
            (
                "GET",
                "/containers/json?limit=x",
                500,
                "strconv.Atoi: parsing \\\"x\\\": invalid syntax",
            ),
            ("GET", "/containers/json?filters=x", 400, "invalid filter"),
            (
                "GET",
                "/containers/json?filters={%22bogus%22:[%22a%22]}",
                400,
                "invalid filter 'bogus'",
            ),
            (
                "GET",
                "/events?since=abc",
                500,
                "strconv.ParseInt: parsing \\\"abc\\\": invalid syntax",
            ),
            (
                "GET",
                "/containers/nope/logs",
                400,
                "Bad parameters: you must choose at least one stream",
            ),
            (
                "POST",
                "/containers/nope/resize?w=1",
                400,
                "invalid resize height \\\"\\\": invalid syntax",
            ),
            ("POST", "/containers/nope/wait?condition=x", 400, "invalid condition: \\\"x\\\""),
            ("GET", "/system/df?type=x", 400, "unknown object type: x"),
            (
                "GET",
                "/images/BAD/json",
                400,
                "invalid reference format: repository name (library/BAD) must be lowercase",
            ),
        ] {
            let answer = send(&app, &request(method, path, "", "")).await;
            let expect = (status, format!("{{\"message\":\"{message}\"}}\n"));
            assert_eq!((answer.status, answer.body), expect, "{method} {path}");
        }
        let old = get(&app, "/v1.23/info").await;
        assert_eq!(old.status, 400);
        assert!(old.head.contains("Content-Type: text/plain; charset=utf-8"), "{old:?}");
        let lost = get(&app, "/nope").await;
        assert_eq!((lost.status, lost.body.as_str()), (404, "{\"message\":\"page not found\"}\n"));
        assert!(!lost.head.contains("Api-Version"), "{lost:?}");
    });
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    with_daemon(|app| async move {
        let json = "Content-Type: application/json\r\n";
        let body = format!(r#"{{"Image":"{}"}}"#, "x".repeat(9 << 20));
        let (mut client, server) = UnixStream::pair().unwrap();
        let handler = Arc::clone(&app);
        let handle = move |request| service::serve(Arc::clone(&handler), request);
        app.connections.spawn(connection::serve(
            handle,
            Stream::Unix(server),
            app.closing.child_token(),
        ));
        let text = request("POST", "/containers/create", json, &body);
        let (mut reader, mut writer) = client.split();
        let mut answer = Vec::new();
        // The daemon answers before it has read all, and closes then: writing may fail, and so may
        // reading after the answer.
        let (_sent, read) =
            tokio::join!(writer.write_all(text.as_bytes()), reader.read_to_end(&mut answer));
        drop(read);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    });
}

#[test]
fn the_engine_tells_of_itself_and_of_its_networks() {
    with_daemon(|app| async move {
        let ping = get(&app, "/_ping").await;
        assert_eq!((ping.status, ping.body.as_str()), (200, "OK"));
        for header in [
            "Api-Version: 1.51",
            "Builder-Version: 2",
            "Docker-Experimental: false",
            "Ostype: linux",
            "Swarm: inactive",
            "Cache-Control: no-cache, no-store, must-revalidate",
            "Pragma: no-cache",
        ] {
            assert!(ping.head.contains(header), "{header}: {ping:?}");
        }
        let info: Value = serde_json::from_str(&get(&app, "/info").await.body).unwrap();
        assert_eq!(info["Containers"], 0);
        assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
        let version: Value = serde_json::from_str(&get(&app, "/version").await.body).unwrap();
        assert_eq!(version["MinAPIVersion"], "1.24");
        let bridge: Value =
            serde_json::from_str(&get(&app, "/networks/bridge").await.body).unwrap();
        assert_eq!(bridge["IPAM"]["Config"][0]["Subnet"], "10.231.7.0/24");
        assert_eq!(bridge["Options"]["com.docker.network.bridge.name"], "fyt0");
        assert_eq!(get(&app, "/containers/json").await.body, "[]\n");
        assert_eq!(get(&app, "/images/json").await.body, "[]\n");
        let volumes = get(&app, "/volumes").await.body;
        assert_eq!(volumes, "{\"Volumes\":[],\"Warnings\":null}\n");
    });
}

#[test]
fn info_has_the_fields_of_docker() {
    with_daemon(|app| async move {
        let ours: Value = serde_json::from_str(&get(&app, "/info").await.body).unwrap();
        let theirs: Value = serde_json::from_str(DOCKER_INFO).unwrap();
        // What depends on the kernel, and what an engine without containerd has not.
        let absent = ["KernelMemoryTCP", "Containerd"];
        for (field, value) in theirs.as_object().unwrap() {
            if absent.contains(&field.as_str()) {
                continue;
            }
            let own = &ours[field];
            let same_kind = std::mem::discriminant(own) == std::mem::discriminant(value);
            assert!(same_kind || own.is_null() || value.is_null(), "{field}: {own} {value}");
            assert!(ours.get(field).is_some(), "{field}");
        }
    });
}

const DOCKER_INFO: &str = include_str!("../../../api/src/golden/info.json");

#[test]
fn volumes_come_and_go() {
    with_daemon(|app| async move {
        let json = "Content-Type: application/json\r\n";
        let create =
            request("POST", "/volumes/create", json, r#"{"Name":"vv","Labels":{"a":"b"}}"#);
        let created = send(&app, &create).await;
        assert_eq!(created.status, 201, "{created:?}");
        let volume: Value = serde_json::from_str(&created.body).unwrap();
        assert_eq!((&volume["Name"], &volume["Labels"]["a"]), (&"vv".into(), &"b".into()));
        assert_eq!(get(&app, "/volumes/vv").await.body, created.body);
        let removed = send(&app, &request("DELETE", "/volumes/vv", "", "")).await;
        assert_eq!((removed.status, removed.body.as_str()), (204, ""));
        assert_eq!(get(&app, "/volumes/vv").await.status, 404);
    });
}

#[test]
fn a_container_whose_files_are_gone_takes_nothing_and_hides_no_other() {
    with_daemon(|app| async move {
        let empty = "\0".repeat(1024);
        let import = "/images/create?fromSrc=-&repo=empty";
        assert_eq!(send(&app, &request("POST", import, "", &empty)).await.status, 200);
        let mut ids = Vec::new();
        for _ in 0..2 {
            let json = "Content-Type: application/json\r\n";
            let body = r#"{"Image":"empty","Cmd":["true"]}"#;
            let created = send(&app, &request("POST", "/containers/create", json, body)).await;
            let created: Value = serde_json::from_str(&created.body).unwrap();
            ids.push(created["Id"].as_str().unwrap().to_owned());
        }
        // As it is for a moment in each removal, and for longer in one that failed.
        app.engine.store().remove_container_fs(&ids[0]).unwrap().delete().unwrap();
        let listed = get(&app, "/containers/json?all=1&size=1").await;
        assert_eq!(listed.status, 200, "{listed:?}");
        assert_eq!(
            serde_json::from_str::<Value>(&listed.body).unwrap().as_array().unwrap().len(),
            2
        );
        let used = get(&app, "/system/df").await;
        assert_eq!(used.status, 200, "{used:?}");
        let shown = get(&app, &format!("/containers/{}/json?size=1", ids[0])).await;
        let shown: Value = serde_json::from_str(&shown.body).unwrap();
        assert_eq!((&shown["SizeRw"], &shown["SizeRootFs"]), (&0.into(), &0.into()));
    });
}
