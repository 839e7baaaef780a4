//! One method per endpoint of the Engine API, over a Unix socket or TCP.
//!
//! [`Client`] is cheap to clone and keeps connections for reuse. Answers are the types of
//! `ferry-api`; long answers are streams: [`JsonStream`] of progress and events, [`ByteStream`] of
//! output, [`Hijacked`] of attached standard streams. This crate knows nothing of the words that
//! a user reads; a refusal is [`ClientError::Refused`] with the engine's own message.
//!
//! The API's version is not negotiated: the methods speak the newest that `ferry-api` describes,
//! unless [`Client::with_api_version`] says otherwise.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod connection;
mod containers;
mod error;
mod execs;
mod hijacked;
mod hijacked_blocking;
mod images;
mod networks;
mod raw;
mod request;
mod socket;
mod streams;
mod system;
mod volumes;

pub use crate::{
    address::{Address, InvalidAddress},
    connection::Client,
    containers::PendingWait,
    error::ClientError,
    hijacked::{Hijacked, HijackedReader, HijackedWriter},
    hijacked_blocking::BlockingStream,
    request::{Upload, upload},
    streams::{ByteStream, JsonStream},
};
