//! Addresses: an IPv4 network with its prefix length, and hardware addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network: its first address and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Net {
    network: Ipv4Addr,
    prefix_len: u8,
}

impl Ipv4Net {
    /// The network that `address` is in.
    ///
    /// # Errors
    /// A prefix longer than 32.
    pub fn containing(address: Ipv4Addr, prefix_len: u8) -> Result<Self, AddressError> {
        if prefix_len > 32 {
            return Err(AddressError::new("network", format!("{address}/{prefix_len}")));
        }
        let network = Ipv4Addr::from(u32::from(address) & mask(prefix_len));
        Ok(Self { network, prefix_len })
    }

    /// The network's first address.
    #[must_use]
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// How many leading bits all its addresses share.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// The network's last address.
    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) | !mask(self.prefix_len))
    }

    /// The mask of the prefix.
    #[must_use]
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.prefix_len))
    }

    /// Whether the address is in the network.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix_len) == u32::from(self.network)
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The networks of a longer prefix that it is made of, in order.
    pub(crate) fn subnets(self, prefix_len: u8) -> impl Iterator<Item = Self> {
        let first = u64::from(u32::from(self.network));
        let last = u64::from(u32::from(self.broadcast()));
        let step = 1_usize << (32 - u32::from(prefix_len.clamp(self.prefix_len, 32)));
        (first..=last).step_by(step).filter_map(move |start| {
            let network = Ipv4Addr::from(u32::try_from(start).ok()?);
            Some(Self { network, prefix_len: prefix_len.max(self.prefix_len) })
        })
    }
}

fn mask(prefix_len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0)
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

impl FromStr for Ipv4Net {
    type Err = AddressError;

    /// Reads `172.17.0.0/16`; bits beyond the prefix must be zero, as Docker wants it.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fault = || AddressError::new("network", text);
        let (address, prefix_len) = text.split_once('/').ok_or_else(fault)?;
        let address: Ipv4Addr = address.parse().ok().ok_or_else(fault)?;
        let prefix_len: u8 = prefix_len.parse().ok().ok_or_else(fault)?;
        let net = Self::containing(address, prefix_len)?;
        if net.network == address { Ok(net) } else { Err(fault()) }
    }
}

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// A random one that is locally administered and of a single station, as Docker's are.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut octets = [0; 6];
        getrandom::fill(&mut octets)?;
        octets[0] = octets[0] & 0xfe | 0x02;
        Ok(Self(octets))
    }

    /// Whether an interface can bear it: of a single station, and not zero.
    #[must_use]
    pub fn is_usable(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = AddressError;

    /// Reads `02:42:ac:11:00:02`, with `-` as well as `:`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fault = || AddressError::new("hardware address", text);
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(fault)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(fault());
            }
            *octet = u8::from_str_radix(part, 16).ok().ok_or_else(fault)?;
        }
        if parts.next().is_some() { Err(fault()) } else { Ok(Self(octets)) }
    }
}

/// A text that is no address of the kind wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {text:?}")]
pub struct AddressError {
    what: &'static str,
    text: String,
}

impl AddressError {
    fn new(what: &'static str, text: impl Into<String>) -> Self {
        Self { what, text: text.into() }
    }
}

#[cfg(test)]
mod tests;
