#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

/// An engine and a supervisor of different versions must understand each other: these bytes stay.
#[track_caller]
fn request(call: Call, golden: &str) {
    let request = Request { id: 7, call };
    assert_eq!(String::from_utf8(request.encode()).unwrap(), golden);
    assert_eq!(Request::decode(golden.as_bytes()).unwrap(), request);
}

#[track_caller]
fn message(message: &Message, golden: &str) {
    assert_eq!(String::from_utf8(message.encode()).unwrap(), golden);
    assert_eq!(Message::decode(golden.as_bytes()).as_ref(), Some(message));
}

#[test]
fn calls_have_these_bytes() {
    let attachment = Attachment {
        stdin: true,
        stdout: true,
        stderr: false,
        framing: Framing::Multiplexed,
        detach_keys: vec![16, 17],
        early: true,
    };
    request(
        Call::Start(Box::new(Start {
            id: "c1".into(),
            directory: "/run/x/c1".into(),
            netns: true,
            log: Some(LogConfig {
                path: "/l".into(),
                max_size: Some(10),
                max_files: 3,
                attributes: r#"{"a":"b"}"#.into(),
            }),
            tty: false,
            open_stdin: true,
            stdin_once: true,
            attachments: vec![attachment.clone()],
        })),
        concat!(
            r#"{"id":7,"call":{"do":"start","id":"c1","directory":"/run/x/c1","netns":true,"#,
            r#""log":{"path":"/l","max_size":10,"max_files":3,"attributes":"{\"a\":\"b\"}"},"#,
            r#""tty":false,"open_stdin":true,"stdin_once":true,"attachments":[{"stdin":true,"#,
            r#""stdout":true,"stderr":false,"framing":"multiplexed","detach_keys":[16,17],"#,
            r#""early":true}]}}"#
        ),
    );
    request(
        Call::Exec(Exec { exec_id: "e".into(), tty: true, attachment: None, size: Some((24, 80)) }),
        r#"{"id":7,"call":{"do":"exec","exec_id":"e","tty":true,"attachment":null,"size":[24,80]}}"#,
    );
    request(
        Call::Attach(Attachment::default()),
        concat!(
            r#"{"id":7,"call":{"do":"attach","stdin":false,"stdout":false,"stderr":false,"#,
            r#""framing":"raw","detach_keys":[],"early":false}}"#
        ),
    );
    request(
        Call::Kill { target: Target::Exec("e".into()), signal: 9 },
        r#"{"id":7,"call":{"do":"kill","target":{"exec":"e"},"signal":9}}"#,
    );
    request(
        Call::Resize { target: Target::Init, rows: 1, columns: 2 },
        r#"{"id":7,"call":{"do":"resize","target":"init","rows":1,"columns":2}}"#,
    );
    request(Call::Pause, r#"{"id":7,"call":{"do":"pause"}}"#);
    request(Call::Resume, r#"{"id":7,"call":{"do":"resume"}}"#);
    request(
        Call::ExecRecorded { exec_id: "e".into() },
        r#"{"id":7,"call":{"do":"exec_recorded","exec_id":"e"}}"#,
    );
    request(Call::Release, r#"{"id":7,"call":{"do":"release"}}"#);
}

#[test]
fn messages_have_these_bytes() {
    let exit = Exit {
        code: 137,
        signal: Some(9),
        oom_killed: true,
        finished_at: "2024-01-01T00:00:00Z".into(),
    };
    message(
        &Message::Hello(Hello {
            version: 1,
            container: Some(ContainerState {
                id: "c".into(),
                pid: 5,
                started_at: "2024-01-01T00:00:00Z".into(),
                paused: false,
                exit: None,
                execs: vec![ExecState { exec_id: "e".into(), pid: 6 }],
                ended_execs: vec![ExecExit { exec_id: "f".into(), code: 1 }],
            }),
        }),
        concat!(
            r#"{"say":"hello","version":1,"container":{"id":"c","pid":5,"#,
            r#""started_at":"2024-01-01T00:00:00Z","paused":false,"exit":null,"#,
            r#""execs":[{"exec_id":"e","pid":6}],"ended_execs":[{"exec_id":"f","code":1}]}}"#
        ),
    );
    message(
        &Message::Reply {
            id: 7,
            outcome: Outcome::Ok(Answer::Started { pid: 5, started_at: "t".into() }),
        },
        r#"{"say":"reply","id":7,"outcome":{"ok":{"started":{"pid":5,"started_at":"t"}}}}"#,
    );
    message(
        &Message::Reply { id: 7, outcome: Outcome::Ok(Answer::Done) },
        r#"{"say":"reply","id":7,"outcome":{"ok":"done"}}"#,
    );
    message(
        &Message::Reply {
            id: 7,
            outcome: Outcome::Failed(Failure {
                kind: FailureKind::IsDirectory,
                message: "no".into(),
            }),
        },
        r#"{"say":"reply","id":7,"outcome":{"failed":{"kind":"is_directory","message":"no"}}}"#,
    );
    message(
        &Message::Event(Event::Exited(exit)),
        concat!(
            r#"{"say":"event","what":"exited","code":137,"signal":9,"oom_killed":true,"#,
            r#""finished_at":"2024-01-01T00:00:00Z"}"#
        ),
    );
    message(
        &Message::Event(Event::ExecExited(ExecExit { exec_id: "e".into(), code: 0 })),
        r#"{"say":"event","what":"exec_exited","exec_id":"e","code":0}"#,
    );
    message(
        &Message::Event(Event::Detached { exec_id: None }),
        r#"{"say":"event","what":"detached","exec_id":null}"#,
    );
    message(&Message::Event(Event::OutOfMemory), r#"{"say":"event","what":"out_of_memory"}"#);
}

#[test]
fn what_a_newer_engine_adds_is_passed_over() {
    let text = r#"{"id":3,"new":1,"call":{"do":"kill","target":"all","signal":9,"hard":true}}"#;
    let call = Call::Kill { target: Target::All, signal: 9 };
    assert_eq!(Request::decode(text.as_bytes()).unwrap(), Request { id: 3, call });
    let text = r#"{"id":3,"call":{"do":"start","id":"c","directory":"/d","cpu":1}}"#;
    assert!(Request::decode(text.as_bytes()).is_ok());
}

#[test]
fn an_unknown_call_keeps_its_id_to_be_answered() {
    let error = Request::decode(br#"{"id":4,"call":{"do":"fly"}}"#).unwrap_err();
    assert_eq!(error.id, 4);
    assert_eq!(Request::decode(b"rubbish").unwrap_err().id, 0);
}

#[test]
fn what_a_newer_supervisor_adds_is_passed_over() {
    assert_eq!(Message::decode(br#"{"say":"event","what":"new"}"#), None);
    let text = br#"{"say":"reply","id":1,"outcome":{"failed":{"kind":"new","message":"m"}}}"#;
    let failure = Failure { kind: FailureKind::Other, message: "m".into() };
    let expect = Message::Reply { id: 1, outcome: Outcome::Failed(failure) };
    assert_eq!(Message::decode(text), Some(expect));
}
