//! Between the words of the API and those of the engine.
//!
//! What comes in is taken apart completely: a field that nobody has thought of does not compile.
//! All faults of a request are found, not the first only.

pub(crate) mod commit;
pub(crate) mod create;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod host;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod networks;
pub(crate) mod seccomp;
pub(crate) mod security;
pub(crate) mod shown;
pub(crate) mod summary;
pub(crate) mod times;
pub(crate) mod transfers;
pub(crate) mod volumes;

use http::StatusCode;

use crate::http::error::Failure;

/// The faults of a request, as they are found.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    invalid: Vec<String>,
    unsupported: Vec<String>,
}

impl Faults {
    /// Something makes no sense; Docker's words.
    pub(crate) fn invalid(&mut self, message: impl Into<String>) {
        self.invalid.push(message.into());
    }

    /// Something makes sense, but this engine cannot do it.
    pub(crate) fn unsupported(&mut self, what: &str) {
        self.unsupported.push(format!("ferry does not support {what} yet"));
    }

    /// Refuses `what` unless it `is_default`.
    pub(crate) fn only_default(&mut self, what: &str, is_default: bool) {
        if !is_default {
            self.unsupported(what);
        }
    }

    /// Takes a value, or notes why there is none.
    pub(crate) fn take<T>(&mut self, value: Result<T, String>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(message) => {
                self.invalid(message);
                None
            }
        }
    }

    /// Gives the value if there was no fault.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Failure> {
        let Self { mut invalid, unsupported } = self;
        let status = match (invalid.is_empty(), unsupported.is_empty()) {
            (true, true) => return Ok(value),
            (true, false) => StatusCode::NOT_IMPLEMENTED,
            (false, _) => StatusCode::BAD_REQUEST,
        };
        invalid.extend(unsupported);
        Err(Failure::new(status, invalid.join("; ")))
    }
}
