//! Credentials go to whom they are for, and nowhere else.

use std::io::Write;

use tracing_subscriber::fmt::MakeWriter;

use super::*;

fn redirect_to(
    url: String,
) -> impl Fn(&server::Seen) -> http::Response<http_body_util::Full<Bytes>> {
    move |_| answer(307).header("location", &url).body(Default::default()).unwrap()
}

fn auth() -> Secret {
    Secret::new(format!("Bearer {SECRET}"))
}

/// An endpoint that gets a secret header with each request.
fn home(server: &Server) -> Endpoint {
    endpoint(&server.url(""), &format!("header = {{ x-key = 'key-{SECRET}' }}"))
}

/// A request with a cookie besides.
fn request(method: Method) -> Request {
    let cookie = HeaderValue::from_str(&format!("id={SECRET}")).unwrap();
    Request::new(method, "/v2/a/blobs/x")
        .header(COOKIE, cookie)
        .header(http::header::RANGE, HeaderValue::from_static("bytes=5-"))
}

#[tokio::test]
async fn a_redirection_to_another_host_takes_no_credentials() {
    let other = Server::start(|_| answer(206).body("bytes".into()).unwrap()).await;
    let first = Server::start(redirect_to(other.url("/storage?signature=1"))).await;
    let response =
        transport().send(&home(&first), &request(Method::GET), Some(&auth())).await.unwrap();
    assert_eq!(response.url.to_string(), other.url("/storage?signature=1"));
    assert_eq!(text(response).await, "bytes");
    let seen = first.seen();
    assert_eq!(seen[0].header("authorization"), format!("Bearer {SECRET}"));
    assert_eq!(seen[0].header("x-key"), format!("key-{SECRET}"));
    assert_eq!(seen[0].header("cookie"), format!("id={SECRET}"));
    let seen = other.seen();
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].says(SECRET), "{seen:?}");
    assert_eq!(seen[0].header("range"), "bytes=5-");
}

#[tokio::test]
async fn a_redirection_within_a_host_keeps_them() {
    let server = Server::start(|seen| {
        let is_there = seen.target.starts_with("/there");
        let status = if is_there { 200 } else { 302 };
        answer(status).header("location", "/there").body(Default::default()).unwrap()
    })
    .await;
    transport().send(&home(&server), &request(Method::GET), Some(&auth())).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    for one in seen {
        assert_eq!(one.header("authorization"), format!("Bearer {SECRET}"));
        assert_eq!(one.header("x-key"), format!("key-{SECRET}"));
    }
}

#[tokio::test]
async fn a_way_back_does_not_bring_them_again() {
    let back: Arc<Mutex<String>> = Arc::default();
    let other = {
        let back = back.clone();
        Server::start(move |_| {
            let to = back.lock().unwrap().clone();
            answer(302).header("location", to).body(Default::default()).unwrap()
        })
        .await
    };
    let away = other.url("/away");
    let first = Server::start(move |seen| {
        let is_back = seen.target.starts_with("/back");
        let status = if is_back { 200 } else { 302 };
        answer(status).header("location", &away).body(Default::default()).unwrap()
    })
    .await;
    *back.lock().unwrap() = first.url("/back");
    transport().send(&home(&first), &request(Method::GET), Some(&auth())).await.unwrap();
    let seen = first.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].says(SECRET) && !seen[1].says(SECRET), "{seen:?}");
    assert!(!other.seen()[0].says(SECRET));
}

#[tokio::test]
async fn what_is_sent_follows_without_them() {
    let other = Server::start(|_| answer(201).body(Default::default()).unwrap()).await;
    let first = Server::start(redirect_to(other.url("/upload"))).await;
    let content: Arc<Vec<u8>> = Arc::new((0..1_000_000_u32).map(|n| (n % 251) as u8).collect());
    let open: Opener = {
        let content = content.clone();
        Arc::new(move || Ok(Box::new(io::Cursor::new(content.to_vec()))))
    };
    let length = Some(content.len() as u64);
    let r = request(Method::PUT).body(RequestBody::Stream { open, length });
    let response = transport().send(&home(&first), &r, Some(&auth())).await.unwrap();
    assert_eq!(response.status, StatusCode::CREATED);
    let seen = other.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body.as_ref(), content.as_slice());
    assert!(!seen[0].says(SECRET), "{:?}", seen[0].headers);
}

