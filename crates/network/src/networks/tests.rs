//! Each test is a host of its own: a thread in a new network namespace, where the bridge, the rules
//! and the containers' interfaces are made and real packets are sent.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use ferry_sys::netns;

use super::*;

const SOON: Duration = Duration::from_secs(5);
/// Long enough for a packet on one machine, short enough to wait for one that must not come.
const NEVER: Duration = Duration::from_millis(300);

/// Shorter than the second after which an unanswered question for a hardware address is repeated.
const AT_ONCE: Duration = Duration::from_millis(900);

fn on_host<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let (_netns, result) = netns::create(|_| {
        kernel().request(|to| link::set_up(to, Which::Name("lo"))).unwrap();
        test()
    })
    .expect("these tests need the right to make network namespaces");
    result
}

fn inside<T: Send>(netns: &OwnedFd, act: impl FnOnce() -> T + Send) -> T {
    netns::enter(netns.as_fd(), act).unwrap()
}

fn kernel() -> Conversation {
    Conversation::open(NetlinkFamily::Route).unwrap()
}

fn config(pool_size: usize) -> NetworkConfig {
    let subnet = Some("10.88.7.0/24".parse().unwrap());
    NetworkConfig { bridge: "fyt0".to_owned(), subnet, pool_size, ..NetworkConfig::default() }
}

fn open(pool_size: usize) -> Networks {
    Networks::open(config(pool_size)).unwrap()
}

