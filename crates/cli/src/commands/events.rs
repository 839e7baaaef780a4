//! `events`

use std::rc::Rc;

use ferry_api::EventMessage;
use ferry_api::query::EventsQuery;
use jiff::Timestamp;

use super::filters;
use super::logs::timestamp;
use crate::command_line::Matches;
use crate::console;
use crate::program::Cli;
use crate::report::Failure;
use crate::template::schema::typed;
use crate::template::{Mode, Template, Value};

/// `events`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let template = match matches.text("format") {
        "" => None,
        "json" => Some(parse("{{json .}}")?),
        text => Some(parse(text)?),
    };
    let now = Timestamp::now();
    let moment = |name: &str| match matches.value(name).filter(|text| !text.is_empty()) {
        Some(text) => timestamp(text, now).map(Some).map_err(Failure::plain),
        None => Ok(None),
    };
    let query =
        EventsQuery { since: moment("since")?, until: moment("until")?, filters: filters(matches) };
    let mut events = cli.client.events(&query).await?;
    while let Some(event) = events.next().await? {
        match &template {
            None => console::line(&line(&event))?,
            Some(template) => {
                let json = serde_json::to_value(&event)
                    .map_err(|error| Failure::plain(error.to_string()))?;
                // Docker hands its template a pointer.
                let message = Rc::new(typed(&json, "events.Message"));
                let message = Value::Ptr(Some(message), "events.Message".into());
                let mut text = String::new();
                template
                    .execute(&message, Mode::Plain, &mut text)
                    .map_err(|error| Failure::new(64, format!("Error parsing format: {error}")))?;
                console::line(&text)?;
            }
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<Template, Failure> {
    Template::parse(text)
        .map_err(|error| Failure::new(64, format!("Error parsing format: {error}")))
}

/// The line of an event for people.
fn line(event: &EventMessage) -> String {
    let nanoseconds = if event.time_nano == 0 {
        i128::from(event.time) * 1_000_000_000
    } else {
        i128::from(event.time_nano)
    };
    let stamp = Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let local = stamp.to_zoned(jiff::tz::TimeZone::system());
    let time = local.strftime("%Y-%m-%dT%H:%M:%S%.9f%:z").to_string();
    let time = time.strip_suffix("+00:00").map_or(time.clone(), |utc| format!("{utc}Z"));
    let attributes: Vec<String> = event
        .actor
        .attributes
        .iter()
        .flatten()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut text = format!("{time} {} {} {}", event.kind, event.action, event.actor.id);
    if !attributes.is_empty() {
        text.push_str(&format!(" ({})", attributes.join(", ")));
    }
    text
}
