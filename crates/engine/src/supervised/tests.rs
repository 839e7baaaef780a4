#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

//! The handle against a peer that speaks the protocol; with the real program it is tested end to end.

use ferry_supervisor::protocol::{
    Event, ExecExit, MAX_MESSAGE, Message, Outcome as Said, Request as Asked,
};
use ferry_sys::fdpass;

use super::*;

/// The other end of a connection.
struct Peer {
    socket: OwnedFd,
}

impl Peer {
    fn say(&self, message: &Message) {
        fdpass::send(&self.socket, &message.encode(), &[]).unwrap();
    }

    fn tell(&self, event: Event) {
        self.say(&Message::Event(event));
    }

    fn reply(&self, id: u64, outcome: Said) {
        self.say(&Message::Reply { id, outcome });
    }

    /// The next call; to be made by the time this is asked.
    fn hear(&self) -> (Asked, Vec<OwnedFd>) {
        let mut buffer = vec![0; MAX_MESSAGE];
        let datagram = fdpass::receive(&self.socket, &mut buffer).unwrap().unwrap();
        (Asked::decode(&buffer[..datagram.length]).unwrap(), datagram.descriptors)
    }

    async fn heard(&self) -> (Asked, Vec<OwnedFd>) {
        let mut fds = [rustix::event::PollFd::new(&self.socket, rustix::event::PollFlags::IN)];
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        while rustix::event::poll(&mut fds, Some(&at_once)).unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        self.hear()
    }
}

fn launcher() -> Launcher {
    // Any program will do: the peer is in this process.
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    Launcher::new(Path::new("/bin/true"), None, tasks, shutdown).unwrap()
}

fn connected(launcher: &Launcher) -> (Supervisor, SupervisorEvents, Peer) {
    let (ours, theirs) = fdpass::pair(SocketFlags::empty()).unwrap();
    let (supervisor, events, _hello) = launcher.connection(ours, None).unwrap();
    (supervisor, events, Peer { socket: theirs })
}

