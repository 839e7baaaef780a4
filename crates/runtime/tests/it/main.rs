//! The runtime against the kernel, through its program. Needs root and `busybox-static`.

#![expect(clippy::unwrap_used, reason = "a test that fails is a test that fails")]

mod escapes;
mod exec;
mod isolation;
mod life;
mod mounts;
mod program;
mod support;
mod terminal;
