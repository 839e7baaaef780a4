//! `bench images`: images in and out, Ferry, a reference engine and podman in turns.
//!
//! Both engines are asked over their API: no client stands between. Podman has no engine, so it is
//! run, and its start counts.

mod corpus;
mod registry;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ferry_testkit::env::reference_host;
use ferry_testkit::{Env, observe};

use self::corpus::{Corpus, PLANS};
use self::registry::Registry;
use super::load::engine_processes;
use super::report::{Times, table};
use crate::{dist, tools};

/// Kilobytes that the engine may have resident while it takes in the largest image.
const PEAK_BUDGET_KB: u64 = 150 << 10;

/// Something that is done with an image.
struct Operation {
    name: &'static str,
    /// How many times faster than the reference engine, and than podman.
    budget: (f64, f64),
    /// Brings the engine into the state that it begins with; not measured.
    prepare: fn(&Bench<'_>, &Env) -> Result<()>,
    run: fn(&Bench<'_>, &Env) -> Result<()>,
    has_podman: bool,
}

const OPERATIONS: [Operation; 5] = [
    Operation {
        name: "pull",
        budget: (10.0, 4.0),
        prepare: |bench, env| bench.remove(env),
        run: |bench, env| bench.pull(env),
        has_podman: true,
    },
    // What was pulled goes out as it came.
    Operation {
        name: "push",
        budget: (3.0, 0.0),
        prepare: |bench, env| bench.need_pulled(env).and_then(|()| bench.tag(env)),
        run: |bench, env| bench.push(env),
        has_podman: false,
    },
    Operation {
        name: "save",
        budget: (3.0, 0.0),
        prepare: |bench, env| bench.need_pulled(env),
        run: |bench, env| bench.save(env),
        has_podman: false,
    },
    Operation {
        name: "load",
        budget: (3.0, 0.0),
        prepare: |bench, env| bench.remove(env),
        run: |bench, env| bench.load(env),
        has_podman: false,
    },
    // The push of what was loaded: it has to be compressed first.
    Operation {
        name: "pack",
        budget: (3.0, 0.0),
        prepare: |bench, env| {
            bench.remove(env)?;
            bench.load(env)?;
            bench.tag(env)
        },
        run: |bench, env| bench.push(env),
        has_podman: false,
    },
];

/// What is asked for on the command line.
pub(super) struct Options {
    rounds: usize,
    reference: Option<String>,
    /// The beginning of podman's command line.
    podman: Option<Vec<String>>,
    images: Vec<String>,
    operations: Vec<String>,
    root: PathBuf,
}

impl Options {
    pub(super) fn read(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            rounds: 3,
            reference: reference_host(),
            podman: None,
            images: Vec::new(),
            operations: Vec::new(),
            root: PathBuf::from("/usr"),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} wants a value"))?;
            let list = || value.split(',').map(ToOwned::to_owned).collect();
            match *word {
                "--rounds" => options.rounds = value.parse().context("--rounds wants a number")?,
                "--reference" => options.reference = Some((*value).to_owned()),
                "--podman" => {
                    let words = value.split_whitespace().map(ToOwned::to_owned);
                    options.podman = Some(words.collect());
                }
                "--image" => options.images = list(),
                "--operation" => options.operations = list(),
                "--root" => options.root = PathBuf::from(value),
                _ => bail!(
                    "bench images knows --rounds, --reference, --podman, --image, --operation and \
                     --root, not {word}"
                ),
            }
        }
        let known = |name: &String| PLANS.iter().any(|plan| plan.name == name);
        if let Some(name) = options.images.iter().find(|name| !known(name)) {
            bail!("no image {name}: there are large, files and layers");
        }
        let known = |name: &String| OPERATIONS.iter().any(|operation| operation.name == name);
        if let Some(name) = options.operations.iter().find(|name| !known(name)) {
            bail!("no operation {name}: there are pull, push, save, load and pack");
        }
        Ok(options)
    }
}

/// Runs the benchmark and prints its table. With 0 rounds it only makes the images.
pub(super) fn run(options: &Options) -> Result<()> {
    tools::need_root("the benchmark")?;
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|it| it == name);
    let plans = PLANS.iter().filter(|plan| wanted(&options.images, plan.name));
    let corpora: Vec<Corpus> =
        plans.map(|plan| Corpus::open(plan, &options.root)).collect::<Result<_>>()?;
    if options.rounds == 0 {
        return Ok(());
    }
    dist::ensure_built()?;
    let own = Env::builder().own().without_busybox().without_leak_check().start();
    let reference = options.reference.as_deref().map(Env::foreign);
    if reference.is_none() {
        println!("no reference engine: set FERRY_BENCH_REFERENCE=unix:///... to compare with one");
    }
    let mut rows = Vec::new();
    for corpus in &corpora {
        println!(
            "{}: {} layers, {} files, {} MiB, {} MiB with gzip",
            corpus.name,
            corpus.layers,
            corpus.files,
            corpus.plain >> 20,
            corpus.packed >> 20
        );
        let registry = Registry::start(&corpus.blobs, &corpus.manifest)?;
        let bench = Bench { registry, corpus };
        let sides =
            Sides { own: &own, reference: reference.as_ref(), podman: options.podman.as_deref() };
        for operation in OPERATIONS.iter().filter(|it| wanted(&options.operations, it.name)) {
            let row = bench.measure(operation, sides, options.rounds);
            rows.push(row.with_context(|| format!("{} of {}", operation.name, corpus.name))?);
        }
        for env in [Some(&own), reference.as_ref()].into_iter().flatten() {
            bench.remove(env)?;
        }
    }
    println!("{}", table(HEAD, &rows));
    println!(
        "seconds: p50 / least; processors: seconds of the engine, of the bench and its registry"
    );
    Ok(())
}

