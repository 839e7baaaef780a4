use super::*;
use crate::phase::Failure;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn run() -> Run {
    Run { pid: 42, started_at: at(10) }
}

fn ended(code: i32) -> Ended {
    Ended { code, oom_killed: false, finished_at: at(20) }
}

fn exited(code: i32) -> Phase {
    Phase::Exited(Exit {
        code,
        oom_killed: false,
        error: String::new(),
        started_at: Some(at(10)),
        finished_at: Some(at(20)),
    })
}

fn alive(paused: bool, exit: Option<Ended>) -> Evidence {
    Evidence {
        supervisor: Some(Supervised { run: run(), paused, exit }),
        directory: true,
        cgroup: true,
        filesystem: true,
        exit: None,
    }
}

fn filesystem() -> Evidence {
    Evidence { filesystem: true, ..Evidence::default() }
}

fn file(exit: Ended) -> Evidence {
    Evidence { exit: Some(exit), directory: true, ..filesystem() }
}

#[track_caller]
fn check(record: Option<(Phase, bool)>, evidence: Evidence, expect: &str) {
    let id = "a".to_owned();
    let record = record.map(|(phase, auto_remove)| (id.clone(), Record { phase, auto_remove }));
    let actions = plan(&record.into_iter().collect(), &[(id, evidence)].into());
    let said = match actions.as_slice() {
        [] => "nothing".to_owned(),
        [Action { what, .. }] => match what {
            What::Keep => "keep".to_owned(),
            What::Adopt(Phase::Paused(_)) => "adopt paused".to_owned(),
            What::Adopt(_) => "adopt".to_owned(),
            What::End(exit) => format!("end {}", exit.code),
            What::KillAndEnd(exit) => format!("kill, end {} {}", exit.code, exit.error),
            What::Remove(Resting::Created { .. }) => "remove".to_owned(),
            What::Remove(Resting::Exited(exit)) => format!("remove {}", exit.code),
            What::Discard => "discard".to_owned(),
        },
        _ => "more than one action".to_owned(),
    };
    assert_eq!(said.trim(), expect);
}

#[test]
fn what_runs_keeps_running() {
    check(Some((Phase::Running(run()), false)), alive(false, None), "adopt");
    check(Some((Phase::Running(run()), true)), alive(false, None), "adopt");
    check(Some((Phase::Running(run()), false)), alive(true, None), "adopt paused");
    check(Some((Phase::Paused(run()), false)), alive(false, None), "adopt");
}

#[test]
fn a_start_that_was_not_recorded_is_found() {
    check(Some((Phase::NEW, false)), alive(false, None), "adopt");
    check(Some((exited(0), false)), alive(false, None), "adopt");
    check(Some((Phase::NEW, false)), file(ended(3)), "end 3");
    check(Some((Phase::NEW, true)), file(ended(3)), "remove 3");
}

#[test]
fn exit_codes_of_what_ended_meanwhile_are_right() {
    check(Some((Phase::Running(run()), false)), file(ended(7)), "end 7");
    check(Some((Phase::Running(run()), false)), alive(false, Some(ended(9))), "end 9");
    check(Some((Phase::Paused(run()), false)), file(ended(137)), "end 137");
    check(Some((Phase::Running(run()), true)), file(ended(7)), "remove 7");
    // The exit file of the run that was recorded already.
    check(Some((exited(7), false)), file(ended(7)), "keep");
}

#[test]
fn what_has_lost_its_supervisor_is_ended() {
    let rest = Evidence { directory: true, cgroup: true, ..filesystem() };
    check(
        Some((Phase::Running(run()), false)),
        rest.clone(),
        "kill, end 137 the supervisor of the container died",
    );
    check(Some((Phase::Running(run()), true)), rest, "remove 137");
    check(Some((Phase::Running(run()), false)), filesystem(), "kill, end 255");
}

#[test]
fn removals_are_finished() {
    let before = Resting::Created { failure: None };
    check(Some((Phase::Removing { before: before.clone() }, false)), filesystem(), "remove");
    check(Some((Phase::Removing { before: before.clone() }, false)), Evidence::default(), "remove");
    check(Some((Phase::Dead { reason: String::new(), before }, false)), filesystem(), "remove");
    check(Some((exited(0), true)), filesystem(), "remove 0");
    let failure = Some(Failure { exit_code: 127, message: String::new() });
    check(Some((Phase::Created { failure }, true)), filesystem(), "remove");
}

#[test]
fn what_was_never_started_is_kept() {
    check(Some((Phase::NEW, true)), filesystem(), "keep");
    check(Some((Phase::NEW, false)), filesystem(), "keep");
    // A start that got no further than the directory.
    let directory = Evidence { directory: true, ..filesystem() };
    check(Some((Phase::NEW, false)), directory, "keep");
}

#[test]
fn traces_without_a_record_are_discarded() {
    check(None, filesystem(), "discard");
    check(None, Evidence { cgroup: true, ..Evidence::default() }, "discard");
    check(None, alive(false, None), "discard");
    check(None, Evidence::default(), "nothing");
}

/// What the world looks like when an action has been carried out.
fn execute(what: &What, record: Option<Record>, evidence: Evidence) -> (Option<Record>, Evidence) {
    let rest = Evidence { filesystem: evidence.filesystem, ..Evidence::default() };
    match (what, record) {
        (What::Keep, record) => (record, rest),
        (What::Adopt(phase), Some(record)) => {
            (Some(Record { phase: phase.clone(), ..record }), evidence)
        }
        (What::End(exit) | What::KillAndEnd(exit), Some(record)) => {
            (Some(Record { phase: Phase::Exited(exit.clone()), ..record }), rest)
        }
        _ => (None, Evidence::default()),
    }
}

#[test]
fn a_second_plan_after_a_perfect_execution_has_nothing_to_do() {
    let before = Resting::Created { failure: None };
    let phases = [
        None,
        Some(Phase::NEW),
        Some(Phase::Running(run())),
        Some(Phase::Paused(run())),
        Some(exited(7)),
        Some(Phase::Removing { before }),
    ];
    let evidences = [
        Evidence::default(),
        filesystem(),
        alive(false, None),
        alive(true, None),
        alive(false, Some(ended(1))),
        file(ended(7)),
        file(ended(8)),
        Evidence { directory: true, cgroup: true, ..filesystem() },
    ];
    let id = "a".to_owned();
    for phase in &phases {
        for auto_remove in [false, true] {
            for evidence in &evidences {
                let record = phase.clone().map(|phase| Record { phase, auto_remove });
                let records = record.clone().map(|it| (id.clone(), it)).into_iter().collect();
                let observed = [(id.clone(), evidence.clone())].into();
                let Some(action) = plan(&records, &observed).pop() else { continue };
                let (record, evidence) = execute(&action.what, record, evidence.clone());
                let records = record.map(|it| (id.clone(), it)).into_iter().collect();
                let second = plan(&records, &[(id.clone(), evidence)].into());
                for action in &second {
                    assert!(
                        matches!(action.what, What::Keep | What::Adopt(_)),
                        "{phase:?} {auto_remove} {action:?}"
                    );
                }
            }
        }
    }
}
