//! The client itself: its connections, and how they are kept.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Method, Request, Response};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use crate::{Address, ClientError, Upload, request, socket::Socket};

/// Connections kept for reuse.
const KEPT_CONNECTIONS: usize = 4;

/// A client of one engine; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    api_version: String,
    idle: Mutex<Vec<http1::SendRequest<Upload>>>,
    tasks: TaskTracker,
}

/// A connection whose answer is being read.
#[derive(Debug)]
pub(crate) struct Exchange {
    sender: http1::SendRequest<Upload>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.inner.address)
            .field("api_version", &self.inner.api_version)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; nothing is connected yet.
    pub fn new(address: Address) -> Self {
        Self::with_api_version(address, ferry_api::API_VERSION)
    }

    /// Makes a client that speaks a certain version of the API, such as `1.43`.
    pub fn with_api_version(address: Address, api_version: &str) -> Self {
        Self {
            inner: Arc::new(Inner {
                address,
                api_version: api_version.to_owned(),
                idle: Mutex::new(Vec::new()),
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// Where the engine is.
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// The version of the API that the client speaks.
    pub fn api_version(&self) -> &str {
        &self.inner.api_version
    }

    pub(crate) fn host(&self) -> &str {
        match &self.inner.address {
            Address::Unix(_) => "ferry",
            Address::Tcp(authority) => authority,
        }
    }

    pub(crate) fn get(&self, path: impl Into<String>) -> request::Request<'_> {
        request::Request::new(self, Method::GET, path.into())
    }

    pub(crate) fn post(&self, path: impl Into<String>) -> request::Request<'_> {
        request::Request::new(self, Method::POST, path.into())
    }

    pub(crate) fn delete(&self, path: impl Into<String>) -> request::Request<'_> {
        request::Request::new(self, Method::DELETE, path.into())
    }

    /// Sends a request on a kept connection, or on a new one.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<Upload>,
        path: &str,
    ) -> Result<(Response<Incoming>, Exchange), ClientError> {
        loop {
            let kept = self.idle().pop();
            let is_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            if is_kept && sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Exchange { sender })),
                Err(mut error) => match error.take_message() {
                    // The engine had closed the kept connection; nothing was sent.
                    Some(unsent) if is_kept => request = unsent,
                    _ => {
                        let source = error.into_error();
                        return Err(ClientError::Exchange { path: path.to_owned(), source });
                    }
                },
            }
        }
    }

    /// Keeps the connection of an answer that was read to its end.
    pub(crate) fn keep(&self, exchange: Exchange) {
        let mut idle = self.idle();
        if idle.len() < KEPT_CONNECTIONS && !exchange.sender.is_closed() {
            idle.push(exchange.sender);
        }
    }

    async fn connect(&self) -> Result<http1::SendRequest<Upload>, ClientError> {
        let socket = Socket::connect(&self.inner.address).await.map_err(|source| {
            ClientError::Connect { address: self.inner.address.to_string(), source }
        })?;
        let handshake = http1::Builder::new().handshake(TokioIo::new(socket)).await;
        let (sender, connection) = handshake.map_err(|source| ClientError::Exchange {
            path: self.inner.address.to_string(),
            source,
        })?;
        self.inner.tasks.spawn(async move {
            // An error of the connection reaches whoever waits for the answer.
            drop(connection.with_upgrades().await);
        });
        Ok(sender)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<http1::SendRequest<Upload>>> {
        self.inner.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
