//! Creating a container.
//!
//! ```text
//! name reserved ─> image resolved ─> spec merged and checked ─> file system made ─> volumes made
//!       ─> working directory and volumes' content ─> record written ─> known to all
//! ```
//!
//! The record is written last: directories without a record are garbage for the next start. Until
//! then everything is undone when a later step fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferry_store::{Image, MountOptions};
use jiff::Timestamp;

use crate::driver::{self, Seed};
use crate::error::{EngineError, Result};
use crate::event::EventKind;
use crate::id::ContainerId;
use crate::inner::{Inner, store_error};
use crate::limits::SPEC_BYTES;
use crate::names;
use crate::phase::Phase;
use crate::registry::Reservation;
use crate::request::{CreateRequest, Created, VolumeRequest};
use crate::snapshot::{ContainerFiles, ContainerSnapshot, MountPoint};
use crate::spec::{
    ContainerSpec, IpcMode, LogDriver, MountKind, MountSource, NetworkMode, PidMode, Propagation,
};

/// A container that is being created: dropped, it is undone.
struct Half<'a> {
    engine: &'a Arc<Inner>,
    id: ContainerId,
    anonymous_volumes: Vec<String>,
    finished: bool,
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.engine.volumes.let_go(&self.id);
        for volume in &self.anonymous_volumes {
            if let Err(error) = self.engine.volumes.remove(volume) {
                tracing::warn!(volume, %error, "a volume of a failed create stays");
            }
        }
        let removed = self.engine.store.remove_container_fs(self.id.as_str());
        if let Err(error) = removed.and_then(ferry_store::Discarded::delete) {
            tracing::warn!(%error, "files of a failed create are left to the next start");
        }
    }
}

/// Creates a container; in a task that is finished in any case.
pub(crate) async fn create(engine: Arc<Inner>, request: CreateRequest) -> Result<Created> {
    let id = ContainerId::random();
    let reservation = reserve(&engine, request.name.as_deref(), &id)?;
    engine.failpoint.pass("create.name-reserved");
    let inner = Arc::clone(&engine);
    let made = engine
        .blocking(move || {
            let image = choose_image(&inner, &request)?;
            make(&inner, id, reservation, request.spec, &image)
        })
        .await??;
    let (seed, warnings) = made;
    let id = seed.state.id.clone();
    let state = seed.state.clone();
    driver::spawn(&engine, seed);
    engine.tell(&state, "create", &[]);
    Ok(Created { id, warnings })
}

fn reserve(engine: &Arc<Inner>, name: Option<&str>, id: &ContainerId) -> Result<Reservation> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return engine.registry.reserve_any(id);
    };
    let name = name.strip_prefix('/').unwrap_or(name);
    match names::container_fault(name) {
        Some(fault) => Err(EngineError::Invalid(fault)),
        None => engine.registry.reserve(name, id),
    }
}

fn choose_image(engine: &Inner, request: &CreateRequest) -> Result<Image> {
    if request.spec.image.is_empty() {
        return Err(EngineError::invalid("Config cannot be empty in order to create a container"));
    }
    let image = engine.store.images().get(&request.spec.image).map_err(store_error)?;
    if let Some(wanted) = request.platform.as_deref().filter(|platform| !platform.is_empty()) {
        let has = image.config.platform().to_string();
        let mut parts = wanted.split('/');
        let os = parts.next().unwrap_or_default();
        let architecture = parts.next();
        let fits = image.config.os == os
            && architecture.is_none_or(|wanted| image.config.architecture == wanted);
        if !fits {
            return Err(EngineError::NotFound(format!(
                "image with reference {} was found but does not provide the specified platform \
                 ({wanted}): it is {has}",
                request.spec.image
            )));
        }
    }
    Ok(image)
}

