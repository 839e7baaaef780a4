//! From what was typed after `run` or `create` to what the engine is asked for.
//!
//! Pure but for the files that flags name; every message is Docker's.

mod host;

use std::collections::BTreeMap;

use ferry_api::{
    ContainerConfig, ContainerCreateRequest, Empty, EndpointSettings, HealthConfig,
    NetworkingConfig, StrSlice,
};

use crate::command_line::Matches;
use crate::options::lists::key_value;
use crate::options::networks::{self, Attachment};
use crate::options::{files, mounts, ports};

/// What surrounds the command line.
pub(crate) struct Surroundings<'a> {
    /// The client's environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Variables of the configured proxies.
    pub proxies: Vec<(String, String)>,
}

/// When the image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pull {
    Always,
    Missing,
    Never,
}

/// All that `run` and `create` do, decided.
#[derive(Debug)]
pub(crate) struct RunPlan {
    pub request: ContainerCreateRequest,
    pub name: Option<String>,
    pub platform: Option<String>,
    pub pull: Pull,
    pub quiet: bool,
    pub cidfile: Option<String>,
    pub detach: bool,
    pub sig_proxy: bool,
    pub detach_keys: Option<String>,
}

/// Makes sense of the words after the command.
pub(crate) fn plan(matches: &Matches, around: &Surroundings<'_>) -> Result<RunPlan, String> {
    refuse(matches, around)?;
    let pull = match matches.value("pull") {
        None | Some("missing" | "") => Pull::Missing,
        Some("always") => Pull::Always,
        Some("never") => Pull::Never,
        Some(other) => {
            return Err(format!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            ));
        }
    };
    let detach = matches.flag("detach");
    let parsed = Parsed::read(matches)?;
    let (ports, volumes) = (parsed.ports, parsed.volumes);
    let mut config = config(matches, around, ports.exposed, volumes.anonymous)?;
    let host_config =
        host::host_config(matches, volumes.binds, ports.bindings, parsed.networks.first())?;
    if detach {
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    }
    let endpoints = endpoints(matches, &parsed.networks)?;
    let value = |name: &str| matches.value(name).map(str::to_owned);
    Ok(RunPlan {
        request: ContainerCreateRequest {
            config,
            host_config: Some(host_config),
            networking_config: Some(NetworkingConfig { endpoints: Some(endpoints) }),
        },
        name: value("name").filter(|name| !name.is_empty()),
        platform: value("platform")
            .or_else(|| (around.variable)("DOCKER_DEFAULT_PLATFORM"))
            .filter(|platform| !platform.is_empty()),
        pull,
        quiet: matches.flag("quiet"),
        cidfile: value("cidfile").filter(|path| !path.is_empty()),
        detach,
        sig_proxy: matches.flag_or_true("sig-proxy"),
        detach_keys: value("detach-keys"),
    })
}

/// The flags that Docker knows on Windows only which were given, each with its refusal.
pub(crate) fn only_on_windows(matches: &Matches) -> Option<String> {
    const FLAGS: [&str; 4] = ["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"];
    let refusals: Vec<String> = FLAGS
        .iter()
        .filter(|flag| matches.is_given(flag))
        .map(|flag| {
            format!(
                "\"--{flag}\" is only supported on a Docker daemon running on windows, but the \
                 Docker daemon is running on linux"
            )
        })
        .collect();
    (!refusals.is_empty()).then(|| refusals.join("\n"))
}

/// Refuses by name what this client cannot do.
fn refuse(matches: &Matches, around: &Surroundings<'_>) -> Result<(), String> {
    if matches.flag("use-api-socket") {
        return Err("--use-api-socket is not supported yet".into());
    }
    let trusts = (around.variable)("DOCKER_CONTENT_TRUST").is_some_and(|value| value == "1")
        && !matches.is_given("disable-content-trust");
    if trusts || !matches.flag_or_true("disable-content-trust") {
        return Err("content trust is not supported: --disable-content-trust must be true".into());
    }
    Ok(())
}

/// The flags that are read before others, in Docker's order.
struct Parsed {
    volumes: Volumes,
    ports: ports::Ports,
    networks: Vec<Attachment>,
}

