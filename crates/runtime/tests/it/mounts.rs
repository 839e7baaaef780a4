//! Mounts of the container: options, propagation, and places that try to leave the root.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::Bundle;

#[test]
fn the_standard_mounts_have_dockers_options() {
    let bundle =
        Bundle::new("sed -E 's/^([^ ]+ ){3}(.*)$/\\2/' /proc/self/mountinfo | cut -d' ' -f2-3");
    let said = bundle.output();
    for line in [
        "/proc rw,nosuid,nodev,noexec,relatime",
        "/dev rw,nosuid",
        "/dev/pts rw,nosuid,noexec,relatime",
        "/sys ro,nosuid,nodev,noexec,relatime",
        "/dev/shm rw,nosuid,nodev,noexec,relatime",
        "/dev/mqueue rw,nosuid,nodev,noexec,relatime",
        "/proc/sys ro,nosuid,nodev,noexec,relatime",
    ] {
        assert!(said.lines().any(|found| found == line), "{line} is not in\n{said}");
    }
}

#[test]
fn nothing_of_the_hosts_tree_is_mounted() {
    let bundle = Bundle::new("cut -d' ' -f5 /proc/self/mountinfo | grep -v -E '^/(proc|dev|sys)'");
    assert_eq!(bundle.output(), "/\n");
}

#[test]
fn files_and_directories_are_bound_and_their_places_made() {
    let mut bundle = Bundle::new(
        "cat /a/b/file /c/d/inner; echo more >/c/d/inner; touch /a/b/file 2>/dev/null || echo ro",
    );
    let source = bundle.directory.join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("inner"), "inner\n").unwrap();
    fs::write(bundle.directory.join("file"), "file\n").unwrap();
    let file = bundle.directory.join("file");
    bundle.bind(&file, "/a/b/file", &["rbind", "ro", "rprivate"]).bind(&source, "/c/d", &["rbind"]);
    assert_eq!(bundle.output(), "file\ninner\nro\n");
    assert_eq!(fs::read_to_string(source.join("inner")).unwrap(), "more\n");
}

#[test]
fn a_readonly_root_is_not_written_but_its_mounts_are() {
    let mut bundle = Bundle::new("touch /x; touch /dev/shm/y && echo ok");
    bundle.set("/root/readonly", json!(true));
    let said = bundle.run();
    assert_eq!(said.out, "ok\n");
    assert!(said.err.contains("Read-only file system"), "{said:?}");
}

#[test]
fn a_mount_option_that_is_unknown_is_refused() {
    let mut bundle = Bundle::new("echo ran");
    let directory = bundle.directory.clone();
    bundle.bind(&directory, "/x", &["rbind", "mystery"]);
    let said = bundle.run();
    assert_eq!(said.out, "");
    assert!(said.err.contains("mount of \"/x\": option \"mystery\" is not supported"), "{said:?}");
}

#[test]
fn a_source_that_is_not_there_is_told() {
    let mut bundle = Bundle::new("echo ran");
    let missing = bundle.directory.join("missing");
    bundle.bind(&missing, "/x", &["rbind"]);
    let said = bundle.run();
    let expected =
        format!("error mounting {missing:?} to rootfs at \"/x\": no such file or directory");
    assert!(said.err.contains(&expected), "{said:?}");
}

#[test]
fn a_directory_is_not_mounted_on_a_file() {
    let mut bundle = Bundle::new("echo ran");
    let directory = bundle.directory.clone();
    bundle.bind(&directory, "/etc/passwd", &["rbind"]);
    let said = bundle.run();
    assert!(said.err.contains("to rootfs at \"/etc/passwd\": not a directory"), "{said:?}");
}