fn make(
    engine: &Arc<Inner>,
    id: ContainerId,
    reservation: Reservation,
    mut spec: ContainerSpec,
    image: &Image,
) -> Result<(Seed, Vec<String>)> {
    spec.merge_image(&image.config.config);
    let mut warnings = spec.validate(&engine.facts)?;
    check_size(&spec)?;
    settle_names(engine, &mut spec, &id)?;
    spec.host.sysctls.retain(|name, _| !name.is_empty());
    add_volumes_from(engine, &mut spec)?;

    // The file system holds the image's layers from here on; an image that went away meanwhile is
    // not found.
    engine.store.create_container_fs(id.as_str(), Some(&image.id)).map_err(store_error)?;
    let mut half = Half { engine, id: id.clone(), anonymous_volumes: Vec::new(), finished: false };
    engine.failpoint.pass("create.filesystem-made");
    let (mounts, fresh) = mount_points(&mut half, &spec)?;
    engine.failpoint.pass("create.volumes-made");
    prepare_root(engine, &id, &spec, &mounts, &fresh)?;
    engine.failpoint.pass("create.prepared");

    let arguments = spec.arguments();
    let (path, args) = arguments
        .split_first()
        .map_or_else(|| (String::new(), Vec::new()), |(path, args)| (path.clone(), args.to_vec()));
    let state = ContainerSnapshot {
        id: id.clone(),
        name: reservation.name().to_owned(),
        created: Timestamp::now(),
        image_id: image.id.as_str().to_owned(),
        platform_os: image.config.os.clone(),
        path,
        args,
        phase: Phase::NEW,
        restart_count: 0,
        mounts: mounts.into(),
        network: None,
        execs: Vec::new(),
        files: files_of(engine, &id, &spec),
        spec: Arc::new(spec),
    };
    let seed = Seed {
        state,
        anonymous_volumes: half.anonymous_volumes.clone(),
        removes_volumes: false,
        live: None,
    };
    driver::put_record_now(engine, &seed)?;
    engine.failpoint.pass("create.recorded");
    half.finished = true;
    for volume in &half.anonymous_volumes {
        if let Err(error) = engine.volumes.record(volume) {
            // The container's record names it: the next start writes it.
            tracing::error!(volume, %error, "an anonymous volume is not recorded");
        }
    }
    engine.failpoint.pass("create.volumes-recorded");
    let _name = reservation.commit();
    warnings.sort();
    warnings.dedup();
    Ok((seed, warnings))
}

fn check_size(spec: &ContainerSpec) -> Result<()> {
    let words = spec.arguments().iter().chain(&spec.env).map(String::len).sum::<usize>();
    let labels = spec.labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if words + labels > SPEC_BYTES {
        return Err(EngineError::Invalid(format!(
            "arguments, variables and labels together are longer than {SPEC_BYTES} bytes"
        )));
    }
    Ok(())
}

/// The host name, and the ids of the containers that it joins.
fn settle_names(engine: &Inner, spec: &mut ContainerSpec, id: &ContainerId) -> Result<()> {
    // Compat: a container that is not there is a fault of the request, since 404 means the image.
    let full = |name: &str| -> Result<String> {
        let found = engine.registry.find(name);
        let found = found.map_err(|error| EngineError::Invalid(error.to_string()))?;
        Ok(found.id().as_str().to_owned())
    };
    // Compat: whose network it joins is only looked at when it starts.
    if let NetworkMode::Container(peer) = &mut spec.host.network
        && let Ok(found) = engine.registry.find(peer)
    {
        *peer = found.id().as_str().to_owned();
        spec.hostname = found.snapshot().spec.hostname.clone();
    }
    if let PidMode::Container(peer) = &mut spec.host.pid {
        *peer = full(peer)?;
    }
    if let IpcMode::Container(peer) = &mut spec.host.ipc {
        *peer = full(peer)?;
    }
    if spec.hostname.is_empty() {
        spec.hostname = match spec.host.network {
            NetworkMode::Host => engine.facts.hostname.clone(),
            _ => id.short().to_owned(),
        };
    }
    Ok(())
}

/// Takes over the mounts of other containers, as mounts of its own.
fn add_volumes_from(engine: &Inner, spec: &mut ContainerSpec) -> Result<()> {
    use crate::spec::{MountForm, MountRequest, Recursion};
    for text in spec.host.volumes_from.clone() {
        let (name, mode) = text.split_once(':').unwrap_or((&text, "rw"));
        if !matches!(mode, "ro" | "rw" | "z" | "Z") {
            return Err(EngineError::Invalid(format!("invalid mode: {mode}")));
        }
        let peer = engine.registry.find(name);
        let peer = peer.map_err(|error| EngineError::Invalid(error.to_string()))?.snapshot();
        for point in peer.mounts.iter() {
            if spec.host.mounts.iter().any(|mount| mount.target == point.destination) {
                continue;
            }
            let source = match point.kind {
                MountKind::Tmpfs => continue,
                MountKind::Volume => MountSource::Volume {
                    name: Some(point.name.clone()),
                    driver: String::new(),
                    driver_options: BTreeMap::new(),
                    labels: BTreeMap::new(),
                    no_copy: true,
                    subpath: String::new(),
                },
                MountKind::Bind => MountSource::Bind {
                    path: point.source.clone(),
                    propagation: Propagation::parse(&point.propagation),
                    recursion: Recursion::Recursive,
                    create_missing: false,
                },
            };
            spec.host.mounts.push(MountRequest {
                target: point.destination.clone(),
                source,
                read_only: mode == "ro" || !point.writable,
                form: MountForm::Implied,
            });
        }
    }
    Ok(())
}