struct Volumes {
    binds: Vec<String>,
    anonymous: BTreeMap<String, Empty>,
}

impl Parsed {
    fn read(matches: &Matches) -> Result<Self, String> {
        let mac = matches.text("mac-address");
        if !mac.is_empty() {
            networks::check_mac(mac)?;
        }
        let swappiness = swappiness(matches);
        if swappiness != -1 && !(0..=100).contains(&swappiness) {
            return Err(format!(
                "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
            ));
        }
        let mut volumes = Volumes { binds: Vec::new(), anonymous: BTreeMap::new() };
        for spec in matches.list("volume") {
            match mounts::volume_spec(&spec)? {
                mounts::Volume::Anonymous => {
                    volumes.anonymous.insert(spec, Empty {});
                }
                mounts::Volume::Bind(bind) if volumes.binds.contains(&bind) => {}
                mounts::Volume::Bind(bind) => volumes.binds.push(bind),
            }
        }
        let ports = ports::ports(&matches.list("publish"), &matches.list("expose"))?;
        let networks = matches
            .list("network")
            .iter()
            .map(|value| networks::network(value))
            .collect::<Result<_, _>>()?;
        Ok(Self { volumes, ports, networks })
    }
}

fn swappiness(matches: &Matches) -> i64 {
    if matches.is_given("memory-swappiness") { matches.int("memory-swappiness") } else { -1 }
}

fn config(
    matches: &Matches,
    around: &Surroundings<'_>,
    exposed_ports: BTreeMap<String, Empty>,
    volumes: BTreeMap<String, Empty>,
) -> Result<ContainerConfig, String> {
    let attached = matches.list("attach");
    let attaches = |stream: &str| attached.iter().any(|it| it == stream);
    let interactive = matches.flag("interactive");
    let attach_stdin = attaches("stdin") || interactive;
    let (image, command) =
        matches.args.split_first().map_or(("", &[][..]), |(image, rest)| (image.as_str(), rest));
    let entrypoint = matches.value("entrypoint").map(|text| StrSlice(vec![text.to_owned()]));
    let text = |name: &str| matches.text(name).to_owned();
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    Ok(ContainerConfig {
        hostname: text("hostname"),
        domainname: text("domainname"),
        user: text("user"),
        attach_stdin,
        attach_stdout: attached.is_empty() || attaches("stdout"),
        attach_stderr: attached.is_empty() || attaches("stderr"),
        exposed_ports,
        tty: matches.flag("tty"),
        open_stdin: interactive,
        stdin_once: interactive && attach_stdin,
        env: some(environment(matches, around)?),
        cmd: some(command.to_vec()).map(StrSlice),
        healthcheck: health(matches)?,
        image: image.to_owned(),
        volumes: Some(volumes),
        working_dir: text("workdir"),
        entrypoint,
        labels: Some(labels(matches)?),
        stop_signal: text("stop-signal"),
        stop_timeout: matches.is_given("stop-timeout").then(|| matches.int("stop-timeout")),
        ..ContainerConfig::default()
    })
}

fn environment(matches: &Matches, around: &Surroundings<'_>) -> Result<Vec<String>, String> {
    let files = matches.list("env-file");
    let mut variables = files::key_values(&files, matches.list("env"), around.variable)?;
    let is_set = |name: &str, variables: &[String]| {
        variables.iter().any(|it| it.split('=').next() == Some(name))
    };
    for (name, value) in &around.proxies {
        if !is_set(name, &variables) {
            variables.push(format!("{name}={value}"));
        }
    }
    Ok(variables)
}

fn labels(matches: &Matches) -> Result<BTreeMap<String, String>, String> {
    let files = matches.list("label-file");
    let labels = files::key_values(&files, matches.list("label"), &|_name| None)?;
    Ok(labels.iter().map(|label| key_value(label)).collect())
}

