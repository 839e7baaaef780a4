//! What readers see of a container: a value, published by its driver after each change.
//!
//! What Docker shows as booleans and status words is computed here and nowhere else.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::id::{ContainerId, ExecId};
use crate::phase::{Exit, Phase, Resting, Run};
use crate::spec::{ContainerSpec, ExecSpec, MountKind};

/// A container at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSnapshot {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without a slash.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// What it shall be, the image's configuration merged in.
    pub spec: Arc<ContainerSpec>,
    /// The image's id, `sha256:…`.
    pub image_id: String,
    /// The image's platform operating system, `linux`.
    pub platform_os: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it is in its life.
    pub phase: Phase,
    /// How often it was restarted by policy.
    pub restart_count: u32,
    /// What is mounted.
    pub mounts: Arc<[MountPoint]>,
    /// Its network, while it runs.
    pub network: Option<EndpointView>,
    /// Its execs that have not ended.
    pub execs: Vec<ExecId>,
    /// Files kept for it.
    pub files: ContainerFiles,
}

/// Files kept for a container on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerFiles {
    /// Its directory.
    pub directory: PathBuf,
    /// `resolv.conf`; empty when it has none of its own.
    pub resolv_conf: PathBuf,
    /// `hostname`.
    pub hostname: PathBuf,
    /// `hosts`.
    pub hosts: PathBuf,
    /// The log; empty when there is none.
    pub log: PathBuf,
}

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// What kind of thing.
    pub kind: MountKind,
    /// The volume's name; empty for others.
    pub name: String,
    /// Where it is on the host; empty for tmpfs.
    pub source: String,
    /// Where, inside the container.
    pub destination: String,
    /// The volume's driver; empty for others.
    pub driver: String,
    /// The options as they were written with `-v`.
    pub mode: String,
    /// Whether the container may write to it.
    pub writable: bool,
    /// How mounts travel; empty for volumes.
    pub propagation: String,
}

/// A container's place on the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// The endpoint's id.
    pub endpoint_id: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of the network.
    pub prefix_len: u8,
    /// The way out.
    pub gateway: Ipv4Addr,
    /// Its hardware address.
    pub mac: [u8; 6],
}

impl ContainerSnapshot {
    /// Docker's word for the phase.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match &self.phase {
            Phase::Created { .. } | Phase::Starting { before: Resting::Created { .. } } => {
                "created"
            }
            Phase::Running(_) => "running",
            Phase::Paused(_) => "paused",
            Phase::Exited(_) | Phase::Starting { before: Resting::Exited(_) } => "exited",
            Phase::Removing { .. } => "removing",
            Phase::Dead { .. } => "dead",
        }
    }

    /// The run that goes on, paused or not.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Running(run) | Phase::Paused(run) => Some(run),
            Phase::Created { .. }
            | Phase::Starting { .. }
            | Phase::Exited(_)
            | Phase::Removing { .. }
            | Phase::Dead { .. } => None,
        }
    }

    /// The run that has ended.
    #[must_use]
    pub fn exit(&self) -> Option<&Exit> {
        match &self.phase {
            Phase::Exited(exit)
            | Phase::Starting { before: Resting::Exited(exit) }
            | Phase::Removing { before: Resting::Exited(exit) }
            | Phase::Dead { before: Resting::Exited(exit), .. } => Some(exit),
            _ => None,
        }
    }

    /// Whether its program runs; a paused one does.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.run().is_some()
    }

    /// Whether it is frozen.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self.phase, Phase::Paused(_))
    }

    /// Its process id on the host; 0 when there is none.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.run().map_or(0, |run| run.pid)
    }

    /// When its program last started.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.run().map(|run| run.started_at).or_else(|| self.exit()?.started_at)
    }

    /// When its program last ended.
    #[must_use]
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.exit()?.finished_at
    }

    /// Its exit code; 0 while it runs or has never run.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match &self.phase {
            Phase::Created { failure: Some(failure) }
            | Phase::Removing { before: Resting::Created { failure: Some(failure) } }
            | Phase::Dead { before: Resting::Created { failure: Some(failure) }, .. } => {
                failure.exit_code
            }
            _ => self.exit().map_or(0, |exit| exit.code),
        }
    }

    /// What went wrong; empty when nothing did.
    #[must_use]
    pub fn error(&self) -> &str {
        match &self.phase {
            Phase::Created { failure: Some(failure) }
            | Phase::Removing { before: Resting::Created { failure: Some(failure) } } => {
                &failure.message
            }
            Phase::Dead { reason, .. } => reason,
            _ => self.exit().map_or("", |exit| &exit.error),
        }
    }

    /// Whether the kernel ended it for want of memory.
    #[must_use]
    pub fn oom_killed(&self) -> bool {
        self.exit().is_some_and(|exit| exit.oom_killed)
    }
}

/// An exec at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSnapshot {
    /// Its id.
    pub id: ExecId,
    /// In which container.
    pub container: ContainerId,
    /// What it shall be.
    pub spec: Arc<ExecSpec>,
    /// Where it is in its life.
    pub state: ExecState,
}

/// The life of an exec: `Created → Running → Exited`, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecState {
    /// Not started.
    Created,
    /// It is being started, or runs.
    Running {
        /// Its process id on the host, once it is known.
        pid: Option<u32>,
    },
    /// It has ended.
    Exited {
        /// Its exit code.
        code: i32,
        /// What its process id was, if it ever had one.
        pid: Option<u32>,
    },
}
