//! Failures of connections, in the words of Go's network library, which Docker's users know.

use std::error::Error;
use std::io;

use http::Uri;
use hyper_util::client::legacy;
use rustls::{AlertDescription, CertificateError};

use crate::error::DistributionError;

/// Why no connection stands.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(super) struct DialError {
    pub(super) words: String,
    /// Whether the other side was there, and is not whom it should be.
    pub(super) is_tls: bool,
}

/// A request got no answer.
pub(super) fn of_request(request: &str, error: &legacy::Error) -> DistributionError {
    let request = request.to_owned();
    if let Some(DialError { words, is_tls }) = find::<DialError>(error) {
        let source = words.clone().into();
        return if *is_tls {
            DistributionError::Tls { request, source }
        } else {
            DistributionError::Connect { request, source }
        };
    }
    // With TLS 1.3 the refusal of our certificate comes after the handshake.
    if let Some(tls) = find::<rustls::Error>(error) {
        return DistributionError::Tls { request, source: tls_words(tls).into() };
    }
    DistributionError::Cut { request, source: cut_words(error).into() }
}

/// A body ended before its end.
pub(super) fn of_body(request: &str, error: &hyper::Error) -> DistributionError {
    DistributionError::Cut { request: request.to_owned(), source: cut_words(error).into() }
}

/// Why nobody was reached at a URL.
pub(super) fn of_dial(error: &(dyn Error + 'static), url: &Uri) -> DialError {
    if let Some(known) = find::<DialError>(error) {
        return DialError { words: known.words.clone(), is_tls: known.is_tls };
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return DialError { words: tls_words(tls), is_tls: true };
    }
    let host = url.host().unwrap_or_default();
    let default_port = if url.scheme_str() == Some("https") { 443 } else { 80 };
    let address = format!("{host}:{}", url.port_u16().unwrap_or(default_port));
    let words = match find_io(error) {
        // The words of hyper, which has no kind for them.
        Some(io) if chain(error).any(|one| one.to_string() == "dns error") => {
            let why = io.to_string();
            let why = why.rsplit_once(": ").map_or(why.as_str(), |(_, why)| why);
            let is_unknown =
                matches!(why, "Name or service not known" | "No address associated with hostname");
            format!("dial tcp: lookup {host}: {}", if is_unknown { "no such host" } else { why })
        }
        Some(io) => match io_words(io) {
            Some(words @ "i/o timeout") => format!("dial tcp {address}: {words}"),
            Some(words @ ("EOF" | "read: connection reset by peer")) => words.to_owned(),
            Some(words) => format!("dial tcp {address}: connect: {words}"),
            None => format!("dial tcp {address}: {io}"),
        },
        None => chain(error).last().map_or_else(String::new, ToString::to_string),
    };
    DialError { words, is_tls: false }
}

fn cut_words(error: &(dyn Error + 'static)) -> String {
    if find::<hyper::Error>(error).is_some_and(hyper::Error::is_incomplete_message) {
        return "unexpected EOF".to_owned();
    }
    if let Some(io) = find_io(error) {
        let words = io_words(io).map(|words| if words == "EOF" { "unexpected EOF" } else { words });
        return words.map_or_else(|| io.to_string(), str::to_owned);
    }
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

fn io_words(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "read: connection reset by peer"
        }
        io::ErrorKind::NetworkUnreachable => "network is unreachable",
        io::ErrorKind::HostUnreachable => "no route to host",
        io::ErrorKind::TimedOut => "i/o timeout",
        io::ErrorKind::UnexpectedEof => "EOF",
        _ => return None,
    })
}

fn tls_words(error: &rustls::Error) -> String {
    let certificate = match error {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::InvalidMessage(_) => {
            return "http: server gave HTTP response to HTTPS client".to_owned();
        }
        rustls::Error::AlertReceived(alert) => {
            return format!("remote error: tls: {}", alert_words(*alert));
        }
        other => return format!("tls: {other}"),
    };
    let why = match certificate {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForName => "certificate is not valid for this name".to_owned(),
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// What the other side has against us.
fn alert_words(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InsufficientSecurity => "insufficient security level",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UnrecognisedName => "unrecognized name",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({})", u8::from(other)),
    };
    words.to_owned()
}

/// An error and what is beneath it, also where `io::Error` wraps without calling it its source.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The one that says most: the lowest.
fn find_io<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    chain(error).filter_map(|error| error.downcast_ref()).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: io::Error, url: &str, words: &str, is_tls: bool) {
        let wrapped = io::Error::other(error);
        let found = of_dial(&wrapped, &url.parse().unwrap());
        assert_eq!((found.words.as_str(), found.is_tls), (words, is_tls));
    }

    #[test]
    fn failures_are_told_as_go_tells_them() {
        check(
            io::ErrorKind::ConnectionRefused.into(),
            "http://h:5000/v2/",
            "dial tcp h:5000: connect: connection refused",
            false,
        );
        check(
            io::ErrorKind::TimedOut.into(),
            "https://[::1]/",
            "dial tcp [::1]:443: i/o timeout",
            false,
        );
        check(io::ErrorKind::UnexpectedEof.into(), "https://h/", "EOF", false);
        let tls = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        check(
            tls(CertificateError::UnknownIssuer.into()),
            "https://h/",
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            true,
        );
        check(
            tls(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)),
            "https://h/",
            "remote error: tls: certificate required",
            true,
        );
        check(
            tls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)),
            "https://h/",
            "http: server gave HTTP response to HTTPS client",
            true,
        );
    }
}
