//! What version 1.46 did otherwise.

use ferry_api::Operation;
use serde_json::Value;

use crate::compat::{Step, Version, unchanged};

pub(super) const STEP: Step = Step {
    until: Version::minor(46),
    lifts: &[],
    lift_request: unchanged,
    lowers: &[Operation::SystemInfo],
    lower_response,
};

/// `info` told of registries for artifacts that may not be distributed.
fn lower_response(operation: Operation, body: &mut Value) {
    if operation == Operation::SystemInfo
        && let Some(Value::Object(registries)) = body.get_mut("RegistryConfig")
    {
        for field in
            ["AllowNondistributableArtifactsCIDRs", "AllowNondistributableArtifactsHostnames"]
        {
            registries.insert(field.to_owned(), Value::Null);
        }
    }
}