#[tokio::test]
async fn a_location_elsewhere_gets_none() {
    let other = Server::start(|_| answer(200).body(Default::default()).unwrap()).await;
    let first = Server::start(|_| answer(200).body(Default::default()).unwrap()).await;
    let (transport, e) = (transport(), home(&first));
    for server in [&first, &other] {
        let url = server.url("/upload?_state=1").parse().unwrap();
        let r = request(Method::GET).query("digest", "sha256:ab");
        transport.send_to(&url, &e, &r, Some(&auth())).await.unwrap();
        assert_eq!(server.seen()[0].target, "/upload?_state=1&digest=sha256:ab");
    }
    assert_eq!(first.seen()[0].header("authorization"), format!("Bearer {SECRET}"));
    assert!(!other.seen()[0].says(SECRET));
}

#[tokio::test]
async fn a_realm_gets_them_but_not_who_it_sends_us_to() {
    let other = Server::start(|_| answer(200).body(Default::default()).unwrap()).await;
    let realm = Server::start(redirect_to(other.url("/token"))).await;
    let registry = Server::start(|_| answer(200).body(Default::default()).unwrap()).await;
    let (transport, e) = (transport(), home(&registry));
    let url = realm.url("/token").parse().unwrap();
    transport.send_to_realm(&url, &e, &get(""), Some(&auth())).await.unwrap();
    assert_eq!(realm.seen()[0].header("authorization"), format!("Bearer {SECRET}"));
    assert_eq!(realm.seen()[0].header("x-key"), "");
    assert!(!other.seen()[0].says(SECRET));

    // A password may stand in what is posted, too.
    let password = Bytes::from(format!("grant_type=password&password={SECRET}"));
    let post = Request::new(Method::POST, "").body(RequestBody::Bytes(password));
    let error = transport.send_to_realm(&url, &e, &post, None).await.unwrap_err();
    assert!(error.to_string().contains("posted to another host"), "{error}");
    assert!(realm.seen()[1].says(SECRET));
    assert_eq!(other.seen().len(), 1);
}

#[tokio::test]
async fn a_realm_has_to_be_reached_securely() {
    let realm = Server::start(|_| answer(200).body(Default::default()).unwrap()).await;
    let secure = endpoint("https://registry.example", "");
    let url = realm.url("/token").parse().unwrap();
    let error = transport().send_to_realm(&url, &secure, &get(""), Some(&auth())).await;
    assert!(error.unwrap_err().to_string().contains("not sent over plain HTTP"));
    assert_eq!(realm.seen().len(), 0);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Asks in every way that may go wrong, and gives what is told of it.
async fn ask_everywhere() -> String {
    let other = Server::start(|_| answer(200).body(Default::default()).unwrap()).await;
    let signed = other.url(&format!("/storage?signature={SECRET}"));
    let first = Server::start(redirect_to(signed)).await;
    let mut config = RegistryConfig::default();
    config.proxy.http = Some(format!("http://me:{SECRET}@127.0.0.1:1"));
    let transport = Transport::new(config).unwrap();
    let e = home(&first);
    let r = request(Method::GET).query("token", SECRET);
    let response = transport.send(&e, &r, Some(&auth())).await.unwrap();
    assert!(response.url.to_string().contains(SECRET));
    let mut told_of = format!("{transport:?} {e:?} {}", response.request);

    // Nobody is there, nor at the proxy before; then redirections that are not followed.
    let gone = endpoint("http://registry.example:1", "");
    let error = transport.send(&gone, &r, Some(&auth())).await.unwrap_err();
    told_of += &format!("{} {error:?}", told(&error));
    let user = format!("https://me:{SECRET}@h/?{SECRET}");
    for location in [user, format!("/ä?{SECRET}"), format!("ftp://h/{SECRET}")] {
        let bad = Server::start(redirect_to(location)).await;
        let error = transport.send(&home(&bad), &r, Some(&auth())).await.unwrap_err();
        assert!(matches!(error, DistributionError::Redirect { .. }), "{error:?}");
        told_of += &format!("{} {error:?}", told(&error));
    }
    told_of
}

#[tokio::test]
async fn nothing_secret_is_logged_or_told() {
    // While there is one listener only, a place in the code that another test reaches first asks
    // the thread of that test whether anybody listens, and remembers it. With two, all are asked.
    let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let told_of = ask_everywhere().await;
    drop((guard, second));
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("a registry answered") && log.contains("/v2/a/blobs/x"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    assert!(told_of.contains("/v2/a/blobs/x") && !told_of.contains(SECRET), "{told_of}");
}
