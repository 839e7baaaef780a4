use super::*;

fn bridge(index: u32) -> Link {
    Link {
        index,
        name: "ferry0".to_owned(),
        is_up: true,
        mtu: 1500,
        kind: "bridge".to_owned(),
        ..Link::default()
    }
}

fn address(index: u32, text: &str) -> Address {
    let (address, prefix_len) = text.split_once('/').unwrap();
    Address { index, address: address.parse().unwrap(), prefix_len: prefix_len.parse().unwrap() }
}

fn wanted(subnet: Option<&str>) -> Wanted<'static> {
    Wanted { name: "ferry0", subnet: subnet.map(|net| net.parse().unwrap()), mtu: 1500 }
}

#[track_caller]
fn check(subnet: Option<&str>, observed: &Observed, net: &str, actions: &[Action]) {
    let plan = plan(wanted(subnet), observed).unwrap();
    assert_eq!(plan.net.to_string(), net);
    assert_eq!(plan.actions, actions);
}

#[test]
fn a_new_host_gets_a_bridge_with_dockers_first_network() {
    check(None, &Observed::default(), "172.17.0.0/16", &[Action::Create, Action::AddGateway]);
}

#[test]
fn networks_that_are_routed_or_addressed_or_have_a_name_server_are_avoided() {
    let observed = Observed {
        links: Vec::new(),
        addresses: vec![address(9, "172.17.0.1/16")],
        routed: vec!["172.18.4.0/24".parse().unwrap(), "172.20.0.0/15".parse().unwrap()],
        name_servers: vec!["172.19.0.53".parse().unwrap(), "fd00::1".parse().unwrap()],
    };
    check(None, &observed, "172.22.0.0/16", &[Action::Create, Action::AddGateway]);
}

#[test]
fn when_every_default_network_is_used_there_is_none() {
    let routed = vec!["172.16.0.0/12".parse().unwrap(), "192.168.0.0/16".parse().unwrap()];
    let observed = Observed { routed, ..Observed::default() };
    assert!(matches!(plan(wanted(None), &observed), Err(NetworkError::PoolsExhausted)));
}

#[test]
fn a_bridge_that_is_right_needs_nothing_and_keeps_its_network() {
    let observed = Observed {
        links: vec![bridge(5)],
        addresses: vec![address(5, "172.23.0.1/16")],
        routed: vec!["172.23.0.0/16".parse().unwrap()],
        ..Observed::default()
    };
    check(None, &observed, "172.23.0.0/16", &[]);
    check(Some("172.23.0.0/16"), &observed, "172.23.0.0/16", &[]);
}

#[test]
fn a_bridge_half_made_or_of_another_configuration_is_put_right() {
    let down = Link { is_up: false, mtu: 1400, ..bridge(5) };
    let observed = Observed {
        links: vec![down],
        addresses: vec![address(5, "172.23.0.1/16"), address(6, "10.0.0.1/24")],
        ..Observed::default()
    };
    let old = Action::RemoveAddress(address(5, "172.23.0.1/16"));
    let expect = [Action::SetMtu, Action::SetUp, old, Action::AddGateway];
    check(Some("10.9.0.0/24"), &observed, "10.9.0.0/24", &expect);
}

#[test]
fn an_interface_of_the_name_that_is_no_bridge_is_refused() {
    let links = vec![Link { kind: "veth".to_owned(), ..bridge(5) }];
    let observed = Observed { links, ..Observed::default() };
    assert!(matches!(plan(wanted(None), &observed), Err(NetworkError::NotABridge(_))));
}
