//! A hermetic environment around one engine.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::command::find_program;
use crate::slot::Slot;
use crate::{Image, Invocation, Output, api, leaks, wait};

mod engine;
mod foreign;

pub use foreign::reference_host;

/// Which program speaks to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The unmodified `docker`.
    Docker,
    /// Our own.
    Ferry,
}

impl Client {
    /// Where it is on this machine.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Docker => std::env::var_os("FERRY_DOCKER")
                .map(PathBuf::from)
                .or_else(|| find_program("docker"))
                .filter(|path| path.exists()),
            Self::Ferry => Some(programs().join("ferry")).filter(|path| path.exists()),
        }
    }

    /// The client that tests use when they do not care: `FERRY_E2E_CLIENT`, else `docker` where it
    /// is installed, else `ferry`.
    #[must_use]
    pub fn usual() -> Self {
        match std::env::var("FERRY_E2E_CLIENT").as_deref() {
            Ok("ferry") => Self::Ferry,
            Ok("docker") => Self::Docker,
            _ if Self::Docker.program().is_some() => Self::Docker,
            _ => Self::Ferry,
        }
    }
}

/// The folder of the programs under test: `FERRY_BIN_DIR`, else `target/dist` (`cargo xtask build`).
#[must_use]
pub fn programs() -> PathBuf {
    std::env::var_os("FERRY_BIN_DIR").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
                PathBuf::from,
            );
            target.join("dist")
        },
        PathBuf::from,
    )
}

/// How an environment differs from the usual.
#[derive(Debug, Default, Clone)]
pub struct EnvBuilder {
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    configuration: Option<Value>,
    data_root: Option<PathBuf>,
    without_busybox: bool,
    always_own: bool,
    keep_quiet: bool,
}

impl EnvBuilder {
    /// Adds flags of `ferryd`.
    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Sets a variable for `ferryd`.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Writes this into `daemon.json`.
    #[must_use]
    pub fn configuration(mut self, configuration: Value) -> Self {
        self.configuration = Some(configuration);
        self
    }

    /// Keeps the engine's data elsewhere, say on a full disk.
    #[must_use]
    pub fn data_root(mut self, path: &Path) -> Self {
        self.data_root = Some(path.to_path_buf());
        self
    }

    /// Starts with no image.
    #[must_use]
    pub fn without_busybox(mut self) -> Self {
        self.without_busybox = true;
        self
    }

    /// Always starts `ferryd`, also when the suite runs against another engine.
    #[must_use]
    pub fn own(mut self) -> Self {
        self.always_own = true;
        self
    }

    /// Does not look for leaks at the end: for programs that are not tests.
    #[must_use]
    pub fn without_leak_check(mut self) -> Self {
        self.keep_quiet = true;
        self
    }

    /// Starts the engine.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Env {
        let foreign = std::env::var("FERRY_E2E_HOST").ok().filter(|_| !self.always_own);
        let busybox = !self.without_busybox;
        let env = match foreign {
            Some(host) => Env::foreign(&host),
            None => Env::own(self),
        };
        if busybox {
            env.load(&Image::busybox(), "busybox:latest");
        }
        env
    }
}

/// An engine, its folder, and the clients that speak to it.
#[derive(Debug)]
pub struct Env {
    kind: Kind,
    folder: PathBuf,
    socket: PathBuf,
}

#[derive(Debug)]
enum Kind {
    Own(Box<Own>),
    Foreign(foreign::Foreign),
}

#[derive(Debug)]
struct Own {
    slot: Slot,
    builder: EnvBuilder,
    engine: Option<Child>,
    /// Every process ever seen beneath the engine.
    known: leaks::Kin,
}

impl Env {
    /// The usual environment: an engine with the image `busybox`.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// An environment with differences.
    #[must_use]
    pub fn builder() -> EnvBuilder {
        EnvBuilder::default()
    }

    fn own_parts(&self) -> &Own {
        match &self.kind {
            Kind::Own(own) => own,
            Kind::Foreign(_) => {
                panic!("this is a foreign engine; the test needs `builder().own()`")
            }
        }
    }

    fn own_parts_mut(&mut self) -> &mut Own {
        match &mut self.kind {
            Kind::Own(own) => own,
            Kind::Foreign(_) => {
                panic!("this is a foreign engine; the test needs `builder().own()`")
            }
        }
    }

