//! Directories of logs in which something changes.
//!
//! The kernel gives a user 128 inotify descriptors by default, for all that run as that user: so all
//! followers share one, with a watch for each directory that somebody follows. A task reads it and
//! wakes those whom it concerns.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferry_sys::SysError;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch as flag;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::supervised::watch;

/// Watches directories for all who follow logs.
#[derive(Debug)]
pub(crate) struct Directories {
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Made for the first follower.
    inotify: Mutex<Option<Arc<Inotify>>>,
}

#[derive(Debug)]
struct Inotify {
    fd: AsyncFd<OwnedFd>,
    /// By the kernel's number of the watch, which it does not use again.
    watches: Mutex<HashMap<i32, Watch>>,
}

#[derive(Debug)]
struct Watch {
    changes: flag::Sender<()>,
    followers: usize,
}

/// A directory that is watched until this is dropped.
#[derive(Debug)]
pub(super) struct Watched {
    inotify: Arc<Inotify>,
    number: i32,
    changes: flag::Receiver<()>,
}

impl Directories {
    /// The task runs on `tasks` until `shutdown`.
    pub(crate) fn new(tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        Self { tasks, shutdown, inotify: Mutex::default() }
    }

    /// Begins to watch: what happens from here on is not missed.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn watch(&self, directory: &Path) -> Result<Watched, SysError> {
        let inotify = self.inotify()?;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        // Order: the number and its entry are one, also for a follower who leaves now.
        let mut watches = inotify.lock();
        let number = inotify::add_watch(inotify.fd.get_ref(), directory, flags)
            .map_err(|errno| SysError::at("inotify_add_watch", directory, errno))?;
        let new = || Watch { changes: flag::channel(()).0, followers: 0 };
        let watch = watches.entry(number).or_insert_with(new);
        watch.followers += 1;
        let changes = watch.changes.subscribe();
        drop(watches);
        Ok(Watched { inotify, number, changes })
    }

    /// How many are watched.
    #[cfg(test)]
    pub(super) fn watches(&self) -> usize {
        let known = self.inotify.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map_or(0, |inotify| inotify.lock().len())
    }

    fn inotify(&self) -> Result<Arc<Inotify>, SysError> {
        let mut known = self.inotify.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inotify) = &*known {
            return Ok(Arc::clone(inotify));
        }
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|errno| SysError::new("inotify_init", "", errno))?;
        let inotify = Arc::new(Inotify { fd: watch(fd)?, watches: Mutex::default() });
        *known = Some(Arc::clone(&inotify));
        let (shared, shutdown) = (Arc::clone(&inotify), self.shutdown.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = shared.run() => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok(inotify)
    }
}

impl Inotify {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self) {
        loop {
            let read = match self.fd.readable().await {
                Ok(mut ready) => {
                    let read = self.read();
                    ready.clear_ready();
                    read
                }
                Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            };
            if let Err(errno) = read {
                tracing::error!(%errno, "who follows a log is not told of its changes any more");
                return;
            }
        }
    }

    /// Takes all that the kernel tells, and tells those whom it concerns.
    fn read(&self) -> Result<(), Errno> {
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut events = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
        loop {
            let (number, flags) = match events.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            let watches = self.lock();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                // Some events were lost, of whatever directories.
                for watch in watches.values() {
                    watch.changes.send_replace(());
                }
            } else if let Some(watch) = watches.get(&number) {
                watch.changes.send_replace(());
            }
        }
    }
}

impl Watched {
    /// Waits for a change since the last time. Cancel safe.
    pub(super) async fn changed(&mut self) {
        // The other end is held by `inotify`.
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut watches = self.inotify.lock();
        let Some(watch) = watches.get_mut(&self.number) else { return };
        watch.followers -= 1;
        if watch.followers == 0 {
            watches.remove(&self.number);
            // A directory that was deleted is not watched any more.
            let removed = inotify::remove_watch(self.inotify.fd.get_ref(), self.number);
            tracing::trace!(?removed, "nobody follows the logs of a directory");
        }
    }
}
