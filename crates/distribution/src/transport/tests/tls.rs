//! Certificates of both sides.

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;

use super::*;

/// Certificates for this machine, in files.
pub(super) struct Files {
    dir: tempfile::TempDir,
    server: CertifiedKey<KeyPair>,
    client: CertifiedKey<KeyPair>,
}

impl Files {
    pub(super) fn new(name: &str) -> Self {
        let make = |name: &str| generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let files =
            Self { dir: tempfile::tempdir().unwrap(), server: make(name), client: make("me") };
        files.write("ca.crt", &files.server.cert.pem());
        files.write("me.cert", &files.client.cert.pem());
        files.write("me.key", &files.client.signing_key.serialize_pem());
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub(super) fn ca(&self) -> String {
        format!("ca = '{}'\n", self.path("ca.crt"))
    }

    fn me(&self) -> String {
        format!("client = [['{}', '{}']]\n", self.path("me.cert"), self.path("me.key"))
    }

    /// A server that asks for a certificate, and may insist on it.
    pub(super) fn server(&self, insists: bool) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.client.cert.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier = if insists { verifier } else { verifier.allow_unauthenticated() };
        let key = PrivateKeyDer::try_from(self.server.signing_key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![self.server.cert.der().clone()], key)
            .unwrap()
    }
}

#[tokio::test]
async fn who_is_not_known_is_not_trusted() {
    let files = Files::new("127.0.0.1");
    let server =
        Server::start_tls(files.server(false), |_| answer(200).body("x".into()).unwrap()).await;
    let transport = transport();
    let error = transport.send(&endpoint(&server.url(""), ""), &get("/v2/"), None).await;
    let error = error.unwrap_err();
    assert_eq!(
        told(&error),
        format!(
            "Get \"{}\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
            server.url("/v2/")
        )
    );
    assert!(matches!(error, DistributionError::Tls { .. }) && !error.is_retryable());
    for settings in [files.ca(), "skip_verify = true".to_owned()] {
        let e = endpoint(&server.url(""), &settings);
        assert_eq!(text(transport.send(&e, &get("/v2/"), None).await.unwrap()).await, "x");
    }
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_certificate_counts_for_its_name_only() {
    let files = Files::new("other.example");
    let server =
        Server::start_tls(files.server(false), |_| answer(200).body("x".into()).unwrap()).await;
    let e = endpoint(&server.url(""), &files.ca());
    let error = transport().send(&e, &get("/v2/"), None).await.unwrap_err();
    assert!(matches!(error, DistributionError::Tls { .. }), "{error:?}");
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_in_dockers_words() {
    let server = Server::start(|_| answer(200).body("x".into()).unwrap()).await;
    let base = format!("https://{}", server.address);
    let e = endpoint(&base, "skip_verify = true");
    let error = transport().send(&e, &get("/v2/"), None).await.unwrap_err();
    assert_eq!(
        told(&error),
        format!("Get \"{base}/v2/\": http: server gave HTTP response to HTTPS client")
    );
    assert!(matches!(error, DistributionError::Tls { .. }));
}

#[tokio::test]
async fn we_show_our_certificate_to_the_endpoint_only() {
    let files = Files::new("127.0.0.1");
    let other =
        Server::start_tls(files.server(false), |_| answer(200).body("x".into()).unwrap()).await;
    let to = other.url("/");
    let first = Server::start_tls(files.server(true), move |_| {
        answer(302).header("location", &to).body(Default::default()).unwrap()
    })
    .await;
    let transport = transport();
    let e = endpoint(&first.url(""), &(files.ca() + &files.me()));
    assert_eq!(text(transport.send(&e, &get("/v2/"), None).await.unwrap()).await, "x");
    assert!(first.seen()[0].has_certificate);
    assert!(!other.seen()[0].has_certificate);

    let without = endpoint(&first.url(""), &files.ca());
    let error = transport.send(&without, &get("/v2/"), None).await.unwrap_err();
    assert!(told(&error).contains("remote error: tls: "), "{}", told(&error));
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn replaced_files_count_from_the_next_request_on() {
    let files = Files::new("127.0.0.1");
    let server =
        Server::start_tls(files.server(false), |_| answer(200).body("x".into()).unwrap()).await;
    let (transport, e) = (transport(), endpoint(&server.url(""), &files.ca()));
    files.write("ca.crt", &files.client.cert.pem());
    assert!(transport.send(&e, &get("/v2/"), None).await.is_err());
    std::fs::remove_file(files.path("ca.crt")).unwrap();
    let error = transport.send(&e, &get("/v2/"), None).await.unwrap_err();
    assert!(matches!(error, DistributionError::Config(_)), "{error:?}");
    files.write("ca.crt", &files.server.cert.pem());
    transport.send(&e, &get("/v2/"), None).await.unwrap();
}

#[tokio::test]
async fn tls_is_not_left_on_the_way() {
    let files = Files::new("127.0.0.1");
    let plain = Server::start(|_| answer(200).body("x".into()).unwrap()).await;
    let to = plain.url("/");
    let first = Server::start_tls(files.server(false), move |_| {
        answer(302).header("location", &to).body(Default::default()).unwrap()
    })
    .await;
    let transport = transport();
    let e = endpoint(&first.url(""), &files.ca());
    let auth = Secret::new(format!("Bearer {SECRET}"));
    let error = transport.send(&e, &get("/v2/"), Some(&auth)).await.unwrap_err();
    assert!(error.to_string().contains("from HTTPS to HTTP is not followed"), "{error}");
    assert_eq!(plain.seen().len(), 0);
    let lax = endpoint(&first.url(""), "skip_verify = true");
    transport.send(&lax, &get("/v2/"), Some(&auth)).await.unwrap();
    assert!(!plain.seen()[0].says(SECRET));
}
