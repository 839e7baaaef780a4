//! What version 1.41 did otherwise.

use ferry_api::Operation;
use serde_json::{Value, json};

use crate::compat::{Step, Version, each, unchanged};

pub(super) const STEP: Step = Step {
    until: Version::minor(41),
    lifts: &[Operation::ContainerCreate, Operation::ContainerExec, Operation::ExecStart],
    lift_request,
    lowers: &[],
    lower_response: unchanged,
};

/// Sizes of terminals were not told beforehand; options of other kinds of mounts were passed over.
fn lift_request(operation: Operation, body: &mut Value) {
    match operation {
        Operation::ContainerCreate => {
            let Some(Value::Object(host)) = body.get_mut("HostConfig") else { return };
            host.shift_remove("ConsoleSize");
            for mount in each(host.get_mut("Mounts")) {
                for (options, kind) in [("VolumeOptions", "volume"), ("TmpfsOptions", "tmpfs")] {
                    if mount.get("Type") != Some(&json!(kind)) {
                        mount.shift_remove(options);
                    }
                }
                if let Some(Value::Object(options)) = mount.get_mut("BindOptions") {
                    options.shift_remove("CreateMountpoint");
                }
            }
        }
        Operation::ContainerExec | Operation::ExecStart => {
            if let Some(exec) = body.as_object_mut() {
                exec.shift_remove("ConsoleSize");
            }
        }
        _ => {}
    }
}
