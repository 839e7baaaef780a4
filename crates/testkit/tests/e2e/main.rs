//! The end-to-end suite: real engine, real supervisors, real kernel, through the clients' eyes.
//!
//! Each test has an engine of its own. `FERRY_E2E_HOST=unix://...` runs the behavioural ones
//! against another engine instead, one after the other: that is how a test is shown to ask for what
//! Docker does. `FERRY_E2E_CLIENT` chooses between `docker` and `ferry`. Sizes: `FERRY_E2E_BYTES`
//! (through `cat`), `FERRY_E2E_RUNS` (`run --rm` in a row), `FERRY_E2E_KILLS` (of an engine that is
//! busy with images; `FERRY_E2E_SEED` has the same moments again).
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abandoned;
mod artifacts;
mod bad_input;
mod bystanders;
mod commit;
mod copies;
mod crash_images;
mod credentials;
mod differential;
mod events;
mod exact;
mod exec;
mod exports;
mod farewells;
mod hostile;
mod images;
mod imagetools;
mod interop;
mod isolation;
mod leaks;
mod lifecycle;
mod limits;
mod listing;
mod logs;
mod manifests;
mod network;
mod proxies;
mod pull;
mod push;
mod registry_faults;
mod save;
mod scrub;
mod seccomp;
mod streams;
mod survival;
mod terminals;
mod tls;
mod tokens;
mod transfers;
mod volumes;
