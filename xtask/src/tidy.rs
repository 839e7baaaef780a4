//! The rules of the house that a program can check, as tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tools;

/// Who may use whom, of our own crates. A new edge is a reviewed line here.
const LAYERS: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("sys", &[]),
    ("api", &["oci"]),
    ("client", &["api"]),
    ("distribution", &["oci"]),
    ("store", &["oci", "sys"]),
    ("network", &["sys"]),
    ("runtime", &["oci", "sys"]),
    // The runtime is linked, not executed: a fork and an exec fewer at each start.
    ("supervisor", &["oci", "sys", "runtime"]),
    ("engine", &["oci", "sys", "distribution", "store", "network", "supervisor"]),
    // Of distribution only the types of its configuration and of credentials.
    ("daemon", &["oci", "sys", "api", "distribution", "store", "network", "engine"]),
    // Images between registries and files are copied without the engine.
    ("cli", &["oci", "sys", "api", "client", "distribution"]),
    ("testkit", &[]),
    ("xtask", &["testkit"]),
];

/// What must never be linked where.
const ABSENT: &[(&str, &[&str])] = &[
    ("runtime", &["tokio", "hyper", "axum", "rustls", "tracing-subscriber"]),
    ("supervisor", &["tokio", "hyper", "axum", "rustls", "tracing-subscriber"]),
    ("distribution", &["axum", "rusqlite", "rustix"]),
    ("engine", &["http", "hyper", "axum", "ferry-api"]),
    ("store", &["tokio"]),
    ("network", &["tokio"]),
    ("oci", &["rustix", "libc", "tokio"]),
    ("api", &["rustix", "libc", "tokio"]),
];

/// Files longer than the limit, with their length at most. Lines leave this list or shrink.
const LONG_FILES: &[(&str, usize)] = &[];
const LONGEST: usize = 500;

fn metadata() -> Value {
    let text = tools::run(tools::cargo().args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
        "--offline",
    ]))
    .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Each crate's short name and the names of all it uses, tests not counted.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let uses = package["dependencies"].as_array().unwrap().iter();
            let uses = uses.filter(|one| one["kind"].as_str() != Some("dev"));
            let uses = uses.map(|one| one["name"].as_str().unwrap().to_owned()).collect();
            (short(package["name"].as_str().unwrap()).to_owned(), uses)
        })
        .collect()
}

fn short(name: &str) -> &str {
    name.strip_prefix("ferry-").unwrap_or(name)
}

/// Every file of the project that is text we wrote, relative to its root.
fn files() -> Vec<PathBuf> {
    fn walk(base: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if name == "target" || name == ".git" {
                continue;
            }
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                walk(base, &path, found);
            } else {
                found.push(path.strip_prefix(base).unwrap().to_path_buf());
            }
        }
    }
    let mut found = Vec::new();
    walk(&tools::root(), &tools::root(), &mut found);
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (path.to_string_lossy().into_owned(), read(&path)))
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(tools::root().join(path)).unwrap()
}

/// A line without its comment; a `//` in a string ends it too, which is good enough here.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[track_caller]
fn check(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn crates_use_only_what_their_layer_allows() {
    let mut faults = Vec::new();
    for (name, uses) in dependencies() {
        let Some((_, allowed)) = LAYERS.iter().find(|(known, _)| *known == name) else {
            faults.push(format!("{name} has no line in LAYERS"));
            continue;
        };
        let own = uses.iter().filter_map(|used| used.strip_prefix("ferry-"));
        faults.extend(
            own.filter(|used| !allowed.contains(used)).map(|used| format!("{name} uses {used}")),
        );
    }
    check("layers", &faults);
}

#[test]
fn what_must_be_absent_is_absent() {
    let dependencies = dependencies();
    let mut faults = Vec::new();
    for (name, absent) in ABSENT {
        let uses = &dependencies[*name];
        faults.extend(
            absent.iter().filter(|a| uses.contains(**a)).map(|a| format!("{name} links {a}")),
        );
    }
    check("absences", &faults);
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = read(Path::new("Cargo.toml"));
    let table = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let table = table.split("\n[").next().unwrap();
    let lines = table.lines().filter(|line| line.contains('=') && !line.starts_with('#'));
    let faults: Vec<String> = lines
        .filter(|line| !line.contains(" # ") && !line.contains("path = \"crates/"))
        .map(ToOwned::to_owned)
        .collect();
    check("a dependency without its purpose", &faults);
}

#[test]
fn files_have_one_subject() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if is_test_file(&path) {
            continue;
        }
        let allowed = LONG_FILES.iter().find(|(known, _)| *known == path);
        let limit = allowed.map_or(LONGEST, |(_, limit)| *limit);
        // Tests at the end of a file do not count.
        let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
        if lines > limit {
            faults.push(format!("{path} has {lines} lines, more than {limit}"));
        }
        if allowed.is_some() && lines <= LONGEST {
            faults.push(format!("{path} has {lines} lines and can leave LONG_FILES"));
        }
    }
    check("long files", &faults);
}

