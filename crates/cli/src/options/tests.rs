//! Values and what Docker's client was heard to say about them.

use super::mounts::{Volume, volume_spec};
use super::{devices, files, lists, mounts, networks, numbers, ports};
use crate::command_line::grammar;

/// Checks one flag of `create` the way the parser does.
#[track_caller]
fn check(name: &str, value: &str, expect: Result<&str, &str>) {
    let command = grammar::find("create").unwrap();
    let flag = command.flags.iter().find(|flag| flag.long == name).unwrap();
    let got = super::check(flag, value);
    assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned), "--{name} {value:?}");
}

#[test]
fn lists_are_checked() {
    check("env", "=x", Err("invalid environment variable: =x"));
    check("env", "A=", Ok("A="));
    check("add-host", "x", Err("bad format for add-host: \"x\""));
    check("add-host", "a:b:c", Err("invalid IP address in add-host: \"b:c\""));
    check("add-host", "a=[::1]", Ok("a:::1"));
    check("add-host", "a:host-gateway", Ok("a:host-gateway"));
    check("dns", "1.2.3", Err("IP address is not correctly formatted: 1.2.3"));
    check("dns", "0:0::1", Ok("::1"));
    check("dns-search", "a_b..c", Err("a_b..c is not a valid domain"));
    check("dns-search", ".", Ok("."));
    check("link", "a:b:c", Err("bad format for links: a:b:c"));
    check("label", "=x", Err("invalid label '=x': empty name"));
    check("sysctl", "a=b", Err("sysctl 'a=b' is not allowed"));
    check("sysctl", "net.x=1", Ok("net.x=1"));
    check("attach", "x", Err("valid streams are STDIN, STDOUT and STDERR"));
    check("attach", "STDIN", Ok("stdin"));
    assert_eq!(lists::filter("Label=A=b").unwrap(), "label=A=b");
    assert_eq!(lists::env("N", &|_| Some("v".into())).unwrap(), "N=v");
    assert_eq!(lists::env("N", &|_| None).unwrap(), "N");
}

#[test]
fn numbers_are_checked() {
    check("blkio-weight", "70000", Err("strconv.ParseUint: parsing \"70000\": value out of range"));
    check("blkio-weight", "-3", Err("strconv.ParseUint: parsing \"-3\": invalid syntax"));
    check("pids-limit", "x", Err("strconv.ParseInt: parsing \"x\": invalid syntax"));
    check("pids-limit", "-1", Ok("-1"));
    check("cpus", "x", Err("failed to parse x as a rational number"));
    check("cpus", "0.00000000001", Err("value is too precise"));
    check("cpus", "1/2", Ok("500000000"));
    check("memory-swap", "-1", Ok("-1"));
    check("memory", "-1", Err("invalid size: '-1'"));
    check("health-interval", "5", Err("time: missing unit in duration \"5\""));
    check("health-interval", "5q", Err("time: unknown unit \"q\" in duration \"5q\""));
    check("health-interval", "1.5h2ms", Ok("5400002000000"));
    assert_eq!(
        numbers::int("99999999999999999999").unwrap_err(),
        "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"
    );
}

