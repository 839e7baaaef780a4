//! One daemon per data root and per exec root.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

/// How long to wait for what a killed daemon's children still hold of its lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The right to work on a data root and an exec root; it goes with the process.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Held, not read.
    _locks: [File; 2],
    pidfile: PathBuf,
}

impl Instance {
    /// Takes the locks, and writes the process id.
    pub(crate) fn acquire(
        data_root: &Path,
        exec_root: &Path,
        pidfile: &Path,
    ) -> anyhow::Result<Self> {
        let locks = [lock(data_root)?, lock(exec_root)?];
        let pidfile = if pidfile.as_os_str().is_empty() {
            exec_root.join("ferryd.pid")
        } else {
            pidfile.to_owned()
        };
        fs::write(&pidfile, format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot write {}", pidfile.display()))?;
        Ok(Self { _locks: locks, pidfile })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.pidfile) {
            tracing::debug!(%error, path = %self.pidfile.display(), "cannot remove the pid file");
        }
    }
}

fn lock(root: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
    let path = root.join("ferryd.lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let mut pid = String::new();
    file.read_to_string(&mut pid)?;
    file.rewind()?;
    // A daemon that lives will not let go; one that was killed may have left children that hold
    // its lock until they execute their programs.
    let lives = Path::new("/proc").join(pid.trim()).join("exe").exists();
    let patience = if lives { Duration::ZERO } else { LOCK_PATIENCE };
    if ferry_sys::lock::exclusive(&file, patience).is_err() {
        bail!(
            "another ferryd works on {}: process with PID {} is still running",
            root.display(),
            pid.trim()
        );
    }
    file.set_len(0)?;
    file.write_all(std::process::id().to_string().as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_the_lock_goes_with_the_first() {
        let root = tempfile::tempdir().unwrap();
        let (data, exec) = (root.path().join("data"), root.path().join("exec"));
        let first = Instance::acquire(&data, &exec, Path::new("")).unwrap();
        let refused = Instance::acquire(&data, &root.path().join("other"), Path::new(""));
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(&format!("PID {} ", std::process::id())), "{message}");
        assert!(exec.join("ferryd.pid").exists());
        drop(first);
        assert!(!exec.join("ferryd.pid").exists());
        Instance::acquire(&data, &exec, Path::new("")).unwrap();
    }
}