fn attach(networks: &Networks, id: &str) -> Endpoint {
    networks.attach_bridge(id, EndpointRequest::default()).unwrap()
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn veths() -> Vec<String> {
    let links = link::all(&mut kernel()).unwrap();
    links.into_iter().filter(|link| link.kind == "veth").map(|link| link.name).collect()
}

/// Listens in one namespace (or the host), connects from another and gives who the server saw.
#[track_caller]
fn converse(server: Option<&OwnedFd>, at: Ipv4Addr, client: Option<&OwnedFd>) -> SocketAddr {
    try_to_converse(server, at, client, SOON).expect("the server is reached")
}

#[track_caller]
fn is_unreachable(server: Option<&OwnedFd>, at: Ipv4Addr, client: Option<&OwnedFd>) -> bool {
    try_to_converse(server, at, client, NEVER).is_none()
}

fn try_to_converse(
    server: Option<&OwnedFd>,
    at: Ipv4Addr,
    client: Option<&OwnedFd>,
    limit: Duration,
) -> Option<SocketAddr> {
    fn run<T: Send>(place: Option<&OwnedFd>, act: impl FnOnce() -> T + Send) -> T {
        match place {
            Some(netns) => inside(netns, act),
            None => act(),
        }
    }
    let listener = run(server, || TcpListener::bind((at, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let mut stream = run(client, || TcpStream::connect_timeout(&address, limit)).ok()?;
    let (mut accepted, seen) = listener.accept().unwrap();
    stream.write_all(b"ping").unwrap();
    let mut said = [0; 4];
    accepted.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"ping");
    Some(seen)
}

/// A machine beyond the host: on a second bridge, with the host as its way to everywhere.
struct Outside {
    netns: OwnedFd,
    address: Ipv4Addr,
    host: Ipv4Addr,
}

fn outside() -> Outside {
    let net: Ipv4Net = "198.51.100.0/24".parse().unwrap();
    let (host, address) = (Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2));
    let mut kernel = kernel();
    let mac = MacAddress::random().unwrap();
    kernel.request(|to| link::new_bridge(to, "uplink", mac, 1500)).unwrap();
    let uplink = link::find(&mut kernel, Which::Name("uplink")).unwrap().unwrap();
    kernel.request(|to| link::add_address(to, uplink.index, host, net)).unwrap();
    let maker = Maker::new(kernel, uplink.index, 1500);
    let prepared = maker.make().unwrap();
    let mac = MacAddress::random().unwrap();
    let netns = prepared.activate(&Activation { address, net, gateway: host, mac }).unwrap();
    Outside { netns, address, host }
}

#[test]
fn containers_reach_each_other_and_the_host_and_the_host_reaches_them() {
    on_host(|| {
        for pool_size in [0, 2] {
            let networks = open(pool_size);
            let (a, b) = (attach(&networks, "a"), attach(&networks, "b"));
            let gateway = networks.describe().gateway;
            assert_eq!(gateway, Ipv4Addr::new(10, 88, 7, 1));
            let seen = converse(Some(&a.netns), a.address, Some(&b.netns));
            assert_eq!(seen.ip(), b.address);
            let seen = converse(None, gateway, Some(&a.netns));
            assert_eq!(seen.ip(), a.address);
            let seen = converse(Some(&b.netns), b.address, None);
            assert_eq!(seen.ip(), gateway);
            networks.remove_everything().unwrap();
        }
    });
}

#[test]
fn the_first_packet_is_not_lost_though_the_interface_was_made_just_now() {
    on_host(|| {
        let networks = open(0);
        let gateway = networks.describe().gateway;
        for n in 0..20 {
            let endpoint = attach(&networks, &n.to_string());
            let begin = Instant::now();
            converse(None, gateway, Some(&endpoint.netns));
            assert!(begin.elapsed() < AT_ONCE, "{n}: {:?}", begin.elapsed());
        }
    });
}

#[test]
fn an_endpoint_is_what_it_says() {
    on_host(|| {
        let networks = open(0);
        let mac: MacAddress = "02:42:ac:11:00:77".parse().unwrap();
        let request = EndpointRequest { mac: Some(mac) };
        let endpoint = networks.attach_bridge("a", request).unwrap();
        assert_eq!((endpoint.address, endpoint.prefix_len), (Ipv4Addr::new(10, 88, 7, 2), 24));
        assert_eq!(endpoint.mac, mac);
        let read = |name: &'static str| {
            let path = format!("/proc/sys/net/{name}");
            inside(&endpoint.netns, || fs::read_to_string(path).unwrap().trim().to_owned())
        };
        assert_eq!(read("ipv6/conf/eth0/disable_ipv6"), "1");
        assert_eq!(read("ipv6/conf/lo/disable_ipv6"), "0");
        assert_eq!(read("ipv6/conf/default/disable_ipv6"), "0");
        assert_eq!(read("ipv4/ip_unprivileged_port_start"), "0");
        assert_eq!(read("ipv4/ping_group_range"), "0\t2147483647");
        let (links, addresses, devices) = inside(&endpoint.netns, || {
            let mut kernel = kernel();
            let devices = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
            (link::all(&mut kernel).unwrap(), link::addresses(&mut kernel).unwrap(), devices)
        });
        let names: Vec<_> = links.iter().map(|l| (l.name.as_str(), l.is_up, l.mtu)).collect();
        assert_eq!(names, [("lo", true, 65536), ("eth0", true, 1500)]);
        let addresses: Vec<_> = addresses.iter().map(|a| a.address.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1", "10.88.7.2"]);
        assert!(!devices.contains("eth0"), "no address of IPv6: {devices}");
        let host_end =
            link::find(&mut kernel(), Which::Name(&endpoint.host_interface)).unwrap().unwrap();
        assert_eq!(host_end.alias.as_deref(), Some("ferry endpoint a"));
        assert!(endpoint.host_interface.starts_with("veth"));
        assert_eq!(endpoint.host_interface.len(), 11);
    });
}

#[test]
fn an_isolated_namespace_has_loopback_and_nothing_else() {
    on_host(|| {
        let netns = open(0).new_isolated_netns().unwrap();
        let links = inside(&netns, || link::all(&mut kernel()).unwrap());
        assert_eq!(
            links.iter().map(|l| (l.name.as_str(), l.is_up)).collect::<Vec<_>>(),
            [("lo", true)]
        );
        let seen = converse(Some(&netns), Ipv4Addr::LOCALHOST, Some(&netns));
        assert!(seen.ip().is_loopback());
    });
}

#[test]
fn what_goes_out_bears_the_hosts_address_and_nothing_comes_in_uncalled() {
    on_host(|| {
        let networks = open(1);
        let container = attach(&networks, "a");
        let outside = outside();
        let seen = converse(Some(&outside.netns), outside.address, Some(&container.netns));
        assert_eq!(seen.ip(), outside.host);
        let (to, from) = (Some(&container.netns), Some(&outside.netns));
        assert!(is_unreachable(to, container.address, from));
        // That it is the rule which forbids it: without the table it comes in.
        let mut filter = Conversation::open(NetlinkFamily::Netfilter).unwrap();
        filter.request(|to| encode::delete(to, "fyt0")).unwrap();
        assert_eq!(converse(to, container.address, from).ip(), outside.address);
    });
}

#[test]
fn datagrams_and_their_answers_pass_the_masquerade() {
    on_host(|| {
        let networks = open(0);
        let container = attach(&networks, "a");
        let outside = outside();
        let server = inside(&outside.netns, || UdpSocket::bind((outside.address, 0)).unwrap());
        let client = inside(&container.netns, || UdpSocket::bind("0.0.0.0:0").unwrap());
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(SOON)).unwrap();
        }
        client.send_to(b"question", server.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 16];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"question"[..], outside.host.into()));
        server.send_to(b"answer", from).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"answer"[..], outside.address.into()));
    });
}

