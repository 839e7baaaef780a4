//! What must be so whenever an engine has started again after its death.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use ferry_testkit::{Env, leaks, observe, wait};
use rusqlite::{Connection, OpenFlags};

use crate::pull::scrub;

/// Links of one container that runs, beside those that are kept ready.
const LINKS: usize = leaks::READY_LINKS + 1;

/// Wants everything to be whole and nothing to be left; `running` is the container that may run.
#[track_caller]
pub(super) fn at_rest(env: &Env, what: &str, running: &str) {
    let mut found = Vec::new();
    // What is deleted in the background, and what the kernel ends, takes its time.
    wait::poll(Duration::from_secs(10), || {
        found = damage(env);
        found.extend(left(env, running));
        found.is_empty().then_some(())
    });
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
    scrub(env);
}

/// Wants the engines to have said nothing that somebody would have to look into.
#[track_caller]
pub(super) fn quiet(env: &Env) {
    let log = env.log_tail(usize::MAX);
    let told = |line: &&str| {
        [" ERROR ", "panicked", "cannot delete", "cannot remove", "cannot undo", "damage found"]
            .iter()
            .any(|words| line.contains(words))
    };
    let told: Vec<&str> = log.lines().filter(told).collect();
    assert!(told.is_empty(), "the log says:\n{}", told.join("\n"));
}

/// In what the database is not in order, or not what is on the disk.
fn damage(env: &Env) -> Vec<String> {
    let path = env.data_root().join("ferry.db");
    let open = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let database = open.expect("opening the engine's database");
    database.busy_timeout(Duration::from_secs(5)).expect("setting a time limit");
    let texts = |sql: &str| -> BTreeSet<String> {
        let mut statement = database.prepare(sql).expect("a statement");
        let rows = statement.query_map([], |row| row.get(0)).expect("a result");
        rows.collect::<rusqlite::Result<_>>().expect("rows of text")
    };
    let mut found = Vec::new();
    let integrity = texts("PRAGMA integrity_check");
    found.extend(integrity.into_iter().filter(|line| line != "ok"));
    found.extend(texts("SELECT \"table\" FROM pragma_foreign_key_check"));
    let blobs = "SELECT digest FROM blobs UNION SELECT id FROM images
        UNION SELECT digest FROM manifests";
    for (folder, sql) in [
        ("layers", "SELECT diff_id FROM layers"),
        ("blobs/sha256", blobs),
        ("containers", "SELECT container_id FROM container_filesystems"),
        ("tmp", "SELECT 'nothing'"),
    ] {
        let rows: BTreeSet<String> =
            texts(sql).iter().map(|name| name.trim_start_matches("sha256:").to_owned()).collect();
        let mut files = names(env, folder);
        // The lower layer of containers that have no other.
        files.insert("nothing".to_owned());
        let rows = rows.into_iter().chain(["nothing".to_owned()]).collect();
        found.extend(files.difference(&rows).map(|file| format!("{folder}/{file} has no record")));
        found.extend(rows.difference(&files).map(|row| format!("{folder}/{row} has no file")));
    }
    found
}

fn names(env: &Env, folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(env.data_root().join(folder)).expect("a folder of the engine");
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Mounts, loop devices, cgroups, links, folders and processes that belong to nobody.
fn left(env: &Env, running: &str) -> Vec<String> {
    let slot = env.slot();
    let id = env.inspect(running, "{{.Id}}");
    let mut found = leaks::of_all_but(slot, LINKS);
    // Which containers have a folder is compared with the records.
    found.retain(|one| !one.starts_with("container folder") && !one.contains(&id));
    for device in fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok) {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if slot.marks().iter().any(|mark| file.contains(mark)) {
            found.push(format!("{} of {file}", device.path().display()));
        }
    }
    let mut kin: BTreeSet<u32> = [env.engine_pid(), std::process::id()].into();
    let supervisor = observe::stat(env.pid(running)).map(|stat| stat.parent);
    kin.extend(supervisor);
    for ancestor in supervisor.into_iter().chain([env.engine_pid()]) {
        kin.extend(observe::descendants(ancestor).into_iter().map(|stat| stat.pid));
    }
    let strangers = observe::processes().into_iter().filter(|pid| !kin.contains(pid));
    for pid in strangers.filter(|pid| observe::is_marked(*pid, &slot.marks())) {
        found.push(format!("process {pid}: {}", observe::command_line(pid)));
    }
    found
}
