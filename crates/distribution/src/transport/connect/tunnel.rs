//! Tunnels through proxies. [RFC 9110, 9.3.6]

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::auth::credentials::Secret;
use crate::error::BoxError;

/// Bytes of a proxy's answer at most.
const MAX_HEAD: usize = 16 << 10;
const END: &[u8] = b"\r\n\r\n";

/// A proxy leads nowhere, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) String);

/// Asks the proxy at the other end for a tunnel to where a URL leads, and proves who we are there.
///
/// # Errors
/// [`Refused`] when it says no; others when it cannot be spoken with.
pub(super) async fn open<S: Read + Write + Unpin>(
    stream: S,
    url: &Uri,
    proof: Option<Secret>,
) -> Result<S, BoxError> {
    let at = format!("{}:{}", url.host().unwrap_or_default(), url.port_u16().unwrap_or(443));
    let mut request = format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n");
    if let Some(proof) = proof {
        request.push_str(&format!("Proxy-Authorization: {}\r\n", proof.expose()));
    }
    request.push_str("\r\n");
    let mut stream = TokioIo::new(stream);
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let end = loop {
        if let Some(at) = answer.windows(END.len()).position(|bytes| bytes == END) {
            break at + END.len();
        }
        if answer.len() > MAX_HEAD {
            return Err("the proxy's answer is too long".into());
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    let line = head.lines().next().unwrap_or_default();
    let Some(("HTTP/1.1" | "HTTP/1.0", status)) = line.split_once(' ') else {
        return Err("the proxy does not speak HTTP".into());
    };
    let (code, words) = status.split_once(' ').unwrap_or((status, "unknown status code"));
    match code.parse() {
        Ok(200..=299) if answer.len() == end => Ok(stream.into_inner()),
        // Whoever is behind it is spoken to first.
        Ok(200..=299) => Err("the proxy says more than it was asked".into()),
        Ok(100..=999) => Err(Refused(words.to_owned()).into()),
        _ => Err("the proxy does not speak HTTP".into()),
    }
}
