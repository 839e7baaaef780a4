//! Limits: nothing in the engine grows without an end.

use std::time::Duration;

/// Events kept for those who ask for the past. Docker keeps 256.
pub(crate) const EVENTS_KEPT: usize = 1024;
/// Events a listener may lag behind before it loses some.
pub(crate) const EVENTS_QUEUED: usize = 1024;
/// Requests waiting for one container's driver.
pub(crate) const DRIVER_QUEUE: usize = 64;
/// Clients that wait for a container's start with their connection.
pub(crate) const PENDING_ATTACHMENTS: usize = 64;
/// Execs of one container that have not ended.
pub(crate) const EXECS_PER_CONTAINER: usize = 1024;
/// Ended execs of one container that can still be inspected.
pub(crate) const ENDED_EXECS_KEPT: usize = 64;
/// Calls into the kernel and the store at once.
pub(crate) const BLOCKING_CALLS: usize = 32;
/// Trees of files deleted at once, which may take long.
pub(crate) const DELETIONS: usize = 4;
/// Archives of images read at once, as fast as their clients send them.
pub(crate) const ARCHIVES: usize = 8;
/// Events of a transfer that wait for its client; of progress, more are passed over.
pub const TRANSFER_EVENTS: usize = 256;
/// Least time between two events of one layer's progress; Docker's clients draw ten a second.
pub(crate) const PROGRESS_PERIOD: Duration = Duration::from_millis(100);
/// Pieces of a layer between the network and the disk.
pub(crate) const PIECES_QUEUED: usize = 16;
/// How often a layer is fetched whose bytes turn out to be wrong: from here, and from elsewhere.
pub(crate) const WRONG_LAYERS: u32 = 4;
/// How often what nobody needs is looked for.
pub(crate) const COLLECTION_PERIOD: Duration = Duration::from_secs(60 * 60);
/// Idle supervisors kept ready.
pub(crate) const IDLE_SUPERVISORS: usize = 3;
/// Containers recovered at once.
pub(crate) const RECOVERIES: usize = 16;
/// How long a killed container may take to end.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long an engine that ends waits for what it does.
pub(crate) const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// How long after a change that could not be written it is tried again.
pub(crate) const RECORD_RETRY: Duration = Duration::from_secs(15);
/// Bytes of one record.
pub(crate) const RECORD_BYTES: usize = 4 << 20;
/// Arguments, variables and labels of one container, in bytes together.
pub(crate) const SPEC_BYTES: usize = 1 << 20;
