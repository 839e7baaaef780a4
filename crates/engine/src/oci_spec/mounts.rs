//! Mounts: Docker's own, and those of the container.

use std::path::{Path, PathBuf};

use ferry_oci::runtime::Mount;

use super::{INIT_PATH, SpecInput};
use crate::spec::{IpcMode, Propagation, Recursion};

/// Docker's size of `/dev/shm`.
pub(crate) const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// A mount of a container, its source found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedMount {
    /// Where, inside the container.
    pub destination: String,
    /// What.
    pub kind: ResolvedKind,
    /// The container may not write to it.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResolvedKind {
    /// A file or directory of the host.
    Bind {
        /// Its path.
        source: PathBuf,
        /// How mounts travel; volumes have none.
        propagation: Option<Propagation>,
        /// Whether mounts beneath come along.
        recursion: Recursion,
    },
    /// A file system in memory, with options as of mount(8).
    Tmpfs(Vec<String>),
}

pub(super) fn mounts(input: &SpecInput<'_>) -> Vec<Mount> {
    let host = &input.spec.host;
    let mut theirs: Vec<Mount> = input.mounts.iter().map(users).collect();
    // Shared memory of others is mounted like the user's, memory of its own with Docker's.
    let (shared, own) = match shm(input) {
        Some(mount) if mount.kind == "bind" => (Some(mount), None),
        own => (None, own),
    };
    theirs.extend(shared.filter(|mount| !has(&theirs, &mount.destination)));
    for (source, destination) in input.files {
        if !input.mounts.iter().any(|mount| mount.destination == *destination) {
            theirs.push(file(source, destination, host.read_only));
        }
    }
    // Order: what is mounted higher up comes first, so that it does not hide what is beneath it.
    theirs.sort_by_key(|mount| depth(&mount.destination));
    let theirs_have_dev = has(&theirs, Path::new("/dev"));
    let ours = system(input).into_iter().chain(own).filter(|mount| {
        let hidden = theirs_have_dev && mount.destination.starts_with("/dev");
        !hidden && !has(&theirs, &mount.destination)
    });
    let mut mounts: Vec<Mount> = ours.collect();
    if let Some(init) = &input.init {
        let mut mount = bind(init, INIT_PATH);
        // Executable, though the exec root's own file system (`/run`) may be mounted without that.
        mount.options = ["bind", "ro", "exec"].map(str::to_owned).to_vec();
        mounts.push(mount);
    }
    mounts.extend(theirs);
    mounts
}

