//! What must be refused: with Docker's status, with a clear message, and with nothing changed.

use ferry_testkit::{Compression, Env, Image, Invocation, api};
use serde_json::{Value, json};

/// Sends a create body and gives status and message.
fn create(env: &Env, query: &str, body: &Value) -> (u16, String) {
    let answer = env.api("POST", &format!("/containers/create{query}"), Some(body));
    (answer.status, answer.message())
}

#[track_caller]
fn refused(env: &Env, query: &str, body: &Value, status: u16, text: &str) {
    let (got, message) = create(env, query, body);
    assert!(
        got == status && message.contains(text),
        "expected {status} {text:?}, got {got} {message:?} for {body}"
    );
}

#[test]
fn names_and_references() {
    let env = Env::start();
    let ok = json!({ "Image": "busybox" });
    refused(
        &env,
        "?name=-bad",
        &ok,
        400,
        "Invalid container name (-bad), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
    );
    refused(
        &env,
        "?name=a%20b",
        &ok,
        400,
        "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
    );
    refused(&env, "?name=a%2Fb", &ok, 400, "Invalid container name (a/b)");
    refused(&env, "?name=x", &ok, 400, "Invalid container name (x)");
    refused(&env, "", &json!({ "Image": "nope" }), 404, "No such image: nope:latest");
    refused(&env, "", &json!({ "Image": "nope:1" }), 404, "No such image: nope:1");
    refused(&env, "", &json!({ "Image": "UPPER" }), 400, "invalid reference format");
    refused(&env, "", &json!({ "Image": "a b" }), 400, "invalid reference format");
    refused(&env, "", &json!({ "Image": "" }), 400, "");
    for (method, path, status, text) in [
        ("GET", "/containers/nobody/json", 404, "No such container: nobody"),
        ("POST", "/containers/nobody/start", 404, "No such container: nobody"),
        ("POST", "/containers/nobody/kill", 404, "No such container: nobody"),
        ("DELETE", "/containers/nobody", 404, "No such container: nobody"),
        ("GET", "/images/nope/json", 404, "No such image: nope:latest"),
        ("DELETE", "/images/nope", 404, "No such image: nope:latest"),
        ("POST", "/images/busybox/tag?repo=UPPER", 400, "invalid reference format"),
        ("GET", "/networks/nobody", 404, "network nobody not found"),
        ("GET", "/volumes/nobody", 404, "get nobody: no such volume"),
        ("POST", "/exec/nobody/start", 404, "No such exec instance: nobody"),
        ("GET", "/nothing/here", 404, "page not found"),
        ("PUT", "/containers/json", 404, "page not found"),
    ] {
        let body = json!({});
        let answer = env.api(method, path, (method == "POST").then_some(&body));
        assert!(
            answer.status == status && answer.message().contains(text),
            "{method} {path}: {} {}",
            answer.status,
            answer.text()
        );
    }
    if !env.is_foreign() {
        assert!(env.containers().is_empty());
    }
}

#[test]
fn bodies_that_are_no_json() {
    let env = Env::start();
    let post = |headers: &[(&str, &str)], body: &str| {
        let answer = env.api_raw("POST", "/containers/create", headers, Some(body));
        (answer.status, answer.message())
    };
    let typed: &[(&str, &str)] = &[("Content-Type", "application/json")];
    for (body, text) in [
        ("{", "invalid JSON"),
        ("", "invalid JSON: got EOF while reading request body"),
        ("nonsense", "invalid JSON"),
        ("{\"Image\":\"busybox\"} trailing", "unexpected content after JSON"),
        ("[]", "invalid JSON"),
        ("{\"Image\":5}", "invalid JSON"),
        ("{\"Image\":\"busybox\",\"Env\":\"A=1\"}", "invalid JSON"),
        ("{\"Image\":\"busybox\",\"Tty\":\"yes\"}", "invalid JSON"),
        ("{\"Image\":\"busybox\",\"HostConfig\":{\"Memory\":\"12\"}}", "invalid JSON"),
        ("{\"Image\":\"busybox\",\"HostConfig\":{\"Memory\":1e99}}", "invalid JSON"),
        ("{\"Image\":\"busybox\",\"HostConfig\":[]}", "invalid JSON"),
        ("{\"Image\":\"busybox\",\"Labels\":{\"a\":1}}", "invalid JSON"),
    ] {
        let (status, message) = post(typed, body);
        assert!(status == 400 && message.contains(text), "{body}: {status} {message}");
    }
    let (status, message) = post(&[("Content-Type", "text/plain")], "{\"Image\":\"busybox\"}");
    assert_eq!(
        (status, message.as_str()),
        (400, "unsupported Content-Type header (text/plain): must be 'application/json'")
    );
    // What is not known is let through, as Docker lets it.
    let (status, _) = post(typed, "{\"Image\":\"busybox\",\"NotAField\":1}");
    assert_eq!(status, 201);
    // And a key is found whatever its letters' case.
    let (status, _) = post(typed, "{\"image\":\"busybox\",\"hostconfig\":null}");
    assert_eq!(status, 201);
}

