//! Steps at which a test may have the process kill itself, to see what recovery makes of it.
//!
//! The names are listed once, in [`ALL`]; a test walks the list. In normal life a failpoint costs
//! one comparison with `None`.

/// Every step, in the order in which a life passes them.
pub const ALL: [&str; 46] = [
    "create.name-reserved",
    "create.filesystem-made",
    "create.volumes-made",
    "create.prepared",
    "create.recorded",
    "create.volumes-recorded",
    "start.network-attached",
    "start.root-mounted",
    "start.config-written",
    "start.launched",
    "start.recorded",
    "start.failed",
    "start.released",
    "kill.signalled",
    "stop.signalled",
    "stop.timed-out",
    "pause.frozen",
    "pause.recorded",
    "exit.seen",
    "exit.released",
    "exit.recorded",
    "rename.recorded",
    "rm.recorded",
    "rm.exec-directory-removed",
    "rm.filesystem-hidden",
    "rm.volumes-removed",
    "rm.record-deleted",
    "rm.files-deleted",
    "auto-rm.released",
    "auto-rm.exec-directory-removed",
    "auto-rm.filesystem-hidden",
    "auto-rm.volumes-removed",
    "auto-rm.record-deleted",
    "auto-rm.files-deleted",
    "pull.resolved",
    "pull.written",
    "pull.layer-committed",
    "pull.committed",
    "push.blob",
    "push.manifest",
    "commit.committed",
    "prune.pruned",
    "load.committed",
    "recovery.planned",
    "recovery.executed",
    "recovery.ready",
];

/// The steps of a removal, which happens for two reasons.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemovalSteps {
    pub(crate) exec_directory_removed: &'static str,
    pub(crate) filesystem_hidden: &'static str,
    pub(crate) volumes_removed: &'static str,
    pub(crate) record_deleted: &'static str,
    pub(crate) files_deleted: &'static str,
}

/// Someone asked for it.
pub(crate) const RM: RemovalSteps = RemovalSteps {
    exec_directory_removed: "rm.exec-directory-removed",
    filesystem_hidden: "rm.filesystem-hidden",
    volumes_removed: "rm.volumes-removed",
    record_deleted: "rm.record-deleted",
    files_deleted: "rm.files-deleted",
};

/// The container was to be removed when it ends.
pub(crate) const AUTO_RM: RemovalSteps = RemovalSteps {
    exec_directory_removed: "auto-rm.exec-directory-removed",
    filesystem_hidden: "auto-rm.filesystem-hidden",
    volumes_removed: "auto-rm.volumes-removed",
    record_deleted: "auto-rm.record-deleted",
    files_deleted: "auto-rm.files-deleted",
};

/// The step at which the process kills itself, if any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Failpoint(Option<&'static str>);

impl Failpoint {
    /// Arms a step by its name.
    ///
    /// # Errors
    /// When there is no such step.
    pub fn arm(name: Option<&str>) -> Result<Self, UnknownFailpoint> {
        match name {
            None => Ok(Self(None)),
            Some(name) => match ALL.iter().find(|known| **known == name) {
                Some(known) => Ok(Self(Some(known))),
                None => Err(UnknownFailpoint(name.to_owned())),
            },
        }
    }

    /// Passes a step; the process ends here, as by `kill -9`, when it is armed.
    pub fn pass(self, step: &'static str) {
        debug_assert!(ALL.contains(&step), "failpoint {step} is not listed");
        if self.0 == Some(step) {
            let me = rustix::process::getpid();
            // Nothing is left to do if this fails: the test sees that the process lives.
            if let Err(error) = rustix::process::kill_process(me, rustix::process::Signal::KILL) {
                tracing::error!(step, %error, "failpoint could not kill the process");
            }
        }
    }
}

/// A step that is not listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no failpoint is called {0:?}")]
pub struct UnknownFailpoint(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_steps_can_be_armed() {
        assert!(Failpoint::arm(Some("create.recorded")).is_ok());
        assert!(Failpoint::arm(Some("create")).is_err());
        let names: std::collections::BTreeSet<_> = ALL.iter().collect();
        assert_eq!(names.len(), ALL.len());
    }
}
