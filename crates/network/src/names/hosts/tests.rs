use super::*;

// The texts here are what dockerd 28.5.2 wrote when asked.

const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

#[track_caller]
fn check(extra: &[(&str, &str)], addresses: &[&str], names: (&str, &str), expect: &str) {
    let extra: Vec<_> = extra.iter().map(|(n, a)| ((*n).to_owned(), a.parse().unwrap())).collect();
    let addresses: Vec<_> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let (hostname, domainname) = names;
    let file = HostsFile { ipv6: true, extra: &extra, addresses: &addresses, hostname, domainname };
    assert_eq!(hosts_file(&file), format!("{LOCAL}{expect}"));
}

#[test]
fn the_default_bridge_gives_a_line_of_its_own_address() {
    check(&[], &["172.17.0.2"], ("8e3e64b7476a", ""), "172.17.0.2\t8e3e64b7476a\n");
}

#[test]
fn no_network_gives_no_line() {
    check(&[], &[], ("38247eac3ef9", ""), "");
}

#[test]
fn a_domain_comes_from_either_flag_and_the_whole_name_first() {
    check(&[], &["172.17.0.2"], ("h.example.org", ""), "172.17.0.2\th.example.org h\n");
    check(&[], &["172.17.0.2"], ("h", "dom.org"), "172.17.0.2\th.dom.org h\n");
}

#[test]
fn added_hosts_stand_before_the_container_in_the_order_given() {
    check(
        &[("a", "1.2.3.4"), ("gw", "172.17.0.1"), ("v6", "::1"), ("a", "1.2.3.5")],
        &["172.17.0.2"],
        ("6fe49e73751f", ""),
        "1.2.3.4\ta\n172.17.0.1\tgw\n::1\tv6\n1.2.3.5\ta\n172.17.0.2\t6fe49e73751f\n",
    );
}

#[test]
fn without_ipv6_its_lines_are_left_out() {
    let file = HostsFile { ipv6: false, extra: &[], addresses: &[], hostname: "h", domainname: "" };
    assert_eq!(hosts_file(&file), "127.0.0.1\tlocalhost\n");
}

#[test]
fn the_host_name_ends_with_a_newline_and_has_no_domain() {
    assert_eq!(hostname_file("h"), "h\n");
}