/// An image that has a link to the outside where something is to be mounted.
#[test]
fn places_stay_in_the_root_whatever_the_image_has() {
    let mut bundle = Bundle::new("cat /trap/x/file /etc/inner/file");
    let outside = bundle.directory.join("outside");
    let source = bundle.directory.join("source");
    for directory in [&outside, &source] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(source.join("file"), "here\n").unwrap();
    // Absolute: in the root it leads to nothing, which is refused rather than made elsewhere.
    symlink(&outside, bundle.root("trap")).unwrap();
    bundle.bind(&source, "/trap/x", &["rbind"]);
    let said = bundle.run();
    assert!(said.err.contains("to rootfs at \"/trap/x\": file exists"), "{said:?}");
    // Climbing: it ends at the root.
    fs::remove_file(bundle.root("trap")).unwrap();
    symlink("../../../../../../etc", bundle.root("trap")).unwrap();
    bundle.bind(&source, "/trap/inner", &["rbind"]);
    assert_eq!(bundle.output(), "here\nhere\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn proc_must_be_proc_and_nothing_is_mounted_in_it() {
    let mut bundle = Bundle::new("echo ran");
    let directory = bundle.directory.clone();
    bundle.bind(&directory, "/proc/self", &["rbind"]);
    let said = bundle.run();
    assert!(
        said.err.contains("\"/proc/self\" cannot be mounted because it is inside /proc"),
        "{said:?}"
    );

    let mut bundle = Bundle::new("echo ran");
    let directory = bundle.directory.clone();
    bundle.bind(&directory, "/x/../proc", &["rbind"]);
    let said = bundle.run();
    assert!(said.err.contains("cannot be mounted because it is not of type proc"), "{said:?}");

    let bundle = Bundle::new("echo ran");
    symlink("etc", bundle.root("proc")).unwrap();
    let said = bundle.run();
    assert!(said.err.contains("\"/proc\" must be mounted on ordinary directory"), "{said:?}");
}

/// A place whose name is innocent, but where a link of the image leads into `/proc`.
#[test]
fn nothing_is_mounted_in_proc_through_a_link() {
    for (link, destination) in [
        ("/proc/self", "/data"),
        ("/proc", "/data/sys"),
        ("proc", "/data"),
        ("/proc/sys/net", "/data"),
    ] {
        for kind in ["bind", "tmpfs"] {
            let mut bundle = Bundle::new("echo ran");
            symlink(link, bundle.root("data")).unwrap();
            let source = bundle.directory.clone();
            let options: &[&str] = if kind == "bind" { &["rbind"] } else { &[] };
            bundle.add(
                "/mounts",
                json!({ "type": kind, "source": source, "destination": destination, "options": options }),
            );
            let said = bundle.run();
            let expected = format!("{destination:?} cannot be mounted because it is inside /proc");
            assert!(said.err.contains(&expected), "{link} {kind}: {said:?}");
            assert_eq!(said.out, "");
        }
    }
}

#[test]
fn the_roots_propagation_is_for_all_beneath_it_if_recursive() {
    for (propagation, expected) in [("shared", "1 of many\n"), ("rshared", "all\n")] {
        let mut bundle = Bundle::new(
            "all=$(wc -l </proc/self/mountinfo); shared=$(grep -c ' shared:' /proc/self/mountinfo); \
             if test $all = $shared; then echo all; else echo $shared of many; fi",
        );
        bundle.set("/linux/rootfsPropagation", json!(propagation));
        assert_eq!(bundle.output(), expected, "{propagation}");
    }
}

/// What a container mounts in a bind mount shows on the host only if that was asked for.
#[test]
fn propagation_is_as_asked_for() {
    for (option, inward, outward) in [
        ("rprivate", false, false),
        ("rslave", true, false),
        ("rshared", true, true),
        ("", true, false),
    ] {
        let mut bundle = Bundle::new(
            "mount -t tmpfs in /shared/in && echo mounted; echo ready >/signal/ready; cat /signal/go >/dev/null; ls /shared/out",
        );
        bundle.all_capabilities();
        let shared = bundle.directory.join("shared");
        let signal = bundle.directory.join("signal");
        fs::create_dir(&shared).unwrap();
        fs::create_dir(&signal).unwrap();
        let options: Vec<&str> = ["rbind", option].into_iter().filter(|o| !o.is_empty()).collect();
        bundle.bind(&shared, "/shared", &options).bind(&signal, "/signal", &["rbind"]);
        let before = format!(
            "set -e; cd {}; mount -t tmpfs shared shared; mount --make-shared shared; mkdir shared/in shared/out; \
             mkfifo signal/ready signal/go; \
             (read ready <signal/ready; mount -t tmpfs out shared/out; touch shared/out/seen; \
              grep -c '/shared/in ' /proc/self/mountinfo >outward || true; echo go >signal/go) &",
            bundle.path()
        );
        let said = bundle.run_after(&before, "wait; cat outward");
        let seen = if inward { "seen\n" } else { "" };
        let expected = format!("mounted\n{seen}{}\n", u8::from(outward));
        assert_eq!((said.out.as_str(), said.code), (&*expected, 0), "{option}: {said:?}");
    }
}

/// A read-only bind mount of a tree with mounts in it: `ro` is for the top, `rro` for all.
#[test]
fn recursive_options_reach_the_mounts_beneath() {
    for (option, expected) in [("ro", "ro\nrw\n"), ("rro", "ro\nro\n")] {
        let mut bundle = Bundle::new(
            "for d in /tree /tree/sub; do touch $d/x 2>/dev/null && echo rw || echo ro; done",
        );
        let tree = bundle.directory.join("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        bundle.bind(&tree, "/tree", &["rbind", option, "rprivate"]);
        let before = format!("set -e; mount -t tmpfs sub {}/tree/sub", bundle.path());
        let said = bundle.run_after(&before, "");
        assert_eq!((said.out.as_str(), said.err.as_str()), (expected, ""), "{option}");
    }
}

#[test]
fn a_tmpfs_has_the_permissions_of_the_directory_it_covers() {
    let mut bundle = Bundle::new("stat -c %a /tmp; ls -A /tmp | wc -l; stat -c %a /run");
    fs::write(bundle.root("tmp/covered"), "").unwrap();
    let tmpfs = |destination: &str, options: &[&str]| json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options });
    bundle.add("/mounts", tmpfs("/tmp", &[])).add("/mounts", tmpfs("/run", &["mode=700"]));
    assert_eq!(bundle.output(), "1777\n0\n700\n");
}

/// The host's cgroup mounts are shared where systemd runs; a copy of one must not be.
#[test]
fn nothing_that_is_mounted_in_a_cgroup_shows_on_the_host() {
    let mut bundle = Bundle::new(
        "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do test -d $d && mount -t tmpfs inside $d; done; \
         echo ready >/signal/ready; cat /signal/go >/dev/null",
    );
    bundle.all_capabilities();
    let signal = bundle.directory.join("signal");
    fs::create_dir(&signal).unwrap();
    bundle.bind(&signal, "/signal", &["rbind"]);
    let before = format!(
        "set -e; cd {}; mount --make-rshared /; mkfifo signal/ready signal/go; \
         (read ready <signal/ready; grep -c ' inside ' /proc/self/mountinfo >seen || true; echo go >signal/go) &",
        bundle.path()
    );
    let said = bundle.run_after(&before, "wait; cat seen");
    assert_eq!((said.out.as_str(), said.code), ("0\n", 0), "{said:?}");
}
