//! The messages of `nf_tables`, as of the kernel's header `nf_tables.h`.
//!
//! Numbers are in network order, but for what is compared with the bytes of a packet's metadata.

use ferry_sys::SysError;
use rustix::io::Errno;

use super::{Chain, Condition, Hook, Policy, Rule, Table, Verdict};
use crate::address::Ipv4Net;
use crate::netlink::{Body, Conversation, Messages, attributes, flags};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const GET_CHAIN: u16 = SUBSYSTEM << 8 | 4;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const DELETE_RULE: u16 = SUBSYSTEM << 8 | 8;

/// Version 0, of the family `ip`.
const IPV4: [u8; 4] = [2, 0, 0, 0];

const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
/// The size of an interface's name, and of its kind, with zeros.
const TEXT_LENGTH: usize = 16;

mod chain {
    pub(super) const TABLE: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const HOOK: u16 = 4;
    pub(super) const HOOK_NUMBER: u16 = 1;
    pub(super) const HOOK_PRIORITY: u16 = 2;
    pub(super) const POLICY: u16 = 5;
    pub(super) const TYPE: u16 = 7;
}

/// What is known of a packet besides its bytes.
mod key {
    pub(super) const FROM_NAME: u32 = 6;
    pub(super) const BY_NAME: u32 = 7;
    pub(super) const FROM_KIND: u32 = 26;
    pub(super) const BY_KIND: u32 = 27;
}

/// Makes the table what it is to be, in one transaction: all or nothing, and no packet ever meets a
/// half of it.
///
/// What is there is kept but for the rules, so that a policy set earlier stays.
pub(crate) fn ensure(to: &mut Messages, table: &Table) {
    transaction(to, |to| {
        to.add(NEW_TABLE, flags::CREATE, &IPV4, |body| body.text(1, &table.name));
        for chain in &table.chains {
            new_chain(to, &table.name, chain);
            // Without a rule's handle: all of the chain.
            to.add(DELETE_RULE, 0, &IPV4, |body| rule_place(body, &table.name, chain.name));
            for rule in &chain.rules {
                new_rule(to, &table.name, chain.name, rule);
            }
        }
    });
}

/// Deletes a table with all that is in it.
pub(crate) fn delete(to: &mut Messages, table: &str) {
    transaction(to, |to| to.add(DELETE_TABLE, 0, &IPV4, |body| body.text(1, table)));
}

/// Whether a chain drops what none of its rules decides upon; false if there is no such chain.
pub(crate) fn drops_by_policy(
    kernel: &mut Conversation,
    table: &str,
    name: &str,
) -> Result<bool, SysError> {
    let mut policy = None;
    let answer = kernel.ask(
        |to| {
            to.add_silent(GET_CHAIN, 0, &IPV4, |body| {
                body.text(chain::TABLE, table);
                body.text(chain::NAME, name);
            });
        },
        |content| {
            let body = content.get(IPV4.len()..).unwrap_or_default();
            policy = attributes(body)
                .find(|(kind, _)| *kind == chain::POLICY)
                .map(|(_, value)| value.to_vec());
        },
    );
    match answer {
        Ok(()) => Ok(policy.is_some_and(|policy| policy == [0; 4])),
        Err(error) if error.errno == Errno::NOENT => Ok(false),
        Err(error) => Err(error),
    }
}

fn transaction(to: &mut Messages, body: impl FnOnce(&mut Messages)) {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    let subsystem = [0, 0, high, low];
    to.add_silent(BATCH_BEGIN, 0, &subsystem, |_| ());
    body(to);
    to.add_silent(BATCH_END, 0, &subsystem, |_| ());
}

fn new_chain(to: &mut Messages, table: &str, of: &Chain) {
    let (kind, number, priority) = match of.hook {
        Hook::Forward => ("filter", 2, 0),
        Hook::SourceNat => ("nat", 4, 100),
    };
    to.add(NEW_CHAIN, flags::CREATE, &IPV4, |body| {
        body.text(chain::TABLE, table);
        body.text(chain::NAME, of.name);
        body.nest(chain::HOOK, |hook| {
            hook.network_number(chain::HOOK_NUMBER, number);
            hook.network_number(chain::HOOK_PRIORITY, priority);
        });
        if let Some(Policy::Drop) = of.policy {
            body.network_number(chain::POLICY, 0);
        }
        body.text(chain::TYPE, kind);
    });
}

