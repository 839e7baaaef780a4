//! One connection of a client, from its first byte to its end or its takeover.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::http::{
    body::{self, Body},
    reply::Reply,
    takeover::Takeover,
    wire::{Mute, Stream, Wire},
};

/// The largest head of a request, and the most that is read ahead.
const BUFFER_BYTES: usize = 128 * 1024;

/// Serves a connection until it ends, is taken over, or `closing` says that the daemon stops.
pub(crate) async fn serve<H, F>(handle: H, stream: Stream, closing: CancellationToken)
where
    H: Fn(Request<Incoming>) -> F + Unpin,
    F: Future<Output = Reply> + Send + 'static,
{
    let mute = Mute::default();
    let takeover = Arc::new(Mutex::new(None));
    let answer = {
        let (mute, takeover) = (mute.clone(), Arc::clone(&takeover));
        service_fn(move |request| answer(handle(request), mute.clone(), Arc::clone(&takeover)))
    };
    let mut connection = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Wire::new(stream, mute)), answer);

    let mut closed = pin!(closing.cancelled());
    let mut is_closing = false;
    let ended = poll_fn(|cx| {
        if !is_closing && closed.as_mut().poll(cx).is_ready() {
            is_closing = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "connection broke");
        return;
    }
    let taken = takeover.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(takeover) = taken {
        let parts = connection.into_parts();
        let stream = parts.io.into_inner().into_stream();
        let outcome: anyhow::Result<()> = takeover.run(stream, parts.read_buf).await;
        if let Err(error) = outcome {
            tracing::debug!(error = format!("{error:#}"), "stream ended");
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn answer(
    reply: impl Future<Output = Reply> + Send + 'static,
    mute: Mute,
    slot: Arc<Mutex<Option<Takeover>>>,
) -> Answer {
    Box::pin(async move {
        Ok(match reply.await {
            Reply::Response(response) => response,
            Reply::Takeover(takeover) => {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
                mute.set();
                // This makes hyper let go; the client never sees it.
                let mut response = Response::new(body::empty());
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
                response
            }
        })
    })
}

#[cfg(test)]
mod tests;
