//! Finding the program, and executing it at last.

use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ferry_oci::runtime::Process;
use ferry_sys::process;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::become_user;
use crate::channel::{self, Channel, Word};
use crate::error::{ErrorKind, RuntimeError, words};
use crate::seccomp::Prepared;

/// A program that was found, with all it is executed with.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// The system call filter, if it is loaded at the last moment.
    filter: Option<Prepared>,
}

impl Program {
    /// Finds a process's program with the rights and in the directory the process has.
    pub(crate) fn find(process: &Process, filter: Option<Prepared>) -> Result<Self, RuntimeError> {
        let strings =
            |strings: &[String]| strings.iter().map(|s| string(s)).collect::<Result<_, _>>();
        let environment = environment(process);
        let name = process.args.first().map_or("", String::as_str);
        let path = look_up(name, &environment)?;
        Ok(Self {
            path: CString::new(path.as_os_str().as_bytes()).map_err(|_nul| nul(name))?,
            arguments: strings(&process.args)?,
            environment: strings(&environment)?,
            filter,
        })
    }

    /// Says that all is ready, waits for the word and executes. Returns when that fails.
    pub(crate) fn launch(self, channel: &Channel, within: Option<&str>) -> i32 {
        let ready = || {
            channel.ready()?;
            channel.expect(Word::Go)?;
            self.load_filter()
        };
        if let Err(error) = ready() {
            channel.failed(&within.map_or(error.clone(), |within| error.within(within)));
            return 1;
        }
        self.execute()
    }

    /// As [`launch`](Self::launch), but the word comes through a gate, when the maker may be gone.
    pub(crate) fn launch_gated(self, channel: &Channel, gate: &OwnedFd) -> i32 {
        if let Err(error) = channel.ready() {
            channel.failed(&error);
            return 1;
        }
        if let Err(error) = channel::expect(gate, Word::Go).and_then(|()| self.load_filter()) {
            complain(&format!("{error}\n"));
            return 1;
        }
        self.execute()
    }

    fn load_filter(&self) -> Result<(), RuntimeError> {
        self.filter.as_ref().map_or(Ok(()), become_user::load)
    }

    fn execute(&self) -> i32 {
        let errno = process::execute(&self.path, &self.arguments, &self.environment);
        // Compat: the container has started as far as anybody can tell; it says itself what is wrong,
        // and ends with 255, as runc's does.
        complain(&format!("exec {}: {}\n", self.path.to_string_lossy(), words(errno)));
        255
    }
}

/// Says something to whoever reads the container's errors; that nobody does is no matter.
fn complain(message: &str) {
    match rustix::io::write(rustix::stdio::stderr(), message.as_bytes()) {
        Ok(_) | Err(_) => {}
    }
}

fn string(text: &str) -> Result<CString, RuntimeError> {
    CString::new(text).map_err(|_nul| nul(text))
}

fn nul(text: &str) -> RuntimeError {
    RuntimeError::invalid(format!("{text:?} contains a NUL character"))
}

/// The environment: of a name given twice the last value counts, and `HOME` is the user's.
fn environment(process: &Process) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut environment: Vec<String> = Vec::with_capacity(process.env.len() + 1);
    for variable in &process.env {
        let known = name(variable);
        environment.retain(|other| name(other) != known);
        environment.push(variable.clone());
    }
    if environment.iter().any(|variable| variable.starts_with("HOME=") && variable.len() > 5) {
        return environment;
    }
    environment.retain(|variable| name(variable) != "HOME");
    environment.push(format!("HOME={}", home(process.user.uid)));
    environment
}

/// The home directory of a user, from the container's `/etc/passwd`.
fn home(uid: u32) -> String {
    const MOST: usize = 1 << 20;
    let read = || -> Result<Vec<u8>, Errno> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::openat(CWD, "/etc/passwd", flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while text.len() < MOST {
            match rustix::io::read(&file, &mut buffer)? {
                0 => break,
                length => text.extend(buffer.iter().take(length)),
            }
        }
        Ok(text)
    };
    // Without a usable file, as without an entry: the root.
    let text = read().unwrap_or_default();
    home_in(&String::from_utf8_lossy(&text), uid).unwrap_or_else(|| "/".into())
}

/// The home directory of a user in the text of a `/etc/passwd`. [passwd(5)]
fn home_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let _name = fields.next()?;
        let _password = fields.next()?;
        let found = fields.next()?.parse::<u32>().ok()? == uid;
        let _gid = fields.next()?;
        let _comment = fields.next()?;
        let home = fields.next()?;
        (found && !home.is_empty()).then(|| home.to_owned())
    })
}

/// The path of a program, as runc finds it and with its words.
fn look_up(name: &str, environment: &[String]) -> Result<PathBuf, RuntimeError> {
    let quoted = |what: &str| format!("exec: {name:?}: {what}");
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(Unusable::Stat(errno)) => {
                Err(RuntimeError::failed(quoted(&format!("stat {name}")), errno))
            }
            Err(Unusable::Directory) => {
                let message = quoted("is a directory: permission denied");
                Err(RuntimeError::new(ErrorKind::IsDirectory, message))
            }
            Err(Unusable::Access) => {
                let message = quoted("permission denied");
                Err(RuntimeError::new(ErrorKind::PermissionDenied, message))
            }
        };
    }
    let path = environment.iter().find_map(|variable| variable.strip_prefix("PATH="));
    let directories = path.unwrap_or_default().split(':').filter(|_| !name.is_empty());
    for directory in directories.filter(|_| path.is_some_and(|path| !path.is_empty())) {
        let candidate = if directory.is_empty() {
            Path::new(".").join(name)
        } else {
            Path::new(OsStr::new(directory)).join(name)
        };
        if check(&candidate).is_ok() {
            if candidate.is_absolute() {
                return Ok(candidate);
            }
            let message = quoted("cannot run executable found relative to current directory");
            return Err(RuntimeError::new(ErrorKind::Other, message));
        }
    }
    let message = quoted("executable file not found in $PATH");
    Err(RuntimeError::new(ErrorKind::NotFound, message))
}

/// Why a file is no program.
enum Unusable {
    Stat(Errno),
    Directory,
    Access,
}

fn check(path: &Path) -> Result<(), Unusable> {
    let stat = rustix::fs::stat(path).map_err(Unusable::Stat)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Unusable::Directory);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        // A filter or an old kernel without faccessat2; the bits then say it.
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(_) => Err(Unusable::Access),
    }
}

#[cfg(test)]
mod tests;
