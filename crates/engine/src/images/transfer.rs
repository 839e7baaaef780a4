//! What a pull or a push tells while it runs.

use std::collections::VecDeque;
use std::mem::discriminant;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::limits::{PROGRESS_PERIOD, TRANSFER_EVENTS};

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

/// Tells of a transfer. What is told of layers waits for no client, so that one which does not read
/// holds up nobody who wants the same layers; it hears only where each of them is in the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Teller(Arc<Untold>);

#[derive(Debug, Default)]
struct Untold {
    queue: Mutex<Queue>,
    /// There is more to be told, or nothing will be any more.
    more: Notify,
    /// Something was told.
    room: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<TransferEvent>,
    is_over: bool,
}

impl Teller {
    /// Does a transfer, and tells `events` of it until it is over and all is told, or it is cancelled.
    pub(crate) async fn told<F: Future>(
        events: Events,
        cancel: &CancellationToken,
        work: impl FnOnce(Self) -> F,
    ) -> F::Output {
        let teller = Self::default();
        let working = async {
            let output = work(teller.clone()).await;
            teller.end();
            output
        };
        let telling = async {
            tokio::select! {
                () = teller.forward(events) => {}
                () = cancel.cancelled() => {}
            }
            // Nobody waits for room any more.
            teller.end();
        };
        tokio::join!(working, telling).0
    }

    async fn forward(&self, events: Events) {
        loop {
            let (event, is_over) = {
                let mut queue = self.queue();
                (queue.events.pop_front(), queue.is_over)
            };
            let Some(event) = event else {
                if is_over {
                    return;
                }
                self.0.more.notified().await;
                continue;
            };
            self.0.room.notify_waiters();
            // A client that is gone hears nothing; that is no failure.
            if events.send(event).await.is_err() {
                return;
            }
        }
    }

    /// Tells what must not be missed, and waits for a client that has not read what was before it.
    pub(crate) async fn tell(&self, event: TransferEvent) {
        loop {
            let room = self.0.room.notified();
            {
                let mut queue = self.queue();
                if queue.is_over {
                    return;
                }
                if queue.events.len() < TRANSFER_EVENTS {
                    queue.events.push_back(event);
                    break;
                }
            }
            room.await;
        }
        self.0.more.notify_one();
    }

    /// Tells of a layer. When much is untold, it takes the place of what was told of it before.
    pub(crate) fn layer(&self, id: &str, state: LayerState) {
        let mut queue = self.queue();
        let is_full = queue.events.len() >= TRANSFER_EVENTS;
        match queue.last_of(id) {
            Some(last) if is_full => *last = state,
            _ => queue.add(id, state),
        }
        drop(queue);
        self.0.more.notify_one();
    }

    /// Tells of progress; older progress that is untold is forgotten.
    pub(crate) fn progress(&self, id: &str, state: LayerState) {
        let mut queue = self.queue();
        let is_full = queue.events.len() >= TRANSFER_EVENTS;
        match queue.last_of(id) {
            Some(last) if discriminant(last) == discriminant(&state) => *last = state,
            _ if is_full => return,
            _ => queue.add(id, state),
        }
        drop(queue);
        self.0.more.notify_one();
    }

    fn end(&self) {
        self.queue().is_over = true;
        self.0.more.notify_one();
        self.0.room.notify_waiters();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn last_of(&mut self, wanted: &str) -> Option<&mut LayerState> {
        self.events.iter_mut().rev().find_map(|event| match event {
            TransferEvent::Layer { id, state } if id == wanted => Some(state),
            _ => None,
        })
    }

    fn add(&mut self, id: &str, state: LayerState) {
        if !self.is_over {
            self.events.push_back(TransferEvent::Layer { id: id.to_owned(), state });
        }
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

    /// What a client hears that reads when the work is done.
    async fn heard<F: Future<Output = ()>>(work: impl FnOnce(Teller) -> F) -> Vec<TransferEvent> {
        let (events, mut heard) = mpsc::channel(1);
        let (done, is_done) = tokio::sync::oneshot::channel();
        let cancel = CancellationToken::new();
        let telling = Teller::told(events, &cancel, |teller| async move {
            work(teller).await;
            done.send(()).unwrap();
        });
        let reading = async {
            is_done.await.unwrap();
            let mut all = Vec::new();
            while let Some(event) = heard.recv().await {
                all.push(event);
            }
            all
        };
        tokio::join!(telling, reading).1
    }

    fn layer(id: &str, state: LayerState) -> TransferEvent {
        TransferEvent::Layer { id: id.to_owned(), state }
    }

    #[tokio::test]
    async fn a_slow_client_misses_older_progress_and_nothing_else() {
        let all = heard(|teller| async move {
            teller.layer("a", LayerState::Fetching);
            for current in 0..9 {
                teller.progress("a", LayerState::Downloading { current, total: 9 });
                teller.progress("b", LayerState::Downloading { current, total: 9 });
            }
            teller.layer("a", LayerState::Complete);
        });
        let last = LayerState::Downloading { current: 8, total: 9 };
        let expect = [
            layer("a", LayerState::Fetching),
            layer("a", last.clone()),
            layer("b", last),
            layer("a", LayerState::Complete),
        ];
        assert_eq!(all.await, expect);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_up_no_layer() {
        let all = heard(|teller| async move {
            for state in [LayerState::Fetching, LayerState::Downloaded, LayerState::Complete] {
                for id in 0..2 * TRANSFER_EVENTS {
                    teller.layer(&id.to_string(), state.clone());
                }
            }
        })
        .await;
        // Where each is in the end is told of all.
        assert_eq!(all.len(), 2 * TRANSFER_EVENTS);
        assert!(all[1..].iter().all(|event| {
            matches!(event, TransferEvent::Layer { state: LayerState::Complete, .. })
        }));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_client_that_is_gone_or_a_transfer_that_is_cancelled() {
        let fill = |teller: Teller| async move {
            for _ in 0..2 * TRANSFER_EVENTS {
                teller.tell(TransferEvent::Note(String::new())).await;
            }
        };
        let (events, heard) = mpsc::channel(1);
        drop(heard);
        Teller::told(events, &CancellationToken::new(), fill).await;
        let (events, _heard) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        cancel.cancel();
        Teller::told(events, &cancel, fill).await;
    }
}
