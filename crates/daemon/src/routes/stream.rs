//! Answers that last: waits and events.

use std::{future::Future, sync::Arc};

use ferry_api::{
    WaitResponse,
    container::WaitExitError,
    query::{ContainerWaitQuery, EventsQuery},
};
use ferry_engine::{EventQuery, WaitCondition};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::StatusCode;

use crate::{
    app::App,
    convert,
    http::{
        error::Failure,
        reply::{Reply, json_line},
        service::{Target, line},
    },
    routes::volumes::owned,
};

/// Ends a stream when the daemon stops.
pub(super) async fn unless_closing<T>(
    app: &App,
    next: impl Future<Output = Option<T>>,
) -> Option<T> {
    tokio::select! {
        () = app.closing.cancelled() => None,
        next = next => next,
    }
}

pub(super) async fn wait(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(ContainerWaitQuery::from_query)?;
    let has_condition = call.version.waits_for_conditions();
    let condition = match query.condition.as_deref().filter(|_| has_condition) {
        None | Some("not-running") => WaitCondition::NotRunning,
        Some("next-exit") => WaitCondition::NextExit,
        Some("removed") => WaitCondition::Removed,
        Some(other) => return Err(Failure::invalid(format!("invalid condition: {other:?}"))),
    };
    let wait = call.app.engine.wait(call.name(), condition)?;
    let app = Arc::clone(&call.app);
    let response = async move {
        let outcome = unless_closing(&app, wait.outcome().map(Some)).await?;
        Some(WaitResponse {
            error: outcome.error.map(|message| WaitExitError { message }),
            status_code: outcome.exit_code.into(),
        })
    };
    if !has_condition {
        // Compat: the whole answer came at the end.
        let response = response.await;
        return call.reply(&response.ok_or_else(|| {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the engine is stopping")
        })?);
    }
    let body =
        stream::once(response).filter_map(|response| async move { json_line(&response?).ok() });
    Ok(Reply::stream("application/json", Box::pin(body)))
}

pub(super) fn events(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(EventsQuery::from_query)?;
    // Compat: Docker answers 500 to what is no time.
    let time = |text: Option<&str>| match text {
        None => Ok(None),
        Some(text) => convert::times::read(text).map(Some).map_err(Failure::internal),
    };
    let since = time(query.since.as_deref())?;
    let until = time(query.until.as_deref())?;
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Failure::invalid(
            "`since` time (".to_owned()
                + query.since.as_deref().unwrap_or_default()
                + ") cannot be after `until` time ("
                + query.until.as_deref().unwrap_or_default()
                + ")",
        ));
    }
    let events =
        call.app.engine.events(EventQuery { since, until, filters: owned(&query.filters) })?;
    let app = Arc::clone(&call.app);
    let (operation, version) = (call.operation, call.version);
    let pieces = stream::unfold((events, app), move |(mut events, app)| async move {
        let event = unless_closing(&app, events.next()).await?;
        let piece = line(operation, version, &convert::events::message(event)).ok()?;
        Some((piece, (events, app)))
    });
    Ok(Reply::stream("application/json", pieces))
}
