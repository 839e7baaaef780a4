//! Refusals: kind to status, message to Docker's body.

use std::error::Error;

use ferry_api::{ErrorBody, query::InvalidParameter};
use ferry_engine::{EngineError, ErrorKind};
use http::{Response, StatusCode, header};

use crate::http::body::{self, Body};

/// A request that is refused, or failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// For the log, not for the client.
    pub(crate) cause: Option<Box<dyn Error + Send + Sync>>,
    /// Compat: one refusal of Docker is plain text.
    is_text: bool,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), cause: None, is_text: false }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(crate) fn text(status: StatusCode, message: impl Into<String>) -> Self {
        Self { is_text: true, ..Self::new(status, message) }
    }

    /// Docker has no route for it. Such an answer bears none of the common headers.
    pub(crate) fn page_not_found() -> Self {
        Self::not_found("page not found")
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let Self { status, message, cause: _, is_text } = self;
        if status == StatusCode::NOT_MODIFIED {
            let mut response = Response::new(body::empty());
            *response.status_mut() = status;
            return response;
        }
        let (content_type, bytes) = if is_text {
            ("text/plain; charset=utf-8", message.into_bytes())
        } else {
            let mut bytes = serde_json::to_vec(&ErrorBody { message }).unwrap_or_default();
            ("application/json", {
                bytes.push(b'\n');
                bytes
            })
        };
        let is_text = content_type.starts_with("text/");
        let mut response = Response::new(body::full(bytes));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
        if is_text {
            headers
                .insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
        }
        response
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let status = match error.kind() {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
            ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { cause: Some(Box::new(error)), message: String::new(), ..Self::new(status, "") }
            .with_message_of_cause()
    }
}

impl Failure {
    fn with_message_of_cause(mut self) -> Self {
        if let Some(cause) = &self.cause {
            self.message = cause.to_string();
        }
        self
    }
}

impl From<ferry_store::StoreError> for Failure {
    fn from(error: ferry_store::StoreError) -> Self {
        use ferry_store::ErrorKind as Kind;

        let status = match error.kind() {
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Full | Kind::Internal | Kind::Cancelled => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut message = error.to_string();
        let mut cause = Error::source(&error);
        while let Some(error) = cause {
            let words = error.to_string();
            // A cause that is already part of the sentence above it is not said twice.
            if !message.ends_with(&words) {
                message = format!("{message}: {words}");
            }
            cause = error.source();
        }
        Self { cause: Some(Box::new(error)), ..Self::new(status, message) }
    }
}

// Compat: Docker answers 500, not 400, to a parameter that is no number.
impl From<InvalidParameter> for Failure {
    fn from(error: InvalidParameter) -> Self {
        let is_filter = error.message.starts_with("invalid filter");
        if is_filter { Self::invalid(error.message) } else { Self::internal(error.message) }
    }
}

impl From<ferry_api::filters::RefusedFilter> for Failure {
    fn from(error: ferry_api::filters::RefusedFilter) -> Self {
        Self::invalid(error.to_string())
    }
}
