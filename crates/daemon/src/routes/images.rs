//! Images.

use std::sync::Arc;

use bytes::Bytes;
use ferry_api::{
    ProgressMessage,
    progress::ProgressDetail,
    query::{
        ImageCreateQuery, ImageHistoryQuery, ImageInspectQuery, ImageListQuery, ImageLoadQuery,
        ImageRemoveQuery, ImageTagQuery,
    },
};
use ferry_oci::{platform::Platform, reference::Reference};
use ferry_store::{ImportOptions, LoadProgress, Loaded};
use futures_util::stream;
use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    convert,
    http::{
        body,
        error::Failure,
        reply::{Reply, json_line},
        service::{Call, Target},
    },
};

/// Progress that waits for a slow client; more than that is passed over.
const QUEUED_MESSAGES: usize = 64;

/// Runs what blocks on a thread where that is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::internal(format!("a task failed: {error}")))
}

pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ImageListQuery::from_query)?;
    if query.manifests {
        return Err(Failure::not_implemented("ferry does not support the option manifests yet"));
    }
    let store = call.app.engine.store().clone();
    let images = blocking(move || store.images().list()).await??;
    let containers = call
        .app
        .engine
        .list(&ferry_engine::ListQuery { all: true, ..ferry_engine::ListQuery::default() })?;
    let images = convert::images::filtered(images, &query.filters)?;
    let summaries: Vec<_> = images
        .iter()
        .map(|image| {
            let users = containers.iter().filter(|one| one.image_id == image.id.as_str());
            convert::images::summary(image, i64::try_from(users.count()).unwrap_or(i64::MAX))
        })
        .collect();
    call.reply(&summaries)
}

/// Refuses to choose a platform; an image has one here.
fn refuse_platform(platform: Option<&String>) -> Result<(), Failure> {
    match platform {
        None => Ok(()),
        Some(_) => Err(Failure::not_implemented("ferry does not support the option platform yet")),
    }
}

pub(super) async fn inspect(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ImageInspectQuery::from_query)?;
    refuse_platform(query.platform.as_ref())?;
    if query.manifests {
        return Err(Failure::not_implemented("ferry does not support the option manifests yet"));
    }
    let image = find(&call).await?;
    call.reply(&convert::images::inspect(&image, &call.app.facts))
}

pub(super) async fn history(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ImageHistoryQuery::from_query)?;
    refuse_platform(query.platform.as_ref())?;
    let image = find(&call).await?;
    call.reply(&convert::images::history(&image))
}

async fn find(call: &Target) -> Result<ferry_store::Image, Failure> {
    let store = call.app.engine.store().clone();
    let name = call.name().to_owned();
    Ok(blocking(move || store.images().get(&name)).await??)
}

pub(super) async fn tag(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ImageTagQuery::from_query)?;
    let target = reference(query.repo.as_deref().unwrap_or_default(), query.tag.as_deref())?
        .ok_or_else(|| Failure::invalid("invalid reference format"))?;
    call.app.engine.tag(call.name(), target).await?;
    Ok(Reply::status(StatusCode::CREATED))
}

/// Puts a name together of a repository and a tag; an empty repository is no name.
fn reference(repository: &str, tag: Option<&str>) -> Result<Option<Reference>, Failure> {
    if repository.is_empty() {
        return Ok(None);
    }
    let invalid =
        |error: ferry_oci::reference::ParseReferenceError| Failure::invalid(error.to_string());
    let reference = Reference::parse(repository).map_err(invalid)?;
    let reference = match tag {
        Some(tag) => reference.with_tag(tag).map_err(invalid)?,
        None => reference.with_default_tag(),
    };
    if reference.digest().is_some() {
        return Err(Failure::invalid("refusing to create a tag with a digest reference"));
    }
    Ok(Some(reference))
}

pub(super) async fn remove(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ImageRemoveQuery::from_query)?;
    if !query.platforms.is_empty() {
        return Err(Failure::not_implemented("ferry does not support the option platforms yet"));
    }
    let prune = !query.no_prune;
    let removed = call.app.engine.image_remove(call.name(), query.force, prune).await?;
    call.reply(&convert::images::removed(removed))
}

/// Takes images in. Docker has sent the head before it looks; so all errors are in the stream.
pub(super) fn load(call: Call) -> Result<Reply, Failure> {
    let query = call.query(ImageLoadQuery::from_query)?;
    if !query.platform.is_empty() {
        return Err(Failure::not_implemented("ferry does not support the option platform yet"));
    }
    let is_quiet = query.quiet.unwrap_or(true);
    let (call, archive) = call.into_parts();
    let (sender, receiver) = mpsc::channel(QUEUED_MESSAGES);
    let app = Arc::clone(&call.app);
    call.app.handlers.spawn(async move {
        let progress = sender.clone();
        let on_progress = Box::new(move |step: LoadProgress| {
            let is_shown = !is_quiet || matches!(step, LoadProgress::Renamed { .. });
            if is_shown {
                // A client that is slow, or gone, misses this step.
                drop(progress.try_send(load_message(step)));
            }
        });
        let archive = body::reader(archive, &app.handlers);
        let messages = match app.engine.load(archive, on_progress).await {
            Ok(loaded) => loaded.into_iter().map(loaded_message).collect(),
            Err(error) => {
                tracing::debug!(%error, "load failed");
                vec![ProgressMessage::failure(error.to_string())]
            }
        };
        send(&sender, messages).await;
    });
    Ok(Reply::stream("application/json", lines(receiver)))
}

