//! What a container printed.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use ferry_api::{
    MULTIPLEXED_STREAM, RAW_STREAM,
    query::{ContainerLogsQuery, escape},
    stream::{StreamKind, header},
};
use ferry_engine::{
    LogsRequest,
    logs::{LogEntries, LogEntry, Stream as LogSource},
};
use futures_util::{FutureExt as _, Stream, stream};
use jiff::{Timestamp, tz::Offset};

use crate::{
    app::App,
    convert,
    http::{error::Failure, reply::Reply, service::Target},
    routes::stream::unless_closing,
};

/// How much is gathered before it is sent, as long as there is more.
const PIECE_BYTES: usize = 64 * 1024;

/// How entries are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// The container has a terminal: no frames.
    pub(super) tty: bool,
    /// Each entry begins with its time.
    pub(super) timestamps: bool,
    /// Each entry begins with its attributes.
    pub(super) details: bool,
}

pub(super) async fn logs(call: Target) -> Result<Reply, Failure> {
    let query = call.query(ContainerLogsQuery::from_query)?;
    let ContainerLogsQuery { follow, stdout, stderr, since, until, timestamps, details, tail } =
        query;
    if !(stdout || stderr) {
        return Err(Failure::invalid("Bad parameters: you must choose at least one stream"));
    }
    let snapshot = call.app.engine.inspect(call.name())?;
    let request = LogsRequest {
        stdout,
        stderr,
        follow,
        timestamps,
        since: time(since, "since")?,
        until: time(until, "until")?,
        // Compat: what is no number is all.
        tail: tail.and_then(|tail| tail.parse().ok()),
        details,
    };
    let form = Form { tty: snapshot.spec.streams.tty, timestamps, details };
    let entries = call.app.engine.logs(snapshot.id.as_str(), &request).await?;
    let content_type = if !form.tty && call.version.names_multiplexed_streams() {
        MULTIPLEXED_STREAM
    } else {
        RAW_STREAM
    };
    Ok(Reply::stream(content_type, pieces(Arc::clone(&call.app), entries, form)))
}

/// Reads a bound of the time; zero is none.
fn time(text: Option<String>, name: &str) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text.filter(|text| text != "0") else { return Ok(None) };
    convert::times::read(&text)
        .map(Some)
        .map_err(|error| Failure::invalid(format!("invalid value for {name:?}: {error}")))
}

/// The bytes that a client gets of a log.
pub(super) fn pieces(
    app: Arc<App>,
    entries: LogEntries,
    form: Form,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold((entries, app), move |(mut entries, app)| async move {
        let mut piece = BytesMut::new();
        let mut next = unless_closing(&app, entries.next()).await;
        while let Some(entry) = next {
            match entry {
                Ok(entry) => write(&entry, form, &mut piece),
                Err(error) => {
                    tracing::warn!(%error, "reading the log failed");
                    break;
                }
            }
            if piece.len() >= PIECE_BYTES {
                break;
            }
            next = entries.next().now_or_never().flatten();
        }
        (!piece.is_empty()).then(|| (piece.freeze(), (entries, app)))
    })
}

fn write(entry: &LogEntry, form: Form, piece: &mut BytesMut) {
    let mut prefix = String::new();
    if form.timestamps {
        // Compat: nine digits, always, unlike everywhere else.
        let time = entry.time.display_with_offset(Offset::UTC);
        let time = format!("{time:.9}");
        prefix.push_str(time.trim_end_matches("+00:00"));
        prefix.push_str("Z ");
    }
    if form.details {
        prefix.push_str(&attributes(entry.attributes.as_deref()));
        prefix.push(' ');
    }
    if !form.tty {
        let kind = match entry.stream {
            LogSource::Stdout => StreamKind::Stdout,
            LogSource::Stderr => StreamKind::Stderr,
        };
        let len = prefix.len() + entry.line.len();
        // An entry of a log is far shorter than a frame may be.
        piece.put_slice(&header(kind, u32::try_from(len).unwrap_or(u32::MAX)));
    }
    piece.put_slice(prefix.as_bytes());
    piece.put_slice(&entry.line);
}

/// Writes attributes as `a=b,c=d`.
fn attributes(json: Option<&str>) -> String {
    let attributes: BTreeMap<String, String> =
        json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let pairs =
        attributes.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    pairs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stream: LogSource, line: &[u8]) -> LogEntry {
        let time = Timestamp::new(1_795_259_568, 5_000_000).unwrap();
        let attributes = Some(r#"{"b":"x y","a":"1"}"#.to_owned());
        LogEntry { stream, time, line: line.to_vec(), attributes }
    }

    #[track_caller]
    fn check(form: Form, expect: &[u8]) {
        let mut piece = BytesMut::new();
        write(&entry(LogSource::Stderr, b"hi\n"), form, &mut piece);
        assert_eq!(piece.escape_ascii().to_string(), expect.escape_ascii().to_string());
    }

    #[test]
    fn entries_are_written_as_docker_writes_them() {
        let plain = Form { tty: false, timestamps: false, details: false };
        check(plain, b"\x02\0\0\0\0\0\0\x03hi\n");
        check(Form { tty: true, ..plain }, b"hi\n");
        check(
            Form { timestamps: true, ..plain },
            b"\x02\0\0\0\0\0\0\x222026-11-21T11:12:48.005000000Z hi\n",
        );
        check(Form { tty: true, details: true, ..plain }, b"a=1,b=x%20y hi\n");
    }
}
