//! TLS before the protocol.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::authority::{Authority, Identity};
use super::http::Connection;

/// Takes connections with a certificate.
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
    /// Makes a certificate for `host` that nobody but itself has signed.
    pub(super) fn new(host: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]);
        let made = made.expect("making a certificate");
        let key = made.signing_key.serialize_der();
        Self::with(made.cert.der().clone(), key, made.cert.pem(), None)
    }

    /// Uses this certificate, and takes only clients for whom `clients` vouches, when that is said.
    pub(super) fn of(identity: &Identity, clients: Option<&Authority>) -> Self {
        let (certificate, key) = identity.der();
        Self::with(certificate, key, identity.certificate(), clients)
    }

    fn with(
        certificate: CertificateDer<'static>,
        key: Vec<u8>,
        pem: String,
        clients: Option<&Authority>,
    ) -> Self {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the usual versions of TLS");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der()).expect("an authority's certificate");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("there is an authority"))
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let config =
            builder.with_single_cert(vec![certificate], key).expect("a certificate and its key");
        Self { config: Arc::new(config), certificate: pem }
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
