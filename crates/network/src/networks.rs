//! The handle to an engine's networks.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use ferry_sys::netlink::NetlinkFamily;
use rustix::io::Errno;

use crate::address::{Ipv4Net, MacAddress};
use crate::addresses::{Addresses, Refused};
use crate::bridge::{self, Observed, Plan, Wanted};
use crate::error::{Doing as _, NetworkError, Result};
use crate::firewall;
use crate::firewall::encode;
use crate::link::{self, Link, Which};
use crate::names::{HOST_PATH, SYSTEMD_PATH, host_name_servers};
use crate::namespace::{self, Activation, GROUP, INTERFACE, Maker, Prepared, lock};
use crate::netlink::Conversation;
use crate::pool::Pool;
use crate::sysctl;

/// What is before the endpoint's id in the alias of its host end.
const ALIAS: &str = "ferry endpoint ";

/// What the default bridge network is like.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The bridge's interface, and the name of our table in `nf_tables`. At most 15 bytes.
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
    /// unless `--ip-forward-no-drop`. What comes from or leaves by a bridge of others stays open.
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
pub struct Networks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    description: Description,
    maker: Arc<Maker>,
    /// Kept open: closing it waits until the kernel has freed the rules that were replaced (10 ms).
    filter: Mutex<Conversation>,
    pool: Pool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    addresses: Addresses,
    endpoints: HashMap<String, Attached>,
    /// Host ends of an earlier engine that are not adopted.
    unclaimed: Vec<Link>,
}

#[derive(Debug)]
struct Attached {
    address: Ipv4Addr,
    /// Absent while it is being made.
    host_interface: Option<String>,
}

impl Networks {
    /// Ensures the bridge, the firewall's table and forwarding, and finds what an earlier engine left.
    ///
    /// Running containers are not disturbed: what is there and right stays as it is. Call
    /// [`Networks::adopt`] for each live endpoint, then [`Networks::recover_done`].
    ///
    /// # Errors
    /// A configuration that cannot be, no network free, or what the kernel refuses.
    pub fn open(config: NetworkConfig) -> Result<Self> {
        config.check()?;
        let mut kernel =
            Conversation::open(NetlinkFamily::Route).doing(|| "speaking with the kernel")?;
        let observed = Observed::of(&mut kernel, name_servers())?;
        let wanted = Wanted { name: &config.bridge, subnet: config.subnet, mtu: config.mtu };
        let plan = bridge::plan(wanted, &observed)?;
        let index = bridge::apply(wanted, &plan, &mut kernel)?;
        let filter = open_forwarding(&config, &plan)?;
        let Plan { net, gateway, .. } = plan;
        let description = Description {
            id: config.id.map_or_else(random_id, Ok)?,
            bridge: config.bridge,
            subnet: net,
            gateway,
            mtu: config.mtu,
        };
        let maker = Arc::new(Maker::new(kernel, index, config.mtu));
        let state = State {
            addresses: Addresses::new(net, gateway),
            endpoints: HashMap::new(),
            unclaimed: unclaimed(observed, index),
        };
        let pool = Pool::new(config.pool_size, Arc::clone(&maker)).map_err(NetworkError::Thread)?;
        let filter = Mutex::new(filter);
        let shared = Shared { description, maker, filter, pool, state: Mutex::new(state) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Gives a network namespace with an interface, an address and a default route on the bridge.
    ///
    /// # Errors
    /// `AddressesExhausted`, `AlreadyAttached`, `InvalidMac`, or what the kernel refuses; nothing
    /// is left then.
    pub fn attach_bridge(&self, endpoint_id: &str, request: EndpointRequest) -> Result<Endpoint> {
        let mac = match request.mac {
            Some(mac) if mac.is_usable() => mac,
            Some(mac) => return Err(NetworkError::InvalidMac(mac)),
            None => MacAddress::random().map_err(NetworkError::Random)?,
        };
        let address = self.reserve(endpoint_id)?;
        let attached = self.attach_at(endpoint_id, address, mac);
        if attached.is_err() {
            self.release(endpoint_id);
        }
        attached
    }

    /// Gives a network namespace with nothing but loopback.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new_isolated_netns(&self) -> Result<OwnedFd> {
        namespace::isolated()
    }

    /// Gives the endpoint's address back; unknown ids are ignored. It does not touch the interface.
    pub fn release(&self, endpoint_id: &str) {
        let mut state = lock(&self.shared.state);
        if let Some(Attached { address, host_interface }) = state.endpoints.remove(endpoint_id) {
            state.addresses.give_back(address, host_interface);
        }
    }

    /// Takes over an endpoint that an earlier engine attached and that lives.
    ///
    /// If its interface is no port of the bridge any more, it is made one again.
    ///
    /// # Errors
    /// `Adopt`: its interface is gone, or the address is another's or not of this network.
    pub fn adopt(&self, endpoint_id: &str, address: Ipv4Addr) -> Result<()> {
        let refused =
            |reason| Err(NetworkError::Adopt { endpoint: endpoint_id.to_owned(), address, reason });
        let mut state = lock(&self.shared.state);
        let alias = format!("{ALIAS}{endpoint_id}");
        let mut links = state.unclaimed.iter();
        let Some(at) = links.position(|link| link.alias.as_deref() == Some(&alias)) else {
            return refused("its interface is gone");
        };
        match state.addresses.claim(address) {
            Ok(()) => {}
            Err(Refused::NotOfTheNetwork) => return refused("it is none of the network"),
            Err(Refused::Taken) => return refused("it is taken"),
        }
        let link = state.unclaimed.swap_remove(at);
        let host_interface = Some(link.name);
        state.endpoints.insert(endpoint_id.to_owned(), Attached { address, host_interface });
        drop(state);
        if link.master.is_none() {
            let Maker { bridge, .. } = *self.shared.maker;
            self.shared
                .maker
                .host(|to| link::set_master(to, Which::Index(link.index), bridge))
                .doing(|| format!("putting endpoint {endpoint_id} back on the bridge"))?;
        }
        Ok(())
    }

    /// Says that all live endpoints are adopted: the interfaces of an earlier engine's endpoints
    /// that nobody adopted are removed. It returns how many.
    ///
    /// There are such only where a process lives on whose container nobody knows any more. Each takes
    /// 10 to 30 ms, so do not make anybody wait for this.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn recover_done(&self) -> Result<usize> {
        let unclaimed = std::mem::take(&mut lock(&self.shared.state).unclaimed);
        // Those without an alias were in the pool: nobody else held them, so they are on their way.
        let stale = unclaimed.iter().filter(|link| link.master.is_some() && link.alias.is_some());
        let mut removed = 0;
        for link in stale {
            match self.shared.maker.host(|to| link::delete(to, link.index)) {
                Ok(()) => removed += 1,
                // The last process in its namespace ended meanwhile.
                Err(error) if error.errno == Errno::NODEV => {}
                Err(source) => {
                    let doing = format!("removing the stale interface {}", link.name);
                    return Err(NetworkError::Kernel { doing, source });
                }
            }
        }
        Ok(removed)
    }

