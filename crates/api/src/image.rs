//! Images.

use std::collections::BTreeMap;

use ferry_oci::{manifest::Descriptor, platform::Platform};
use serde::{Deserialize, Serialize};

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
        /// What the name stands for. Since API 1.48.
        descriptor: Option<Descriptor> = "Descriptor" omitempty,
        /// When they were asked for. Since API 1.47.
        manifests: Vec<ManifestSummary> = "Manifests" omitempty,
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
        /// What the name stands for. Since API 1.48.
        descriptor: Option<Descriptor> = "Descriptor" omitempty,
        /// When they were asked for. Since API 1.48.
        manifests: Vec<ManifestSummary> = "Manifests" omitempty,
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

    /// What pruning took away.
    ImagesPruneReport {
        images_deleted: Option<Vec<DeleteResponseItem>> = "ImagesDeleted",
        /// Bytes.
        space_reclaimed: u64 = "SpaceReclaimed",
    }

    /// The answer to `POST /commit`.
    IdResponse {
        id: String = "Id",
    }

    /// Bytes of what belongs to a manifest.
    ManifestSize {
        /// Of its blobs that are here.
        content: i64 = "Content",
        /// Of all that is here.
        total: i64 = "Total",
    }

    /// Of a manifest that describes an image.
    ImageProperties {
        platform: Platform = "Platform",
        size: UnpackedSize = "Size",
        /// Ids of the containers of this image.
        containers: Vec<String> = "Containers",
    }

    /// Bytes of layers.
    UnpackedSize {
        /// In the form that containers use.
        unpacked: i64 = "Unpacked",
    }

    /// Of a manifest that states something.
    AttestationProperties {
        /// The digest of the manifest that it is about.
        about: String = "For",
    }

    /// What removing an image took away; one of the two.
    DeleteResponseItem {
        deleted: String = "Deleted" omitempty,
        untagged: String = "Untagged" omitempty,
    }
}

/// One manifest that an image's name leads to. Since API 1.47.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ManifestSummary {
    /// Its digest.
    #[serde(rename = "ID")]
    pub id: String,
    /// As the index has it.
    pub descriptor: Descriptor,
    /// Whether all that belongs to it is here.
    pub available: bool,
    /// Bytes that are here.
    pub size: ManifestSize,
    /// `image`, `attestation` or `unknown`.
    pub kind: String,
    /// Of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_data: Option<ImageProperties>,
    /// Of an attestation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation_data: Option<AttestationProperties>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_shown_as_docker_does() {
        let text = r#"{"ID":"sha256:1","Descriptor":{"mediaType":"t","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":9,"platform":{"architecture":"amd64","os":"linux"}},"Available":true,"Size":{"Content":5,"Total":7},"Kind":"image","ImageData":{"Platform":{"architecture":"amd64","os":"linux"},"Size":{"Unpacked":2},"Containers":["c"]}}"#;
        let summary: ManifestSummary = serde_json::from_str(text).unwrap();
        assert_eq!(summary.image_data.as_ref().unwrap().size.unpacked, 2);
        assert_eq!(serde_json::to_string(&summary).unwrap(), text);
    }
}
