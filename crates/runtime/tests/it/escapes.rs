//! Ways out of a container that were found in other runtimes, each tried in earnest.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags};
use serde_json::json;

use crate::support::{Bundle, ConsoleSocket, nap};

/// A script that gets hold of the file of the first process that does not execute busybox, lets that
/// process end, and then opens the file for writing.
const GET_HOLD: &str = "
while test -z \"$p\"; do
  for d in /proc/[0-9]*; do
    case \"$(readlink $d/exe)\" in ''|*/busybox) ;; *) p=$d;; esac
  done
done 2>/dev/null
exec 7<$p/exe && echo held >/shared/held
(: >>$p/exe) 2>/shared/running && echo written >/shared/running
cat /shared/fifo >/dev/null
while test -e $p/exe || ! test -e /shared/go; do sleep 0.01; done
(: >>/proc/self/fd/7) 2>/shared/ended && echo written >/shared/ended
echo done >/shared/done
exec sleep 60
";

/// A container whose program is a script that the runtime itself interprets, and a directory `/shared`,
/// also for another. The libraries of the host are there, so that the runtime can be executed in it, and
/// it waits there until its log, a pipe, is read.
fn with_evil_program(script: &str, shared: &Path) -> Bundle {
    let mut bundle = Bundle::new(script);
    fs::write(bundle.root("evil"), "#!/proc/self/exe --log=/shared/fifo\n").unwrap();
    fs::set_permissions(bundle.root("evil"), fs::Permissions::from_mode(0o755)).unwrap();
    bundle.bind(shared, "/shared", &["rbind", "rprivate"]);
    for libraries in ["/lib", "/lib64", "/usr/lib"] {
        if Path::new(libraries).exists() {
            bundle.bind(Path::new(libraries), libraries, &["rbind", "rprivate", "ro"]);
        }
    }
    bundle
}

/// A copy of the runtime that nobody else executes: what is executed can not be written anyway.
fn use_own_copy(bundle: &mut Bundle) {
    let copy = bundle.directory.join("runtime");
    fs::copy(&bundle.program, &copy).unwrap();
    bundle.program = copy;
}

fn shared_directory(name: &str) -> PathBuf {
    let shared = std::env::temp_dir().join(format!("ferry-{name}-{}", std::process::id()));
    fs::create_dir(&shared).unwrap();
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, shared.join("fifo"), FileType::Fifo, mode, 0).unwrap();
    shared
}

/// What became of the attack, once it is over. The runtime must have ended, for it executes the same file.
#[track_caller]
fn check_attack_failed(shared: &Path) {
    fs::write(shared.join("go"), "").unwrap();
    for _attempt in 0..2000 {
        if shared.join("done").exists() {
            break;
        }
        nap();
    }
    let said = |name: &str| fs::read_to_string(shared.join(name)).unwrap_or_default();
    // The attack came as far as it can.
    assert_eq!((said("held").as_str(), said("done").as_str()), ("held\n", "done\n"));
    assert!(said("running").contains("Text file busy"), "{}", said("running"));
    assert!(said("ended").contains("Read-only file system"), "{}", said("ended"));
    fs::remove_dir_all(shared).unwrap();
}

/// CVE-2019-5736, by `run`: beside an attacker a container starts that executes `/proc/self/exe`.
#[test]
fn the_runtimes_file_is_not_written_through_a_container_that_is_run() {
    let shared = shared_directory("hold-run");
    let attacker = with_evil_program(GET_HOLD, &shared);
    attacker.start();
    let mut evil = with_evil_program("", &shared);
    use_own_copy(&mut evil);
    let path = format!("/proc/{}/ns/pid", attacker.state("pid"));
    evil.set("/process/args", json!(["/evil"]))
        .set("/hostname", json!(""))
        .set("/linux/namespaces", json!([{ "type": "mount" }, { "type": "pid", "path": path }]));
    evil.start();
    check_attack_failed(&shared);
}

/// CVE-2019-5736, by `exec`.
#[test]
fn the_runtimes_file_is_not_written_through_a_process_that_is_executed() {
    let shared = shared_directory("hold-exec");
    let mut attacker = with_evil_program(GET_HOLD, &shared);
    attacker.start();
    use_own_copy(&mut attacker);
    let said = attacker.runtime(&["exec", &attacker.id, "/evil"]);
    // It was the runtime that was executed.
    assert!(said.err.contains("No help topic for '/evil'"), "{said:?}");
    check_attack_failed(&shared);
}

