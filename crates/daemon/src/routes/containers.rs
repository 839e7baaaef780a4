//! Containers, but for their streams.

use std::collections::HashMap;

use ferry_api::{
    ContainerCreateRequest, ContainerCreateResponse, TopResponse,
    query::{
        ContainerCreateQuery, ContainerInspectQuery, ContainerKillQuery, ContainerListQuery,
        ContainerRemoveQuery, ContainerRenameQuery, ContainerStartQuery, ContainerStopQuery,
        ContainerTopQuery, ResizeQuery,
    },
};
use ferry_engine::{ListQuery, RemoveRequest, StopRequest, spec::StopTimeout};
use http::StatusCode;
use jiff::Timestamp;

use crate::{
    convert,
    http::{
        error::Failure,
        reply::Reply,
        service::{Call, Target},
    },
    routes::images::blocking,
};

pub(super) async fn list(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ContainerListQuery::from_query)?;
    let filters = query.filters.iter();
    let filters =
        filters.map(|(name, values)| (name.to_owned(), values.map(str::to_owned).collect()));
    let snapshots = call.app.engine.list(&ListQuery {
        all: query.all,
        limit: query.limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0),
        filters: filters.collect(),
    })?;
    let store = call.app.engine.store().clone();
    let images = snapshots.iter().map(|one| (one.spec.image.clone(), String::new()));
    let mut images: HashMap<String, String> = images.collect();
    let images = blocking(move || {
        for (name, id) in &mut images {
            // A name that is gone, or has moved to another image, is not shown.
            *id = store.images().resolve(name).map(|id| id.to_string()).unwrap_or_default();
        }
        images
    })
    .await?;
    let now = Timestamp::now();
    let mut summaries = Vec::with_capacity(snapshots.len());
    for snapshot in &snapshots {
        let sizes = match query.size {
            true => Some(call.app.engine.sizes(snapshot).await?),
            false => None,
        };
        let image = match images.get(&snapshot.spec.image) {
            Some(id) if *id == snapshot.image_id => snapshot.spec.image.clone(),
            _ => snapshot.image_id.clone(),
        };
        summaries.push(convert::summary::container(snapshot, image, sizes, now, &call.app.facts));
    }
    call.reply(&summaries)
}

pub(super) async fn create(call: Call) -> Result<Reply, Failure> {
    let query = call.query(ContainerCreateQuery::from_query)?;
    let (call, request) = call.json::<ContainerCreateRequest>().await?;
    let defaults = &call.app.config.defaults;
    let request = convert::create::create_request(
        query.name,
        query.platform.filter(|_| call.version.creates_for_a_platform()),
        request.unwrap_or_default(),
        defaults,
        &call.app.facts,
    )?;
    let created = call.app.engine.create(request).await?;
    call.reply_with(
        StatusCode::CREATED,
        &ContainerCreateResponse { id: created.id.to_string(), warnings: created.warnings },
    )
}

pub(super) async fn inspect(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ContainerInspectQuery::from_query)?;
    let snapshot = call.app.engine.inspect(call.name())?;
    let sizes = match query.size {
        true => Some(call.app.engine.sizes(&snapshot).await?),
        false => None,
    };
    call.reply(&convert::inspect::container(&snapshot, sizes, &call.app.facts))
}

pub(super) async fn start(call: Call) -> Result<Reply, Failure> {
    let query = call.query(ContainerStartQuery::from_query)?;
    if query.checkpoint.is_some() || query.checkpoint_dir.is_some() {
        return Err(Failure::not_implemented("ferry does not support checkpoints yet"));
    }
    // Compat: a body was a host configuration once; it is not looked at since API 1.24.
    let call = call.target();
    call.app.engine.start_container(call.name()).await?;
    Ok(Reply::no_content())
}

fn stop_request(call: &Target) -> Result<StopRequest, Failure> {
    let query = call.query(ContainerStopQuery::from_query)?;
    let signal = query.signal.filter(|_| call.version.stops_with_a_signal());
    Ok(StopRequest { signal, timeout: query.timeout.map(StopTimeout::from_seconds) })
}

pub(super) async fn stop(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    call.app.engine.stop(call.name(), stop_request(&call)?).await?;
    Ok(Reply::no_content())
}

pub(super) async fn restart(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    call.app.engine.restart(call.name(), stop_request(&call)?).await?;
    Ok(Reply::no_content())
}

pub(super) async fn kill(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ContainerKillQuery::from_query)?;
    call.app.engine.kill(call.name(), query.signal.as_deref()).await?;
    Ok(Reply::no_content())
}

pub(super) async fn pause(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    call.app.engine.pause(call.name()).await?;
    Ok(Reply::no_content())
}

pub(super) async fn unpause(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    call.app.engine.unpause(call.name()).await?;
    Ok(Reply::no_content())
}

pub(super) async fn rename(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ContainerRenameQuery::from_query)?;
    call.app.engine.rename(call.name(), query.name.as_deref().unwrap_or_default()).await?;
    Ok(Reply::no_content())
}

/// The size of a terminal; Docker says which number is wrong.
pub(super) fn size(call: &Call) -> Result<(u16, u16), Failure> {
    let number = |what: &str, name: &str| {
        let text = call.parameter(name);
        text.parse::<u32>().map_err(|_error| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            Failure::invalid(format!("invalid resize {what} {text:?}: {why}"))
        })
    };
    let size = ResizeQuery { height: number("height", "h")?, width: number("width", "w")? };
    Ok(convert::exec::cells([size.height, size.width]))
}

pub(super) async fn resize(call: Call) -> Result<Reply, Failure> {
    let (rows, columns) = size(&call)?;
    let call = call.target();
    call.app.engine.resize(call.name(), rows, columns).await?;
    Ok(Reply::status(StatusCode::OK))
}

pub(super) async fn remove(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ContainerRemoveQuery::from_query)?;
    if query.link {
        return Err(Failure::not_implemented("ferry does not support links yet"));
    }
    let request = RemoveRequest { force: query.force, volumes: query.volumes };
    call.app.engine.remove(call.name(), request).await?;
    Ok(Reply::no_content())
}

pub(super) async fn top(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(ContainerTopQuery::from_query)?;
    let arguments = query.ps_args.unwrap_or_else(|| "-ef".to_owned());
    let table = call.app.engine.top(call.name(), &arguments).await?;
    call.reply(&TopResponse { processes: table.rows, titles: table.titles })
}
