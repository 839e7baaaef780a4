use ferry_oci::runtime::{Process, User};

use super::{environment, home_in};

#[test]
fn homes_are_found_by_number() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken:x\nuser:x:1000:1:,,,:/home/user:\n\
                  none:x:7:7:::\nlast:x:8:8::/last";
    assert_eq!(home_in(passwd, 0).as_deref(), Some("/root"));
    assert_eq!(home_in(passwd, 1000).as_deref(), Some("/home/user"));
    assert_eq!(home_in(passwd, 8).as_deref(), Some("/last"));
    assert_eq!(home_in(passwd, 7), None);
    assert_eq!(home_in(passwd, 9), None);
    assert_eq!(home_in("", 0), None);
}

#[track_caller]
fn check(given: &[&str], expected: &[&str]) {
    let process = Process {
        env: given.iter().map(ToString::to_string).collect(),
        // Nobody in any passwd file.
        user: User { uid: 3_999_999_999, ..User::default() },
        ..Process::default()
    };
    assert_eq!(environment(&process), expected);
}

#[test]
fn the_last_value_counts_and_there_is_a_home() {
    check(&[], &["HOME=/"]);
    check(&["A=1", "B=2", "A=3"], &["B=2", "A=3", "HOME=/"]);
    check(&["HOME=/x", "A=1"], &["HOME=/x", "A=1"]);
    check(&["HOME=", "A=1"], &["A=1", "HOME=/"]);
    check(&["NOTHING", "A=b=c"], &["NOTHING", "A=b=c", "HOME=/"]);
}
