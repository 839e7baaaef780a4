//! Pulls and pushes: streams of what happens.

use std::sync::Arc;

use bytes::Bytes;
use ferry_api::{
    ProgressMessage,
    query::{ImageCreateQuery, ImagePushQuery},
};
use ferry_engine::{Events, PushRequest, TRANSFER_EVENTS, TransferEvent};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    convert::transfers as convert,
    http::{error::Failure, reply::Reply, service::Target},
    routes::progress::progress_line,
};

/// Fetches an image. A refusal that comes before anything is told is the answer's status.
pub(super) async fn pull(call: &Target, query: ImageCreateQuery) -> Result<Reply, Failure> {
    let credentials = convert::credentials(call.registry_auth());
    let request = convert::pull_request(query, credentials)?;
    let app = Arc::clone(&call.app);
    transfer(call, |events, cancel| async move { app.engine.pull(request, events, cancel).await })
        .await
}

/// Sends an image. Docker has sent the head before it looks; so all errors but those of the request
/// are in the stream.
pub(super) async fn push(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(ImagePushQuery::from_query)?;
    let name = convert::name(call.name())?;
    if name.digest().is_some() {
        return Err(Failure::invalid("cannot import digest reference"));
    }
    let name = match query.tag.as_deref() {
        None => name,
        Some(tag) => name.with_tag(tag).map_err(|error| Failure::invalid(error.to_string()))?,
    };
    let request = PushRequest {
        all_tags: name.tag().is_none(),
        name,
        platform: convert::platform(
            query.platform.as_deref().filter(|_| call.version.pushes_a_platform()),
        )?,
        credentials: convert::credentials(call.registry_auth()),
    };
    let app = Arc::clone(&call.app);
    transfer(call, |events, cancel| async move { app.engine.push(request, events, cancel).await })
        .await
}

/// Begins a transfer, and answers when it has told something; it ends when the client hangs up.
async fn transfer<F>(
    call: &Target,
    begin: impl FnOnce(Events, CancellationToken) -> F,
) -> Result<Reply, Failure>
where
    F: Future<Output = ferry_engine::Result<()>> + Send + 'static,
{
    let (events, mut receiver) = mpsc::channel(TRANSFER_EVENTS);
    // A daemon that stops waits for no registry.
    let cancel = call.gone.child_token();
    let task = call.app.handlers.spawn(begin(events, cancel.clone()));
    let guard = cancel.drop_guard();
    let Some(first) = receiver.recv().await else {
        return match task.await {
            Ok(Ok(())) => Ok(Reply::stream("application/json", stream::empty())),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(Failure::internal(format!("a task failed: {error}"))),
        };
    };
    let told = stream::iter([written(first)]);
    let rest = rest(Transfer { receiver, task: Some(task), _guard: guard });
    Ok(Reply::stream("application/json", told.chain(rest)))
}

/// A transfer whose answer is being sent. Dropped, it ends.
struct Transfer {
    receiver: mpsc::Receiver<TransferEvent>,
    /// Taken when all is told.
    task: Option<JoinHandle<ferry_engine::Result<()>>>,
    _guard: DropGuard,
}

fn rest(transfer: Transfer) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(transfer, |mut transfer| async move {
        if let Some(event) = transfer.receiver.recv().await {
            return Some((written(event), transfer));
        }
        let failure = match transfer.task.take()?.await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a transfer failed");
                error.to_string()
            }
            Err(error) => format!("a task failed: {error}"),
        };
        Some((progress_line(&ProgressMessage::failure(failure)), transfer))
    })
}

/// Writes an event as Docker's lines.
fn written(event: TransferEvent) -> Bytes {
    let lines: Vec<u8> = convert::messages(event)
        .iter()
        .flat_map(|message| progress_line(message).to_vec())
        .collect();
    lines.into()
}
