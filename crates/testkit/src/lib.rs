//! Hermetic environments, tiny images, and the end-to-end suite.
//!
//! [`Env`] is an engine of its own: data root, socket, bridge, subnet and cgroup parent belong to it
//! alone, and when it is dropped it looks for whatever was left behind and fails the test that left
//! it. The suite in `tests/e2e` talks to it as users do: through the `docker` client, through
//! `ferry`, and by raw HTTP. With `FERRY_E2E_HOST` the same tests run against another engine, which
//! is how each of them is validated against Docker.
//!
//! This crate knows no other crate of the workspace: it sees programs, sockets and files.
#![forbid(unsafe_code)]

pub mod api;
pub mod command;
pub mod elf;
pub mod env;
pub mod folder;
pub mod image;
pub mod leaks;
pub mod observe;
pub mod registry;
pub mod slot;
pub mod tar;
pub mod terminal;
pub mod wait;

pub use command::{Invocation, Output, Running};
pub use env::{Client, Env, EnvBuilder};
pub use folder::Folder;
pub use image::{Compression, Image};
pub use registry::FaultRegistry;
pub use terminal::Terminal;
pub use wait::wait_until;
