//! Which image of an index suits a platform.

use ferry_oci::manifest::Descriptor;
use ferry_oci::platform::Platform;

/// What an index has for a platform.
#[derive(Clone, Debug, PartialEq)]
pub enum Chosen<'a> {
    /// The member that suits best.
    Manifest(&'a Descriptor),
    /// Nothing.
    NoMatch {
        /// What it has images for, in the order of the index.
        offered: Vec<Platform>,
    },
}
