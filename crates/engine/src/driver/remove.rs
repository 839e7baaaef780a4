//! Removing: recorded first, so that another engine can finish it.
//!
//! ```text
//! rm: record Removing ─> exec directory ─> file system out of sight ─> volumes ─> record deleted
//!                                                        └─> files deleted, later
//! ```
//!
//! A container that is removed when it ends needs no record of it: its exit file says that it has
//! ended and its spec that it is to be removed.

use std::sync::Arc;

use rustix::fs::OFlags;

use super::{Driver, LAST_RESORT, Removal, Reply, answer};
use crate::error::{EngineError, Result};
use crate::failpoint::{self, RemovalSteps};
use crate::inner::{Inner, store_error};
use crate::phase::{Effect, Exit, Input, Phase, Refused};
use crate::records::CONTAINERS;
use crate::supervised::Target;

impl Driver {
    /// Removes it now, or kills it and removes it when it has ended.
    pub(super) async fn remove(&mut self, force: bool, volumes: bool, reply: Option<Reply<()>>) {
        let step = self.state.phase.step(Input::Remove { force });
        match step {
            Ok((_, effects)) if effects == [Effect::KillFirst] => {
                self.kill_and_remove_later(volumes, reply).await;
            }
            Ok(_) => {
                let result = self.remove_now(volumes).await;
                if let Some(reply) = reply {
                    answer(reply, result);
                }
            }
            Err(refused) => {
                let error = match refused {
                    Refused::BeingRemoved => EngineError::Conflict(format!(
                        "removal of container {} is already in progress",
                        self.id()
                    )),
                    refused => self.refusal(refused),
                };
                if let Some(reply) = reply {
                    answer(reply, Err(error));
                }
            }
        }
    }

    async fn kill_and_remove_later(&mut self, volumes: bool, reply: Option<Reply<()>>) {
        let (signal, patience) = LAST_RESORT;
        let already = self.removal.is_some();
        let removal = self.removal.get_or_insert_with(|| Removal {
            volumes: false,
            replies: Vec::new(),
            deadline: tokio::time::Instant::now() + patience,
        });
        removal.volumes |= volumes;
        removal.replies.extend(reply);
        if already {
            return;
        }
        let paused = self.state.is_paused();
        let killed = match self.supervisor() {
            Ok(supervisor) => {
                let killed = supervisor.kill(Target::Init, signal).await;
                if paused && let Err(error) = supervisor.resume().await {
                    tracing::warn!(%error, "a frozen container does not go on");
                }
                killed.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match killed {
            Ok(()) => {
                self.engine.tell(&self.state, "kill", &[("signal", &signal.to_string())]);
            }
            // Its end, or that of its supervisor, is about to be heard.
            Err(error) => tracing::debug!(error, "a container to be removed can not be killed"),
        }
    }

    /// The end of a container to be removed does not come.
    pub(super) fn removal_is_late(&mut self) {
        let Some(removal) = self.removal.take() else { return };
        let name = &self.state.name;
        for reply in removal.replies {
            answer(
                reply,
                Err(EngineError::broken(format!(
                    "cannot remove container \"{name}\": could not kill container: it did not end \
                     within {} seconds of the KILL signal",
                    LAST_RESORT.1.as_secs()
                ))),
            );
        }
    }

    /// After an end: the removal that waited for it.
    pub(super) async fn continue_removal(&mut self) {
        if let Some(removal) = self.removal.take() {
            let result = self.remove_now(removal.volumes).await;
            answer_all(removal.replies, &result);
        }
    }

    /// Whether it is to be removed as soon as it does not run any more.
    pub(super) fn will_be_removed(&self) -> bool {
        let stays = self.restarting > 0 || self.engine.shutdown.is_cancelled();
        self.state.spec.host.auto_remove && !stays
    }

    /// A restart that has begun ends without a start: what ended meanwhile is not needed any more.
    pub(super) async fn restart_given_up(&mut self) {
        self.restarting = self.restarting.saturating_sub(1);
        if matches!(self.state.phase, Phase::Exited(_)) {
            self.remove_if_automatic().await;
        }
    }

    /// After a start that failed, or a restart that was given up.
    pub(super) async fn remove_if_automatic(&mut self) {
        if self.will_be_removed()
            && let Err(error) = self.remove_now(true).await
        {
            tracing::error!(container = self.id().short(), %error, "automatic removal");
        }
    }

    /// The end and the removal in one: one change of the database instead of three.
    pub(super) async fn finish_and_remove(&mut self, exit: Exit) {
        let Ok((ended, _)) = self.state.phase.step(Input::Ended(exit)) else {
            tracing::error!(container = self.id().short(), "an end out of place");
            return;
        };
        self.state.phase = ended;
        self.release().await;
        self.engine.failpoint.pass("auto-rm.released");
        self.release_supervisor();
        self.container.tell_exit(self.state.clone());
        self.announce(crate::phase::Announcement::Die);
        let replies = self.removal.take().map(|removal| removal.replies).unwrap_or_default();
        let result = self.erase(true, false).await;
        answer_all(replies, &result);
    }

    /// The disk is full, and what the container wrote is to be removed anyway.
    async fn free_space(&self) -> Result<()> {
        let (engine, id) = (Arc::clone(&self.engine), self.id().clone());
        self.engine.blocking(move || free_space(&engine, id.as_str())).await?
    }

    async fn remove_now(&mut self, volumes: bool) -> Result<()> {
        self.erase(volumes, true).await
    }

    /// Removes everything; `record_first` unless another engine would find out by itself.
    async fn erase(&mut self, volumes: bool, record_first: bool) -> Result<()> {
        let (next, _) = self
            .state
            .phase
            .step(Input::Remove { force: false })
            .map_err(|refused| self.refusal(refused))?;
        let before = std::mem::replace(&mut self.state.phase, next);
        self.removes_volumes = volumes;
        if record_first {
            let mut recorded = self.record().await;
            if recorded.as_ref().is_err_and(EngineError::is_no_space) {
                recorded = match self.free_space().await {
                    Ok(()) => self.record().await,
                    no_help => no_help,
                };
            }
            if let Err(error) = recorded {
                self.state.phase = before;
                return Err(error);
            }
            self.engine.failpoint.pass("rm.recorded");
        }
        self.publish();
        self.pending.clear();
        self.engine.execs.forget_all(self.id());
        let removed = remove_traces(
            &self.engine,
            self.id().as_str(),
            if volumes { self.anonymous_volumes.clone() } else { Vec::new() },
            if record_first { failpoint::RM } else { failpoint::AUTO_RM },
        )
        .await;
        match removed {
            Ok(()) => {
                self.engine.registry.remove(self.id());
                self.gone = true;
                self.feed(Input::Removed).await
            }
            Err(error) => {
                let reason = error.to_string();
                self.feed(Input::RemoveFailed(reason.clone())).await?;
                self.container.tell_removal(Some(reason));
                Err(error)
            }
        }
    }
}

fn answer_all(replies: Vec<Reply<()>>, result: &Result<()>) {
    for reply in replies {
        let result = match result {
            Ok(()) => Ok(()),
            Err(error) => Err(EngineError::broken(error.to_string())),
        };
        answer(reply, result);
    }
}

/// Whether there is so little space that the database may not be written.
fn is_short_of_space(engine: &Inner) -> bool {
    const LITTLE: u64 = 4 << 20;
    rustix::fs::statvfs(engine.store.data_root())
        .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < LITTLE)
}

/// Deletes what a container wrote, since even a removal must write a little.
///
/// Order: files are cut before they are deleted, for the kernel may still hold them for the mount
/// that is just going away.
fn free_space(engine: &Inner, id: &str) -> Result<()> {
    let directory = engine.store.container_dir(id);
    tracing::warn!(directory = %directory.display(), "the disk is full: deleting before removing");
    let upper = directory.join("upper");
    cut_files(&upper, 0);
    crate::volumes::remove_tree(&upper)
}

/// Cuts all regular files of a tree to nothing; what can not be cut is left.
fn cut_files(directory: &std::path::Path, depth: usize) {
    use std::os::unix::fs::OpenOptionsExt as _;
    const DEEPEST: usize = 256;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEEPEST => cut_files(&entry.path(), depth + 1),
            Ok(kind) if kind.is_file() => {
                let mut how = std::fs::OpenOptions::new();
                let cut = how.write(true).truncate(true).custom_flags(flags).open(entry.path());
                if let Err(error) = cut {
                    tracing::debug!(%error, "a file is not cut");
                }
            }
            _ => {}
        }
    }
}

