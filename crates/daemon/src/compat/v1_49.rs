//! What version 1.49 did otherwise.

use ferry_api::Operation;
use serde_json::{Map, Value, json};

use crate::compat::{Step, Version, unchanged};

pub(super) const STEP: Step = Step {
    until: Version::minor(49),
    lifts: &[],
    lift_request: unchanged,
    lowers: &[Operation::ImageInspect, Operation::SystemInfo],
    lower_response,
};

/// An image's configuration had all fields of a container's; `info` told of bridge filters.
fn lower_response(operation: Operation, body: &mut Value) {
    match operation {
        Operation::ImageInspect => {
            if let Some(Value::Object(config)) = body.get_mut("Config") {
                fill(config);
            }
        }
        Operation::SystemInfo => {
            body["BridgeNfIptables"] = json!(false);
            body["BridgeNfIp6tables"] = json!(false);
        }
        _ => {}
    }
}

/// Adds the fields that were of the container that was committed.
fn fill(config: &mut Map<String, Value>) {
    for flag in ["AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"] {
        config.entry(flag).or_insert(json!(false));
    }
    for text in ["Domainname", "Hostname", "Image"] {
        config.entry(text).or_insert(json!(""));
    }
    config.sort_keys();
}
