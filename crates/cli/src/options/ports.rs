//! `--publish` and `--expose`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ferry_api::Empty;
use ferry_api::network::{PortBinding, PortMap};

use crate::template::quote::quote;

/// Ports that are exposed, and where they are published.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ports {
    pub exposed: BTreeMap<String, Empty>,
    pub bindings: PortMap,
}

/// Reads all values of `--publish`, then those of `--expose`.
pub(crate) fn ports(published: &[String], exposed: &[String]) -> Result<Ports, String> {
    let mut ports = Ports::default();
    for spec in published {
        publish(&mut ports, &standard(spec)?)?;
    }
    for spec in exposed {
        expose(&mut ports, spec)?;
    }
    Ok(ports)
}

/// `published=8080,target=80,protocol=tcp` as `8080:80/tcp`.
fn standard(spec: &str) -> Result<String, String> {
    if !spec.contains('=') {
        return Ok(spec.into());
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in spec.split(',') {
        match field.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some((name, _)) if !name.is_empty() => {}
            _ => {
                return Err(format!(
                    "invalid publish opts format (should be name=value but got '{field}')"
                ));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// Splits `80/tcp`; the protocol is `tcp` unless it says otherwise.
fn split_protocol(port: &str) -> (&str, &str) {
    match port.split_once('/') {
        Some((number, "")) => (number, "tcp"),
        Some((number, protocol)) => (number, protocol),
        None => (port, "tcp"),
    }
}

fn range(text: &str) -> Result<(u64, u64), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".into());
    }
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        text.parse::<u64>()
            .ok()
            .filter(|number| is_number && *number <= 65535)
            .ok_or_else(|| format!("strconv.ParseUint: parsing {}: {why}", quote(text)))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((first, last))
}

fn publish(ports: &mut Ports, spec: &str) -> Result<(), String> {
    let mut parts = spec.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    let ip = parts.next().unwrap_or_default();
    let (container, protocol) = split_protocol(container);
    let ip = ip.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(ip);
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (first, last) =
        range(container).map_err(|_error| format!("invalid containerPort: {container}"))?;
    let mut host_range = None;
    if !host.is_empty() {
        let (from, to) = range(host).map_err(|_error| format!("invalid hostPort: {host}"))?;
        if last - first != to - from && last != first {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
        host_range = Some((from, to));
    }
    if !matches!(protocol.to_lowercase().as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    for port in first..=last {
        let host_port = match host_range {
            None => String::new(),
            Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
            Some((from, _)) => (from + port - first).to_string(),
        };
        let name = format!("{port}/{}", protocol.to_lowercase());
        ports.exposed.insert(name.clone(), Empty {});
        let binding = PortBinding { host_ip: ip.into(), host_port };
        ports.bindings.entry(name).or_default().get_or_insert_with(Vec::new).push(binding);
    }
    Ok(())
}

fn expose(ports: &mut Ports, spec: &str) -> Result<(), String> {
    if spec.contains(':') {
        return Err(format!("invalid port format for --expose: {spec}"));
    }
    let (port, protocol) = split_protocol(spec);
    let (first, last) = range(port)
        .map_err(|error| format!("invalid range format for --expose: {spec}, error: {error}"))?;
    for port in first..=last {
        ports.exposed.insert(format!("{port}/{protocol}"), Empty {});
    }
    Ok(())
}