/// Removes what a container leaves on disk, its record last; each step may have been done before.
/// The files themselves are deleted later, by a task of their own.
///
/// # Errors
/// When something can not be removed; the record is still there then.
pub(crate) async fn remove_traces(
    engine: &Arc<Inner>,
    id: &str,
    anonymous_volumes: Vec<String>,
    steps: RemovalSteps,
) -> Result<()> {
    let (inner, id) = (Arc::clone(engine), id.to_owned());
    let discarded = engine
        .blocking(move || {
            let directory = inner.exec_directory(&id);
            super::files::unmount_shm(&directory);
            crate::volumes::remove_tree(&directory)?;
            inner.failpoint.pass(steps.exec_directory_removed);
            if is_short_of_space(&inner) {
                free_space(&inner, &id)?;
            }
            let discarded = inner.store.remove_container_fs(&id).map_err(store_error)?;
            inner.failpoint.pass(steps.filesystem_hidden);
            if let Some(id) = crate::ContainerId::parse(&id) {
                inner.volumes.let_go(&id);
            }
            for volume in &anonymous_volumes {
                match inner.volumes.remove(volume) {
                    Ok(()) => inner.tell_of(
                        crate::event::EventKind::Volume,
                        "destroy",
                        volume,
                        &[("driver", "local")],
                    ),
                    // Another container has taken it over, or someone has removed it.
                    Err(EngineError::Conflict(_) | EngineError::NoSuchVolume(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            inner.failpoint.pass(steps.volumes_removed);
            inner.store.records().delete(CONTAINERS, &id).map_err(store_error)?;
            inner.failpoint.pass(steps.record_deleted);
            Ok(discarded)
        })
        .await??;
    let inner = Arc::clone(engine);
    engine.tasks.spawn(async move {
        let deleted = inner.deleting(move || discarded.delete()).await;
        match deleted {
            Ok(Ok(())) => inner.failpoint.pass(steps.files_deleted),
            Ok(Err(error)) => tracing::warn!(%error, "files are left to the next start"),
            Err(error) => tracing::warn!(%error, "files are left to the next start"),
        }
    });
    Ok(())
}
