//! `--network` and what belongs to it.

use std::collections::BTreeMap;

use ferry_api::EndpointSettings;
use ferry_api::network::EndpointIpamConfig;

use super::{mounts, numbers};

/// A network to attach to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub target: String,
    pub aliases: Vec<String>,
    pub links: Vec<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub ipv4: String,
    pub ipv6: String,
    pub link_local_ips: Vec<String>,
    pub mac_address: String,
    pub gw_priority: i64,
}

/// Reads `--network name` or `--network name=…,alias=…,ip=…`.
pub(crate) fn network(value: &str) -> Result<Attachment, String> {
    if !is_long(value) {
        return Ok(Attachment { target: value.into(), ..Attachment::default() });
    }
    let mut attachment = Attachment::default();
    for field in mounts::fields(value) {
        let lower = field.to_lowercase();
        let Some((name, item)) = lower.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(format!("invalid field {field}"));
        };
        let item = item.trim();
        match name.trim() {
            "name" => attachment.target = item.into(),
            "alias" => attachment.aliases.push(item.into()),
            "ip" => attachment.ipv4 = item.into(),
            "ip6" => attachment.ipv6 = item.into(),
            "mac-address" => {
                check_mac(item)?;
                attachment.mac_address = item.into();
            }
            "link-local-ip" => attachment.link_local_ips.push(item.into()),
            "driver-opt" => {
                let Some((name, item)) = item.split_once('=') else {
                    return Err("invalid key value pair format in driver options".into());
                };
                attachment.driver_opts.insert(name.trim().into(), item.trim().into());
            }
            "gw-priority" => {
                attachment.gw_priority = numbers::int(item)
                    .map_err(|_error| format!("invalid gw-priority ({item}): invalid syntax"))?;
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    if attachment.target.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(attachment)
}

/// Whether a word, an equals sign and a word are somewhere in it.
fn is_long(value: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    value.as_bytes().windows(3).any(|it| is_word(it[0]) && it[1] == b'=' && is_word(it[2]))
}

/// Checks a link-layer address.
pub(crate) fn check_mac(text: &str) -> Result<(), String> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    let is_mac = matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|part| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit()));
    if is_mac { Ok(()) } else { Err(format!("{text} is not a valid mac address")) }
}

/// Whether a network mode names a network that a user made.
pub(crate) fn is_user_defined(mode: &str) -> bool {
    !matches!(mode, "default" | "bridge" | "host" | "none") && !mode.starts_with("container:")
}

impl Attachment {
    /// What the engine is asked for.
    pub(crate) fn settings(&self) -> Result<EndpointSettings, String> {
        if self.target.trim().is_empty() {
            return Err("no name set for network".into());
        }
        if !is_user_defined(&self.target) {
            if !self.aliases.is_empty() {
                return Err(
                    "network-scoped aliases are only supported for user-defined networks".into()
                );
            }
            if !self.links.is_empty() {
                return Err("links are only supported for user-defined networks".into());
            }
        }
        let has_addresses =
            !self.ipv4.is_empty() || !self.ipv6.is_empty() || !self.link_local_ips.is_empty();
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        if !self.mac_address.is_empty() {
            check_mac(&self.mac_address)?;
        }
        Ok(EndpointSettings {
            aliases: some(&self.aliases),
            links: some(&self.links),
            driver_opts: (!self.driver_opts.is_empty()).then(|| self.driver_opts.clone()),
            ipam_config: has_addresses.then(|| EndpointIpamConfig {
                ipv4_address: self.ipv4.clone(),
                ipv6_address: self.ipv6.clone(),
                link_local_ips: self.link_local_ips.clone(),
            }),
            mac_address: self.mac_address.clone(),
            gw_priority: self.gw_priority,
            ..EndpointSettings::default()
        })
    }
}
