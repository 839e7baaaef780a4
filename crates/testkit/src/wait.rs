//! Waiting with a deadline for what cannot be waited on directly.

use std::time::{Duration, Instant};

/// Polls `check` until it gives a value; panics with `what` when `deadline` has passed.
#[track_caller]
pub fn wait_until<T>(what: &str, deadline: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    match poll(deadline, &mut check) {
        Some(value) => value,
        None => panic!("{what}: not so within {deadline:?}"),
    }
}

/// Polls `check` until it gives a value or `deadline` has passed.
pub fn poll<T>(deadline: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = check() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        nap(pause);
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}

/// Lets time pass: for tests whose subject is time itself.
#[expect(clippy::disallowed_methods, reason = "the one place that polls; callers have deadlines")]
pub fn nap(duration: Duration) {
    std::thread::sleep(duration);
}
