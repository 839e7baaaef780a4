//! Against servers in this process.

mod bodies;
mod proxies;
mod secrets;
mod server;
mod tls;

use std::path::PathBuf;

use self::server::{Server, answer};
use super::*;
use crate::config::{Insecure, parse_hosts_toml};
use crate::error::DistributionErrorKind;

const SECRET: &str = "s3cr3t-marker";

fn transport() -> Transport {
    Transport::new(RegistryConfig::default()).unwrap()
}

/// An endpoint as the files of registries describe it.
fn endpoint(base: &str, settings: &str) -> Endpoint {
    let text = format!("[host.'{base}']\n{settings}");
    let hosts = parse_hosts_toml(&text, std::path::Path::new("/")).unwrap();
    let name = Reference::parse("registry.example/a").unwrap();
    let files = |_: &str| Ok(RegistryFiles { hosts: Some(hosts.clone()), ..Default::default() });
    // This machine is trusted without proof; here that is to be said.
    let mut endpoint =
        endpoint::endpoints(&RegistryConfig::default(), &name, &files).unwrap().remove(0);
    endpoint.tls.skip_verify = settings.contains("skip_verify");
    endpoint
}

impl Request {
    /// With this header.
    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// With this in its query.
    fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body.
    fn body(mut self, body: RequestBody) -> Self {
        self.body = body;
        self
    }
}

fn get(path: &str) -> Request {
    Request::new(Method::GET, path)
}

async fn text(response: Response) -> String {
    let bytes = response.bytes(1 << 20, "answer").await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// An error with all that is beneath it, as it is told at the edges.
fn told(error: &DistributionError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_request_arrives_as_it_was_made() {
    let server = Server::start(|_| answer(201).body("hello".into()).unwrap()).await;
    let e = endpoint(&server.url("/root"), "");
    let accept = HeaderValue::from_static("a/b");
    let r = Request::new(Method::POST, "/v2/a/blobs/uploads/")
        .query("from", "b c")
        .header(http::header::ACCEPT, accept);
    let response = transport().send(&e, &r, Some(&Secret::new("Basic eA=="))).await.unwrap();
    assert_eq!(response.status, StatusCode::CREATED);
    assert_eq!(text(response).await, "hello");
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].method.as_str(), seen[0].target.as_str()),
        ("POST", "/root/v2/a/blobs/uploads/?from=b%20c&ns=registry.example")
    );
    assert_eq!(seen[0].header("accept"), "a/b");
    assert_eq!(seen[0].header("authorization"), "Basic eA==");
    assert_eq!(seen[0].header("content-length"), "0");
    assert_eq!(seen[0].header("host"), server.address.to_string());
    assert!(seen[0].header("user-agent").starts_with("ferry/"));
}

#[tokio::test]
async fn no_status_is_judged() {
    let server = Server::start(|seen| {
        let status = seen.target.trim_start_matches("/v2/").split('?').next().unwrap();
        answer(status.parse().unwrap()).body(Default::default()).unwrap()
    })
    .await;
    let (transport, e) = (transport(), endpoint(&server.url(""), ""));
    for status in [204, 304, 401, 404, 416, 429, 500, 503] {
        let response = transport.send(&e, &get(&format!("/v2/{status}")), None).await.unwrap();
        assert_eq!(response.status.as_u16(), status);
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::start(|_| answer(200).body("x".into()).unwrap()).await;
    let (transport, e) = (transport(), endpoint(&server.url(""), ""));
    for _ in 0..3 {
        text(transport.send(&e, &get("/v2/"), None).await.unwrap()).await;
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|one| one.peer == seen[0].peer));
}

#[tokio::test]
async fn redirections_have_an_end() {
    let server = Server::start(|seen| {
        let status = if seen.method == "PUT" { 302 } else { 307 };
        answer(status).header("location", "/v2/again").body(Default::default()).unwrap()
    })
    .await;
    let (transport, e) = (transport(), endpoint(&server.url(""), ""));
    let error = transport.send(&e, &get("/v2/"), None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Get \"{}\": stopped after 5 redirects", server.url("/v2/"))
    );
    assert_eq!(server.seen().len(), limits::MAX_REDIRECTS + 1);
    let put = Request::new(Method::PUT, "/v2/");
    let error = transport.send(&e, &put, None).await.unwrap_err();
    assert!(error.to_string().contains("status 302 is not followed"), "{error}");
}

#[tokio::test]
async fn nobody_at_home_is_told_as_docker_tells_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let e = endpoint(&format!("http://{address}"), "");
    let error = transport().send(&e, &get("/v2/"), None).await.unwrap_err();
    assert_eq!(
        told(&error),
        format!("Get \"http://{address}/v2/\": dial tcp {address}: connect: connection refused")
    );
    assert_eq!(error.kind(), DistributionErrorKind::Unavailable);
    assert!(error.is_retryable());
}

#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    let server = Server::raw(|_| (Vec::new(), Server::HOLD)).await;
    let mut r = get("/v2/");
    r.deadline = Duration::from_millis(50);
    let error = transport().send(&endpoint(&server.url(""), ""), &r, None).await.unwrap_err();
    assert!(matches!(error, DistributionError::Stalled { after, .. } if after == r.deadline));
}

#[tokio::test]
async fn who_hangs_up_is_told_apart() {
    let server = Server::raw(|_| (Vec::new(), Server::CLOSE)).await;
    let e = endpoint(&server.url(""), "");
    let error = transport().send(&e, &get("/v2/"), None).await.unwrap_err();
    assert!(matches!(error, DistributionError::Cut { .. }), "{error:?}");
    assert!(told(&error).ends_with(": unexpected EOF"), "{}", told(&error));
}

#[test]
fn what_is_configured_has_to_make_sense() {
    let fails = |config: RegistryConfig| Transport::new(config).unwrap_err().to_string();
    let config = RegistryConfig::default;
    assert!(
        fails(RegistryConfig { mirrors: vec!["ftp://m".into()], ..config() })
            .contains("mirror ftp://m")
    );
    assert!(fails(RegistryConfig { user_agent: "a\nb".into(), ..config() }).contains("user agent"));
    let mut proxied = config();
    proxied.proxy.http = Some("gopher://p".into());
    assert!(fails(proxied).contains("proxy gopher://p"));
}

#[tokio::test]
async fn files_of_registries_are_read_each_time() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("registry.example");
    let certs_dirs: Vec<PathBuf> = vec![scratch.path().to_owned()];
    let insecure: Vec<Insecure> = vec!["registry.example".parse().unwrap()];
    let config = RegistryConfig { certs_dirs, insecure, ..RegistryConfig::default() };
    let transport = Transport::new(config).unwrap();
    let name = Reference::parse("registry.example/a").unwrap();
    let ids = || transport.endpoints(&name).unwrap().into_iter().map(|e| e.id.to_string());
    assert_eq!(ids().collect::<Vec<_>>(), ["https://registry.example", "http://registry.example"]);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("hosts.toml"), "server='https://other.example'").unwrap();
    assert_eq!(ids().collect::<Vec<_>>(), ["https://other.example"]);
    assert_eq!(transport.server_endpoints("registry.example").unwrap().len(), 1);
}
