//! `bench images`: images in and out, Ferry and a reference engine in turns.
//!
//! The registry is the test kit's, in this process and in memory; so neither side waits for a disk
//! of the other end. Both engines are asked over their API: no client stands between.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ferry_testkit::registry::Form;
use ferry_testkit::tar::Tar;
use ferry_testkit::{Compression, Env, FaultRegistry, Image, api, observe};

use super::Options;
use super::load::engine_processes;
use super::report::{Report, Times};
use crate::{dist, tools};

/// How many times faster than the reference: images in, images out.
const PULL_BUDGET: f64 = 10.0;
const OTHER_BUDGET: f64 = 3.0;
/// Kilobytes that the engine may have resident while it takes in the largest image.
const PEAK_BUDGET: u64 = 150 << 10;
/// The rounds of each operation unless `--rounds` says otherwise.
pub(super) const ROUNDS: usize = 5;

/// An image to be measured with.
struct Corpus {
    name: &'static str,
    image: Image,
    /// As `docker save` writes it.
    archive: Vec<u8>,
}

impl Corpus {
    fn new(name: &'static str, layers: Vec<Vec<u8>>) -> Self {
        let image = Image::new(layers);
        let archive = image.saved(&format!("bench-{name}:1"), Compression::Gzip);
        Self { name, image, archive }
    }

    fn megabytes(&self) -> f64 {
        let bytes: usize = self.image.layers.iter().map(Vec::len).sum();
        u32::try_from(bytes >> 10).map_or(f64::INFINITY, |kib| f64::from(kib) / 1024.0)
    }
}

/// The same bytes for the same seed, of which half is noise and half is zeros.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
    }
    bytes.truncate(length);
    bytes
}

/// A layer of so many files in folders of a hundred.
fn layer(seed: u64, files: u64, size: usize) -> Vec<u8> {
    let mut tar = Tar::new();
    for number in 0..files {
        let folder = format!("usr/share/{seed}/{}", number / 100);
        if number % 100 == 0 {
            tar.directory(&format!("{folder}/"), 0o755);
        }
        let bytes = content(seed << 32 | number, size);
        tar.file(&format!("{folder}/file-{number}"), 0o644, bytes);
    }
    tar.finish()
}

fn corpora() -> Vec<Corpus> {
    vec![
        Corpus::new("large", (1..=12).map(|seed| layer(seed, 1, 25 << 20)).collect()),
        Corpus::new("files", vec![layer(20, 30_000, 4 << 10)]),
        Corpus::new("layers", (30..49).map(|seed| layer(seed, 1876, 1 << 10)).collect()),
    ]
}

/// What is measured of one side in one operation.
#[derive(Default)]
struct Taken {
    times: Vec<Duration>,
    processors: Duration,
}

/// Runs the benchmark and prints its table.
pub(super) fn run(options: &Options) -> Result<()> {
    tools::need_root("the benchmark")?;
    dist::ensure_built()?;
    let own = Env::builder().own().without_busybox().without_leak_check().start();
    let reference = options.reference.as_deref().map(Env::foreign);
    if reference.is_none() {
        println!("no reference engine: set FERRY_BENCH_REFERENCE=unix:///... to compare with one");
    }
    let registry = FaultRegistry::start();
    let mut report = Report::default();
    println!("making the images");
    for corpus in corpora() {
        println!("{}: {:.0} MiB of files", corpus.name, corpus.megabytes());
        drop(registry.publish(&format!("{}:1", corpus.name), &corpus.image, Form::docker()));
        one_image(&own, reference.as_ref(), &registry, &corpus, options.rounds, &mut report)?;
    }
    report.note("the registry is the test kit's, in memory, on the same processors");
    println!("{}", report.text());
    Ok(())
}

fn one_image(
    own: &Env,
    reference: Option<&Env>,
    registry: &FaultRegistry,
    corpus: &Corpus,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    let bench = Bench { registry, corpus };
    let operations: [(&str, f64, Operation); 4] = [
        ("pull", PULL_BUDGET, |bench, env| bench.pull(env)),
        ("push", OTHER_BUDGET, |bench, env| bench.push(env)),
        ("save", OTHER_BUDGET, |bench, env| bench.save(env)),
        ("load", OTHER_BUDGET, |bench, env| bench.load(env)),
    ];
    reset_peak(own);
    for (what, budget, operation) in operations {
        let mut taken = [Taken::default(), Taken::default()];
        // The first round warms up and is not counted.
        for round in 0..=rounds {
            for (env, taken) in [Some(own), reference].into_iter().zip(&mut taken) {
                let Some(env) = env else { continue };
                let before = processor_time(env);
                let time =
                    operation(&bench, env).with_context(|| format!("{what} of {}", corpus.name))?;
                if round > 0 {
                    taken.times.push(time);
                    taken.processors += processor_time(env).saturating_sub(before);
                }
            }
        }
        let [mine, theirs] = taken;
        let per_round = |taken: &Taken| {
            taken.processors.as_secs_f64()
                / u32::try_from(taken.times.len().max(1)).map_or(1.0, f64::from)
        };
        let least = mine.times.iter().min().map_or(f64::INFINITY, Duration::as_secs_f64);
        report.note(&format!(
            "{what} of {}: {:.0} MB/s; processor seconds: {:.2}, reference {:.2}",
            corpus.name,
            corpus.megabytes() * 1.048_576 / least,
            per_round(&mine),
            per_round(&theirs),
        ));
        let theirs = reference.map(|_| Times::new(theirs.times));
        let row = format!("{what}, {}", corpus.name);
        report.times(&row, Times::new(mine.times), None, theirs, (budget, 0.0));
    }
    let peak = peak_kb(own);
    let theirs = reference.map(peak_kb);
    report.memory(&format!("engine's peak, {}", corpus.name), peak, theirs, PEAK_BUDGET);
    for env in [Some(own), reference].into_iter().flatten() {
        bench.remove(env);
    }
    Ok(())
}

