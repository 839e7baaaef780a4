//! Repositories against a registry in this process.

mod auth;
mod fake;
mod pull;
mod push;
mod resolve;
