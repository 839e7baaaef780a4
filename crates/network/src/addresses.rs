//! Which addresses of a network are taken, and which is next.
//!
//! As Docker's: the lowest that is free, so the first container has `.2`, and one that starts after
//! another ended has its address again. But an address is not given again before the interface that
//! had it is gone: the kernel takes a network namespace apart some milliseconds after its last
//! process, and until then both would answer for the address. That is asked of the kernel, so
//! nothing waits for a timer.

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use crate::address::Ipv4Net;

/// The addresses of one network.
#[derive(Debug)]
pub(crate) struct Addresses {
    net: Ipv4Net,
    gateway: Ipv4Addr,
    taken: BTreeSet<Ipv4Addr>,
    /// Given back, with the interface that had it; the longest ago first.
    leaving: VecDeque<(Ipv4Addr, String)>,
}

/// Why an address cannot be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    NotOfTheNetwork,
    Taken,
}

impl Addresses {
    /// All are free but the gateway's, the network's and the broadcast's.
    pub(crate) fn new(net: Ipv4Net, gateway: Ipv4Addr) -> Self {
        Self { net, gateway, taken: BTreeSet::new(), leaving: VecDeque::new() }
    }

    /// Takes the lowest free address, or `None` if there is none. `is_gone` says whether the
    /// interface of this name is.
    ///
    /// If only addresses are left whose interfaces are still there, it is the one given back first.
    pub(crate) fn take(&mut self, is_gone: impl FnMut(&str) -> bool) -> Option<Ipv4Addr> {
        let address = self.lowest_free(is_gone).or_else(|| Some(self.leaving.front()?.0))?;
        self.hold(address);
        Some(address)
    }

    fn lowest_free(&mut self, mut is_gone: impl FnMut(&str) -> bool) -> Option<Ipv4Addr> {
        let mut taken = self.taken.iter().copied().peekable();
        let first = u32::from(self.net.network());
        let last = u32::from(self.net.broadcast());
        (first..=last).map(Ipv4Addr::from).find(|address| {
            if taken.next_if_eq(address).is_some() || !self.is_assignable(*address) {
                return false;
            }
            match self.leaving.iter().find(|(left, _)| left == address) {
                Some((_, interface)) => is_gone(interface),
                None => true,
            }
        })
    }

    /// Takes this address.
    pub(crate) fn claim(&mut self, address: Ipv4Addr) -> Result<(), Refused> {
        if !self.net.contains(address) || !self.is_assignable(address) {
            return Err(Refused::NotOfTheNetwork);
        }
        if self.taken.contains(&address) {
            return Err(Refused::Taken);
        }
        self.hold(address);
        Ok(())
    }

    fn hold(&mut self, address: Ipv4Addr) {
        self.leaving.retain(|(left, _)| *left != address);
        self.taken.insert(address);
    }

    /// Gives an address back that `interface` has or had.
    pub(crate) fn give_back(&mut self, address: Ipv4Addr, interface: Option<String>) {
        if self.taken.remove(&address)
            && let Some(interface) = interface
        {
            self.leaving.push_back((address, interface));
        }
    }

    fn is_assignable(&self, address: Ipv4Addr) -> bool {
        // A network of two has neither a network's nor a broadcast address. [RFC 3021]
        let edges = self.net.prefix_len() < 31
            && (address == self.net.network() || address == self.net.broadcast());
        address != self.gateway && !edges
    }
}

#[cfg(test)]
mod tests;
