//! Mounts: their options understood.

use std::path::{Path, PathBuf};

use ferry_oci::runtime::Mount;
use ferry_sys::mount::{Attributes, Change, Propagation};
use ferry_sys::path::clean;

use crate::error::RuntimeError;

/// One mount, planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPlan {
    /// What is mounted.
    pub(crate) kind: MountKind,
    /// The source as the configuration has it, for messages and for the mount table.
    pub(crate) source: String,
    /// Where, relative to the container's root; empty is the root itself.
    pub(crate) target: PathBuf,
    /// Where, as the configuration has it, for messages.
    pub(crate) destination: PathBuf,
    /// Attributes of the mount alone.
    pub(crate) set: Attributes,
    /// Attributes that are taken from it.
    pub(crate) clear: Attributes,
    /// Attributes of the mount and all beneath it.
    pub(crate) set_below: Attributes,
    /// Attributes that are taken from it and all beneath it.
    pub(crate) clear_below: Attributes,
    /// Changes of propagation, in order, each with whether it is for all beneath too.
    pub(crate) propagation: Vec<(Propagation, bool)>,
}

/// Options of other runtimes that are not for the file system and that are not done.
const NOT_DONE: [&str; 3] = ["tmpcopyup", "idmap", "ridmap"];

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// A part of the host's tree.
    Bind {
        /// With what is mounted in it.
        recursive: bool,
    },
    /// The container's cgroups.
    Cgroup,
    /// A new instance of a file system.
    New(Filesystem),
}

/// A file system's type and options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filesystem {
    /// Its type.
    pub(crate) kind: String,
    /// Options for the file system, `name` or `name=value`.
    pub(crate) options: Vec<(String, Option<String>)>,
}

impl MountPlan {
    /// Understands one mount.
    pub(crate) fn new(mount: &Mount) -> Result<Self, RuntimeError> {
        let mut plan = Self {
            kind: kind(mount),
            source: mount.source.clone(),
            target: clean(&mount.destination),
            destination: mount.destination.clone(),
            set: Attributes::empty(),
            clear: Attributes::empty(),
            set_below: Attributes::empty(),
            clear_below: Attributes::empty(),
            propagation: Vec::new(),
        };
        if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
            return Err(plan.refused("id-mapped mounts are not supported"));
        }
        if !mount.destination.is_absolute() {
            return Err(plan.refused("mount destination not absolute"));
        }
        for option in &mount.options {
            plan.option(option)?;
        }
        if plan.kind == MountKind::Cgroup
            && plan.propagation.iter().any(|(propagation, _)| *propagation != Propagation::Private)
        {
            return Err(plan.refused("only private propagation is supported for cgroups"));
        }
        plan.check_proc()?;
        Ok(plan)
    }

    /// Whether the container's `/dev` is a part of the host's tree, so that nothing is made in it.
    pub(crate) fn binds_dev(&self) -> bool {
        matches!(self.kind, MountKind::Bind { .. }) && self.target == Path::new("dev")
    }

    /// Whether it shows processes at `/proc`.
    pub(crate) fn is_proc(&self) -> bool {
        self.target == Path::new("proc") && self.is_new("proc")
    }

    /// Whether it is a view of the kernel, which the kernel guards.
    pub(crate) fn is_kernel_view(&self) -> bool {
        self.is_new("proc") || self.is_new("sysfs")
    }

    /// Whether it is a new file system of a type.
    pub(crate) fn is_new(&self, kind: &str) -> bool {
        matches!(&self.kind, MountKind::New(filesystem) if filesystem.kind == kind)
    }

    /// The change of the mount alone.
    pub(crate) fn change(&self) -> Change {
        Change { set: self.set, clear: self.clear, propagation: None }
    }

    /// The change of the mount and all beneath it.
    pub(crate) fn change_below(&self) -> Change {
        Change { set: self.set_below, clear: self.clear_below, propagation: None }
    }

    fn option(&mut self, option: &str) -> Result<(), RuntimeError> {
        match option {
            "bind" => return self.binding(false),
            "rbind" => return self.binding(true),
            "defaults" => return Ok(()),
            _ => {}
        }
        if let Some(propagation) = propagation(option) {
            self.propagation.push(propagation);
            return Ok(());
        }
        if let Some((set, clear)) = attributes(option) {
            self.set = (self.set - clear) | set;
            self.clear = (self.clear - set) | clear;
            return Ok(());
        }
        if let Some((set, clear)) = option.strip_prefix('r').and_then(attributes) {
            self.set_below = (self.set_below - clear) | set;
            self.clear_below = (self.clear_below - set) | clear;
            return Ok(());
        }
        match &mut self.kind {
            MountKind::New(filesystem) if !NOT_DONE.contains(&option) => {
                let pair = option.split_once('=');
                let (name, value) =
                    pair.map_or((option, None), |(name, value)| (name, Some(value)));
                filesystem.options.push((name.to_owned(), value.map(str::to_owned)));
                Ok(())
            }
            MountKind::Bind { .. } | MountKind::Cgroup | MountKind::New(_) => {
                Err(self.refused(&format!("option {option:?} is not supported")))
            }
        }
    }

    fn binding(&mut self, recursively: bool) -> Result<(), RuntimeError> {
        match &mut self.kind {
            MountKind::Bind { recursive } => *recursive = recursively,
            MountKind::Cgroup | MountKind::New(_) => {
                self.kind = MountKind::Bind { recursive: recursively }
            }
        }
        Ok(())
    }

    /// Nothing but processes may be at `/proc`, and nearly nothing in it: whoever writes there could
    /// turn the runtime's own writes, or the masks, against the host. As runc does.
    fn check_proc(&self) -> Result<(), RuntimeError> {
        const ALLOWED: [&str; 10] = [
            "cpuinfo",
            "diskstats",
            "meminfo",
            "stat",
            "swaps",
            "uptime",
            "loadavg",
            "slabinfo",
            "sys/kernel/ns_last_pid",
            "sys/crypto/fips_enabled",
        ];
        let Ok(inside) = self.target.strip_prefix("proc") else { return Ok(()) };
        let destination = self.destination.display();
        if inside.as_os_str().is_empty() {
            // That a bound tree is one of processes is seen when it is there.
            return if self.is_proc() || matches!(self.kind, MountKind::Bind { .. }) {
                Ok(())
            } else {
                let message =
                    format!("{destination:?} cannot be mounted because it is not of type proc");
                Err(RuntimeError::invalid(message))
            };
        }
        if ALLOWED.iter().any(|allowed| inside == Path::new(allowed)) {
            return Ok(());
        }
        Err(self.inside_proc())
    }

    /// That it would be in `/proc`, where it may not be.
    pub(crate) fn inside_proc(&self) -> RuntimeError {
        let destination = self.destination.display();
        let message = format!("{destination:?} cannot be mounted because it is inside /proc");
        RuntimeError::invalid(message)
    }

    fn refused(&self, why: &str) -> RuntimeError {
        RuntimeError::invalid(format!(
            "mount of {:?}: {why}",
            self.destination.display().to_string()
        ))
    }
}

