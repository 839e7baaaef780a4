//! Files of variables and labels.

use std::path::Path;

/// The lines of the files, then `values`; a name alone takes its value from `lookup`, or is left
/// out when it has none there.
pub(crate) fn key_values(
    files: &[String],
    values: Vec<String>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read(Path::new(file)).map_err(|error| {
            let why = reason(&error);
            if error.kind() == std::io::ErrorKind::IsADirectory {
                return format!("invalid env file ({file}): read {file}: {why}");
            }
            format!("open {file}: {why}")
        })?;
        let lines =
            parse(&text, lookup).map_err(|error| format!("invalid env file ({file}): {error}"))?;
        all.extend(lines);
    }
    all.extend(values);
    Ok(all)
}

/// An error of the system in Go's words.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn parse(text: &[u8], lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut out = Vec::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_error| {
            let bytes: Vec<String> = line.iter().map(u8::to_string).collect();
            format!("invalid utf8 bytes at line {}: [{}]", at + 1, bytes.join(" "))
        })?;
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.contains([' ', '\t']) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if line.contains('=') {
            out.push(line.into());
        } else {
            out.extend(lookup(name).map(|value| format!("{name}={value}")));
        }
    }
    Ok(out)
}
