//! A folder for tests of programs that need no engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Client, Invocation, observe};

/// A folder of one's own in the system's temporary one, removed when it is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    ///
    /// # Panics
    /// When the system has no place for it.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ferry-folder-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("home")).expect("making a folder");
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it, as text.
    #[must_use]
    pub fn at(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    /// Everything beneath a folder in it; nothing when it is not there.
    #[must_use]
    pub fn files(&self, name: &str) -> Vec<PathBuf> {
        observe::files(&self.0.join(name))
    }

    /// A client's invocation whose home is `home` in this folder, and who finds no engine.
    #[track_caller]
    pub fn client<S: AsRef<str>>(&self, client: Client, arguments: &[S]) -> Invocation {
        let Some(program) = client.program() else { panic!("{client:?} is not installed") };
        Invocation::new(program)
            .env("HOME", self.at("home"))
            .env("DOCKER_HOST", format!("unix://{}", self.at("no.sock")))
            .env("DOCKER_CLI_HINTS", "false")
            .env("TMPDIR", self.at("home"))
            .directory(self.path())
            .args(arguments.iter().map(AsRef::as_ref))
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
