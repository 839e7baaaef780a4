//! What transfers tell while they run.

use std::sync::Arc;
use std::time::Duration;

/// Called before a wait between two attempts, with its length, and after each second of it with what
/// is left.
pub type RetryHook = Arc<dyn Fn(Duration) + Send + Sync>;

/// What happens to a blob that is being sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushStep {
    /// The repository has it already.
    Exists,
    /// The registry took it from another of its repositories.
    Mounted {
        /// The path of that repository.
        from: String,
    },
    /// So much of it has been sent; less than before when it had to begin anew.
    Sent {
        /// Bytes from its beginning.
        bytes: u64,
    },
    /// An attempt failed, and there is a wait of this length before the next; told each second.
    Retrying(Duration),
}

/// How a blob came to be in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// Out of the repository of this path.
    Mounted(String),
    /// It was sent.
    Uploaded,
}
