//! Opening the networks as the configuration has them.

use std::net::Ipv4Addr;

use anyhow::{Context as _, ensure};
use ferry_network::{Description, Ipv4Net, NetworkConfig, Networks};
use ferry_store::Store;
use jiff::Timestamp;

use crate::{config::Config, facts::Bridge};

/// Opens the networks, and says what the default bridge is like.
pub(crate) async fn open(config: &Config, store: &Store) -> anyhow::Result<(Networks, Bridge)> {
    let mut wanted = NetworkConfig {
        bridge: config.bridge.clone(),
        id: ferry_engine::kept_network_id(store)?,
        ..NetworkConfig::default()
    };
    if let Some(address) = &config.bridge_address {
        wanted.subnet = Some(subnet(address)?);
    }
    if let Some(mtu) = config.mtu {
        wanted.mtu = mtu;
    }
    let networks = tokio::task::spawn_blocking(move || Networks::open(wanted))
        .await?
        .context("cannot open the networks")?;
    let Description { id, bridge, subnet, gateway, mtu } = networks.describe();
    let bridge = Bridge {
        id,
        name: bridge,
        subnet: subnet.to_string(),
        gateway: gateway.to_string(),
        mtu,
        created: Timestamp::now(),
    };
    Ok((networks, bridge))
}

/// Reads `--bip`: the bridge's own address with its prefix, which must be the first of its network.
fn subnet(text: &str) -> anyhow::Result<Ipv4Net> {
    let invalid = || format!("invalid bip {text:?}");
    let (address, prefix_len) = text.split_once('/').with_context(invalid)?;
    let address: Ipv4Addr = address.parse().with_context(invalid)?;
    let subnet = Ipv4Net::containing(address, prefix_len.parse().with_context(invalid)?)
        .with_context(invalid)?;
    let first = u32::from(subnet.network()).checked_add(1).map(Ipv4Addr::from);
    ensure!(
        first == Some(address),
        "invalid bip {text:?}: ferry does not support an address other than the network's first yet"
    );
    Ok(subnet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bip_is_the_first_address_of_a_network() {
        assert_eq!(subnet("10.1.2.1/24").unwrap().to_string(), "10.1.2.0/24");
        for text in ["10.1.2.1", "10.1.2.5/24", "x/24", "10.1.2.1/99"] {
            subnet(text).unwrap_err();
        }
    }
}
