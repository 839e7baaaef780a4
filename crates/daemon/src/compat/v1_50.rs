//! What version 1.50 did otherwise.

use ferry_api::Operation;
use serde_json::{Value, json};

use crate::compat::{Step, Version, each, unchanged};

pub(super) const STEP: Step = Step {
    until: Version::minor(50),
    lifts: &[],
    lift_request: unchanged,
    lowers: &[Operation::ImageList],
    lower_response,
};

/// A list of images did not count their containers.
fn lower_response(operation: Operation, body: &mut Value) {
    if operation == Operation::ImageList {
        for image in each(Some(body)) {
            image.insert("Containers".to_owned(), json!(-1));
        }
    }
}
