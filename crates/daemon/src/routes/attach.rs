//! Attaching to a container.

use std::{pin::Pin, sync::Arc};

use ferry_api::query::ContainerAttachQuery;
use ferry_engine::{AttachRequest, AttachTicket, EngineError, LogsRequest};

use crate::{
    http::{error::Failure, reply::Reply, service::Target, takeover::Takeover},
    routes::logs::{Form, pieces},
};

pub(super) async fn attach(call: Target) -> Result<Reply, Failure> {
    let query = call.query(ContainerAttachQuery::from_query)?;
    let request = AttachRequest {
        logs: query.logs,
        stream: query.stream,
        stdin: query.stdin,
        stdout: query.stdout,
        stderr: query.stderr,
        detach_keys: query.detach_keys,
    };
    match take_over(&call, request).await {
        Ok(takeover) => Ok(Reply::Takeover(takeover)),
        Err(error) => {
            // Compat: Docker has taken the connection before it looks for the container.
            let failure = Failure::from(error);
            tracing::debug!(message = failure.message, "attach refused");
            Ok(Reply::Takeover(Takeover::refusal(failure.status, &failure.message)))
        }
    }
}

async fn take_over(call: &Target, request: AttachRequest) -> Result<Takeover, EngineError> {
    let engine = &call.app.engine;
    let ticket: AttachTicket = engine.prepare_attach(call.name(), request)?;
    let tty = ticket.tty();
    let past = if ticket.request().logs {
        let logs = LogsRequest {
            stdout: ticket.request().stdout,
            stderr: ticket.request().stderr,
            ..LogsRequest::default()
        };
        let entries = engine.logs(ticket.container().as_str(), &logs).await?;
        let form = Form { tty, timestamps: false, details: false };
        Some(pieces(Arc::clone(&call.app), entries, form))
    } else {
        None
    };
    let then = Box::new(move |connection| -> Pin<Box<dyn Future<Output = _> + Send>> {
        Box::pin(ticket.connect(connection))
    });
    let mut takeover = Takeover::streams(call.asked, tty, "", then);
    takeover.past = past.map(|past| Box::pin(past) as _);
    Ok(takeover)
}