type Operation = fn(&Bench<'_>, &Env) -> Result<Duration>;

/// The operations, each from the state that it needs.
struct Bench<'a> {
    registry: &'a FaultRegistry,
    corpus: &'a Corpus,
}

impl Bench<'_> {
    fn source(&self) -> String {
        self.registry.name(self.corpus.name)
    }

    fn remove(&self, env: &Env) {
        // It may not be there.
        drop(env.api("DELETE", &format!("/images/{}?force=1", self.corpus.image.id()), None));
        drop_caches();
    }

    fn pull(&self, env: &Env) -> Result<Duration> {
        self.remove(env);
        let path = format!("/images/create?fromImage={}&tag=1", self.source());
        let began = Instant::now();
        stream(env, "POST", &path)?;
        Ok(began.elapsed())
    }

    fn push(&self, env: &Env) -> Result<Duration> {
        let target = format!("pushed-{}", self.corpus.name);
        self.registry.remove(&target);
        // Another registry's name, so that nothing can be mounted from where it came.
        let name = self.registry.name(&target);
        let id = self.corpus.image.id();
        env.api("POST", &format!("/images/{id}/tag?repo={name}&tag=1"), None).is(201);
        drop_caches();
        let began = Instant::now();
        stream(env, "POST", &format!("/images/{name}/push?tag=1"))?;
        let taken = began.elapsed();
        ensure!(self.registry.manifest(&target, "1").is_some(), "nothing was pushed");
        drop(env.api("DELETE", &format!("/images/{name}:1"), None));
        Ok(taken)
    }

    fn save(&self, env: &Env) -> Result<Duration> {
        drop_caches();
        let began = Instant::now();
        let bytes = stream(env, "GET", &format!("/images/{}:1/get", self.source()))?;
        ensure!(bytes > 1 << 20, "an archive of {bytes} bytes is too short");
        Ok(began.elapsed())
    }

    fn load(&self, env: &Env) -> Result<Duration> {
        self.remove(env);
        let headers = [("Content-Type", "application/x-tar")];
        let began = Instant::now();
        let archive = Some(self.corpus.archive.as_slice());
        let answer = api::request(env.socket(), "POST", "/images/load?quiet=1", &headers, archive)?;
        let taken = began.elapsed();
        let is_well = answer.status == 200 && !answer.text().contains("errorDetail");
        ensure!(is_well, "{} {}", answer.status, answer.text());
        Ok(taken)
    }
}

/// Asks an engine, reads its answer to the end without keeping it, and says how long it was.
fn stream(env: &Env, method: &str, path: &str) -> Result<usize> {
    let mut socket = UnixStream::connect(env.socket()).context("connecting to the engine")?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\
         X-Registry-Auth: e30=\r\nContent-Length: 0\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).context("asking the engine")?;
    let mut buffer = vec![0; 1 << 20];
    let (mut first, mut last, mut total) = (Vec::new(), Vec::new(), 0);
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
        total += count;
    }
    let (first, last) = (String::from_utf8_lossy(&first), String::from_utf8_lossy(&last));
    if !first.starts_with("HTTP/1.1 200") || last.contains("errorDetail") {
        bail!("{method} {path}: {first} ... {last}");
    }
    Ok(total)
}

/// Forgets what is read from disks, for all sides alike.
fn drop_caches() {
    rustix::fs::sync();
    // A machine that does not allow it measures warm; for both sides.
    drop(std::fs::write("/proc/sys/vm/drop_caches", "3"));
}

/// What an engine's processes have taken of the processors.
fn processor_time(env: &Env) -> Duration {
    let ticks = engine_processes(env).into_iter().filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may have spaces; user and system time are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

fn reset_peak(env: &Env) {
    for pid in engine_processes(env) {
        drop(std::fs::write(format!("/proc/{pid}/clear_refs"), "5"));
    }
}

/// The most that an engine's processes ever had resident since the last reset.
fn peak_kb(env: &Env) -> u64 {
    let peaks = engine_processes(env).into_iter().filter_map(|pid| {
        observe::status(pid, "VmHWM")?.split_whitespace().next()?.parse::<u64>().ok()
    });
    peaks.sum()
}
