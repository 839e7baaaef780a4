//! The process beside each container.
fn main() {}
