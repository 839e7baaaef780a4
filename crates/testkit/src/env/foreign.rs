//! The suite against somebody else's engine, to see whether a test asks for what Docker does.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Env, Kind};

/// An engine that is not ours to start or stop; whatever a test made there is removed after it.
#[derive(Debug)]
pub(super) struct Foreign {
    before: BTreeSet<String>,
    images: BTreeSet<String>,
    /// Held for the life of the environment: tests take turns.
    _turn: File,
}

impl Foreign {
    /// The containers that were there before.
    pub(super) fn before(&self) -> &BTreeSet<String> {
        &self.before
    }

    /// The images that were there before.
    pub(super) fn images(&self) -> &BTreeSet<String> {
        &self.images
    }
}

/// The reference engine to compare with, if there is one: `FERRY_REFERENCE` or
/// `FERRY_BENCH_REFERENCE`, as `unix:///path/to/docker.sock`.
#[must_use]
pub fn reference_host() -> Option<String> {
    ["FERRY_REFERENCE", "FERRY_BENCH_REFERENCE"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|host| !host.is_empty())
}

impl Env {
    /// An environment around the engine at `host`.
    ///
    /// # Panics
    /// When `host` is not `unix://...` or does not answer.
    #[must_use]
    #[track_caller]
    pub fn foreign(host: &str) -> Self {
        let socket = PathBuf::from(host.strip_prefix("unix://").expect("the host is unix://..."));
        let folder = Path::new("/tmp").join(format!("ferry-foreign-{}", std::process::id()));
        for part in ["home", "host"] {
            fs::create_dir_all(folder.join(part)).expect("making the environment's folder");
        }
        let turn = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open("/tmp/ferry-foreign.lock")
            .expect("opening the lock");
        flock(&turn, FlockOperation::LockExclusive).expect("waiting for the turn");
        let foreign = Foreign { before: BTreeSet::new(), images: BTreeSet::new(), _turn: turn };
        let mut env = Self { kind: Kind::Foreign(foreign), folder, socket };
        let (before, images) = (env.containers(), env.image_names());
        if let Kind::Foreign(foreign) = &mut env.kind {
            foreign.before = before;
            foreign.images = images;
        }
        env
    }

    /// The names of all images; ids of those without one.
    pub(super) fn image_names(&self) -> BTreeSet<String> {
        let list = self.api("GET", "/images/json", None).is(200).json();
        let list = list.as_array().cloned().unwrap_or_default();
        let names = list.iter().flat_map(|image| match image["RepoTags"].as_array() {
            Some(tags) if !tags.is_empty() => tags.clone(),
            _ => vec![image["Id"].clone()],
        });
        names.filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    }
}
