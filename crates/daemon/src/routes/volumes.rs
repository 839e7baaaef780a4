//! Volumes.

use std::collections::BTreeMap;

use ferry_api::{
    Filters, VolumeCreateRequest, VolumeListResponse,
    query::{VolumeListQuery, VolumeRemoveQuery},
};
use http::StatusCode;

use crate::{
    convert,
    http::{
        error::Failure,
        reply::Reply,
        service::{Call, Target},
    },
};

/// Filters in the form that the engine takes.
pub(super) fn owned(filters: &Filters) -> BTreeMap<String, Vec<String>> {
    let filters = filters.iter();
    filters.map(|(name, values)| (name.to_owned(), values.map(str::to_owned).collect())).collect()
}

pub(super) fn list(call: &Target) -> Result<Reply, Failure> {
    let query = call.query(VolumeListQuery::from_query)?;
    let volumes = call.app.engine.volumes(&owned(&query.filters))?;
    let volumes = volumes.iter().map(convert::volumes::volume).collect();
    call.reply(&VolumeListResponse { volumes, warnings: None })
}

pub(super) fn inspect(call: &Target) -> Result<Reply, Failure> {
    let volume = call.app.engine.volume(call.name())?;
    call.reply(&convert::volumes::volume(&volume))
}

pub(super) async fn create(call: Call) -> Result<Reply, Failure> {
    let (call, request) = call.json::<VolumeCreateRequest>().await?;
    let request = convert::volumes::request(request.unwrap_or_default());
    let volume = call.app.engine.volume_create(request).await?;
    call.reply_with(StatusCode::CREATED, &convert::volumes::volume(&volume))
}

pub(super) async fn remove(call: Call) -> Result<Reply, Failure> {
    let call = call.target();
    let query = call.query(VolumeRemoveQuery::from_query)?;
    call.app.engine.volume_remove(call.name(), query.force).await?;
    Ok(Reply::no_content())
}
