//! What version 1.39 did otherwise.

use ferry_api::Operation;
use serde_json::{Value, json};

use crate::compat::{Step, Version, each, unchanged};

pub(super) const STEP: Step = Step {
    until: Version::minor(39),
    lifts: &[Operation::ContainerCreate],
    lift_request,
    lowers: &[],
    lower_response: unchanged,
};

/// IPC could be shared by default; binds brought along what was mounted beneath them.
fn lift_request(operation: Operation, body: &mut Value) {
    if operation != Operation::ContainerCreate {
        return;
    }
    let Some(body) = body.as_object_mut() else { return };
    let host = body.entry("HostConfig").or_insert_with(|| json!({}));
    if host.is_null() {
        *host = json!({});
    }
    let Some(host) = host.as_object_mut() else { return };
    let mode = host.entry("IpcMode").or_insert_with(|| json!(""));
    if mode.is_null() || *mode == json!("") {
        *mode = json!("shareable");
    }
    host.shift_remove("KernelMemoryTCP");
    for mount in each(host.get_mut("Mounts")) {
        if let Some(Value::Object(options)) = mount.get_mut("BindOptions") {
            options.shift_remove("NonRecursive");
        }
    }
}
