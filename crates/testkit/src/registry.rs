//! A registry in the test's own process, which can be told to misbehave.
//!
//! It speaks the OCI distribution protocol over HTTP/1.1 by hand, with one thread per connection, so
//! that a connection breaks at exactly the byte a test asks for. It serves pulls and pushes,
//! remembers every request it was asked, and can ask who one is. With [`FaultRegistry::beside`] there
//! is a second host with the same content, for redirections and for what must not be told there. An
//! [`Authority`] vouches for it and its clients; a [`Proxy`] leads to it by any name.
//!
//! [OCI distribution specification 1.1]

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

mod authority;
mod content;
mod fault;
mod guard;
mod http;
mod proxy;
mod serve;
mod tls;

pub use authority::{Authority, Identity};
pub use content::{Form, Published};
pub use fault::{At, Fault, What};
pub use guard::{Guard, PASSWORD, USER, secrets};
pub use http::SeenRequest;
pub use proxy::Proxy;

/// A registry that listens until it is dropped.
#[derive(Debug)]
pub struct FaultRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
    certificate: Option<String>,
    accepting: Option<JoinHandle<()>>,
}

/// What the threads of a registry share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    closing: Mutex<bool>,
    closed: Condvar,
    tls: Option<tls::Acceptor>,
    /// One handle of each connection, to break it.
    sockets: Mutex<Vec<TcpStream>>,
}

/// A manifest's media type and bytes.
type Manifest = (String, Arc<[u8]>);

/// What a registry has and knows.
#[derive(Debug, Default)]
struct State {
    /// By repository and digest.
    blobs: BTreeMap<(String, String), Arc<[u8]>>,
    /// By repository and tag or digest.
    manifests: BTreeMap<(String, String), Manifest>,
    /// What a blob is to the image it was published with.
    kinds: HashMap<String, At>,
    uploads: HashMap<String, Vec<u8>>,
    faults: Vec<Fault>,
    seen: Vec<SeenRequest>,
    guard: Guard,
    /// Tokens that are good, with the scopes they were asked for.
    tokens: HashMap<String, String>,
    count: u32,
    /// How many tags one page has.
    page: Option<usize>,
    has_no_referrers: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the registry ends, or this long; whether it ends.
    fn ends_within(&self, time: Duration) -> bool {
        let closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.closed.wait_timeout_while(closing, time, |closing| !*closing);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl FaultRegistry {
    /// Listens on a port of 127.0.0.1, in plain HTTP.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::listen("127.0.0.1", None, State::default())
    }

    /// Listens on a port of this address, with a certificate of its own for it.
    #[must_use]
    #[track_caller]
    pub fn start_tls(address: &str) -> Self {
        Self::listen(address, Some(tls::Acceptor::new(address)), State::default())
    }

    /// Listens on a port of this address with this certificate; takes only clients for whom `clients`
    /// vouches, when that is said.
    #[must_use]
    #[track_caller]
    pub fn start_as(address: &str, identity: &Identity, clients: Option<&Authority>) -> Self {
        Self::listen(address, Some(tls::Acceptor::of(identity, clients)), State::default())
    }

    /// A second host, in plain HTTP, that has the same content, and no guard and no faults.
    #[must_use]
    #[track_caller]
    pub fn beside(&self) -> Self {
        let state = {
            let mine = self.shared.state();
            State {
                blobs: mine.blobs.clone(),
                manifests: mine.manifests.clone(),
                kinds: mine.kinds.clone(),
                ..State::default()
            }
        };
        Self::listen("127.0.0.1", None, state)
    }

    #[track_caller]
    fn listen(host: &str, tls: Option<tls::Acceptor>, state: State) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("listening on a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let certificate = tls.as_ref().map(|acceptor| acceptor.certificate().to_owned());
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            closing: Mutex::new(false),
            closed: Condvar::new(),
            tls,
            sockets: Mutex::new(Vec::new()),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Self { address, shared, certificate, accepting: Some(accepting) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name of something in it, as clients take it: `127.0.0.1:PORT/rest`.
    #[must_use]
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Its certificate in PEM, when it speaks TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Lets the next `times` requests of this kind go wrong.
    pub fn fault(&self, at: At, times: u32, what: What) {
        self.shared.state().faults.push(Fault { at, times, what });
    }

    /// Takes back all faults; those that nobody met.
    pub fn heal(&self) -> Vec<Fault> {
        let faults = std::mem::take(&mut self.shared.state().faults);
        faults.into_iter().filter(|fault| fault.times > 0).collect()
    }

    /// Asks everybody from now on who they are.
    pub fn guard(&self, guard: Guard) {
        self.shared.state().guard = guard;
    }

    /// Gives so many tags at a time.
    pub fn page(&self, tags: usize) {
        self.shared.state().page = Some(tags);
    }

    /// Behaves as registries did that had no list of referrers.
    pub fn without_referrers(&self) {
        self.shared.state().has_no_referrers = true;
    }

    /// Every request so far, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.state().seen.clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.shared.state().seen.clear();
    }

    /// The requests with this method whose path has this in it.
    #[must_use]
    pub fn asked(&self, method: &str, part: &str) -> Vec<SeenRequest> {
        let mut seen = self.requests();
        seen.retain(|request| request.method == method && request.path.contains(part));
        seen
    }

    /// The bytes of a manifest, by tag or digest.
    #[must_use]
    pub fn manifest(&self, repository: &str, which: &str) -> Option<Vec<u8>> {
        let key = (repository.to_owned(), which.to_owned());
        self.shared.state().manifests.get(&key).map(|(_, bytes)| bytes.to_vec())
    }

    /// The media type of a manifest, by tag or digest.
    #[must_use]
    pub fn media_type(&self, repository: &str, which: &str) -> Option<String> {
        let key = (repository.to_owned(), which.to_owned());
        self.shared.state().manifests.get(&key).map(|(media_type, _)| media_type.clone())
    }

    /// The bytes of a blob.
    #[must_use]
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let key = (repository.to_owned(), digest.to_owned());
        self.shared.state().blobs.get(&key).map(|bytes| bytes.to_vec())
    }

    /// The digests of a repository's blobs.
    #[must_use]
    pub fn blobs(&self, repository: &str) -> Vec<String> {
        let state = self.shared.state();
        let mine = state.blobs.keys().filter(|(of, _)| of == repository);
        mine.map(|(_, digest)| digest.clone()).collect()
    }

    /// How many uploads were begun and neither finished nor given up.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.shared.state().uploads.len()
    }

