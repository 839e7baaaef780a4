//! A hundred containers: how fast they start, what they weigh, and how fast an engine finds them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ferry_testkit::{Env, observe};

use super::report::{Report, Times};
use super::{IMAGE, Side, Sides};

/// Resident memory of an engine's processes, without what stands beside containers, in kilobytes.
pub(super) fn engine_memory(env: &Env) -> u64 {
    engine_processes(env).into_iter().filter_map(observe::resident_kb).sum()
}

/// The processes of an engine.
pub(super) fn engine_processes(env: &Env) -> Vec<u32> {
    let engine = if env.is_foreign() { listener(env) } else { Some(env.engine_pid()) };
    let Some(engine) = engine else { return Vec::new() };
    // The reference engine's second half is a child of it or a service of its own.
    let second = |stat: &observe::Stat| stat.name == "containerd";
    let mut found = vec![engine];
    if env.is_foreign() {
        found.extend(observe::descendants(engine).into_iter().filter(second).map(|stat| stat.pid));
    }
    found
}

/// Who listens on the engine's socket.
fn listener(env: &Env) -> Option<u32> {
    let stream = std::os::unix::net::UnixStream::connect(env.socket()).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

/// Starts a hundred containers at once on each side, weighs them, and removes them.
pub(super) fn hundred(sides: &Sides<'_>, report: &mut Report) -> Result<()> {
    let ferry = flood(&sides.ferry)?;
    clear(&sides.ferry)?;
    let docker = sides.docker.as_ref().map(flood).transpose()?;
    if let Some(side) = &sides.docker {
        clear(side)?;
    }
    let reference = sides.reference.as_ref().map(flood).transpose()?;
    if let Some(side) = &sides.reference {
        clear(side)?;
    }
    let times = |load: &Load| Times::new(vec![load.taken]);
    report.times(
        "100 `run -d` at once",
        times(&ferry),
        docker.as_ref().map(times),
        reference.as_ref().map(times),
        (10.0, 0.0),
    );
    let reference = reference.as_ref();
    report.memory("engine, 100 containers", ferry.engine, reference.map(|load| load.engine), 0);
    report.memory(
        "supervisor, resident",
        ferry.resident,
        reference.map(|load| load.resident),
        1_500,
    );
    report.memory("supervisor, private", ferry.private, reference.map(|load| load.private), 500);
    Ok(())
}

struct Load {
    taken: Duration,
    engine: u64,
    resident: u64,
    private: u64,
}

const COUNT: usize = 100;

fn flood(side: &Side<'_>) -> Result<Load> {
    let words = ["run", "-d", "--label", "ferry-bench", IMAGE, "sleep", "100000"];
    let began = Instant::now();
    let running: Vec<_> = (0..COUNT)
        .map(|_| side.env.client(side.client, &words).deadline(Duration::from_secs(300)).spawn())
        .collect();
    let outputs: Vec<_> = running.into_iter().map(ferry_testkit::Running::finish).collect();
    let taken = began.elapsed();
    let mut ids = Vec::new();
    for output in outputs {
        ensure!(output.code == 0, "{output:?}");
        ids.push(output.out());
    }
    let beside: BTreeSet<u32> =
        ids.iter().map(|id| supervisor(side.env, id)).collect::<Result<_>>()?;
    let count = u64::try_from(ids.len()).context("a hundred is a number")?;
    let total = |weigh: fn(u32) -> Option<u64>| {
        beside.iter().filter_map(|pid| weigh(*pid)).sum::<u64>() / count
    };
    Ok(Load {
        taken,
        engine: engine_memory(side.env),
        resident: total(observe::resident_kb),
        private: total(observe::private_kb),
    })
}

/// The parent of a container's first process.
fn supervisor(env: &Env, id: &str) -> Result<u32> {
    let answer = env.api("GET", &format!("/containers/{id}/json"), None).json();
    let pid = answer["State"]["Pid"].as_u64().context("a running container has a process")?;
    let pid = u32::try_from(pid).context("a process id is small")?;
    Ok(observe::stat(pid).context("reading the container's process")?.parent)
}

fn clear(side: &Side<'_>) -> Result<()> {
    let ids =
        side.env.client(side.client, &["ps", "-aq", "--filter", "label=ferry-bench"]).run().ok();
    let words: Vec<&str> = ["rm", "-f"].into_iter().chain(ids.lines()).collect();
    let output = side.env.client(side.client, &words).deadline(Duration::from_secs(600)).run();
    ensure!(output.code == 0, "{output:?}");
    Ok(())
}

/// How long an engine of ours takes from its start to its first answer: with nothing, and with a
/// hundred containers running.
pub(super) fn restarts(env: &mut Env, rounds: usize, report: &mut Report) -> Result<()> {
    report.times("engine start to first answer", restart(env, rounds)?, None, None, (0.0, 0.0));
    let side = Side { env, client: ferry_testkit::Client::Ferry };
    flood(&side)?;
    report.times("the same, 100 containers", restart(env, rounds.min(5))?, None, None, (0.0, 0.0));
    report
        .note("the reference engine is not ours to restart; read on a quiet machine: about 1.3 s");
    clear(&Side { env, client: ferry_testkit::Client::Ferry })
}

fn restart(env: &mut Env, rounds: usize) -> Result<Times> {
    let mut taken = Vec::new();
    for _ in 0..rounds {
        env.kill_engine();
        let began = Instant::now();
        env.try_start_engine().map_err(anyhow::Error::msg).context("starting the engine again")?;
        taken.push(began.elapsed());
    }
    Ok(Times::new(taken))
}