    /// Whether the engine is another's (`FERRY_E2E_HOST`).
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self.kind, Kind::Foreign(_))
    }

    /// The engine's address as clients take it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The engine's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The slot of an engine of ours.
    #[must_use]
    pub fn slot(&self) -> &Slot {
        &self.own_parts().slot
    }

    /// Where the engine keeps its data.
    #[must_use]
    pub fn data_root(&self) -> PathBuf {
        let own = self.own_parts();
        own.builder.data_root.clone().unwrap_or_else(|| self.folder.join("data"))
    }

    /// The last lines of the engine's log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read_to_string(self.folder.join("ferryd.log")).unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// A client's invocation with an environment of its own.
    #[track_caller]
    pub fn client<S: AsRef<str>>(&self, client: Client, arguments: &[S]) -> Invocation {
        let Some(program) = client.program() else { panic!("{client:?} is not installed") };
        Invocation::new(program)
            .env("DOCKER_HOST", self.host())
            .env("HOME", self.folder.join("home"))
            .env("TERM", "xterm")
            .env("DOCKER_CLI_HINTS", "false")
            .directory(self.folder.join("home"))
            .args(arguments.iter().map(AsRef::as_ref))
    }

    /// An invocation of the usual client.
    #[track_caller]
    pub fn invoke<S: AsRef<str>>(&self, arguments: &[S]) -> Invocation {
        self.client(Client::usual(), arguments)
    }

    /// Runs the usual client.
    #[must_use = "a result is to be looked at"]
    #[track_caller]
    pub fn docker<S: AsRef<str>>(&self, arguments: &[S]) -> Output {
        self.invoke(arguments).run()
    }

    /// Runs a container in the background and gives its id.
    #[track_caller]
    pub fn run_detached<S: AsRef<str>>(&self, arguments: &[S]) -> String {
        let words = ["run", "-d"].into_iter().chain(arguments.iter().map(AsRef::as_ref));
        self.docker(&words.collect::<Vec<_>>()).ok()
    }

    /// Runs `sh -c script` in a container that is removed afterwards, with these options.
    #[must_use = "a result is to be looked at"]
    #[track_caller]
    pub fn shell(&self, options: &[&str], script: &str) -> Output {
        let mut words = vec!["run", "--rm"];
        words.extend(options);
        words.extend(["busybox", "sh", "-c", script]);
        self.docker(&words)
    }

    /// A part of `inspect`, by template.
    #[track_caller]
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.docker(&["inspect", "--format", template, name]).ok()
    }

    /// The process id of a container's first process.
    #[track_caller]
    pub fn pid(&self, name: &str) -> u32 {
        self.inspect(name, "{{.State.Pid}}").parse().expect("a process id is a number")
    }

    /// Waits until `inspect` says `value`.
    #[track_caller]
    pub fn wait_inspect(&self, name: &str, template: &str, value: &str) {
        let mut last = String::new();
        let so = wait::poll(Duration::from_secs(30), || {
            last = self.docker(&["inspect", "--format", template, name]).out();
            (last == value).then_some(())
        });
        assert!(so.is_some(), "{template} of {name} is {last:?}, not {value:?}");
    }

    /// Asks the engine, with a JSON body if any.
    #[must_use = "a result is to be looked at"]
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> api::Answer {
        let body = body.map(ToString::to_string);
        self.api_raw(method, path, &[("Content-Type", "application/json")], body.as_deref())
    }

    /// Asks the engine, with a body of any kind.
    #[must_use = "a result is to be looked at"]
    #[track_caller]
    pub fn api_raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> api::Answer {
        match api::request(&self.socket, method, path, headers, body.map(str::as_bytes)) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}\n{}", self.log_tail(20)),
        }
    }

    /// Loads an image under this name.
    #[track_caller]
    pub fn load(&self, image: &Image, name: &str) {
        let archive = image.docker_archive(&[name]);
        let headers = [("Content-Type", "application/x-tar")];
        let answer =
            api::request(&self.socket, "POST", "/images/load?quiet=1", &headers, Some(&archive));
        match answer {
            Ok(answer) if answer.status == 200 && !answer.text().contains("errorDetail") => {}
            other => panic!("loading {name}: {other:?}\n{}", self.log_tail(20)),
        }
    }

    /// A new folder on the host, for bind mounts and files.
    #[must_use]
    pub fn host_folder(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join("host").join(number.to_string());
        fs::create_dir_all(&folder).expect("making a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("opening it");
        folder
    }

    /// The ids of all containers.
    #[must_use]
    #[track_caller]
    pub fn containers(&self) -> BTreeSet<String> {
        let answer = self.api("GET", "/containers/json?all=1", None).is(200).json();
        let list = answer.as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|one| Some(one["Id"].as_str()?.to_owned())).collect()
    }

    fn remove_containers(&self, keep: &BTreeSet<String>) -> Result<(), String> {
        let list = api::request(&self.socket, "GET", "/containers/json?all=1", &[], None);
        let list: Value = list
            .map_err(|error| error.to_string())
            .and_then(|answer| serde_json::from_slice(&answer.body).map_err(|e| e.to_string()))?;
        for one in list.as_array().into_iter().flatten() {
            let Some(id) = one["Id"].as_str().filter(|id| !keep.contains(*id)) else { continue };
            let path = format!("/containers/{id}?force=1&v=1");
            let answer = api::request(&self.socket, "DELETE", &path, &[], None)
                .map_err(|error| error.to_string())?;
            if !matches!(answer.status, 204 | 404 | 409) {
                return Err(format!("removing {id}: {} {}", answer.status, answer.text()));
            }
        }
        Ok(())
    }
}

impl Drop for Env {
    #[expect(clippy::print_stderr, reason = "a failing test shows what its engine said")]
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        let log = if panicking && !self.is_foreign() { self.log_tail(60) } else { String::new() };
        let faults = self.finish();
        if panicking {
            eprintln!("--- the engine's log ends with:\n{log}");
            for fault in faults {
                eprintln!("--- left behind: {fault}");
            }
        } else {
            assert!(faults.is_empty(), "left behind:\n{}", faults.join("\n"));
        }
    }
}
