//! From a snapshot to an inspection.

use std::collections::BTreeMap;

use ferry_api::{
    ContainerInspect, ContainerState, EndpointSettings, MountPoint, NetworkSettings,
    container::DriverData,
};
use ferry_engine::{ContainerSizes, ContainerSnapshot, EndpointView, spec::NetworkMode};

use crate::{
    convert::{networks, networks::Predefined, shown, shown::signed, times},
    facts::Facts,
};

/// Shows a container.
pub(crate) fn container(
    snapshot: &ContainerSnapshot,
    sizes: Option<ContainerSizes>,
    facts: &Facts,
) -> ContainerInspect {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let directory = text(&snapshot.files.directory);
    let execs: Vec<_> = snapshot.execs.iter().map(ToString::to_string).collect();
    ContainerInspect {
        id: snapshot.id.to_string(),
        created: times::written(snapshot.created),
        path: snapshot.path.clone(),
        args: snapshot.args.clone(),
        state: state(snapshot),
        image: snapshot.image_id.clone(),
        resolv_conf_path: text(&snapshot.files.resolv_conf),
        hostname_path: text(&snapshot.files.hostname),
        hosts_path: text(&snapshot.files.hosts),
        log_path: text(&snapshot.files.log),
        name: format!("/{}", snapshot.name),
        restart_count: snapshot.restart_count.into(),
        driver: facts.layer_driver.to_owned(),
        platform: snapshot.platform_os.clone(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        exec_ids: shown::filled(&execs),
        host_config: shown::host_config(&snapshot.spec.host, facts),
        graph_driver: DriverData {
            data: Some(BTreeMap::from([
                ("ID".to_owned(), snapshot.id.to_string()),
                ("UpperDir".to_owned(), format!("{directory}/upper")),
                ("WorkDir".to_owned(), format!("{directory}/work")),
            ])),
            name: facts.layer_driver.to_owned(),
        },
        size_rw: sizes.map(|sizes| signed(sizes.written)),
        size_root_fs: sizes.map(|sizes| signed(sizes.total)),
        mounts: snapshot.mounts.iter().map(mount_point).collect(),
        config: shown::config(snapshot, facts),
        network_settings: network_settings(snapshot, facts),
    }
}

fn state(snapshot: &ContainerSnapshot) -> ContainerState {
    ContainerState {
        status: snapshot.status().to_owned(),
        running: snapshot.is_running(),
        paused: snapshot.is_paused(),
        restarting: false,
        oom_killed: snapshot.oom_killed(),
        dead: snapshot.status() == "dead",
        pid: snapshot.pid().into(),
        exit_code: snapshot.exit_code().into(),
        error: snapshot.error().to_owned(),
        started_at: times::written_or_never(snapshot.started_at()),
        finished_at: times::written_or_never(snapshot.finished_at()),
        health: None,
    }
}

/// Shows a mount of a container.
pub(crate) fn mount_point(mount: &ferry_engine::MountPoint) -> MountPoint {
    let ferry_engine::MountPoint {
        kind,
        name,
        source,
        destination,
        driver,
        mode,
        writable,
        propagation,
    } = mount;
    MountPoint {
        kind: kind.name().to_owned(),
        name: name.clone(),
        source: source.clone(),
        destination: destination.clone(),
        driver: driver.clone(),
        mode: mode.clone(),
        read_write: *writable,
        propagation: propagation.clone(),
    }
}

fn network_settings(snapshot: &ContainerSnapshot, facts: &Facts) -> NetworkSettings {
    let mut settings = NetworkSettings {
        ports: Some(BTreeMap::new()),
        networks: endpoints(snapshot, facts),
        ..NetworkSettings::default()
    };
    let has_own = !matches!(snapshot.spec.host.network, NetworkMode::Container(_));
    if snapshot.is_running() && has_own {
        settings.sandbox_id = snapshot.id.to_string();
        settings.sandbox_key = format!("/proc/{}/ns/net", snapshot.pid());
    }
    if let Some(endpoint) = &snapshot.network {
        let EndpointView { endpoint_id, address, prefix_len, gateway, mac } = endpoint;
        settings.endpoint_id.clone_from(endpoint_id);
        settings.gateway = gateway.to_string();
        settings.ip_address = address.to_string();
        settings.ip_prefix_len = i64::from(*prefix_len);
        settings.mac_address = networks::mac(*mac);
    }
    settings
}

/// The networks of a container, by name.
pub(crate) fn endpoints(
    snapshot: &ContainerSnapshot,
    facts: &Facts,
) -> BTreeMap<String, EndpointSettings> {
    let name = match &snapshot.spec.host.network {
        NetworkMode::Default | NetworkMode::Bridge => "bridge",
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
        NetworkMode::Container(_) => return BTreeMap::new(),
        NetworkMode::Named(name) => name,
    };
    let mut settings = EndpointSettings::default();
    let has_run = snapshot.started_at().is_some();
    if has_run && let Some(network) = Predefined::find(name, &facts.bridge) {
        settings.network_id = network.id(&facts.bridge);
    }
    if let Some(endpoint) = &snapshot.network {
        let EndpointView { endpoint_id, address, prefix_len, gateway, mac } = endpoint;
        settings.mac_address = networks::mac(*mac);
        settings.endpoint_id.clone_from(endpoint_id);
        settings.gateway = gateway.to_string();
        settings.ip_address = address.to_string();
        settings.ip_prefix_len = i64::from(*prefix_len);
    }
    BTreeMap::from([(name.to_owned(), settings)])
}
