//! Signals to us that go to the container instead, and the sizes of our terminal.

use ferry_api::query::{ContainerKillQuery, ResizeQuery};
use ferry_client::{Client, ClientError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::terminal;

/// The signals that are passed on.
const FORWARDED: [(i32, &str); 12] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (28, "WINCH"),
];

/// Passes our signals on to a container, for as long as it is polled.
#[derive(Debug)]
pub(crate) struct Forwarding {
    signals: Vec<(Signal, &'static str)>,
}

impl Forwarding {
    /// From now on the signals do not do to us what they usually do.
    pub(crate) fn start() -> Self {
        let listen = |(number, name)| Some((signal(SignalKind::from_raw(number)).ok()?, name));
        Self { signals: FORWARDED.into_iter().filter_map(listen).collect() }
    }

    /// Passes each signal on; never ends.
    pub(crate) async fn run(mut self, client: &Client, container: &str) {
        loop {
            let name = self.next().await;
            let query = ContainerKillQuery { signal: Some(name.to_owned()) };
            // A container that has just ended cannot take a signal; that is no fault.
            drop(client.container_kill(container, &query).await);
        }
    }

    async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|context| {
            for (signal, name) in &mut self.signals {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Whose terminal is resized.
#[derive(Debug, Clone)]
pub(crate) enum Resized {
    Container(String),
    Exec(String),
}

/// Tells the engine the size of our terminal, now and whenever it changes; never ends.
pub(crate) async fn follow_size(client: &Client, whose: &Resized) {
    let changes = signal(SignalKind::window_change());
    // Compat: what has just been started may not have its terminal yet.
    for attempt in 1..=10u32 {
        if resize(client, whose).await.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10) * attempt).await;
    }
    let Ok(mut changes) = changes else { return std::future::pending().await };
    while changes.recv().await.is_some() {
        drop(resize(client, whose).await);
    }
    std::future::pending::<()>().await;
}

/// Tells the engine the size of our terminal once.
pub(crate) async fn resize(client: &Client, whose: &Resized) -> Result<(), ClientError> {
    let Some((rows, columns)) = terminal::size() else { return Ok(()) };
    resize_to(client, whose, rows.into(), columns.into()).await
}

/// Tells the engine a size.
pub(crate) async fn resize_to(
    client: &Client,
    whose: &Resized,
    height: u32,
    width: u32,
) -> Result<(), ClientError> {
    let size = ResizeQuery { height, width };
    match whose {
        Resized::Container(id) => client.container_resize(id, &size).await,
        Resized::Exec(id) => client.exec_resize(id, &size).await,
    }
}