#[tokio::test]
async fn replies_find_whoever_asked_in_whatever_order() {
    let (supervisor, _events, peer) = connected(&launcher());
    let answering = async {
        let calls = [peer.heard().await.0, peer.heard().await.0];
        assert_ne!(calls[0].id, calls[1].id);
        for request in calls.iter().rev() {
            let message = "not running".to_owned();
            let failure = CallFailure { kind: FailureKind::NotRunning, message };
            let outcome = match request.call {
                Call::Pause => Said::Ok(Answer::Done),
                _ => Said::Failed(failure),
            };
            peer.reply(request.id, outcome);
        }
    };
    let (pause, resume, ()) = tokio::join!(supervisor.pause(), supervisor.resume(), answering);
    pause.unwrap();
    let error = resume.unwrap_err();
    assert!(matches!(error, SupervisorError::Failed(_)));
    assert_eq!(error.to_string(), "not running");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_does_not_answer_is_given_up() {
    let (supervisor, _events, peer) = connected(&launcher());
    let error = supervisor.pause().await.unwrap_err();
    assert!(matches!(error, SupervisorError::Silent), "{error}");
    // An answer that comes after all is nobody's, and harms nobody.
    let (late, _) = peer.hear();
    peer.reply(late.id, Said::Ok(Answer::Done));
    let answering = async {
        let (request, _) = peer.heard().await;
        peer.reply(request.id, Said::Ok(Answer::Done));
    };
    let (resumed, ()) = tokio::join!(supervisor.resume(), answering);
    resumed.unwrap();
}

#[tokio::test]
async fn events_that_nobody_takes_hold_up_no_reply() {
    let (supervisor, mut events, peer) = connected(&launcher());
    let many = 300;
    let answering = async {
        let (request, _) = peer.heard().await;
        for _ in 0..many {
            peer.tell(Event::OutOfMemory);
            tokio::task::yield_now().await;
        }
        peer.reply(request.id, Said::Ok(Answer::Done));
    };
    let (paused, ()) = tokio::join!(supervisor.pause(), answering);
    paused.unwrap();
    drop(peer);
    for _ in 0..many {
        assert!(matches!(events.next().await, SupervisorEvent::OutOfMemory));
    }
    assert!(matches!(events.next().await, SupervisorEvent::Lost));
}

#[tokio::test]
async fn when_the_supervisor_dies_nobody_waits_for_it() {
    let (supervisor, mut events, peer) = connected(&launcher());
    let dying = async {
        let _call = peer.heard().await;
        drop(peer);
    };
    let (paused, ()) = tokio::join!(supervisor.pause(), dying);
    assert!(matches!(paused, Err(SupervisorError::Lost)));
    assert!(matches!(events.next().await, SupervisorEvent::Lost));
    assert!(matches!(supervisor.release().await, Err(SupervisorError::Lost)));
}

#[tokio::test]
async fn descriptors_go_along_and_stay_with_the_supervisor_alone() {
    let (supervisor, _events, peer) = connected(&launcher());
    let (client, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let attachment = Attachment {
        socket: theirs.into(),
        already_read: b"early".to_vec(),
        stdin: true,
        stdout: true,
        stderr: false,
        framing: Framing::Multiplexed,
        detach_keys: vec![1],
    };
    let answering = async {
        let (request, descriptors) = peer.heard().await;
        let Call::Attach(config) = request.call else { panic!("{request:?}") };
        assert!(config.stdin && config.stdout && !config.stderr && config.early);
        let mut early = [0; 16];
        let count = rustix::io::pread(&descriptors[1], &mut early, 0).unwrap();
        assert_eq!(&early[..count], b"early");
        rustix::io::write(&descriptors[0], b"hello").unwrap();
        drop(descriptors);
        peer.reply(request.id, Said::Ok(Answer::Done));
    };
    let (attached, ()) = tokio::join!(supervisor.attach(attachment), answering);
    attached.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut &client, &mut text).unwrap();
    assert_eq!(text, "hello", "the end came with the supervisor's");
}

#[tokio::test]
async fn the_end_of_an_exec_is_acknowledged_when_it_is_recorded() {
    let (_supervisor, mut events, peer) = connected(&launcher());
    peer.tell(Event::ExecExited(ExecExit { exec_id: "e".into(), code: 3 }));
    let SupervisorEvent::ExecExited { exec_id, code, recorded } = events.next().await else {
        panic!("another event")
    };
    assert_eq!((exec_id.as_str(), code), ("e", 3));
    drop(recorded);
    let (request, _) = peer.hear();
    assert_eq!(request, Asked { id: 0, call: Call::ExecRecorded { exec_id } });
}

#[tokio::test]
async fn dropping_the_last_handle_hangs_up() {
    let (supervisor, events, peer) = connected(&launcher());
    drop(supervisor.clone());
    drop(events);
    let pausing = supervisor.pause();
    let answering = async {
        let (request, _) = peer.heard().await;
        peer.reply(request.id, Said::Ok(Answer::Done));
    };
    let (paused, ()) = tokio::join!(pausing, answering);
    paused.unwrap();
    drop(supervisor);
    loop {
        let mut buffer = [0; 16];
        rustix::io::ioctl_fionbio(&peer.socket, true).unwrap();
        match fdpass::receive(&peer.socket, &mut buffer) {
            Ok(None) => break,
            Err(rustix::io::Errno::AGAIN) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_supervisor_that_is_not_there_is_absent() {
    let launcher = launcher();
    let directory = tempfile::tempdir().unwrap();
    let absent = launcher.reconnect(directory.path()).await;
    assert!(matches!(absent, Err(SupervisorError::Absent(_))));
    // A socket that a dead one has left.
    let path = directory.path().join(ferry_supervisor::files::SOCKET);
    drop(fdpass::listen(&path, SocketFlags::empty()).unwrap());
    let absent = launcher.reconnect(directory.path()).await;
    assert!(matches!(absent, Err(SupervisorError::Absent(_))));
}

#[tokio::test]
async fn a_reconnection_begins_with_how_things_are() {
    let launcher = launcher();
    // Longer than an address holds.
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("x".repeat(150));
    std::fs::create_dir(&directory).unwrap();
    let handle = std::fs::File::open(&directory).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&handle);
    let short = format!("/proc/self/fd/{number}/{}", ferry_supervisor::files::SOCKET);
    let listener = fdpass::listen(Path::new(&short), SocketFlags::empty()).unwrap();
    let state = ContainerState { id: "c".into(), pid: 7, ..ContainerState::default() };
    let hello = Hello { version: protocol::VERSION, container: Some(state.clone()) };
    let greeting = async {
        // The connection waits in the listener's queue by now, or this blocks until it does.
        let socket = tokio::task::spawn_blocking(move || rustix::net::accept(&listener).unwrap());
        let peer = Peer { socket: socket.await.unwrap() };
        peer.say(&Message::Hello(hello));
        peer
    };
    let (found, _peer) = tokio::join!(launcher.reconnect(&directory), greeting);
    let (_supervisor, _events, container) = found.unwrap();
    assert_eq!(container, state);
}

#[tokio::test]
async fn a_program_that_ends_is_waited_for() {
    let tasks = TaskTracker::new();
    let program = Path::new("/bin/true");
    let launcher = Launcher::new(program, None, tasks.clone(), CancellationToken::new()).unwrap();
    let (_supervisor, mut events) = launcher.launch().unwrap();
    assert!(matches!(events.next().await, SupervisorEvent::Lost));
    // Both tasks end, the one that waits for the child too: it would be a zombie else.
    tasks.close();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.unwrap();
}

#[test]
fn who_has_hung_up_is_told_from_who_only_sends_no_more() {
    let (client, socket) = std::os::unix::net::UnixStream::pair().unwrap();
    let attachment = Attachment {
        socket: socket.into(),
        already_read: Vec::new(),
        stdin: true,
        stdout: true,
        stderr: true,
        framing: Framing::Raw,
        detach_keys: Vec::new(),
    };
    assert!(attachment.is_connected());
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(attachment.is_connected());
    drop(client);
    assert!(!attachment.is_connected());
}
