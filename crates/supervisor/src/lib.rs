//! The process beside each container: parent of its init, keeper of its streams, log and exit status.
//!
//! The program `ferry-supervisor` is one loop in one thread (`program`). The library is what others
//! need to know of it: the messages it understands ([`protocol`]), the files it leaves ([`files`]),
//! and the log it writes ([`log`]).
//!
//! It knows nothing of images, networks or the Docker API, and it never decides that a container
//! should end.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![warn(missing_docs)]

pub mod files;
pub mod log;
pub mod protocol;
pub mod time;
