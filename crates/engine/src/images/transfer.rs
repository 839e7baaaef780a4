//! What a pull or a push tells while it runs.

use std::time::{Duration, Instant};

use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use tokio::sync::mpsc;

use crate::limits::PROGRESS_PERIOD;

/// Something that happened to a transfer.
#[derive(Debug, Clone, PartialEq)]
pub enum TransferEvent {
    /// A tag, or a whole name with a digest, is pulled.
    From {
        /// The tag, or the whole name.
        tag: String,
        /// The path of the repository: `library/busybox`.
        repository: String,
    },
    /// A layer has come further.
    Layer {
        /// Twelve digits of its digest: of the compressed form in a pull, of the diff id in a push.
        id: String,
        /// Where it is now.
        state: LayerState,
    },
    /// What the pulled name stands for.
    Digest(Digest),
    /// The pull is over.
    Status {
        /// Whether a name leads elsewhere now.
        newer: bool,
        /// What was asked for, as Docker shows it.
        name: String,
    },
    /// A push begins.
    To {
        /// The repository, as Docker shows it.
        repository: String,
    },
    /// A tag was pushed.
    Tagged {
        /// Which.
        tag: String,
        /// What it stands for.
        digest: Digest,
        /// Bytes of the manifest.
        size: u64,
    },
    /// Of an index only one manifest is pushed, for the others are not here.
    InsteadOfIndex {
        /// What the name stands for here.
        original: Box<Descriptor>,
        /// What is sent.
        selected: Box<Descriptor>,
    },
    /// A sentence for people.
    Note(String),
}

/// Where a layer is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerState {
    /// It is to be pulled.
    Fetching,
    /// Others go first.
    Waiting,
    /// Its bytes come in.
    Downloading {
        /// Bytes that are here.
        current: u64,
        /// Bytes that it has.
        total: u64,
    },
    /// All bytes are here, and their digest is computed.
    Verifying,
    /// All bytes are here.
    Downloaded,
    /// It is unpacked.
    Extracting {
        /// Compressed bytes that are unpacked.
        current: u64,
        /// Compressed bytes that it has.
        total: u64,
    },
    /// It is pulled.
    Complete,
    /// It need not be pulled.
    Exists,
    /// An attempt failed; there is a wait before the next. Told each second.
    Retrying {
        /// How long it is still.
        seconds: u64,
    },
    /// It is to be pushed.
    Preparing,
    /// The repository has it.
    PushExists,
    /// The registry took it from another of its repositories.
    Mounted {
        /// The path of that repository.
        from: String,
    },
    /// Its bytes go out.
    Pushing {
        /// Bytes that were sent.
        current: u64,
        /// Bytes that it has.
        total: u64,
    },
    /// Its publisher does not want it distributed.
    Skipped,
    /// It is pushed.
    Pushed,
}

impl LayerState {
    /// What is told of a wait, or of its rest: whole seconds, the one that has begun too.
    pub(crate) fn retrying(wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::Retrying { seconds: seconds.max(1) }
    }
}

/// Where the events of a transfer go.
pub type Events = mpsc::Sender<TransferEvent>;

/// Tells of a transfer. A client that is gone hears nothing; that is no failure.
#[derive(Debug, Clone)]
pub(crate) struct Teller(Events);

impl Teller {
    pub(crate) fn new(events: Events) -> Self {
        Self(events)
    }

    /// Tells what must not be missed.
    pub(crate) async fn tell(&self, event: TransferEvent) {
        self.0.send(event).await.ok();
    }

    /// Tells of a layer what must not be missed.
    pub(crate) async fn layer(&self, id: &str, state: LayerState) {
        self.tell(TransferEvent::Layer { id: id.to_owned(), state }).await;
    }

    /// Tells of progress, which a slow client may miss.
    pub(crate) fn progress(&self, id: &str, state: LayerState) {
        self.0.try_send(TransferEvent::Layer { id: id.to_owned(), state }).ok();
    }
}

/// Lets one event of progress pass per period.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Option<Instant>);

impl Throttle {
    /// Whether it is time for the next; the first comes at once.
    pub(crate) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.0.is_none_or(|last| now.duration_since(last) >= PROGRESS_PERIOD);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_ten_times_a_second_at_most() {
        let mut throttle = Throttle::default();
        assert!(throttle.is_due());
        assert!(!throttle.is_due());
        throttle.0 = Instant::now().checked_sub(PROGRESS_PERIOD);
        assert!(throttle.is_due());
    }

    #[test]
    fn waits_are_told_in_seconds_that_have_begun() {
        let seconds = |millis| LayerState::retrying(Duration::from_millis(millis));
        for (millis, expect) in [(0, 1), (400, 1), (1000, 1), (1001, 2), (2300, 3), (5000, 5)] {
            assert_eq!(seconds(millis), LayerState::Retrying { seconds: expect }, "{millis}");
        }
    }

    #[tokio::test]
    async fn a_slow_client_misses_progress_and_nothing_else() {
        let (events, mut heard) = mpsc::channel(1);
        let teller = Teller::new(events);
        teller.layer("a", LayerState::Fetching).await;
        teller.progress("a", LayerState::Downloading { current: 1, total: 2 });
        let told = tokio::join!(teller.layer("a", LayerState::Complete), async {
            let mut states = Vec::new();
            while states.len() < 2 {
                if let Some(TransferEvent::Layer { state, .. }) = heard.recv().await {
                    states.push(state);
                }
            }
            states
        });
        assert_eq!(told.1, [LayerState::Fetching, LayerState::Complete]);
        drop(heard);
        teller.layer("a", LayerState::Complete).await;
    }
}
