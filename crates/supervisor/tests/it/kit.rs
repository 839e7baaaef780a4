//! A container of busybox under a real supervisor, spoken to by the protocol.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ferry_supervisor::files;
use ferry_supervisor::protocol::{
    Answer, Attachment, Call, ContainerState, Event, Exec, ExecExit, Exit, Failure, Framing, Hello,
    MAX_MESSAGE, Message, Outcome, Request, Start, Target,
};
use ferry_sys::cgroup::{Cgroup, Layout};
use ferry_sys::fdpass;
use ferry_sys::launch::{Launch, launch, seal};
use ferry_sys::process::Child;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::mount::OpenTreeFlags;
use rustix::net::SocketFlags;
use serde_json::{Value, json};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A container and its supervisor; both end with it.
pub(crate) struct Box {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) socket: OwnedFd,
    pub(crate) child: Child,
    pub(crate) config: Value,
    pub(crate) start: Start,
    pub(crate) events: Vec<Event>,
    last: u64,
    over: bool,
}

/// A client's side of an attachment.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
}

impl Box {
    /// A container that runs a shell script, not started.
    pub(crate) fn new(script: &str) -> Self {
        Self::of(&["sh", "-c", script])
    }

    pub(crate) fn of(arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("c{}-{count}", std::process::id());
        let parent = format!("/ferry-test-{id}");
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        make_root(&dir.path().join("root"));
        let config = config(&format!("{parent}/{id}"), arguments);
        let start = Start {
            id: id.clone(),
            directory: dir.path().join("run").display().to_string(),
            ..Start::default()
        };
        let (socket, child) = launch_supervisor();
        let events = Vec::new();
        let it =
            Self { dir, id, parent, socket, child, config, start, events, last: 0, over: false };
        let Message::Hello(hello) = it.hear() else { panic!("no hello") };
        assert_eq!(hello, Hello { version: 1, container: None });
        it
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.path().join("json.log")
    }

    /// With the host's libraries, which a program built for tests may need.
    pub(crate) fn with_libraries(mut self) -> Self {
        for path in ["/lib", "/lib64", "/usr/lib"] {
            if Path::new(path).exists() {
                let destination = self.dir.path().join("root").join(&path[1..]);
                std::fs::create_dir_all(destination).unwrap();
                self.config["mounts"].as_array_mut().unwrap().push(json!({
                    "destination": path, "type": "bind", "source": path, "options": ["bind", "ro"],
                }));
            }
        }
        self
    }

    /// With its output logged.
    pub(crate) fn logged(mut self) -> Self {
        self.start.log = Some(ferry_supervisor::protocol::LogConfig {
            path: self.log_path().display().to_string(),
            ..Default::default()
        });
        self
    }

    pub(crate) fn tty(mut self) -> Self {
        self.start.tty = true;
        self.config["process"]["terminal"] = json!(true);
        self
    }

    pub(crate) fn stdin(mut self, once: bool) -> Self {
        self.start.open_stdin = true;
        self.start.stdin_once = once;
        self
    }

    pub(crate) fn start(&mut self, clients: &[(&Attachment, &UnixStream)]) -> i32 {
        match self.try_start(clients) {
            Ok(pid) => pid,
            Err(failure) => panic!("{failure:?}"),
        }
    }

    pub(crate) fn try_start(
        &mut self,
        clients: &[(&Attachment, &UnixStream)],
    ) -> Result<i32, Failure> {
        let text = serde_json::to_vec_pretty(&self.config).unwrap();
        std::fs::write(self.directory().join(files::CONFIG), text).unwrap();
        let root = self.dir.path().join("root");
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = rustix::mount::open_tree(rustix::fs::CWD, root, flags).unwrap();
        let mut start = self.start.clone();
        start.attachments = clients.iter().map(|(attachment, _)| (*attachment).clone()).collect();
        let mut descriptors = vec![tree.as_fd()];
        descriptors.extend(clients.iter().map(|(_, stream)| stream.as_fd()));
        match self.ask(Call::Start(std::boxed::Box::new(start)), &descriptors)? {
            Answer::Started { pid, .. } => Ok(pid),
            other => panic!("{other:?}"),
        }
    }

