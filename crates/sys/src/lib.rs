//! The kernel, safely: the only crate with unsafe code.
//!
//! Wrappers take borrowed descriptors and return owned ones, and do one system call or one idiom.
//! There is no decision here: no default, no fallback, no policy.
#![allow(unsafe_code, reason = "this crate is where unsafe code lives")]
#![warn(missing_docs)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod allocator;
pub mod capabilities;
pub mod cgroup;
pub mod durable;
pub mod error;
pub mod fdpass;
pub mod fscontext;
pub mod keyring;
pub mod launch;
pub mod lock;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod netns;
pub mod open_files;
pub mod path;
pub mod process;
pub mod rlimit;
pub mod seccomp;
pub mod signal;
pub mod tree;

pub use error::{Context, SysError};
