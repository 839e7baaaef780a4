#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::log::parse;

fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::new(1_700_000_000, 5_000_000)
}

fn config(dir: &Path, max_size: Option<u64>, max_files: u32) -> LogConfig {
    let path = dir.join("c-json.log").display().to_string();
    LogConfig { path, max_size, max_files, attributes: String::new() }
}

#[track_caller]
fn check(printed: &[(Stream, &[u8])], expect: &str) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), None, 1);
    let mut writer = LogWriter::open_with_clock(&config, noon).unwrap();
    for (stream, bytes) in printed {
        writer.append(*stream, bytes).unwrap();
    }
    for stream in [Stream::Stdout, Stream::Stderr] {
        writer.end(stream).unwrap();
    }
    writer.flush().unwrap();
    assert_eq!(std::fs::read_to_string(&config.path).unwrap(), expect);
}

#[test]
fn a_line_is_an_entry_with_docker_s_bytes() {
    check(
        &[(Stream::Stdout, b"hello\n"), (Stream::Stderr, b"<&>\t\"\\\r\x01\n")],
        concat!(
            r#"{"log":"hello\n","stream":"stdout","time":"2023-11-14T22:13:20.005Z"}"#,
            "\n",
            r#"{"log":"\u003c\u0026\u003e\u0009\"\\\r\u0001\n","stream":"stderr","#,
            r#""time":"2023-11-14T22:13:20.005Z"}"#,
            "\n"
        ),
    );
}

#[test]
fn bytes_that_are_not_text_are_replaced_one_by_one() {
    check(
        &[(Stream::Stdout, "é\u{2028}".as_bytes()), (Stream::Stdout, b"\xe2\x82x\xff\n")],
        concat!(
            r#"{"log":"é\u2028\ufffd\ufffdx\ufffd\n","stream":"stdout","#,
            r#""time":"2023-11-14T22:13:20.005Z"}"#,
            "\n"
        ),
    );
}

#[test]
fn pieces_of_a_line_become_one_entry_and_streams_do_not_mix() {
    check(
        &[(Stream::Stdout, b"a"), (Stream::Stderr, b"x\ny"), (Stream::Stdout, b"b\n\n")],
        concat!(
            r#"{"log":"x\n","stream":"stderr","time":"2023-11-14T22:13:20.005Z"}"#,
            "\n",
            r#"{"log":"ab\n","stream":"stdout","time":"2023-11-14T22:13:20.005Z"}"#,
            "\n",
            r#"{"log":"\n","stream":"stdout","time":"2023-11-14T22:13:20.005Z"}"#,
            "\n",
            r#"{"log":"y","stream":"stderr","time":"2023-11-14T22:13:20.005Z"}"#,
            "\n"
        ),
    );
}

#[test]
fn attributes_stand_before_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { attributes: r#"{"a":"b"}"#.into(), ..config(dir.path(), None, 1) };
    let mut writer = LogWriter::open_with_clock(&config, noon).unwrap();
    writer.append(Stream::Stdout, b"x\n").unwrap();
    writer.flush().unwrap();
    assert_eq!(
        std::fs::read_to_string(&config.path).unwrap(),
        concat!(
            r#"{"log":"x\n","stream":"stdout","attrs":{"a":"b"},"#,
            r#""time":"2023-11-14T22:13:20.005Z"}"#,
            "\n"
        )
    );
}

#[test]
fn a_full_disk_never_leaves_half_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), None, 1);
    let mut writer = LogWriter::open_with_clock(&config, noon).unwrap();
    writer.append(Stream::Stdout, b"one\n").unwrap();
    writer.flush().unwrap();
    let before = std::fs::read(&config.path).unwrap();
    writer.file = File::options().append(true).open("/dev/full").unwrap();
    writer.append(Stream::Stdout, b"lost\n").unwrap();
    assert!(writer.flush().is_err());
    writer.file = File::options().append(true).open(&config.path).unwrap();
    writer.append(Stream::Stdout, b"two\n").unwrap();
    writer.flush().unwrap();
    let after = std::fs::read(&config.path).unwrap();
    assert!(after.starts_with(&before));
    let lines: Vec<Vec<u8>> = entries(dir.path()).into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, [b"one\n", b"two\n"]);
}

