//! Layers that are being fetched: one pull does it, others of the same layer watch.
//!
//! ```text
//! board ── nobody fetches it ──> Lead: fetches, publishes its states; dropped, the flight is over
//!       └─ somebody does ──────> Follow: hears the states; when they end, boards again
//! ```
//!
//! Who has watched finds the layer in the store then, or goes on where the other stopped: a pull
//! whose client went away takes nothing from those who want the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ferry_oci::digest::Digest;
use tokio::sync::watch;

use super::transfer::LayerState;

/// The layers that are being fetched, by the digest of their compressed form.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<Digest, watch::Receiver<LayerState>>>>);

/// What one who wants a layer is to do.
#[derive(Debug)]
pub(crate) enum Boarding {
    /// Fetch it.
    Lead(Arc<Lead>),
    /// Watch another who does.
    Follow(watch::Receiver<LayerState>),
}

/// The right to fetch a layer. It is held by all that work on it, threads too.
#[derive(Debug)]
pub(crate) struct Lead {
    flights: Flights,
    digest: Digest,
    states: watch::Sender<LayerState>,
}

impl Flights {
    /// Joins those who want a layer.
    pub(crate) fn board(&self, digest: &Digest) -> Boarding {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(states) = flights.get(digest) {
            return Boarding::Follow(states.clone());
        }
        let (states, watched) = watch::channel(LayerState::Fetching);
        flights.insert(digest.clone(), watched);
        let lead = Lead { flights: self.clone(), digest: digest.clone(), states };
        Boarding::Lead(Arc::new(lead))
    }
}

impl Lead {
    /// Shows those who watch how far it is.
    pub(crate) fn publish(&self, state: LayerState) {
        self.states.send_replace(state);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Order: it is off the list before those who watch hear that it is over.
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_watches_takes_over_when_the_first_gives_up() {
        let flights = Flights::default();
        let digest = Digest::sha256_of(b"layer");
        let Boarding::Lead(lead) = flights.board(&digest) else { panic!("nobody fetches it") };
        let Boarding::Follow(mut states) = flights.board(&digest) else { panic!("somebody does") };
        assert!(matches!(flights.board(&Digest::sha256_of(b"other")), Boarding::Lead(_)));
        lead.publish(LayerState::Waiting);
        states.changed().await.unwrap();
        assert_eq!(*states.borrow_and_update(), LayerState::Waiting);
        let thread = Arc::clone(&lead);
        drop(lead);
        assert!(matches!(flights.board(&digest), Boarding::Follow(_)), "a thread works on it");
        drop(thread);
        states.changed().await.unwrap_err();
        assert!(matches!(flights.board(&digest), Boarding::Lead(_)));
    }
}
