//! Registries that drip and clients that are gone or do not read: nobody else waits for them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ferry_testkit::registry::{At, Form, Guard, What};
use ferry_testkit::wait::wait_until;
use ferry_testkit::{Client, Env, FaultRegistry};
use rustix::process::Signal;

use crate::pull::{image_of, scrub};

/// How long others may take, who have nothing to wait for.
const SOON: Duration = Duration::from_secs(30);

fn engine() -> Env {
    Env::builder().own().without_busybox().start()
}

/// Sends a request and leaves the answer to come.
fn ask(env: &Env, method: &str, path: &str, body: &str) -> UnixStream {
    let mut client = UnixStream::connect(env.socket()).unwrap();
    let head = format!(
        "{method} /v1.51{path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).unwrap();
    client
}

#[test]
fn layers_that_drip_stop_no_other_pull() {
    let env = engine();
    let (drips, well) = (FaultRegistry::start(), FaultRegistry::start());
    drop(drips.publish("slow:1", &image_of(700, 2, 200_000), Form::default()));
    for layer in 0..2 {
        drips.fault(At::Layer(layer), 1, What::Slow { bytes_per_second: 2000 });
    }
    let slow = env.invoke(&["pull", &drips.name("slow:1")]).spawn();
    wait_until("both layers are asked for", SOON, || {
        (drips.asked("GET", "/blobs/").len() >= 3).then_some(())
    });
    for number in 0..3 {
        let image = image_of(710 + number, 3, 20_000);
        drop(well.publish(&format!("quick:{number}"), &image, Form::default()));
        let name = well.name(&format!("quick:{number}"));
        drop(env.invoke(&["pull", "-q", &name]).deadline(SOON).run().exits(0));
        assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
    }
    slow.signal(Signal::INT);
    drop(slow.finish().fails());
    let tmp = env.data_root().join("tmp");
    wait_until("what was half-made is gone", Duration::from_secs(3), || {
        (std::fs::read_dir(&tmp).unwrap().count() == 0).then_some(())
    });
    scrub(&env);
}

#[test]
fn a_client_that_does_not_read_stops_no_other_pull() {
    let env = engine();
    let registry = FaultRegistry::start();
    let image = image_of(720, 300, 30);
    drop(registry.publish("many:1", &image, Form::default()));
    let path = format!("/images/create?fromImage={}&tag=1", registry.name("many"));
    let silent = ask(&env, "POST", &path, "");
    wait_until("it has begun", SOON, || {
        (!registry.asked("GET", "/blobs/").is_empty()).then_some(())
    });
    let name = registry.name("many:1");
    let pull = env.invoke(&["pull", "-q", &name]).deadline(Duration::from_secs(120));
    drop(pull.run().exits(0));
    assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
    drop(silent);
}

/// A registry that takes connections and answers nothing.
struct Silent {
    address: SocketAddr,
    /// Hears of each request, and of each connection's end.
    told: mpsc::Receiver<&'static str>,
}

impl Silent {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        drop(thread::spawn(move || {
            while let Ok((mut socket, _)) = listener.accept() {
                let tell = tell.clone();
                drop(thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    let begins_plainly =
                        socket.read(&mut bytes).is_ok_and(|length| length > 0 && bytes[0] != 0x16);
                    // It speaks no TLS.
                    if !begins_plainly || tell.send("asked").is_err() {
                        return;
                    }
                    while socket.read(&mut bytes).is_ok_and(|length| length > 0) {}
                    tell.send("ended").ok();
                }));
            }
        }));
        Self { address, told }
    }

    #[track_caller]
    fn hears(&self, what: &str, within: Duration) {
        assert_eq!(self.told.recv_timeout(within), Ok(what));
    }
}

