//! Where errors go: standard error, and the file that the caller (containerd, podman) reads.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use crate::time;

/// The file of `--log` and its form.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The file.
    pub(crate) path: Option<PathBuf>,
    /// Whether it has a JSON object per line.
    pub(crate) json: bool,
}

impl Log {
    /// Tells an error.
    pub(crate) fn error(&self, message: &str) {
        if let Some(path) = &self.path
            && let Err(error) = self.append(path, message)
        {
            complain(&format!("{}: {error}", path.display()));
        }
        complain(message);
    }

    fn append(&self, path: &PathBuf, message: &str) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let time = time::now();
        if self.json {
            let line = serde_json::json!({ "level": "error", "msg": message, "time": time });
            writeln!(file, "{line}")
        } else {
            writeln!(file, "time={time:?} level=error msg={message:?}")
        }
    }
}

/// Says something on standard error; that nobody reads it is no matter.
fn complain(message: &str) {
    match writeln!(std::io::stderr(), "{message}") {
        Ok(()) | Err(_) => {}
    }
}