    /// What the network is.
    #[must_use]
    pub fn describe(&self) -> Description {
        self.shared.description.clone()
    }

    /// What is wrong on this host that we cannot or must not put right, in sentences for people.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn warnings(&self) -> Result<Vec<String>> {
        let mut filter = lock(&self.shared.filter);
        let closed = encode::drops_by_policy(&mut filter, "filter", "FORWARD")
            .doing(|| "reading iptables' chain FORWARD")?;
        let bridge = &self.shared.description.bridge;
        let warning = format!(
            "iptables drops forwarded packets by policy (as dockerd sets it), which also closes \
             {bridge}; where nothing else accepts them, open it with: iptables -I DOCKER-USER -i \
             {bridge} -j ACCEPT; iptables -I DOCKER-USER -o {bridge} -m conntrack --ctstate \
             RELATED,ESTABLISHED -j ACCEPT"
        );
        Ok(closed.then_some(warning).into_iter().collect())
    }

    /// Removes bridge, table and pool, for uninstalling and tests. Containers lose their network.
    ///
    /// # Errors
    /// All that could not be removed.
    pub fn remove_everything(self) -> Result<(), Vec<NetworkError>> {
        let Description { bridge, .. } = self.shared.description.clone();
        self.shared.pool.close();
        let mut errors = Vec::new();
        let removed = lock(&self.shared.filter)
            .request(|to| encode::delete(to, &bridge))
            .doing(|| format!("removing table {bridge}"));
        errors.extend(removed.err());
        let index = self.shared.maker.bridge;
        let removed = self
            .shared
            .maker
            .host(|to| link::delete(to, index))
            .doing(|| format!("removing bridge {bridge}"));
        errors.extend(removed.err());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Holds an address for the endpoint.
    fn reserve(&self, endpoint_id: &str) -> Result<Ipv4Addr> {
        let mut state = lock(&self.shared.state);
        if state.endpoints.contains_key(endpoint_id) {
            return Err(NetworkError::AlreadyAttached(endpoint_id.to_owned()));
        }
        let is_gone = |name: &str| {
            let mut host = lock(&self.shared.maker.host);
            matches!(link::find(&mut host, Which::Name(name)), Ok(None))
        };
        let address = state
            .addresses
            .take(is_gone)
            .ok_or(NetworkError::AddressesExhausted(self.shared.description.subnet))?;
        let attached = Attached { address, host_interface: None };
        state.endpoints.insert(endpoint_id.to_owned(), attached);
        Ok(address)
    }

    fn attach_at(&self, endpoint_id: &str, address: Ipv4Addr, mac: MacAddress) -> Result<Endpoint> {
        let Shared { description, maker, pool, state, .. } = &*self.shared;
        let prepared: Prepared = match pool.take() {
            Some(prepared) => prepared,
            None => maker.make()?,
        };
        let host_interface = prepared.host_interface.clone();
        if let Some(attached) = lock(state).endpoints.get_mut(endpoint_id) {
            attached.host_interface = Some(host_interface.clone());
        }
        let alias = format!("{ALIAS}{endpoint_id}");
        maker
            .host(|to| link::set_alias(to, Which::Name(&host_interface), &alias))
            .doing(|| format!("naming {host_interface}"))?;
        let Description { subnet: net, gateway, .. } = *description;
        let netns = prepared.activate(&Activation { address, net, gateway, mac })?;
        Ok(Endpoint {
            netns,
            address,
            prefix_len: net.prefix_len(),
            gateway,
            mac,
            interface: INTERFACE.to_owned(),
            host_interface,
        })
    }
}

