//! Programs run with a deadline, a cleared environment and captured output.

use std::ffi::OsString;
use std::fmt;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// How long a program may run when the test says nothing else.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A new command. Nothing of it is inherited but what the caller asks for.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that makes commands")]
pub fn command(program: impl AsRef<Path>) -> Command {
    Command::new(program.as_ref())
}

/// Finds a program along PATH and in the folders where Debian puts the system's.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    std::env::split_paths(&path)
        .chain(system.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// A program about to be run.
#[derive(Debug, Clone)]
#[must_use = "an invocation does nothing until it is run or spawned"]
pub struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    stdin: Option<Vec<u8>>,
    open_stdin: bool,
    deadline: Duration,
    directory: Option<PathBuf>,
}

impl Invocation {
    /// `program` with an empty environment but for PATH.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: vec![("PATH".into(), path)],
            stdin: None,
            open_stdin: false,
            deadline: DEADLINE,
            directory: None,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets one variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Feeds `bytes` to standard input, then closes it.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Leaves standard input open, for [`Running::write`] and [`Running::close_stdin`].
    pub fn open_stdin(mut self) -> Self {
        self.open_stdin = true;
        self
    }

    /// Kills the program after `deadline`.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs in `directory`.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// What is run, as a person would type it.
    #[must_use]
    pub fn line(&self) -> String {
        let program = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.arguments.iter().fold(program, |line, argument| {
            let argument = argument.to_string_lossy();
            let plain = !argument.is_empty() && !argument.contains([' ', '\n', '"', '\'']);
            if plain { format!("{line} {argument}") } else { format!("{line} {argument:?}") }
        })
    }

    /// The standard library's command, with everything set but the streams.
    #[must_use]
    pub fn to_command(&self) -> Command {
        let mut it = command(&self.program);
        it.args(&self.arguments).env_clear();
        it.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            it.current_dir(directory);
        }
        it
    }

    /// Starts the program.
    #[track_caller]
    pub fn spawn(self) -> Running {
        let mut command = self.to_command();
        let piped = self.stdin.is_some() || self.open_stdin;
        command.stdin(if piped { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = self.line();
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("starting `{}`: {error}", self.program.display()),
        };
        let stdout = Capture::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Capture::of(child.stderr.take().expect("stderr is piped"));
        let mut stdin = child.stdin.take();
        let mut feeder = None;
        if let (Some(bytes), Some(mut pipe)) = (self.stdin, stdin.take_if(|_| !self.open_stdin)) {
            // The program may end without reading all of it; that is not this test's subject.
            feeder = Some(std::thread::spawn(move || pipe.write_all(&bytes).is_ok()));
        }
        Running { line, child, stdin, stdout, stderr, feeder, deadline: self.deadline }
    }

    /// Runs the program to its end.
    #[must_use = "a program's result is to be looked at"]
    #[track_caller]
    pub fn run(self) -> Output {
        let deadline = self.deadline;
        self.spawn().wait(deadline)
    }
}

/// Bytes that a thread collects from a pipe, and a way to wait for them.
#[derive(Debug)]
pub(crate) struct Capture {
    shared: Arc<(Mutex<Collected>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
}

impl Capture {
    pub(crate) fn of(mut source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Collected::default()), Condvar::new()));
        let writer = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                // A terminal's other end says EIO when the last user has gone.
                let count = source.read(&mut buffer).unwrap_or(0);
                let mut collected = writer.0.lock().unwrap_or_else(PoisonError::into_inner);
                collected.bytes.extend_from_slice(&buffer[..count]);
                collected.ended = count == 0;
                writer.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { shared, reader: Some(reader) }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).bytes.clone()
    }

    /// Waits until `found` says something of the bytes so far; `None` at the deadline or the end.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Duration,
        mut found: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + deadline;
        let mut collected = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = found(&collected.bytes) {
                return Some(value);
            }
            let left = end.saturating_duration_since(Instant::now());
            if collected.ended || left.is_zero() {
                return None;
            }
            collected = self
                .shared
                .1
                .wait_timeout(collected, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until the other end is closed, then gives everything.
    fn finish(&mut self, deadline: Duration) -> Vec<u8> {
        let nothing: Option<()> = self.wait_for(deadline, |_| None);
        debug_assert!(nothing.is_none(), "the search never finds anything");
        if self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).ended
            && let Some(reader) = self.reader.take()
        {
            drop(reader.join());
        }
        self.bytes()
    }
}

