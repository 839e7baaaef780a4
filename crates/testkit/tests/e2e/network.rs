//! None, host, and the default bridge.

use ferry_testkit::command::find_program;
use ferry_testkit::{Env, Invocation, Output, observe};

#[test]
fn no_network_is_a_lonely_loopback() {
    let env = Env::start();
    let links = env
        .shell(
            &["--network", "none"],
            "ls /sys/class/net; ip -4 addr show lo | grep inet; ip route",
        )
        .ok();
    assert_eq!(
        links.split_whitespace().collect::<Vec<_>>(),
        ["lo", "inet", "127.0.0.1/8", "scope", "host", "lo"]
    );
    env.shell(&["--network", "none"], "ping -c 1 -W 2 127.0.0.1").exits(0);
    env.shell(&["--network", "none"], "ping -c 1 -W 1 192.0.2.1").fails();
    let id = env.run_detached(&["--network", "none", "busybox", "sleep", "1000"]);
    assert_eq!(env.inspect(&id, "{{.HostConfig.NetworkMode}} {{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}"), "none none=");
}

#[test]
fn the_hosts_network() {
    let env = Env::builder().own().start();
    let inside = env.shell(&["--network", "host"], "ls /sys/class/net").ok();
    assert!(inside.lines().any(|line| line == env.slot().bridge()), "{inside}");
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(env.shell(&["--network", "host"], "hostname").ok(), hostname.trim());
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
    assert_eq!(
        env.shell(&["--network", "host"], "cat /etc/hosts").ok().trim_end(),
        hosts.trim_end()
    );
}

