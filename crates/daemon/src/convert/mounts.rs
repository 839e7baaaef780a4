//! `Binds`, `Mounts` and `Tmpfs`: what is to be mounted.

use std::collections::{BTreeMap, BTreeSet};

use ferry_api::{HostConfig, Mount, mount};
use ferry_engine::spec::{MountForm, MountRequest, MountSource, Propagation, Recursion};

use crate::convert::Faults;

/// Converts all that is to be mounted.
pub(crate) fn mount_requests(config: &HostConfig, faults: &mut Faults) -> Vec<MountRequest> {
    let mut requests = Vec::new();
    for text in config.binds.iter().flatten() {
        requests.extend(faults.take(bind(text, &config.volume_driver)));
    }
    for mount in &config.mounts {
        let request = long(mount, faults);
        requests.extend(faults.take(
            request.map_err(|why| format!("invalid mount config for type {:?}: {why}", mount.kind)),
        ));
    }
    for (target, options) in &config.tmpfs {
        let request = tmpfs(target, options);
        requests.extend(faults.take(request));
    }
    let mut targets = BTreeSet::new();
    for request in &requests {
        if !targets.insert(&request.target) {
            faults.invalid(format!("Duplicate mount point: {}", request.target));
        }
    }
    requests
}

/// Reads `source:target[:options]`, or a target alone.
fn bind(text: &str, volume_driver: &str) -> Result<MountRequest, String> {
    let invalid = || format!("invalid volume specification: '{text}'");
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match *parts.as_slice() {
        [target] if !target.is_empty() => ("", target, ""),
        [source, target] if !source.is_empty() && Mode::parse(target).is_none() => {
            (source, target, "")
        }
        [source, target, mode] if !source.is_empty() => (source, target, mode),
        _ => return Err(invalid()),
    };
    let mode = if mode.is_empty() {
        Mode::default()
    } else {
        Mode::parse(mode).ok_or_else(|| format!("invalid mode: {mode}"))?
    };
    let target = clean_target(target).map_err(|why| format!("{}: {why}", invalid()))?;
    let source = if source.starts_with('/') {
        if mode.no_copy.is_some() {
            return Err(format!("{}: 'copy' and 'nocopy' are for volumes only", invalid()));
        }
        MountSource::Bind {
            path: clean(source),
            propagation: mode.propagation,
            recursion: Recursion::Recursive,
            create_missing: true,
        }
    } else {
        if mode.propagation.is_some() {
            return Err(format!("{}: propagation is for binds only", invalid()));
        }
        MountSource::Volume {
            name: Some(source.to_owned()).filter(|name| !name.is_empty()),
            driver: volume_driver.to_owned(),
            driver_options: BTreeMap::new(),
            labels: BTreeMap::new(),
            no_copy: mode.no_copy.unwrap_or_default(),
            subpath: String::new(),
        }
    };
    let form = MountForm::Short(text.to_owned());
    Ok(MountRequest { target, source, read_only: mode.read_only, form })
}

/// What stands after the second colon.
#[derive(Default)]
struct Mode {
    read_only: bool,
    propagation: Option<Propagation>,
    no_copy: Option<bool>,
}

impl Mode {
    /// Words with commas between; of each group at most one.
    fn parse(text: &str) -> Option<Self> {
        let mut mode = Self::default();
        let mut groups = BTreeSet::new();
        for word in text.split(',') {
            let group = match word {
                "rw" => "access",
                "ro" => {
                    mode.read_only = true;
                    "access"
                }
                // SELinux labels, which are not there to be changed.
                "z" | "Z" => "label",
                "copy" => {
                    mode.no_copy = Some(false);
                    "copy"
                }
                "nocopy" => {
                    mode.no_copy = Some(true);
                    "copy"
                }
                "default" | "consistent" | "cached" | "delegated" => "consistency",
                _ => {
                    mode.propagation = Some(Propagation::parse(word)?);
                    "propagation"
                }
            };
            if !groups.insert(group) {
                return None;
            }
        }
        Some(mode)
    }
}

