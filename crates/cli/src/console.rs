//! Standard output and standard error.

use std::io::{self, Write as _};

use crate::report::Failure;

/// Writes data for the user's programs.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line of data.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes to standard error as it is, for progress.
pub(crate) fn talk(text: &str) {
    let mut stream = io::stderr().lock();
    drop(stream.write_all(text.as_bytes()).and_then(|()| stream.flush()));
}

/// Says something to the user; nothing can be done when that fails. What others have said stands in
/// it, registries for one: it must not command the terminal.
pub(crate) fn complain(text: &str) {
    if !text.is_empty() {
        drop(writeln!(io::stderr().lock(), "{}", harmless(text)));
    }
}

/// Shows characters that command terminals instead of obeying them.
pub(crate) fn harmless(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => shown.push(letter),
            _ if letter.is_control() => shown.extend(letter.escape_default()),
            _ => shown.push(letter),
        }
    }
    shown
}

/// What others say, in one cell of a table.
pub(crate) fn cell(text: &str) -> String {
    harmless(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// JSON that commands no terminal: its texts may have characters that JSON itself lets stand.
pub(crate) fn harmless_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => shown.push(letter),
            _ if letter.is_control() => shown.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_do_not_command_the_terminal() {
        for (text, expect) in [
            ("denied: \x1b]0;owned\x07", "denied: \\u{1b}]0;owned\\u{7}"),
            ("a\r\nb\tc\n", "a\nb\tc\n"),
            ("a\rb\u{9b}1m", "a\\rb\\u{9b}1m"),
            ("größer 🐳", "größer 🐳"),
        ] {
            assert_eq!(harmless(text), expect);
        }
        assert_eq!(cell("a\tb\n\x07"), "a\\tb\\n\\u{7}");
    }

    #[test]
    fn json_stays_json() {
        let text = "{\n \"a\": \"\u{9b}31m\u{7f}\"\n}";
        let shown = harmless_json(text);
        assert!(!shown.contains(['\u{9b}', '\u{7f}']), "{shown}");
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(json(&shown), json(text));
    }
}
