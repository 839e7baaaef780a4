//! Volumes.

use ferry_api::{Volume, VolumeCreateRequest, volume::VolumeUsage};
use ferry_engine::VolumeRequest;

use crate::convert::times;

/// Converts a create request.
pub(crate) fn request(request: VolumeCreateRequest) -> VolumeRequest {
    let VolumeCreateRequest { driver, driver_opts, labels, name } = request;
    VolumeRequest { name, driver, options: driver_opts, labels }
}

/// Shows a volume.
pub(crate) fn volume(volume: &ferry_engine::Volume) -> Volume {
    let ferry_engine::Volume { name, created, labels, options, mountpoint, anonymous, users: _ } =
        volume;
    let mut labels = labels.clone();
    if *anonymous {
        labels.entry("com.docker.volume.anonymous".to_owned()).or_default();
    }
    // Compat: whole seconds, unlike everywhere else.
    let created = jiff::Timestamp::from_second(created.as_second()).unwrap_or(*created);
    Volume {
        created_at: times::written(created),
        driver: "local".to_owned(),
        labels: (!labels.is_empty()).then_some(labels),
        mountpoint: mountpoint.to_string_lossy().into_owned(),
        name: name.clone(),
        options: (!options.is_empty()).then(|| options.clone()),
        scope: "local".to_owned(),
        usage_data: None,
    }
}

/// Shows a volume with how much it is used.
pub(crate) fn used_volume(of: &ferry_engine::Volume, size_bytes: i64) -> Volume {
    let ref_count = i64::try_from(of.users).unwrap_or(i64::MAX);
    let usage = VolumeUsage { ref_count, size: size_bytes };
    Volume { usage_data: Some(usage), ..volume(of) }
}
