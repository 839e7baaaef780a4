//! An image of a container's changes.

use ferry_api::{ContainerConfig, image::IdResponse, query::ImageCommitQuery};
use ferry_engine::CommitRequest;
use ferry_oci::reference::Reference;
use http::StatusCode;

use crate::{
    convert,
    http::{error::Failure, reply::Reply, service::Call},
};

pub(super) async fn commit(call: Call) -> Result<Reply, Failure> {
    let query = call.query(ImageCommitQuery::from_query)?;
    let (call, config) = call.json_if_any::<ContainerConfig>().await?;
    let ImageCommitQuery { container, repo, tag, comment, author, pause, changes } = query;
    let container =
        container.ok_or_else(|| Failure::invalid("invalid name or ID supplied: \"\""))?;
    let request = CommitRequest {
        reference: reference(repo.as_deref(), tag.as_deref())?,
        comment: comment.unwrap_or_default(),
        author: author.unwrap_or_default(),
        changes,
        pause: pause.unwrap_or(true),
        config: config.map(convert::commit::run_config),
        engine_version: crate::VERSION.to_owned(),
    };
    let id = call.app.engine.commit(&container, request).await?;
    call.reply_with(StatusCode::CREATED, &IdResponse { id: id.to_string() })
}

/// Puts a name together of a repository and a tag; an empty repository is no name.
fn reference(repository: Option<&str>, tag: Option<&str>) -> Result<Option<Reference>, Failure> {
    let Some(repository) = repository else { return Ok(None) };
    let name = convert::transfers::name(repository)?;
    if name.digest().is_some() {
        return Err(Failure::invalid("cannot import digest reference"));
    }
    Ok(Some(match tag {
        Some(tag) => name.with_tag(tag).map_err(|error| Failure::invalid(error.to_string()))?,
        None => name.with_default_tag(),
    }))
}
