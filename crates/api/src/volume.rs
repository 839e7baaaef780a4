//! Volumes.

use std::collections::BTreeMap;

use crate::go::wire;

wire! {
    /// A volume.
    Volume {
        created_at: String = "CreatedAt" omitempty,
        driver: String = "Driver",
        labels: Option<BTreeMap<String, String>> = "Labels",
        mountpoint: String = "Mountpoint",
        name: String = "Name",
        options: Option<BTreeMap<String, String>> = "Options",
        scope: String = "Scope",
        /// In `system df` only.
        usage_data: Option<VolumeUsage> = "UsageData" omitempty,
    }

    /// How much of a volume is used, and by how many.
    VolumeUsage {
        /// -1 is unknown.
        ref_count: i64 = "RefCount",
        /// Bytes; -1 is unknown.
        size: i64 = "Size",
    }

    /// What create is asked for.
    VolumeCreateRequest {
        driver: String = "Driver" omitempty,
        driver_opts: BTreeMap<String, String> = "DriverOpts" omitempty,
        labels: BTreeMap<String, String> = "Labels" omitempty,
        /// Empty is a random one.
        name: String = "Name" omitempty,
    }

    /// The answer to list.
    VolumeListResponse {
        volumes: Vec<Volume> = "Volumes",
        warnings: Option<Vec<String>> = "Warnings",
    }
}