#[test]
fn what_registries_are_asked_ends_with_who_wants_to_know() {
    let mut env = engine();
    let registry = Silent::start();
    let name = format!("{}/x:1", registry.address);
    let auth =
        format!(r#"{{"username":"a","password":"b","serveraddress":"{}"}}"#, registry.address);
    let pull = format!("/images/create?fromImage={}/x&tag=1", registry.address);
    let inspect = format!("/distribution/{name}/json");
    let wanted = [("POST", &*pull, ""), ("GET", &*inspect, ""), ("POST", "/auth", &*auth)];
    for (method, path, body) in wanted {
        let client = ask(&env, method, path, body);
        registry.hears("asked", SOON);
        drop(client);
        registry.hears("ended", Duration::from_secs(2));
    }
    // An engine that stops does not wait for registries either.
    let client = ask(&env, "GET", &inspect, "");
    registry.hears("asked", SOON);
    let began = Instant::now();
    env.stop_engine();
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    drop(client);
    env.start_engine();
}

#[test]
fn of_what_is_up_to_date_only_the_name_is_asked() {
    let env = engine();
    let registry = FaultRegistry::start();
    drop(registry.publish("same:1", &image_of(730, 2, 2000), Form::default()));
    let name = registry.name("same:1");
    env.docker(&["pull", "-q", &name]).exits(0);
    registry.forget_requests();
    let said = env.docker(&["pull", &name]).ok();
    assert!(said.contains(&format!("Status: Image is up to date for {name}")), "{said}");
    let asked: Vec<_> =
        registry.requests().into_iter().map(|it| it.method + " " + &it.path).collect();
    assert_eq!(asked, ["HEAD /v2/same/manifests/1"]);
    // Of what has changed only what is new is fetched.
    let image = image_of(731, 2, 2000);
    drop(registry.publish("same:1", &image, Form::default()));
    let said = env.docker(&["pull", &name]).ok();
    assert!(said.contains("Downloaded newer image"), "{said}");
    assert_eq!(env.inspect(&name, "{{.Id}}"), image.id());
}

#[test]
fn an_image_may_be_removed_while_it_is_pushed() {
    let env = engine();
    let registry = FaultRegistry::start();
    let name = registry.name("gone:1");
    env.load(&image_of(760, 2, 20_000), &name);
    registry.fault(At::UploadStart, 3, What::RetryAfter(2));
    let push = env.invoke(&["push", "-q", &name]).spawn();
    wait_until("uploads are begun", SOON, || {
        (registry.asked("POST", "/uploads/").len() >= 3).then_some(())
    });
    env.docker(&["rmi", &name]).exits(0);
    drop(push.finish().exits(0));
    assert!(registry.manifest("gone", "1").is_some());
    assert_eq!(registry.blobs("gone").len(), 3);
    scrub(&env);
}

#[test]
fn a_token_server_that_refuses_is_no_missing_image() {
    let env = engine();
    let registry = FaultRegistry::start();
    drop(registry.publish("mine:1", &image_of(740, 1, 2000), Form::default()));
    registry.guard(Guard::Token { anybody_pulls: false });
    let name = registry.name("mine:1");
    let auth = serde_json::json!({
        "username": "a", "password": "b", "serveraddress": registry.address().to_string(),
    });
    let pull = format!("/v1.51/images/create?fromImage={}&tag=1", registry.name("mine"));
    let inspect = format!("/v1.51/distribution/{name}/json");
    for (told, expect) in [(403, 403), (401, 401), (503, 500)] {
        registry.fault(At::Token, 99, What::Status(told));
        let is = |method, path, body| drop(env.api(method, path, body).is(expect));
        is("POST", &pull, None);
        is("GET", &inspect, None);
        is("POST", "/v1.51/auth", Some(&auth));
        drop(registry.heal());
    }
}

#[test]
fn a_copy_that_is_interrupted_is_given_up_at_its_target() {
    let env = engine();
    let (source, target) = (FaultRegistry::start(), FaultRegistry::start());
    drop(source.publish("a:1", &image_of(750, 2, 20_000), Form::default()));
    target.fault(At::UploadEnd, 99, What::Stall);
    let [from, to] =
        [&source, &target].map(|registry| format!("docker://{}", registry.name("a:1")));
    let copy = env.client(Client::Ferry, &["image", "copy", "-q", &from, &to]).spawn();
    wait_until("an upload is being ended", SOON, || {
        (!target.asked("PUT", "/uploads/").is_empty()).then_some(())
    });
    copy.signal(Signal::INT);
    drop(copy.finish().exits(130));
    assert_eq!(target.open_uploads(), 0, "{:?}", target.asked("DELETE", ""));
}