#[test]
fn unsafe_code_lives_in_sys() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if path.starts_with("crates/sys/") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let words = code(line).split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.clone().any(|word| word == "unsafe") && !line.contains('"') {
                faults.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
        let is_root = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
        if is_root && !text.contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{path} does not forbid it"));
        }
    }
    check("unsafe code", &faults);
}

#[test]
fn api_versions_are_known_at_the_edge_only() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        // `api` states the newest and the oldest version, once.
        let edge =
            path.contains("/compat") || path == "crates/api/src/lib.rs" || is_test_file(&path);
        if edge || path.starts_with("xtask/") || path.starts_with("crates/testkit/") {
            continue;
        }
        let shipped = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in shipped.lines().enumerate() {
            if has_api_version(code(line)) {
                faults.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    check("an API version outside compat", &faults);
}

/// Whether a string literal of the line is `1.24` to `1.59`, with or without a `v`.
fn has_api_version(line: &str) -> bool {
    line.split('"').skip(1).step_by(2).any(|literal| {
        let literal = literal.trim_start_matches('/').trim_start_matches('v');
        let minor = literal.strip_prefix("1.").map(|rest| rest.trim_end_matches('/'));
        minor
            .and_then(|minor| minor.parse::<u32>().ok())
            .is_some_and(|minor| (24..60).contains(&minor))
    })
}

#[test]
fn errors_say_what_was_being_done() {
    let banned = ["io::Error", "Errno", "serde_json::Error"];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let from = line.contains("#[from]") && banned.iter().any(|kind| line.contains(kind));
            let source = line.contains("#[error(") && line.contains("{source");
            if !path.starts_with("xtask/") && (from || source) {
                faults.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    check("an error that knows neither path nor purpose, or repeats its source", &faults);
}

#[test]
fn the_changelog_has_its_form() {
    let text = read(Path::new("CHANGELOG.md"));
    let mut faults = Vec::new();
    if !text.starts_with("# Changelog\n\n## Unreleased\n") {
        faults.push("it begins with its title and Unreleased".to_owned());
    }
    for line in text.lines().skip(1) {
        let form = line.is_empty()
            || line.starts_with("## ")
            || line.starts_with("### ")
            || line.starts_with("  ")
            || line.starts_with("- ");
        if !form {
            faults.push(line.to_owned());
        }
    }
    check("CHANGELOG.md", &faults);
}

#[test]
fn no_file_names_a_machine() {
    // Put together here, so that this file does not name them either.
    let banned = [
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/shared"),
        concat!("/opt/", "peer"),
        concat!("/tmp/", "ferry/"),
        concat!("deb.", "debian.org"),
        concat!("index.", "crates.io"),
    ];
    let mut faults = Vec::new();
    for path in files() {
        let Ok(text) = fs::read_to_string(tools::root().join(&path)) else {
            faults.push(format!("{} is no text", path.display()));
            continue;
        };
        for name in banned.iter().filter(|name| text.contains(**name)) {
            faults.push(format!("{} names {name}", path.display()));
        }
    }
    check("a path of one machine, a package host, or a binary", &faults);
}

#[test]
fn every_test_module_is_declared() {
    let mut faults = Vec::new();
    for path in files() {
        let text = path.to_string_lossy().into_owned();
        let mut parts = text.rsplitn(2, '/');
        let (name, folder) = (parts.next().unwrap(), parts.next().unwrap_or_default());
        let integration = folder.ends_with("tests/e2e") || folder.ends_with("tests/it");
        let Some(module) = name.strip_suffix(".rs").filter(|name| integration && *name != "main")
        else {
            continue;
        };
        let main = read(&Path::new(folder).join("main.rs"));
        if !main.lines().any(|line| line == format!("mod {module};")) {
            faults.push(format!("{text} is not declared in main.rs"));
        }
    }
    check("a test that never runs", &faults);
}

#[test]
fn no_test_is_switched_off() {
    let mark = concat!("#[ig", "nore");
    let panics = concat!("#[should_", "panic");
    let faults: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| text.contains(mark) || text.contains(panics))
        .map(|(path, _)| path)
        .collect();
    check("a test that is ignored or wants a panic", &faults);
}