const HEAD: [&str; 9] = [
    "",
    "ferry",
    "reference",
    "ratio",
    "podman",
    "ratio",
    "processors: ferry, bench",
    "reference, bench",
    "peak MiB: ferry, reference",
];

#[derive(Clone, Copy)]
struct Sides<'a> {
    own: &'a Env,
    reference: Option<&'a Env>,
    podman: Option<&'a [String]>,
}

/// What is measured of one side in one operation.
#[derive(Default)]
struct Taken {
    times: Vec<Duration>,
    /// Processor time of the engine, and of this process.
    processors: (Duration, Duration),
    peak_kb: u64,
}

impl Taken {
    /// Measures one round, and says how it was.
    fn add(&mut self, env: &Env, work: impl FnOnce() -> Result<()>) -> Result<String> {
        reset_peak(env);
        let before = (processor_time(&engine_processes(env)), own_time());
        let began = Instant::now();
        work()?;
        let time = began.elapsed();
        let spent = processor_time(&engine_processes(env)).saturating_sub(before.0);
        self.processors.0 += spent;
        self.processors.1 += own_time().saturating_sub(before.1);
        self.peak_kb = self.peak_kb.max(peak_kb(env));
        self.times.push(time);
        Ok(format!("{:.2} s, its processors {:.2} s", time.as_secs_f64(), spent.as_secs_f64()))
    }

    fn processors(&self) -> String {
        let rounds = u32::try_from(self.times.len().max(1)).unwrap_or(1);
        let (engine, bench) = (self.processors.0 / rounds, self.processors.1 / rounds);
        format!("{:.2}, {:.2}", engine.as_secs_f64(), bench.as_secs_f64())
    }
}

/// The operations, each from the state that it needs.
struct Bench<'a> {
    registry: Registry,
    corpus: &'a Corpus,
}

