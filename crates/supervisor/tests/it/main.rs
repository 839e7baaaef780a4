//! The supervisor's program with real containers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::panic_in_result_fn
)]
#![allow(clippy::allow_attributes_without_reason, reason = "tests")]

mod attach;
mod execs;
mod init;
mod kit;
mod life;