#[test]
fn devices_and_limits_are_checked() {
    let device = |value: &str| {
        devices::device(value).map(|it| {
            format!("{} {} {}", it.path_on_host, it.path_in_container, it.cgroup_permissions)
        })
    };
    assert_eq!(device("/dev/a").unwrap(), "/dev/a /dev/a rwm");
    assert_eq!(device("/dev/a:r").unwrap(), "/dev/a /dev/a r");
    assert_eq!(device("/dev/a:/dev/b:rw").unwrap(), "/dev/a /dev/b rw");
    assert_eq!(device("x").unwrap_err(), "x is not an absolute path");
    assert_eq!(device("/a:/b:q").unwrap_err(), "bad mode specified: q");
    assert_eq!(device("/a:/b:/c:d").unwrap_err(), "bad format for path: /a:/b:/c:d");
    check("device-cgroup-rule", "c 1:* rwm", Ok("c 1:* rwm"));
    check("device-cgroup-rule", "x", Err("invalid device cgroup format 'x'"));
    check("device-read-bps", "x", Err("bad format: x"));
    check("device-read-bps", "x:1mb", Err("bad format for device path: x:1mb"));
    check("blkio-weight-device", "/dev/a:5", Err("invalid weight for device: /dev/a:5"));
    check("ulimit", "x", Err("invalid ulimit argument: x"));
    check("ulimit", "foo=1", Err("invalid ulimit type: foo"));
    check(
        "ulimit",
        "nofile=3:2",
        Err("ulimit soft limit must be less than or equal to hard limit: 3 > 2"),
    );
    check(
        "gpus",
        "count=x",
        Err("invalid count (x): value must be either \"all\" or an integer: invalid syntax"),
    );
    let gpus = devices::gpus("\"device=0,1\",capabilities=utility").unwrap();
    assert_eq!(gpus.device_ids.unwrap(), ["0", "1"]);
    assert_eq!(gpus.capabilities.unwrap(), [["utility", "gpu"]]);
    assert_eq!(devices::gpus("all").unwrap().count, -1);
    assert!(devices::is_cdi_name("vendor.com/class=name") && !devices::is_cdi_name("/dev/a"));
}

#[test]
fn mounts_are_checked() {
    let invalid = "invalid field 'x' must be a key=value pair";
    check("mount", "x", Err(invalid));
    check("mount", "type=bind", Err("target is required"));
    check("mount", "type=bind,src=/a,dst=/b,x=y", Err("unexpected key 'x' in 'x=y'"));
    check("mount", "type=bind,src=/a,dst=/b,ro=x", Err("invalid value for ro: x"));
    check(
        "mount",
        "type=tmpfs,dst=/b,volume-nocopy",
        Err("cannot mix 'volume-*' options with mount type 'tmpfs'"),
    );
    check(
        "mount",
        "type=bind,src=/,dst=/b,bind-recursive=readonly",
        Err("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction"),
    );
    let mount = mounts::mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
    let options = mount.tmpfs_options.unwrap();
    assert_eq!((options.size_bytes, options.mode), (1 << 20, 0o1770));
    let mount = mounts::mount("\"src=/a,b\",dst=/c,volume-label=x=y").unwrap();
    assert_eq!((mount.kind.as_str(), mount.source.as_str()), ("volume", "/a,b"));
    assert_eq!(mount.volume_options.unwrap().labels["x"], "y");
}

#[test]
fn volumes_are_bound_or_anonymous() {
    let bind = |text: &str| Ok(Volume::Bind(text.to_owned()));
    assert_eq!(volume_spec("/a:/b:ro"), bind("/a:/b:ro"));
    assert_eq!(volume_spec("name:/b"), bind("name:/b"));
    assert_eq!(volume_spec("/anonymous"), Ok(Volume::Anonymous));
    assert_eq!(volume_spec(""), Err("invalid empty volume spec".into()));
    assert_eq!(volume_spec("/a:/b:ro:z"), Err("invalid spec: /a:/b:ro:z: too many colons".into()));
    assert_eq!(
        volume_spec("/a::/b"),
        Err("invalid spec: /a::/b: empty section between colons".into())
    );
    let here = std::env::current_dir().unwrap();
    assert_eq!(volume_spec("./x/../y:/b"), bind(&format!("{}/y:/b", here.display())));
}

#[track_caller]
fn check_ports(published: &[&str], exposed: &[&str], expect: Result<&str, &str>) {
    let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let got = ports::ports(&own(published), &own(exposed)).map(|ports| {
        let bindings: Vec<String> = ports
            .bindings
            .iter()
            .flat_map(|(port, list)| list.iter().flatten().map(move |it| (port, it)))
            .map(|(port, it)| format!("{}:{}->{port}", it.host_ip, it.host_port))
            .collect();
        let exposed: Vec<&str> = ports.exposed.keys().map(String::as_str).collect();
        format!("{} | {}", bindings.join(" "), exposed.join(" "))
    });
    assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned));
}

