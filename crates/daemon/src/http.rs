//! HTTP as Docker speaks it: versions in paths, errors as JSON, connections that become streams.
//!
//! ```text
//! socket --> connection (hyper) --> router (api::ENDPOINTS) --> routes::handle --> Reply
//!                 ^                                                                 |
//!                 |  Response                                                       |
//!                 +-----------------------------------------------------------------+
//!                    Takeover: hyper is let go, we write the head, the engine gets the socket
//! ```

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod json;
pub(crate) mod listen;
pub(crate) mod reply;
pub(crate) mod router;
pub(crate) mod service;
pub(crate) mod takeover;
pub(crate) mod wire;
