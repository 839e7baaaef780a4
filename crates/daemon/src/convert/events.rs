//! Events.

use ferry_api::{Actor, EventMessage};
use ferry_engine::{Event, EventKind};

/// Writes an event, with the fields that Docker has for old clients.
pub(crate) fn message(event: Event) -> EventMessage {
    let Event { kind, action, actor, attributes, time } = event;
    let (status, id, from) = match kind {
        EventKind::Container => {
            (action.clone(), actor.clone(), attributes.get("image").cloned().unwrap_or_default())
        }
        EventKind::Image => (action.clone(), actor.clone(), String::new()),
        EventKind::Volume | EventKind::Network | EventKind::Daemon | EventKind::Builder => {
            Default::default()
        }
    };
    EventMessage {
        status,
        id,
        from,
        kind: kind.name().to_owned(),
        action,
        actor: Actor { id: actor, attributes: Some(attributes) },
        scope: "local".to_owned(),
        time: time.as_second(),
        time_nano: i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX),
    }
}
