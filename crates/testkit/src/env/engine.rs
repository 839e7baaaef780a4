//! The engine of an environment: started, killed, stopped, and its last traces looked for.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::{Env, EnvBuilder, Kind, Own, programs};
use crate::command::{self, pid_of, wait_child};
use crate::slot::Slot;
use crate::{api, leaks, observe, wait};

impl Env {
    #[track_caller]
    pub(super) fn own(builder: EnvBuilder) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "an engine needs root; run this as root (`cargo xtask e2e`)"
        );
        let ferryd = programs().join("ferryd");
        assert!(ferryd.exists(), "no {}; run `cargo xtask build` first", ferryd.display());
        let slot = Slot::take();
        leaks::sweep(&slot);
        let folder = slot.folder();
        for part in ["home", "data", "host"] {
            fs::create_dir_all(folder.join(part)).expect("making the environment's folder");
        }
        let public = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&folder, public).expect("opening the environment's folder");
        fs::create_dir_all(slot.exec_root()).expect("making the engine's run-time folder");
        let configuration = builder.configuration.as_ref().map_or("{}".into(), Value::to_string);
        fs::write(folder.join("daemon.json"), configuration)
            .expect("writing the engine's configuration");
        let socket = slot.exec_root().join("ferry.sock");
        let own = Own { slot, builder, engine: None, known: leaks::Kin::new() };
        let mut env = Self { kind: Kind::Own(Box::new(own)), folder, socket };
        env.start_engine();
        env
    }

    /// Starts the engine and waits for its first answer.
    #[track_caller]
    pub fn start_engine(&mut self) {
        if let Err(log) = self.try_start_engine() {
            panic!("ferryd did not start; its log ends with:\n{log}");
        }
    }

    /// Starts the engine and waits for its first answer or its end.
    ///
    /// # Errors
    /// The end of its log, when it ended or did not answer.
    pub fn try_start_engine(&mut self) -> Result<(), String> {
        let socket = self.socket.clone();
        let mut child = self.spawn_engine(&[], &[]);
        let answers = wait::poll(Duration::from_secs(30), || {
            if child.try_wait().is_ok_and(|status| status.is_some()) {
                return Some(false);
            }
            let ping = api::request(&socket, "GET", "/_ping", &[], None);
            ping.is_ok_and(|answer| answer.status == 200).then_some(true)
        });
        let answers = answers == Some(true);
        if !answers {
            drop(child.kill());
            drop(child.wait());
            return Err(self.log_tail(60));
        }
        self.own_parts_mut().engine = Some(child);
        Ok(())
    }

    /// Starts the program, with further flags and variables, and does not wait for it.
    #[track_caller]
    pub fn spawn_engine(&self, flags: &[&str], variables: &[(&str, &str)]) -> Child {
        let own = self.own_parts();
        let slot = &own.slot;
        let log = File::options().create(true).append(true).open(self.folder.join("ferryd.log"));
        let log = log.expect("opening the engine's log");
        let mut command = command::command(programs().join("ferryd"));
        let data_root = self.data_root();
        command
            .arg("--host")
            .arg(self.host())
            .arg("--data-root")
            .arg(&data_root)
            .arg("--exec-root")
            .arg(slot.exec_root())
            .arg("--pidfile")
            .arg(slot.exec_root().join("ferryd.pid"))
            .arg("--config-file")
            .arg(self.folder.join("daemon.json"))
            .args(["--cgroup-parent", &slot.cgroup_parent()])
            .args(["--bridge", &slot.bridge()])
            .args(["--bip", &slot.bridge_address()])
            .args(&own.builder.flags)
            .args(flags)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.join("home"))
            .env("RUST_BACKTRACE", "1")
            .env("FERRY_TEST_SLOT", slot.bridge())
            .envs(own.builder.variables.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("duplicating a descriptor"))
            .stderr(log);
        command.spawn().expect("starting ferryd")
    }

    /// The engine's process id.
    #[must_use]
    #[track_caller]
    pub fn engine_pid(&self) -> u32 {
        self.own_parts().engine.as_ref().expect("the engine runs").id()
    }

    /// Kills the engine with SIGKILL; containers go on.
    #[track_caller]
    pub fn kill_engine(&mut self) {
        self.note_kin();
        let mut engine = self.own_parts_mut().engine.take().expect("the engine runs");
        engine.kill().expect("killing the engine");
        engine.wait().expect("waiting for the engine");
    }

    /// Waits until the engine ends by itself, as at a failpoint; `None` when it does not.
    #[must_use]
    pub fn wait_engine_end(&mut self, deadline: Duration) -> Option<ExitStatus> {
        self.note_kin();
        let engine = self.own_parts_mut().engine.as_mut()?;
        let ended = wait_child(engine, deadline);
        if ended.is_some() {
            self.own_parts_mut().engine = None;
        }
        ended
    }

    /// Whether the engine has not ended.
    #[must_use]
    pub fn engine_runs(&mut self) -> bool {
        let engine = self.own_parts_mut().engine.as_mut();
        engine.is_some_and(|engine| engine.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Makes `child`, started by [`Self::spawn_engine`], the engine of this environment.
    pub fn adopt_engine(&mut self, child: Child) {
        self.own_parts_mut().engine = Some(child);
    }

    /// Stops the engine with SIGTERM and waits for its end.
    #[track_caller]
    pub fn stop_engine(&mut self) {
        assert!(self.try_stop_engine(), "ferryd did not end within 20 s of SIGTERM");
    }

    fn try_stop_engine(&mut self) -> bool {
        self.note_kin();
        let Some(mut engine) = self.own_parts_mut().engine.take() else { return true };
        kill_process(pid_of(engine.id()), Signal::TERM).ok();
        let ended = wait_child(&mut engine, Duration::from_secs(20)).is_some();
        if !ended {
            drop(engine.kill());
            drop(engine.wait());
        }
        ended
    }

    /// Remembers who lives beneath the engine, before it goes.
    pub(super) fn note_kin(&mut self) {
        let own = self.own_parts_mut();
        if let Some(engine) = &own.engine {
            own.known.extend(
                observe::descendants(engine.id()).into_iter().map(|stat| (stat.pid, stat.started)),
            );
        }
    }

    /// Checks that no container left anything, while the engine goes on.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let own = self.own_parts();
        let found = wait_for_nothing(|| {
            let mut found = leaks::of_containers(&own.slot);
            found.extend(own.engine.iter().flat_map(|engine| leaks::zombies(engine.id())));
            found
        });
        assert!(found.is_empty(), "left behind:\n{}", found.join("\n"));
    }

    /// Ends everything and says what went wrong and what was left.
    pub(super) fn finish(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        let known = match &self.kind {
            Kind::Foreign(foreign) => {
                let kept = self.remove_containers(foreign.before());
                for name in self.image_names().difference(foreign.images()) {
                    // Removing an image by one name may take others along.
                    drop(self.api("DELETE", &format!("/images/{name}?force=1"), None));
                }
                return kept.err().into_iter().collect();
            }
            Kind::Own(own) => own.known.clone(),
        };
        self.note_kin();
        let runs = self.engine_runs();
        if runs {
            faults.extend(self.remove_containers(&BTreeSet::new()).err());
            let own = self.own_parts();
            faults.extend(wait_for_nothing(|| leaks::of_containers(&own.slot)));
        }
        if !self.try_stop_engine() {
            faults.push("ferryd did not end within 20 s of SIGTERM".into());
        }
        let known: leaks::Kin = known.union(&self.own_parts().known).copied().collect();
        let own = self.own_parts_mut();
        if runs && faults.is_empty() {
            faults.extend(wait_for_nothing(|| leaks::of_engine(&own.slot, &known)));
        }
        leaks::sweep_known(&own.slot, &known);
        own.slot.clean();
        if own.builder.keep_quiet { Vec::new() } else { faults }
    }
}

/// Looks again and again until nothing is found, for the kernel takes its time.
fn wait_for_nothing(mut look: impl FnMut() -> Vec<String>) -> Vec<String> {
    let mut found = Vec::new();
    wait::poll(Duration::from_secs(30), || {
        found = look();
        found.is_empty().then_some(())
    });
    found
}
