//! What engine and supervisor say to each other.
//!
//! ```text
//! engine                         supervisor
//!    | <--------- hello ------------ |     at once; after a reconnect with the state of things
//!    | -- {id: 1, call: start} + fds |
//!    | <------- {reply to 1} ------- |
//!    | <---------- event ----------- |     exited, exec exited, detached, out of memory
//! ```
//!
//! Each message is one datagram of a `SOCK_SEQPACKET` socket, in JSON; descriptors ride along in the
//! order that each call's comment gives. An engine may be newer than the supervisors it finds, so
//! everything here is additive: unknown fields are passed over, an unknown call is answered with
//! [`FailureKind::Unsupported`], unknown events are ignored.

use serde::{Deserialize, Serialize};

/// Version of the protocol: grows when a call changes its meaning, not when one is added.
pub const VERSION: u32 = 1;

/// The longest message in bytes; what is longer goes by file.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// The descriptor on which a supervisor finds its engine: its standard input.
pub const ENGINE_DESCRIPTOR: i32 = 0;

/// A call of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Repeated in the reply; 0 wants none.
    pub id: u64,
    /// What to do.
    pub call: Call,
}

/// What a supervisor can be asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Call {
    /// Makes and starts the container. Answer: [`Answer::Started`].
    ///
    /// Descriptors: the root file system (a detached mount), the network namespace if `netns`, then
    /// those of each attachment.
    Start(Box<Start>),
    /// Attaches a client to the container's streams. Descriptors: those of the attachment.
    Attach(Attachment),
    /// Runs a further process. Answer: [`Answer::ExecStarted`]. Descriptors: those of the attachment.
    Exec(Exec),
    /// Sends a signal.
    Kill {
        /// To whom.
        target: Target,
        /// Its number.
        signal: i32,
    },
    /// Sets a terminal's size.
    Resize {
        /// Whose: the init's or an exec's.
        target: Target,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Freezes all processes.
    Pause,
    /// Lets them go on.
    Resume,
    /// Says that the end of an exec is known, so that its clients may see the end of the stream: they
    /// ask for the exit code then.
    ExecRecorded {
        /// Which.
        exec_id: String,
    },
    /// Says that the end of the container is known: the supervisor ends when its clients are served.
    Release,
}

/// How to start a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Start {
    /// The container's id.
    pub id: String,
    /// Its directory under the exec root, where `config.json` is.
    pub directory: String,
    /// A network namespace comes along, to be joined in place of what the configuration says.
    #[serde(default)]
    pub netns: bool,
    /// Where its output is logged; absent is nowhere.
    #[serde(default)]
    pub log: Option<LogConfig>,
    /// It has a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Its standard input is kept open, even while nobody is attached.
    #[serde(default)]
    pub open_stdin: bool,
    /// Its standard input ends with the first client that ends its own.
    #[serde(default)]
    pub stdin_once: bool,
    /// Clients that wait for it.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
}

/// A json-file log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The file; rotated ones are beside it, with `.1` and so on.
    pub path: String,
    /// The size in bytes at which a file is full; absent is never.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// How many files there are at most, the current one too; 0 is as 1.
    #[serde(default)]
    pub max_files: u32,
    /// What every line bears beside its text, as a JSON object; empty is nothing.
    #[serde(default)]
    pub attributes: String,
}

/// A client's connection. Descriptors: its socket, then a file with what was read of it already, if
/// `early`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Attachment {
    /// What it sends goes to standard input.
    #[serde(default)]
    pub stdin: bool,
    /// It gets standard output.
    #[serde(default)]
    pub stdout: bool,
    /// It gets standard error.
    #[serde(default)]
    pub stderr: bool,
    /// How it gets them.
    #[serde(default)]
    pub framing: Framing,
    /// The bytes that detach it from a terminal; empty is none.
    #[serde(default)]
    pub detach_keys: Vec<u8>,
    /// A file with what was read of it already comes along.
    #[serde(default)]
    pub early: bool,
}

/// How streams share a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Bytes as they are; for terminals.
    #[default]
    Raw,
    /// Each piece after eight bytes: the stream, three zeroes, the length with the highest byte first.
    Multiplexed,
}