/// A program that runs.
#[derive(Debug)]
#[must_use = "a running program is waited for or killed"]
pub struct Running {
    line: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Capture,
    stderr: Capture,
    feeder: Option<JoinHandle<bool>>,
    deadline: Duration,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.bytes()
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let pipe = self.stdin.as_mut().expect("the invocation was made with open_stdin");
        pipe.write_all(bytes.as_ref()).and_then(|()| pipe.flush()).expect("writing its stdin");
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until its standard output holds `text`.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let seen = self.stdout.wait_for(DEADLINE, |bytes| contains(bytes, text).then_some(()));
        if seen.is_none() {
            panic!(
                "`{}` did not write {text:?}; stdout: {:?}; stderr: {:?}",
                self.line,
                String::from_utf8_lossy(&self.stdout.bytes()),
                String::from_utf8_lossy(&self.stderr.bytes()),
            );
        }
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(pid_of(self.child.id()), signal).expect("signalling a child of ours");
    }

    /// Waits for its end with the invocation's deadline.
    #[must_use = "a program's result is to be looked at"]
    #[track_caller]
    pub fn finish(self) -> Output {
        let deadline = self.deadline;
        self.wait(deadline)
    }

    /// Waits for its end; kills it at the deadline.
    #[must_use = "a program's result is to be looked at"]
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> Output {
        self.stdin = None;
        let began = Instant::now();
        let status = wait_child(&mut self.child, deadline);
        let timed_out = status.is_none();
        let status = status.unwrap_or_else(|| {
            self.child.kill().expect("killing a child of ours");
            self.child.wait().expect("waiting for a child of ours")
        });
        let elapsed = began.elapsed();
        // A background grandchild may hold the pipes open; what it writes is not waited for long.
        let stdout = self.stdout.finish(Duration::from_secs(5));
        let stderr = self.stderr.finish(Duration::from_secs(5));
        if let Some(feeder) = self.feeder.take().filter(JoinHandle::is_finished) {
            drop(feeder.join());
        }
        Output { line: self.line, code: code_of(status), timed_out, stdout, stderr, elapsed }
    }
}

fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

pub(crate) fn pid_of(raw: u32) -> Pid {
    i32::try_from(raw).ok().and_then(Pid::from_raw).expect("a process id is positive")
}

/// Waits for a child by its pidfd; `None` at the deadline.
pub(crate) fn wait_child(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    if let Ok(Some(status)) = child.try_wait() {
        return Some(status);
    }
    if let Ok(pidfd) = pidfd_open(pid_of(child.id()), PidfdFlags::empty()) {
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(deadline.subsec_nanos()),
        };
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        // Interrupted or not: whether the child has ended is asked below.
        rustix::event::poll(&mut fds, Some(&timeout)).ok();
    }
    child.try_wait().ok().flatten()
}

pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes())
}

/// How a program ended and what it wrote.
#[derive(Clone)]
pub struct Output {
    /// What was run.
    pub line: String,
    /// Exit code; 128 + signal when killed.
    pub code: i32,
    /// Whether it was killed at its deadline.
    pub timed_out: bool,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// How long it was waited for.
    pub elapsed: Duration,
}

impl Output {
    /// Standard output of a program that ended with 0, without the last newline.
    #[must_use = "say `exits(0)` where the output does not matter"]
    #[track_caller]
    pub fn ok(self) -> String {
        self.exits(0).out()
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(!self.timed_out, "did not end in time\n{self:?}");
        assert!(self.code == code, "expected exit code {code}\n{self:?}");
        self
    }

    /// Checks that it failed, with any code.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(!self.timed_out, "did not end in time\n{self:?}");
        assert!(self.code != 0, "expected a failure\n{self:?}");
        self
    }

    /// Checks that standard error holds `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(contains(&self.stderr, text), "expected {text:?} on stderr\n{self:?}");
        self
    }

    /// Checks that standard output holds `text`.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(contains(&self.stdout, text), "expected {text:?} on stdout\n{self:?}");
        self
    }

    /// Standard output as text, without the last newline.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }

    /// Standard error as text, without the last newline.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end_matches('\n').to_owned()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(6000)]).into_owned();
            text.trim_end().to_owned()
        };
        writeln!(f, "$ {}", self.line)?;
        writeln!(f, "exit code {} after {:?}", self.code, self.elapsed)?;
        writeln!(f, "--- stdout ({} bytes)\n{}", self.stdout.len(), short(&self.stdout))?;
        write!(f, "--- stderr ({} bytes)\n{}", self.stderr.len(), short(&self.stderr))
    }
}
