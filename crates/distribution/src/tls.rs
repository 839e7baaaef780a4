//! TLS towards registries: whom we trust, and who we are.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::ConfigError;
use crate::endpoint::TlsPolicy;

/// The authorities that the system trusts, read when they are first needed.
#[derive(Debug, Default)]
pub(crate) struct SystemRoots(OnceLock<RootCertStore>);

impl SystemRoots {
    fn get(&self) -> &RootCertStore {
        self.0.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "some of the system's authorities cannot be read");
            }
            let (added, ignored) = roots.add_parsable_certificates(found.certs);
            tracing::debug!(added, ignored, "the system's authorities are read");
            roots
        })
    }
}

/// Makes what connections under a policy need. Reads the files that it names.
///
/// # Errors
/// When one of them cannot be read, or has not in it what it should.
pub(crate) fn client_config(
    policy: &TlsPolicy,
    system: &SystemRoots,
) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Invalid { what: "TLS".to_owned(), why: error.to_string() })?;
    // Files are read in any case: one that is broken is told, not passed over.
    let authorities = authorities(policy)?;
    let builder = if policy.skip_verify {
        let verifier = Arc::new(AnyCertificate { provider: provider.clone() });
        builder.dangerous().with_custom_certificate_verifier(verifier)
    } else {
        let mut roots = system.get().clone();
        roots.extend(authorities.roots);
        builder.with_root_certificates(roots)
    };
    let identities = policy.client.iter().map(|(certificate, key)| {
        identity(&provider, certificate, key.as_deref().unwrap_or(certificate))
    });
    let identities: Vec<_> = identities.collect::<Result<_, _>>()?;
    let mut config = if identities.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_resolver(Arc::new(Identities(identities)))
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn authorities(policy: &TlsPolicy) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for path in &policy.ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| malformed(path, &error))?;
        }
    }
    Ok(roots)
}

fn malformed(path: &Path, error: &dyn fmt::Display) -> ConfigError {
    ConfigError::Malformed { path: path.to_owned(), why: error.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::File {
        doing: "reading",
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| malformed(path, &error))?;
    if found.is_empty() {
        return Err(malformed(path, &"no certificate in it"));
    }
    Ok(found)
}

fn identity(
    provider: &CryptoProvider,
    certificate: &Path,
    key: &Path,
) -> Result<Arc<CertifiedKey>, ConfigError> {
    let chain = certificates(certificate)?;
    let pem = read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| malformed(key, &error))?;
    let certified = CertifiedKey::from_der(chain, private, provider);
    certified.map(Arc::new).map_err(|error| malformed(key, &error))
}

/// Who we are: one of several, as the server asks.
#[derive(Debug)]
struct Identities(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identities {
    /// Prefers one that an authority has signed whom the server named.
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let usable = || self.0.iter().filter(|one| one.key.choose_scheme(schemes).is_some());
        // The name of an issuer stands in a certificate in the very form in which it is asked for.
        let is_named = |one: &&Arc<CertifiedKey>| {
            one.cert.iter().any(|certificate| {
                root_hint_subjects.iter().any(|name| has_within(certificate, name))
            })
        };
        usable().find(is_named).or_else(|| usable().next()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

fn has_within(whole: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && whole.windows(part.len()).any(|window| window == part)
}

/// Takes every certificate, as `insecure-registries` says. That the other side has the key of
/// the certificate is verified still.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_certificates_are_told() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("ca.crt");
        let policy = TlsPolicy { ca: vec![path.clone()], ..TlsPolicy::default() };
        let fails = |policy: &TlsPolicy| {
            client_config(policy, &SystemRoots::default()).unwrap_err().to_string()
        };
        assert_eq!(fails(&policy), format!("reading {}", path.display()));
        std::fs::write(&path, "hello").unwrap();
        let insecure = TlsPolicy { skip_verify: true, ..policy.clone() };
        for policy in [policy, insecure] {
            assert!(fails(&policy).ends_with("ca.crt is malformed: no certificate in it"));
        }
    }

    #[test]
    fn a_key_has_to_fit_its_certificate() {
        let scratch = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = scratch.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let [one, other] = ["one", "other"]
            .map(|name| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap());
        let certificate = write("me.cert", one.cert.pem());
        let key = write("me.key", one.signing_key.serialize_pem());
        let wrong = write("other.key", other.signing_key.serialize_pem());
        let both = write("both.pem", one.cert.pem() + &one.signing_key.serialize_pem());
        let check = |certificate: &Path, key: Option<&Path>| {
            let client = vec![(certificate.to_owned(), key.map(Path::to_owned))];
            let policy = TlsPolicy { client, ..TlsPolicy::default() };
            client_config(&policy, &SystemRoots::default()).map(|config| {
                assert!(config.client_auth_cert_resolver.has_certs());
            })
        };
        check(&certificate, Some(&key)).unwrap();
        check(&both, None).unwrap();
        assert!(check(&certificate, Some(&wrong)).is_err());
        assert!(check(&certificate, None).is_err());
    }
}
