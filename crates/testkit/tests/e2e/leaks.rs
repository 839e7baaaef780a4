//! Nothing is left, nothing grows.

use std::time::Duration;

use ferry_testkit::leaks::READY_LINKS;
use ferry_testkit::{Env, Running, observe};

use crate::streams::setting;

/// What an idle engine holds: memory, descriptors, processes beneath it.
#[derive(Debug)]
struct Weight {
    resident_kb: u64,
    descriptors: usize,
    processes: usize,
}

fn weigh(env: &Env) -> Weight {
    // At rest it has made ready the links that were used up.
    let bridge = env.slot().bridge();
    ferry_testkit::wait::poll(Duration::from_secs(10), || {
        (observe::bridge_ports(&bridge).len() >= READY_LINKS).then_some(())
    });
    ferry_testkit::wait::nap(Duration::from_millis(300));
    let engine = env.engine_pid();
    Weight {
        resident_kb: observe::resident_kb(engine).unwrap(),
        descriptors: observe::open_descriptors(engine).unwrap(),
        processes: observe::descendants(engine).len(),
    }
}

/// Waits for the engine to come to rest, and compares.
#[track_caller]
fn check_growth(env: &Env, before: &Weight, allowed_kb: u64) {
    env.assert_nothing_left();
    let rest = ferry_testkit::wait::poll(Duration::from_secs(15), || {
        let after = weigh(env);
        let same =
            after.descriptors <= before.descriptors + 4 && after.processes <= before.processes + 1;
        same.then_some(())
    });
    let after = weigh(env);
    assert!(rest.is_some(), "before {before:?}, after {after:?}");
    assert!(
        after.resident_kb <= before.resident_kb + allowed_kb,
        "before {before:?}, after {after:?}"
    );
}

#[test]
fn many_runs_in_a_row_leave_nothing() {
    let env = Env::builder().own().start();
    let run = || {
        env.docker(&["run", "--rm", "busybox", "true"]).exits(0);
    };
    (0..20).for_each(|_| run());
    env.assert_nothing_left();
    let before = weigh(&env);
    let runs = setting("FERRY_E2E_RUNS", 100);
    (0..runs).for_each(|_| run());
    check_growth(&env, &before, 2_000 + runs * 2);
}

#[test]
fn a_hundred_at_once_leave_nothing() {
    let env = Env::builder().own().start();
    let flood = |count: usize| {
        let running: Vec<Running> = (0..count)
            .map(|number| {
                let script = format!("echo {number}; exit {}", number % 5);
                env.invoke(&["run", "--rm", "busybox", "sh", "-c", &script])
                    .deadline(Duration::from_secs(240))
                    .spawn()
            })
            .collect();
        for (number, one) in running.into_iter().enumerate() {
            let output = one.finish().exits(i32::try_from(number % 5).unwrap());
            assert_eq!(output.out(), number.to_string());
        }
    };
    flood(100);
    env.assert_nothing_left();
    let before = weigh(&env);
    flood(100);
    check_growth(&env, &before, 6_000);
}

#[test]
fn a_hundred_in_the_background_run_and_go() {
    let env = Env::builder().own().start();
    let running: Vec<Running> = (0..100)
        .map(|_| {
            env.invoke(&["run", "-d", "busybox", "sleep", "1000"])
                .deadline(Duration::from_secs(240))
                .spawn()
        })
        .collect();
    let ids: Vec<String> = running.into_iter().map(|one| one.finish().ok()).collect();
    assert_eq!(env.docker(&["ps", "-q"]).ok().lines().count(), 100);
    let addresses: std::collections::BTreeSet<String> = ids
        .iter()
        .map(|id| {
            let told = env.api("GET", &format!("/containers/{id}/json"), None).is(200).json();
            told["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(addresses.len(), 100, "every container has an address of its own");
    let mut words = vec!["rm", "-f"];
    words.extend(ids.iter().map(String::as_str));
    env.invoke(&words).deadline(Duration::from_secs(240)).run().exits(0);
    env.assert_nothing_left();
}

#[test]
fn failed_starts_leave_nothing() {
    let env = Env::builder().own().start();
    let folder = env.host_folder();
    let bind = format!("type=bind,source={},target=/etc/passwd", folder.display());
    for _ in 0..10 {
        env.docker(&["run", "--rm", "busybox", "nope"]).exits(127);
        env.docker(&["run", "--rm", "-u", "nobody-such", "busybox", "true"]).exits(125);
        env.docker(&["run", "--rm", "--sysctl", "kernel.panic=1", "busybox", "true"]).fails();
        // A folder cannot be mounted over a file.
        env.docker(&["run", "--rm", "--mount", &bind, "busybox", "true"]).fails();
    }
    let before = weigh(&env);
    for _ in 0..10 {
        env.docker(&["run", "--rm", "busybox", "nope"]).exits(127);
    }
    check_growth(&env, &before, 2_000);
}

#[test]
fn clients_that_hang_up_leave_nothing() {
    let env = Env::builder().own().start();
    let id = env.run_detached(&["-i", "busybox", "cat"]);
    let warm = |words: &[&str]| {
        for _ in 0..10 {
            let client = env.invoke(words).open_stdin().spawn();
            ferry_testkit::wait::nap(Duration::from_millis(60));
            client.signal(rustix::process::Signal::KILL);
            drop(client.finish());
        }
    };
    let all = || {
        warm(&["attach", &id]);
        warm(&["logs", "-f", &id]);
        warm(&["wait", &id]);
        warm(&["events"]);
        warm(&["exec", "-i", &id, "cat"]);
    };
    all();
    // An exec whose client died goes on until its input ends, which it has.
    ferry_testkit::wait_until("the execs have ended", Duration::from_secs(20), || {
        let shown = env.docker(&["exec", &id, "ps", "-o", "args"]).ok();
        (shown.matches("cat").count() == 1).then_some(())
    });
    let before = weigh(&env);
    all();
    let rest = ferry_testkit::wait::poll(Duration::from_secs(15), || {
        (weigh(&env).descriptors <= before.descriptors + 4).then_some(())
    });
    assert!(rest.is_some(), "before {before:?}, after {:?}", weigh(&env));
    assert_eq!(env.inspect(&id, "{{.State.Status}}"), "running");
}
