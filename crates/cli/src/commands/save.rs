//! `save` and `export`: archives out of the engine.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ferry_api::query::ImageSaveQuery;
use ferry_client::ByteStream;

use crate::command_line::Matches;
use crate::options::files::reason;
use crate::options::platforms;
use crate::program::Cli;
use crate::report::Failure;
use crate::terminal;

/// `save`
pub(super) async fn save(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let platform = platforms::one(matches.text("platform"))?;
    let out = Out::open(matches.text("output"), "failed to save image")?;
    let query =
        ImageSaveQuery { names: matches.args.clone(), platform: platform.into_iter().collect() };
    out.take(cli.client.image_save(&query).await?).await
}

/// `export`
pub(super) async fn export(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let out = Out::open(matches.text("output"), "failed to export container")?;
    let Some(container) = matches.args.first() else { return Ok(()) };
    out.take(cli.client.container_export(container).await?).await
}

/// Where an archive goes.
enum Out {
    Stdout,
    /// Beside its place until it is whole.
    File(Beside),
}

impl Out {
    /// The file that was named, else standard output, unless that is a terminal.
    fn open(output: &str, doing: &str) -> Result<Self, Failure> {
        if !output.is_empty() {
            let beside = Beside::open(Path::new(output));
            return beside.map(Self::File).map_err(|why| Failure::plain(format!("{doing}: {why}")));
        }
        if terminal::is_output() {
            return Err(Failure::plain(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        Ok(Self::Stdout)
    }

    /// Writes all that comes. An interrupt leaves no piece of a file.
    async fn take(self, mut archive: ByteStream) -> Result<(), Failure> {
        match self {
            Self::Stdout => {
                let mut out = std::io::stdout();
                while let Some(bytes) = archive.next().await? {
                    out.write_all(&bytes)?;
                }
                Ok(out.flush()?)
            }
            Self::File(mut beside) => {
                let writing = async {
                    while let Some(bytes) = archive.next().await? {
                        beside.file.write_all(&bytes)?;
                    }
                    Ok::<(), Failure>(())
                };
                tokio::select! {
                    result = writing => result?,
                    _interrupt = tokio::signal::ctrl_c() => return Err(Failure::silent(130)),
                }
                Ok(beside.commit()?)
            }
        }
    }
}

/// A file that takes its place when it is whole; dropping it before leaves nothing.
struct Beside {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Beside {
    fn open(path: &Path) -> Result<Self, String> {
        check(path)?;
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let temporary = path.with_file_name(format!(".tmp-{name}-{}", std::process::id()));
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|error| format!("open {}: {}", temporary.display(), reason(&error)))?;
        Ok(Self { path: path.to_owned(), temporary, file })
    }

    fn commit(self) -> std::io::Result<()> {
        self.file.set_permissions(fs::Permissions::from_mode(0o600))?;
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After the renaming there is none.
        drop(fs::remove_file(&self.temporary));
    }
}

/// Whether a file can be put there; in Docker's words.
fn check(path: &Path) -> Result<(), String> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let failed =
            |why: &str| Err(format!("invalid output path: stat {}: {why}", parent.display()));
        match fs::metadata(parent) {
            Ok(found) if !found.is_dir() => return failed("not a directory"),
            Ok(_directory) => {}
            Err(error) => return failed(&reason(&error)),
        }
    }
    // A link is looked at itself, for renaming would replace it.
    let kind = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("failed to stat output path: {}", reason(&error))),
    };
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symbolic link directly",
        kind if kind.is_fifo() => "a named pipe (FIFO)",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() => "a character device file",
        _ => "a block device file",
    };
    Err(format!("cannot write to {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_written_over() {
        let check = |path: &str| check(Path::new(path)).unwrap_err();
        assert_eq!(
            check("/nosuch/x"),
            "invalid output path: stat /nosuch: no such file or directory"
        );
        assert_eq!(check("/dev/null/x"), "invalid output path: stat /dev/null: not a directory");
        assert_eq!(check("/tmp"), "cannot write to a directory");
        assert_eq!(check("/dev/null"), "cannot write to a character device file");
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let directory = std::env::temp_dir().join(format!("ferry-save-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("out.tar");
        drop(Beside::open(&path).unwrap());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        let mut beside = Beside::open(&path).unwrap();
        beside.file.write_all(b"x").unwrap();
        assert!(!path.exists());
        beside.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
