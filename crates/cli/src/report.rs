//! How a command ends: the words for the user and the exit code.

use ferry_client::ClientError;

/// The end of a command that did not do what it was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub code: u8,
    /// What stderr says; nothing if it was said already.
    pub message: String,
}

impl Failure {
    /// A failure with its exit code and its words.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The usual failure: exit code 1.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self::new(1, message)
    }

    /// The version that the engine wants spoken, if that is what it refused for.
    pub(crate) fn wanted_version(&self) -> Option<&str> {
        let (_, version) =
            self.message.split_once("is too new. Maximum supported API version is ")?;
        version.split_whitespace().next()
    }

    /// An exit code alone.
    pub(crate) fn silent(code: u8) -> Self {
        Self::new(code, "")
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::plain(words(&error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // What a shell shows for a program that a closed pipe ended.
            return Self::silent(141);
        }
        Self::plain(error.to_string())
    }
}

/// What Docker's client says about an error of the exchange with the engine.
pub(crate) fn words(error: &ClientError) -> String {
    match error {
        ClientError::Refused { message, .. } => format!("Error response from daemon: {message}"),
        ClientError::Connect { address, source }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            format!(
                "permission denied while trying to connect to the Docker daemon socket at {address}"
            )
        }
        ClientError::Connect { address, .. } => {
            format!(
                "Cannot connect to the Docker daemon at {address}. Is the docker daemon running?"
            )
        }
        error => {
            let mut words = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                words.push_str(&format!(": {error}"));
                cause = error.source();
            }
            words
        }
    }
}