impl Bench<'_> {
    /// Measures one operation on all sides, in turns; gives its row of the table.
    fn measure(
        &self,
        operation: &Operation,
        sides: Sides<'_>,
        rounds: usize,
    ) -> Result<[String; 9]> {
        let (mut mine, mut theirs, mut podmans) = (Taken::default(), Taken::default(), Vec::new());
        let what = format!("{} {}", operation.name, self.corpus.name);
        for round in 1..=rounds {
            let engines = [(Some(sides.own), &mut mine), (sides.reference, &mut theirs)];
            for (env, taken) in engines {
                let Some(env) = env else { continue };
                (operation.prepare)(self, env)?;
                settle();
                let told = taken.add(env, || (operation.run)(self, env))?;
                let side = if env.is_foreign() { "reference" } else { "ferry" };
                println!("{what}, round {round}: {side} {told}");
            }
            if let Some(words) = sides.podman.filter(|_| operation.has_podman) {
                let time = self.podman_pull(words)?;
                println!("{what}, round {round}: podman {:.2} s", time.as_secs_f64());
                podmans.push(time);
            }
        }
        let (cpu, peak) =
            ((mine.processors(), theirs.processors()), (mine.peak_kb, theirs.peak_kb));
        let (mine, theirs, podmans) =
            (Times::new(mine.times), Times::new(theirs.times), Times::new(podmans));
        let verdict = if peak.0 <= PEAK_BUDGET_KB { "met" } else { "MISSED" };
        Ok([
            what,
            mine.seconds(),
            theirs.seconds(),
            theirs.ratio(&mine, operation.budget.0),
            podmans.seconds(),
            podmans.ratio(&mine, operation.budget.1),
            cpu.0,
            cpu.1,
            format!("{} ({verdict}), {}", peak.0 >> 10, peak.1 >> 10),
        ])
    }

    fn source_name(&self) -> String {
        format!("{}:1", self.registry.source(self.corpus.name))
    }

    fn target(&self) -> String {
        self.registry.target(self.corpus.name)
    }

    /// Waits until the image is gone.
    fn remove(&self, env: &Env) -> Result<()> {
        let path = format!("/images/{}?force=1", self.corpus.id);
        let answer = env.api("DELETE", &path, None);
        // It may not be there.
        ensure!(matches!(answer.status, 200 | 404), "{}", answer.text());
        Ok(())
    }

    fn need_pulled(&self, env: &Env) -> Result<()> {
        let is_here = env.api("GET", &format!("/images/{}/json", self.source_name()), None);
        if is_here.status == 200 { Ok(()) } else { self.pull(env) }
    }

    fn tag(&self, env: &Env) -> Result<()> {
        let path = format!("/images/{}/tag?repo={}&tag=1", self.corpus.id, self.target());
        env.api("POST", &path, None).is(201);
        self.registry.take_pushed();
        Ok(())
    }

    fn pull(&self, env: &Env) -> Result<()> {
        let source = self.registry.source(self.corpus.name);
        ask(env, "POST", &format!("/images/create?fromImage={source}&tag=1"), None).map(drop)
    }

    fn push(&self, env: &Env) -> Result<()> {
        ask(env, "POST", &format!("/images/{}/push?tag=1", self.target()), None)?;
        let (blobs, bytes, manifests) = self.registry.take_pushed();
        let is_whole = blobs == self.corpus.layers + 1 && manifests > 0;
        ensure!(
            is_whole && bytes > self.corpus.packed / 2,
            "only {blobs} blobs of {bytes} bytes and {manifests} manifests were pushed"
        );
        Ok(())
    }

    fn save(&self, env: &Env) -> Result<()> {
        let bytes = ask(env, "GET", &format!("/images/{}/get", self.source_name()), None)?;
        ensure!(bytes > self.corpus.packed, "an archive of {bytes} bytes is too short");
        Ok(())
    }

    fn load(&self, env: &Env) -> Result<()> {
        let archive = File::open(&self.corpus.archive).context("opening the archive")?;
        ask(env, "POST", "/images/load?quiet=1", Some(archive))?;
        env.api("GET", &format!("/images/{}/json", self.corpus.saved_name()), None).is(200);
        Ok(())
    }

    fn podman_pull(&self, podman: &[String]) -> Result<Duration> {
        let name = self.source_name();
        let run = |words: &[&str]| -> Result<std::process::Output> {
            let (program, first) = podman.split_first().context("--podman names a program")?;
            let mut command = tools::command(program);
            command.args(first).args(words).stdin(Stdio::null());
            command.output().context("running podman")
        };
        // It may not be there.
        drop(run(&["rmi", "--force", &name])?);
        settle();
        let began = Instant::now();
        let output = run(&["pull", "--quiet", "--tls-verify=false", &name])?;
        let taken = began.elapsed();
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        drop(run(&["rmi", "--force", &name])?);
        Ok(taken)
    }
}

/// Asks an engine, reads its answer to the end without keeping it, and gives its length.
fn ask(env: &Env, method: &str, path: &str, body: Option<File>) -> Result<u64> {
    let mut socket = UnixStream::connect(env.socket()).context("connecting to the engine")?;
    let length = match &body {
        Some(body) => body.metadata().context("looking at the body")?.len(),
        None => 0,
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\
         X-Registry-Auth: e30=\r\nContent-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).context("asking the engine")?;
    if let Some(mut body) = body {
        io::copy(&mut body, &mut socket).context("sending the archive")?;
    }
    let mut buffer = vec![0; 1 << 20];
    let (mut first, mut last, mut total) = (Vec::new(), Vec::new(), 0_u64);
    loop {
        let count = socket.read(&mut buffer).context("reading the engine's answer")?;
        if count == 0 {
            break;
        }
        if first.len() < 64 {
            first.extend_from_slice(&buffer[..count.min(64)]);
        }
        last.extend_from_slice(&buffer[count.saturating_sub(4096)..count]);
        last.drain(..last.len().saturating_sub(4096));
        total += count as u64;
    }
    let (first, last) = (String::from_utf8_lossy(&first), String::from_utf8_lossy(&last));
    if !first.starts_with("HTTP/1.1 200") || last.contains("errorDetail") {
        bail!("{method} {path}: {first} ... {last}");
    }
    Ok(total)
}

/// Waits for the disks, and forgets what was read from them; for all sides alike.
fn settle() {
    rustix::fs::sync();
    // A machine that does not allow it measures warm; for all sides.
    drop(std::fs::write("/proc/sys/vm/drop_caches", "3"));
}

/// What processes have taken of the processors.
fn processor_time(processes: &[u32]) -> Duration {
    let ticks = processes.iter().filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may have spaces; user and system time are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn own_time() -> Duration {
    processor_time(&[std::process::id()])
}

fn reset_peak(env: &Env) {
    for pid in engine_processes(env) {
        drop(std::fs::write(format!("/proc/{pid}/clear_refs"), "5"));
    }
}

/// The most that an engine's processes had resident since the last reset.
fn peak_kb(env: &Env) -> u64 {
    let peaks = engine_processes(env).into_iter().filter_map(|pid| {
        observe::status(pid, "VmHWM")?.split_whitespace().next()?.parse::<u64>().ok()
    });
    peaks.sum()
}