#[test]
fn deep_and_great_bodies_do_no_harm() {
    let env = Env::builder().own().start();
    let headers: &[(&str, &str)] = &[("Content-Type", "application/json")];
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let answer = env.api_raw("POST", "/containers/create", headers, Some(&deep));
    assert_eq!(answer.status, 400, "{}", answer.text());
    let great = format!("{{\"Image\":\"busybox\",\"Env\":[\"A={}\"]}}", "x".repeat(64 << 20));
    let answer =
        api::request(env.socket(), "POST", "/containers/create", headers, Some(great.as_bytes()))
            .unwrap();
    assert!(matches!(answer.status, 400 | 413), "{} {}", answer.status, answer.text());
    // Said to be great, and never sent.
    let head = b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n";
    let answer = api::send(env.socket(), head, b"").unwrap();
    assert!(matches!(answer.status, 400 | 413), "{} {}", answer.status, answer.text());
    let long = format!("/containers/{}/json", "a".repeat(1 << 20));
    let answer = api::request(env.socket(), "GET", &long, &[], None);
    assert!(
        answer.as_ref().map_or(true, |answer| (400..500).contains(&answer.status)),
        "{answer:?}"
    );
    let answer = api::send(env.socket(), b"\x16\x03\x01nonsense\r\n\r\n", b"");
    assert!(answer.map_or(true, |answer| answer.status == 400));
    env.docker(&["run", "--rm", "busybox", "true"]).exits(0);
    assert!(env.containers().is_empty());
}