#[test]
fn ports_are_published_and_exposed() {
    check_ports(&["80"], &[], Ok(":->80/tcp | 80/tcp"));
    check_ports(&["8080:80/udp"], &["9"], Ok(":8080->80/udp | 80/udp 9/tcp"));
    check_ports(&["[::1]:1-2:3-4"], &[], Ok("::1:1->3/tcp ::1:2->4/tcp | 3/tcp 4/tcp"));
    check_ports(&["1000-1010:53"], &[], Ok(":1000-1010->53/tcp | 53/tcp"));
    check_ports(&["published=7,target=8"], &[], Ok(":7->8/tcp | 8/tcp"));
    check_ports(&["x"], &[], Err("invalid containerPort: x"));
    check_ports(&["x:80"], &[], Err("invalid hostPort: x"));
    check_ports(&["1.2.3:80:80"], &[], Err("invalid IP address: 1.2.3"));
    check_ports(&["80:80/foo"], &[], Err("invalid proto: foo"));
    check_ports(
        &["80-81:80-82"],
        &[],
        Err("invalid ranges specified for container and host Ports: 80-82 and 80-81"),
    );
    check_ports(&[""], &[], Err("no port specified: <empty>"));
    check_ports(&[], &["80:80"], Err("invalid port format for --expose: 80:80"));
    check_ports(
        &[],
        &["80-70"],
        Err(
            "invalid range format for --expose: 80-70, error: invalid range specified for port: 80-70",
        ),
    );
}

#[test]
fn networks_are_names_or_options() {
    assert_eq!(networks::network("mine").unwrap().target, "mine");
    let long = networks::network("name=Mine,alias=a,alias=b,driver-opt=x=y,gw-priority=3").unwrap();
    assert_eq!((long.target.as_str(), long.aliases.len(), long.gw_priority), ("mine", 2, 3));
    assert_eq!(networks::network("name=a,z=w").unwrap_err(), "invalid field key z");
    assert_eq!(networks::network("alias=b").unwrap_err(), "network name/id is not specified");
    let aliased = networks::Attachment {
        target: "host".into(),
        aliases: vec!["x".into()],
        ..networks::Attachment::default()
    };
    assert_eq!(
        aliased.settings().unwrap_err(),
        "network-scoped aliases are only supported for user-defined networks"
    );
}

#[test]
fn files_of_variables_are_read() {
    let directory = std::env::temp_dir().join(format!("ferry-cli-env-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let read = |name: &str, text: &[u8]| {
        let path = directory.join(name).display().to_string();
        std::fs::write(&path, text).unwrap();
        files::key_values(std::slice::from_ref(&path), vec!["Z=1".into()], &|name| {
            (name == "HOME").then(|| "/h".to_owned())
        })
        .map_err(|error| error.replace(&path, "FILE"))
    };
    assert_eq!(
        read("good", b"\xef\xbb\xbfA=1\n  B = 2\n#c\n\nHOME\nNOPE\n"),
        Err("invalid env file (FILE): variable 'B ' contains whitespaces".into())
    );
    assert_eq!(
        read("good", b"A=1\n  B= 2 \n#c\n\nHOME\nNOPE\n").unwrap(),
        ["A=1", "B= 2 ", "HOME=/h", "Z=1"]
    );
    assert_eq!(
        read("bad", b"=1\n"),
        Err("invalid env file (FILE): no variable name on line '=1'".into())
    );
    assert_eq!(
        read("bad", b"ok=1\na\xff=1\n"),
        Err("invalid env file (FILE): invalid utf8 bytes at line 2: [97 255 61 49]".into())
    );
    assert_eq!(
        files::key_values(&["/nope/x".into()], Vec::new(), &|_| None).unwrap_err(),
        "open /nope/x: no such file or directory"
    );
    std::fs::remove_dir_all(&directory).unwrap();
}
