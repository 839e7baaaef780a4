//! The table.

use std::fmt::Write as _;
use std::time::Duration;

/// What several rounds took.
#[derive(Debug, Default, Clone)]
pub(super) struct Times {
    sorted: Vec<Duration>,
}

impl Times {
    pub(super) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { sorted: times }
    }

    fn median_ms(&self) -> f64 {
        self.sorted.get(self.sorted.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }

    fn least_ms(&self) -> f64 {
        self.sorted.first().map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }

    fn text(&self) -> String {
        format!("{:.1} / {:.1}", self.median_ms(), self.least_ms())
    }

    /// Median and least in seconds.
    pub(super) fn seconds(&self) -> String {
        if self.sorted.is_empty() {
            return "-".to_owned();
        }
        format!("{:.2} / {:.2}", self.median_ms() / 1000.0, self.least_ms() / 1000.0)
    }

    /// How many times longer these took than others, and whether that is enough; a budget of 0 is
    /// none.
    pub(super) fn ratio(&self, others: &Self, budget: f64) -> String {
        if self.sorted.is_empty() || others.median_ms() <= 0.0 {
            return "-".to_owned();
        }
        judged(self.median_ms() / others.median_ms(), budget)
    }
}

/// Rows, as they will be printed.
#[derive(Debug, Default)]
pub(super) struct Report {
    times: Vec<[String; 7]>,
    memory: Vec<[String; 5]>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a row of times; a budget of 0 is none.
    pub(super) fn times(
        &mut self,
        what: &str,
        ferry: Times,
        docker: Option<Times>,
        reference: Option<Times>,
        budget: (f64, f64),
    ) {
        let base = reference.as_ref().map(Times::median_ms);
        let ratio = |mine: Option<f64>, budget: f64| match (base, mine) {
            (Some(base), Some(mine)) if mine > 0.0 => judged(base / mine, budget),
            _ if budget > 0.0 => format!("- of {budget:.0}x"),
            _ => "-".into(),
        };
        let text = |times: Option<&Times>| times.map_or_else(|| "-".into(), Times::text);
        self.times.push([
            what.into(),
            ferry.text(),
            text(docker.as_ref()),
            text(reference.as_ref()),
            ratio(Some(ferry.median_ms()), budget.0),
            ratio(docker.as_ref().map(Times::median_ms), budget.1),
            String::new(),
        ]);
    }

    /// Adds a row of memory in kilobytes; a budget of 0 is none.
    pub(super) fn memory(&mut self, what: &str, ferry: u64, reference: Option<u64>, budget: u64) {
        let megabytes =
            |kilobytes: u64| format!("{}.{:02}", kilobytes / 1000, kilobytes % 1000 / 10);
        let verdict = match budget {
            0 => "-".into(),
            budget if ferry <= budget => format!("{}: met", megabytes(budget)),
            budget => format!("{}: MISSED", megabytes(budget)),
        };
        self.memory.push([
            what.into(),
            megabytes(ferry),
            reference.map_or_else(|| "-".into(), megabytes),
            verdict,
            String::new(),
        ]);
    }

    /// Adds a line beneath the tables.
    pub(super) fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }

    /// Everything.
    pub(super) fn text(&self) -> String {
        let times = [
            "milliseconds, p50 / min",
            "ferry",
            "docker on ferryd",
            "docker on reference",
            "ratio, ferry",
            "ratio, docker",
            "",
        ];
        let memory = ["megabytes", "ferry", "reference", "budget", ""];
        let mut text = table(times, &self.times);
        text.push('\n');
        text.push_str(&table(memory, &self.memory));
        for note in &self.notes {
            text.push('\n');
            text.push_str(note);
        }
        text
    }
}

fn judged(ratio: f64, budget: f64) -> String {
    match budget {
        budget if budget <= 0.0 => format!("{ratio:.1}x"),
        budget if ratio >= budget => format!("{ratio:.1}x of {budget:.0}x: met"),
        budget => format!("{ratio:.1}x of {budget:.0}x: MISSED"),
    }
}

/// A table of text.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |at: usize| {
        rows.iter().map(|row| row[at].len()).chain([head[at].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        for (cell, width) in cells.iter().zip(&widths) {
            write!(text, "{cell:width$}  ").expect("writing to a string");
        }
        let length = text.trim_end().len();
        text.truncate(length);
        text.push('\n');
    };
    line(&head);
    for row in rows {
        line(&row.each_ref().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_budget_is_said() {
        let ms = |value| Some(Times::new(vec![Duration::from_millis(value)]));
        let mut report = Report::default();
        report.times("run", ms(10).unwrap(), ms(20), ms(110), (10.0, 6.0));
        report.memory("engine", 16_000, None, 15_000);
        let text = report.text();
        assert!(
            text.contains("11.0x of 10x: met") && text.contains("5.5x of 6x: MISSED"),
            "{text}"
        );
        assert!(text.contains("15.00: MISSED"), "{text}");
    }
}
