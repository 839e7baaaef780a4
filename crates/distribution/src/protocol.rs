//! The pieces of the distribution protocol that client and server share. Pure.

pub mod accept;
pub mod challenge;
pub mod errors;
pub mod links;
pub mod paths;
pub mod ranges;

pub use self::accept::ACCEPT_MANIFESTS;
pub use self::challenge::{Challenge, Scheme, parse_challenges};
pub use self::errors::{ErrorCode, RegistryErrors, parse_errors};
pub use self::links::next_link;
pub use self::ranges::{parse_content_range, parse_upload_range, retry_after};
