#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;
use crate::log::{LogWriter, Stream};
use crate::protocol::LogConfig;

struct Log {
    dir: tempfile::TempDir,
    writer: LogWriter,
    next: u32,
}

impl Log {
    fn new(max_size: Option<u64>, max_files: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log").display().to_string();
        let config = LogConfig { path, max_size, max_files, attributes: String::new() };
        let writer = LogWriter::open(&config).unwrap();
        Self { dir, writer, next: 0 }
    }

    fn write(&mut self, count: u32) {
        for _ in 0..count {
            self.writer.append(Stream::Stdout, format!("{}\n", self.next).as_bytes()).unwrap();
            self.next += 1;
        }
        self.writer.flush().unwrap();
    }

    fn reader(&self, from: Selection) -> LogReader {
        LogReader::open(&self.dir.path().join("x-json.log"), from).unwrap()
    }
}

fn drain(reader: &mut LogReader) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let batch = reader.read().unwrap();
        for entry in batch.entries {
            all.push(String::from_utf8(entry.line).unwrap().trim().parse().unwrap());
        }
        if batch.at_end {
            return all;
        }
    }
}

#[test]
fn a_log_that_was_never_written_is_empty_and_can_be_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let mut reader = LogReader::open(&path, Selection::All).unwrap();
    assert!(reader.read().unwrap().at_end);
    std::fs::write(&path, "{\"log\":\"a\\n\",\"stream\":\"stderr\",\"time\":\"t\"}\n").unwrap();
    let batch = reader.read().unwrap();
    assert_eq!(batch.entries[0].line, b"a\n");
    assert_eq!(batch.entries[0].stream, Stream::Stderr);
}

#[test]
fn the_last_lines_are_found_across_files() {
    let mut log = Log::new(Some(500), 5);
    log.write(20);
    for last in [0, 1, 5, 6, 7, 8, 13, 20, 100] {
        let read = drain(&mut log.reader(Selection::Last(last)));
        let first = 20_u64.saturating_sub(last);
        let expect: Vec<u32> = (0..20).filter(|number| u64::from(*number) >= first).collect();
        assert_eq!(read, expect, "last {last}");
    }
    assert_eq!(drain(&mut log.reader(Selection::All)).len(), 20);
}

#[test]
fn half_an_entry_waits_for_its_other_half() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let whole = "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"t\"}\n";
    std::fs::write(&path, &whole[..20]).unwrap();
    let mut reader = LogReader::open(&path, Selection::All).unwrap();
    assert!(reader.read().unwrap().at_end);
    let mut file = File::options().append(true).open(&path).unwrap();
    io::Write::write_all(&mut file, &whole.as_bytes()[20..]).unwrap();
    assert_eq!(reader.read().unwrap().entries.len(), 1);
    assert!(reader.read().unwrap().at_end);
}

#[test]
fn what_is_no_entry_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let good = "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"t\"}\n";
    std::fs::write(&path, format!("rubbish\n\n{good}{{}}\n{good}")).unwrap();
    let mut reader = LogReader::open(&path, Selection::All).unwrap();
    assert_eq!(reader.read().unwrap().entries.len(), 2);
}

proptest! {
    // Each case makes some hundred files.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A follower that reads now and then sees every line once and in order, as long as no file is
    /// dropped before it came to it.
    #[test]
    fn a_follower_misses_nothing(
        steps in prop::collection::vec((1..30_u32, any::<bool>()), 1..20),
        max_size in 100..2000_u64,
    ) {
        let mut log = Log::new(Some(max_size), 1000);
        let mut reader = log.reader(Selection::All);
        let mut read = Vec::new();
        for (count, reads) in steps {
            log.write(count);
            if reads {
                read.extend(drain(&mut reader));
            }
        }
        read.extend(drain(&mut reader));
        prop_assert_eq!(read, (0..log.next).collect::<Vec<u32>>());
    }

    /// With a single file the follower may miss what was dropped, but sees the rest in order.
    #[test]
    fn a_follower_of_a_single_file_goes_on(steps in prop::collection::vec(1..30_u32, 1..20)) {
        let mut log = Log::new(Some(300), 1);
        let mut reader = log.reader(Selection::All);
        let mut read = Vec::new();
        for count in steps {
            log.write(count);
            read.extend(drain(&mut reader));
        }
        prop_assert!(read.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(read.last().copied(), log.next.checked_sub(1));
    }
}
