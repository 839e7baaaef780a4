//! Requests that go through someone.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::tls::Files;
use super::*;

fn through(server: &Server) -> Transport {
    let proxy = format!("http://me:{SECRET}@{}", server.address);
    let mut config = RegistryConfig::default();
    config.proxy.http = Some(proxy.clone());
    config.proxy.https = Some(proxy);
    Transport::new(config).unwrap()
}

/// The proof of `me` and the marker.
fn proof() -> String {
    let credentials = crate::auth::credentials::Credentials::Basic {
        user: "me".into(),
        password: Secret::new(SECRET),
    };
    credentials.authorization().unwrap().expose().to_owned()
}

#[tokio::test]
async fn a_proxy_reads_plain_requests() {
    let proxy = Server::start(|_| answer(200).body("x".into()).unwrap()).await;
    let e = endpoint("http://registry.example:5000", "");
    let transport = through(&proxy);
    assert_eq!(text(transport.send(&e, &get("/v2/"), None).await.unwrap()).await, "x");
    let seen = proxy.seen();
    assert_eq!(seen[0].target, "http://registry.example:5000/v2/?ns=registry.example");
    assert_eq!(seen[0].header("proxy-authorization"), proof());
}

#[tokio::test]
async fn who_is_reached_directly_does_not_see_who_we_are_at_the_proxy() {
    let server = Server::start(|_| answer(200).body("x".into()).unwrap()).await;
    // It would be asked for itself: this machine is never reached through a proxy.
    let e = endpoint(&server.url(""), "");
    through(&server).send(&e, &get("/v2/"), None).await.unwrap();
    assert_eq!(server.seen()[0].target, "/v2/?ns=registry.example");
    assert_eq!(server.seen()[0].header("proxy-authorization"), "");
}

#[tokio::test]
async fn a_proxy_passes_tls_on_unread() {
    let files = Files::new("registry.example");
    let server =
        Server::start_tls(files.server(false), |_| answer(200).body("x".into()).unwrap()).await;
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, to) = (heads.clone(), server.address);
    let proxy = Server::custom(move |mut client| {
        let log = log.clone();
        async move {
            let head = server::read_head(&mut client).await;
            log.lock().unwrap().push(head);
            let mut server = TcpStream::connect(to).await.unwrap();
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
            drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
        }
    })
    .await;
    let e = endpoint("https://registry.example", &files.ca());
    let auth = Secret::new("Bearer of-the-registry");
    let response = through(&proxy).send(&e, &get("/v2/"), Some(&auth)).await.unwrap();
    assert_eq!(text(response).await, "x");
    let heads = heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with("CONNECT registry.example:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains(&proof()) && !heads[0].contains("of-the-registry"), "{heads:?}");
    let seen = server.seen();
    assert_eq!(seen[0].target, "/v2/");
    assert_eq!(seen[0].header("proxy-authorization"), "");
    assert_eq!(seen[0].header("authorization"), "Bearer of-the-registry");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told() {
    let long = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(5000));
    for (answer, words) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "Proxy Authentication Required"),
        ("HTTP/1.0 502 Bad Gateway\r\ncontent-length: 5\r\n\r\nnope\n", "Bad Gateway"),
        ("HTTP/1.1 403\r\n\r\n", "unknown status code"),
        ("HTTP/1.1 200 OK\r\n\r\nmore", "proxyconnect tcp: the proxy says more than it was asked"),
        ("SSH-2.0\r\n\r\n", "proxyconnect tcp: the proxy does not speak HTTP"),
        ("HTTP/1.1 200 OK\r\n", "proxyconnect tcp: EOF"),
        (long.as_str(), "proxyconnect tcp: the proxy's answer is too long"),
    ] {
        let bytes = answer.as_bytes().to_vec();
        let proxy = Server::raw(move |_| (bytes.clone(), Server::CLOSE)).await;
        let e = endpoint("https://registry.example", "");
        let error = through(&proxy).send(&e, &get("/v2/"), None).await.unwrap_err();
        assert!(matches!(error, DistributionError::Connect { .. }), "{error:?}");
        assert_eq!(told(&error), format!("Get \"https://registry.example/v2/\": {words}"));
    }
}

#[tokio::test]
async fn a_proxy_may_speak_socks() {
    let server = Server::start(|_| answer(200).body("x".into()).unwrap()).await;
    let asked: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (log, to) = (asked.clone(), server.address);
    // [RFC 1928, RFC 1929]
    let proxy = Server::custom(move |mut client| {
        let log = log.clone();
        async move {
            for answer in [&[5, 2][..], &[1, 0], &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]] {
                let mut bytes = vec![0; 512];
                let count = client.read(&mut bytes).await.unwrap();
                bytes.truncate(count);
                log.lock().unwrap().push(bytes);
                client.write_all(answer).await.unwrap();
            }
            let mut server = TcpStream::connect(to).await.unwrap();
            drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
        }
    })
    .await;
    let mut config = RegistryConfig::default();
    config.proxy.http = Some(format!("socks5://me:{SECRET}@{}", proxy.address));
    let transport = Transport::new(config).unwrap();
    let e = endpoint("http://registry.example", "");
    assert_eq!(text(transport.send(&e, &get("/v2/"), None).await.unwrap()).await, "x");
    let asked = asked.lock().unwrap().clone();
    let password = [&[1, 2][..], b"me", &[u8::try_from(SECRET.len()).unwrap()], SECRET.as_bytes()];
    assert_eq!(asked[1], password.concat());
    assert_eq!(asked[2], [&[5, 1, 0, 3, 16][..], b"registry.example", &[0, 80]].concat());
    assert_eq!(server.seen()[0].target, "/v2/");
    assert_eq!(server.seen()[0].header("proxy-authorization"), "");
}
