//! How much is taken from a registry, and how long it is waited for.

use std::time::Duration;

/// Bytes of a manifest or an index; the limit that registries have too.
/// [OCI distribution, pushing manifests]
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Bytes of an image's configuration.
pub const MAX_CONFIG: u64 = 16 << 20;
/// Bytes of a token server's answer.
pub const MAX_TOKEN: u64 = 64 << 10;
/// Bytes of the body of an error that are read; the rest is not worth reading.
pub const MAX_ERROR_BODY: u64 = 64 << 10;
/// Bytes of one page of a list of tags.
pub const MAX_TAGS_PAGE: u64 = 4 << 20;
/// Tags of a repository; a registry that pages on for ever is left there.
pub const MAX_TAGS: usize = 1_000_000;
/// Pages of a list.
pub const MAX_PAGES: usize = 10_000;
/// Bytes of all pages of a list: some 40 for each of a million tags.
pub const MAX_LIST: u64 = 64 << 20;
/// Bytes of a layer; a larger one is refused before the first byte.
pub const MAX_LAYER: u64 = 128 << 30;
/// Layers of an image, as overlay mounts bear.
pub const MAX_LAYERS: usize = 498;
/// Indexes within indexes.
pub const MAX_INDEX_DEPTH: usize = 4;
/// Redirections that one request follows.
pub const MAX_REDIRECTS: usize = 5;

/// Until a connection stands, with its TLS.
pub const CONNECT: Duration = Duration::from_secs(10);
/// Until the head of an answer is there.
pub const HEAD: Duration = Duration::from_secs(30);
/// Without a single byte in the middle of a body.
pub const STALL: Duration = Duration::from_secs(30);
/// How long a body may come more slowly than [`LEAST_RATE`].
pub const SLOW: Duration = Duration::from_secs(60);
/// Bytes per second of a body at least; one that comes more slowly never comes to its end.
pub const LEAST_RATE: u64 = 1 << 10;
/// Bytes that may stand before the network when it seems that they were sent.
pub const SEND_BUFFER: u64 = 4 << 20;
/// Bytes per second at which they leave, at least: of a poor modem.
pub const LEAST_UPLINK: u64 = 32 << 10;

/// How often a request is made at one endpoint at most, when the configuration does not say.
pub const ATTEMPTS: u32 = 5;
/// The wait before the second attempt; it doubles with each, a quarter more or less by chance.
pub const BACKOFF: Duration = Duration::from_millis(500);
/// The longest wait between attempts that we choose ourselves.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The longest wait that a registry may ask for; beyond it the request fails.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Blobs beneath this many bytes are sent in one request.
pub const MONOLITHIC_UPLOAD: u64 = 64 << 20;
