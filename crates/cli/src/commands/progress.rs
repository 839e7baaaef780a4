//! The progress of pulls, loads and imports, line by line.

use ferry_api::ProgressMessage;
use ferry_client::JsonStream;

use crate::console;
use crate::report::Failure;

/// Where progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    Stdout,
    Stderr,
    None,
}

/// Shows messages until they end, or fails with the error that ends them.
pub(super) async fn show(
    mut messages: JsonStream<ProgressMessage>,
    sink: Sink,
) -> Result<(), Failure> {
    while let Some(message) = messages.next().await? {
        if let Some(error) = &message.error_detail {
            let code = if error.code == 0 { 1 } else { error.code };
            return Err(Failure::new(u8::try_from(code).unwrap_or(1), error.message.clone()));
        }
        if !message.error.is_empty() {
            return Err(Failure::plain(message.error));
        }
        let Some(text) = line(&message) else { continue };
        match sink {
            Sink::Stdout => console::print(&text)?,
            Sink::Stderr => console::complain(text.trim_end_matches('\n')),
            Sink::None => {}
        }
    }
    Ok(())
}

/// What is told of a message; the bars between beginning and end are for terminals.
fn line(message: &ProgressMessage) -> Option<String> {
    if !message.stream.is_empty() {
        return Some(message.stream.clone());
    }
    if !message.progress.is_empty() || message.status.is_empty() {
        return None;
    }
    let has_counts =
        message.progress_detail.as_ref().is_some_and(|it| it.current != 0 || it.total != 0);
    if has_counts {
        return None;
    }
    Some(if message.id.is_empty() {
        format!("{}\n", message.status)
    } else {
        format!("{}: {}\n", message.id, message.status)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_not_told_line_by_line() {
        let message = |json: &str| line(&serde_json::from_str(json).unwrap());
        assert_eq!(message(r#"{"status":"Pulling","id":"a"}"#).as_deref(), Some("a: Pulling\n"));
        assert_eq!(
            message(r#"{"stream":"Loaded image: a\n"}"#).as_deref(),
            Some("Loaded image: a\n")
        );
        assert_eq!(message(r#"{"status":"x","progressDetail":{"current":1,"total":2}}"#), None);
        assert_eq!(message(r#"{"aux":{}}"#), None);
    }
}
