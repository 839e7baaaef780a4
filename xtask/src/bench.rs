//! `bench run` and `bench images`: Ferry and a reference engine, in turns, in one run.
//!
//! Every number is the median and the least of several rounds, and each round asks all sides one
//! after the other, so that whatever else the machine does is shared fairly.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ferry_testkit::env::reference_host;
use ferry_testkit::{Client, Env, Image};

use crate::{dist, install, tools};

mod images;
mod load;
mod report;
mod times;

use report::Report;

/// The image on every side, named so that nobody's own is replaced.
const IMAGE: &str = "ferry-bench:latest";

/// One way to reach one engine.
#[derive(Debug, Clone, Copy)]
struct Side<'a> {
    env: &'a Env,
    client: Client,
}

impl Side<'_> {
    /// Runs a client's command that must succeed, and says how long it took.
    fn time(&self, words: &[&str]) -> Result<Duration> {
        let output = self.env.client(self.client, words).deadline(Duration::from_secs(120)).run();
        if output.code != 0 {
            bail!("{output:?}");
        }
        Ok(output.elapsed)
    }
}

/// Everything that is compared; the last two may be missing.
#[derive(Debug)]
struct Sides<'a> {
    ferry: Side<'a>,
    docker: Option<Side<'a>>,
    reference: Option<Side<'a>>,
}

/// Runs the benchmark and prints its table.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    tools::need_root("the benchmark")?;
    let Options { rounds, reference } = Options::read(words)?;
    let docker = install::for_tests()?;
    dist::ensure_built()?;
    let mut own = Env::builder().own().without_busybox().without_leak_check().start();
    own.load(&Image::busybox(), IMAGE);
    let idle = load::engine_memory(&own);
    let other = match (&reference, &docker) {
        (None, _) => {
            println!(
                "no reference engine: set FERRY_BENCH_REFERENCE=unix:///... to compare with one"
            );
            None
        }
        (Some(_), None) => {
            bail!("a reference engine is spoken to by the docker client; there is none")
        }
        (Some(host), Some(_)) => {
            let env = Env::foreign(host);
            env.load(&Image::busybox(), IMAGE);
            Some(env)
        }
    };
    let mut report = Report::default();
    report.memory("engine, idle", idle, other.as_ref().map(load::engine_memory), 15_000);
    let measured = {
        let side = |env, client| Side { env, client };
        let sides = Sides {
            ferry: side(&own, Client::Ferry),
            docker: docker.as_ref().map(|_| side(&own, Client::Docker)),
            reference: other.as_ref().map(|env| side(env, Client::Docker)),
        };
        times::commands(&sides, rounds, &mut report)
            .and_then(|()| load::hundred(&sides, &mut report))
    };
    let restarted = measured.and_then(|()| load::restarts(&mut own, rounds, &mut report));
    if let Some(other) = &other {
        drop(other.client(Client::Docker, &["rmi", IMAGE]).run());
    }
    println!("{}", report.text());
    restarted
}

/// Runs the benchmark of images.
pub(crate) fn images(words: &[&str]) -> Result<()> {
    images::run(&images::Options::read(words)?)
}

struct Options {
    rounds: usize,
    reference: Option<String>,
}

impl Options {
    fn read(words: &[&str]) -> Result<Self> {
        let mut options = Self { rounds: 15, reference: reference_host() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} wants a value"))?;
            match *word {
                "--rounds" => options.rounds = value.parse().context("--rounds wants a number")?,
                "--reference" => options.reference = Some((*value).to_owned()),
                _ => bail!("bench knows --rounds and --reference, not {word}"),
            }
        }
        Ok(options)
    }
}
