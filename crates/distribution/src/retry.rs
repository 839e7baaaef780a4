//! What comes after a failure: the same again, another endpoint, or the end.

use std::time::Duration;

use crate::config::RegistryConfig;
use crate::endpoint::Endpoint;
use crate::error::DistributionError;
use crate::events::RetryHook;
use crate::limits;

/// How often nobody's being there is borne: long enough for a registry to start anew, and not so
/// long that one who mistyped its name grows impatient.
const CONNECT_ATTEMPTS: u32 = 3;

/// What failures at an endpoint lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// How often a request is made at most; at least 1.
    pub(crate) attempts: u32,
    /// Whether the endpoint only stands for another.
    pub(crate) is_mirror: bool,
    /// Whether endpoints are left that have not been asked.
    pub(crate) has_others: bool,
}

impl Policy {
    pub(crate) fn of(config: &RegistryConfig, endpoint: &Endpoint, has_others: bool) -> Self {
        Self { attempts: config.attempts.max(1), is_mirror: endpoint.is_mirror, has_others }
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same again, after this time.
    Retry(Duration),
    /// The endpoint after this.
    OtherEndpoint,
    /// Nothing.
    Fail,
}

/// What comes after the failure of an attempt, which are counted from 1. `random` is between 0
/// and 1.
pub(crate) fn next(error: &DistributionError, attempt: u32, policy: &Policy, random: f64) -> Next {
    let elsewhere = elsewhere(error, policy);
    let attempts = match error {
        // Whoever is not there is not waited for when another may be.
        DistributionError::Connect { .. } if elsewhere => 1,
        DistributionError::Connect { .. } => policy.attempts.min(CONNECT_ATTEMPTS),
        // A mirror that is out of order costs nothing but another question.
        DistributionError::Refused { .. } | DistributionError::RateLimited { .. } if elsewhere => 1,
        _ => policy.attempts,
    };
    if error.is_retryable() && attempt < attempts {
        return Next::Retry(wait(error, attempt, random));
    }
    if elsewhere { Next::OtherEndpoint } else { Next::Fail }
}

/// Whether the next endpoint is to be asked after this one has finally failed.
pub(crate) fn elsewhere(error: &DistributionError, policy: &Policy) -> bool {
    use DistributionError as Error;
    let is_worth_it = match error {
        // Nothing that another endpoint could do better.
        Error::Source { .. } | Error::Config(_) => false,
        // Nobody has been spoken with, or it gave what it should not.
        Error::Connect { .. }
        | Error::Tls { .. }
        | Error::Stalled { .. }
        | Error::Cut { .. }
        | Error::Digest { .. }
        | Error::Size { .. } => true,
        // The word of the registry itself counts, that of a mirror does not.
        _ => policy.is_mirror,
    };
    policy.has_others && is_worth_it
}

/// What the registry asks for, or twice as long with each attempt, by chance a quarter more or
/// less, so that many who failed together do not come again together.
fn wait(error: &DistributionError, attempt: u32, random: f64) -> Duration {
    if let DistributionError::RateLimited { retry_after: Some(after), .. } = error {
        return *after;
    }
    let shift = attempt.saturating_sub(1);
    let doubled = limits::BACKOFF.saturating_mul(1_u32.checked_shl(shift).unwrap_or(u32::MAX));
    doubled.min(limits::MAX_BACKOFF).mul_f64(0.75 + random.clamp(0.0, 1.0) / 2.0)
}

/// Makes attempts, which are counted from 1, until one succeeds or [`next`] says otherwise; tells
/// `on_retry` of each wait. The last failure is given back; [`elsewhere`] says what of it.
///
/// # Errors
/// That of the last attempt.
pub(crate) async fn with_retry<T, F>(
    policy: &Policy,
    on_retry: Option<&RetryHook>,
    mut attempt: impl FnMut(u32) -> F,
) -> Result<T, DistributionError>
where
    F: Future<Output = Result<T, DistributionError>>,
{
    let mut count = 1;
    loop {
        let error = match attempt(count).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Next::Retry(wait) = next(&error, count, policy, random()) else { return Err(error) };
        tracing::debug!(%error, ?wait, attempt = count, "a request is made again");
        pause(wait, |left| {
            if let Some(tell) = on_retry {
                tell(left);
            }
        })
        .await;
        count += 1;
    }
}

/// Waits, and tells each second how long the rest is.
pub(crate) async fn pause(wait: Duration, mut tell: impl FnMut(Duration)) {
    for left in countdown(wait) {
        tell(left);
        tokio::time::sleep(left.min(SECOND)).await;
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// What is left of a wait at its beginning and after each second of it.
fn countdown(wait: Duration) -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(wait), |left| left.checked_sub(SECOND).filter(|l| !l.is_zero()))
}

/// A number between 0 and 1; the middle when the system has none to give.
pub(crate) fn random() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use ferry_oci::digest::Digest;