impl NetworkConfig {
    fn check(&self) -> Result<()> {
        let fault = |words: String| Err(NetworkError::Config(words));
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let name = &self.bridge;
        if !(1..=15).contains(&name.len())
            || !name.bytes().all(is_plain)
            || !name.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return fault(format!(
                "bridge name {name:?} is not 1 to 15 letters, digits, '-', '_' and '.' after a letter"
            ));
        }
        if !(68..=65535).contains(&self.mtu) {
            return fault(format!("MTU {} is not between 68 and 65535", self.mtu));
        }
        if let Some(net) = self.subnet
            && !(8..=30).contains(&net.prefix_len())
        {
            return fault(format!("the prefix of {net} is not between 8 and 30"));
        }
        if let Some(id) = &self.id
            && (id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return fault(format!("network id {id:?} is not 64 hexadecimal digits"));
        }
        Ok(())
    }
}

/// The host's name servers, which no default network may hide.
fn name_servers() -> Vec<IpAddr> {
    // A host without such a file has none.
    let texts = [HOST_PATH, SYSTEMD_PATH].map(|path| fs::read_to_string(path).unwrap_or_default());
    texts.iter().flat_map(|text| host_name_servers(text)).collect()
}

/// Installs the rules, then lets the host forward.
fn open_forwarding(config: &NetworkConfig, plan: &Plan) -> Result<Conversation> {
    const FORWARD: &str = "ipv4/ip_forward";
    let is_open = sysctl::read(FORWARD)? == "1";
    let close_others = !is_open && config.close_forwarding;
    let table = firewall::table(&config.bridge, plan.net, close_others);
    let mut filter =
        Conversation::open(NetlinkFamily::Netfilter).doing(|| "speaking with the kernel")?;
    filter
        .request(|to| encode::ensure(to, &table))
        .doing(|| format!("installing the rules of table {}", table.name))?;
    // Order: only now, so that nothing is forwarded that the rules do not know of.
    if !is_open {
        sysctl::write(FORWARD, "1")?;
    }
    Ok(filter)
}

/// Host ends that an earlier engine made: ports of the bridge, and named ones that lost theirs.
fn unclaimed(observed: Observed, bridge: u32) -> Vec<Link> {
    let ours = |link: &Link| {
        let named = link.alias.as_ref().is_some_and(|alias| alias.starts_with(ALIAS));
        let place = link.master == Some(bridge) || (link.master.is_none() && named);
        link.kind == "veth" && link.group == GROUP && place
    };
    observed.links.into_iter().filter(ours).collect()
}

fn random_id() -> Result<String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(NetworkError::Random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