#[test]
fn a_given_back_address_is_answered_by_its_new_owner_at_once() {
    on_host(|| {
        let networks = open(1);
        let first = attach(&networks, "first");
        let address = first.address;
        // The host and a neighbour know the old hardware address now.
        let neighbour = attach(&networks, "neighbour");
        converse(Some(&first.netns), address, None);
        converse(Some(&first.netns), address, Some(&neighbour.netns));
        let host_interface = first.host_interface.clone();
        networks.release("first");
        drop(first.netns);
        wait_until("the interface is gone", || !veths().contains(&host_interface));
        let second = attach(&networks, "second");
        assert_eq!(second.address, address);
        // At once: were the old one still known, it would be asked for anew only after seconds.
        let begin = Instant::now();
        converse(Some(&second.netns), address, None);
        converse(Some(&second.netns), address, Some(&neighbour.netns));
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    });
}

#[test]
fn an_address_is_not_given_again_while_its_interface_lives() {
    on_host(|| {
        let networks = open(0);
        let first = attach(&networks, "first");
        networks.release("first");
        let second = attach(&networks, "second");
        assert_ne!(first.address, second.address);
        networks.release("second");
    });
}

#[test]
fn a_full_network_says_so_and_leaves_nothing() {
    on_host(|| {
        let subnet = Some("10.88.8.0/30".parse().unwrap());
        let networks = Networks::open(NetworkConfig { subnet, ..config(0) }).unwrap();
        let only = attach(&networks, "only");
        let before = veths();
        let refused = networks.attach_bridge("more", EndpointRequest::default()).unwrap_err();
        assert!(matches!(refused, NetworkError::AddressesExhausted(_)), "{refused}");
        let twice = networks.attach_bridge("only", EndpointRequest::default()).unwrap_err();
        assert!(matches!(twice, NetworkError::AlreadyAttached(_)), "{twice}");
        assert_eq!(veths(), before);
        drop(only);
    });
}

#[test]
fn a_hardware_address_of_a_group_is_refused() {
    on_host(|| {
        let request = EndpointRequest { mac: Some("01:00:5e:00:00:01".parse().unwrap()) };
        let refused = open(0).attach_bridge("a", request).unwrap_err();
        assert!(matches!(refused, NetworkError::InvalidMac(_)), "{refused}");
    });
}

#[test]
fn dropping_everything_leaves_no_interface_but_the_bridge() {
    on_host(|| {
        let networks = open(4);
        assert!(networks.shared.pool.wait_until_full(SOON));
        let endpoints: Vec<_> = (0..6).map(|n| attach(&networks, &n.to_string())).collect();
        assert!(networks.shared.pool.wait_until_full(SOON));
        assert_eq!(veths().len(), 10);
        drop(endpoints);
        wait_until("four are left in the pool", || veths().len() == 4);
        drop(networks);
        wait_until("none is left", || veths().is_empty());
        assert!(link::find(&mut kernel(), Which::Name("fyt0")).unwrap().is_some());
    });
}

