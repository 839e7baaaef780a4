//! From a name to the image that a platform runs.

use bytes::Bytes;
use ferry_oci::manifest::Manifest;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use crate::registry::RawManifest;

/// An image as a registry has it: all but its layers.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What was asked for.
    pub name: Reference,
    /// What the name stands for: an index or a manifest.
    pub target: RawManifest,
    /// The index out of which the manifest was chosen; `target`, or one nested in it.
    pub index: Option<RawManifest>,
    /// The manifest of the image.
    pub manifest: RawManifest,
    /// The same, parsed.
    pub parsed: Manifest,
    /// The image's configuration; its digest and size are verified.
    pub config: Bytes,
    /// What the image runs on, as its configuration says.
    pub platform: Platform,
    /// Statements of the index about the manifest.
    pub attestations: Vec<RawManifest>,
}