fn has(mounts: &[Mount], destination: &Path) -> bool {
    mounts.iter().any(|mount| mount.destination == destination)
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

/// What Docker mounts by itself, but `/dev/shm`.
fn system(input: &SpecInput<'_>) -> Vec<Mount> {
    let writable = input.spec.host.privileged;
    let mount = |destination: &str, kind: &str, options: &str| Mount {
        destination: destination.into(),
        kind: kind.to_owned(),
        source: kind.to_owned(),
        options: options.split(',').map(str::to_owned).collect(),
        ..Mount::default()
    };
    vec![
        mount("/proc", "proc", "nosuid,noexec,nodev"),
        mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount(
            "/sys",
            "sysfs",
            if writable { "nosuid,noexec,nodev" } else { "nosuid,noexec,nodev,ro" },
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            if writable { "nosuid,noexec,nodev" } else { "ro,nosuid,noexec,nodev" },
        ),
        mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
    ]
}

fn shm(input: &SpecInput<'_>) -> Option<Mount> {
    let host = &input.spec.host;
    let shared = |source: &Path| {
        let mut mount = bind(source, "/dev/shm");
        mount.options = vec!["rbind".to_owned(), "rprivate".to_owned()];
        Some(mount)
    };
    match (&host.ipc, &input.joins.shm) {
        (IpcMode::None, _) => None,
        (IpcMode::Host, _) => shared(Path::new("/dev/shm")),
        (_, Some(source)) => shared(source),
        (_, None) => Some(Mount {
            destination: "/dev/shm".into(),
            kind: "tmpfs".to_owned(),
            source: "shm".to_owned(),
            options: vec![
                "nosuid".to_owned(),
                "noexec".to_owned(),
                "nodev".to_owned(),
                "mode=1777".to_owned(),
                format!("size={}", host.shm_size.unwrap_or(DEFAULT_SHM_SIZE)),
            ],
            ..Mount::default()
        }),
    }
}

fn bind(source: &Path, destination: &str) -> Mount {
    Mount {
        destination: destination.into(),
        kind: "bind".to_owned(),
        source: source.display().to_string(),
        ..Mount::default()
    }
}

fn file(source: &Path, destination: &str, read_only: bool) -> Mount {
    let mut mount = bind(source, destination);
    let options: &[&str] =
        if read_only { &["rbind", "rro", "rprivate"] } else { &["rbind", "rprivate"] };
    mount.options = options.iter().map(|option| (*option).to_owned()).collect();
    mount
}

fn users(mount: &ResolvedMount) -> Mount {
    match &mount.kind {
        ResolvedKind::Tmpfs(options) => {
            let mut list: Vec<String> =
                ["noexec", "nosuid", "nodev", "rprivate"].map(str::to_owned).to_vec();
            list.extend(options.iter().cloned());
            if mount.read_only {
                list.push("ro".to_owned());
            }
            Mount {
                destination: PathBuf::from(&mount.destination),
                kind: "tmpfs".to_owned(),
                source: "tmpfs".to_owned(),
                options: last_of_each(&list),
                ..Mount::default()
            }
        }
        ResolvedKind::Bind { source, propagation, recursion } => {
            let mut result = bind(source, &mount.destination);
            let whole = *recursion != Recursion::NonRecursive;
            result.options.push(if whole { "rbind" } else { "bind" }.to_owned());
            if mount.read_only {
                let deep =
                    !matches!(recursion, Recursion::NonRecursive | Recursion::ReadOnlyNonRecursive);
                result.options.push(if deep { "rro" } else { "ro" }.to_owned());
            }
            result.options.extend(propagation.map(|it| it.name().to_owned()));
            result
        }
    }
}

/// Of options that contradict each other, the last; in order otherwise.
fn last_of_each(options: &[String]) -> Vec<String> {
    let group = |option: &str| -> String {
        if let Some((name, _)) = option.split_once('=') {
            return name.to_owned();
        }
        match option {
            "ro" | "rw" => "ro".to_owned(),
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => {
                "propagation".to_owned()
            }
            "relatime" | "noatime" | "strictatime" | "norelatime" | "nostrictatime" => {
                "atime".to_owned()
            }
            _ => option.strip_prefix("no").unwrap_or(option).to_owned(),
        }
    };
    let kept = options.iter().enumerate().filter(|(index, option)| {
        let later = options.iter().skip(index + 1);
        !later.into_iter().any(|other| group(other) == group(option))
    });
    kept.map(|(_, option)| option.clone()).collect()
}

/// The propagation that the root must have so that a mount's own has an effect.
pub(super) fn root_propagation(mounts: &[ResolvedMount]) -> &'static str {
    let mut found = "";
    for mount in mounts {
        if let ResolvedKind::Bind { propagation: Some(propagation), .. } = &mount.kind {
            match propagation {
                Propagation::Shared | Propagation::RecursiveShared => return "shared",
                Propagation::Slave | Propagation::RecursiveSlave => found = "rslave",
                Propagation::Private | Propagation::RecursivePrivate => {}
            }
        }
    }
    found
}

/// Refuses a propagation that the source's own mount does not allow; `mountinfo` is the host's.
pub(crate) fn propagation_fault(
    source: &Path,
    propagation: Propagation,
    mountinfo: &str,
) -> Option<String> {
    let wanted = match propagation {
        Propagation::Private | Propagation::RecursivePrivate => return None,
        Propagation::Shared | Propagation::RecursiveShared => "a shared",
        Propagation::Slave | Propagation::RecursiveSlave => "a shared or slave",
    };
    let mut best: Option<(&Path, &str)> = None;
    for line in mountinfo.lines() {
        let mut fields = line.splitn(7, ' ').skip(4);
        let (Some(point), Some(_), Some(rest)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let point = Path::new(point);
        // Of two mounts on one place, the later is on top.
        if source.starts_with(point) && best.is_none_or(|(known, _)| depth(point) >= depth(known)) {
            best = Some((point, rest.split(" - ").next().unwrap_or_default()));
        }
    }
    let (point, optional) = best?;
    let has = |tag: &str| optional.split(' ').any(|field| field.starts_with(tag));
    let fits = has("shared:") || (wanted != "a shared" && has("master:"));
    (!fits).then(|| {
        format!(
            "path {} is mounted on {} but it is not {wanted} mount",
            source.display(),
            point.display()
        )
    })
}
