//! What becomes of the output: the options of logs, read.

use super::LogConfig;

impl LogConfig {
    /// What is wrong with the values of the options, in Docker's words. Compat: dockerd finds out at
    /// the start.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if let Some(size) = self.options.get("max-size").filter(|size| parse_size(size).is_none()) {
            return Some(format!("invalid size: '{size}'"));
        }
        let files = self.options.get("max-file")?;
        match files.parse::<u32>() {
            Ok(0) => Some("max-file cannot be less than 1".to_owned()),
            Ok(_) => None,
            Err(_) => Some(format!("strconv.Atoi: parsing \"{files}\": invalid syntax")),
        }
    }

    /// The size at which a log file is full, and how many are kept.
    ///
    /// Unlike Docker's, logs are bounded unless `max-size` is `-1`.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        let max_size = self.options.get("max-size").map(String::as_str);
        let max_files = self.options.get("max-file").and_then(|text| text.parse().ok());
        match max_size {
            // Compat: with `max-size` alone Docker keeps one file.
            Some("-1") => Rotation { max_size: None, max_files: 1 },
            Some(size) => {
                Rotation { max_size: parse_size(size), max_files: max_files.unwrap_or(1) }
            }
            None => Rotation {
                max_size: Some(Rotation::DEFAULT_SIZE),
                max_files: max_files.unwrap_or(Rotation::DEFAULT_FILES),
            },
        }
    }
}

/// How log files are kept small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes at which a file is full; `None` is never.
    pub max_size: Option<u64>,
    /// How many files are kept, the current one among them.
    pub max_files: u32,
}

impl Rotation {
    /// 20 MiB.
    pub const DEFAULT_SIZE: u64 = 20 << 20;
    /// Five.
    pub const DEFAULT_FILES: u32 = 5;
}

/// `10m` and the like; `-1` is unlimited and reads as 0.
fn parse_size(text: &str) -> Option<u64> {
    if text == "-1" {
        return Some(0);
    }
    let lower = text.to_ascii_lowercase();
    let lower = lower.trim_end_matches('b').trim_end_matches('i');
    let (digits, shift) = match lower.chars().last()? {
        'k' => (lower.trim_end_matches('k'), 10),
        'm' => (lower.trim_end_matches('m'), 20),
        'g' => (lower.trim_end_matches('g'), 30),
        't' => (lower.trim_end_matches('t'), 40),
        _ => (lower, 0),
    };
    let number: u64 = digits.trim().parse().ok()?;
    number.checked_shl(shift).filter(|bytes| bytes >> shift == number && *bytes > 0)
}
