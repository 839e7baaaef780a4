use super::*;

#[track_caller]
fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

#[test]
fn a_network_is_read_and_printed_and_knows_its_ends() {
    let n = net("172.17.0.0/16");
    assert_eq!(n.to_string(), "172.17.0.0/16");
    assert_eq!(n.broadcast().to_string(), "172.17.255.255");
    assert_eq!(n.netmask().to_string(), "255.255.0.0");
    assert_eq!(net("0.0.0.0/0").broadcast().to_string(), "255.255.255.255");
    assert_eq!(net("10.1.2.3/32").broadcast().to_string(), "10.1.2.3");
}

#[test]
fn a_network_with_bits_beyond_its_prefix_or_of_another_form_is_refused() {
    for text in ["10.86.0.5/24", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/-1", ""] {
        assert!(text.parse::<Ipv4Net>().is_err(), "{text}");
    }
}

#[test]
fn overlap_is_symmetric_and_exact() {
    for (a, b, expect) in [
        ("172.16.0.0/12", "172.17.0.0/16", true),
        ("172.17.0.0/16", "172.18.0.0/16", false),
        ("0.0.0.0/0", "10.0.0.0/8", true),
        ("10.0.0.0/25", "10.0.0.128/25", false),
    ] {
        assert_eq!(net(a).overlaps(net(b)), expect, "{a} {b}");
        assert_eq!(net(b).overlaps(net(a)), expect, "{b} {a}");
    }
}

#[test]
fn subnets_are_all_there_in_order() {
    let all: Vec<_> = net("172.20.0.0/14").subnets(16).map(|n| n.to_string()).collect();
    assert_eq!(all, ["172.20.0.0/16", "172.21.0.0/16", "172.22.0.0/16", "172.23.0.0/16"]);
    assert_eq!(net("255.255.255.0/24").subnets(25).count(), 2);
}

#[test]
fn hardware_addresses_are_read_in_both_forms_and_nothing_else() {
    let mac: MacAddress = "02:42:AC-11".parse().unwrap_or(MacAddress([0; 6]));
    assert_eq!(mac, MacAddress([0; 6]));
    let mac: MacAddress = "02-42-AC-11-00-02".parse().unwrap();
    assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
    for text in ["02:42:ac:11:00", "02:42:ac:11:00:02:03", "2:42:ac:11:00:02", "02:42:ac:11:00:+2"]
    {
        assert!(text.parse::<MacAddress>().is_err(), "{text}");
    }
}

#[test]
fn random_hardware_addresses_are_local_single_and_different() {
    let some: std::collections::HashSet<_> =
        (0..100).map(|_| MacAddress::random().unwrap()).collect();
    assert_eq!(some.len(), 100);
    assert!(some.iter().all(|mac| mac.0[0] & 3 == 2 && mac.is_usable()));
}
