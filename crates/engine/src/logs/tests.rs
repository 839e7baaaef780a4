#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::time::Duration;

use ferry_supervisor::log::LogWriter;
use ferry_supervisor::protocol::LogConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

struct Log {
    dir: tempfile::TempDir,
    writer: LogWriter,
    ended: flag::Sender<bool>,
    directories: Directories,
}

fn directories() -> Directories {
    Directories::new(TaskTracker::new(), CancellationToken::new())
}

impl Log {
    fn new(max_size: Option<u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c-json.log").display().to_string();
        let config =
            LogConfig { path, max_size, max_files: 100, attributes: r#"{"k":"v"}"#.into() };
        let writer = LogWriter::open(&config).unwrap();
        Self { dir, writer, ended: flag::channel(false).0, directories: directories() }
    }

    fn print(&mut self, stream: Stream, text: &str) {
        self.writer.append(stream, text.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    async fn read(&self, query: LogQuery) -> LogEntries {
        let path = self.dir.path().join("c-json.log");
        LogEntries::open(&path, query, self.ended.subscribe(), &self.directories).await.unwrap()
    }

    fn end(&self) {
        self.ended.send_replace(true);
    }
}

fn all() -> LogQuery {
    LogQuery { stdout: true, stderr: true, ..LogQuery::default() }
}

async fn texts(entries: &mut LogEntries) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(entry) = entries.next().await {
        texts.push(String::from_utf8(entry.unwrap().line).unwrap());
    }
    texts
}

#[tokio::test]
async fn what_was_printed_is_read_in_order() {
    let mut log = Log::new(None);
    log.print(Stream::Stdout, "a\nb");
    log.print(Stream::Stderr, "err\n");
    log.print(Stream::Stdout, "b\n");
    assert_eq!(texts(&mut log.read(all()).await).await, ["a\n", "err\n", "bb\n"]);
    let only = LogQuery { stdout: false, ..all() };
    assert_eq!(texts(&mut log.read(only).await).await, ["err\n"]);
    let last = LogQuery { tail: Some(2), stderr: false, ..all() };
    assert_eq!(texts(&mut log.read(last).await).await, ["bb\n"]);
    let entry = log.read(all()).await.next().await.unwrap().unwrap();
    assert_eq!(entry.attributes.as_deref(), Some(r#"{"k":"v"}"#));
}

#[tokio::test]
async fn times_bound_what_is_read() {
    let mut log = Log::new(None);
    log.print(Stream::Stdout, "before\n");
    let middle = Timestamp::now();
    log.print(Stream::Stdout, "after\n");
    let since = LogQuery { since: Some(middle), ..all() };
    assert_eq!(texts(&mut log.read(since).await).await, ["after\n"]);
    let until = LogQuery { until: Some(middle), ..all() };
    assert_eq!(texts(&mut log.read(until).await).await, ["before\n"]);
    // To follow until a time that has passed is not to follow.
    let follow = LogQuery { until: Some(middle), follow: true, ..all() };
    assert_eq!(texts(&mut log.read(follow).await).await, ["before\n"]);
}

#[tokio::test]
async fn a_follower_stops_at_its_time_though_nothing_is_printed() {
    let mut log = Log::new(None);
    log.print(Stream::Stdout, "x\n");
    let until = Timestamp::now() + Duration::from_millis(50);
    let query = LogQuery { until: Some(until), follow: true, ..all() };
    assert_eq!(texts(&mut log.read(query).await).await, ["x\n"]);
}

#[tokio::test]
async fn a_follower_sees_what_is_printed_across_files_until_the_end() {
    let mut log = Log::new(Some(500));
    log.print(Stream::Stdout, "first\n");
    let mut entries = log.read(LogQuery { follow: true, tail: Some(0), ..all() }).await;
    let printing = async {
        for number in 0..200 {
            log.print(Stream::Stdout, &format!("{number}\n"));
            if number % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        log.end();
    };
    let reading = tokio::time::timeout(Duration::from_secs(20), texts(&mut entries));
    let ((), read) = tokio::join!(printing, reading);
    let expect: Vec<String> = (0..200).map(|number| format!("{number}\n")).collect();
    assert_eq!(read.unwrap(), expect);
}

#[tokio::test]
async fn a_follower_of_a_container_that_has_ended_ends() {
    let mut log = Log::new(None);
    log.print(Stream::Stdout, "x\n");
    log.end();
    let follow = LogQuery { follow: true, ..all() };
    assert_eq!(texts(&mut log.read(follow.clone()).await).await, ["x\n"]);
    // An engine that forgets a container closes the flag.
    let Log { dir, ended, writer, directories } = log;
    let path = dir.path().join("c-json.log");
    let entries = LogEntries::open(&path, follow, ended.subscribe(), &directories).await;
    let mut entries = entries.unwrap();
    drop((ended, writer));
    assert_eq!(texts(&mut entries).await, ["x\n"]);
}

#[tokio::test]
async fn a_log_that_was_never_written_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (_ended, receiver) = flag::channel(false);
    let path = dir.path().join("none.log");
    let mut entries = LogEntries::open(&path, all(), receiver, &directories()).await.unwrap();
    assert!(entries.next().await.is_none());
}

#[tokio::test]
async fn followers_share_one_descriptor_and_leave_no_watch() {
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap();
    let limit = limit.trim().parse::<usize>().unwrap().min(300);
    let mut log = Log::new(None);
    let other = tempfile::tempdir().unwrap();
    let follow = LogQuery { follow: true, ..all() };
    let mut followers = Vec::new();
    for _ in 0..=limit {
        followers.push(log.read(follow.clone()).await);
    }
    let path = other.path().join("none.log");
    let quiet = LogEntries::open(&path, follow, log.ended.subscribe(), &log.directories).await;
    let mut quiet = quiet.unwrap();
    assert_eq!(log.directories.watches(), 2);
    log.print(Stream::Stdout, "x\n");
    for follower in &mut followers {
        let entry = tokio::time::timeout(Duration::from_secs(10), follower.next()).await;
        assert_eq!(entry.unwrap().unwrap().unwrap().line, b"x\n");
    }
    let waited = tokio::time::timeout(Duration::from_millis(20), quiet.next()).await;
    assert!(waited.is_err(), "nothing is in the other log");
    // The directory may be deleted before its follower leaves.
    drop(other);
    drop((followers, quiet));
    assert_eq!(log.directories.watches(), 0);
}
