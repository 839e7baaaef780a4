//! A scratch bundle with busybox, and the runtime's program run on it. Needs root.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use ferry_sys::process::command;
use serde_json::{Value, json};

/// Everything one test makes: a directory, a cgroup of the same name, a container id.
pub(crate) struct Bundle {
    pub(crate) id: String,
    pub(crate) directory: PathBuf,
    pub(crate) config: Value,
    /// The runtime's program.
    pub(crate) program: PathBuf,
}

/// What a run said and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

/// busybox, statically linked, as Debian's package `busybox-static` has it.
pub(crate) fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .expect("these tests need busybox at /usr/bin or /bin: apt-get install busybox-static")
}

impl Bundle {
    /// A bundle like one of Docker's whose program is a shell script.
    pub(crate) fn new(script: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("ferry-test-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&id);
        let rootfs = directory.join("rootfs");
        for name in ["bin", "etc", "tmp"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::copy(busybox(), rootfs.join("bin/busybox")).unwrap();
        let applets = "sh cat ls id env grep echo true sleep touch mkdir mount umount stat ps ip tty stty kill \
                       pwd ln head hostname readlink mknod chown wc tr sort cut dd test sed umask unshare";
        for applet in applets.split_whitespace() {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
        fs::write(rootfs.join("etc/passwd"), passwd).unwrap();
        let mut config = docker_like();
        config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        config["process"]["args"] = json!(["sh", "-c", script]);
        Self { id, directory, config, program: env!("CARGO_BIN_EXE_ferry-runtime").into() }
    }

    /// A path in the container's root.
    pub(crate) fn root(&self, path: &str) -> PathBuf {
        self.directory.join("rootfs").join(path)
    }

    /// Sets one value of the configuration, by its place (`/process/cwd`).
    pub(crate) fn set(&mut self, place: &str, value: Value) -> &mut Self {
        let (parent, name) = place.rsplit_once('/').unwrap();
        self.config.pointer_mut(parent).unwrap()[name] = value;
        self
    }

    /// Adds to one list of the configuration.
    pub(crate) fn add(&mut self, place: &str, value: Value) -> &mut Self {
        let list = self.config.pointer_mut(place).unwrap_or_else(|| panic!("{place}"));
        list.as_array_mut().unwrap().push(value);
        self
    }

    /// Adds a bind mount.
    pub(crate) fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) -> &mut Self {
        self.add(
            "/mounts",
            json!({ "type": "bind", "source": source, "destination": destination, "options": options }),
        )
    }

    /// Gives the container a user namespace, and its root file system to the root of that.
    pub(crate) fn in_user_namespace(&mut self) -> &mut Self {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        self.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        for directory in ["", "tmp", "bin", "etc"] {
            std::os::unix::fs::chown(self.root(directory), Some(100_000), Some(100_000)).unwrap();
        }
        self.add("/linux/namespaces", json!({ "type": "user" }))
    }

    /// Takes away the mounts at some places, so that the image's own files are there.
    pub(crate) fn without_mounts(&mut self, places: &[&str]) -> &mut Self {
        let mounts = self.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !places.iter().any(|place| mount["destination"] == *place));
        self
    }

    /// Runs the container to its end.
    #[track_caller]
    pub(crate) fn run(&self) -> Said {
        self.write_config();
        self.runtime(&["run", "--bundle", self.path(), &self.id])
    }

    /// Runs the container, which must succeed and say nothing on standard error.
    #[track_caller]
    pub(crate) fn output(&self) -> String {
        let Said { out, err, code } = self.run();
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        out
    }

    /// Makes and starts the container in the background; its output goes nowhere.
    #[track_caller]
    pub(crate) fn start(&self) {
        self.write_config();
        let arguments = ["run", "--detach", "--bundle", self.path(), &self.id];
        let mut command = self.command(&arguments);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success());
    }

    /// Makes the container; its output goes nowhere.
    pub(crate) fn create(&self, arguments: &[&str]) -> Said {
        self.write_config();
        let line: Vec<&str> = ["create", "--bundle", self.path()]
            .into_iter()
            .chain(arguments.iter().copied())
            .chain([self.id.as_str()])
            .collect();
        // What is inherited by the init would keep a pipe open; so errors go to a file.
        let errors = self.directory.join("errors");
        let mut command = self.command(&line);
        command.stdout(Stdio::null()).stderr(fs::File::create(&errors).unwrap());
        let code = command.status().unwrap().code().unwrap_or(-1);
        Said { out: String::new(), err: fs::read_to_string(errors).unwrap(), code }
    }

    /// Gives the container every capability that this test has.
    pub(crate) fn all_capabilities(&mut self) -> &mut Self {
        let all: Vec<String> =
            ferry_sys::capabilities::names().filter(|name| has_capability(name)).collect();
        for set in ["bounding", "effective", "permitted"] {
            self.set(&format!("/process/capabilities/{set}"), json!(all));
        }
        self
    }

