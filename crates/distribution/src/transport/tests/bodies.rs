//! Bodies that break off, are too large, or cannot be read.

use super::*;

#[tokio::test]
async fn a_body_that_breaks_off_is_no_end() {
    let server = Server::raw(|_| {
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec(), Server::CLOSE)
    })
    .await;
    let e = endpoint(&server.url(""), "");
    let mut response = transport().send(&e, &get("/v2/"), None).await.unwrap();
    assert_eq!(response.chunk(limits::STALL).await.unwrap().unwrap(), "hello");
    let error = response.chunk(limits::STALL).await.unwrap_err();
    assert!(matches!(error, DistributionError::Cut { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(told(&error), format!("Get \"{}\": unexpected EOF", server.url("/v2/")));
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let server = Server::raw(|_| {
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_vec(), Server::HOLD)
    })
    .await;
    let e = endpoint(&server.url(""), "");
    let mut response = transport().send(&e, &get("/v2/"), None).await.unwrap();
    response.chunk(limits::STALL).await.unwrap().unwrap();
    let error = response.chunk(Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(error, DistributionError::Stalled { .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let server = Server::raw(|head| {
        let head = if head.starts_with("GET /v2/stated") {
            "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n".to_owned()
        } else {
            format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
                "4\r\nabcd\r\n".repeat(3)
            )
        };
        (head.into_bytes(), Server::HOLD)
    })
    .await;
    let (transport, e) = (transport(), endpoint(&server.url(""), ""));
    for path in ["/v2/stated", "/v2/chunked"] {
        let response = transport.send(&e, &get(path), None).await.unwrap();
        let error = response.bytes(11, "the list").await.unwrap_err();
        assert_eq!(error.to_string(), "the list is larger than 11 bytes");
    }
    let exact = Server::start(|_| answer(200).body("hello world".into()).unwrap()).await;
    let response = transport.send(&endpoint(&exact.url(""), ""), &get("/v2/"), None).await.unwrap();
    assert_eq!(response.bytes(11, "the list").await.unwrap(), "hello world");
}

fn stream(content: &'static [u8], length: Option<u64>) -> Request {
    let open: Opener = Arc::new(move || Ok(Box::new(content)));
    Request::new(Method::PUT, "/v2/").body(RequestBody::Stream { open, length })
}

#[tokio::test]
async fn what_can_be_read_is_sent_with_or_without_a_length() {
    let server = Server::start(|_| answer(201).body(Default::default()).unwrap()).await;
    let (transport, e) = (transport(), endpoint(&server.url(""), ""));
    for length in [Some(5), None] {
        transport.send(&e, &stream(b"hello", length), None).await.unwrap();
    }
    let empty = stream(b"", Some(0));
    transport.send(&e, &empty, None).await.unwrap();
    let seen = server.seen();
    let shown = seen
        .iter()
        .map(|one| (&one.body[..], one.header("content-length"), one.header("transfer-encoding")));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [(&b"hello"[..], "5", ""), (b"hello", "", "chunked"), (b"", "0", "")]
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_our_own_failure() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let server = Server::start(|_| answer(201).body(Default::default()).unwrap()).await;
    let (transport, e) = (transport(), endpoint(&server.url(""), ""));
    let put = |open: Opener| {
        let body = RequestBody::Stream { open, length: Some(5) };
        Request::new(Method::PUT, "/v2/").body(body)
    };
    let broken = put(Arc::new(|| Ok(Box::new(Broken))));
    let closed = put(Arc::new(|| Err(io::Error::other("there is no such blob"))));
    for (r, why) in [
        (broken, "the disk is gone"),
        (closed, "there is no such blob"),
        (stream(b"hell", Some(5)), "it has become shorter"),
        (stream(b"hello!", Some(5)), "it has become longer"),
    ] {
        let error = transport.send(&e, &r, None).await.unwrap_err();
        assert_eq!(told(&error), format!("reading what is to be sent: {why}"));
        assert!(!error.is_retryable());
    }
}

/// So many reads that give all that is asked for, each after a pause.
struct Slow {
    reads: u32,
    pause: Duration,
}

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reads == 0 {
            return Ok(0);
        }
        self.reads -= 1;
        let waiting = Mutex::new(());
        let guard = waiting.lock().unwrap();
        let never = std::sync::Condvar::new();
        drop(never.wait_timeout(guard, self.pause).unwrap());
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

fn slow(reads: u32, pause: Duration) -> Request {
    let open: Opener = Arc::new(move || Ok(Box::new(Slow { reads, pause })));
    Request::new(Method::PUT, "/v2/").body(RequestBody::Stream { open, length: None })
}

#[tokio::test]
async fn an_upload_may_take_longer_than_the_deadline_while_it_moves() {
    let server = Server::start(|_| answer(201).body(Default::default()).unwrap()).await;
    let mut r = slow(40, Duration::from_millis(60));
    // Several reads make a piece, and many other tests may be running.
    r.deadline = Duration::from_secs(2);
    let began = std::time::Instant::now();
    transport().send(&endpoint(&server.url(""), ""), &r, None).await.unwrap();
    assert!(began.elapsed() > r.deadline);
}

#[tokio::test]
async fn a_pause_of_our_own_source_is_no_stall_of_the_registry() {
    let server = Server::start(|_| answer(201).body(Default::default()).unwrap()).await;
    let mut r = slow(1, Duration::from_secs(1));
    (r.deadline, r.least_uplink) = (Duration::from_millis(200), u64::MAX);
    transport().send(&endpoint(&server.url(""), ""), &r, None).await.unwrap();
    assert!(!server.seen()[0].body.is_empty());
}

#[tokio::test]
async fn an_upload_that_nobody_takes_is_given_up() {
    let server = Server::custom(|tcp| async move {
        std::future::pending::<()>().await;
        drop(tcp);
    })
    .await;
    let open: Opener = Arc::new(|| Ok(Box::new(io::repeat(0))));
    let mut r = Request::new(Method::PUT, "/v2/").body(RequestBody::Stream { open, length: None });
    (r.deadline, r.least_uplink) = (Duration::from_millis(100), u64::MAX);
    let error = transport().send(&endpoint(&server.url(""), ""), &r, None).await.unwrap_err();
    assert!(matches!(error, DistributionError::Stalled { .. }), "{error:?}");
}

#[test]
fn what_was_sent_may_stand_before_a_slow_network() {
    let r = Request::new(Method::PATCH, "/v2/");
    let watch = Watch::new();
    assert_eq!(watch.allows(&r), r.deadline);
    watch.took(1 << 20);
    assert_eq!(watch.allows(&r), r.deadline + Duration::from_secs(32));
    watch.took(1 << 40);
    assert_eq!(watch.allows(&r), r.deadline + Duration::from_secs(128));
}

#[test]
fn a_body_that_drips_is_given_up() {
    let mut pace = Pace::default();
    let drip = Duration::from_secs(29);
    assert!(!pace.is_too_slow(1, drip));
    assert!(!pace.is_too_slow(1, drip));
    assert!(pace.is_too_slow(1, drip));
    // Each minute counts for itself, and only what was waited for.
    assert!(!pace.is_too_slow(200 << 10, Duration::ZERO));
    assert!(!pace.is_too_slow(1, Duration::from_secs(60)));
    assert!(pace.is_too_slow(1, Duration::from_secs(60)));
}