#[test]
fn a_hundred_at_once_each_have_their_own_address() {
    on_host(|| {
        let networks = open(10);
        let attach_ten = |n: usize| -> Vec<Endpoint> {
            (0..10).map(|m| attach(&networks, &format!("{n}-{m}"))).collect()
        };
        let endpoints: Vec<Endpoint> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..10).map(|n| scope.spawn(move || attach_ten(n))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let addresses: std::collections::HashSet<_> = endpoints.iter().map(|e| e.address).collect();
        assert_eq!(addresses.len(), 100);
        assert_eq!(*addresses.iter().max().unwrap(), Ipv4Addr::new(10, 88, 7, 101));
        for endpoint in endpoints.iter().step_by(33) {
            converse(Some(&endpoint.netns), endpoint.address, None);
        }
        drop(endpoints);
        drop(networks);
        wait_until("none is left", || veths().is_empty());
    });
}

#[test]
fn a_new_engine_adopts_what_lives_and_removes_what_nobody_knows() {
    on_host(|| {
        let old = open(3);
        let (kept, stray) = (attach(&old, "kept"), attach(&old, "stray"));
        let bridge = link::find(&mut kernel(), Which::Name("fyt0")).unwrap().unwrap();
        let listener = inside(&kept.netns, || TcpListener::bind((kept.address, 0)).unwrap());
        let mut connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // The engine dies: all that it alone had is gone.
        drop(old);

        let new = open(3);
        assert_eq!(link::find(&mut kernel(), Which::Name("fyt0")).unwrap().unwrap(), bridge);
        new.adopt("kept", kept.address).unwrap();
        assert!(new.shared.pool.wait_until_full(SOON));
        assert_eq!(new.recover_done().unwrap(), 1);
        assert!(!veths().contains(&stray.host_interface));
        assert!(new.shared.pool.wait_until_full(SOON), "the pool's own are not stale");

        let (mut accepted, _) = listener.accept().unwrap();
        connection.write_all(b"still").unwrap();
        let mut said = [0; 5];
        accepted.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"still");

        let next = attach(&new, "next");
        assert_eq!(next.address, Ipv4Addr::new(10, 88, 7, 3), "not the adopted one's");
        assert!(new.attach_bridge("kept", EndpointRequest::default()).is_err());
        new.release("kept");
    });
}

#[test]
fn what_cannot_be_adopted_is_refused_with_the_reason() {
    on_host(|| {
        let old = open(0);
        let a = attach(&old, "a");
        drop(old);
        let new = open(0);
        let refused = |id: &str, address: &str| {
            new.adopt(id, address.parse().unwrap()).unwrap_err().to_string()
        };
        assert!(refused("gone", "10.88.7.2").contains("its interface is gone"));
        assert!(refused("a", "10.88.9.2").contains("none of the network"));
        let b = attach(&new, "b");
        assert!(refused("a", &b.address.to_string()).contains("taken"));
        drop((a, b));
    });
}

#[test]
fn an_adopted_endpoint_is_put_back_on_a_bridge_that_was_removed() {
    on_host(|| {
        let old = open(0);
        let endpoint = attach(&old, "a");
        old.remove_everything().unwrap();
        let new = open(0);
        assert!(is_unreachable(Some(&endpoint.netns), endpoint.address, None));
        new.adopt("a", endpoint.address).unwrap();
        assert_eq!(new.recover_done().unwrap(), 0);
        converse(Some(&endpoint.netns), endpoint.address, None);
    });
}

