//! Further processes in running containers: which there are and how they ended.
//!
//! ```text
//! Created ── start ──> Running ── end ──> Exited ── forgotten when there are many
//! ```
//!
//! The end of a container ends those that run, and those that were never started are forgotten. Who
//! ended can be asked for the exit code still: its client may have heard of both ends at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{EngineError, Result};
use crate::id::{ContainerId, ExecId, Id};
use crate::limits::{ENDED_EXECS_KEPT, EXECS_PER_CONTAINER};
use crate::snapshot::{ExecSnapshot, ExecState};
use crate::spec::ExecSpec;
use crate::users::ResolvedUser;

/// A further process.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) id: ExecId,
    pub(crate) container: ContainerId,
    pub(crate) spec: Arc<ExecSpec>,
    pub(crate) user: ResolvedUser,
    /// Said at the start, in place of the spec's.
    console_size: Mutex<Option<(u16, u16)>>,
    state: Mutex<ExecState>,
}

/// Why an exec that runs is taken for ended without its own exit code.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ExecEnd {
    /// The kernel ended it with its container.
    ContainerEnded,
}

impl Exec {
    fn lock(&self) -> MutexGuard<'_, ExecState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> ExecState {
        self.lock().clone()
    }

    /// The size of its terminal when it starts.
    pub(crate) fn console_size(&self) -> Option<(u16, u16)> {
        let said = *self.console_size.lock().unwrap_or_else(PoisonError::into_inner);
        said.or(self.spec.console_size)
    }

    pub(crate) fn set_console_size(&self, size: Option<(u16, u16)>) {
        *self.console_size.lock().unwrap_or_else(PoisonError::into_inner) = size;
    }

    pub(crate) fn snapshot(&self) -> ExecSnapshot {
        ExecSnapshot {
            id: self.id.clone(),
            container: self.container.clone(),
            spec: Arc::clone(&self.spec),
            state: self.state(),
        }
    }

    /// Says that it is being started, which it can be once.
    ///
    /// # Errors
    /// `Conflict` in Docker's words.
    pub(crate) fn begin(&self) -> Result<()> {
        let mut state = self.lock();
        match *state {
            ExecState::Created => {
                *state = ExecState::Running { pid: None };
                Ok(())
            }
            ExecState::Running { .. } => {
                Err(EngineError::Conflict(format!("exec command {} is already running", self.id)))
            }
            ExecState::Exited { .. } => {
                Err(EngineError::Conflict(format!("exec command {} has already run", self.id)))
            }
        }
    }

    /// Says that it runs. It may have ended before this was heard.
    pub(crate) fn runs(&self, pid: u32) {
        let mut state = self.lock();
        match &mut *state {
            ExecState::Created => {}
            ExecState::Running { pid: known } => *known = Some(pid),
            ExecState::Exited { pid: known, .. } => *known = Some(pid),
        }
    }

    /// Says that it has ended; whether it ran until now.
    pub(crate) fn ended(&self, code: i32) -> bool {
        let mut state = self.lock();
        let ExecState::Running { pid } = *state else { return false };
        *state = ExecState::Exited { code, pid };
        true
    }
}

