//! The handle to an engine's networks.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use crate::address::{Ipv4Net, MacAddress};
use crate::error::Result;

/// What the default bridge network is like.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The bridge's interface, and the name of our table in nf_tables. At most 15 bytes.
    pub bridge: String,
    /// The network; if absent, that of the bridge if it exists, else the first of Docker's default
    /// ones that does not overlap with a route of this host.
    pub subnet: Option<Ipv4Net>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// How many network namespaces are held ready; 0 to make each when it is asked for.
    pub pool_size: usize,
    /// The network's id, 64 hexadecimal digits, if it has one already; see [`Description::id`].
    pub id: Option<String>,
    /// Whether other forwarding is closed when it is us who turn forwarding on, as dockerd does
    /// unless `--ip-forward-no-drop`.
    pub close_forwarding: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            bridge: "ferry0".to_owned(),
            subnet: None,
            mtu: 1500,
            pool_size: 10,
            id: None,
            close_forwarding: true,
        }
    }
}

/// What an endpoint shall be like.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointRequest {
    /// Its hardware address; random if absent.
    pub mac: Option<MacAddress>,
}

/// A network namespace with an interface on the bridge.
///
/// Hand `netns` to the process that lives in it and close it: when the last holder is gone, the
/// kernel removes the interfaces. Then, or before, [`Networks::release`] the endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// The network namespace.
    pub netns: OwnedFd,
    /// The interface's address.
    pub address: Ipv4Addr,
    /// The length of the network's prefix.
    pub prefix_len: u8,
    /// The default route.
    pub gateway: Ipv4Addr,
    /// The interface's hardware address.
    pub mac: MacAddress,
    /// The interface's name in the network namespace, `eth0`.
    pub interface: String,
    /// The name of its other end, a port of the bridge.
    pub host_interface: String,
}

/// What the default bridge network is, for `network inspect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// 64 hexadecimal digits. It is as in [`NetworkConfig::id`], or new: then keep it.
    pub id: String,
    /// The bridge's interface.
    pub bridge: String,
    /// The network.
    pub subnet: Ipv4Net,
    /// The bridge's own address; `host-gateway` is this.
    pub gateway: Ipv4Addr,
    /// The largest packet, in bytes.
    pub mtu: u32,
}

/// An engine's networks. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Networks {}

impl Networks {
    /// Ensures the bridge, the firewall's table and forwarding, and finds what an earlier engine left.
    ///
    /// Running containers are not disturbed: what is there and right stays as it is. Call
    /// [`Networks::adopt`] for each live endpoint, then [`Networks::recover_done`].
    ///
    /// # Errors
    /// A configuration that cannot be, no network free, or what the kernel refuses.
    pub fn open(_config: NetworkConfig) -> Result<Self> {
        unimplemented!()
    }

    /// Gives a network namespace with an interface, an address and a default route on the bridge.
    ///
    /// # Errors
    /// `AddressesExhausted`, `AlreadyAttached`, `InvalidMac`, or what the kernel refuses; nothing
    /// is left then.
    pub fn attach_bridge(&self, _endpoint_id: &str, _request: EndpointRequest) -> Result<Endpoint> {
        unimplemented!()
    }

    /// Gives a network namespace with nothing but loopback.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new_isolated_netns(&self) -> Result<OwnedFd> {
        unimplemented!()
    }

    /// Gives the endpoint's address back; unknown ids are ignored. It does not touch the interface.
    pub fn release(&self, _endpoint_id: &str) {
        unimplemented!()
    }

    /// Takes over an endpoint that an earlier engine attached and that lives.
    ///
    /// # Errors
    /// `Adopt`: the address is another's or not of this network.
    pub fn adopt(&self, _endpoint_id: &str, _address: Ipv4Addr) -> Result<()> {
        unimplemented!()
    }

    /// Says that all live endpoints are adopted: interfaces of earlier engines that nobody adopted
    /// are removed, and the pool is filled. It returns how many were removed.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn recover_done(&self) -> Result<usize> {
        unimplemented!()
    }

    /// What the network is.
    #[must_use]
    pub fn describe(&self) -> Description {
        unimplemented!()
    }

    /// What is wrong on this host that we cannot or must not put right, in sentences for people.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn warnings(&self) -> Result<Vec<String>> {
        unimplemented!()
    }

    /// Removes bridge, table and pool, for uninstalling and tests.
    ///
    /// # Errors
    /// All that could not be removed.
    pub fn remove_everything(self) -> std::result::Result<(), Vec<crate::NetworkError>> {
        unimplemented!()
    }
}
