//! From a create request to what a container shall be.

use std::collections::BTreeMap;

use ferry_api::{
    ContainerConfig, ContainerCreateRequest, HealthConfig, NetworkingConfig, StrSlice,
};
use ferry_engine::{
    CreateRequest,
    spec::{ContainerSpec, EndpointOptions, HostOptions, NetworkMode, StopTimeout, Streams},
};

use crate::{
    config::Defaults,
    convert::{Faults, host},
    facts::Facts,
    http::error::Failure,
};

/// Converts a create request.
///
/// # Errors
///
/// All its faults, in Docker's words where Docker has some.
pub(crate) fn create_request(
    name: Option<String>,
    platform: Option<String>,
    request: ContainerCreateRequest,
    defaults: &Defaults,
    facts: &Facts,
) -> Result<CreateRequest, Failure> {
    let ContainerCreateRequest { config, host_config, networking_config } = request;
    if config == ContainerConfig::default() {
        return Err(Failure::invalid("config cannot be empty in order to create a container"));
    }
    let mut faults = Faults::default();
    let mac = config.mac_address.clone();
    let mut host =
        host::host_options(host_config.unwrap_or_default(), defaults, facts, &mut faults);
    host.endpoint = endpoint(&host.network, &mac, networking_config, &mut faults);
    let spec = container_spec(config, host, &mut faults);
    faults.finish(CreateRequest { name, spec, platform })
}

fn container_spec(
    config: ContainerConfig,
    host: HostOptions,
    faults: &mut Faults,
) -> ContainerSpec {
    let ContainerConfig {
        hostname,
        domainname,
        user,
        attach_stdin,
        attach_stdout,
        attach_stderr,
        exposed_ports,
        tty,
        open_stdin,
        stdin_once,
        env,
        cmd,
        healthcheck,
        // Of Windows alone.
        args_escaped: _,
        image,
        volumes,
        working_dir,
        entrypoint,
        network_disabled,
        // Part of the endpoint.
        mac_address: _,
        on_build,
        labels,
        stop_signal,
        stop_timeout,
        // Of builds alone.
        shell: _,
    } = config;
    faults.only_default("Healthcheck", healthcheck.is_none_or(|check| is_no_check(&check)));
    faults.only_default("NetworkDisabled", !network_disabled);
    ContainerSpec {
        image,
        entrypoint: entrypoint.map(|StrSlice(list)| list),
        command: cmd.map(|StrSlice(list)| list),
        env: env.unwrap_or_default(),
        working_dir,
        user,
        hostname,
        domainname,
        streams: Streams {
            tty,
            open_stdin,
            stdin_once,
            attach_stdin,
            attach_stdout,
            attach_stderr,
        },
        labels: labels.unwrap_or_default(),
        volumes: volumes.unwrap_or_default().into_keys().collect(),
        exposed_ports: exposed_ports.into_keys().collect(),
        stop_signal: Some(stop_signal).filter(|signal| !signal.is_empty()),
        stop_timeout: stop_timeout.map(StopTimeout::from_seconds),
        on_build: on_build.unwrap_or_default(),
        host,
    }
}

/// Whether a health check asks for none; `NONE` takes away the image's, which is not run either.
fn is_no_check(check: &HealthConfig) -> bool {
    let HealthConfig { test, interval, timeout, start_period, start_interval, retries } = check;
    match test.as_slice() {
        [] => [*interval, *timeout, *start_period, *start_interval, *retries] == [0; 5],
        [first, ..] => first == "NONE",
    }
}

/// What is asked of the container's place in its network.
fn endpoint(
    mode: &NetworkMode,
    mac: &str,
    networking: Option<NetworkingConfig>,
    faults: &mut Faults,
) -> EndpointOptions {
    let mut mac = mac.to_owned();
    let NetworkingConfig { endpoints } = networking.unwrap_or_default();
    for (name, settings) in endpoints.unwrap_or_default() {
        let is_own =
            name == mode.to_string() || (mode.is_bridge() && NetworkMode::parse(&name).is_bridge());
        if !is_own {
            faults.unsupported(&format!("NetworkingConfig.EndpointsConfig[{name:?}]"));
            continue;
        }
        if !settings.mac_address.is_empty() {
            mac.clone_from(&settings.mac_address);
        }
        let field = |field: &str| format!("NetworkingConfig.EndpointsConfig[{name:?}].{field}");
        let ipam = settings.ipam_config.unwrap_or_default();
        let has_address = !(ipam.ipv4_address.is_empty()
            && ipam.ipv6_address.is_empty()
            && ipam.link_local_ips.is_empty());
        if has_address && mode.is_bridge() {
            faults.invalid(
                "invalid config for network bridge: invalid endpoint settings:\n* user specified IP address is supported on user defined networks only\n* user specified IP address is supported only when connecting to networks with user configured subnets",
            );
        } else {
            faults.only_default(&field("IPAMConfig"), !has_address);
        }
        faults.only_default(&field("Links"), is_empty_list(settings.links.as_ref()));
        if !is_empty_list(settings.aliases.as_ref()) && mode.is_bridge() {
            faults.invalid(
                "invalid config for network bridge: invalid endpoint settings:\nnetwork-scoped aliases are only supported for user-defined networks",
            );
        }
        faults.only_default(
            &field("DriverOpts"),
            settings.driver_opts.as_ref().is_none_or(BTreeMap::is_empty),
        );
        // Compat: what the engine itself fills in may come back, as from an inspect; it is ignored.
    }
    EndpointOptions { mac: if mac.is_empty() { None } else { faults.take(parse_mac(&mac)) } }
}

fn is_empty_list(list: Option<&Vec<String>>) -> bool {
    list.is_none_or(Vec::is_empty)
}

fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let invalid = || format!("invalid MAC address: {text}");
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_error| invalid())?;
    }
    if parts.next().is_some() { Err(invalid()) } else { Ok(mac) }
}

#[cfg(test)]
mod tests;