/// All entries, oldest file first.
fn entries(dir: &Path) -> Vec<(Stream, Vec<u8>)> {
    let mut all = Vec::new();
    for number in (0..100).rev() {
        let Ok(text) = std::fs::read(rotated(&dir.join("c-json.log"), number)) else { continue };
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let entry = parse(line).unwrap();
            all.push((entry.stream, entry.line));
        }
    }
    all
}

#[test]
fn a_file_that_can_not_be_put_away_pushes_no_other_out() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), Some(150), 3);
    let mut writer = LogWriter::open_with_clock(&config, noon).unwrap();
    for _ in 0..9 {
        writer.append(Stream::Stdout, b"less\n").unwrap();
    }
    writer.flush().unwrap();
    let path = Path::new(&config.path);
    let old = [1, 2].map(|number| std::fs::read(rotated(path, number)).unwrap());
    // As with a full disk, the new file can not be made.
    std::fs::create_dir(path.with_extension("log.new")).unwrap();
    let mut failed = 0;
    for _ in 0..10 {
        failed += usize::from(writer.append(Stream::Stdout, b"more\n").is_err());
        writer.flush().unwrap();
    }
    assert_eq!(failed, 10);
    assert_eq!([1, 2].map(|number| std::fs::read(rotated(path, number)).unwrap()), old);
    let current = std::fs::read_to_string(path).unwrap();
    assert_eq!(current.matches("more").count(), 10, "{current}");
}

#[test]
fn full_files_are_put_away_and_the_oldest_dropped() {
    for max_files in [1, 2, 4] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), Some(200), max_files);
        let mut writer = LogWriter::open_with_clock(&config, noon).unwrap();
        for number in 0..100 {
            writer.append(Stream::Stdout, format!("line {number}\n").as_bytes()).unwrap();
            if number % 7 == 0 {
                writer.flush().unwrap();
            }
        }
        writer.flush().unwrap();
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, usize::try_from(max_files).unwrap());
        let kept = entries(dir.path());
        let first = 100 - kept.len();
        for (index, (_, line)) in kept.iter().enumerate() {
            assert_eq!(line, format!("line {}\n", first + index).as_bytes());
        }
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            assert!(entry.unwrap().metadata().unwrap().len() < 200 + 100);
        }
    }
}

proptest! {
    /// However it was printed and cut into reads, the log holds each stream's text in order, in
    /// entries of at most 16 KiB, and only whole lines end with a newline.
    #[test]
    fn nothing_is_lost_or_reordered(
        pieces in prop::collection::vec(
            (any::<bool>(), prop_oneof![
                "[a-z\n]{0,40}",
                (1..40_000_usize).prop_map(|length| "x".repeat(length)),
                (1..40_000_usize).prop_map(|length| format!("{}\n", "y".repeat(length))),
            ]),
            0..12,
        ),
        max_size in prop_oneof![Just(None), (1..100_000_u64).prop_map(Some)],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), max_size, 100);
        let mut writer = LogWriter::open(&config).unwrap();
        let mut printed = [String::new(), String::new()];
        for (first, text) in &pieces {
            let stream = if *first { Stream::Stdout } else { Stream::Stderr };
            printed[usize::from(!*first)].push_str(text);
            writer.append(stream, text.as_bytes()).unwrap();
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            writer.end(stream).unwrap();
        }
        writer.flush().unwrap();
        let mut logged = [String::new(), String::new()];
        for (stream, line) in entries(dir.path()) {
            let text = String::from_utf8(line).unwrap();
            prop_assert!(text.trim_end_matches('\n').len() <= MAX_TEXT);
            prop_assert!(!text.trim_end_matches('\n').contains('\n'));
            logged[usize::from(stream == Stream::Stderr)].push_str(&text);
        }
        prop_assert_eq!(logged, printed);
    }

    /// Any bytes become one entry that can be read, as Go's decoder would read them.
    #[test]
    fn any_bytes_can_be_read_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut line = Vec::new();
        let mut clock = Clock::default();
        encode(Stream::Stderr, &bytes, true, "", (noon(), &mut clock), &mut line);
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let entry = parse(&line).unwrap();
        let mut expect = String::new();
        for chunk in bytes.utf8_chunks() {
            expect.push_str(chunk.valid());
            expect.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
        }
        expect.push('\n');
        prop_assert_eq!(entry.line, expect.into_bytes());
    }
}
