//! Which events fit a query.

use super::{Event, EventKind, EventQuery};
use crate::error::{EngineError, Result};

const KNOWN: [&str; 15] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
    "builder",
];

pub(super) fn check(query: &EventQuery) -> Result<()> {
    match query.filters.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        Some(name) => Err(EngineError::Invalid(format!("invalid filter '{name}'"))),
        None => Ok(()),
    }
}

pub(super) fn fits(query: &EventQuery, event: &Event) -> bool {
    if query.since.is_some_and(|since| event.time < since)
        || query.until.is_some_and(|until| event.time > until)
    {
        return false;
    }
    query.filters.iter().all(|(name, values)| values.is_empty() || fits_one(name, values, event))
}

fn fits_one(name: &str, values: &[String], event: &Event) -> bool {
    let any = |fits: &dyn Fn(&str) -> bool| values.iter().any(|value| fits(value));
    let attribute = |name: &str| event.attributes.get(name).map(String::as_str);
    // An actor by its id, the beginning of its id or its name.
    let actor = |kind: EventKind, value: &str| {
        event.kind == kind
            && (event.actor == value
                || attribute("name") == Some(value)
                || (value.len() >= 12 && event.actor.starts_with(value)))
    };
    match name {
        // Compat: `exec_create: cmd` is found by `exec_create`.
        "event" => any(&|value| {
            event.action == value
                || event.action.split_once(": ").is_some_and(|(action, _)| action == value)
        }),
        "type" => any(&|value| event.kind.name() == value),
        "scope" => any(&|value| value == "local"),
        "label" => values.iter().all(|value| match value.split_once('=') {
            Some((name, wanted)) => attribute(name) == Some(wanted),
            None => attribute(value).is_some(),
        }),
        "container" => any(&|value| actor(EventKind::Container, value)),
        "volume" => any(&|value| actor(EventKind::Volume, value)),
        "network" => any(&|value| actor(EventKind::Network, value)),
        "daemon" => any(&|value| actor(EventKind::Daemon, value)),
        "image" => any(&|value| {
            let named = |text: Option<&str>| {
                text.is_some_and(|text| text == value || without_tag(text) == value)
            };
            match event.kind {
                EventKind::Image => event.actor == value || named(attribute("name")),
                EventKind::Container => named(attribute("image")),
                EventKind::Volume | EventKind::Network | EventKind::Daemon | EventKind::Builder => {
                    false
                }
            }
        }),
        // Kinds of things that there are none of.
        _ => false,
    }
}

/// `busybox:latest` without the tag; a port of a registry is none.
fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;

    #[track_caller]
    fn check_filter(filters: &[(&str, &str)], expect: bool) {
        let event = Event {
            kind: EventKind::Container,
            action: "exec_create: sh -c true".to_owned(),
            actor: "0123456789abcdef".to_owned(),
            attributes: [("name", "web"), ("image", "reg:5000/busybox:1"), ("tier", "front")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            time: Timestamp::UNIX_EPOCH,
        };
        let mut query = EventQuery { since: None, until: None, filters: BTreeMap::new() };
        for (name, value) in filters {
            query.filters.entry((*name).to_owned()).or_default().push((*value).to_owned());
        }
        assert_eq!(fits(&query, &event), expect, "{filters:?}");
    }

    #[test]
    fn events_are_found_by_what_they_are_about() {
        check_filter(&[], true);
        check_filter(&[("event", "exec_create")], true);
        check_filter(&[("event", "exec_create: sh -c true")], true);
        check_filter(&[("event", "exec_start"), ("event", "exec_create")], true);
        check_filter(&[("event", "exec")], false);
        check_filter(&[("container", "web")], true);
        check_filter(&[("container", "0123456789ab")], true);
        check_filter(&[("container", "0123")], false);
        check_filter(&[("image", "reg:5000/busybox")], true);
        check_filter(&[("image", "reg:5000/busybox:1")], true);
        check_filter(&[("image", "reg")], false);
        check_filter(&[("label", "tier=front"), ("label", "name")], true);
        check_filter(&[("label", "tier=front"), ("label", "gone")], false);
        check_filter(&[("type", "image")], false);
        check_filter(&[("type", "container"), ("container", "db")], false);
        check_filter(&[("scope", "local")], true);
    }
}
