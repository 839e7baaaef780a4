//! The keys that detach a client from a terminal.

use crate::error::{EngineError, Result};

/// `ctrl-p,ctrl-q`.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// The bytes of keys written as `ctrl-p,ctrl-q`, `a,b`; `None` and empty are the default.
///
/// # Errors
/// `Invalid` for a key that there is not.
pub(crate) fn parse(text: Option<&str>) -> Result<Vec<u8>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(DEFAULT.to_vec()) };
    text.split(',')
        .map(|key| {
            let unknown = || {
                EngineError::Invalid(format!(
                    "Invalid detach keys ({text}) provided: Unknown \
                     character: '{key}'"
                ))
            };
            match (key.as_bytes(), key.strip_prefix("ctrl-").map(str::as_bytes)) {
                ([byte], _) => Ok(*byte),
                (_, Some([byte @ b'a'..=b'z'])) => Ok(byte - b'a' + 1),
                (_, Some(b"@")) => Ok(0),
                (_, Some(b"[")) => Ok(27),
                (_, Some(b"\\")) => Ok(28),
                (_, Some(b"]")) => Ok(29),
                (_, Some(b"^")) => Ok(30),
                (_, Some(b"_")) => Ok(31),
                _ => match key {
                    "DEL" => Ok(127),
                    _ => Err(unknown()),
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn keys_are_read_as_docker_writes_them() {
        assert_eq!(parse(None).unwrap(), [16, 17]);
        assert_eq!(parse(Some("")).unwrap(), [16, 17]);
        assert_eq!(parse(Some("ctrl-a,b")).unwrap(), [1, b'b']);
        assert_eq!(parse(Some("ctrl-@,ctrl-[,ctrl-_,DEL")).unwrap(), [0, 27, 31, 127]);
        for bad in ["ctrl-A", "ab", "ctrl-", ","] {
            assert!(parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