    /// Runs the runtime with arguments.
    pub(crate) fn runtime(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().unwrap())
    }

    /// The runtime's program with a record directory of this test's own.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = command(&self.program);
        command.arg("--root").arg(self.directory.join("state")).args(arguments);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// As [`run`](Self::run), in a mount namespace in which `before` was done first.
    pub(crate) fn run_after(&self, before: &str, after: &str) -> Said {
        self.write_config();
        let script = format!(
            "{before}\n{} --root {}/state run --bundle {} {} </dev/null\n{after}",
            env!("CARGO_BIN_EXE_ferry-runtime"),
            self.path(),
            self.path(),
            self.id
        );
        let mut command = command(&busybox());
        command.args(["unshare", "-m", "--propagation", "private", "sh", "-c", &script]);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        Said::from(command.output().unwrap())
    }

    /// Runs the runtime with descriptors 3 to 9 open at a directory of the host, not closed on execution.
    pub(crate) fn leaking(&self, directory: &Path, arguments: &[&str]) -> Said {
        self.write_config();
        let open: String =
            (3..10).map(|fd| format!("exec {fd}<{}; ", directory.display())).collect();
        self.after(&open, arguments)
    }

    /// Runs the runtime with arguments from a shell in which something was done first.
    pub(crate) fn after(&self, before: &str, arguments: &[&str]) -> Said {
        let script = format!("{before}\nexec \"$@\" </dev/null");
        let runtime = self.command(arguments);
        let mut command = command(&busybox());
        command.args(["sh", "-c", &script, "sh"]);
        command.arg(runtime.get_program()).args(runtime.get_args());
        Said::from(command.output().unwrap())
    }

    /// Starts a command of the runtime and does not wait for it.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn path(&self) -> &str {
        self.directory.to_str().unwrap()
    }

    pub(crate) fn write_config(&self) {
        let text = serde_json::to_vec(&self.config).unwrap();
        fs::write(self.directory.join("config.json"), text).unwrap();
    }

    /// One field of the container's state.
    #[track_caller]
    pub(crate) fn state(&self, field: &str) -> Value {
        let said = self.runtime(&["state", &self.id]);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str::<Value>(&said.out).unwrap()[field].clone()
    }

    /// Waits until a field of the state has a value.
    #[track_caller]
    pub(crate) fn await_status(&self, status: &str) {
        for _attempt in 0..500 {
            if self.state("status") == status {
                return;
            }
            nap();
        }
        panic!("the container is {} and not {status}", self.state("status"));
    }

    /// Directories of the container's cgroup that are there.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let layout = ferry_sys::cgroup::Layout::detect().unwrap();
        let directories = layout.mounted.iter().map(|mounted| mounted.mountpoint.join(&self.id));
        directories.filter(|directory| directory.exists()).collect()
    }
}

/// Whether this test has a capability.
pub(crate) fn has_capability(name: &str) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    let bits = u64::from_str_radix(line, 16).unwrap();
    bits >> ferry_sys::capabilities::number(name).unwrap() & 1 == 1
}

/// A short wait between two looks at something that has no event.
pub(crate) fn nap() {
    let short = rustix::time::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let _left = rustix::thread::nanosleep(&short);
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let said = self.runtime(&["delete", "--force", &self.id]);
        let left = self.cgroups();
        fs::remove_dir_all(&self.directory).unwrap();
        if !std::thread::panicking() {
            assert_eq!(said.code, 0, "{said:?}");
            assert!(left.is_empty(), "cgroups are left: {left:?}");
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// A socket that terminals are sent to.
pub(crate) struct ConsoleSocket(std::os::unix::net::UnixListener);

impl ConsoleSocket {
    pub(crate) fn listen(path: &Path) -> Self {
        Self(std::os::unix::net::UnixListener::bind(path).unwrap())
    }

    /// The terminal that was sent.
    pub(crate) fn receive(&self) -> OwnedFd {
        let (stream, _peer) = self.0.accept().unwrap();
        let mut buffer = [0; 64];
        let datagram = ferry_sys::fdpass::receive(&stream, &mut buffer).unwrap().unwrap();
        datagram.descriptors.into_iter().next().unwrap()
    }
}

/// A configuration as Docker makes it for `docker run`, without a filter for system calls.
fn docker_like() -> Value {
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ]);
    json!({
        "ociVersion": "1.2.1",
        "process": {
            "user": { "uid": 0, "gid": 0, "additionalGids": [0] },
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "oomScoreAdj": 0,
        },
        "root": { "path": "rootfs" },
        "hostname": "box",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["ro", "nosuid", "noexec", "nodev"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"] },
        ],
        "linux": {
            "resources": {},
            "namespaces": [
                { "type": "mount" }, { "type": "network" }, { "type": "uts" }, { "type": "pid" }, { "type": "ipc" },
            ],
            "maskedPaths": ["/proc/acpi", "/proc/interrupts", "/proc/keys", "/proc/nope", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger", "/proc/nope"],
        },
    })
}

/// Checks a container with limits above those of the maker: only who has the right to can raise them.
#[track_caller]
pub(crate) fn check_raised(said: &Said, out: &str) {
    if has_capability("CAP_SYS_RESOURCE") {
        assert_eq!((said.out.as_str(), said.code), (out, 0), "{said:?}");
    } else {
        let refused = "error setting rlimit type 7: operation not permitted";
        assert!(said.err.contains(refused) && said.out.is_empty(), "{said:?}");
    }
}
