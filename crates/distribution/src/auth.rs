//! Who one is at a registry.

pub(crate) mod credentials;

use self::credentials::Secret;

/// A registry took the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginOutcome {
    /// A token to be kept in place of the password, of a registry that gives one.
    pub identity_token: Option<Secret>,
    /// Docker's words: `Login Succeeded`.
    pub status: String,
}
