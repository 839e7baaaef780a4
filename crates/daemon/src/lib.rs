//! The edge: configuration, sockets, routes, old API versions.
//!
//! `ferryd` serves the Docker Engine API. What comes in goes through [`http`](self) (a connection,
//! a route, a version), is lifted to the newest version by `compat`, turned into the engine's own
//! words by `convert`, and carried out by the engine; what goes out goes the same way back. Nothing
//! here knows how a container is made, and nothing beneath knows of HTTP, JSON bodies and API
//! versions.
//!
//! Entry points: [`run`] for the program, `routes::handle` for what an endpoint does,
//! `http::service` for what happens to each request.
#![forbid(unsafe_code)]

mod app;
mod compat;
pub mod config;
mod convert;
mod facts;
mod http;
mod instance;
mod log;
mod network;
mod routes;
mod start;

pub use start::run;

/// The version of Docker whose behaviour is followed, with our own behind it, as `docker version`
/// shows it.
pub(crate) const VERSION: &str = concat!("28.5.2+ferry", env!("CARGO_PKG_VERSION"));
/// Our own version.
pub(crate) const FERRY_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The `Server` header; old clients read the operating system from it.
pub(crate) const SERVER: &str =
    concat!("Docker/28.5.2+ferry", env!("CARGO_PKG_VERSION"), " (linux)");
/// What `--version` says.
pub(crate) const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (Docker 28.5.2)");
/// The revision that this program was built from, when the build says it.
pub(crate) const COMMIT: &str = match option_env!("FERRY_REVISION") {
    Some(commit) => commit,
    None => "",
};
/// When this program was built, when the build says it.
pub(crate) const BUILD_TIME: &str = match option_env!("FERRY_BUILT") {
    Some(time) => time,
    None => "unknown",
};
/// What compiled this program; clients call it the version of Go.
pub(crate) const COMPILER: &str = concat!("rustc", env!("CARGO_PKG_RUST_VERSION"));
