//! What version 1.24 did otherwise.

use ferry_api::Operation;
use serde_json::{Value, json};

use crate::compat::{Step, Version};

pub(super) const STEP: Step = Step {
    until: Version::minor(24),
    lifts: &[Operation::ContainerCreate],
    lift_request,
    lowers: &[Operation::SystemInfo],
    lower_response,
};

/// Clients removed their containers themselves.
fn lift_request(operation: Operation, body: &mut Value) {
    if operation == Operation::ContainerCreate
        && let Some(Value::Object(host)) = body.get_mut("HostConfig")
    {
        host.shift_remove("AutoRemove");
    }
}

/// Security options were bare names.
fn lower_response(operation: Operation, body: &mut Value) {
    if operation == Operation::SystemInfo
        && let Some(Value::Array(options)) = body.get_mut("SecurityOptions")
    {
        for option in options {
            let text = option.as_str().unwrap_or_default();
            let name = text.strip_prefix("name=").unwrap_or(text);
            *option = json!(name.split(',').next().unwrap_or_default());
        }
    }
}