#[test]
fn values_out_of_range() {
    let env = Env::start();
    let mut faults = Vec::new();
    let host = |config: Value| json!({ "Image": "busybox", "HostConfig": config });
    for (config, text) in [
        (json!({ "Memory": 4096 }), "Minimum memory limit allowed is 6MB"),
        (json!({ "NanoCpus": -1 }), "CPUs"),
        (
            json!({ "NanoCpus": 1_000_000_000, "CpuQuota": 5000 }),
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (json!({ "CpuQuota": 1 }), "less than 1ms"),
        (json!({ "CpuPeriod": 5 }), "less than 1ms"),
        (json!({ "CpusetCpus": "a-b" }), "a-b"),
        (json!({ "ShmSize": -1 }), "SHM size can not be less than 0"),
        (json!({ "OomScoreAdj": 5000 }), "range for oom score adj is [-1000, 1000]"),
        (json!({ "RestartPolicy": { "Name": "bogus" } }), "restart policy"),
        (
            json!({ "RestartPolicy": { "Name": "always", "MaximumRetryCount": 3 } }),
            "maximum retry count",
        ),
        (
            json!({ "AutoRemove": true, "RestartPolicy": { "Name": "always" } }),
            "can't create 'AutoRemove' container with restart policy",
        ),
        (json!({ "Binds": ["a"] }), "invalid volume specification"),
        (json!({ "Binds": ["/a:b"] }), "mount path must be absolute"),
        (json!({ "Mounts": [{ "Type": "bogus", "Target": "/x" }] }), "mount type unknown"),
        (
            json!({ "Mounts": [{ "Type": "bind", "Target": "/x" }] }),
            "field Source must not be empty",
        ),
        (
            json!({ "Mounts": [{ "Type": "volume", "Target": "" }] }),
            "field Target must not be empty",
        ),
        (json!({ "IpcMode": "bogus" }), "IPC mode"),
        (json!({ "PidMode": "bogus" }), "PID mode"),
        (json!({ "UTSMode": "bogus" }), "UTS mode"),
        (json!({ "CgroupnsMode": "bogus" }), "cgroup namespace mode"),
        (json!({ "CapAdd": ["NOPE"] }), "unknown capability: \"CAP_NOPE\""),
        (json!({ "Sysctls": { "bogus": "1" }, "NetworkMode": "host" }), "bogus"),
        (json!({ "ExtraHosts": ["bad"] }), "bad format for add-host"),
        (json!({ "Tmpfs": { "relative": "" } }), "must be absolute"),
    ] {
        let body = host(config);
        let (status, message) = create(&env, "", &body);
        // Some of it dockerd finds out at the start only; early is as good.
        if status == 201 {
            let id = env.docker(&["ps", "-aql"]).ok();
            let started = env.api("POST", &format!("/containers/{id}/start"), None);
            if started.status < 400 || !started.text().contains(text) {
                faults.push(format!("{body}: started with {} {}", started.status, started.text()));
            }
            env.docker(&["rm", "-f", &id]).exits(0);
        } else {
            if status < 400 || !message.contains(text) {
                faults.push(format!("{body}: {status} {message}"));
            }
        }
    }
    for (body, text) in [
        (json!({ "Image": "busybox", "WorkingDir": "relative" }), "needs to be an absolute path"),
        (json!({ "Image": "busybox", "Hostname": "-bad-" }), ""),
        (json!({ "Image": "busybox", "StopSignal": "NOPE" }), "NOPE"),
        (json!({ "Image": "busybox", "Env": ["=x"] }), "invalid environment variable: =x"),
    ] {
        let (status, message) = create(&env, "", &body);
        if !text.is_empty() && (status != 400 || !message.contains(text)) {
            faults.push(format!("{body}: {status} {message}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{}",
        faults.join(
            "
"
        )
    );
}

#[test]
fn query_values() {
    let env = Env::start();
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    let mut faults = Vec::new();
    for (method, path, status, text) in [
        ("GET", "/containers/json?filters=nonsense".to_owned(), 400, "invalid filter"),
        (
            "GET",
            "/containers/json?filters=%7B%22bogus%22%3A%5B%221%22%5D%7D".to_owned(),
            400,
            "invalid filter 'bogus'",
        ),
        ("POST", format!("/containers/{id}/kill?signal=NOPE"), 400, "NOPE"),
        ("POST", format!("/containers/{id}/stop?t=x"), 500, "invalid syntax"),
        (
            "GET",
            format!("/containers/{id}/logs"),
            400,
            "Bad parameters: you must choose at least one stream",
        ),
        ("GET", format!("/containers/{id}/logs?stdout=1&since=nonsense"), 500, "invalid syntax"),
        ("POST", format!("/containers/{id}/wait?condition=bogus"), 400, "bogus"),
        (
            "POST",
            format!("/containers/{id}/rename?name=a%2Fb"),
            400,
            "Invalid container name (/a/b)",
        ),
        ("POST", format!("/containers/{id}/rename"), 400, ""),
        ("GET", "/events?since=nonsense".to_owned(), 500, "invalid syntax"),
    ] {
        let answer = env.api(method, &path, None);
        // Where Docker says 500 to a bad number, 400 is as good.
        let right = answer.status == status || (status, answer.status) == (500, 400);
        if !right || !answer.text().contains(text) {
            faults.push(format!("{method} {path}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(
        faults.is_empty(),
        "{}",
        faults.join(
            "
"
        )
    );
    assert_eq!(env.inspect(&id, "{{.State.Status}}"), "running");
    env.api("POST", &format!("/containers/{id}/start"), None).is(304);
    env.docker(&["stop", "-t", "0", &id]).exits(0);
    env.api("POST", &format!("/containers/{id}/stop"), None).is(304);
    env.api("POST", &format!("/containers/{id}/kill"), None).is(409);
    env.api("POST", "/containers//start", None).is(301);
}

#[test]
fn corrupt_archives() {
    let env = Env::start();
    let good = Image::busybox().with("Env", json!(["CORRUPT=1"])).docker_archive(&["corrupt:1"]);
    let gzip = Compression::Gzip.pack(&good);
    let zstd = Compression::Zstd.pack(&good);
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let mut flipped = gzip.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64].fill(0x55);
    for (what, archive) in [
        ("half a tar", half(&good)),
        ("half a gzip", half(&gzip)),
        ("half a zstd", half(&zstd)),
        ("a broken gzip", flipped),
        ("noise", vec![0x5a; 100_000]),
        ("text", b"this is no archive".to_vec()),
        ("an empty tar", vec![0; 1024]),
    ] {
        let headers = [("Content-Type", "application/x-tar")];
        let answer =
            api::request(env.socket(), "POST", "/images/load", &headers, Some(&archive)).unwrap();
        let refused = answer.status >= 400 || answer.text().contains("errorDetail");
        assert!(refused, "{what}: {} {}", answer.status, answer.text());
        env.docker(&["image", "inspect", "corrupt:1"]).exits(1);
        if !env.is_foreign() {
            env.assert_nothing_left();
        }
    }
    let said = env.invoke(&["load"]).stdin(half(&gzip)).run().fails();
    assert!(said.err().contains("unexpected EOF"), "{said:?}");
    env.invoke(&["load"]).stdin(good).run().exits(0);
    env.docker(&["rmi", "corrupt:1"]).exits(0);
}

/// A small file system in memory, for an engine's data.
struct SmallDisk {
    path: std::path::PathBuf,
}

impl SmallDisk {
    fn new(megabytes: u32) -> Self {
        let path = std::path::PathBuf::from(format!(
            "/var/tmp/ferry-small-{}-{megabytes}",
            std::process::id()
        ));
        std::fs::create_dir_all(&path).unwrap();
        let size = format!("size={megabytes}m");
        Invocation::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(&path)
            .run()
            .exits(0);
        Self { path }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Invocation::new("umount").arg("-l").arg(&self.path).run());
        drop(std::fs::remove_dir(&self.path));
    }
}

#[test]
fn a_full_disk() {
    let disk = SmallDisk::new(24);
    let env = Env::builder().own().data_root(&disk.path).start();
    drop(env.run_detached(&["--name", "bystander", "busybox", "sleep", "1000"]));
    let before = ferry_testkit::observe::files(&disk.path.join("layers"));
    let mut big = ferry_testkit::tar::Tar::new();
    big.file("big", 0o644, vec![0xa5; 40 << 20]);
    let image = Image::busybox().layer(&big);
    let said = env.invoke(&["load"]).stdin(image.docker_archive(&["big:1"])).run().fails();
    assert!(said.err().contains("no space left on device"), "{said:?}");
    env.docker(&["image", "inspect", "big:1"]).exits(1);
    assert_eq!(ferry_testkit::observe::files(&disk.path.join("layers")), before);
    assert_eq!(
        std::fs::read_dir(disk.path.join("tmp")).unwrap().count(),
        0,
        "nothing half-made is left"
    );
    // A container that fills the disk is told so, and the engine goes on.
    env.shell(&[], "dd if=/dev/zero of=/fill bs=1M count=60")
        .exits(1)
        .says("No space left on device");
    let filler = env.docker(&[
        "run",
        "--name",
        "filler",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/zero of=/fill bs=1M count=60; exit 3",
    ]);
    assert!(filler.code == 3 || filler.code == 125, "{filler:?}");
    let full = env.docker(&["create", "--name", "late", "busybox"]);
    if full.code != 0 {
        assert!(full.err().contains("no space left on device"), "{full:?}");
        env.docker(&["inspect", "late"]).exits(1);
    }
    assert_eq!(env.inspect("bystander", "{{.State.Status}}"), "running");
    env.docker(&["rm", "-f", "filler"]).exits(0);
    env.docker(&["run", "--rm", "busybox", "true"]).exits(0);
}
