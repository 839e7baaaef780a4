//! Network namespaces: making one, and doing something in one.
//!
//! A thread that has changed its network namespace is of no use for anything else, so each of these
//! runs on a thread of its own, which ends with it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::error::{Context as _, SysError};

/// Makes a network namespace and runs `setup` in it; it lives as long as the descriptor.
///
/// # Errors
/// The call that failed.
///
/// # Panics
/// When `setup` does.
pub fn create<T: Send>(
    setup: impl FnOnce(BorrowedFd<'_>) -> T + Send,
) -> Result<(OwnedFd, T), SysError> {
    on_own_thread(|| {
        let unshared =
            // SAFETY: Only the descriptor table's separation is unsafe, and it is not asked for.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
        unshared.during("unshare", || "network namespace")?;
        let netns = current()?;
        let result = setup(netns.as_fd());
        Ok((netns, result))
    })
}

/// Runs `act` in a network namespace.
///
/// # Errors
/// The call that failed.
///
/// # Panics
/// When `act` does.
pub fn enter<T: Send>(
    netns: BorrowedFd<'_>,
    act: impl FnOnce() -> T + Send,
) -> Result<T, SysError> {
    on_own_thread(|| {
        rustix::thread::move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
            .during("setns", || "network namespace")?;
        Ok(act())
    })
}

/// Opens this thread's network namespace.
///
/// # Errors
/// What open says.
pub fn current() -> Result<OwnedFd, SysError> {
    let path = Path::new("/proc/thread-self/ns/net");
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::at("open", path, errno))
}

fn on_own_thread<T: Send>(act: impl FnOnce() -> Result<T, SysError> + Send) -> Result<T, SysError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, act)
            .map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                SysError::new("clone", "thread", errno)
            })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn identity(netns: BorrowedFd<'_>) -> u64 {
        rustix::fs::fstat(netns).unwrap().st_ino
    }

    #[test]
    fn a_new_namespace_is_another_and_this_thread_stays_where_it_is() {
        let before = identity(current().unwrap().as_fd());
        let (netns, inside) = create(identity).unwrap();
        assert_eq!(identity(netns.as_fd()), inside);
        assert_ne!(before, inside);
        assert_eq!(identity(current().unwrap().as_fd()), before);
    }

    #[test]
    fn entering_sees_the_interfaces_there_and_not_here() {
        let (netns, ()) = create(|_| ()).unwrap();
        let there = enter(netns.as_fd(), || fs::read_to_string("/proc/thread-self/net/dev"));
        let there = there.unwrap().unwrap();
        assert_eq!(there.lines().skip(2).filter(|l| !l.contains("lo:")).count(), 0, "{there}");
    }

    #[test]
    fn what_is_no_namespace_cannot_be_entered() {
        let file = fs::File::open("/proc/self/ns/uts").unwrap();
        assert!(file.as_raw_fd() > 2);
        assert_eq!(enter(file.as_fd(), || ()).unwrap_err().errno, Errno::INVAL);
    }
}
