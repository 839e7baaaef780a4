use std::process::Command;

use ferry_sys::netlink::NetlinkFamily;
use ferry_sys::netns;

use super::*;
use crate::netlink::Conversation;

/// The program that reads rules back, independent of us.
#[expect(clippy::disallowed_methods, reason = "a test's oracle")]
pub(crate) fn nft() -> Command {
    let mut paths = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].iter();
    let path = paths.find(|path| std::path::Path::new(path).exists());
    Command::new(path.expect("`nft` is missing, with which this test reads the rules back: install Debian's package `nftables`"))
}

/// Installs the table twice in a network namespace and compares what `nft` makes of it.
#[track_caller]
fn check(table: &Table, expect: &str) {
    let (_netns, read) = netns::create(|_| {
        let mut kernel = Conversation::open(NetlinkFamily::Netfilter).unwrap();
        kernel.request(|to| encode::ensure(to, table)).unwrap();
        kernel.request(|to| encode::ensure(to, table)).unwrap();
        let output = nft().args(["--numeric-priority", "list", "ruleset"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    })
    .expect("this test needs the right to make network namespaces");
    assert_eq!(read.replace('\t', "  "), expect);
}

#[test]
fn the_table_of_a_bridge_reads_as_it_was_meant() {
    check(
        &table("ferry0", "172.17.0.0/16".parse().unwrap(), false),
        "\
table ip ferry0 {
  chain filter-FORWARD {
    type filter hook forward priority 0; policy accept;
    oifname \"ferry0\" ct state established,related counter packets 0 bytes 0 accept comment \"ESTABLISHED\"
    iifname \"ferry0\" counter packets 0 bytes 0 accept comment \"OUTGOING\"
    oifname \"ferry0\" counter packets 0 bytes 0 drop comment \"UNPUBLISHED PORT DROP\"
    meta iifkind \"bridge\" counter packets 0 bytes 0 accept comment \"OTHER BRIDGES\"
    meta oifkind \"bridge\" counter packets 0 bytes 0 accept comment \"OTHER BRIDGES\"
  }

  chain nat-POSTROUTING {
    type nat hook postrouting priority 100; policy accept;
    ip saddr 172.17.0.0/16 oifname != \"ferry0\" counter packets 0 bytes 0 masquerade comment \"MASQUERADE\"
  }
}
",
    );
}

#[test]
fn a_closed_chain_and_a_prefix_within_a_byte_read_as_meant() {
    check(
        &table("a-name-of-15chr", "192.168.16.0/20".parse().unwrap(), true),
        "\
table ip a-name-of-15chr {
  chain filter-FORWARD {
    type filter hook forward priority 0; policy drop;
    oifname \"a-name-of-15chr\" ct state established,related counter packets 0 bytes 0 accept comment \"ESTABLISHED\"
    iifname \"a-name-of-15chr\" counter packets 0 bytes 0 accept comment \"OUTGOING\"
    oifname \"a-name-of-15chr\" counter packets 0 bytes 0 drop comment \"UNPUBLISHED PORT DROP\"
    meta iifkind \"bridge\" counter packets 0 bytes 0 accept comment \"OTHER BRIDGES\"
    meta oifkind \"bridge\" counter packets 0 bytes 0 accept comment \"OTHER BRIDGES\"
  }

  chain nat-POSTROUTING {
    type nat hook postrouting priority 100; policy accept;
    ip saddr 192.168.16.0/20 oifname != \"a-name-of-15chr\" counter packets 0 bytes 0 masquerade comment \"MASQUERADE\"
  }
}
",
    );
}

#[test]
fn a_single_address_needs_no_mask() {
    let only = Rule {
        conditions: vec![Condition::SourceIn("10.0.0.1/32".parse().unwrap())],
        verdict: Verdict::Drop,
        comment: "one",
    };
    let chain = Chain { name: "c", hook: Hook::Forward, policy: None, rules: vec![only] };
    check(
        &Table { name: "t".to_owned(), chains: vec![chain] },
        "\
table ip t {
  chain c {
    type filter hook forward priority 0; policy accept;
    ip saddr 10.0.0.1 counter packets 0 bytes 0 drop comment \"one\"
  }
}
",
    );
}

#[test]
fn a_transaction_that_fails_changes_nothing_and_says_why() {
    let (_netns, ()) = netns::create(|_| {
        let mut kernel = Conversation::open(NetlinkFamily::Netfilter).unwrap();
        let good = table("good", "10.0.0.0/24".parse().unwrap(), false);
        let mut bad = good.clone();
        bad.name = "x".repeat(300);
        let refused = kernel.request(|to| encode::ensure(to, &bad)).unwrap_err();
        assert_eq!(refused.op, "netlink");
        let output = nft().args(["list", "ruleset"]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
        kernel.request(|to| encode::ensure(to, &good)).unwrap();
    })
    .unwrap();
}
