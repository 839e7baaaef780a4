//! What version 1.42 did otherwise.

use ferry_api::Operation;
use serde_json::{Value, json};

use crate::compat::{Step, Version, each};

pub(super) const STEP: Step = Step {
    until: Version::minor(42),
    lifts: &[Operation::ContainerCreate],
    lift_request,
    lowers: &[Operation::ImageList],
    lower_response,
};

/// There were no annotations.
fn lift_request(operation: Operation, body: &mut Value) {
    if operation == Operation::ContainerCreate
        && let Some(Value::Object(host)) = body.get_mut("HostConfig")
    {
        host.shift_remove("Annotations");
    }
}

/// An image without digests had `null` for them.
fn lower_response(operation: Operation, body: &mut Value) {
    if operation == Operation::ImageList {
        for image in each(Some(body)) {
            if image.get("RepoDigests") == Some(&json!([])) {
                image.insert("RepoDigests".to_owned(), Value::Null);
            }
        }
    }
}
