//! TLS before the protocol.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::http::Connection;

/// Takes connections with a certificate that nobody but itself has signed.
pub(super) struct Acceptor {
    config: Arc<ServerConfig>,
    certificate: String,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Makes a certificate for `host`.
    pub(super) fn new(host: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]);
        let made = made.expect("making a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the usual versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .expect("a certificate and its key");
        Self { config: Arc::new(config), certificate: made.cert.pem() }
    }

    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(super) fn accept(&self, socket: TcpStream) -> io::Result<Connection> {
        let handle = socket.try_clone()?;
        let session = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        Ok(Connection::new(Box::new(StreamOwned::new(session, socket)), handle))
    }
}
