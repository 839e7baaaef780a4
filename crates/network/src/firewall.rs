//! The rules of the firewall: a value, which [`encode`] turns into one transaction of `nf_tables`.
//!
//! All is in one table of ours, named like the bridge. What others have in theirs is never touched,
//! and what they flush is not ours. The other side of that: a packet passes every table, and one
//! that drops it has the last word. Where `iptables` drops in FORWARD by policy, as dockerd sets it,
//! our containers reach nothing beyond the host until an accepting rule stands there; see
//! [`crate::Networks::warnings`].
//!
//! The names of chains and the comments are those of Docker's own `nf_tables` backend.

pub(crate) mod encode;

use crate::address::Ipv4Net;

/// A table of IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) chains: Vec<Chain>,
}

/// A chain that the kernel sends packets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) hook: Hook,
    /// What becomes of packets that no rule decides upon; if absent, it stays what it is, which is
    /// to accept them when the chain is new.
    pub(crate) policy: Option<Policy>,
    pub(crate) rules: Vec<Rule>,
}

/// Where in its way a packet meets the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// From one interface to another, at the usual priority.
    Forward,
    /// Before it leaves, where its source is translated.
    SourceNat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Drop,
}

/// What to do with a packet that all conditions hold for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) verdict: Verdict,
    pub(crate) comment: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    ComesFrom(String),
    LeavesBy(String),
    LeavesNotBy(String),
    ComesFromBridge,
    LeavesByBridge,
    SourceIn(Ipv4Net),
    /// It answers or belongs to a connection that was let through.
    IsEstablished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    /// The source becomes this host's address.
    Masquerade,
}

/// The table of an engine with one bridge.
///
/// As Docker's: containers reach each other and the world, the world reaches nothing of theirs.
///
/// `close_forwarding` is for when it is us who make this host a router: it shall not be one for
/// others because of that. Unlike dockerd's closed chain, which others can open in the same table,
/// ours would have the last word; so the bridges of other container and machine engines stay open.
pub(crate) fn table(bridge: &str, net: Ipv4Net, close_forwarding: bool) -> Table {
    use Condition::{
        ComesFrom, ComesFromBridge, IsEstablished, LeavesBy, LeavesByBridge, LeavesNotBy, SourceIn,
    };
    let name = || bridge.to_owned();
    let forward = vec![
        rule(vec![LeavesBy(name()), IsEstablished], Verdict::Accept, "ESTABLISHED"),
        rule(vec![ComesFrom(name())], Verdict::Accept, "OUTGOING"),
        rule(vec![LeavesBy(name())], Verdict::Drop, "UNPUBLISHED PORT DROP"),
        // Always, since a chain that was closed once stays so.
        rule(vec![ComesFromBridge], Verdict::Accept, "OTHER BRIDGES"),
        rule(vec![LeavesByBridge], Verdict::Accept, "OTHER BRIDGES"),
    ];
    let masquerade =
        rule(vec![SourceIn(net), LeavesNotBy(name())], Verdict::Masquerade, "MASQUERADE");
    Table {
        name: name(),
        chains: vec![
            Chain {
                name: "filter-FORWARD",
                hook: Hook::Forward,
                policy: close_forwarding.then_some(Policy::Drop),
                rules: forward,
            },
            Chain {
                name: "nat-POSTROUTING",
                hook: Hook::SourceNat,
                policy: None,
                rules: vec![masquerade],
            },
        ],
    }
}

fn rule(conditions: Vec<Condition>, verdict: Verdict, comment: &'static str) -> Rule {
    Rule { conditions, verdict, comment }
}

#[cfg(test)]
pub(crate) mod tests;