/// CVE-2016-9962: the copy of the runtime that waits in the container to be started is nobody's to look
/// into; the program that it becomes is.
#[test]
fn what_waits_in_a_container_is_not_looked_into() {
    let mut first = Bundle::new("");
    first.set("/process/args", json!(["sleep", "60"]));
    assert_eq!(first.create(&[]).code, 0);
    let look = || {
        let mut second = Bundle::new(
            "for f in exe root cwd; do readlink /proc/1/$f; done; readlink /proc/1/fd/0; \
             head -c 1 /proc/1/environ | wc -c; head -n1 /proc/1/maps | wc -l; cat /proc/1/comm",
        );
        let path = format!("/proc/{}/ns/pid", first.state("pid"));
        second.set("/hostname", json!("")).set(
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "pid", "path": path }]),
        );
        second.run()
    };
    let said = look();
    // Nothing but the name, which is no secret.
    assert_eq!(said.out, "0\n0\nferry-runtime\n", "{said:?}");
    assert_eq!(first.runtime(&["start", &first.id]).code, 0);
    let said = look();
    assert_eq!(said.out, "/bin/busybox\n/\n/\n/dev/null\n1\n1\nsleep\n", "{said:?}");
}

/// CVE-2016-9962, by `exec`: a process that joins shows nothing before it is its program.
#[test]
fn what_joins_a_container_is_not_looked_into() {
    let bundle = Bundle::new(
        "while ! test -e /stop; do \
         ls -l /proc/[0-9]*/exe 2>/dev/null | grep -e '->' | grep -v busybox >>/seen; echo >>/looks; done",
    );
    bundle.start();
    let looks = || fs::metadata(bundle.root("looks")).map_or(0, |file| file.len());
    let before = looks();
    while looks() < before + 20 {
        let said = bundle.runtime(&["exec", &bundle.id, "true"]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    fs::write(bundle.root("stop"), "").unwrap();
    bundle.await_status("stopped");
    assert_eq!(fs::read_to_string(bundle.root("seen")).unwrap(), "");
}

/// A directory of the host with a program in it.
fn host_directory(bundle: &Bundle) -> PathBuf {
    let directory = bundle.directory.join("host");
    fs::create_dir(&directory).unwrap();
    fs::copy(crate::support::busybox(), directory.join("id")).unwrap();
    directory
}

/// CVE-2024-21626, by `run`: descriptors of the host's directories that the runtime was born with.
#[test]
fn a_leaked_descriptor_leads_nowhere_for_a_container_that_is_run() {
    for fd in 3..10 {
        let by_link = "/link".to_owned();
        for cwd in [format!("/proc/self/fd/{fd}"), format!("/proc/self/fd/{fd}/.."), by_link] {
            let mut bundle = Bundle::new("pwd; ls");
            let host = host_directory(&bundle);
            symlink(format!("/proc/self/fd/{fd}"), bundle.root("link")).unwrap();
            bundle.set("/process/cwd", json!(cwd));
            let said = bundle.leaking(&host, &["run", "--bundle", bundle.path(), &bundle.id]);
            assert_eq!((said.out.as_str(), said.code), ("", 1), "{cwd}: {said:?}");
            assert!(is_refusal(&said.err, &cwd), "{cwd}: {said:?}");
        }
        let mut bundle = Bundle::new("");
        let host = host_directory(&bundle);
        let program = format!("/proc/self/fd/{fd}/id");
        bundle.set("/process/args", json!([program]));
        let said = bundle.leaking(&host, &["run", "--bundle", bundle.path(), &bundle.id]);
        assert_eq!((said.out.as_str(), said.code), ("", 1), "{program}: {said:?}");
        let expected = format!("exec: {program:?}: stat {program}: ");
        assert!(said.err.contains(&expected), "{said:?}");
    }
}

/// CVE-2024-21626, by `exec`.
#[test]
fn a_leaked_descriptor_leads_nowhere_for_a_process_that_is_executed() {
    let bundle = Bundle::new("exec sleep 60");
    let host = host_directory(&bundle);
    bundle.start();
    for fd in 3..10 {
        let link = format!("/link{fd}");
        symlink(format!("/proc/self/fd/{fd}"), bundle.root(&link[1..])).unwrap();
        for cwd in [format!("/proc/self/fd/{fd}"), format!("/proc/self/fd/{fd}/.."), link] {
            let said = bundle.leaking(&host, &["exec", "--cwd", &cwd, &bundle.id, "ls"]);
            assert_eq!((said.out.as_str(), said.code), ("", 1), "{cwd}: {said:?}");
            assert!(is_refusal(&said.err, &cwd), "{cwd}: {said:?}");
        }
        let program = format!("/proc/self/fd/{fd}/id");
        let said = bundle.leaking(&host, &["exec", &bundle.id, &program]);
        assert_eq!((said.out.as_str(), said.code), ("", 1), "{program}: {said:?}");
        let expected = format!("exec: {program:?}: stat {program}: ");
        assert!(said.err.contains(&expected), "{said:?}");
    }
}

/// Whether the working directory was refused: that there is no such descriptor, or that it is a place
/// outside.
fn is_refusal(error: &str, cwd: &str) -> bool {
    let missing = format!("chdir to cwd ({cwd:?}) set in config.json failed: ");
    let making = format!("mkdir {cwd}: ");
    let outside = "current working directory is outside of container mount namespace root";
    [missing.as_str(), &making, outside].iter().any(|refusal| error.contains(refusal))
}

/// CVE-2021-30465 and CVE-2024-45310: a volume shared with somebody who exchanges a directory in it for
/// a link to the outside, all the time, while something is mounted, and places are made, in it.
#[test]
fn a_volume_that_changes_under_the_runtime_leads_nowhere() {
    let scratch = Bundle::new("");
    let [outside, volume, source] =
        ["outside", "volume", "source"].map(|name| scratch.directory.join(name));
    for directory in [&outside, &volume.join("a"), &source] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::write(source.join("file"), "mounted\n").unwrap();
    let up = "../".repeat(12);
    let target = format!("{up}{}", outside.strip_prefix("/").unwrap().display());
    symlink(target, volume.join("b")).unwrap();
    let stop = AtomicBool::new(false);
    let exchange = || {
        while !stop.load(Ordering::Relaxed) {
            let (a, b) = (volume.join("a"), volume.join("b"));
            rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
        }
    };
    let mut mounted = 0;
    std::thread::scope(|scope| {
        scope.spawn(exchange);
        for number in 0..30 {
            let script = format!(
                "cat /volume/a/secret /volume/b/secret 2>/dev/null; \
                 grep -c -E '/volume/./(dir|file){number} ' /proc/self/mountinfo"
            );
            let mut bundle = Bundle::new(&script);
            bundle
                .bind(&volume, "/volume", &["rbind", "rprivate"])
                .bind(&source, &format!("/volume/a/dir{number}"), &["rbind"])
                .bind(&source.join("file"), &format!("/volume/b/file{number}"), &["rbind"]);
            let said = bundle.run();
            assert!(!said.out.contains("secret"), "{said:?}");
            // It may be that there is a link at the wrong moment; then there is no container.
            let refused = said.err.contains("error mounting") && said.out.is_empty();
            assert!(said.out == "2\n" || refused, "{said:?}");
            mounted += usize::from(!refused);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["secret"], "something was made outside");
    assert_eq!(fs::read_dir(&source).unwrap().count(), 1);
    assert!(mounted < 30, "the exchange was never seen");
}

/// CVE-2023-27561 and CVE-2023-28642: `/proc` or `/sys` is a link, of the image or into a volume.
#[test]
fn the_kernels_file_systems_are_not_mounted_through_a_link() {
    for name in ["proc", "sys"] {
        for target in ["etc", "/volume/fake", "../volume/fake"] {
            let mut bundle = Bundle::new("echo ran");
            let volume = bundle.directory.join("volume");
            fs::create_dir_all(volume.join("fake")).unwrap();
            symlink(target, bundle.root(name)).unwrap();
            let mount = json!({ "type": "bind", "source": volume, "destination": "/volume", "options": ["rbind"] });
            bundle.config["mounts"].as_array_mut().unwrap().insert(0, mount);
            let said = bundle.run();
            assert_eq!((said.out.as_str(), said.code), ("", 1), "{name} {target}: {said:?}");
            let expected = format!("filesystem \"/{name}\" must be mounted on ordinary directory");
            assert!(said.err.contains(&expected), "{name} {target}: {said:?}");
            assert_eq!(fs::read_dir(volume.join("fake")).unwrap().count(), 0);
        }
    }
}

/// CVE-2025-31133: what masks files is the container's `/dev/null`, which the image has replaced by
/// what it would like to write.
#[test]
fn a_mask_is_the_null_device_and_nothing_else() {
    let make: [fn(&Path); 3] = [
        |null| symlink("/proc/sys/kernel/core_pattern", null).unwrap(),
        |null| symlink("/etc/passwd", null).unwrap(),
        |null| fs::write(null, "window").unwrap(),
    ];
    for make in make {
        let mut bundle = Bundle::new("cat /proc/interrupts /proc/keys");
        bundle.without_mounts(&["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]);
        fs::create_dir(bundle.root("dev")).unwrap();
        make(&bundle.root("dev/null"));
        let said = bundle.run();
        assert_eq!((said.out.as_str(), said.code), ("", 1), "{said:?}");
        assert!(said.err.contains("can't mask path"), "{said:?}");
        assert!(said.err.contains("checking /dev/null: no such device or address"), "{said:?}");
    }
}

/// CVE-2025-52565: the terminal is mounted on `/dev/console`, which is a link of the image; and what is
/// mounted is the terminal itself, not what is found by its name.
#[test]
fn the_console_is_not_mounted_through_a_link() {
    for target in ["/etc/passwd", "/proc/sys/kernel/core_pattern", "../proc/self/attr", "/nowhere"]
    {
        let mut bundle = Bundle::new("echo ran");
        bundle.set("/process/terminal", json!(true)).without_mounts(&["/dev"]);
        fs::create_dir(bundle.root("dev")).unwrap();
        symlink(target, bundle.root("dev/console")).unwrap();
        let said = bundle.run();
        assert_eq!((said.out.as_str(), said.code), ("", 1), "{target}: {said:?}");
        let expected =
            "mounting /dev/console: openat dev/console: too many levels of symbolic links";
        assert!(said.err.contains(expected), "{target}: {said:?}");
        assert!(!bundle.root("nowhere").exists());
    }
    // Names of terminals in the image are hidden by the container's own.
    let mut bundle = Bundle::new("cat /etc/passwd | head -n1; tty; stat -c %t:%T /dev/console");
    bundle.set("/process/terminal", json!(true)).without_mounts(&["/dev"]);
    fs::create_dir_all(bundle.root("dev/pts")).unwrap();
    symlink("/etc/passwd", bundle.root("dev/pts/0")).unwrap();
    bundle.write_config();
    let path = bundle.directory.join("console");
    let socket = ConsoleSocket::listen(&path);
    let line = ["--console-socket", path.to_str().unwrap()];
    assert_eq!(bundle.create(&line).code, 0);
    let terminal = socket.receive();
    assert_eq!(bundle.runtime(&["start", &bundle.id]).code, 0);
    let said = crate::terminal::read_to_end(terminal).replace("\r\n", "\n");
    assert_eq!(said, "root:x:0:0:root:/root:/bin/sh\n/dev/pts/0\n88:0\n");
}

/// CVE-2025-52881: files lie over those of `/proc` that the runtime writes kernel parameters and the
/// label to, so that it writes elsewhere, or nothing.
#[test]
fn what_lies_over_proc_is_not_written_instead() {
    let name = "net.ipv4.ip_unprivileged_port_start";
    let mut bundle = Bundle::new(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; mkdir /mnt; mount -t proc proc /mnt; \
         cat /mnt/sys/net/ipv4/ip_unprivileged_port_start",
    );
    let processes = bundle.directory.join("processes");
    fs::create_dir(&processes).unwrap();
    bundle.all_capabilities().without_mounts(&["/proc"]);
    bundle.bind(&processes, "/proc", &["rbind"]).set("/linux/sysctl", json!({ name: "7" }));
    let before = format!(
        "set -e; cd {}; mount -t proc proc processes; mount -t tmpfs over processes/sys; \
         mkdir -p processes/sys/net/ipv4; echo fake >processes/sys/net/ipv4/ip_unprivileged_port_start; \
         mount -t tmpfs over processes/1/attr; mkdir processes/1/attr/apparmor; \
         touch processes/1/attr/exec processes/1/attr/apparmor/exec; set +e",
        bundle.path()
    );
    let said = bundle.run_after(&before, "");
    assert_eq!((said.out.as_str(), said.code), ("fake\n7\n", 0), "{said:?}");
    // A label that is not there, or that this kernel knows nothing of, is no label that was written.
    bundle.set("/process/apparmorProfile", json!("no-such-profile"));
    let said = bundle
        .run_after(&before, "wc -c <processes/1/attr/exec; wc -c <processes/1/attr/apparmor/exec");
    assert_eq!(said.out, "0\n0\n", "{said:?}");
    assert!(said.err.contains("unable to apply apparmor profile"), "{said:?}");
}
