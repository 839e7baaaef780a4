//! Messages of streams that report progress: load, import, pull, push, build.

use serde_json::Value;

use crate::go::wire;

wire! {
    /// One line of a progress stream.
    ProgressMessage {
        stream: String = "stream" omitempty,
        status: String = "status" omitempty,
        progress_detail: Option<ProgressDetail> = "progressDetail" omitempty,
        /// A bar drawn by the daemon.
        progress: String = "progress" omitempty,
        id: String = "id" omitempty,
        from: String = "from" omitempty,
        time: i64 = "time" omitempty,
        time_nano: i64 = "timeNano" omitempty,
        error_detail: Option<ErrorDetail> = "errorDetail" omitempty,
        error: String = "error" omitempty,
        aux: Option<Value> = "aux" omitempty,
    }

    /// How far it is.
    ProgressDetail {
        current: i64 = "current" omitempty,
        total: i64 = "total" omitempty,
        start: i64 = "start" omitempty,
        hide_counts: bool = "hidecounts" omitempty,
        units: String = "units" omitempty,
    }

    /// Why it ended.
    ErrorDetail {
        code: i64 = "code" omitempty,
        message: String = "message" omitempty,
    }
}

impl ProgressMessage {
    /// Makes a line that says `status`.
    pub fn status(status: impl Into<String>) -> Self {
        Self { status: status.into(), ..Self::default() }
    }

    /// Makes a line that is to be shown as it is.
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: text.into(), ..Self::default() }
    }

    /// Makes the line that ends a stream that failed.
    pub fn failure(message: impl Into<String>) -> Self {
        let message = message.into();
        let error_detail = Some(ErrorDetail { code: 0, message: message.clone() });
        Self { error_detail, error: message, ..Self::default() }
    }
}
