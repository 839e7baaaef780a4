//! Signals by name and number, as Docker's users write them.

/// The last real-time signal.
const RTMAX: i32 = 64;
/// The first real-time signal that the C library leaves to programs, as Docker counts.
const RTMIN: i32 = 34;

const NAMES: [(&str, i32); 37] = [
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("UNUSED", 31),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("RTMIN", RTMIN),
    ("RTMAX", RTMAX),
];

/// KILL.
pub(crate) const KILL: i32 = 9;

/// The number of a signal written as `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`.
#[must_use]
pub(crate) fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let number = match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
        (Some(offset), _) => RTMIN.checked_add(offset.parse::<u8>().ok()?.into())?,
        (_, Some(offset)) => RTMAX.checked_sub(offset.parse::<u8>().ok()?.into())?,
        (None, None) => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for text in ["9", "KILL", "SIGKILL", "sigkill", "Kill"] {
            assert_eq!(parse(text), Some(9), "{text}");
        }
        assert_eq!(parse("SIGRTMIN+3"), Some(37));
        assert_eq!(parse("RTMAX-14"), Some(50));
        for text in ["", "0", "65", "-1", "FOO", "SIG", "SIGSIGKILL", "RTMIN+31", "RTMIN+-1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
