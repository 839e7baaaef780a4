//! Where events go: a ring of the past and a bounded queue for each listener.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use super::{Event, EventQuery, filter};
use crate::error::Result;
use crate::limits::{EVENTS_KEPT, EVENTS_QUEUED};

/// Where events go.
#[derive(Debug)]
pub(crate) struct Hub {
    /// The past. Its lock also orders publishing against subscribing, so that nothing is heard
    /// twice or not at all.
    kept: Mutex<VecDeque<Event>>,
    sender: broadcast::Sender<Event>,
}

impl Default for Hub {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(EVENTS_QUEUED);
        Self { kept: Mutex::default(), sender }
    }
}

impl Hub {
    /// Tells the world.
    pub(crate) fn publish(&self, event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == EVENTS_KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // An error says that nobody listens.
        drop(self.sender.send(event));
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub(crate) fn subscribe(&self, query: EventQuery) -> Result<EventStream> {
        filter::check(&query)?;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        // Compat: without `since` or `until` the past is not told.
        let past = match (query.since, query.until) {
            (None, None) => VecDeque::new(),
            _ => kept.iter().filter(|event| filter::fits(&query, event)).cloned().collect(),
        };
        drop(kept);
        Ok(EventStream { past, receiver, query })
    }
}

/// Events as they happen, those kept first.
#[derive(Debug)]
pub struct EventStream {
    past: VecDeque<Event>,
    receiver: broadcast::Receiver<Event>,
    query: EventQuery,
}

impl EventStream {
    /// The next event; `None` when the time of the query is over, or the engine ends.
    ///
    /// A listener that is too slow loses the oldest events, as with Docker.
    pub async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        loop {
            let received = match self.query.until {
                None => self.receiver.recv().await,
                Some(until) => {
                    let left = until.duration_since(jiff::Timestamp::now());
                    let left = std::time::Duration::try_from(left).ok()?;
                    tokio::time::timeout(left, self.receiver.recv()).await.ok()?
                }
            };
            match received {
                Ok(event) if filter::fits(&self.query, &event) => return Some(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "a listener to events is too slow");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::event::EventKind;

    fn event(action: &str, second: i64) -> Event {
        Event {
            kind: EventKind::Container,
            action: action.to_owned(),
            actor: "0123456789ab".to_owned(),
            attributes: BTreeMap::from([("name".to_owned(), "web".to_owned())]),
            time: Timestamp::from_second(second).unwrap(),
        }
    }

    #[tokio::test]
    async fn the_past_is_told_only_when_asked_for() {
        let hub = Hub::default();
        hub.publish(event("create", 10));
        hub.publish(event("start", 20));
        let since = Some(Timestamp::from_second(15).unwrap());
        let mut from_now = hub.subscribe(EventQuery::default()).unwrap();
        let mut from_then = hub.subscribe(EventQuery { since, ..EventQuery::default() }).unwrap();
        hub.publish(event("die", 30));
        assert_eq!(from_now.next().await.unwrap().action, "die");
        assert_eq!(from_then.next().await.unwrap().action, "start");
        assert_eq!(from_then.next().await.unwrap().action, "die");
    }

    #[tokio::test]
    async fn a_query_with_an_end_in_the_past_ends() {
        let hub = Hub::default();
        hub.publish(event("create", 10));
        hub.publish(event("start", 20));
        let until = Some(Timestamp::from_second(15).unwrap());
        let mut stream = hub.subscribe(EventQuery { until, ..EventQuery::default() }).unwrap();
        assert_eq!(stream.next().await.unwrap().action, "create");
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_and_goes_on() {
        let hub = Hub::default();
        let mut slow = hub.subscribe(EventQuery::default()).unwrap();
        for second in 0..i64::try_from(EVENTS_QUEUED).unwrap() + 10 {
            hub.publish(event("tick", second));
        }
        assert_eq!(slow.next().await.unwrap().time, Timestamp::from_second(10).unwrap());
    }
}
