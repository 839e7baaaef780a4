//! What can go wrong, in the sentences that Docker's users know.

use std::error::Error;

use crate::id::ContainerId;

/// The result of an engine operation.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// What callers branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing named does not exist.
    NotFound,
    /// What was asked makes no sense.
    Invalid,
    /// It makes sense, but not in the present state.
    Conflict,
    /// It is already so.
    NotModified,
    /// One must say who one is.
    Unauthorized,
    /// It is not allowed.
    Forbidden,
    /// Asked too often.
    TooMany,
    /// Something that is needed is missing or overloaded at present.
    Unavailable,
    /// It is not supported.
    NotImplemented,
    /// The rest.
    Internal,
}

/// An operation that failed.
///
/// `Display` is the sentence for the user; the chain of `source` is for the log.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No container has this id, prefix or name.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// Several containers have ids with this prefix.
    #[error("multiple IDs found with provided prefix: {0}")]
    AmbiguousPrefix(String),
    /// No exec has this id.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// No image has this name or id.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// No volume has this name.
    #[error("get {0}: no such volume")]
    NoSuchVolume(String),
    /// Another container has the name.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Who has it.
        id: ContainerId,
    },
    /// The container is not running.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The container is paused.
    #[error("Container {0} is paused, unpause the container before exec")]
    Paused(String),
    /// It is already so: 304 for start and stop.
    #[error("{0}")]
    NotModified(String),
    /// What was asked makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Not in the present state.
    #[error("{0}")]
    Conflict(String),
    /// Something named in the request is missing.
    #[error("{0}")]
    NotFound(String),
    /// One must say who one is, or what was said is not true.
    #[error("{0}")]
    Unauthorized(String),
    /// Not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// Asked too often.
    #[error("{0}")]
    TooMany(String),
    /// Not supported.
    #[error("{0}")]
    NotImplemented(String),
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
    /// The container's program could not be started.
    #[error("{message}")]
    Start {
        /// Docker's sentence.
        message: String,
        /// Recorded as the container's exit code: 126, 127 or 128.
        exit_code: i32,
    },
    /// Something beneath failed.
    #[error("{doing}")]
    Internal {
        /// What was being done, and to what; with the cause's words.
        doing: String,
        /// The cause.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl EngineError {
    /// What callers branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchContainer(_)
            | Self::NoSuchExec(_)
            | Self::NoSuchImage(_)
            | Self::NoSuchVolume(_)
            | Self::NotFound(_) => ErrorKind::NotFound,
            Self::AmbiguousPrefix(_) | Self::Invalid(_) => ErrorKind::Invalid,
            Self::NameInUse { .. } | Self::NotRunning(_) | Self::Paused(_) | Self::Conflict(_) => {
                ErrorKind::Conflict
            }
            Self::NotModified(_) => ErrorKind::NotModified,
            Self::Unauthorized(_) => ErrorKind::Unauthorized,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::TooMany(_) => ErrorKind::TooMany,
            Self::NotImplemented(_) => ErrorKind::NotImplemented,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            // Compat: dockerd answers 400 when the program was at fault, 500 for all else.
            Self::Start { exit_code: 126 | 127, .. } => ErrorKind::Invalid,
            Self::Start { .. } | Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// An internal error with its cause.
    ///
    /// The cause's own words are part of the sentence: Docker's users see them.
    pub fn internal(
        doing: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let mut doing = doing.into();
        let mut cause: Option<&(dyn Error + 'static)> = Some(&*source);
        while let Some(error) = cause {
            doing.push_str(": ");
            doing.push_str(&error.to_string());
            cause = error.source();
        }
        Self::Internal { doing, source: Some(source) }
    }

    /// An internal error without a cause beneath.
    pub fn broken(doing: impl Into<String>) -> Self {
        Self::Internal { doing: doing.into(), source: None }
    }

    /// Whether it is for want of space on the disk.
    pub(crate) fn is_no_space(&self) -> bool {
        let Self::Internal { source: Some(source), .. } = self else { return false };
        source
            .downcast_ref::<ferry_store::StoreError>()
            .is_some_and(|error| error.kind() == ferry_store::ErrorKind::Full)
    }

    /// A request that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// A request that makes no sense in the present state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict(message.into())
    }
}

/// Says what was being done when something beneath failed.
pub(crate) trait Doing<T> {
    /// Wraps the error as [`EngineError::Internal`].
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| EngineError::internal(doing(), error))
    }
}