fn rule_place(body: &mut Body<'_>, table: &str, chain: &str) {
    body.text(1, table);
    body.text(2, chain);
}

fn new_rule(to: &mut Messages, table: &str, chain: &str, rule: &Rule) {
    to.add(NEW_RULE, flags::CREATE | flags::APPEND, &IPV4, |body| {
        rule_place(body, table, chain);
        body.nest(4, |list| {
            for condition in &rule.conditions {
                write_condition(list, condition);
            }
            expression(list, "counter", |_| ());
            write_verdict(list, rule.verdict);
        });
        body.put(7, &user_data(rule.comment));
    });
}

/// What `nft` keeps a comment in: a type, a length and a text with its zero.
fn user_data(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    let mut data = vec![0, length];
    data.extend(comment.bytes().take(usize::from(length) - 1));
    data.push(0);
    data
}

fn expression(list: &mut Body<'_>, name: &str, data: impl FnOnce(&mut Body<'_>)) {
    list.nest(1, |element| {
        element.text(1, name);
        element.nest(2, data);
    });
}

fn write_condition(list: &mut Body<'_>, condition: &Condition) {
    match condition {
        Condition::ComesFrom(name) => meta(list, key::FROM_NAME, name, Compare::Equal),
        Condition::LeavesBy(name) => meta(list, key::BY_NAME, name, Compare::Equal),
        Condition::LeavesNotBy(name) => meta(list, key::BY_NAME, name, Compare::NotEqual),
        Condition::ComesFromBridge => meta(list, key::FROM_KIND, "bridge", Compare::Equal),
        Condition::LeavesByBridge => meta(list, key::BY_KIND, "bridge", Compare::Equal),
        Condition::SourceIn(net) => source(list, *net),
        Condition::IsEstablished => established(list),
    }
}

#[derive(Clone, Copy)]
enum Compare {
    Equal,
    NotEqual,
}

fn compare(list: &mut Body<'_>, how: Compare, with: &[u8]) {
    expression(list, "cmp", |data| {
        data.network_number(1, REGISTER);
        data.network_number(2, u32::from(matches!(how, Compare::NotEqual)));
        data.nest(3, |value| value.put(1, with));
    });
}

/// Keeps the bits of the mask in the register.
fn mask(list: &mut Body<'_>, mask: [u8; 4]) {
    expression(list, "bitwise", |data| {
        data.network_number(1, REGISTER);
        data.network_number(2, REGISTER);
        data.network_number(3, 4);
        data.nest(4, |value| value.put(1, &mask));
        data.nest(5, |value| value.put(1, &[0; 4]));
    });
}

/// Compares a text about the packet; an interface that lacks it equals nothing.
fn meta(list: &mut Body<'_>, key: u32, text: &str, how: Compare) {
    expression(list, "meta", |data| {
        data.network_number(1, REGISTER);
        data.network_number(2, key);
    });
    let mut padded = text.as_bytes().to_vec();
    padded.resize(TEXT_LENGTH, 0);
    compare(list, how, &padded);
}

/// Compares the source address: 4 bytes at 12 of the IPv4 header.
fn source(list: &mut Body<'_>, net: Ipv4Net) {
    expression(list, "payload", |data| {
        data.network_number(1, REGISTER);
        data.network_number(2, 1);
        data.network_number(3, 12);
        data.network_number(4, 4);
    });
    if net.prefix_len() < 32 {
        mask(list, net.netmask().octets());
    }
    compare(list, Compare::Equal, &net.network().octets());
}

/// Compares the connection's state: established is bit 1, related bit 2, in this machine's order.
fn established(list: &mut Body<'_>) {
    let (established, related): (u32, u32) = (1 << 1, 1 << 2);
    expression(list, "ct", |data| {
        data.network_number(1, REGISTER);
        data.network_number(2, 0);
    });
    mask(list, (established | related).to_ne_bytes());
    compare(list, Compare::NotEqual, &[0; 4]);
}

fn write_verdict(list: &mut Body<'_>, verdict: Verdict) {
    let code = match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
        Verdict::Masquerade => return expression(list, "masq", |_| ()),
    };
    expression(list, "immediate", |data| {
        data.network_number(1, VERDICT_REGISTER);
        data.nest(2, |value| value.nest(2, |verdict| verdict.network_number(1, code)));
    });
}