async fn send(sender: &mpsc::Sender<ProgressMessage>, messages: Vec<ProgressMessage>) {
    for message in messages {
        if sender.send(message).await.is_err() {
            return;
        }
    }
}

/// The lines of a progress stream.
fn lines(
    receiver: mpsc::Receiver<ProgressMessage>,
) -> impl futures_util::Stream<Item = Bytes> + Send + 'static {
    stream::unfold(receiver, |mut receiver| async move {
        let message = receiver.recv().await?;
        let mut line = json_line(&message).unwrap_or_default().to_vec();
        // Compat: these streams end their lines as HTTP does.
        if line.ends_with(b"\n") {
            line.truncate(line.len() - 1);
            line.extend_from_slice(b"\r\n");
        }
        Some((Bytes::from(line), receiver))
    })
}

fn load_message(step: LoadProgress) -> ProgressMessage {
    match step {
        LoadProgress::Layer { id, current, total } => {
            let detail = ProgressDetail {
                current: convert::shown::signed(current),
                total: convert::shown::signed(total),
                ..ProgressDetail::default()
            };
            ProgressMessage {
                progress: bar(current, total),
                progress_detail: Some(detail),
                id,
                ..ProgressMessage::status("Loading layer")
            }
        }
        LoadProgress::Renamed { reference, from } => ProgressMessage::stream(format!(
            "The image {} already exists, renaming the old one with ID {from} to empty string\n",
            reference.familiar()
        )),
    }
}

/// Draws Docker's bar, `[=====>    ]  1.2MB/3MB`, for clients that do not draw one.
fn bar(current: u64, total: u64) -> String {
    let size = |bytes: u64| human_size(bytes);
    if total == 0 || current > total {
        return format!("{:>8}", size(current));
    }
    let percent = current * 100 / total / 2;
    let filled = usize::try_from(percent).unwrap_or(50);
    let head = if filled < 50 { ">" } else { "" };
    format!(
        "[{}{head}{}] {:>8}/{}",
        "=".repeat(filled),
        " ".repeat(50 - filled - head.len()),
        size(current),
        size(total)
    )
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

fn loaded_message(loaded: Loaded) -> ProgressMessage {
    ProgressMessage::stream(match loaded {
        Loaded::Name { reference, image: _ } => {
            format!("Loaded image: {}\n", reference.familiar())
        }
        Loaded::Id(id) => format!("Loaded image ID: {id}\n"),
    })
}

/// Pulls, or imports.
pub(super) async fn create(call: Call) -> Result<Reply, Failure> {
    let query = call.query(ImageCreateQuery::from_query)?;
    let Some(source) = query.from_src.clone() else {
        let name = query.from_image.unwrap_or_default();
        return Err(Failure::not_found(format!(
            "cannot pull {name:?}: pulling from registries is not available yet; load an archive \
             with `docker load`, or make an image of files with `docker import`"
        )));
    };
    import(call, source, query).await
}

async fn import(call: Call, source: String, query: ImageCreateQuery) -> Result<Reply, Failure> {
    if source != "-" {
        return Err(Failure::not_implemented(
            "ferry does not support imports from an address yet; give it the archive itself",
        ));
    }
    let platform = match query.platform.as_deref() {
        None => None,
        Some(text) => {
            Some(text.parse::<Platform>().map_err(|error| Failure::invalid(error.to_string()))?)
        }
    };
    let options = ImportOptions {
        reference: reference(query.repo.as_deref().unwrap_or_default(), query.tag.as_deref())?,
        changes: query.changes,
        message: query.message.unwrap_or_default(),
        source,
        platform,
        created: convert::times::written(Timestamp::now()),
        engine_version: crate::VERSION.to_owned(),
    };
    let (call, archive) = call.into_parts();
    let archive = body::reader(archive, &call.app.handlers);
    let id = call.app.engine.import(archive, options).await?;
    let line = json_line(&ProgressMessage::status(id.to_string()))?;
    let mut line = line.trim_ascii_end().to_vec();
    line.extend_from_slice(b"\r\n");
    Ok(Reply::stream("application/json", stream::iter([Bytes::from(line)])))
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
        assert_eq!(bar(0, 100), format!("[>{}]       0B/100B", " ".repeat(49)));
        assert_eq!(bar(100, 100), format!("[{}]     100B/100B", "=".repeat(50)));
        assert_eq!(bar(5, 0), "      5B");
    }
}
