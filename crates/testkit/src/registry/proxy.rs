//! An HTTP proxy in the test's own process, which knows hosts that no resolver knows.
//!
//! It opens tunnels (`CONNECT`) and passes plain requests on as they came; servers take their
//! absolute form. [RFC 9110, 9.3.6; RFC 9112, 3.2.2]

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::http::{Head, LONGEST_HEAD, SeenRequest};

/// A proxy that listens until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// By host and port, as requests name them.
    routes: HashMap<String, SocketAddr>,
    /// `Proxy-Authorization` that is wanted.
    proof: Option<String>,
    seen: Mutex<Vec<SeenRequest>>,
    closing: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on 127.0.0.1 and knows these hosts, each `name:port`, and no other.
    #[must_use]
    #[track_caller]
    pub fn start(routes: &[(&str, SocketAddr)]) -> Self {
        Self::listen(routes, None)
    }

    /// The same for those who know the user's password.
    #[must_use]
    #[track_caller]
    pub fn start_guarded(routes: &[(&str, SocketAddr)], user: &str, password: &str) -> Self {
        let proof = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Self::listen(routes, Some(proof))
    }

    #[track_caller]
    fn listen(routes: &[(&str, SocketAddr)], proof: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listening on a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let routes = routes.iter().map(|(name, address)| ((*name).to_owned(), *address));
        let shared = Arc::new(Shared { routes: routes.collect(), proof, ..Shared::default() });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first request of each connection so far; of a tunnel the path is `host:port`, of a plain
    /// request the whole URL.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections it was asked to this host, `name:port` in tunnels.
    #[must_use]
    pub fn asked_for(&self, host: &str) -> usize {
        self.requests().iter().filter(|request| request.path.contains(host)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((socket, _)) = listener.accept() {
        if shared.closing.load(Ordering::SeqCst) {
            break;
        }
        let shared = Arc::clone(shared);
        // A connection that breaks is the client's to tell.
        threads.push(std::thread::spawn(move || drop(pass(socket, &shared))));
    }
    for socket in shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        drop(socket.shutdown(Shutdown::Both));
    }
    for thread in threads {
        drop(thread.join());
    }
}

/// Serves one connection.
fn pass(mut client: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    remember(shared, &client)?;
    let (bytes, head) = read_head(&mut client)?;
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(SeenRequest {
        method: head.method.clone(),
        path: head.path().to_owned(),
        query: head.query().to_owned(),
        headers: head.headers.clone(),
        body: Vec::new(),
        length: 0,
    });
    if shared
        .proof
        .as_deref()
        .is_some_and(|proof| head.header("proxy-authorization") != Some(proof))
    {
        let challenge = "Proxy-Authenticate: Basic realm=\"proxy\"\r\n";
        return refuse(&mut client, "407 Proxy Authentication Required", challenge);
    }
    let is_tunnel = head.method == "CONNECT";
    let host = if is_tunnel { head.target.clone() } else { host_of(&head.target) };
    let Some(address) = shared.routes.get(&host) else {
        return refuse(&mut client, "502 Bad Gateway", "");
    };
    let mut server = TcpStream::connect(address)?;
    server.set_nodelay(true)?;
    remember(shared, &server)?;
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        server.write_all(&bytes)?;
    }
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let forth = std::thread::spawn(move || {
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
    drop(io::copy(&mut server, &mut client));
    drop(client.shutdown(Shutdown::Both));
    drop(forth.join());
    Ok(())
}

/// Keeps a handle of a socket, to break it in the end.
fn remember(shared: &Shared, socket: &TcpStream) -> io::Result<()> {
    shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(socket.try_clone()?);
    Ok(())
}

/// Reads a head: what came, which ends with it or after it, and what it says.
fn read_head(client: &mut TcpStream) -> io::Result<(Vec<u8>, Head)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = Head::parse(&String::from_utf8_lossy(&bytes[..end]));
            return Ok((bytes, head));
        }
        match client.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if bytes.len() > LONGEST_HEAD => {
                return Err(io::Error::other("a head that does not end"));
            }
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn refuse(client: &mut TcpStream, status: &str, headers: &str) -> io::Result<()> {
    let text =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(text.as_bytes())?;
    client.shutdown(Shutdown::Both)
}

/// The host and port of a URL.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    if host.contains(':') { host.to_owned() } else { format!("{host}:80") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_ports() {
        assert_eq!(host_of("http://a.test/v2/?x"), "a.test:80");
        assert_eq!(host_of("http://a.test:5000"), "a.test:5000");
    }
}
