//! Messages about links, addresses and routes. [rtnetlink(7)]

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use ferry_sys::SysError;
use rustix::io::Errno;

use crate::address::{Ipv4Net, MacAddress};
use crate::netlink::{Body, Conversation, Messages, attributes, flags, number, text};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const AF_INET: u8 = 2;
const UP: u32 = 1;

/// Attributes of links, as of `if_link.h`.
mod attribute {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const QUEUE_LENGTH: u16 = 13;
    pub(super) const LINK_INFO: u16 = 18;
    pub(super) const LINK_INFO_KIND: u16 = 1;
    pub(super) const LINK_INFO_DATA: u16 = 2;
    pub(super) const VETH_PEER: u16 = 1;
    pub(super) const ALIAS: u16 = 20;
    pub(super) const GROUP: u16 = 27;
    pub(super) const NETNS_DESCRIPTOR: u16 = 28;
}

/// Which link is meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    Index(u32),
    Name(&'a str),
}

impl Which<'_> {
    fn index(self) -> u32 {
        match self {
            Self::Index(index) => index,
            Self::Name(_) => 0,
        }
    }
}

/// A link that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) is_up: bool,
    pub(crate) mtu: u32,
    /// `bridge`, `veth`, or empty for hardware.
    pub(crate) kind: String,
    /// The index of the bridge it is a port of.
    pub(crate) master: Option<u32>,
    pub(crate) group: u32,
    pub(crate) alias: Option<String>,
}

/// A virtual cable between a bridge of this network namespace and another namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Veth<'a> {
    pub(crate) name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) group: u32,
    pub(crate) mtu: u32,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_netns: BorrowedFd<'a>,
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Makes a bridge that is up.
///
/// It is given its address, since else it has the lowest of its ports' and changes with them.
pub(crate) fn new_bridge(to: &mut Messages, name: &str, mac: MacAddress, mtu: u32) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    to.add(NEW_LINK, flags, &link_header(0, UP, UP), |link| {
        link.text(attribute::NAME, name);
        link.put(attribute::ADDRESS, &mac.0);
        link.number(attribute::MTU, mtu);
        link.nest(attribute::LINK_INFO, |info| info.text(attribute::LINK_INFO_KIND, "bridge"));
    });
}

/// Makes a veth pair: this end up and a port of the bridge, the other in its namespace and down.
///
/// All in one message, since moving a link afterwards waits for the whole machine (13-27 ms). The
/// peer cannot be up in the same message: the kernel has not joined the two yet.
pub(crate) fn new_veth(to: &mut Messages, veth: &Veth<'_>) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    to.add(NEW_LINK, flags, &link_header(0, UP, UP), |link| {
        link.text(attribute::NAME, veth.name);
        link.number(attribute::MTU, veth.mtu);
        link.number(attribute::MASTER, veth.bridge);
        link.number(attribute::GROUP, veth.group);
        // Compat: Docker's show `txqueuelen 0`; these links have no queue anyway.
        link.number(attribute::QUEUE_LENGTH, 0);
        link.nest(attribute::LINK_INFO, |info| {
            info.text(attribute::LINK_INFO_KIND, "veth");
            info.nest(attribute::LINK_INFO_DATA, |data| {
                data.nest(attribute::VETH_PEER, |peer| {
                    peer.raw(&link_header(0, 0, 0));
                    peer.text(attribute::NAME, veth.peer_name);
                    peer.number(attribute::MTU, veth.mtu);
                    peer.number(attribute::QUEUE_LENGTH, 0);
                    peer.descriptor(attribute::NETNS_DESCRIPTOR, veth.peer_netns);
                });
            });
        });
    });
}

fn set(
    to: &mut Messages,
    which: Which<'_>,
    (flags, change): (u32, u32),
    body: impl FnOnce(&mut Body<'_>),
) {
    to.add(NEW_LINK, 0, &link_header(which.index(), flags, change), |link| {
        if let Which::Name(name) = which {
            link.text(attribute::NAME, name);
        }
        body(link);
    });
}

/// Brings a link up.
pub(crate) fn set_up(to: &mut Messages, which: Which<'_>) {
    set(to, which, (UP, UP), |_| ());
}

/// Sets the largest packet.
pub(crate) fn set_mtu(to: &mut Messages, which: Which<'_>, mtu: u32) {
    set(to, which, (0, 0), |link| link.number(attribute::MTU, mtu));
}

/// Sets the hardware address, which an interface with `arp_notify` tells its neighbours.
pub(crate) fn set_mac(to: &mut Messages, which: Which<'_>, mac: MacAddress) {
    set(to, which, (0, 0), |link| link.put(attribute::ADDRESS, &mac.0));
}

/// Writes what people and we recognise a link by.
pub(crate) fn set_alias(to: &mut Messages, which: Which<'_>, alias: &str) {
    set(to, which, (0, 0), |link| link.put(attribute::ALIAS, alias.as_bytes()));
}

/// Makes a link a port of a bridge.
pub(crate) fn set_master(to: &mut Messages, which: Which<'_>, bridge: u32) {
    set(to, which, (0, 0), |link| link.number(attribute::MASTER, bridge));
}

/// Deletes a link, with its peer if it has one. It waits for the whole machine.
pub(crate) fn delete(to: &mut Messages, index: u32) {
    to.add(DELETE_LINK, 0, &link_header(index, 0, 0), |_| ());
}

fn address_header(index: u32, prefix_len: u8) -> [u8; 8] {
    let [a, b, c, d] = index.to_ne_bytes();
    [AF_INET, prefix_len, 0, 0, a, b, c, d]
}

/// Gives a link an address in a network.
pub(crate) fn add_address(to: &mut Messages, index: u32, address: Ipv4Addr, net: Ipv4Net) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    to.add(NEW_ADDRESS, flags, &address_header(index, net.prefix_len()), |body| {
        body.put(2, &address.octets());
        body.put(1, &address.octets());
        body.put(4, &net.broadcast().octets());
    });
}

