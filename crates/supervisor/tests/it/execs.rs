//! Further processes.

use ferry_supervisor::protocol::{Answer, Call, Event, Exec, FailureKind, Target};

use crate::kit::{Box, PATIENCE, eventually, framed, raw};

fn idle() -> Box {
    let mut container = Box::of(&["sleep", "1000"]);
    container.start(&[]);
    container
}

fn finish(mut container: Box) {
    container.kill(Target::All, 9);
    assert_eq!(container.exited().code, 137);
    container.release();
}

#[test]
fn an_exec_has_its_own_streams_and_code() {
    let mut container = idle();
    let script = "cat; echo err >&2; exit 9";
    let mut client = container.exec("e1", &["sh", "-c", script], Some(raw()), false).unwrap();
    client.write(b"in");
    client.end();
    let exit = container.exec_exited();
    assert_eq!((exit.exec_id.as_str(), exit.code), ("e1", 9));
    container.done(Call::ExecRecorded { exec_id: "e1".into() });
    assert_eq!(client.rest(), "inerr\n");
    finish(container);
}

#[test]
fn the_end_of_an_exec_is_recorded_before_its_clients_see_it() {
    let mut container = idle();
    let mut client = container.exec("e", &["echo", "x"], Some(raw()), false).unwrap();
    container.exec_exited();
    assert_eq!(client.until("\n"), "x\n");
    client.stream.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    let error = std::io::Read::read(&mut client.stream, &mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    container.done(Call::ExecRecorded { exec_id: "e".into() });
    assert_eq!(client.rest(), "");
    finish(container);
}

#[test]
fn an_engine_that_never_records_is_not_waited_for_for_ever() {
    let mut container = idle();
    let mut client = container.exec("e", &["true"], Some(raw()), false).unwrap();
    container.exec_exited();
    assert_eq!(client.rest(), "");
    finish(container);
}

#[test]
fn an_exec_may_have_a_terminal() {
    let mut container = idle();
    let arguments = ["sh", "-c", "stty size; read x; stty size"];
    let mut client = container.exec("e", &arguments, Some(raw()), true).unwrap();
    assert_eq!(client.until("\n"), "24 80\r\n");
    container.done(Call::Resize { target: Target::Exec("e".into()), rows: 3, columns: 4 });
    client.write(b"\n");
    assert!(client.until("3 4\r\n").contains("3 4"));
    assert_eq!(container.exec_exited().code, 0);
    finish(container);
}

#[test]
fn an_exec_without_a_client_prints_to_nowhere() {
    let mut container = idle();
    drop(container.exec("e", &["sh", "-c", "cat; echo x; exit 2"], None, false).unwrap());
    assert_eq!(container.exec_exited().code, 2);
    finish(container);
}

#[test]
fn an_exec_that_can_not_be_executed_leaves_the_container_alone() {
    let mut container = idle();
    for (program, kind) in [("nope", FailureKind::NotFound), ("/etc", FailureKind::IsDirectory)] {
        let failure = container.exec("e", &[program], Some(framed()), false).err().unwrap();
        assert_eq!(failure.kind, kind, "{}", failure.message);
    }
    let exec = Exec { exec_id: "../config".into(), ..Exec::default() };
    let failure = container.ask(Call::Exec(exec), &[]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid);
    finish(container);
}

#[test]
fn a_process_that_an_exec_leaves_behind_does_not_hold_its_end_up_for_long() {
    let mut container = idle();
    let arguments = ["sh", "-c", "sleep 1000 & echo x"];
    let mut client = container.exec("e", &arguments, Some(raw()), false).unwrap();
    assert_eq!(container.exec_exited().code, 0);
    container.done(Call::ExecRecorded { exec_id: "e".into() });
    assert_eq!(client.rest(), "x\n");
    assert!(container.cgroup().unwrap().pids().unwrap().len() > 1);
    finish(container);
}

#[test]
fn execs_end_with_the_container() {
    let mut container = idle();
    let mut client = container.exec("e", &["sleep", "1000"], Some(raw()), false).unwrap();
    container.kill(Target::Exec("e".into()), 0);
    container.kill(Target::Init, 9);
    let mut codes = Vec::new();
    loop {
        match container.event() {
            Event::ExecExited(exit) => codes.push(exit.code),
            Event::Exited(exit) => {
                codes.push(exit.code);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(codes, [137, 137]);
    container.done(Call::Release);
    assert_eq!(client.rest(), "");
    container.ends();
}

#[test]
fn a_hundred_execs_leave_nothing_behind() {
    let mut container = idle();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", container.child.pid)).unwrap().count();
    let before = open();
    for number in 0..100 {
        let id = format!("e{number}");
        let mut client = container.exec(&id, &["echo", "x"], Some(framed()), false).unwrap();
        assert_eq!(container.exec_exited().code, 0);
        container.done(Call::ExecRecorded { exec_id: id });
        assert_eq!(client.rest(), "\x01\0\0\0\0\0\0\x02x\n");
    }
    let open = || std::fs::read_dir(format!("/proc/{}/fd", container.child.pid)).unwrap().count();
    eventually(|| open() == before);
    finish(container);
}

/// Begins an exec in a container that stands still, so that it can not come to its program.
fn begin_in_a_frozen_one(container: &mut Box) -> u64 {
    container.write_exec("e", &["sh", "-c", "exit 6"], false);
    container.cgroup().unwrap().freeze(PATIENCE).unwrap();
    let exec = Exec { exec_id: "e".into(), ..Exec::default() };
    let asked = container.send(Call::Exec(exec), &[]);
    eventually(|| container.children() == 2);
    asked
}

#[test]
fn an_exec_that_does_not_come_to_its_program_holds_nobody_up() {
    let mut container = idle();
    let asked = begin_in_a_frozen_one(&mut container);
    container.kill(Target::Init, 0);
    drop(container.attach(&raw()));
    let exec = Target::Exec("e".into());
    let failure = container.ask(Call::Kill { target: exec, signal: 9 }, &[]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotRunning);
    container.cgroup().unwrap().thaw().unwrap();
    let answer = container.reply(asked).unwrap();
    assert!(matches!(answer, Answer::ExecStarted { pid } if pid > 0), "{answer:?}");
    assert_eq!(container.exec_exited().code, 6);
    finish(container);
}

#[test]
fn an_exec_that_does_not_come_to_its_program_ends_with_the_container() {
    let mut container = idle();
    let asked = begin_in_a_frozen_one(&mut container);
    container.kill(Target::Init, 9);
    container.cgroup().unwrap().thaw().unwrap();
    // It may just have made it.
    let made_it = container.reply(asked).is_ok();
    match (container.event(), made_it) {
        (Event::Exited(exit), false) => assert_eq!(exit.code, 137),
        (Event::ExecExited(_), true) => assert_eq!(container.exited().code, 137),
        other => panic!("{other:?}"),
    }
    container.release();
}

#[test]
fn an_engine_does_not_get_the_answer_to_its_predecessor_s_call() {
    let mut container = idle();
    begin_in_a_frozen_one(&mut container);
    let state = container.reconnect();
    assert!(state.execs.is_empty());
    container.cgroup().unwrap().thaw().unwrap();
    // The first message is no reply to a call that this engine has not made.
    assert_eq!(container.exec_exited().code, 6);
    finish(container);
}