#[test]
fn the_bridge_gives_an_address_and_a_way_out() {
    let env = Env::start();
    let _forwarding = (!env.is_foreign()).then(|| Forwarding::allow(&env));
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    let template = "{{with .NetworkSettings.Networks.bridge}}{{.IPAddress}} {{.IPPrefixLen}} {{.Gateway}} {{.MacAddress}}{{end}}";
    let told = env.inspect(&id, template);
    let [address, prefix, gateway, mac]: [&str; 4] =
        told.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let exec = |script: &str| env.docker(&["exec", &id, "sh", "-c", script]).ok();
    assert!(exec("ip -4 addr show eth0").contains(&format!("inet {address}/{prefix} ")));
    assert_eq!(exec("cat /sys/class/net/eth0/address"), mac);
    assert_eq!(exec("ip route | head -n 1").trim_end(), format!("default via {gateway} dev eth0"));
    assert_eq!(exec("ls /sys/class/net"), "eth0\nlo");
    env.docker(&["exec", &id, "ping", "-c", "1", "-W", "2", gateway]).exits(0);
    let other = env.run_detached(&["busybox", "sleep", "1000"]);
    let second = env.inspect(&other, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    assert_ne!(second, address);
    env.docker(&["exec", &id, "ping", "-c", "1", "-W", "2", &second]).exits(0);
    assert_eq!(
        env.inspect(&id, "{{.NetworkSettings.IPAddress}} {{.HostConfig.NetworkMode}}"),
        format!("{address} bridge")
    );
    // The old name of an address that was given back may be given again, but not at once.
    env.docker(&["rm", "-f", &other]).exits(0);
    env.docker(&["restart", "-t", "0", &id]).exits(0);
    let after = env.inspect(&id, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    assert!(exec("ip -4 addr show eth0").contains(&format!("inet {after}/{prefix} ")));
}

#[test]
fn name_files_are_dockers() {
    let env = Env::start();
    let id = env.run_detached(&[
        "--hostname",
        "h1",
        "--add-host",
        "db:10.9.8.7",
        "--add-host",
        "gw:host-gateway",
        "busybox",
        "sleep",
        "1000",
    ]);
    let address = env.inspect(&id, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    let gateway = env.inspect(&id, "{{.NetworkSettings.Networks.bridge.Gateway}}");
    let hosts = env.docker(&["exec", &id, "cat", "/etc/hosts"]).ok();
    let hosts: Vec<&str> = hosts.lines().collect();
    let [own, db, gw] =
        [format!("{address}\th1"), "10.9.8.7\tdb".to_owned(), format!("{gateway}\tgw")];
    assert_eq!(
        hosts,
        [
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::\tip6-localnet",
            "ff00::\tip6-mcastprefix",
            "ff02::1\tip6-allnodes",
            "ff02::2\tip6-allrouters",
            db.as_str(),
            gw.as_str(),
            own.as_str()
        ]
    );
    assert_eq!(env.docker(&["exec", &id, "cat", "/etc/hostname"]).ok(), "h1");
    let resolv = env
        .shell(
            &["--dns", "9.9.9.9", "--dns-search", "example.org", "--dns-option", "ndots:3"],
            "grep -v '^#' /etc/resolv.conf",
        )
        .ok();
    assert_eq!(resolv.trim(), "nameserver 9.9.9.9\nsearch example.org\noptions ndots:3");
    // What is written there stays over a restart.
    env.docker(&["exec", &id, "sh", "-c", "echo '1.2.3.4 extra' >>/etc/hosts"]).exits(0);
    env.docker(&["exec", &id, "grep", "extra", "/etc/hosts"]).exits(0);
}

#[test]
fn fixed_mac_addresses() {
    let env = Env::start();
    let shown =
        env.shell(&["--mac-address", "02:42:ac:11:00:99"], "cat /sys/class/net/eth0/address").ok();
    assert_eq!(shown, "02:42:ac:11:00:99");
    env.shell(&["--mac-address", "nonsense"], "true")
        .exits(125)
        .says("nonsense is not a valid mac address");
}

#[test]
fn user_networks_are_refused_until_they_exist() {
    let env = Env::start();
    env.shell(&["--network", "nobody"], "true").exits(125).says("nobody");
    let list = env.docker(&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]).ok();
    let mut list: Vec<&str> = list.lines().collect();
    list.sort_unstable();
    assert_eq!(list, ["bridge bridge local", "host host local", "none null local"]);
    let inspected = env
        .docker(&[
            "network",
            "inspect",
            "bridge",
            "--format",
            "{{.Name}} {{.Driver}} {{(index .IPAM.Config 0).Gateway}}",
        ])
        .ok();
    assert!(inspected.starts_with("bridge bridge "), "{inspected}");
}

fn ip(words: &[&str]) -> Output {
    Invocation::new(find_program("ip").unwrap()).args(words).run()
}

/// Lets the bridge forward where another engine on this machine has set the policy to drop.
///
/// A chain that drops is final whatever our own table says, so Docker beside Ferry would decide
/// these tests.
struct Forwarding {
    handles: Vec<String>,
}

impl Forwarding {
    fn allow(env: &Env) -> Self {
        let nft = |words: &[&str]| Invocation::new(find_program("nft").unwrap()).args(words).run();
        let chain = nft(&["list", "chain", "ip", "filter", "FORWARD"]);
        let mut handles = Vec::new();
        if chain.code == 0 && chain.out().contains("policy drop") {
            let bridge = env.slot().bridge();
            for side in ["iifname", "oifname"] {
                let words = [
                    "-e", "-a", "insert", "rule", "ip", "filter", "FORWARD", side, &bridge,
                    "accept",
                ];
                let said = nft(&words).exits(0).out();
                handles.push(said.rsplit("handle ").next().unwrap().trim().to_owned());
            }
        }
        Self { handles }
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        for handle in &self.handles {
            let words = ["delete", "rule", "ip", "filter", "FORWARD", "handle", handle];
            Invocation::new(find_program("nft").unwrap()).args(words).run().exits(0);
        }
    }
}

/// A network namespace beside the host, as a machine of the outer world.
struct Outside {
    name: String,
    link: String,
}

impl Outside {
    fn start(env: &Env) -> Self {
        let bridge = env.slot().bridge();
        let outside = Self { name: format!("{bridge}out"), link: format!("{bridge}o") };
        let (name, link) = (outside.name.as_str(), outside.link.as_str());
        // 198.51.100.0/24 is for documentation; nobody else has it.
        for words in [
            vec!["netns", "add", name],
            vec!["link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name],
            vec!["addr", "add", "198.51.100.1/24", "dev", link],
            vec!["link", "set", link, "up"],
            vec!["-n", name, "addr", "add", "198.51.100.2/24", "dev", "eth0"],
            vec!["-n", name, "link", "set", "eth0", "up"],
            vec!["-n", name, "link", "set", "lo", "up"],
        ] {
            ip(&words).exits(0);
        }
        outside
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(ip(&["netns", "delete", &self.name]));
        drop(ip(&["link", "delete", &self.link]));
    }
}

/// Its name puts it into the group of tests that change the host's network.
mod host {
    use super::*;

    #[test]
    fn what_leaves_the_bridge_is_masqueraded() {
        let env = Env::builder().own().start();
        let _forwarding = Forwarding::allow(&env);
        let outside = Outside::start(&env);
        // The outer world has no way back to the containers' subnet, so an answer proves the masquerade.
        let busybox = ferry_testkit::image::busybox_program();
        let listen = [
            "netns",
            "exec",
            &outside.name,
            &busybox.to_string_lossy(),
            "nc",
            "-l",
            "-p",
            "7777",
            "-e",
            "/bin/sh",
            "-c",
            "echo seen",
        ];
        let server = Invocation::new(find_program("ip").unwrap()).args(listen).spawn();
        env.shell(&[], "ping -c 1 -W 3 198.51.100.2").exits(0);
        let answer = env.shell(&[], "for i in 1 2 3 4 5 6 7 8 9 10; do nc -w 3 198.51.100.2 7777 </dev/null && exit; sleep 0.2; done");
        assert_eq!(answer.out(), "seen");
        drop(server.finish());
        // And nobody outside reaches a container that publishes nothing.
        let id = env.run_detached(&["busybox", "nc", "-lk", "-p", "8888", "-e", "echo", "open"]);
        let address = env.inspect(&id, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        ip(&[
            "-n",
            &outside.name,
            "route",
            "add",
            &format!("{}.0/24", env.slot().subnet()),
            "via",
            "198.51.100.1",
        ])
        .exits(0);
        let probe = [
            "netns",
            "exec",
            &outside.name,
            &busybox.to_string_lossy(),
            "nc",
            "-w",
            "2",
            &address,
            "8888",
        ];
        let out = Invocation::new(find_program("ip").unwrap()).args(probe).run();
        assert!(!out.out().contains("open"), "{out:?}");
    }

    #[test]
    fn the_bridge_comes_back_when_someone_deletes_it() {
        let mut env = Env::builder().own().start();
        let bridge = env.slot().bridge();
        ip(&["link", "delete", &bridge]).exits(0);
        env.kill_engine();
        env.start_engine();
        assert!(observe::link_exists(&bridge));
        env.shell(&[], "ping -c 1 -W 2 $(ip route | awk '/default/ {print $3}')").exits(0);
    }
}
