//! Devices of the host that containers get: looked up by path.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use ferry_oci::runtime::DeviceType;

use crate::error::{EngineError, Result};
use crate::oci_spec::{BlockDevices, HostDevice};
use crate::spec::{ContainerSpec, DeviceMapping, Resources};

/// How deep directories of devices are.
const DEEPEST: usize = 16;

/// All devices of a container.
///
/// # Errors
/// In Docker's words when one is not there.
pub(crate) fn resolve(spec: &ContainerSpec) -> Result<Vec<HostDevice>> {
    let mut devices = Vec::new();
    if spec.host.privileged {
        walk(Path::new("/dev"), "/dev", "rwm", 0, &mut devices);
    }
    for mapping in &spec.host.devices {
        resolve_one(mapping, &mut devices)?;
    }
    Ok(devices)
}

fn resolve_one(mapping: &DeviceMapping, devices: &mut Vec<HostDevice>) -> Result<()> {
    let DeviceMapping { host_path, container_path, permissions } = mapping;
    let failed = |why: &str| {
        EngineError::broken(format!(
            "error gathering device information while adding custom device \"{host_path}\": {why}"
        ))
    };
    let inside = if container_path.is_empty() { host_path } else { container_path };
    let access = if permissions.is_empty() { "rwm" } else { permissions };
    let metadata = fs::metadata(host_path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed("no such file or directory"),
        _ => failed(&error.to_string()),
    })?;
    if let Some(device) = device(&metadata, inside, access) {
        devices.retain(|known| known.path != device.path);
        devices.push(device);
        return Ok(());
    }
    let before = devices.len();
    if metadata.is_dir() {
        walk(Path::new(host_path), inside, access, 0, devices);
    }
    if devices.len() == before { Err(failed("not a device node")) } else { Ok(()) }
}

/// All devices beneath a directory; what can not be read is left out.
fn walk(directory: &Path, inside: &str, access: &str, depth: usize, devices: &mut Vec<HostDevice>) {
    const SKIPPED: [&str; 9] =
        ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "core"];
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !SKIPPED.contains(name)) else { continue };
        let path = format!("{}/{name}", inside.trim_end_matches('/'));
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        if metadata.is_dir() && depth < DEEPEST {
            walk(&entry.path(), &path, access, depth + 1, devices);
        } else if let Some(device) = device(&metadata, &path, access) {
            devices.push(device);
        }
    }
}

fn device(metadata: &fs::Metadata, path: &str, access: &str) -> Option<HostDevice> {
    let kind = metadata.file_type();
    let kind = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => DeviceType::Character,
        (_, true) => DeviceType::Block,
        (false, false) => return None,
    };
    let number = metadata.rdev();
    Some(HostDevice {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    })
}

/// Numbers of the block devices that limits name.
///
/// # Errors
/// `Invalid` when one is not there.
pub(crate) fn block_devices(resources: &Resources) -> Result<BlockDevices> {
    let Resources {
        blkio_weight_device,
        blkio_read_bps,
        blkio_write_bps,
        blkio_read_iops,
        blkio_write_iops,
        ..
    } = resources;
    let throttles = [blkio_read_bps, blkio_write_bps, blkio_read_iops, blkio_write_iops];
    let paths = blkio_weight_device
        .iter()
        .map(|device| &device.path)
        .chain(throttles.into_iter().flatten().map(|device| &device.path));
    let mut numbers = BlockDevices::new();
    for path in paths {
        let metadata = fs::metadata(path).map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => error.to_string(),
            };
            EngineError::Invalid(format!("{path}: {why}"))
        })?;
        let number = metadata.rdev();
        let pair = (rustix::fs::major(number), rustix::fs::minor(number));
        numbers.insert(path.clone(), (pair.0.into(), pair.1.into()));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host_path: &str, container_path: &str, expect: &str) {
        let mut spec = ContainerSpec::default();
        spec.host.devices.push(DeviceMapping {
            host_path: host_path.to_owned(),
            container_path: container_path.to_owned(),
            permissions: String::new(),
        });
        let said = match resolve(&spec) {
            Ok(devices) => devices
                .iter()
                .map(|it| format!("{} {}:{} {}", it.path, it.major, it.minor, it.access))
                .collect::<Vec<_>>()
                .join(", "),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expect);
    }

    #[test]
    fn devices_are_found_by_path() {
        check("/dev/null", "", "/dev/null 1:3 rwm");
        check("/dev/null", "/dev/void", "/dev/void 1:3 rwm");
        check(
            "/dev/nonexistent",
            "",
            "error gathering device information while adding custom device \
             \"/dev/nonexistent\": no such file or directory",
        );
        check(
            "/proc/self",
            "",
            "error gathering device information while adding custom device \"/proc/self\": not a \
             device node",
        );
    }
}
