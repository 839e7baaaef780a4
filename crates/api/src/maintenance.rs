//! Our own additions to the API: looking over what is stored, and changing how layers are kept.

use std::collections::BTreeMap;

use crate::go::wire;

wire! {
    /// One thing that a scrub found; in `aux` of its stream.
    ScrubFinding {
        damage: Option<Damage> = "Damage",
    }

    /// Something stored that is not what it should be.
    Damage {
        /// `blob`, `manifest`, `config`, `layer`, `index`, `row` or `leak`.
        kind: String = "Kind",
        /// What is damaged; a path for a leak.
        digest: String = "Digest",
        problem: String = "Problem",
        /// Ids of the images that need it.
        images: Vec<String> = "Images",
        /// What became of it: `none`, `done`, `pulled`, `needs-pull`, `in-use`.
        repair: String = "Repair",
    }

    /// The last `aux` of a scrub's stream.
    ScrubReport {
        /// How many of each kind were looked at.
        checked: BTreeMap<String, i64> = "Checked",
        damaged: i64 = "Damaged",
        /// Of these, how many are in order now.
        repaired: i64 = "Repaired",
    }

    /// The last `aux` of the stream of a conversion.
    ConvertReport {
        /// The layers that are kept otherwise now.
        converted: i64 = "Converted",
        /// Those left as they are, since containers use them.
        in_use: i64 = "InUse",
        /// Those left as they are, since they are damaged.
        damaged: i64 = "Damaged",
    }
}
