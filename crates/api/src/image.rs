//! Images.

use std::collections::BTreeMap;

use crate::{
    Empty,
    container::{DriverData, HealthConfig},
    go::wire,
};

wire! {
    /// An image in a list.
    ImageSummary {
        /// -1 when it was not counted.
        containers: i64 = "Containers",
        /// Seconds since 1970.
        created: i64 = "Created",
        id: String = "Id",
        labels: Option<BTreeMap<String, String>> = "Labels",
        parent_id: String = "ParentId",
        repo_digests: Option<Vec<String>> = "RepoDigests",
        repo_tags: Option<Vec<String>> = "RepoTags",
        /// Bytes shared with other images; -1 when it was not computed.
        shared_size: i64 = "SharedSize",
        /// Bytes, unpacked.
        size: i64 = "Size",
        /// Until API 1.43.
        virtual_size: i64 = "VirtualSize" omitempty,
    }

    /// Everything about one image.
    ImageInspect {
        id: String = "Id",
        repo_tags: Vec<String> = "RepoTags",
        repo_digests: Vec<String> = "RepoDigests",
        parent: String = "Parent",
        comment: String = "Comment",
        created: String = "Created" omitempty,
        docker_version: String = "DockerVersion",
        author: String = "Author",
        architecture: String = "Architecture",
        variant: String = "Variant" omitempty,
        os: String = "Os",
        os_version: String = "OsVersion" omitempty,
        /// Bytes, unpacked.
        size: i64 = "Size",
        graph_driver: DriverData = "GraphDriver",
        root_fs: RootFs = "RootFS",
        metadata: ImageMetadata = "Metadata",
        config: ImageConfig = "Config",
    }

    /// The layers of an image, by the digest of what they hold.
    RootFs {
        kind: String = "Type" omitempty,
        layers: Vec<String> = "Layers" omitempty,
    }

    /// What is known of an image here only.
    ImageMetadata {
        /// `0001-01-01T00:00:00Z` is never.
        last_tag_time: String = "LastTagTime",
    }

    /// What an image runs; the daemon writes it in the order of its keys.
    ImageConfig {
        args_escaped: bool = "ArgsEscaped" omitempty,
        cmd: Option<Vec<String>> = "Cmd",
        entrypoint: Option<Vec<String>> = "Entrypoint",
        env: Option<Vec<String>> = "Env",
        exposed_ports: BTreeMap<String, Empty> = "ExposedPorts" omitempty,
        healthcheck: Option<HealthConfig> = "Healthcheck" omitempty,
        labels: Option<BTreeMap<String, String>> = "Labels",
        on_build: Option<Vec<String>> = "OnBuild",
        shell: Vec<String> = "Shell" omitempty,
        stop_signal: String = "StopSignal" omitempty,
        user: String = "User",
        volumes: Option<BTreeMap<String, Empty>> = "Volumes",
        working_dir: String = "WorkingDir",
    }

    /// One step of an image's history.
    HistoryItem {
        comment: String = "Comment",
        /// Seconds since 1970.
        created: i64 = "Created",
        created_by: String = "CreatedBy",
        /// `<missing>` for all but the newest.
        id: String = "Id",
        size: i64 = "Size",
        tags: Option<Vec<String>> = "Tags",
    }

    /// What removing an image took away; one of the two.
    DeleteResponseItem {
        deleted: String = "Deleted" omitempty,
        untagged: String = "Untagged" omitempty,
    }
}