fn kind(mount: &Mount) -> MountKind {
    let binds = |option: &String| option == "bind" || option == "rbind";
    match mount.kind.as_str() {
        "bind" => MountKind::Bind { recursive: false },
        "cgroup" => MountKind::Cgroup,
        _ if mount.options.iter().any(binds) => MountKind::Bind { recursive: false },
        kind => MountKind::New(Filesystem { kind: kind.to_owned(), options: Vec::new() }),
    }
}

/// Propagation by its name, with whether it is for all beneath too.
pub(super) fn propagation(name: &str) -> Option<(Propagation, bool)> {
    Some(match name {
        "private" => (Propagation::Private, false),
        "rprivate" => (Propagation::Private, true),
        "slave" => (Propagation::Slave, false),
        "rslave" => (Propagation::Slave, true),
        "shared" => (Propagation::Shared, false),
        "rshared" => (Propagation::Shared, true),
        "unbindable" => (Propagation::Unbindable, false),
        "runbindable" => (Propagation::Unbindable, true),
        _ => return None,
    })
}

/// Every option that is understood, `bind` first.
pub(crate) fn option_names() -> Vec<String> {
    let mut names = vec!["bind".to_owned(), "rbind".to_owned(), "defaults".to_owned()];
    for name in ["private", "slave", "shared", "unbindable"] {
        names.extend([name.to_owned(), format!("r{name}")]);
    }
    names.extend(ATTRIBUTES.iter().flat_map(|(name, ..)| [(*name).to_owned(), format!("r{name}")]));
    names
}

/// What an option sets and what it clears.
fn attributes(option: &str) -> Option<(Attributes, Attributes)> {
    ATTRIBUTES.iter().find(|(name, ..)| *name == option).map(|(_, set, clear)| (*set, *clear))
}

const NONE: Attributes = Attributes::empty();

/// Options for attributes of a mount, what each sets and what it clears.
const ATTRIBUTES: [(&str, Attributes, Attributes); 18] = [
    ("ro", Attributes::READ_ONLY, NONE),
    ("rw", NONE, Attributes::READ_ONLY),
    ("nosuid", Attributes::NO_SUID, NONE),
    ("suid", NONE, Attributes::NO_SUID),
    ("nodev", Attributes::NO_DEV, NONE),
    ("dev", NONE, Attributes::NO_DEV),
    ("noexec", Attributes::NO_EXEC, NONE),
    ("exec", NONE, Attributes::NO_EXEC),
    ("noatime", Attributes::NO_ATIME, Attributes::STRICT_ATIME),
    ("atime", NONE, Attributes::NO_ATIME),
    ("relatime", NONE, Attributes::ATIME),
    ("norelatime", NONE, NONE),
    ("strictatime", Attributes::STRICT_ATIME, Attributes::NO_ATIME),
    ("nostrictatime", NONE, Attributes::STRICT_ATIME),
    ("nodiratime", Attributes::NO_DIR_ATIME, NONE),
    ("diratime", NONE, Attributes::NO_DIR_ATIME),
    ("nosymfollow", Attributes::NO_SYMLINK_FOLLOW, NONE),
    ("symfollow", NONE, Attributes::NO_SYMLINK_FOLLOW),
];
