//! The three networks that are always there.

use std::collections::BTreeMap;

use ferry_api::{
    Filters, NetworkInspect,
    network::{EndpointResource, Ipam, IpamConfig},
};
use ferry_engine::{ContainerSnapshot, spec::NetworkMode};

use crate::{convert::times, facts::Bridge, http::error::Failure};

/// A predefined network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Predefined {
    Bridge,
    Host,
    None,
}

impl Predefined {
    /// All of them, in the order that Docker lists them.
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Host, Self::Bridge];

    fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
        }
    }

    /// Its id: kept for the bridge, made of the name for the others, of which each host has one.
    pub(crate) fn id(self, bridge: &Bridge) -> String {
        match self {
            Self::Bridge => bridge.id.clone(),
            Self::Host | Self::None => ferry_engine::network_id_of(self.name()),
        }
    }

    fn driver(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "null",
        }
    }

    /// Finds a network by its name, its id or the beginning of its id.
    pub(crate) fn find(reference: &str, bridge: &Bridge) -> Option<Self> {
        let all = Self::ALL.into_iter();
        all.clone().find(|network| network.name() == reference).or_else(|| {
            all.clone()
                .find(|network| !reference.is_empty() && network.id(bridge).starts_with(reference))
        })
    }

    fn holds(self, mode: &NetworkMode) -> bool {
        match self {
            Self::Bridge => mode.is_bridge(),
            Self::Host => *mode == NetworkMode::Host,
            Self::None => *mode == NetworkMode::None,
        }
    }

    /// Whether a list with `filters` shows it.
    pub(crate) fn matches(self, filters: &Filters, bridge: &Bridge) -> Result<bool, Failure> {
        filters.check(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        let dangling = filters.boolean("dangling")?;
        let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
            !filters.contains(name) || filters.values(name).any(fits)
        };
        for kind in filters.values("type") {
            if !matches!(kind, "builtin" | "custom") {
                return Err(Failure::invalid(format!("invalid filter: 'type'='{kind}'")));
            }
        }
        Ok(dangling != Some(true)
            && any("driver", &|value| value == self.driver())
            && any("id", &|value| self.id(bridge).starts_with(value))
            && !filters.contains("label")
            && any("name", &|value| self.name().contains(value))
            && any("scope", &|value| value == "local")
            && any("type", &|value| value == "builtin"))
    }

    /// Shows it; with its containers when they are given.
    pub(crate) fn show(self, bridge: &Bridge, containers: &[&ContainerSnapshot]) -> NetworkInspect {
        let mut options = BTreeMap::new();
        let mut config = None;
        if self == Self::Bridge {
            let mtu = bridge.mtu.to_string();
            let all = [
                ("com.docker.network.bridge.default_bridge", "true"),
                ("com.docker.network.bridge.enable_icc", "true"),
                ("com.docker.network.bridge.enable_ip_masquerade", "true"),
                ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
                ("com.docker.network.bridge.name", bridge.name.as_str()),
                ("com.docker.network.driver.mtu", &mtu),
            ];
            options.extend(all.map(|(name, value)| (name.to_owned(), value.to_owned())));
            config = Some(vec![IpamConfig {
                subnet: bridge.subnet.clone(),
                gateway: bridge.gateway.clone(),
                ..IpamConfig::default()
            }]);
        }
        let running = containers.iter().filter(|container| container.is_running());
        let members = running.filter(|container| self.holds(&container.spec.host.network));
        NetworkInspect {
            name: self.name().to_owned(),
            id: self.id(bridge),
            created: times::written(bridge.created),
            scope: "local".to_owned(),
            driver: self.driver().to_owned(),
            enable_ipv4: true,
            ipam: Ipam { driver: "default".to_owned(), options: None, config },
            containers: members
                .map(|container| (container.id.to_string(), member(container)))
                .collect(),
            options,
            ..NetworkInspect::default()
        }
    }
}

fn member(container: &ContainerSnapshot) -> EndpointResource {
    let name = container.name.clone();
    match &container.network {
        Some(endpoint) => EndpointResource {
            name,
            endpoint_id: endpoint.endpoint_id.clone(),
            mac_address: mac(endpoint.mac),
            ipv4_address: format!("{}/{}", endpoint.address, endpoint.prefix_len),
            ipv6_address: String::new(),
        },
        None => EndpointResource { name, ..EndpointResource::default() },
    }
}

/// Writes a hardware address.
pub(crate) fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::facts;

    #[test]
    fn networks_are_found_by_name_and_id() {
        let bridge = facts().bridge;
        let find = |reference: &str| Predefined::find(reference, &bridge);
        assert_eq!(find("bridge"), Some(Predefined::Bridge));
        assert_eq!(find("b0b0"), Some(Predefined::Bridge));
        assert_eq!(find(&Predefined::None.id(&bridge)[..12]), Some(Predefined::None));
        assert_eq!(find(""), None);
        assert_eq!(find("mine"), None);
    }

    #[test]
    fn filters_choose_among_them() {
        let chosen = |filters: &str| {
            let filters = Filters::parse(filters).unwrap();
            Predefined::ALL
                .into_iter()
                .filter(|network| network.matches(&filters, &facts().bridge).unwrap())
                .map(Predefined::name)
                .collect::<Vec<_>>()
        };
        assert_eq!(chosen("{}"), ["none", "host", "bridge"]);
        assert_eq!(chosen(r#"{"driver":["null","bridge"]}"#), ["none", "bridge"]);
        assert_eq!(chosen(r#"{"name":["o"]}"#), ["none", "host"]);
        assert_eq!(chosen(r#"{"type":["custom"]}"#), [""; 0]);
        assert_eq!(chosen(r#"{"dangling":["true"]}"#), [""; 0]);
    }
}
