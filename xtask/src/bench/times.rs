//! How long commands take.

use std::time::Duration;

use anyhow::Result;

use super::report::{Report, Times};
use super::{IMAGE, Side, Sides};

struct Case {
    what: &'static str,
    words: &'static [&'static str],
    /// How many times faster than the reference: with `ferry`, with `docker`.
    budget: (f64, f64),
}

const KEEPER: &str = "ferry-bench-keeper";

const CASES: &[Case] = &[
    Case {
        what: "run --rm true, bridge",
        words: &["run", "--rm", IMAGE, "true"],
        budget: (10.0, 6.0),
    },
    Case {
        what: "run --rm true, none",
        words: &["run", "--rm", "--network", "none", IMAGE, "true"],
        budget: (10.0, 6.0),
    },
    Case {
        what: "run --rm true, host",
        words: &["run", "--rm", "--network", "host", IMAGE, "true"],
        budget: (10.0, 6.0),
    },
    Case { what: "exec true", words: &["exec", KEEPER, "true"], budget: (8.0, 0.0) },
    Case { what: "ps", words: &["ps"], budget: (4.0, 0.0) },
    Case { what: "inspect", words: &["inspect", KEEPER], budget: (4.0, 0.0) },
];

/// Measures every case on every side, in turns.
pub(super) fn commands(sides: &Sides<'_>, rounds: usize, report: &mut Report) -> Result<()> {
    let all: Vec<&Side<'_>> = [Some(&sides.ferry), sides.docker.as_ref(), sides.reference.as_ref()]
        .into_iter()
        .flatten()
        .collect();
    let keepers: Vec<&Side<'_>> =
        [Some(&sides.ferry), sides.reference.as_ref()].into_iter().flatten().collect();
    for side in &keepers {
        side.time(&["run", "-d", "--name", KEEPER, IMAGE, "sleep", "100000"])?;
    }
    for case in CASES {
        for side in &all {
            side.time(case.words)?;
        }
        let mut taken: Vec<Vec<Duration>> = vec![Vec::new(); all.len()];
        for _ in 0..rounds {
            for (side, times) in all.iter().zip(&mut taken) {
                times.push(side.time(case.words)?);
            }
        }
        let mut taken = taken.into_iter().map(Times::new);
        let ferry = taken.next().unwrap_or_default();
        let docker = sides.docker.as_ref().and_then(|_| taken.next());
        let reference = sides.reference.as_ref().and_then(|_| taken.next());
        report.times(case.what, ferry, docker, reference, case.budget);
    }
    for side in keepers {
        side.time(&["rm", "-f", KEEPER])?;
    }
    Ok(())
}
