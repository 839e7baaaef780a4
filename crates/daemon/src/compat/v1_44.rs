//! What version 1.44 did otherwise.

use ferry_api::{ContainerConfig, Operation};
use serde_json::Value;

use crate::compat::{Step, Version, unchanged};

pub(super) const STEP: Step = Step {
    until: Version::minor(44),
    lifts: &[],
    lift_request: unchanged,
    lowers: &[Operation::ImageInspect],
    lower_response,
};

/// An image told of the container that it was committed from.
fn lower_response(operation: Operation, body: &mut Value) {
    if operation == Operation::ImageInspect
        && let Ok(config) = serde_json::to_value(ContainerConfig::default())
    {
        body["ContainerConfig"] = config;
    }
}
