//! The pieces of the distribution protocol that client and server share. Pure.

pub mod errors;
pub mod paths;