    use super::*;
    use crate::error::Answer;

    const LAST: Policy = Policy { attempts: 5, is_mirror: false, has_others: false };
    const FIRST: Policy = Policy { has_others: true, ..LAST };
    const MIRROR: Policy = Policy { is_mirror: true, ..FIRST };

    fn refused(status: u16) -> DistributionError {
        let answer = Answer { status, code: "X".into(), message: String::new() };
        DistributionError::Refused { request: "Get".into(), answer }
    }

    fn limited(seconds: Option<u64>) -> DistributionError {
        let answer = Answer { status: 429, code: "TOOMANYREQUESTS".into(), message: String::new() };
        let retry_after = seconds.map(Duration::from_secs);
        DistributionError::RateLimited { retry_after, answer, may_log_in: false }
    }

    fn connect() -> DistributionError {
        DistributionError::Connect { request: "Get".into(), source: "refused".into() }
    }

    fn cut() -> DistributionError {
        DistributionError::Cut { request: "Get".into(), source: "EOF".into() }
    }

    /// What follows the first attempt at the last endpoint, at the first of two, at a mirror.
    #[track_caller]
    fn check(error: &DistributionError, expect: [Next; 3]) {
        let found = [LAST, FIRST, MIRROR].map(|policy| next(error, 1, &policy, 0.5));
        assert_eq!(found, expect, "{error:?}");
    }

    #[test]
    fn each_failure_has_its_consequence() {
        let again = Next::Retry(limits::BACKOFF);
        let (other, fail) = (Next::OtherEndpoint, Next::Fail);
        check(&connect(), [again, other, other]);
        check(&cut(), [again, again, again]);
        check(&refused(503), [again, again, other]);
        check(&refused(404), [fail, fail, other]);
        check(&limited(None), [again, again, other]);
        check(
            &limited(Some(7)),
            [7, 7, 0].map(|seconds| {
                if seconds == 0 { other } else { Next::Retry(Duration::from_secs(seconds)) }
            }),
        );
        check(&limited(Some(61)), [fail, fail, other]);
        let tls = DistributionError::Tls { request: "Get".into(), source: "x509".into() };
        check(&tls, [fail, other, other]);
        let digest = DistributionError::Digest {
            what: "manifest",
            expected: Digest::sha256_of(b"a"),
            actual: Digest::sha256_of(b"b"),
        };
        check(&digest, [fail, other, other]);
        let source = DistributionError::Source { source: std::io::ErrorKind::NotFound.into() };
        check(&source, [fail, fail, fail]);
    }

    #[test]
    fn patience_has_an_end() {
        assert_eq!(next(&cut(), 5, &LAST, 0.5), Next::Fail);
        assert_eq!(next(&cut(), 5, &FIRST, 0.5), Next::OtherEndpoint);
        assert_eq!(next(&connect(), CONNECT_ATTEMPTS, &LAST, 0.5), Next::Fail);
        let once = Policy { attempts: 1, ..LAST };
        assert_eq!(next(&cut(), 1, &once, 0.5), Next::Fail);
    }

    #[test]
    fn waits_grow_to_a_limit() {
        let millis = |attempt, random| wait(&cut(), attempt, random).as_millis();
        assert_eq!(
            [1, 2, 3, 7, 40].map(|attempt| millis(attempt, 0.5)),
            [500, 1000, 2000, 30_000, 30_000]
        );
        assert_eq!((millis(1, 0.0), millis(1, 1.0)), (375, 625));
        assert!((0.0..=1.0).contains(&random()));
    }

    #[test]
    fn a_wait_is_counted_down() {
        for (wait, expect) in
            [(2300, &[2300, 1300, 300][..]), (2000, &[2000, 1000]), (400, &[400]), (0, &[0])]
        {
            let told = countdown(Duration::from_millis(wait)).map(|left| left.as_millis());
            assert_eq!(told.collect::<Vec<_>>(), expect);
        }
    }

    #[tokio::test]
    async fn attempts_are_made_until_one_succeeds() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hook: RetryHook = {
            let told = told.clone();
            Arc::new(move |wait| told.lock().unwrap().push(wait))
        };
        let result = with_retry(&LAST, Some(&hook), |count| async move {
            if count < 3 { Err(limited(Some(0))) } else { Ok(count) }
        });
        assert_eq!(result.await.unwrap(), 3);
        assert_eq!(*told.lock().unwrap(), [Duration::ZERO; 2]);
        let result = with_retry(&LAST, None, |_| async { Err::<(), _>(refused(404)) }).await;
        assert!(matches!(result, Err(DistributionError::Refused { .. })), "{result:?}");
    }
}
