//! Servers that remember what they were asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::response::Builder;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a server was asked.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    /// As it stands in the request: a path, or a whole URL at a proxy.
    pub(super) target: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
    pub(super) peer: SocketAddr,
    /// Whether the client showed a certificate.
    pub(super) has_certificate: bool,
}

impl Seen {
    /// A header, or nothing at all.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn says(&self, secret: &str) -> bool {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        format!("{}{body}", self.target).contains(secret)
            || self.headers.values().any(|value| value.to_str().unwrap().contains(secret))
    }
}

pub(super) fn answer(status: u16) -> Builder {
    http::Response::builder().status(status)
}

type Answer = Arc<dyn Fn(&Seen) -> http::Response<Full<Bytes>> + Send + Sync>;

/// A server; it ends when it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// A raw connection stays open after what was written.
    pub(super) const HOLD: bool = true;
    /// It is closed.
    pub(super) const CLOSE: bool = false;

    pub(super) async fn start(
        answer: impl Fn(&Seen) -> http::Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(None, Arc::new(answer)).await
    }

    pub(super) async fn start_tls(
        config: ServerConfig,
        answer: impl Fn(&Seen) -> http::Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(Arc::new(config)), Arc::new(answer)).await
    }

    async fn serve(tls: Option<Arc<ServerConfig>>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut tasks = JoinSet::new();
        let log = seen.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, peer) = listener.accept().await.unwrap();
                let (tls, answer, seen) = (tls.clone(), answer.clone(), log.clone());
                connections.spawn(async move {
                    let Some(tls) = tls else { return talk(tcp, peer, false, seen, answer).await };
                    // A client that does not trust us hangs up.
                    if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(tcp).await {
                        let is_known = stream.get_ref().1.peer_certificates().is_some();
                        talk(stream, peer, is_known, seen, answer).await;
                    }
                });
            }
        });
        Self { address, scheme, seen, _tasks: tasks }
    }

    /// Writes what `answer` says to the head of each request, and then holds or closes.
    pub(super) async fn raw(
        answer: impl Fn(&str) -> (Vec<u8>, bool) + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        Self::custom(move |mut tcp| {
            let answer = answer.clone();
            async move {
                let head = read_head(&mut tcp).await;
                let (bytes, hold) = answer(&head);
                tcp.write_all(&bytes).await.unwrap();
                if hold {
                    std::future::pending::<()>().await;
                }
            }
        })
        .await
    }

    /// Gives each connection away.
    pub(super) async fn custom<F: Future<Output = ()> + Send + 'static>(
        with: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.spawn(with(tcp));
            }
        });
        Self { address, scheme: "http", seen: Arc::default(), _tasks: tasks }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

pub(super) async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if tcp.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    has_certificate: bool,
    log: Arc<Mutex<Vec<Seen>>>,
    answer: Answer,
) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (log, answer) = (log.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes);
            let seen = Seen {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                headers: head.headers,
                // A body that broke off was not sent.
                body: body.unwrap_or_default(),
                peer,
                has_certificate,
            };
            let response = answer(&seen);
            log.lock().unwrap().push(seen);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    // Clients hang up in the middle; that is theirs to tell.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}
