//! The vocabulary of the OCI specifications: digests, references, manifests, image and runtime configuration.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod digest;
pub mod image;
pub mod manifest;
pub mod platform;
pub mod reference;
pub mod runtime;
