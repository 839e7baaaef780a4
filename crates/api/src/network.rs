//! Networks, and a container's part in them.

use std::collections::BTreeMap;

use crate::go::wire;

/// `80/tcp` and where it is published; `null` is nowhere.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

wire! {
    /// Where a port is published.
    PortBinding {
        host_ip: String = "HostIp",
        host_port: String = "HostPort",
    }

    /// Which networks a new container joins, and how.
    NetworkingConfig {
        endpoints: Option<BTreeMap<String, EndpointSettings>> = "EndpointsConfig",
    }

    /// A container's part in one network.
    EndpointSettings {
        ipam_config: Option<EndpointIpamConfig> = "IPAMConfig",
        links: Option<Vec<String>> = "Links",
        aliases: Option<Vec<String>> = "Aliases",
        mac_address: String = "MacAddress",
        driver_opts: Option<BTreeMap<String, String>> = "DriverOpts",
        /// Since API 1.48.
        gw_priority: i64 = "GwPriority",
        network_id: String = "NetworkID",
        endpoint_id: String = "EndpointID",
        gateway: String = "Gateway",
        ip_address: String = "IPAddress",
        ip_prefix_len: i64 = "IPPrefixLen",
        ipv6_gateway: String = "IPv6Gateway",
        global_ipv6_address: String = "GlobalIPv6Address",
        global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen",
        dns_names: Option<Vec<String>> = "DNSNames",
    }

    /// Addresses that are asked for.
    EndpointIpamConfig {
        ipv4_address: String = "IPv4Address" omitempty,
        ipv6_address: String = "IPv6Address" omitempty,
        link_local_ips: Vec<String> = "LinkLocalIPs" omitempty,
    }

    /// The networks of a container, as inspect shows them.
    NetworkSettings {
        bridge: String = "Bridge",
        sandbox_id: String = "SandboxID",
        sandbox_key: String = "SandboxKey",
        /// `null` until the container runs on a bridge.
        ports: Option<PortMap> = "Ports",
        hairpin_mode: bool = "HairpinMode",
        link_local_ipv6_address: String = "LinkLocalIPv6Address",
        link_local_ipv6_prefix_len: i64 = "LinkLocalIPv6PrefixLen",
        secondary_ip_addresses: Option<Vec<Address>> = "SecondaryIPAddresses",
        secondary_ipv6_addresses: Option<Vec<Address>> = "SecondaryIPv6Addresses",
        endpoint_id: String = "EndpointID",
        gateway: String = "Gateway",
        global_ipv6_address: String = "GlobalIPv6Address",
        global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen",
        ip_address: String = "IPAddress",
        ip_prefix_len: i64 = "IPPrefixLen",
        ipv6_gateway: String = "IPv6Gateway",
        mac_address: String = "MacAddress",
        networks: BTreeMap<String, EndpointSettings> = "Networks",
    }

    /// An address with its prefix.
    Address {
        address: String = "Addr",
        prefix_len: i64 = "PrefixLen",
    }

    /// A network, as list and inspect show it.
    NetworkInspect {
        name: String = "Name",
        id: String = "Id",
        created: String = "Created",
        scope: String = "Scope",
        driver: String = "Driver",
        enable_ipv4: bool = "EnableIPv4",
        enable_ipv6: bool = "EnableIPv6",
        ipam: Ipam = "IPAM",
        internal: bool = "Internal",
        attachable: bool = "Attachable",
        ingress: bool = "Ingress",
        config_from: ConfigReference = "ConfigFrom",
        config_only: bool = "ConfigOnly",
        /// Empty in lists.
        containers: BTreeMap<String, EndpointResource> = "Containers",
        options: BTreeMap<String, String> = "Options",
        labels: BTreeMap<String, String> = "Labels",
    }

    /// How a network gives out addresses.
    Ipam {
        driver: String = "Driver",
        options: Option<BTreeMap<String, String>> = "Options",
        config: Option<Vec<IpamConfig>> = "Config",
    }

    /// One pool of addresses.
    IpamConfig {
        subnet: String = "Subnet" omitempty,
        ip_range: String = "IPRange" omitempty,
        gateway: String = "Gateway" omitempty,
        auxiliary_addresses: BTreeMap<String, String> = "AuxiliaryAddresses" omitempty,
    }

    /// The network whose configuration another one uses.
    ConfigReference {
        network: String = "Network",
    }

    /// A container in a network, as the network shows it.
    EndpointResource {
        name: String = "Name",
        endpoint_id: String = "EndpointID",
        mac_address: String = "MacAddress",
        ipv4_address: String = "IPv4Address",
        ipv6_address: String = "IPv6Address",
    }
}
