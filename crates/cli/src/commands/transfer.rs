//! How a copy is shown: bars on a terminal, a line for each thing elsewhere.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ferry_api::ProgressMessage;
use ferry_api::progress::ProgressDetail;
use ferry_distribution::CopyEvent;
use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;

use super::progress::Display;
use crate::format::units::human_size;
use crate::{console, terminal};

/// How often a bar is drawn anew at most.
const EVERY: Duration = Duration::from_millis(100);

/// Shows copies on standard error.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Nothing is shown.
    is_quiet: bool,
    /// If it is a terminal.
    display: Option<Display>,
    /// When each blob's bar was last drawn.
    drawn: HashMap<Digest, Instant>,
}

impl Transfer {
    /// Shows copies, or is silent.
    pub(super) fn new(is_quiet: bool) -> Self {
        let width = terminal::columns(std::io::stderr());
        let display = width.map(|width| Display::new(Some(width)));
        Self { is_quiet, display, drawn: HashMap::new() }
    }

    /// Says something between two copies.
    pub(super) fn say(&mut self, text: &str) {
        if self.is_quiet {
            return;
        }
        match &mut self.display {
            Some(display) => console::talk(&display.show(&ProgressMessage::status(text))),
            None => console::complain(text),
        }
    }

    /// Shows what happens.
    pub(super) fn tell(&mut self, event: &CopyEvent) {
        if self.is_quiet {
            return;
        }
        let Some(display) = &mut self.display else {
            return console::complain(&line(event).unwrap_or_default());
        };
        if let CopyEvent::Progress { blob, bytes } = event {
            let now = Instant::now();
            let last = self.drawn.get(&blob.digest);
            let is_soon = last.is_some_and(|last| now.duration_since(*last) < EVERY);
            if is_soon && *bytes < blob.size {
                return;
            }
            self.drawn.insert(blob.digest.clone(), now);
        }
        console::talk(&display.show(&message(event)));
    }
}

/// What an event is about, and what is said of it.
fn state(event: &CopyEvent) -> (&Descriptor, &'static str) {
    match event {
        CopyEvent::Progress { blob, .. } => (blob, "Copying"),
        CopyEvent::Exists(blob) => (blob, "Already exists"),
        CopyEvent::Copied(blob) => (blob, "Copied"),
        CopyEvent::LeftOut(blob) => (blob, "Not distributable, left out"),
        CopyEvent::Manifest(manifest) => (manifest, "Manifest written"),
    }
}

/// An event for the terminal.
fn message(event: &CopyEvent) -> ProgressMessage {
    let (blob, status) = state(event);
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let detail = match event {
        CopyEvent::Progress { bytes, .. } => ProgressDetail {
            current: number(*bytes),
            total: number(blob.size),
            ..ProgressDetail::default()
        },
        _ => ProgressDetail::default(),
    };
    ProgressMessage {
        id: blob.digest.short().to_owned(),
        progress_detail: Some(detail),
        ..ProgressMessage::status(status)
    }
}

/// An event as a line; progress is none.
fn line(event: &CopyEvent) -> Option<String> {
    if matches!(event, CopyEvent::Progress { .. }) {
        return None;
    }
    let (blob, status) = state(event);
    let size = human_size(i64::try_from(blob.size).unwrap_or(i64::MAX), 4);
    Some(format!("{}: {status} ({size})", blob.digest.short()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_for_terminals() {
        let blob = Descriptor::new("t", Digest::sha256_of(b""), 2000);
        let progress = CopyEvent::Progress { blob: blob.clone(), bytes: 500 };
        let mut display = Display::new(Some(80));
        assert_eq!(line(&progress), None);
        assert!(display.show(&message(&progress)).contains("Copying     500B/2kB"));
        let copied = CopyEvent::Copied(blob);
        assert_eq!(line(&copied).unwrap(), "e3b0c44298fc: Copied (2kB)");
        // The same line, written again.
        assert!(display.show(&message(&copied)).starts_with("\x1b[1A\x1b[2K\r"));
    }
}
