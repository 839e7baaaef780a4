//! What to do about what was found: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::phase::{Exit, Phase, Resting, Run};
use crate::records::ContainerState;

/// What the plan needs to know of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) phase: Phase,
    pub(super) auto_remove: bool,
}

impl Record {
    pub(super) fn of(state: &ContainerState) -> Self {
        Self { phase: state.phase.clone(), auto_remove: state.spec.host.auto_remove }
    }
}

/// What was found of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Its supervisor answers.
    pub(super) supervisor: Option<Supervised>,
    /// How it ended, as its exit file says.
    pub(super) exit: Option<Ended>,
    /// It has a directory of this boot.
    pub(super) directory: bool,
    /// It has a cgroup.
    pub(super) cgroup: bool,
    /// It has a file system.
    pub(super) filesystem: bool,
}

/// What a supervisor says of its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Supervised {
    pub(super) run: Run,
    pub(super) paused: bool,
    pub(super) exit: Option<Ended>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) oom_killed: bool,
    pub(super) finished_at: Timestamp,
}

/// Something to be done about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) id: String,
    pub(super) what: What,
    pub(super) cause: &'static str,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Take it as it was recorded; directory and cgroup of a run that is over go.
    Keep,
    /// Take over a container that runs.
    Adopt(Phase),
    /// Record how it ended.
    End(Exit),
    /// Kill what is left of it, then record that it ended.
    KillAndEnd(Exit),
    /// Remove it, as was begun or promised; how it had ended, should something be left of it.
    Remove(Resting),
    /// Remove what belongs to no container.
    Discard,
}

/// What to do about each container that has a record or left a trace.
pub(super) fn plan(
    records: &BTreeMap<String, Record>,
    observed: &BTreeMap<String, Evidence>,
) -> Vec<Action> {
    let ids: BTreeSet<&String> = records.keys().chain(observed.keys()).collect();
    let nothing = Evidence::default();
    let action = |id: &String| {
        let evidence = observed.get(id).unwrap_or(&nothing);
        let (what, cause) = match records.get(id) {
            Some(record) => known(record, evidence),
            None if *evidence == nothing => return None,
            None => (What::Discard, "it has no record: its creation or removal was interrupted"),
        };
        Some(Action { id: id.clone(), what, cause })
    };
    ids.into_iter().filter_map(action).collect()
}

fn known(record: &Record, evidence: &Evidence) -> (What, &'static str) {
    match &record.phase {
        Phase::Removing { before } => (What::Remove(before.clone()), "its removal was interrupted"),
        Phase::Dead { before, .. } => (What::Remove(before.clone()), "its removal had failed"),
        Phase::Created { .. } | Phase::Exited(_) | Phase::Starting { .. } => {
            resting(record, evidence)
        }
        Phase::Running(run) | Phase::Paused(run) => running(record, run, evidence),
    }
}

fn resting(record: &Record, evidence: &Evidence) -> (What, &'static str) {
    let recorded_end = match &record.phase {
        Phase::Exited(exit) | Phase::Starting { before: Resting::Exited(exit) } => exit.finished_at,
        _ => None,
    };
    if let Some(Supervised { run, paused, exit: None }) = &evidence.supervisor {
        return (What::Adopt(run_phase(run, *paused)), "it was started, which was not recorded");
    }
    let started_at = evidence.supervisor.as_ref().map(|supervised| supervised.run.started_at);
    let seen = evidence.supervisor.as_ref().and_then(|supervised| supervised.exit.as_ref());
    if let Some(ended) = seen.or(evidence.exit.as_ref())
        && Some(ended.finished_at) != recorded_end
    {
        let what = after_end(record, exit_of(ended, started_at));
        return (what, "it was started and has ended, which was not recorded");
    }
    let before = match &record.phase {
        Phase::Exited(exit) => Resting::Exited(exit.clone()),
        Phase::Starting { before } => before.clone(),
        Phase::Created { failure } => Resting::Created { failure: failure.clone() },
        _ => Resting::Created { failure: None },
    };
    if record.auto_remove && before != (Resting::Created { failure: None }) {
        return (What::Remove(before), "it was to be removed when it ended");
    }
    (What::Keep, "it does not run")
}

fn running(record: &Record, run: &Run, evidence: &Evidence) -> (What, &'static str) {
    if let Some(Supervised { run, paused, exit: None }) = &evidence.supervisor {
        return (What::Adopt(run_phase(run, *paused)), "it runs");
    }
    let seen = evidence.supervisor.as_ref().and_then(|supervised| supervised.exit.as_ref());
    if let Some(ended) = seen.or(evidence.exit.as_ref()) {
        let what = after_end(record, exit_of(ended, Some(run.started_at)));
        return (what, "it ended while no engine was there");
    }
    let (code, error, cause) = if evidence.directory || evidence.cgroup {
        let error = "the supervisor of the container died";
        (137, error, "its supervisor died while no engine was there")
    } else {
        // Compat: dockerd says 255 of what ran when the host went down.
        (255, "", "the host was restarted")
    };
    let exit = Exit {
        code,
        oom_killed: false,
        error: error.to_owned(),
        started_at: Some(run.started_at),
        finished_at: Some(Timestamp::now()),
    };
    let what = match after_end(record, exit) {
        What::End(exit) => What::KillAndEnd(exit),
        other => other,
    };
    (what, cause)
}

fn run_phase(run: &Run, paused: bool) -> Phase {
    if paused { Phase::Paused(run.clone()) } else { Phase::Running(run.clone()) }
}

fn exit_of(ended: &Ended, started_at: Option<Timestamp>) -> Exit {
    Exit {
        code: ended.code,
        oom_killed: ended.oom_killed,
        error: String::new(),
        started_at,
        finished_at: Some(ended.finished_at),
    }
}

fn after_end(record: &Record, exit: Exit) -> What {
    if record.auto_remove { What::Remove(Resting::Exited(exit)) } else { What::End(exit) }
}

#[cfg(test)]
mod tests;
