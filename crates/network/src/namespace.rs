//! A container's network namespace, from nothing to an interface with an address.
//!
//! ```text
//! make ──> Prepared (eth0 up on the bridge, no address; can wait in the pool) ──> activate ──> Endpoint
//! ```
//!
//! Both steps speak with the new namespace through a socket opened in it, so only the first needs a
//! thread there, and the second is one call.

use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Mutex;

use ferry_sys::netlink::NetlinkFamily;
use ferry_sys::netns;

use crate::address::{Ipv4Net, MacAddress};
use crate::error::{Doing as _, NetworkError, Result};
use crate::link::{self, Veth, Which};
use crate::netlink::Conversation;
use crate::sysctl;

/// The interface in a container.
pub(crate) const INTERFACE: &str = "eth0";

/// The group of all host ends, by which we know ours from those that others put on our bridge.
pub(crate) const GROUP: u32 = 0xfe77;

/// Where new namespaces are connected to.
#[derive(Debug)]
pub(crate) struct Maker {
    /// Speaks with the host's namespace.
    pub(crate) host: Mutex<Conversation>,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    /// Held while links are made: the kernel makes one at a time, and who writes `disable_ipv6`
    /// meanwhile does not sleep but tries again and again.
    one_at_a_time: Mutex<()>,
}

/// A namespace with an interface on the bridge that has no address yet. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Prepared {
    netns: OwnedFd,
    inside: Conversation,
    index: u32,
    pub(crate) host_interface: String,
}

/// What an interface gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Activation {
    pub(crate) address: Ipv4Addr,
    pub(crate) net: Ipv4Net,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) mac: MacAddress,
}

impl Maker {
    /// Connects to the bridge of this index in the conversation's namespace.
    pub(crate) fn new(host: Conversation, bridge: u32, mtu: u32) -> Self {
        Self { host: Mutex::new(host), bridge, mtu, one_at_a_time: Mutex::new(()) }
    }

    /// Makes a namespace with an interface on the bridge.
    pub(crate) fn make(&self) -> Result<Prepared> {
        let host_interface = host_interface_name()?;
        let (netns, inside) = netns::create(|netns| self.furnish(netns, &host_interface))
            .doing(|| "making a network namespace")?;
        let (inside, index) = inside?;
        Ok(Prepared { netns, inside, index, host_interface })
    }

    /// In the new namespace: makes the veth pair and brings everything up.
    fn furnish(&self, netns: BorrowedFd<'_>, host_name: &str) -> Result<(Conversation, u32)> {
        let mut inside = Conversation::open(NetlinkFamily::Route)
            .doing(|| "speaking with a network namespace")?;
        let veth = Veth {
            name: host_name,
            bridge: self.bridge,
            group: GROUP,
            mtu: self.mtu,
            peer_name: INTERFACE,
            peer_netns: netns,
        };
        let one = lock(&self.one_at_a_time);
        self.host(|to| link::new_veth(to, &veth)).doing(|| format!("making veth {host_name}"))?;
        let eth0 = link::find(&mut inside, Which::Name(INTERFACE))
            .doing(|| "finding the interface in a new network namespace")?
            .ok_or_else(|| NetworkError::Vanished(host_name.to_owned()))?;
        common_parameters()?;
        // Order: before it is up, or it would get an address of IPv6.
        sysctl::write_if_present("ipv6/conf/eth0/disable_ipv6", "1")?;
        drop(one);
        // An address may have been another container's a moment ago: neighbours are told at once.
        sysctl::write("ipv4/conf/eth0/arp_notify", "1")?;
        inside
            .request(|to| {
                link::set_up(to, Which::Name("lo"));
                link::set_up(to, Which::Index(eth0.index));
            })
            .doing(|| format!("bringing the peer of {host_name} up"))?;
        link::settle(&mut inside, Which::Index(eth0.index))
            // Order: the bridge has a carrier when its first port has one.
            .and_then(|()| link::settle(&mut lock(&self.host), Which::Name(host_name)))
            .and_then(|()| link::settle(&mut lock(&self.host), Which::Index(self.bridge)))
            .doing(|| format!("settling {host_name}"))?;
        Ok((inside, eth0.index))
    }

    /// Sends messages to the host's namespace.
    pub(crate) fn host(
        &self,
        build: impl FnOnce(&mut crate::netlink::Messages),
    ) -> Result<(), ferry_sys::SysError> {
        lock(&self.host).request(build)
    }
}

impl Prepared {
    /// Gives the interface its addresses and the default route, in one call.
    pub(crate) fn activate(mut self, activation: &Activation) -> Result<OwnedFd> {
        let Activation { address, net, gateway, mac } = *activation;
        self.inside
            .request(|to| {
                // Order: the change of the hardware address is what neighbours are told, with the
                // address that the interface has then.
                link::add_address(to, self.index, address, net);
                link::set_mac(to, Which::Index(self.index), mac);
                link::add_default_route(to, self.index, gateway);
            })
            .doing(|| format!("giving {INTERFACE} the address {address}"))?;
        Ok(self.netns)
    }
}

/// Makes a namespace with nothing but loopback.
pub(crate) fn isolated() -> Result<OwnedFd> {
    let (netns, done) = netns::create(|_| {
        common_parameters()?;
        Conversation::open(NetlinkFamily::Route)
            .and_then(|mut inside| inside.request(|to| link::set_up(to, Which::Name("lo"))))
            .doing(|| "bringing loopback up")
    })
    .doing(|| "making a network namespace")?;
    done?;
    Ok(netns)
}

/// What Docker sets in every network namespace that it makes: users need no privilege for low ports
/// and for ping.
fn common_parameters() -> Result<()> {
    sysctl::write("ipv4/ip_unprivileged_port_start", "0")?;
    sysctl::write("ipv4/ping_group_range", "0 2147483647")
}

/// `veth` and 7 random hexadecimal digits, as Docker's.
fn host_interface_name() -> Result<String> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(NetworkError::Random)?;
    Ok(format!("veth{:07x}", u32::from_ne_bytes(random) >> 4))
}

/// Locks, also after a panic of another thread: what these locks guard is whole between calls.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
