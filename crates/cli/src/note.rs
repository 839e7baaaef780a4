//! Notes beside the data, as Docker's client sets them.

/// A note; `is_colored` on a terminal.
pub(crate) fn note(text: &str, is_colored: bool) -> String {
    let mut out = String::from("\n");
    for (at, line) in text.split('\n').enumerate() {
        match (at, is_colored) {
            (0, true) => {
                out.push_str(
                    "\x1b[1m\x1b[106m\x1b[30mi\x1b[0m\x1b[0m \x1b[96mInfo → \x1b[0m\x1b[0m",
                );
            }
            (0, false) => out.push_str(" Info -> "),
            _ => out.push_str("         "),
        }
        if is_colored {
            out.push_str(&format!("\x1b[3m{line}\x1b[0m\n"));
        } else {
            out.push_str(&format!("{line}\n"));
        }
    }
    out
}

/// Whether what goes to a stream may be coloured: to a terminal, unless the user wants none.
pub(crate) fn is_colored(stream: impl std::os::fd::AsFd) -> bool {
    rustix::termios::isatty(stream)
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::note;

    #[test]
    fn lines_stand_beneath_each_other() {
        assert_eq!(note("one\ntwo\n", false), "\n Info -> one\n         two\n         \n");
        assert_eq!(
            note("one", true),
            "\n\x1b[1m\x1b[106m\x1b[30mi\x1b[0m\x1b[0m \x1b[96mInfo → \x1b[0m\x1b[0m\x1b[3mone\x1b[0m\n"
        );
    }
}