/// What is mounted where; volumes are made. Also the volumes that may want the image's content.
fn mount_points(
    half: &mut Half<'_>,
    spec: &ContainerSpec,
) -> Result<(Vec<MountPoint>, Vec<String>)> {
    let mut points = Vec::new();
    let mut fresh = Vec::new();
    for request in &spec.host.mounts {
        let mode = request.mode_text();
        let point = match &request.source {
            MountSource::Bind { path, propagation, create_missing, .. } => {
                if !create_missing && !std::path::Path::new(path).exists() {
                    return Err(EngineError::Invalid(format!(
                        "invalid mount config for type \"bind\": bind source path does not exist: \
                         {path}"
                    )));
                }
                MountPoint {
                    kind: MountKind::Bind,
                    name: String::new(),
                    source: path.clone(),
                    destination: request.target.clone(),
                    driver: String::new(),
                    mode: mode.to_owned(),
                    writable: !request.read_only,
                    propagation: propagation.map_or("rprivate", Propagation::name).to_owned(),
                }
            }
            MountSource::Tmpfs { .. } => MountPoint {
                kind: MountKind::Tmpfs,
                name: String::new(),
                source: String::new(),
                destination: request.target.clone(),
                driver: String::new(),
                mode: String::new(),
                writable: !request.read_only,
                propagation: String::new(),
            },
            MountSource::Volume { name, labels, no_copy, .. } => {
                if !no_copy {
                    fresh.push(request.target.clone());
                }
                // Compat: a named volume is shown with the mode of a shared label.
                let mode = if name.is_some() && mode.is_empty() { "z" } else { mode };
                let name = name.clone().unwrap_or_default();
                volume_point(half, name, labels.clone(), &request.target, mode, !request.read_only)?
            }
        };
        points.push(point);
    }
    for path in &spec.volumes {
        let path = crate::spec::clean(path);
        if !points.iter().any(|point| point.destination == path) {
            fresh.push(path.clone());
            let labels = BTreeMap::new();
            points.push(volume_point(half, String::new(), labels, &path, "", true)?);
        }
    }
    Ok((points, fresh))
}

/// A volume, made if need be and held by the container.
fn volume_point(
    half: &mut Half<'_>,
    name: String,
    labels: BTreeMap<String, String>,
    target: &str,
    mode: &str,
    writable: bool,
) -> Result<MountPoint> {
    let engine = half.engine;
    let (volume, is_new) = if name.is_empty() {
        let volume = engine.volumes.create_for_container(labels, &half.id)?;
        half.anonymous_volumes.push(volume.name.clone());
        (volume, true)
    } else {
        let request = VolumeRequest { name, labels, ..VolumeRequest::default() };
        engine.volumes.create(request, Some(&half.id))?
    };
    if is_new {
        engine.tell_of(EventKind::Volume, "create", &volume.name, &[("driver", "local")]);
    }
    Ok(MountPoint {
        kind: MountKind::Volume,
        source: volume.mountpoint.display().to_string(),
        name: volume.name,
        destination: target.to_owned(),
        driver: "local".to_owned(),
        mode: mode.to_owned(),
        writable,
        propagation: String::new(),
    })
}

/// The working directory is made, and empty volumes get what the image has in their place. The root
/// is only mounted when there is something to do.
fn prepare_root(
    engine: &Inner,
    id: &ContainerId,
    spec: &ContainerSpec,
    mounts: &[MountPoint],
    fresh: &[String],
) -> Result<()> {
    use std::os::fd::AsFd as _;
    let wants_directory = !matches!(spec.working_dir.as_str(), "" | "/");
    if !wants_directory && fresh.is_empty() {
        return Ok(());
    }
    let options = MountOptions { volatile: spec.host.auto_remove };
    let root = engine.store.mount_container_fs(id.as_str(), options).map_err(store_error)?;
    driver::ensure_working_directory(&root, &spec.working_dir)?;
    for point in mounts.iter().filter(|point| fresh.contains(&point.destination)) {
        engine.volumes.fill(&point.name, root.as_fd(), &point.destination)?;
    }
    drop(root);
    if spec.host.auto_remove {
        // The start makes a working directory that a power failure took.
        engine.store.forget_volatile(id.as_str()).map_err(store_error)?;
    }
    Ok(())
}

/// Where the files are that are kept for a container.
pub(crate) fn files_of(engine: &Inner, id: &ContainerId, spec: &ContainerSpec) -> ContainerFiles {
    let directory = engine.store.container_dir(id.as_str());
    let log = match spec.host.log.driver {
        LogDriver::JsonFile => directory.join(format!("{id}-json.log")),
        LogDriver::None => std::path::PathBuf::new(),
    };
    ContainerFiles {
        resolv_conf: directory.join("resolv.conf"),
        hostname: directory.join("hostname"),
        hosts: directory.join("hosts"),
        log,
        directory,
    }
}
