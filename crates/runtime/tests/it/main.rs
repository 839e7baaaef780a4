//! The runtime against the kernel, through its program. Needs root and `busybox-static`.

mod exec;
mod isolation;
mod life;
mod mounts;
mod program;
mod support;
mod terminal;