#[test]
fn opening_again_changes_nothing_and_removing_leaves_nothing() {
    on_host(|| {
        let networks = open(0);
        let id = networks.describe().id;
        let before = (link::all(&mut kernel()).unwrap(), link::addresses(&mut kernel()).unwrap());
        let again = Networks::open(NetworkConfig { id: Some(id.clone()), ..config(0) }).unwrap();
        assert_eq!(again.describe(), networks.describe());
        assert_eq!(
            (link::all(&mut kernel()).unwrap(), link::addresses(&mut kernel()).unwrap()),
            before
        );
        assert_eq!(id.len(), 64);
        drop(again);
        networks.remove_everything().unwrap();
        let links = link::all(&mut kernel()).unwrap();
        assert_eq!(links.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["lo"]);
        assert!(!rules("ip fyt0").is_some_and(|rules| rules.contains("fyt0")));
    });
}

#[test]
fn a_bridge_of_another_configuration_becomes_this_one() {
    on_host(|| {
        drop(open(0));
        let subnet = Some("10.99.0.0/16".parse().unwrap());
        let networks = Networks::open(NetworkConfig { subnet, mtu: 1400, ..config(0) }).unwrap();
        let endpoint = attach(&networks, "a");
        assert_eq!(endpoint.address, Ipv4Addr::new(10, 99, 0, 2));
        let bridge = link::find(&mut kernel(), Which::Name("fyt0")).unwrap().unwrap();
        assert_eq!(bridge.mtu, 1400);
        converse(Some(&endpoint.netns), endpoint.address, None);
        let kept = Networks::open(NetworkConfig { subnet: None, mtu: 1400, ..config(0) }).unwrap();
        assert_eq!(kept.describe().subnet, "10.99.0.0/16".parse().unwrap());
    });
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    on_host(|| {
        let refused = |config: NetworkConfig| Networks::open(config).unwrap_err().to_string();
        for bridge in ["", "a-name-of-16-chr", "a b", "../x", "7up"] {
            let text = refused(NetworkConfig { bridge: bridge.to_owned(), ..config(0) });
            assert!(text.contains("bridge name"), "{text}");
        }
        assert!(refused(NetworkConfig { mtu: 67, ..config(0) }).contains("MTU 67"));
        let subnet = Some("10.0.0.0/31".parse().unwrap());
        assert!(refused(NetworkConfig { subnet, ..config(0) }).contains("prefix"));
        assert!(refused(NetworkConfig { id: Some("x".to_owned()), ..config(0) }).contains("id"));
        let text = refused(NetworkConfig { bridge: "lo".to_owned(), ..config(0) });
        assert_eq!(text, "interface lo exists and is no bridge");
        let links = link::all(&mut kernel()).unwrap();
        assert_eq!(links.len(), 1, "nothing was made: {links:?}");
    });
}

#[test]
fn forwarding_is_opened_and_closed_to_others_only_by_whom_it_was_opened() {
    on_host(|| {
        let forward = || sysctl::read("ipv4/ip_forward").unwrap();
        let drops = || {
            let mut kernel = Conversation::open(NetlinkFamily::Netfilter).unwrap();
            encode::drops_by_policy(&mut kernel, "fyt0", "filter-FORWARD").unwrap()
        };
        sysctl::write("ipv4/ip_forward", "0").unwrap();
        let networks = open(0);
        assert_eq!((forward().as_str(), drops()), ("1", true));
        drop(open(0));
        assert!(drops(), "a second start keeps what the first decided");
        networks.remove_everything().unwrap();
        let networks = open(0);
        assert!(!drops(), "it was open already");
        networks.remove_everything().unwrap();
        sysctl::write("ipv4/ip_forward", "0").unwrap();
        drop(Networks::open(NetworkConfig { close_forwarding: false, ..config(0) }).unwrap());
        assert_eq!((forward().as_str(), drops()), ("1", false));
    });
}