fn health(matches: &Matches) -> Result<Option<HealthConfig>, String> {
    const NAMES: [&str; 5] = [
        "health-interval",
        "health-timeout",
        "health-retries",
        "health-start-period",
        "health-start-interval",
    ];
    let command = matches.text("health-cmd");
    let is_set = !command.is_empty() || NAMES.iter().any(|name| matches.int(name) != 0);
    if matches.flag("no-healthcheck") {
        if is_set {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(HealthConfig { test: vec!["NONE".into()], ..HealthConfig::default() }));
    }
    if !is_set {
        return Ok(None);
    }
    if let Some(name) = NAMES.iter().find(|name| matches.int(name) < 0) {
        return Err(format!("--{name} cannot be negative"));
    }
    let test = if command.is_empty() {
        Vec::new()
    } else {
        vec!["CMD-SHELL".to_owned(), command.to_owned()]
    };
    Ok(Some(HealthConfig {
        test,
        interval: matches.int("health-interval"),
        timeout: matches.int("health-timeout"),
        start_period: matches.int("health-start-period"),
        start_interval: matches.int("health-start-interval"),
        retries: matches.int("health-retries"),
    }))
}

/// The endpoints of all networks; flags such as `--ip` belong to the first.
fn endpoints(
    matches: &Matches,
    networks: &[Attachment],
) -> Result<BTreeMap<String, EndpointSettings>, String> {
    let mut endpoints = BTreeMap::new();
    if networks.is_empty() {
        let mut first = Attachment { target: "default".into(), ..Attachment::default() };
        apply_flags(matches, &mut first)?;
        endpoints.insert("default".to_owned(), first.settings()?);
        return Ok(endpoints);
    }
    let (mut has_user_defined, mut has_other) = (false, false);
    for (at, network) in networks.iter().enumerate() {
        if networks::is_user_defined(&network.target) {
            has_user_defined = true;
        } else {
            has_other = true;
        }
        let mut network = network.clone();
        if at == 0 {
            apply_flags(matches, &mut network)?;
        }
        let settings = network.settings()?;
        if endpoints.contains_key(&network.target) {
            return Err(format!("network {:?} is specified multiple times", network.target));
        }
        // Compat: a single network without options is named in the host configuration alone.
        if networks.len() > 1 || settings != EndpointSettings::default() {
            endpoints.insert(network.target, settings);
        }
    }
    if has_user_defined && has_other {
        return Err("conflicting options: cannot attach both user-defined and non-user-defined \
                    network-modes"
            .into());
    }
    Ok(endpoints)
}

fn apply_flags(matches: &Matches, network: &mut Attachment) -> Result<(), String> {
    let conflict = |one: &str, other: &str| {
        Err(format!("conflicting options: cannot specify both --{one} and per-network {other}"))
    };
    let aliases = matches.list("network-alias");
    let links = matches.list("link");
    let (ipv4, ipv6) = (matches.text("ip"), matches.text("ip6"));
    let mac = matches.text("mac-address").trim();
    let local = matches.list("link-local-ip");
    match () {
        () if !network.aliases.is_empty() && !aliases.is_empty() => {
            return conflict("network-alias", "alias");
        }
        () if !network.links.is_empty() && !links.is_empty() => return conflict("link", "links"),
        () if !network.ipv4.is_empty() && !ipv4.is_empty() => {
            return conflict("ip", "IPv4 address");
        }
        () if !network.ipv6.is_empty() && !ipv6.is_empty() => {
            return conflict("ip6", "IPv6 address");
        }
        () if !network.mac_address.is_empty() && !mac.is_empty() => {
            return conflict("mac-address", "MAC address");
        }
        () if !network.link_local_ips.is_empty() && !local.is_empty() => {
            return conflict("link-local-ip", "link-local IP addresses");
        }
        () => {}
    }
    let keep = |slot: &mut Vec<String>, list: Vec<String>| {
        if !list.is_empty() {
            *slot = list;
        }
    };
    keep(&mut network.aliases, aliases);
    if networks::is_user_defined(&network.target) {
        keep(&mut network.links, links);
    }
    keep(&mut network.link_local_ips, local);
    for (slot, value) in
        [(&mut network.ipv4, ipv4), (&mut network.ipv6, ipv6), (&mut network.mac_address, mac)]
    {
        if !value.is_empty() {
            value.clone_into(slot);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