/// All execs.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_id: BTreeMap<ExecId, Arc<Exec>>,
    /// In the order in which they were prepared.
    by_container: BTreeMap<ContainerId, Vec<ExecId>>,
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares one.
    ///
    /// # Errors
    /// `Unavailable` when the container has too many.
    pub(crate) fn create(
        &self,
        container: &ContainerId,
        spec: ExecSpec,
        user: ResolvedUser,
    ) -> Result<Arc<Exec>> {
        let mut known = self.lock();
        let known = &mut *known;
        let list = known.by_container.entry(container.clone()).or_default();
        let ended = |id: &ExecId| {
            known.by_id.get(id).is_none_or(|it| matches!(it.state(), ExecState::Exited { .. }))
        };
        let (old, alive): (Vec<_>, Vec<_>) = list.drain(..).partition(|id| ended(id));
        if alive.len() >= EXECS_PER_CONTAINER {
            list.extend(alive);
            return Err(EngineError::Unavailable(format!(
                "container {container} has {EXECS_PER_CONTAINER} execs that have not ended"
            )));
        }
        let forgotten = old.len().saturating_sub(ENDED_EXECS_KEPT);
        for id in old.iter().take(forgotten) {
            known.by_id.remove(id);
        }
        list.extend(old.into_iter().skip(forgotten));
        list.extend(alive);
        let exec = Arc::new(Exec {
            id: Id::random(),
            container: container.clone(),
            spec: Arc::new(spec),
            user,
            console_size: Mutex::new(None),
            state: Mutex::new(ExecState::Created),
        });
        list.push(exec.id.clone());
        known.by_id.insert(exec.id.clone(), Arc::clone(&exec));
        Ok(exec)
    }

    /// Finds one by its whole id.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Exec>> {
        let known = self.lock();
        known.by_id.get(id).cloned().ok_or_else(|| EngineError::NoSuchExec(id.to_owned()))
    }

    /// Those of a container that have not ended.
    pub(crate) fn of(&self, container: &ContainerId) -> Vec<ExecId> {
        self.all_of(container)
            .iter()
            .filter(|exec| !matches!(exec.state(), ExecState::Exited { .. }))
            .map(|exec| exec.id.clone())
            .collect()
    }

    fn all_of(&self, container: &ContainerId) -> Vec<Arc<Exec>> {
        let known = self.lock();
        let ids = known.by_container.get(container).into_iter().flatten();
        ids.filter_map(|id| known.by_id.get(id).cloned()).collect()
    }

    /// The container has ended: ends those that run, and gives them with their exit codes. Those that
    /// were never started are forgotten, for they can not be any more.
    pub(crate) fn end_all(&self, container: &ContainerId, why: ExecEnd) -> Vec<(ExecId, i32)> {
        let code = match why {
            ExecEnd::ContainerEnded => 137,
        };
        self.forget_unstarted(container);
        let all = self.all_of(container);
        let ended = all.into_iter().filter(|exec| exec.ended(code));
        ended.map(|exec| (exec.id.clone(), code)).collect()
    }

    /// Forgets those of a container that has ended which were not started before.
    pub(crate) fn forget_unstarted(&self, container: &ContainerId) {
        for exec in self.all_of(container) {
            if exec.state() == ExecState::Created {
                self.forget(&exec);
            }
        }
    }

    /// Forgets one that will never run.
    pub(crate) fn forget(&self, exec: &Exec) {
        let mut known = self.lock();
        known.by_id.remove(&exec.id);
        if let Some(list) = known.by_container.get_mut(&exec.container) {
            list.retain(|id| *id != exec.id);
        }
    }

    /// Forgets those of a container that is removed.
    pub(crate) fn forget_all(&self, container: &ContainerId) {
        let mut known = self.lock();
        for id in known.by_container.remove(container).unwrap_or_default() {
            known.by_id.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> ResolvedUser {
        ResolvedUser { uid: 0, gid: 0, additional_gids: vec![0], home: "/".to_owned() }
    }

    #[test]
    fn an_exec_runs_once() {
        let execs = Execs::default();
        let container = Id::random();
        let exec = execs.create(&container, ExecSpec::default(), user()).unwrap();
        assert_eq!(execs.of(&container), std::slice::from_ref(&exec.id));
        exec.begin().unwrap();
        let error = exec.begin().unwrap_err();
        assert_eq!(error.to_string(), format!("exec command {} is already running", exec.id));
        exec.runs(7);
        assert!(exec.ended(3));
        assert!(!exec.ended(4));
        assert_eq!(exec.state(), ExecState::Exited { code: 3, pid: Some(7) });
        let error = exec.begin().unwrap_err();
        assert_eq!(error.to_string(), format!("exec command {} has already run", exec.id));
        assert!(execs.of(&container).is_empty());
        assert!(execs.get(exec.id.as_str()).is_ok());
        execs.forget_all(&container);
        assert!(execs.get(exec.id.as_str()).is_err());
    }

    #[test]
    fn the_end_of_the_container_ends_those_that_run_and_forgets_those_that_never_did() {
        let execs = Execs::default();
        let (container, other) = (Id::random(), Id::random());
        let create = |container| execs.create(container, ExecSpec::default(), user()).unwrap();
        let (never, past, runs) = (create(&container), create(&container), create(&container));
        let elsewhere = create(&other);
        past.begin().unwrap();
        past.ended(0);
        runs.begin().unwrap();
        let ended = execs.end_all(&container, ExecEnd::ContainerEnded);
        assert_eq!(ended, [(runs.id.clone(), 137)]);
        assert_eq!(runs.state(), ExecState::Exited { code: 137, pid: None });
        let known = |exec: &Exec| execs.get(exec.id.as_str()).is_ok();
        assert_eq!(
            [&never, &past, &runs, &elsewhere].map(|exec| known(exec)),
            [false, true, true, true]
        );
        assert!(execs.of(&container).is_empty());
        execs.forget(&elsewhere);
        assert!(!known(&elsewhere) && execs.of(&other).is_empty());
        // A further end is none of theirs.
        assert!(execs.end_all(&container, ExecEnd::ContainerEnded).is_empty());
    }

    #[test]
    fn execs_have_limits() {
        let execs = Execs::default();
        let container = Id::random();
        let first = execs.create(&container, ExecSpec::default(), user()).unwrap();
        first.begin().unwrap();
        first.ended(0);
        for _ in 0..ENDED_EXECS_KEPT + 1 {
            let exec = execs.create(&container, ExecSpec::default(), user()).unwrap();
            exec.begin().unwrap();
            exec.ended(0);
        }
        execs.create(&container, ExecSpec::default(), user()).unwrap();
        assert!(execs.get(first.id.as_str()).is_err(), "the oldest is forgotten");
        for _ in 1..EXECS_PER_CONTAINER {
            execs.create(&container, ExecSpec::default(), user()).unwrap();
        }
        assert!(execs.create(&container, ExecSpec::default(), user()).is_err());
        assert_eq!(execs.of(&container).len(), EXECS_PER_CONTAINER);
    }
}