    /// Starts with one client.
    pub(crate) fn start_with(&mut self, attachment: &Attachment) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.start(&[(attachment, &theirs)]);
        Client::of(ours)
    }

    pub(crate) fn attach(&mut self, attachment: &Attachment) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let answer = self.ask(Call::Attach(attachment.clone()), &[theirs.as_fd()]);
        assert_eq!(answer.unwrap(), Answer::Done);
        Client::of(ours)
    }

    pub(crate) fn write_exec(&self, exec_id: &str, arguments: &[&str], terminal: bool) {
        let mut process = self.config["process"].clone();
        process["args"] = json!(arguments);
        process["terminal"] = json!(terminal);
        let path = self.directory().join(files::exec_config(exec_id));
        std::fs::write(path, process.to_string()).unwrap();
    }

    pub(crate) fn exec(
        &mut self,
        exec_id: &str,
        arguments: &[&str],
        attachment: Option<Attachment>,
        tty: bool,
    ) -> Result<Client, Failure> {
        self.write_exec(exec_id, arguments, tty);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let descriptors: Vec<BorrowedFd<'_>> = attachment.iter().map(|_| theirs.as_fd()).collect();
        let exec_id = exec_id.to_owned();
        let exec = Exec { exec_id, tty, attachment, size: tty.then_some((24, 80)) };
        match self.ask(Call::Exec(exec), &descriptors)? {
            Answer::ExecStarted { pid } => assert!(pid > 0),
            other => panic!("{other:?}"),
        }
        Ok(Client::of(ours))
    }

    pub(crate) fn done(&mut self, call: Call) {
        assert_eq!(self.ask(call, &[]).unwrap(), Answer::Done);
    }

    pub(crate) fn kill(&mut self, target: Target, signal: i32) {
        self.done(Call::Kill { target, signal });
    }

    pub(crate) fn ask(
        &mut self,
        call: Call,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Answer, Failure> {
        let asked = self.send(call, descriptors);
        self.reply(asked)
    }

    /// Asks without waiting; gives the call's id.
    pub(crate) fn send(&mut self, call: Call, descriptors: &[BorrowedFd<'_>]) -> u64 {
        self.last += 1;
        let request = Request { id: self.last, call };
        fdpass::send(&self.socket, &request.encode(), descriptors).unwrap();
        self.last
    }

    /// Waits for the answer to a call; answers to others may not come meanwhile.
    pub(crate) fn reply(&mut self, asked: u64) -> Result<Answer, Failure> {
        loop {
            match self.hear() {
                Message::Reply { id, outcome } if id == asked => {
                    return match outcome {
                        Outcome::Ok(answer) => Ok(answer),
                        Outcome::Failed(failure) => Err(failure),
                    };
                }
                Message::Event(event) => self.events.push(event),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn hear(&self) -> Message {
        assert!(readable(self.socket.as_fd(), PATIENCE), "the supervisor says nothing");
        let mut buffer = vec![0; MAX_MESSAGE];
        let datagram = fdpass::receive(&self.socket, &mut buffer).unwrap();
        let datagram = datagram.expect("the supervisor has gone");
        Message::decode(&buffer[..datagram.length]).unwrap()
    }

    pub(crate) fn event(&mut self) -> Event {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        match self.hear() {
            Message::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the container's end; events before it are passed over.
    pub(crate) fn exited(&mut self) -> Exit {
        loop {
            if let Event::Exited(exit) = self.event() {
                return exit;
            }
        }
    }

    pub(crate) fn exec_exited(&mut self) -> ExecExit {
        match self.event() {
            Event::ExecExited(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    /// Records the end, and waits for the supervisor's.
    pub(crate) fn release(&mut self) {
        self.done(Call::Release);
        self.ends();
    }

    /// Waits for the supervisor's end.
    pub(crate) fn ends(&mut self) {
        assert!(readable(self.child.pidfd.as_fd(), PATIENCE), "the supervisor does not end");
        assert_eq!(ferry_sys::process::wait(self.child.pidfd.as_fd()).unwrap(), 0);
        self.over = true;
        assert!(!self.directory().join(files::SOCKET).exists(), "the socket is left");
        assert!(self.cgroup().is_none(), "the cgroup is left");
    }

    /// Closes the connection, as an engine does that dies.
    pub(crate) fn hang_up(&mut self) {
        self.socket = std::fs::File::open("/dev/null").unwrap().into();
    }

    /// A file of the supervisor's `/proc` directory.
    pub(crate) fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.pid)).unwrap()
    }

    /// How many children the supervisor has.
    pub(crate) fn children(&self) -> usize {
        let pid = self.child.pid;
        let path = format!("/proc/{pid}/task/{pid}/children");
        std::fs::read_to_string(path).unwrap().split_whitespace().count()
    }

    pub(crate) fn reconnect(&mut self) -> ContainerState {
        let path = self.directory().join(files::SOCKET);
        self.socket = fdpass::connect(&path, SocketFlags::empty()).unwrap();
        match self.hear() {
            Message::Hello(hello) => hello.container.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn cgroup(&self) -> Option<Cgroup> {
        let layout = Layout::detect().unwrap();
        Cgroup::open(&layout, &format!("{}/{}", self.parent, self.id)).unwrap()
    }

    /// The log's texts, with their streams.
    pub(crate) fn log(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.log_path()).unwrap();
        text.lines()
            .map(|line| {
                let entry: Value = serde_json::from_str(line).unwrap();
                let part = |name: &str| entry[name].as_str().unwrap().to_owned();
                (part("stream"), part("log"))
            })
            .collect()
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        if !self.over {
            drop(ferry_sys::process::kill_and_wait(self.child.pidfd.as_fd()));
        }
        if let Some(cgroup) = self.cgroup() {
            drop(cgroup.kill());
            drop(cgroup.remove(PATIENCE));
        }
        let layout = Layout::detect().unwrap();
        if let Some(parent) = Cgroup::open(&layout, &self.parent).unwrap() {
            drop(parent.remove(PATIENCE));
        }
    }
}

impl Client {
    fn of(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Ends what it sends.
    pub(crate) fn end(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// All until the end.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Reads until a text has come.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&all).contains(text) {
            assert_eq!(self.stream.read(&mut byte).unwrap(), 1, "the end, after {all:?}");
            all.push(byte[0]);
        }
        String::from_utf8(all).unwrap()
    }
}

/// All streams, not framed.
pub(crate) fn raw() -> Attachment {
    Attachment { stdin: true, stdout: true, stderr: true, ..Attachment::default() }
}

/// Both outputs, framed.
pub(crate) fn framed() -> Attachment {
    Attachment {
        stdout: true,
        stderr: true,
        framing: Framing::Multiplexed,
        ..Attachment::default()
    }
}

pub(crate) fn readable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).unwrap();
    rustix::event::poll(&mut fds, Some(&timeout)).unwrap() > 0
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(mut what: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    let pause = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
    while !what() {
        assert!(begin.elapsed() < PATIENCE, "it never came");
        rustix::event::poll(&mut [], Some(&pause)).unwrap();
    }
}

/// The program: the one built for tests, or the one to be measured.
fn program() -> PathBuf {
    std::env::var_os("FERRY_TEST_SUPERVISOR")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ferry-supervisor")), PathBuf::from)
}

fn launch_supervisor() -> (OwnedFd, Child) {
    let program = std::fs::read(program()).unwrap();
    let program = seal("ferry-supervisor", &program).unwrap();
    let (ours, theirs) = fdpass::pair(SocketFlags::empty()).unwrap();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let null = null.as_fd();
    let child = launch(&Launch {
        program: program.as_fd(),
        arguments: &["ferry-supervisor"],
        descriptors: &[theirs.as_fd(), null, null],
    });
    (ours, child.unwrap())
}

fn make_root(root: &Path) {
    for directory in ["bin", "dev", "proc", "sys", "tmp", "etc"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in [
        "sh", "cat", "ls", "echo", "sleep", "true", "head", "tail", "seq", "yes", "stty", "kill",
        "wc", "md5sum", "tr", "dd",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::copy(program(), root.join("bin/docker-init")).unwrap();
}

fn config(cgroup: &str, arguments: &[&str]) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": arguments,
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
        },
        "root": {"path": "root"},
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "cgroup"}, {"type": "network"},
            ],
        },
    })
}
