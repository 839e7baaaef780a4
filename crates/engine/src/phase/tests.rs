use super::*;

fn run() -> Run {
    Run { pid: 42, started_at: Timestamp::from_second(10).unwrap() }
}

fn exit(code: i32) -> Exit {
    Exit {
        code,
        oom_killed: false,
        error: String::new(),
        started_at: Some(Timestamp::from_second(10).unwrap()),
        finished_at: Some(Timestamp::from_second(20).unwrap()),
    }
}

fn failure() -> Failure {
    Failure { exit_code: 127, message: "no".to_owned() }
}

/// One of each kind.
fn phases() -> Vec<Phase> {
    let before = Resting::Exited(exit(3));
    vec![
        Phase::NEW,
        Phase::Created { failure: Some(failure()) },
        Phase::Starting { before: Resting::Created { failure: None } },
        Phase::Starting { before: before.clone() },
        Phase::Running(run()),
        Phase::Paused(run()),
        Phase::Exited(exit(3)),
        Phase::Removing { before: before.clone() },
        Phase::Dead { reason: "busy".to_owned(), before },
    ]
}

fn inputs() -> Vec<Input> {
    vec![
        Input::Start,
        Input::Launched(run()),
        Input::LaunchFailed(failure()),
        Input::Pause,
        Input::Resume,
        Input::Signal,
        Input::Ended(exit(7)),
        Input::Remove { force: false },
        Input::Remove { force: true },
        Input::Removed,
        Input::RemoveFailed("busy".to_owned()),
    ]
}

fn name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Created { failure: None } => "created",
        Phase::Created { failure: Some(_) } => "failed",
        Phase::Starting { .. } => "starting",
        Phase::Running(_) => "running",
        Phase::Paused(_) => "paused",
        Phase::Exited(_) => "exited",
        Phase::Removing { .. } => "removing",
        Phase::Dead { .. } => "dead",
    }
}

#[track_caller]
fn check(from: &Phase, input: Input, expect: &str) {
    let said = match from.step(input) {
        Ok((next, effects)) => format!("{} {effects:?}", name(&next)),
        Err(refused) => format!("{refused:?}"),
    };
    assert_eq!(said, expect);
}

#[test]
fn a_life_goes_its_way() {
    let running = Phase::Running(run());
    let starting = Phase::Starting { before: Resting::Created { failure: None } };
    check(&Phase::NEW, Input::Start, "starting [Launch]");
    check(&starting, Input::Launched(run()), "running [Record, Announce(Start)]");
    check(&starting, Input::LaunchFailed(failure()), "failed [Release, Record, RemoveIfAutomatic]");
    check(&running, Input::Pause, "paused [Freeze, Record, Announce(Pause)]");
    check(&Phase::Paused(run()), Input::Resume, "running [Thaw, Record, Announce(Unpause)]");
    check(
        &running,
        Input::Ended(exit(0)),
        "exited [Release, Record, TellWaiters, Announce(Die), RemoveIfAutomatic]",
    );
    let oom = Exit { oom_killed: true, ..exit(137) };
    check(
        &running,
        Input::Ended(oom),
        "exited [Release, Record, TellWaiters, Announce(Oom), Announce(Die), RemoveIfAutomatic]",
    );
    check(&Phase::Exited(exit(0)), Input::Start, "starting [Launch]");
    check(&Phase::Exited(exit(0)), Input::Remove { force: false }, "removing [Record, Delete]");
    let removing = Phase::Removing { before: Resting::Exited(exit(0)) };
    check(&removing, Input::Removed, "removing [TellWaiters, Announce(Destroy)]");
    check(&removing, Input::RemoveFailed("busy".to_owned()), "dead [Record]");
}

#[test]
fn a_signal_wakes_a_frozen_container() {
    check(&Phase::Running(run()), Input::Signal, "running [Deliver { thaw: false }]");
    check(
        &Phase::Paused(run()),
        Input::Signal,
        "running [Deliver { thaw: true }, Record, Announce(Unpause)]",
    );
}

#[test]
fn what_can_not_be_is_refused() {
    check(&Phase::Running(run()), Input::Start, "AlreadyRunning");
    check(&Phase::Paused(run()), Input::Start, "StartPaused");
    check(&Phase::Paused(run()), Input::Pause, "AlreadyPaused");
    check(&Phase::Running(run()), Input::Resume, "NotPaused");
    check(&Phase::NEW, Input::Signal, "NotRunning");
    check(&Phase::Running(run()), Input::Remove { force: false }, "StillRunning");
    check(&Phase::Paused(run()), Input::Remove { force: false }, "StillPaused");
    check(&Phase::Running(run()), Input::Remove { force: true }, "running [KillFirst]");
    let removing = Phase::Removing { before: Resting::Exited(exit(0)) };
    check(&removing, Input::Start, "BeingRemoved");
    check(&removing, Input::Remove { force: true }, "BeingRemoved");
}

#[test]
fn a_failed_restart_keeps_the_times_of_the_last_run() {
    let starting = Phase::Starting { before: Resting::Exited(exit(3)) };
    let (next, _) = starting.step(Input::LaunchFailed(failure())).unwrap();
    let expect = Exit { code: 127, error: "no".to_owned(), ..exit(3) };
    assert_eq!(next, Phase::Exited(expect));
}

/// Whoever is told has something recorded behind it, and what runs is never forgotten.
#[test]
fn every_step_of_every_phase_keeps_the_rules() {
    for phase in phases() {
        for input in inputs() {
            let Ok((next, effects)) = phase.step(input.clone()) else { continue };
            let place = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted);
            let record = place(|effect| *effect == Effect::Record);
            let told = place(|it| matches!(it, Effect::Announce(_) | Effect::TellWaiters));
            if let Some(told) = told
                && next != phase
            {
                assert!(record.is_some_and(|record| record < told), "{phase:?} {input:?}");
            }
            let runs = |phase: &Phase| matches!(phase, Phase::Running(_) | Phase::Paused(_));
            if runs(&phase) && !runs(&next) {
                assert!(matches!(input, Input::Ended(_)), "{phase:?} {input:?}");
                assert!(effects.contains(&Effect::Release));
            }
            if !runs(&phase) && runs(&next) {
                assert!(matches!(input, Input::Launched(_)), "{phase:?} {input:?}");
            }
            if !matches!(next, Phase::Starting { .. }) && next != phase {
                assert!(record.is_some(), "{phase:?} {input:?} is not recorded");
            }
        }
    }
}

/// Random lives: from any phase, any inputs; the machine never gets to where nothing is possible.
#[test]
fn there_is_always_a_way_to_be_removed() {
    let mut seed = 12345_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..200 {
        let mut phase = Phase::NEW;
        for _ in 0..30 {
            let all = inputs();
            if let Ok((next, _)) = phase.step(all[random(all.len())].clone()) {
                phase = next;
            }
        }
        for input in [
            Input::LaunchFailed(failure()),
            Input::Ended(exit(0)),
            Input::Remove { force: false },
            Input::Removed,
        ] {
            if let Ok((next, _)) = phase.step(input) {
                phase = next;
            }
        }
        assert!(matches!(phase, Phase::Removing { .. }), "{phase:?}");
    }
}
