//! What version 1.48 did otherwise.

use ferry_api::Operation;
use serde_json::Value;

use crate::compat::{Step, Version, unchanged};

pub(super) const STEP: Step = Step {
    until: Version::minor(48),
    lifts: &[],
    lift_request: unchanged,
    lowers: &[Operation::SystemInfo],
    lower_response,
};

/// `info` did not tell of the firewall, and told which revisions of helpers were expected.
fn lower_response(operation: Operation, body: &mut Value) {
    if operation == Operation::SystemInfo
        && let Some(info) = body.as_object_mut()
    {
        info.shift_remove("FirewallBackend");
        for commit in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(Value::Object(commit)) = info.get_mut(commit)
                && let Some(id) = commit.get("ID").filter(|id| id.as_str() != Some("")).cloned()
            {
                commit.insert("Expected".to_owned(), id);
            }
        }
    }
}
