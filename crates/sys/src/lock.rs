//! Locks on whole files. `flock(2)`

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::error::SysError;

/// How often a taken lock is tried again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// Locks a file for this open description alone, trying for as long as `patience`.
///
/// A lock lives until the last copy of the descriptor is closed. A child that its killed holder had
/// forked, and that has not executed its program yet, has such a copy for a moment.
///
/// # Errors
/// `EWOULDBLOCK` when somebody else still has it then.
pub fn exclusive(file: impl AsFd, patience: Duration) -> Result<(), SysError> {
    let deadline = Instant::now() + patience;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                // There is no event for a lock that is let go, but to block without a deadline.
                // Waking early only means to try sooner.
                drop(rustix::thread::nanosleep(&PAUSE));
            }
            Err(errno) => return Err(SysError::new("flock", "", errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_in_time_is_taken() {
        let path = std::env::temp_dir().join(format!("ferry-lock-{}", std::process::id()));
        let first = std::fs::File::create(&path).unwrap();
        exclusive(&first, Duration::ZERO).unwrap();
        let second = std::fs::File::open(&path).unwrap();
        let refused = exclusive(&second, Duration::from_millis(20)).unwrap_err();
        assert_eq!(refused.errno, Errno::WOULDBLOCK);
        let waiting = std::thread::spawn(move || exclusive(&second, Duration::from_secs(20)));
        drop(first);
        std::fs::remove_file(path).unwrap();
        waiting.join().unwrap().unwrap();
    }
}
