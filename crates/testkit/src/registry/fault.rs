//! What can go wrong, and where.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::http::{Answer, Head};

/// Which requests a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A manifest or an index is read.
    Manifest,
    /// An image's configuration is read.
    Config,
    /// A layer is read, counted from the lowest; of what was published.
    Layer(usize),
    /// A token is asked for.
    Token,
    /// The tags are listed.
    Tags,
    /// It is asked whether a blob is here.
    HasBlob,
    /// An upload is begun.
    UploadStart,
    /// Bytes of an upload come in, in pieces.
    UploadData,
    /// An upload is ended.
    UploadEnd,
    /// A manifest is written.
    ManifestPut,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The connection breaks after so many bytes of the answer's body; of an upload's, when there
    /// is one.
    Cut {
        /// Bytes that still pass.
        after: usize,
    },
    /// What was asked is done; the connection breaks before the answer.
    LostAnswer,
    /// One byte of the body is another.
    WrongBytes,
    /// The body has only so many bytes, and the head says so.
    Truncate {
        /// Bytes that are left.
        to: usize,
    },
    /// The body has more bytes than there are.
    LongBody,
    /// The body comes slowly.
    Slow {
        /// How slowly.
        bytes_per_second: usize,
    },
    /// Nothing comes, and the connection stays.
    Stall,
    /// The request is done and answered so much later.
    Late {
        /// How much.
        by: Duration,
        /// What goes wrong then, if anything does.
        then: Option<Box<Self>>,
    },
    /// This status instead, with the error code that registries give with it.
    Status(u16),
    /// 429 with `Retry-After` in seconds.
    RetryAfter(u32),
    /// 429 in Docker Hub's words.
    RateLimitWords,
    /// 307 to the same path at another host.
    RedirectTo(SocketAddr),
    /// 307 to the same place.
    RedirectLoop,
    /// A body of 64 MiB.
    HugeBody,
    /// `Range` is not heeded.
    NoRange,
    /// The part that comes is another than was asked for.
    WrongContentRange,
    /// The body is said to be a web page.
    WrongMediaType,
    /// The digest is not said.
    MissingDigestHeader,
    /// Another digest is said.
    WrongDigestHeader,
    /// All tokens are forgotten before the request is looked at.
    TokenExpires,
}

/// Something that goes wrong some times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: At,
    /// How often still.
    pub times: u32,
    /// What.
    pub what: What,
}

/// How an answer is written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// The connection breaks after so many bytes of the body.
    pub(super) cut: Option<usize>,
    pub(super) bytes_per_second: Option<usize>,
}

const HUGE: usize = 64 << 20;

/// Changes an honest answer into what was asked for.
pub(super) fn spoil(what: &What, head: &Head, mut answer: Answer) -> (Answer, Manner) {
    let mut manner = Manner::default();
    match what {
        What::Cut { after } => manner.cut = Some(*after),
        What::Slow { bytes_per_second } => manner.bytes_per_second = Some(*bytes_per_second),
        What::WrongBytes => {
            let mut bytes = answer.body.to_vec();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 0x55;
            }
            answer.body = bytes.into();
        }
        What::Truncate { to } => {
            answer.body = answer.body[..answer.body.len().min(*to)].into();
        }
        What::LongBody => {
            answer.body = [&answer.body[..], &[b'x'; 4096]].concat().into();
        }
        What::HugeBody => answer.body = Arc::from(vec![b' '; HUGE]),
        What::Status(status) => answer = Answer::error(*status, code_of(*status), ""),
        What::RetryAfter(seconds) => {
            answer = Answer::error(429, "TOOMANYREQUESTS", "slow down")
                .with("Retry-After", &seconds.to_string());
        }
        What::RateLimitWords => {
            answer = Answer::error(
                429,
                "TOOMANYREQUESTS",
                "You have reached your pull rate limit. You may increase the limit by \
                 authenticating and upgrading: https://www.docker.com/increase-rate-limit",
            );
        }
        What::RedirectTo(address) => {
            let place = format!("http://{address}{}", head.target);
            answer = Answer::new(307).with("Location", &place);
        }
        What::RedirectLoop => answer = Answer::new(307).with("Location", &head.target),
        What::WrongContentRange => {
            answer.status = 206;
            let last = answer.body.len();
            answer = answer.with("Content-Range", &format!("bytes 1-{last}/{}", last + 1));
        }
        What::WrongMediaType => {
            answer.remove("Content-Type");
            answer = answer.with("Content-Type", "text/html");
        }
        What::MissingDigestHeader => answer.remove("Docker-Content-Digest"),
        What::WrongDigestHeader => {
            answer.remove("Docker-Content-Digest");
            let other = format!("sha256:{}", "0".repeat(64));
            answer = answer.with("Docker-Content-Digest", &other);
        }
        // These are heeded where the request is read.
        What::Stall | What::LostAnswer | What::NoRange | What::TokenExpires | What::Late { .. } => {
        }
    }
    (answer, manner)
}

/// The code that registries give with a status.
fn code_of(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 => "MANIFEST_UNKNOWN",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    }
}
