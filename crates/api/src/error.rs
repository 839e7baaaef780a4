//! The body of every refusal.

use crate::go::wire;

wire! {
    /// What every answer with a status of 400 and above carries.
    ErrorBody {
        message: String = "message",
    }
}

impl ErrorBody {
    /// Makes the body that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
