//! Events.

use std::collections::BTreeMap;

use crate::go::wire;

wire! {
    /// Something that happened.
    EventMessage {
        /// As [`EventMessage::action`], for containers and images; until API 1.52.
        status: String = "status" omitempty,
        /// As [`Actor::id`]; until API 1.52.
        id: String = "id" omitempty,
        /// The container's image; until API 1.52.
        from: String = "from" omitempty,
        /// `container`, `image`, `volume`, `network`, `daemon` and so on.
        kind: String = "Type",
        /// `create`, `exec_create: ls` and so on.
        action: String = "Action",
        actor: Actor = "Actor",
        scope: String = "scope" omitempty,
        /// Seconds since 1970.
        time: i64 = "time" omitempty,
        /// Nanoseconds since 1970.
        time_nano: i64 = "timeNano" omitempty,
    }

    /// What it happened to.
    Actor {
        id: String = "ID",
        attributes: Option<BTreeMap<String, String>> = "Attributes",
    }
}