/// How to run a further process. Its configuration is in `exec-<exec id>.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Its id.
    pub exec_id: String,
    /// It has a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Its client; without one, output goes nowhere.
    #[serde(default)]
    pub attachment: Option<Attachment>,
    /// Rows and columns of its terminal.
    #[serde(default)]
    pub size: Option<(u16, u16)>,
}

/// Which processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The container's init.
    Init,
    /// All in its cgroup.
    All,
    /// That of an exec.
    Exec(String),
}

/// What a supervisor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Message {
    /// The first on each connection.
    Hello(Hello),
    /// The answer to a call.
    Reply {
        /// The call's id.
        id: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// Something that happened.
    Event(Event),
}

/// How things are when an engine connects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub version: u32,
    /// The container, if one was started.
    #[serde(default)]
    pub container: Option<ContainerState>,
}

/// How a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Its id.
    pub id: String,
    /// Its init.
    pub pid: i32,
    /// When it was started, as RFC 3339.
    pub started_at: String,
    /// Its processes are frozen.
    #[serde(default)]
    pub paused: bool,
    /// It has ended.
    #[serde(default)]
    pub exit: Option<Exit>,
    /// Execs that run.
    #[serde(default)]
    pub execs: Vec<ExecState>,
    /// Execs that ended while no engine was there.
    #[serde(default)]
    pub ended_execs: Vec<ExecExit>,
}

/// An exec that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// Its id.
    pub exec_id: String,
    /// Its process.
    pub pid: i32,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok(Answer),
    /// It was not.
    Failed(Failure),
}

/// What a call that was done has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing.
    Done,
    /// The container runs.
    Started {
        /// Its init.
        pid: i32,
        /// Since when, as RFC 3339.
        started_at: String,
    },
    /// The exec runs.
    ExecStarted {
        /// Its process.
        pid: i32,
    },
}

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// Words for people; for a program that could not be executed, those that follow runc's
    /// "unable to start container process: ".
    pub message: String,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The program, or what was named, does not exist.
    NotFound,
    /// The program may not be executed.
    PermissionDenied,
    /// The program is a directory.
    IsDirectory,
    /// The request or the configuration makes no sense.
    Invalid,
    /// There is no such process now, or it is paused.
    NotRunning,
    /// This supervisor does not know the call.
    Unsupported,
    /// All else, and kinds of newer supervisors.
    #[serde(other)]
    Other,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Event {
    /// The container has ended, its output is in the log, its cgroup is gone, `exit.json` is written.
    Exited(Exit),
    /// An exec has ended; its clients wait for [`Call::ExecRecorded`].
    ExecExited(ExecExit),
    /// A client has detached itself by its keys.
    Detached {
        /// From which exec; absent is the container.
        #[serde(default)]
        exec_id: Option<String>,
    },
    /// The container ran out of memory.
    OutOfMemory,
    /// Something went wrong that does not stop the container: the log can not be written.
    Warning {
        /// What.
        message: String,
    },
}

/// How a container ended; also what `exit.json` holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code; 128 and the signal if one ended it.
    pub code: i32,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// One of its processes was killed for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// When, as RFC 3339.
    pub finished_at: String,
}

/// How an exec ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExit {
    /// Which.
    pub exec_id: String,
    /// Its exit code; 128 and the signal if one ended it.
    pub code: i32,
}

/// A call that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The id to answer, 0 when not even that could be read.
    pub id: u64,
    /// Why.
    pub message: String,
}

impl Request {
    /// Writes the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is none, or its call is not known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        /// What every version has in common.
        #[derive(Deserialize)]
        struct Envelope {
            id: u64,
        }
        serde_json::from_slice(bytes).map_err(|error| Unreadable {
            id: serde_json::from_slice::<Envelope>(bytes).map_or(0, |envelope| envelope.id),
            message: error.to_string(),
        })
    }
}

impl Message {
    /// Writes the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a message; `None` is one that is not known here, to be passed over.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// These types have no map with keys that are not strings and no serializer that fails, so this
/// can not fail; an empty message would be the end of the connection.
fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests;
