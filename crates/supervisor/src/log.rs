//! The container's log, in Docker's `json-file` format, byte for byte.
//!
//! ```text
//! {"log":"a line\n","stream":"stdout","time":"2024-05-06T07:08:09.123456789Z"}
//! ```
//!
//! A line longer than 16 KiB takes several entries, of which only the last ends with a newline, all
//! with the time of the first. The file is `<path>`; when it is full it becomes `<path>.1`, which
//! becomes `<path>.2`, and so on.

pub use entry::{Entry, Stream, encode, parse};
pub use reader::{Batch, LogReader, ReadError, Selection};
pub use writer::LogWriter;

mod entry;
mod reader;
mod writer;

/// The longest text of one entry in bytes.
pub const MAX_TEXT: usize = 16 * 1024;
