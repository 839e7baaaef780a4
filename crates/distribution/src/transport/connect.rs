//! Connections: direct or through a proxy, with TLS where the URL asks for it.

mod tunnel;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::{Service, ServiceExt as _};

use self::tunnel::Refused;
use super::failure::{self, DialError};
use crate::auth::credentials::Credentials;
use crate::config::proxy::{Proxies, Proxy, ProxyKind};
use crate::error::BoxError;
use crate::limits;

/// Connects to where a URL leads, within [`limits::CONNECT`].
#[derive(Clone)]
pub(super) struct Dial {
    secured: HttpsConnector<Route>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").finish_non_exhaustive()
    }
}

impl Dial {
    /// `tls` is for registries, `proxy_tls` for proxies.
    pub(super) fn new(tls: ClientConfig, proxy_tls: ClientConfig, proxies: Arc<Proxies>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limits::CONNECT));
        let to_proxy = HttpsConnector::from((tcp.clone(), proxy_tls));
        Self { secured: HttpsConnector::from((Route { tcp, to_proxy, proxies }, tls)) }
    }
}

impl Service<Uri> for Dial {
    type Response = MaybeHttpsStream<Routed>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let connecting = self.secured.clone().oneshot(url.clone());
        Box::pin(async move {
            match tokio::time::timeout(limits::CONNECT, connecting).await {
                Ok(connected) => connected.map_err(|error| failure::of_dial(&*error, &url)),
                Err(_) => {
                    let error = io::Error::from(io::ErrorKind::TimedOut);
                    Err(failure::of_dial(&error, &url))
                }
            }
        })
    }
}

/// The way to a URL, up to where TLS with the registry begins.
#[derive(Clone)]
struct Route {
    tcp: HttpConnector,
    to_proxy: HttpsConnector<HttpConnector>,
    proxies: Arc<Proxies>,
}

impl Service<Uri> for Route {
    type Response = Routed;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Routed, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let Self { tcp, to_proxy, .. } = self.clone();
        let Some(proxy) = self.proxies.towards(&url).cloned() else {
            return Box::pin(async move { Ok(Routed::direct(tcp.oneshot(url).await?)) });
        };
        Box::pin(async move {
            let at = proxy.url.clone();
            through(&proxy, tcp, to_proxy, url).await.map_err(|error| {
                // Compat: Go tells what the proxy says as it is.
                if let Some(Refused(words)) = error.downcast_ref() {
                    return DialError { words: words.clone(), is_tls: false }.into();
                }
                let DialError { words, is_tls } = failure::of_dial(&*error, &at);
                DialError { words: format!("proxyconnect tcp: {words}"), is_tls }.into()
            })
        })
    }
}

async fn through(
    proxy: &Proxy,
    tcp: HttpConnector,
    to_proxy: HttpsConnector<HttpConnector>,
    url: Uri,
) -> Result<Routed, BoxError> {
    let at = proxy.url.clone();
    match proxy.kind() {
        ProxyKind::Socks => {
            let mut socks = SocksV5::new(at, tcp);
            if let Credentials::Basic { user, password } = &proxy.credentials {
                socks = socks.with_auth(user.clone(), password.expose().to_owned());
            }
            let url = with_port(&url)?;
            Ok(Routed::direct(socks.oneshot(url).await?))
        }
        ProxyKind::Http if url.scheme_str() == Some("https") => {
            let stream = to_proxy.oneshot(at).await?;
            let stream = tunnel::open(stream, &url, proxy.credentials.authorization()).await?;
            Ok(Routed { stream, is_proxied: false })
        }
        ProxyKind::Http => Ok(Routed { stream: to_proxy.oneshot(at).await?, is_proxied: true }),
    }
}

/// The same with its port said.
fn with_port(url: &Uri) -> Result<Uri, BoxError> {
    let is_https = url.scheme_str() == Some("https");
    let (scheme, port) = if is_https { ("https", 443) } else { ("http", 80) };
    let port = url.port_u16().unwrap_or(port);
    Ok(format!("{scheme}://{}:{port}/", url.host().unwrap_or_default()).parse()?)
}

/// A connection, and whether a proxy at its other end reads the requests.
pub(super) struct Routed {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    is_proxied: bool,
}

impl Routed {
    fn direct(stream: TokioIo<TcpStream>) -> Self {
        Self { stream: MaybeHttpsStream::Http(stream), is_proxied: false }
    }
}

impl Connection for Routed {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_proxied)
    }
}

impl Read for Routed {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl Write for Routed {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, pieces)
    }
}