    /// Removes a repository.
    pub fn remove(&self, repository: &str) {
        let mut state = self.shared.state();
        state.blobs.retain(|(of, _), _| of != repository);
        state.manifests.retain(|(of, _), _| of != repository);
    }

    /// Forgets the tokens it gave, as if their time were over.
    pub fn expire_tokens(&self) {
        self.shared.state().tokens.clear();
    }
}

impl Drop for FaultRegistry {
    fn drop(&mut self) {
        *self.shared.closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.closed.notify_all();
        // Wakes the thread that accepts.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

/// Serves connections until the registry ends, then breaks them and waits for their threads.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((socket, _)) = listener.accept() {
        if shared.ends_within(Duration::ZERO) {
            break;
        }
        if let Ok(handle) = socket.try_clone() {
            shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        }
        let shared = Arc::clone(shared);
        // A connection that breaks is often what is tested; the client's side tells.
        threads.push(std::thread::spawn(move || drop(connection(socket, &shared))));
    }
    for socket in shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        drop(socket.shutdown(Shutdown::Both));
    }
    for thread in threads {
        drop(thread.join());
    }
}

fn connection(socket: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let scheme = if shared.tls.is_some() { "https" } else { "http" };
    let mut connection = match &shared.tls {
        None => http::Connection::plain(socket)?,
        Some(acceptor) => acceptor.accept(socket)?,
    };
    while let Some(head) = connection.head()? {
        serve::one(shared, &mut connection, head, scheme)?;
    }
    Ok(())
}
