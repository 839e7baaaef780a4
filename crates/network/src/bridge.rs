//! The bridge: what there is, what must be done to it, doing it.

use std::net::{IpAddr, Ipv4Addr};

use crate::address::{Ipv4Net, MacAddress};
use crate::error::{Doing as _, NetworkError, Result};
use crate::link::{self, Address, Link, Which};
use crate::netlink::Conversation;

/// The default networks, in Docker's order: a network and the prefix of those that it is cut into.
const POOLS: [([u8; 4], u8, u8); 7] = [
    ([172, 17, 0, 0], 16, 16),
    ([172, 18, 0, 0], 16, 16),
    ([172, 19, 0, 0], 16, 16),
    ([172, 20, 0, 0], 14, 16),
    ([172, 24, 0, 0], 14, 16),
    ([172, 28, 0, 0], 14, 16),
    ([192, 168, 0, 0], 16, 20),
];

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) links: Vec<Link>,
    pub(crate) addresses: Vec<Address>,
    /// Where routes lead.
    pub(crate) routed: Vec<Ipv4Net>,
    /// The host's name servers, which must stay reachable.
    pub(crate) name_servers: Vec<IpAddr>,
}

impl Observed {
    /// Looks at the network namespace of the conversation.
    pub(crate) fn of(kernel: &mut Conversation, name_servers: Vec<IpAddr>) -> Result<Self> {
        Ok(Self {
            links: link::all(kernel).doing(|| "listing links")?,
            addresses: link::addresses(kernel).doing(|| "listing addresses")?,
            routed: link::routed_networks(kernel).doing(|| "listing routes")?,
            name_servers,
        })
    }

    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    fn is_free(&self, net: Ipv4Net) -> bool {
        let addresses = self.addresses.iter();
        !addresses
            .filter_map(|a| Ipv4Net::containing(a.address, a.prefix_len).ok())
            .chain(self.routed.iter().copied())
            .any(|used| used.overlaps(net))
            && !self.name_servers.iter().any(|server| match server {
                IpAddr::V4(server) => net.contains(*server),
                IpAddr::V6(_) => false,
            })
    }
}

/// What the bridge is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) subnet: Option<Ipv4Net>,
    pub(crate) mtu: u32,
}

/// How the bridge becomes what it is to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) net: Ipv4Net,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) actions: Vec<Action>,
}

/// One thing to do to the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Create,
    SetMtu,
    SetUp,
    /// It is of another configuration.
    RemoveAddress(Address),
    AddGateway,
}

/// Says what has to be done. After it is done, the plan is empty.
pub(crate) fn plan(wanted: Wanted<'_>, observed: &Observed) -> Result<Plan> {
    let bridge = observed.link(wanted.name);
    if bridge.is_some_and(|link| link.kind != "bridge") {
        return Err(NetworkError::NotABridge(wanted.name.to_owned()));
    }
    let present: Vec<Address> = bridge.map_or_else(Vec::new, |bridge| {
        observed.addresses.iter().filter(|a| a.index == bridge.index).copied().collect()
    });
    let net = choose_net(wanted, observed, &present)?;
    let gateway = gateway_of(net);
    let is_ours = |a: &Address| a.address == gateway && a.prefix_len == net.prefix_len();
    let mut actions = Vec::new();
    match bridge {
        None => actions.push(Action::Create),
        Some(bridge) => {
            if bridge.mtu != wanted.mtu {
                actions.push(Action::SetMtu);
            }
            if !bridge.is_up {
                actions.push(Action::SetUp);
            }
        }
    }
    actions.extend(present.iter().copied().filter(|a| !is_ours(a)).map(Action::RemoveAddress));
    if !present.iter().any(is_ours) {
        actions.push(Action::AddGateway);
    }
    Ok(Plan { net, gateway, actions })
}

fn choose_net(wanted: Wanted<'_>, observed: &Observed, present: &[Address]) -> Result<Ipv4Net> {
    let of_bridge = || {
        // Another address of the bridge may be somebody's; ours is the first of its network.
        let nets = present.iter().filter_map(|address| {
            let net = Ipv4Net::containing(address.address, address.prefix_len).ok()?;
            (gateway_of(net) == address.address && net.prefix_len() < 31).then_some(net)
        });
        nets.into_iter().next()
    };
    let free = || {
        let pools = POOLS.iter().filter_map(|(network, prefix_len, size)| {
            let pool = Ipv4Net::containing(Ipv4Addr::from(*network), *prefix_len).ok()?;
            Some(pool.subnets(*size))
        });
        pools.flatten().find(|net| observed.is_free(*net))
    };
    wanted.subnet.or_else(of_bridge).or_else(free).ok_or(NetworkError::PoolsExhausted)
}

/// The first address that an interface can have.
fn gateway_of(net: Ipv4Net) -> Ipv4Addr {
    let offset = u32::from(net.prefix_len() < 31);
    Ipv4Addr::from(u32::from(net.network()) + offset)
}

/// Does what the plan says and gives the bridge's index.
pub(crate) fn apply(wanted: Wanted<'_>, plan: &Plan, kernel: &mut Conversation) -> Result<u32> {
    let name = wanted.name;
    let mac = MacAddress::random().map_err(NetworkError::Random)?;
    let which = Which::Name(name);
    for action in &plan.actions {
        // Its address needs the index, which a new bridge has only now.
        let index = match action {
            Action::AddGateway => index(kernel, name)?,
            _ => 0,
        };
        kernel
            .request(|to| match action {
                Action::Create => link::new_bridge(to, name, mac, wanted.mtu),
                Action::SetMtu => link::set_mtu(to, which, wanted.mtu),
                Action::SetUp => link::set_up(to, which),
                Action::RemoveAddress(address) => link::delete_address(to, address),
                Action::AddGateway => link::add_address(to, index, plan.gateway, plan.net),
            })
            .doing(|| format!("setting bridge {name} up: {action:?}"))?;
    }
    index(kernel, name)
}

fn index(kernel: &mut Conversation, name: &str) -> Result<u32> {
    let link = link::find(kernel, Which::Name(name)).doing(|| format!("finding bridge {name}"))?;
    Ok(link.ok_or_else(|| NetworkError::Vanished(name.to_owned()))?.index)
}

#[cfg(test)]
mod tests;
