//! What can go wrong between a client and an engine.

use std::io;

/// What went wrong between the client and the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection could be made; the engine is not there, or does not let us in.
    #[error("cannot connect to the engine at {address}")]
    Connect {
        /// Where it should be.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke amid a request, or an answer.
    #[error("the exchange with the engine broke off at {path}")]
    Exchange {
        /// The request's path.
        path: String,
        /// How it broke.
        source: hyper::Error,
    },
    /// The engine refused.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The engine answered what cannot be understood.
    #[error("cannot understand the engine's answer to {path}")]
    Answer {
        /// The request's path.
        path: String,
        /// What it should have been.
        source: serde_json::Error,
    },
    /// A request could not be written as JSON or HTTP.
    #[error("cannot form the request {path}")]
    Form {
        /// The request's path.
        path: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine did not hand over the connection.
    #[error("the engine did not hijack the connection of {path}: HTTP status {status}")]
    NotHijacked {
        /// The request's path.
        path: String,
        /// What it answered.
        status: u16,
    },
}

impl ClientError {
    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Connect { .. }
            | Self::Exchange { .. }
            | Self::Answer { .. }
            | Self::Form { .. }
            | Self::NotHijacked { .. } => None,
        }
    }

    /// Whether the engine says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }
}