/// Reads an entry of `Mounts`.
fn long(mount: &Mount, faults: &mut Faults) -> Result<MountRequest, String> {
    let Mount {
        kind,
        source,
        target,
        read_only,
        consistency,
        bind_options,
        volume_options,
        image_options,
        tmpfs_options,
        cluster_options,
    } = mount;
    if target.is_empty() {
        return Err("field Target must not be empty".to_owned());
    }
    let target = clean_target(target)?;
    let strangers: [(&str, &str, bool); 5] = [
        ("BindOptions", "bind", bind_options.is_some()),
        ("VolumeOptions", "volume", volume_options.is_some()),
        ("ImageOptions", "image", image_options.is_some()),
        ("TmpfsOptions", "tmpfs", tmpfs_options.is_some()),
        ("ClusterOptions", "cluster", cluster_options.is_some()),
    ];
    for (field, owner, is_there) in strangers {
        if is_there && owner != kind.as_str() {
            return Err(format!("field {field} must not be specified"));
        }
    }
    let source = match kind.as_str() {
        "bind" => bind_source(source, bind_options.clone().unwrap_or_default())?,
        "volume" => volume_source(source, volume_options.clone().unwrap_or_default()),
        "tmpfs" => tmpfs_source(source, tmpfs_options.clone().unwrap_or_default())?,
        "image" | "cluster" | "npipe" => {
            faults.unsupported(&format!("mounts of type {kind:?}"));
            MountSource::Tmpfs { size: None, mode: None, options: Vec::new() }
        }
        _ => return Err("mount type unknown".to_owned()),
    };
    let form = MountForm::Long { consistency: consistency.clone() };
    Ok(MountRequest { target, source, read_only: *read_only, form })
}

fn bind_source(source: &str, options: mount::BindOptions) -> Result<MountSource, String> {
    let mount::BindOptions {
        propagation,
        non_recursive,
        create_mountpoint,
        read_only_non_recursive,
        read_only_force_recursive,
    } = options;
    if source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    if !source.starts_with('/') {
        return Err(format!("invalid mount path: '{source}' mount path must be absolute"));
    }
    let propagation = match propagation.as_str() {
        "" => None,
        word => Some(
            Propagation::parse(word).ok_or_else(|| format!("invalid propagation mode: {word}"))?,
        ),
    };
    let recursion = match (non_recursive, read_only_non_recursive, read_only_force_recursive) {
        (false, false, false) => Recursion::Recursive,
        (true, _, false) => Recursion::NonRecursive,
        (false, true, false) => Recursion::ReadOnlyNonRecursive,
        (false, false, true) => Recursion::ReadOnlyForceRecursive,
        (true, _, true) | (false, true, true) => {
            return Err(
                "mount options conflict: ReadOnlyForceRecursive with NonRecursive or ReadOnlyNonRecursive"
                    .to_owned(),
            );
        }
    };
    Ok(MountSource::Bind {
        path: clean(source),
        propagation,
        recursion,
        create_missing: create_mountpoint,
    })
}

fn volume_source(source: &str, options: mount::VolumeOptions) -> MountSource {
    let mount::VolumeOptions { no_copy, labels, subpath, driver_config } = options;
    let mount::Driver { name: driver, options } = driver_config.unwrap_or_default();
    MountSource::Volume {
        name: Some(source.to_owned()).filter(|name| !name.is_empty()),
        driver,
        driver_options: options,
        labels,
        no_copy,
        subpath,
    }
}

fn tmpfs_source(source: &str, options: mount::TmpfsOptions) -> Result<MountSource, String> {
    let mount::TmpfsOptions { size_bytes, mode, options } = options;
    if !source.is_empty() {
        return Err("field Source must not be specified".to_owned());
    }
    let size =
        u64::try_from(size_bytes).map_err(|_error| "size must not be negative".to_owned())?;
    let options = options.into_iter().map(|option| option.join("=")).collect();
    Ok(MountSource::Tmpfs {
        size: Some(size).filter(|size| *size != 0),
        mode: Some(mode).filter(|mode| *mode != 0),
        options,
    })
}

/// Reads an entry of `Tmpfs`: a target with the options of mount(8).
fn tmpfs(target: &str, text: &str) -> Result<MountRequest, String> {
    // Compat: dockerd words these faults without the kind.
    let target = clean_target(target)?;
    let options: Vec<String> =
        text.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    let read_only = options.iter().any(|option| option == "ro");
    Ok(MountRequest {
        target,
        source: MountSource::Tmpfs { size: None, mode: None, options },
        read_only,
        form: MountForm::Tmpfs(text.to_owned()),
    })
}

fn clean_target(target: &str) -> Result<String, String> {
    if !target.starts_with('/') {
        return Err(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    let target = clean(target);
    if target == "/" {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    Ok(target)
}

/// An absolute path without empty and dotted segments.
fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests;