/// Takes an address from a link.
pub(crate) fn delete_address(to: &mut Messages, address: &Address) {
    let Address { index, address, prefix_len } = *address;
    to.add(DELETE_ADDRESS, 0, &address_header(index, prefix_len), |body| {
        body.put(2, &address.octets());
    });
}

fn route_header(kind: u8) -> [u8; 12] {
    let (table_main, protocol_boot) = (254, 3);
    [AF_INET, 0, 0, 0, table_main, protocol_boot, 0, kind, 0, 0, 0, 0]
}

/// Adds the default route.
pub(crate) fn add_default_route(to: &mut Messages, index: u32, gateway: Ipv4Addr) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    to.add(NEW_ROUTE, flags, &route_header(1), |body| {
        body.put(5, &gateway.octets());
        body.number(4, index);
    });
}

/// Reads a link, or `None` if there is none.
pub(crate) fn find(kernel: &mut Conversation, which: Which<'_>) -> Result<Option<Link>, SysError> {
    let mut link = None;
    let answer = kernel.ask(
        |to| {
            to.add_silent(GET_LINK, 0, &link_header(which.index(), 0, 0), |body| {
                if let Which::Name(name) = which {
                    body.text(attribute::NAME, name);
                }
            });
        },
        |content| link = read_link(content),
    );
    match answer {
        Ok(()) => Ok(link),
        Err(error) if error.errno == Errno::NODEV => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes what follows from a link's being up true at once.
///
/// A link sends, and a port of a bridge forwards, only when the kernel's work queue has come to it,
/// and a container whose first packet is lost until then asks again after a second. Asking for a
/// link does that work for it (Linux 6.8); before that, the queue does it a moment later.
pub(crate) fn settle(kernel: &mut Conversation, which: Which<'_>) -> Result<(), SysError> {
    find(kernel, which).map(|_| ())
}

/// Reads all links of the network namespace.
pub(crate) fn all(kernel: &mut Conversation) -> Result<Vec<Link>, SysError> {
    kernel.dump(GET_LINK, &link_header(0, 0, 0), read_link)
}

fn read_link(content: &[u8]) -> Option<Link> {
    let (header, body) = content.split_at_checked(16)?;
    let mut link = Link {
        index: number(&header[4..])?,
        is_up: number(&header[8..])? & UP != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(body) {
        match kind {
            attribute::NAME => link.name = text(value)?,
            attribute::MTU => link.mtu = number(value)?,
            attribute::MASTER => link.master = number(value),
            attribute::GROUP => link.group = number(value)?,
            attribute::ALIAS => link.alias = text(value),
            attribute::LINK_INFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == attribute::LINK_INFO_KIND);
                link.kind = kind.and_then(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

/// An IPv4 address that a link has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix_len: u8,
}

/// Reads all IPv4 addresses of the network namespace.
pub(crate) fn addresses(kernel: &mut Conversation) -> Result<Vec<Address>, SysError> {
    kernel.dump(GET_ADDRESS, &address_header(0, 0), read_address)
}

fn read_address(content: &[u8]) -> Option<Address> {
    let (header, body) = content.split_at_checked(8)?;
    let (_, local) = attributes(body).find(|(kind, _)| *kind == 2)?;
    Some(Address {
        index: number(&header[4..])?,
        address: Ipv4Addr::from(*local.first_chunk::<4>()?),
        prefix_len: header[1],
    })
}

/// Reads where the IPv4 routes of the network namespace lead to, but for the default.
pub(crate) fn routed_networks(kernel: &mut Conversation) -> Result<Vec<Ipv4Net>, SysError> {
    kernel.dump(GET_ROUTE, &route_header(0), read_route)
}

/// Routes to this host itself and to broadcast addresses are left out.
fn read_route(content: &[u8]) -> Option<Ipv4Net> {
    let (header, body) = content.split_at_checked(12)?;
    let (prefix_len, kind) = (header[1], header[7]);
    let (_, network) = attributes(body).find(|(kind, _)| *kind == 1)?;
    if kind != 1 || prefix_len == 0 {
        return None;
    }
    Ipv4Net::containing(Ipv4Addr::from(*network.first_chunk::<4>()?), prefix_len).ok()
}

#[cfg(test)]
mod tests;
