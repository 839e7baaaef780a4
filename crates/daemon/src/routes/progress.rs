//! Streams that report progress: their lines, and the bars that old clients show as they are.

use bytes::Bytes;
use ferry_api::{ProgressMessage, progress::ProgressDetail};
use futures_util::stream;
use tokio::sync::mpsc;

use crate::{convert, http::reply::json_line};

/// Progress that waits for a slow client; more than that is passed over.
pub(super) const QUEUED_MESSAGES: usize = 64;

/// Says how far something is.
pub(crate) fn step(status: &str, id: String, current: u64, total: u64) -> ProgressMessage {
    let detail = ProgressDetail {
        current: convert::shown::signed(current),
        total: convert::shown::signed(total),
        ..ProgressDetail::default()
    };
    ProgressMessage {
        progress: bar(current, total),
        progress_detail: Some(detail),
        id,
        ..ProgressMessage::status(status)
    }
}

/// Writes a message as these streams have it.
pub(super) fn progress_line(message: &ProgressMessage) -> Bytes {
    let mut line = json_line(message).unwrap_or_default().to_vec();
    // Compat: these streams end their lines as HTTP does.
    if line.ends_with(b"\n") {
        line.truncate(line.len() - 1);
        line.extend_from_slice(b"\r\n");
    }
    Bytes::from(line)
}

pub(super) async fn send(sender: &mpsc::Sender<ProgressMessage>, messages: Vec<ProgressMessage>) {
    for message in messages {
        if sender.send(message).await.is_err() {
            return;
        }
    }
}

/// The lines of a progress stream.
pub(super) fn lines(
    receiver: mpsc::Receiver<ProgressMessage>,
) -> impl futures_util::Stream<Item = Bytes> + Send + 'static {
    stream::unfold(receiver, |mut receiver| async move {
        let message = receiver.recv().await?;
        Some((progress_line(&message), receiver))
    })
}

/// Draws Docker's bar, `[=====>    ]  1.2MB/3MB`, for clients that do not draw one.
fn bar(current: u64, total: u64) -> String {
    let size = |bytes: u64| human_size(bytes);
    if total == 0 || current > total {
        return format!("{:>8}", size(current));
    }
    let percent = u128::from(current) * 100 / u128::from(total) / 2;
    let filled = usize::try_from(percent).unwrap_or(50);
    let (done, open) = ("=".repeat(filled), " ".repeat(50 - filled));
    format!("[{done}>{open}] {:>8}/{}", size(current), size(total))
}

/// Writes a size with four digits, as Docker does.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut size = u128::from(bytes) * 1000;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while size >= 1_000_000 {
        let Some(next) = units.next() else { break };
        unit = Some(next);
        size /= 1000;
    }
    // So many of the three digits after the point are beyond the fourth.
    let beyond = match size {
        0..10_000 => 1,
        10_000..100_000 => 10,
        _ => 100,
    };
    let rounded = (size + beyond / 2) / beyond * beyond;
    let fraction = format!("{:03}", rounded % 1000);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}{}", rounded / 1000, unit.unwrap_or(&"B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_digits_at_most() {
        for (bytes, expect) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (32_768, "32.77kB"),
            (557_056, "557.1kB"),
            (2_065_225, "2.065MB"),
            (10_240_000, "10.24MB"),
        ] {
            assert_eq!(human_size(bytes), expect, "{bytes}");
        }
    }

    #[test]
    fn a_bar_is_fifty_wide() {
        assert_eq!(bar(0, 100), format!("[>{}]       0B/100B", " ".repeat(50)));
        assert_eq!(bar(100, 100), format!("[{}>]     100B/100B", "=".repeat(50)));
        assert_eq!(bar(5, 0), "      5B");
    }
}
