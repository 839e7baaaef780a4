//! Images.

use std::sync::Arc;

use ferry_api::{
    ProgressMessage,
    image::ImagesPruneReport,
    query::{
        ImageCreateQuery, ImageHistoryQuery, ImageInspectQuery, ImageListQuery, ImageLoadQuery,
        ImagePruneQuery, ImageRemoveQuery, ImageTagQuery,
    },
};
use ferry_engine::{ContainerSnapshot, ListQuery};
use ferry_oci::{platform::Platform, reference::Reference};
use ferry_store::{Image, ImageId, ImportOptions, LoadProgress, Loaded, Removal, StoreError};
use futures_util::stream;
use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    convert,
    http::{
        body,
        error::Failure,
        reply::Reply,
        service::{Call, Target},
    },
    routes::{progress, transfers},
};

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
    let store = call.app.engine.store().clone();
    let all = query.all;
    let images = move || {
        let mut images = store.images().list()?;
        // Further platforms of a name are shown with it.
        if !all {
            let parts = store.images().parts()?;
            images.retain(|image| !parts.contains(&image.id));
        }
        Ok::<_, StoreError>(images)
    };
    let images = convert::images::filtered(blocking(images).await??, &query.filters)?;
    let containers = containers(&call)?;
    let count = |image: &Image| {
        let users = containers.iter().filter(|one| one.image_id == image.id.as_str()).count();
        i64::try_from(users).unwrap_or(i64::MAX)
    };
    let mut summaries: Vec<_> =
        images.iter().map(|image| convert::images::summary(image, count(image))).collect();
    let (with_sizes, with_manifests) = (query.shared_size, query.manifests);
    if !with_sizes && !with_manifests {
        return call.reply(&summaries);
    }
    let store = call.app.engine.store().clone();
    let ids: Vec<ImageId> = images.into_iter().map(|image| image.id).collect();
    let more = blocking(move || {
        let usage = if with_sizes { store.usage()?.images } else { Vec::new() };
        let manifests = ids.iter().filter(|_| with_manifests).map(|id| store.manifests_of(id));
        Ok::<_, StoreError>((usage, ids.clone(), manifests.collect::<Result<Vec<_>, _>>()?))
    });
    let (usage, ids, manifests) = more.await??;
    for (summary, id) in summaries.iter_mut().zip(&ids) {
        let measured = usage.iter().find(|image| image.id == *id);
        summary.shared_size = measured.map_or(-1, |image| convert::shown::signed(image.shared));
    }
    for (summary, manifests) in summaries.iter_mut().zip(manifests) {
        summary.manifests = convert::images::manifests(manifests, &containers);
    }
    call.reply(&summaries)
}

fn containers(call: &Target) -> Result<Vec<Arc<ContainerSnapshot>>, Failure> {
    Ok(call.app.engine.list(&ListQuery { all: true, ..ListQuery::default() })?)
}

pub(super) async fn inspect(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ImageInspectQuery::from_query)?;
    if query.manifests && query.platform.is_some() {
        return Err(Failure::invalid(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    let platform = query.platform.as_deref().filter(|_| call.version.inspects_a_platform());
    let image = find(&call, platform).await?;
    let mut shown = convert::images::inspect(&image, &call.app.facts);
    if query.manifests {
        let store = call.app.engine.store().clone();
        let manifests = blocking(move || store.manifests_of(&image.id)).await??;
        shown.manifests = convert::images::manifests(manifests, &containers(&call)?);
    }
    call.reply(&shown)
}

pub(super) async fn history(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ImageHistoryQuery::from_query)?;
    let platform = query.platform.as_deref().filter(|_| call.version.archives_a_platform());
    let image = find(&call, platform).await?;
    call.reply(&convert::images::history(&image))
}

/// Finds the image that the path names; of several platforms, the one that is asked for.
async fn find(call: &Target, platform: Option<&str>) -> Result<Image, Failure> {
    let platform = convert::transfers::platform(platform)?;
    let store = call.app.engine.store().clone();
    let name = call.name().to_owned();
    let found = move || match platform {
        Some(platform) => store.images().get_for(&name, &platform),
        None => store.images().get(&name),
    };
    Ok(blocking(found).await??)
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
    let platforms = match call.version.removes_platforms() {
        true => convert::transfers::platforms(&query.platforms)?,
        false => Vec::new(),
    };
    let how = Removal { force: query.force, prune: !query.no_prune };
    let removed = call.app.engine.image_remove(call.name(), platforms, how).await?;
    call.reply(&convert::images::removed(removed))
}

/// Removes images that nobody names or uses.
pub(super) async fn prune(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ImagePruneQuery::from_query)?;
    let filter = convert::images::prune_filter(&query.filters)?;
    let pruned = call.app.engine.prune_images(filter).await?;
    let removed = convert::images::removed(pruned.removed);
    call.reply(&ImagesPruneReport {
        images_deleted: Some(removed).filter(|removed| !removed.is_empty()),
        space_reclaimed: pruned.bytes,
    })
}

/// Takes images in. Docker has sent the head before it looks; so all errors are in the stream.
pub(super) fn load(call: Call) -> Result<Reply, Failure> {
    let query = call.query(ImageLoadQuery::from_query)?;
    let is_quiet = query.quiet.unwrap_or(true);
    let (call, archive) = call.into_parts();
    let platform = match call.version.archives_a_platform() {
        true => convert::transfers::archived_platform(&query.platform)?,
        false => None,
    };
    let (sender, receiver) = mpsc::channel(progress::QUEUED_MESSAGES);
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
        let messages = match app.engine.load(archive, platform, on_progress).await {
            Ok(loaded) => loaded.into_iter().map(loaded_message).collect(),
            Err(error) => {
                tracing::debug!(%error, "load failed");
                vec![ProgressMessage::failure(error.to_string())]
            }
        };
        progress::send(&sender, messages).await;
    });
    Ok(Reply::stream("application/json", progress::lines(receiver)))
}

fn load_message(step: LoadProgress) -> ProgressMessage {
    match step {
        LoadProgress::Layer { id, current, total } => {
            progress::step("Loading layer", id, current, total)
        }
        LoadProgress::Renamed { reference, from } => ProgressMessage::stream(format!(
            "The image {} already exists, renaming the old one with ID {from} to empty string\n",
            reference.familiar()
        )),
    }
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
    // Compat: a name goes before an archive.
    match query.from_src.clone().filter(|_| query.from_image.is_none()) {
        Some(source) => import(call, source, query).await,
        None => transfers::pull(&call.target(), query).await,
    }
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
    let line = progress::progress_line(&ProgressMessage::status(id.to_string()));
    Ok(Reply::stream("application/json", stream::iter([line])))
}
