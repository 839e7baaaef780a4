//! Execs.

use ferry_api::{ExecCreateRequest, ExecStartRequest, exec::ExecCreateResponse};
use http::StatusCode;

use crate::{
    convert,
    http::{
        error::Failure,
        reply::Reply,
        service::{self, Call, Target},
        takeover::Takeover,
    },
    routes::containers::size,
};

pub(super) async fn create(call: Call) -> Result<Reply, Failure> {
    let (call, request) = call.json::<ExecCreateRequest>().await?;
    let spec = convert::exec::exec_spec(request.unwrap_or_default())?;
    let id = call.app.engine.exec_create(call.name(), spec).await?;
    call.reply_with(StatusCode::CREATED, &ExecCreateResponse { id: id.to_string() })
}

pub(super) async fn start(call: Call) -> Result<Reply, Failure> {
    let (call, request) = call.json::<ExecStartRequest>().await?;
    let ExecStartRequest { detach, tty, console_size } = request.unwrap_or_default();
    let request = ferry_engine::ExecStartRequest {
        detach,
        tty,
        console_size: console_size.map(convert::exec::cells),
    };
    let ticket = call.app.engine.prepare_exec_start(call.name(), request)?;
    if detach {
        ticket.start(None).await?;
        return Ok(Reply::status(StatusCode::OK));
    }
    let tty = ticket.tty();
    let then = Box::new(move |connection| -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
        Box::pin(ticket.start(Some(connection)))
    });
    Ok(Reply::Takeover(Takeover::streams(call.asked, tty, &service::common_headers(), then)))
}

pub(super) async fn resize(call: Call) -> Result<Reply, Failure> {
    let (rows, columns) = size(&call)?;
    let call = call.target();
    call.app.engine.exec_resize(call.name(), rows, columns).await?;
    Ok(Reply::status(StatusCode::OK))
}

pub(super) fn inspect(call: &Target) -> Result<Reply, Failure> {
    let snapshot = call.app.engine.exec_inspect(call.name())?;
    call.reply(&convert::exec::inspect(&snapshot))
}
