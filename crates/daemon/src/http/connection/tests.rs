use std::time::Duration;

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::*;
use crate::{
    compat::Version,
    http::takeover::{Asked, Then},
};

/// Serves one end of a pair, and gives the other.
fn connect<H, F>(handle: H) -> (UnixStream, CancellationToken)
where
    H: Fn(Request<Incoming>) -> F + Send + Unpin + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let (client, server) = UnixStream::pair().unwrap();
    let closing = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(serve(handle, Stream::Unix(server), closing.clone()));
    (client, closing)
}

/// Takes the connection over with what echoes in capitals, from the socket's descriptor.
fn echo() -> Then {
    Box::new(|connection| {
        Box::pin(async move {
            let socket = UnixStream::from_std(connection.socket.into()).unwrap();
            let (mut input, mut output) = socket.into_split();
            output.write_all(&connection.head).await.unwrap();
            output.write_all(&connection.already_read.to_ascii_uppercase()).await.unwrap();
            let mut buffer = [0; 100];
            loop {
                let len = input.read(&mut buffer).await.unwrap();
                if len == 0 {
                    return Ok(());
                }
                output.write_all(&buffer[..len].to_ascii_uppercase()).await.unwrap();
            }
        })
    })
}

fn take_over(request: &Request<Incoming>) -> Reply {
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let asked = Asked { upgrade, version: Version::NEWEST };
    Reply::Takeover(Takeover::streams(asked, false, "", echo()))
}

async fn exchange(request: &[u8]) -> String {
    let (mut client, _closing) = connect(|request| async move { take_over(&request) });
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    client.shutdown().await.unwrap();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn an_upgrade_is_answered_in_docker_s_bytes() {
    let answer = exchange(
        b"POST /a HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
          Content-Length: 0\r\n\r\nhello",
    )
    .await;
    assert_eq!(
        answer,
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\
         Connection: Upgrade\r\nUpgrade: tcp\r\n\r\nHELLO"
    );
}

#[tokio::test]
async fn without_an_upgrade_the_answer_is_200_and_raw() {
    let answer = exchange(b"POST /a HTTP/1.1\r\nHost: d\r\n\r\nhello").await;
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nHELLO"
    );
}

#[tokio::test]
async fn what_comes_late_reaches_the_stream_and_the_end_of_input_is_seen() {
    let (mut client, _closing) = connect(|request| async move { take_over(&request) });
    client.write_all(b"POST /a HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 130];
    let len = client.read(&mut answer).await.unwrap();
    assert!(answer[..len].starts_with(b"HTTP/1.1 101 UPGRADED\r\n"));
    for text in [&b"one"[..], b"two"] {
        client.write_all(text).await.unwrap();
        let len = client.read(&mut answer).await.unwrap();
        assert_eq!(&answer[..len], text.to_ascii_uppercase());
    }
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut answer).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_serves_many_requests_before_it_is_taken() {
    let (mut client, _closing) = connect(|request| async move {
        match request.uri().path() {
            "/a" => take_over(&request),
            _ => Reply::status(StatusCode::NO_CONTENT),
        }
    });
    let mut answer = vec![0; 1000];
    for _ in 0..3 {
        client.write_all(b"GET /b HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
        let len = client.read(&mut answer).await.unwrap();
        assert!(answer[..len].starts_with(b"HTTP/1.1 204 No Content\r\n"));
    }
    client.write_all(b"POST /a HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\n\r\nx").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nX"), "{answer}");
}

#[tokio::test]
async fn a_refused_attach_is_text_and_the_end() {
    let (mut client, _closing) = connect(|_request| async {
        Reply::Takeover(Takeover::refusal(StatusCode::NOT_FOUND, "No such container: nope"))
    });
    client.write_all(b"POST /a HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(
        answer,
        "HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n\
         No such container: nope\r\n"
    );
}

#[tokio::test]
async fn a_long_answer_reaches_a_slow_client_whole() {
    const LEN: usize = 3_000_000;
    let (mut client, _closing) = connect(|_request| async {
        let mut response = Response::new(body::full(vec![b'x'; LEN]));
        *response.status_mut() = StatusCode::OK;
        Reply::Response(response)
    });
    client.write_all(b"GET /a HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.iter().filter(|byte| **byte == b'x').count(), LEN);
}

#[tokio::test]
async fn the_head_of_a_stream_goes_out_before_its_first_piece() {
    let (mut client, closing) = connect(|_request| async {
        Reply::stream("application/json", futures_util::stream::pending())
    });
    client.write_all(b"GET /a HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 1000];
    let len = client.read(&mut answer).await.unwrap();
    let head = String::from_utf8_lossy(&answer[..len]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    drop(closing);
}

#[tokio::test]
async fn an_idle_connection_ends_when_the_daemon_stops() {
    let (mut client, closing) = connect(|_request| async { Reply::status(StatusCode::NO_CONTENT) });
    closing.cancel();
    assert_eq!(client.read(&mut [0; 10]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_tcp_client_reaches_the_stream_through_a_pair_of_sockets() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) =
        tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
    let (mut client, (server, _)) = (client.unwrap(), accepted.unwrap());
    let tasks = tokio_util::task::TaskTracker::new();
    let handle = |request| async move { take_over(&request) };
    tasks.spawn(serve(handle, Stream::Tcp(server), CancellationToken::new()));
    client.write_all(b"POST /a HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\n\r\nhello").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\nHELLO"), "{answer}");
}
