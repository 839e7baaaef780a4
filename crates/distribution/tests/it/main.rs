//! Repositories against a registry in this process.
#![expect(clippy::unwrap_used, reason = "a registry of tests may panic")]

mod auth;
mod fake;
mod pull;
mod push;
mod resolve;
