//! What the world is told, and who hears what.

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use hub::EventStream;
pub(crate) use hub::Hub;

mod filter;
mod hub;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// To what kind of thing.
    pub kind: EventKind,
    /// Docker's name for it, such as `die` or `exec_create: sh -c true`.
    pub action: String,
    /// To which: an id or name.
    pub actor: String,
    /// Docker's attributes; for a container its labels, `image` and `name` among them.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Timestamp,
}

/// Kinds of things that things happen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum EventKind {
    Container,
    Image,
    Volume,
    Network,
    Daemon,
    Builder,
}

impl EventKind {
    /// The word of the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Daemon => "daemon",
            Self::Builder => "builder",
        }
    }
}

/// Which events to hear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Those kept from this time on, before new ones.
    pub since: Option<Timestamp>,
    /// Until this time; the stream ends then.
    pub until: Option<Timestamp>,
    /// `container`, `image`, `volume`, `network`, `event`, `type`, `label`, `daemon`, `scope`, …:
    /// one value of each name must fit; of `label`, all.
    pub filters: BTreeMap<String, Vec<String>>,
}
