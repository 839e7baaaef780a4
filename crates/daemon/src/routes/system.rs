//! The engine itself.

use std::{collections::BTreeMap, fs, os::fd::AsFd as _};

use bytes::Bytes;
use ferry_api::{
    API_VERSION, DiskUsage, MIN_API_VERSION, SystemInfo, SystemVersion,
    query::DiskUsageQuery,
    system::{
        Component, FirewallBackend, IndexInfo, Platform, Plugins, RegistryConfig, Runtime,
        SwarmInfo,
    },
};
use ferry_distribution::Insecure;
use ferry_engine::ListQuery;
use ferry_store::StoreError;
use http::{HeaderValue, Response, header};
use jiff::Timestamp;
use rustix::fs::FileType;

use crate::{
    convert,
    convert::shown::{RUNTIME, signed},
    http::{
        body,
        error::Failure,
        reply::Reply,
        service::{Target, set_header},
    },
    routes::images::blocking,
};

/// Answers the question whether somebody is here.
pub(super) fn ping(with_body: bool) -> Reply {
    let text = if with_body { Bytes::from_static(b"OK") } else { Bytes::new() };
    let mut response = Response::new(body::full(text));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let mut reply = Reply::Response(response);
    for (name, value) in [
        // Compat: version 1 is the builder that this API itself has; clients would ask it to build.
        ("builder-version", "2"),
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("pragma", "no-cache"),
        ("swarm", "inactive"),
    ] {
        reply = set_header(reply, name, value);
    }
    reply
}

pub(super) fn version(call: &Target) -> Result<Reply, Failure> {
    let arch = go_arch();
    let kernel = call.app.facts.host.kernel.clone();
    let details = [
        ("ApiVersion", API_VERSION),
        ("Arch", arch),
        ("BuildTime", crate::BUILD_TIME),
        ("Experimental", "false"),
        ("GitCommit", crate::COMMIT),
        ("GoVersion", crate::COMPILER),
        ("KernelVersion", &kernel),
        ("MinAPIVersion", MIN_API_VERSION),
        ("Os", "linux"),
    ];
    let details: BTreeMap<_, _> =
        details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let component = |name: &str, details| Component {
        name: name.to_owned(),
        version: if name == "Engine" { crate::VERSION } else { crate::FERRY_VERSION }.to_owned(),
        details,
    };
    call.reply(&SystemVersion {
        platform: Platform { name: "Ferry".to_owned() },
        components: vec![
            component("Engine", details),
            component("ferry-runtime", BTreeMap::new()),
            component("ferry-supervisor", BTreeMap::new()),
        ],
        version: crate::VERSION.to_owned(),
        api_version: API_VERSION.to_owned(),
        min_api_version: MIN_API_VERSION.to_owned(),
        git_commit: crate::COMMIT.to_owned(),
        go_version: crate::COMPILER.to_owned(),
        os: "linux".to_owned(),
        arch: arch.to_owned(),
        kernel_version: kernel.clone(),
        experimental: false,
        build_time: crate::BUILD_TIME.to_owned(),
    })
}

pub(super) async fn info(call: &Target) -> Result<Reply, Failure> {
    let app = &call.app;
    let (facts, config) = (&app.facts, &app.config);
    let host = &facts.host;
    let counts = app.engine.counts();
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let store = app.engine.store().clone();
    let images = blocking(move || store.images().count()).await??;
    let networks = app.engine.networks().clone();
    let mut warnings = facts.warnings();
    warnings.extend(blocking(move || networks.warnings()).await?.unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot look for what is wrong with the networks");
        Vec::new()
    }));
    let limits = host.limits;
    call.reply(&SystemInfo {
        id: app.engine.id().to_owned(),
        containers: count(counts.containers),
        containers_running: count(counts.running),
        containers_paused: count(counts.paused),
        containers_stopped: count(counts.stopped),
        images: count(images),
        driver: facts.layer_driver.to_owned(),
        driver_status: vec![["Backing Filesystem".to_owned(), facts.backing_filesystem.to_owned()]],
        plugins: plugins(),
        memory_limit: limits.memory,
        swap_limit: limits.swap,
        cpu_cfs_period: limits.cpu_quota,
        cpu_cfs_quota: limits.cpu_quota,
        cpu_shares: limits.cpu_shares,
        cpu_set: limits.cpuset,
        pids_limit: limits.pids,
        ipv4_forwarding: is_forwarding(),
        debug: config.debug,
        n_fd: open_descriptors(),
        oom_kill_disable: limits.oom_kill_disable,
        n_goroutines: count(app.handlers.len() + app.connections.len()),
        system_time: convert::times::written(Timestamp::now()),
        logging_driver: config.defaults.log.driver.name().to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: if facts.cgroup.is_unified { "2" } else { "1" }.to_owned(),
        kernel_version: host.kernel.clone(),
        operating_system: facts.operating_system.clone(),
        os_version: facts.os_version.clone(),
        os_type: "linux".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: Some(registry_config(&config.registries)),
        http_proxy: hidden(config.registries.proxy.http.as_deref()),
        https_proxy: hidden(config.registries.proxy.https.as_deref()),
        no_proxy: config.registries.proxy.no_proxy.clone(),
        n_cpu: count(host.cpus),
        mem_total: signed(host.memory),
        docker_root_dir: config.data_root.to_string_lossy().into_owned(),
        name: facts.hostname.clone(),
        labels: config.labels.clone(),
        server_version: crate::VERSION.to_owned(),
        runtimes: BTreeMap::from([(
            RUNTIME.to_owned(),
            Runtime { path: RUNTIME.to_owned(), ..Runtime::default() },
        )]),
        default_runtime: RUNTIME.to_owned(),
        swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
        live_restore_enabled: true,
        init_binary: "ferry-init".to_owned(),
        security_options: security_options(facts.cgroup.is_unified),
        cdi_spec_dirs: Some(Vec::new()),
        warnings: convert::shown::filled(&warnings),
        firewall_backend: Some(FirewallBackend { driver: "nftables".to_owned(), info: Vec::new() }),
        ..SystemInfo::default()
    })
}

