//! Mounts: as they are asked for, and as they are.

use std::collections::BTreeMap;

use crate::go::wire;

wire! {
    /// A mount that is asked for (`--mount`).
    Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe` or `cluster`.
        kind: String = "Type" omitempty,
        source: String = "Source" omitempty,
        target: String = "Target" omitempty,
        read_only: bool = "ReadOnly" omitempty,
        consistency: String = "Consistency" omitempty,
        bind_options: Option<BindOptions> = "BindOptions" omitempty,
        volume_options: Option<VolumeOptions> = "VolumeOptions" omitempty,
        image_options: Option<ImageOptions> = "ImageOptions" omitempty,
        tmpfs_options: Option<TmpfsOptions> = "TmpfsOptions" omitempty,
        cluster_options: Option<crate::Empty> = "ClusterOptions" omitempty,
    }

    /// Options of a bind mount.
    BindOptions {
        propagation: String = "Propagation" omitempty,
        non_recursive: bool = "NonRecursive" omitempty,
        create_mountpoint: bool = "CreateMountpoint" omitempty,
        /// Since API 1.44.
        read_only_non_recursive: bool = "ReadOnlyNonRecursive" omitempty,
        /// Since API 1.44.
        read_only_force_recursive: bool = "ReadOnlyForceRecursive" omitempty,
    }

    /// Options of a volume's mount.
    VolumeOptions {
        no_copy: bool = "NoCopy" omitempty,
        labels: BTreeMap<String, String> = "Labels" omitempty,
        /// Since API 1.45.
        subpath: String = "Subpath" omitempty,
        driver_config: Option<Driver> = "DriverConfig" omitempty,
    }

    /// Options of an image's mount; since API 1.48.
    ImageOptions {
        subpath: String = "Subpath" omitempty,
    }

    /// A volume driver and its options.
    Driver {
        name: String = "Name" omitempty,
        options: BTreeMap<String, String> = "Options" omitempty,
    }

    /// Options of a temporary file system.
    TmpfsOptions {
        size_bytes: i64 = "SizeBytes" omitempty,
        /// Permission bits.
        mode: u32 = "Mode" omitempty,
        /// Since API 1.46: names, or names with values.
        options: Vec<Vec<String>> = "Options" omitempty,
    }

    /// A mount as a container has it.
    MountPoint {
        kind: String = "Type" omitempty,
        name: String = "Name" omitempty,
        source: String = "Source",
        destination: String = "Destination",
        driver: String = "Driver" omitempty,
        mode: String = "Mode",
        read_write: bool = "RW",
        propagation: String = "Propagation",
    }
}
