//! Links, addresses, firewall rules and name files of containers.
//!
//! [`Networks`] is the handle to the default bridge network of an engine: it gives a container a
//! network namespace with an address on the bridge ([`Networks::attach_bridge`]) or with nothing but
//! loopback ([`Networks::new_isolated_netns`]). What the rules of the firewall are is a value
//! before it is sent to the kernel. The contents of the name files in a container are pure functions
//! in [`names`].
//!
//! Network namespaces are held by descriptors only: when the last descriptor and process of one are
//! gone, the kernel removes it with its interfaces, so nothing leaks when an engine is killed.
//!
//! This crate knows nothing of containers, images or the API, and executes no program.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod names;

mod networks;

mod address;
mod addresses;
mod bridge;
mod error;
mod firewall;
mod link;
mod namespace;
mod netlink;
mod pool;
mod sysctl;

pub use address::{AddressError, Ipv4Net, MacAddress};
pub use error::{NetworkError, Result};
pub use networks::{Description, Endpoint, EndpointRequest, NetworkConfig, Networks};
