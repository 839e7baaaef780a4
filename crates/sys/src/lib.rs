//! The kernel, safely: the only crate with unsafe code.
