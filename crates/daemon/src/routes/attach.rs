//! Attaching to a container.

use ferry_api::query::ContainerAttachQuery;
use ferry_engine::AttachRequest;

use crate::http::{error::Failure, reply::Reply, service::Target, takeover::Takeover};

pub(super) fn attach(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(ContainerAttachQuery::from_query)?;
    let request = AttachRequest {
        logs: query.logs,
        stream: query.stream,
        stdin: query.stdin,
        stdout: query.stdout,
        stderr: query.stderr,
        detach_keys: query.detach_keys,
    };
    match call.app.engine.prepare_attach(call.name(), request) {
        Ok(ticket) => {
            let tty = ticket.tty();
            let then =
                Box::new(move |connection| -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
                    Box::pin(ticket.connect(connection))
                });
            Ok(Reply::Takeover(Takeover::streams(call.asked, tty, "", then)))
        }
        Err(error) => {
            // Compat: Docker has taken the connection before it looks for the container.
            let failure = Failure::from(error);
            tracing::debug!(message = failure.message, "attach refused");
            Ok(Reply::Takeover(Takeover::refusal(failure.status, &failure.message)))
        }
    }
}
