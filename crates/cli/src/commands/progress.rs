//! The progress of pulls, loads and imports.
//!
//! On a terminal each thing that is worked on has a line that is written again and again;
//! elsewhere there is one line for each state, without bars.

use ferry_api::ProgressMessage;
use ferry_api::progress::ProgressDetail;
use ferry_client::JsonStream;

use crate::format::units::human_size;
use crate::report::Failure;
use crate::{console, terminal};

/// Terminals that are wider show a bar beside the numbers.
const BAR_WIDTH: u16 = 110;

/// Where progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    Stdout,
    Stderr,
    None,
}

/// Shows messages until they end, or fails with the error that ends them.
pub(super) async fn show(messages: JsonStream<ProgressMessage>, sink: Sink) -> Result<(), Failure> {
    show_with(messages, sink, &mut |_aux| {}).await
}

/// Shows messages likewise; what is for programs is handed on instead of shown.
pub(super) async fn show_with(
    mut messages: JsonStream<ProgressMessage>,
    sink: Sink,
    on_aux: &mut dyn FnMut(&serde_json::Value),
) -> Result<(), Failure> {
    let width = match sink {
        Sink::Stdout => terminal::columns(std::io::stdout()),
        Sink::Stderr => terminal::columns(std::io::stderr()),
        Sink::None => None,
    };
    let mut display = Display::new(width);
    while let Some(message) = messages.next().await? {
        if let Some(error) = &message.error_detail {
            let code = if error.code == 0 { 1 } else { error.code };
            return Err(Failure::new(u8::try_from(code).unwrap_or(1), error.message.clone()));
        }
        if !message.error.is_empty() {
            return Err(Failure::plain(message.error));
        }
        if let Some(aux) = &message.aux {
            on_aux(aux);
            continue;
        }
        let text = display.show(&message);
        match sink {
            Sink::Stdout => console::print(&text)?,
            Sink::Stderr => console::talk(&text),
            Sink::None => {}
        }
    }
    Ok(())
}

/// What is on the terminal.
#[derive(Debug)]
pub(super) struct Display {
    /// The terminal's columns; `None` if it is no terminal.
    width: Option<u16>,
    /// The ids that have a line, from the top.
    lines: Vec<String>,
}

impl Display {
    /// A display of so many columns; `None` if it is no terminal.
    pub(super) fn new(width: Option<u16>) -> Self {
        Self { width, lines: Vec::new() }
    }

    /// The text that shows a message.
    pub(super) fn show(&mut self, message: &ProgressMessage) -> String {
        let detail = message.progress_detail.as_ref();
        let has_progress = detail.is_some() || !message.progress.is_empty();
        let Some(width) = self.width else { return plain(message) };
        let mut out = String::new();
        let mut up = 0;
        if !message.id.is_empty() && has_progress {
            let line = self.lines.iter().position(|id| *id == message.id);
            let line = line.unwrap_or_else(|| {
                self.lines.push(message.id.clone());
                out.push('\n');
                self.lines.len() - 1
            });
            up = self.lines.len() - line;
            out.push_str(&format!("\x1b[{up}A"));
        } else {
            // What is not progress ends the lines that can be written again.
            self.lines.clear();
        }
        let is_line = message.stream.is_empty() && detail.is_some();
        if is_line {
            out.push_str("\x1b[2K\r");
        }
        if !message.id.is_empty() {
            out.push_str(&format!("{}: ", message.id));
        }
        match detail {
            Some(detail) => {
                let end = if is_line { "\r" } else { "" };
                out.push_str(&format!("{} {}{end}", message.status, bar(detail, width)));
            }
            None if !message.progress.is_empty() => {
                out.push_str(&format!("{} {}", message.status, message.progress));
            }
            None if !message.stream.is_empty() => out.push_str(&message.stream),
            None => out.push_str(&format!("{}\n", message.status)),
        }
        if up > 0 {
            out.push_str(&format!("\x1b[{up}B"));
        }
        out
    }
}

/// What is told of a message where there is no terminal; bars are not.
fn plain(message: &ProgressMessage) -> String {
    let counts = message.progress_detail.as_ref().map(|detail| bar(detail, 0)).unwrap_or_default();
    if !message.stream.is_empty() {
        return message.stream.clone();
    }
    if !counts.is_empty() || !message.progress.is_empty() || message.status.is_empty() {
        return String::new();
    }
    if message.id.is_empty() {
        format!("{}\n", message.status)
    } else {
        format!("{}: {}\n", message.id, message.status)
    }
}

/// `[====>    ]  1.2MB/3MB`
fn bar(detail: &ProgressDetail, width: u16) -> String {
    const LENGTH: i64 = 50;
    let (current, total) = (detail.current, detail.total);
    if current <= 0 && total <= 0 {
        return String::new();
    }
    let count = |number: i64| match detail.units.as_str() {
        "" => human_size(number, 4),
        _ => number.to_string(),
    };
    let unit = if detail.units.is_empty() { String::new() } else { format!(" {}", detail.units) };
    if total <= 0 {
        return format!("{:>8}{unit}", count(current));
    }
    let mut out = String::new();
    if width > BAR_WIDTH {
        let done = current.saturating_mul(100) / total / 2;
        let done = usize::try_from(done.clamp(0, LENGTH)).unwrap_or(0);
        let left = usize::try_from(LENGTH).unwrap_or(0) - done;
        out.push_str(&format!("[{}>{}] ", "=".repeat(done), " ".repeat(left)));
    }
    if !detail.hide_counts {
        out.push_str(&format!("{:>8}", count(current)));
        if current <= total {
            out.push_str(&format!("/{}{unit}", count(total)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(width: Option<u16>, messages: &[&str]) -> String {
        let mut display = Display::new(width);
        messages.iter().map(|json| display.show(&serde_json::from_str(json).unwrap())).collect()
    }

    const PULL: [&str; 4] = [
        r#"{"status":"Pulling from x","id":"latest"}"#,
        r#"{"status":"Pulling fs layer","id":"a","progressDetail":{}}"#,
        r#"{"status":"Downloading","id":"b","progressDetail":{"current":500,"total":1000}}"#,
        r#"{"status":"Pull complete","id":"a","progressDetail":{}}"#,
    ];

    #[test]
    fn bars_are_not_told_line_by_line() {
        assert_eq!(
            show(None, &PULL),
            "latest: Pulling from x\na: Pulling fs layer\na: Pull complete\n"
        );
        assert_eq!(show(None, &[r#"{"stream":"Loaded image: a\n"}"#]), "Loaded image: a\n");
    }

    #[test]
    fn a_terminal_has_a_line_for_each_thing() {
        assert_eq!(
            show(Some(80), &PULL),
            "latest: Pulling from x\n\
             \n\x1b[1A\x1b[2K\ra: Pulling fs layer \r\x1b[1B\
             \n\x1b[1A\x1b[2K\rb: Downloading     500B/1kB\r\x1b[1B\
             \x1b[2A\x1b[2K\ra: Pull complete \r\x1b[2B"
        );
    }

    #[test]
    fn wide_terminals_have_bars() {
        let detail = ProgressDetail { current: 500, total: 1000, ..ProgressDetail::default() };
        let expect = format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(25));
        assert_eq!(bar(&detail, 120), expect);
        let unknown = ProgressDetail { current: 1_500_000, ..ProgressDetail::default() };
        assert_eq!(bar(&unknown, 120), "   1.5MB");
    }
}
