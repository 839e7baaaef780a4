//! What goes out as an archive: images, and the files of a container.

use std::{io, sync::Arc};

use ferry_api::query::ImageSaveQuery;
use futures_util::{StreamExt as _, stream};

use crate::{
    convert::transfers as convert,
    http::{body, error::Failure, reply::Reply, service::Target},
};

/// Saves the images that the parameters name.
pub(super) async fn save_all(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(ImageSaveQuery::from_query)?;
    save(call, query.names, &query.platform).await
}

/// Saves the image that the path names.
pub(super) async fn save_one(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(ImageSaveQuery::from_query)?;
    save(call, vec![call.name().to_owned()], &query.platform).await
}

async fn save(call: &Target, names: Vec<String>, platform: &[String]) -> Result<Reply, Failure> {
    let platform = match call.version.archives_a_platform() {
        true => convert::archived_platform(platform)?,
        false => None,
    };
    let app = Arc::clone(&call.app);
    archive(
        call,
        "application/x-tar",
        |out| async move { app.engine.save(names, platform, out).await },
    )
    .await
}

/// Exports the files of a container.
pub(super) async fn export(call: &Target) -> Result<Reply, Failure> {
    let (app, name) = (Arc::clone(&call.app), call.name().to_owned());
    archive(
        call,
        "application/octet-stream",
        |out| async move { app.engine.export(&name, out).await },
    )
    .await
}

/// Answers with an archive while it is being written. What fails before its first byte is the
/// answer's status; after that the connection breaks off.
async fn archive<F>(
    call: &Target,
    content_type: &'static str,
    write: impl FnOnce(Box<dyn io::Write + Send>) -> F,
) -> Result<Reply, Failure>
where
    F: Future<Output = ferry_engine::Result<()>> + Send + 'static,
{
    let (out, mut receiver) = body::writer();
    let task = call.app.handlers.spawn(write(out));
    let Some(first) = receiver.recv().await else {
        return match task.await {
            Ok(Ok(())) => Ok(Reply::stream(content_type, stream::empty())),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(Failure::internal(format!("a task failed: {error}"))),
        };
    };
    let rest = stream::unfold((receiver, Some(task)), |(mut receiver, task)| async move {
        if let Some(piece) = receiver.recv().await {
            return Some((Ok(piece), (receiver, task)));
        }
        let error = match task?.await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => io::Error::other(error),
            Err(error) => io::Error::other(error),
        };
        tracing::warn!(%error, "an archive ends before it is complete");
        Some((Err(error), (receiver, None)))
    });
    Ok(Reply::fallible_stream(content_type, stream::iter([Ok(first)]).chain(rest)))
}
