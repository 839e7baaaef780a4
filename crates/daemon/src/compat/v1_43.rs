//! What version 1.43 did otherwise.

use ferry_api::Operation;
use serde_json::{Map, Value, json};

use crate::compat::{Step, Version, each};

pub(super) const STEP: Step = Step {
    until: Version::minor(43),
    lifts: &[Operation::ContainerCreate],
    lift_request,
    lowers: &[
        Operation::ImageInspect,
        Operation::ImageList,
        Operation::SystemDataUsage,
        Operation::SystemInfo,
    ],
    lower_response,
};

/// Read-only did not reach mounts beneath a bind; health checks had no interval for the start.
fn lift_request(operation: Operation, body: &mut Value) {
    if operation != Operation::ContainerCreate {
        return;
    }
    if let Some(Value::Object(check)) = body.get_mut("Healthcheck") {
        check.shift_remove("StartInterval");
    }
    let mounts = body.get_mut("HostConfig").and_then(|host| host.get_mut("Mounts"));
    for mount in each(mounts) {
        let is_read_only_bind = mount.get("Type") == Some(&json!("bind"))
            && mount.get("ReadOnly") == Some(&json!(true));
        if is_read_only_bind {
            let options = mount.entry("BindOptions").or_insert_with(|| json!({}));
            if options.is_null() {
                *options = json!({});
            }
            options["ReadOnlyNonRecursive"] = json!(true);
        }
    }
}

/// Images had a virtual size; runtimes did not tell of their features.
fn lower_response(operation: Operation, body: &mut Value) {
    match operation {
        Operation::ImageInspect => body.as_object_mut().into_iter().for_each(add_virtual_size),
        Operation::ImageList => each(Some(body)).for_each(add_virtual_size),
        Operation::SystemDataUsage => each(body.get_mut("Images")).for_each(add_virtual_size),
        Operation::SystemInfo => {
            if let Some(Value::Object(runtimes)) = body.get_mut("Runtimes") {
                for runtime in runtimes.values_mut().filter_map(Value::as_object_mut) {
                    runtime.shift_remove("status");
                }
            }
        }
        _ => {}
    }
}

fn add_virtual_size(image: &mut Map<String, Value>) {
    if let Some(size) = image.get("Size").cloned() {
        image.insert("VirtualSize".to_owned(), size);
    }
}