/// Compat: a container sees its own cgroups by default only where there is one hierarchy.
fn security_options(is_unified: bool) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    if is_unified {
        options.push("name=cgroupns".to_owned());
    }
    options
}

fn plugins() -> Plugins {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Plugins {
        volume: words(&["local"]),
        network: words(&["bridge", "host", "null"]),
        authorization: None,
        log: words(&["json-file", "none"]),
    }
}

fn registry_config(config: &ferry_distribution::RegistryConfig) -> RegistryConfig {
    let index = |name: &str, mirrors: &[String], official, secure| {
        let (name, mirrors) = (name.to_owned(), mirrors.to_vec());
        (name.clone(), IndexInfo { mirrors, name, official, secure })
    };
    let hub = index("docker.io", &config.mirrors, true, true);
    let (mut ranges, mut hosts) = (Vec::new(), vec![hub]);
    for insecure in &config.insecure {
        match insecure {
            Insecure::Net { .. } => ranges.push(insecure.to_string()),
            Insecure::Host(host) => hosts.push(index(host, &[], false, false)),
        }
    }
    // This machine itself is always one.
    ranges.extend(["::1/128", "127.0.0.0/8"].map(str::to_owned));
    RegistryConfig {
        index_configs: hosts.into_iter().collect(),
        insecure_registry_cidrs: ranges,
        mirrors: Some(config.mirrors.clone()).filter(|mirrors| !mirrors.is_empty()),
    }
}

/// A proxy's URL without its password, as Docker shows it.
pub(super) fn hidden(url: Option<&str>) -> String {
    let url = url.unwrap_or_default();
    let Some((before, host)) = url.rsplit_once('@') else { return url.to_owned() };
    let scheme =
        before.split_once("://").map_or_else(String::new, |(scheme, _)| format!("{scheme}://"));
    format!("{scheme}xxxxx:xxxxx@{host}")
}

fn is_forwarding() -> bool {
    let value = fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
    value.is_ok_and(|value| value.trim() == "1")
}

fn open_descriptors() -> i64 {
    let count = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The architecture in the words of Go.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(super) async fn disk_usage(call: &Target) -> Result<Reply, Failure> {
    let mut query = call.query(DiskUsageQuery::from_query)?;
    if !call.version.measures_by_type() {
        query.types.clear();
    }
    let known = ["container", "image", "volume", "build-cache"];
    if let Some(unknown) = query.types.iter().find(|kind| !known.contains(&kind.as_str())) {
        return Err(Failure::invalid(format!("unknown object type: {unknown}")));
    }
    let wants = |kind: &str| query.types.is_empty() || query.types.iter().any(|own| own == kind);
    let engine = &call.app.engine;
    let snapshots = engine.list(&ListQuery { all: true, ..ListQuery::default() })?;
    let mut usage = DiskUsage::default();
    if wants("image") {
        let store = call.app.engine.store().clone();
        let measured = blocking(move || Ok((store.images().list()?, store.usage()?)));
        let (images, of_images) =
            measured.await?.map_err(|error: StoreError| Failure::from(error))?;
        let shared: BTreeMap<_, _> =
            of_images.images.into_iter().map(|image| (image.id, image.shared)).collect();
        for image in &images {
            let users = snapshots.iter().filter(|one| one.image_id == image.id.as_str()).count();
            let mut summary = convert::images::summary(image, i64::try_from(users).unwrap_or(0));
            // An image that came meanwhile is not measured.
            summary.shared_size = shared.get(&image.id).map_or(-1, |shared| signed(*shared));
            usage.images.push(summary);
        }
        usage.layers_size = signed(of_images.layers_size);
    }
    if wants("container") {
        let now = Timestamp::now();
        for snapshot in &snapshots {
            let sizes = engine.sizes(snapshot).await?;
            let image = snapshot.spec.image.clone();
            usage.containers.push(convert::summary::container(
                snapshot,
                image,
                Some(sizes),
                now,
                &call.app.facts,
            ));
        }
    }
    if wants("volume") {
        for volume in engine.volumes(&BTreeMap::new())? {
            let directory = volume.mountpoint.clone();
            let size = blocking(move || directory_size(&directory)).await?;
            usage.volumes.push(convert::volumes::used_volume(&volume, size));
        }
    }
    call.reply(&usage)
}

/// Adds up the sizes of the files beneath a directory, as Docker does; what cannot be read is not
/// counted.
fn directory_size(directory: &std::path::Path) -> i64 {
    let mut total = 0_i64;
    let walked = fs::File::open(directory).map(|root| {
        ferry_sys::tree::walk(root.as_fd(), |found| {
            if let Ok(stat) = found
                && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
            {
                total = total.saturating_add(stat.st_size);
            }
        })
    });
    if !matches!(walked, Ok(Ok(()))) {
        tracing::debug!(directory = %directory.display(), "cannot be measured");
    }
    total
}