/// A machine on a cable of its own to the host, with the host as its way to everywhere.
fn machine(networks: &Networks, net: &str) -> Outside {
    let net: Ipv4Net = net.parse().unwrap();
    let at = |n: u32| Ipv4Addr::from(u32::from(net.network()) + n);
    let (host, address) = (at(1), at(2));
    let prepared = networks.shared.maker.make().unwrap();
    let cable = link::find(&mut kernel(), Which::Name(&prepared.host_interface)).unwrap().unwrap();
    let no_bridge = 0;
    kernel()
        .request(|to| {
            link::set_master(to, Which::Index(cable.index), no_bridge);
            link::add_address(to, cable.index, host, net);
        })
        .unwrap();
    let mac = MacAddress::random().unwrap();
    let netns = prepared.activate(&Activation { address, net, gateway: host, mac }).unwrap();
    Outside { netns, address, host }
}

#[test]
fn a_host_made_a_router_by_us_routes_for_bridges_only() {
    on_host(|| {
        sysctl::write("ipv4/ip_forward", "0").unwrap();
        let networks = open(0);
        let (left, right) =
            (machine(&networks, "198.51.101.0/24"), machine(&networks, "198.51.102.0/24"));
        let on_bridge = outside();
        let between = |from: &Outside, to: &Outside| {
            !is_unreachable(Some(&to.netns), to.address, Some(&from.netns))
        };
        assert!(!between(&left, &right));
        assert!(between(&left, &on_bridge) && between(&on_bridge, &right));
        drop(open(0));
        assert!(!between(&left, &right) && between(&left, &on_bridge), "after a second start");
        networks.remove_everything().unwrap();
        assert!(between(&left, &right), "it was the table that forbade it");
    });
}

#[test]
fn a_closed_forward_chain_of_iptables_is_warned_of() {
    on_host(|| {
        let networks = open(0);
        assert_eq!(networks.warnings().unwrap(), Vec::<String>::new());
        let chain = firewall::Chain {
            name: "FORWARD",
            hook: firewall::Hook::Forward,
            policy: Some(firewall::Policy::Drop),
            rules: Vec::new(),
        };
        let table = firewall::Table { name: "filter".to_owned(), chains: vec![chain] };
        let mut kernel = Conversation::open(NetlinkFamily::Netfilter).unwrap();
        kernel.request(|to| encode::ensure(to, &table)).unwrap();
        let warnings = networks.warnings().unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("DOCKER-USER -i fyt0"), "{warnings:?}");
    });
}

/// What `nft` reads of a table, or `None` if there is no such table.
fn rules(table: &str) -> Option<String> {
    let mut nft = firewall::tests::nft();
    let output = nft.args(["list", "table"]).args(table.split(' ')).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn tables_of_others_are_left_alone() {
    on_host(|| {
        let others = firewall::table("other0", "10.1.0.0/16".parse().unwrap(), false);
        let mut kernel = Conversation::open(NetlinkFamily::Netfilter).unwrap();
        kernel.request(|to| encode::ensure(to, &others)).unwrap();
        let before = rules("ip other0").unwrap();
        let networks = open(0);
        assert!(rules("ip fyt0").unwrap().contains("masquerade"));
        assert_eq!(rules("ip other0").unwrap(), before);
        networks.remove_everything().unwrap();
        assert_eq!(rules("ip other0").unwrap(), before);
        assert_eq!(rules("ip fyt0"), None);
    });
}

/// The other half of the next test: an engine that is killed.
#[test]
fn engine_that_is_killed_when_told_so() {
    if std::env::var_os("FERRY_NETWORK_TEST_VICTIM").is_none() {
        return;
    }
    let networks = open(3);
    assert!(networks.shared.pool.wait_until_full(SOON));
    let _endpoint = attach(&networks, "a");
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "runs this very test program")]
fn an_engine_killed_with_all_in_its_hands_leaves_only_the_bridge() {
    on_host(|| {
        let program = std::env::current_exe().unwrap();
        let status = std::process::Command::new(program)
            .args(["--exact", "networks::tests::engine_that_is_killed_when_told_so"])
            .env("FERRY_NETWORK_TEST_VICTIM", "1")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(link::find(&mut kernel(), Which::Name("fyt0")).unwrap().is_some());
        wait_until("none is left", || veths().is_empty());
        open(0).remove_everything().unwrap();
    });
}
