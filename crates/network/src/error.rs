//! What goes wrong with networks.

use ferry_sys::SysError;

use crate::address::{Ipv4Net, MacAddress};

/// A result of this crate.
pub type Result<T, E = NetworkError> = std::result::Result<T, E>;

/// Something about a network that did not work.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused a step.
    #[error("{doing}")]
    Kernel {
        /// What was being done, to what.
        doing: String,
        /// What the kernel said.
        source: SysError,
    },
    /// No address is left in the network.
    #[error("no available IPv4 addresses on this network's address pools: {0}")]
    AddressesExhausted(Ipv4Net),
    /// Every default network overlaps with something on this host.
    #[error("all predefined address pools have been fully subnetted")]
    PoolsExhausted,
    /// The configuration cannot be.
    #[error("invalid network configuration: {0}")]
    Config(String),
    /// The hardware address wanted is of a group, or zero.
    #[error("invalid MAC address {0}")]
    InvalidMac(MacAddress),
    /// An address to adopt is not free or not of this network.
    #[error("address {address} of endpoint {endpoint} cannot be adopted: {reason}")]
    Adopt {
        /// The endpoint.
        endpoint: String,
        /// Its address.
        address: std::net::Ipv4Addr,
        /// Why not.
        reason: &'static str,
    },
    /// The endpoint has its attachment already.
    #[error("endpoint {0} is attached already")]
    AlreadyAttached(String),
    /// An interface of the bridge's name is something else.
    #[error("interface {0} exists and is no bridge")]
    NotABridge(String),
    /// An interface was removed by somebody else while it was being set up.
    #[error("interface {0} vanished")]
    Vanished(String),
    /// The thread that fills the pool could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

/// Says what was being done when the kernel refused.
pub(crate) trait Doing<T> {
    /// The words are only made when there is an error.
    fn doing<S: Into<String>>(self, words: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, SysError> {
    fn doing<S: Into<String>>(self, words: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| NetworkError::Kernel { doing: words().into(), source })
    }
}
