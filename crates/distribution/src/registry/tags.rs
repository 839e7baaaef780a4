//! The tags of a repository. [OCI distribution, listing tags]

use http::Method;
use http::header::LINK;
use serde::Deserialize;

use super::Repository;
use super::ask::{Question, Reply};
use super::refusal::Asked;
use crate::error::DistributionError;
use crate::limits;
use crate::protocol::links::next_link;
use crate::protocol::paths;
use crate::transport::resolve_location;

/// Tags that are asked for at a time; a registry may give fewer.
const PAGE: usize = 1000;
const WHAT: &str = "the list of tags";

impl Repository {
    /// All its tags, in the registry's order.
    ///
    /// # Errors
    /// When there is no such repository, it has more than [`limits::MAX_TAGS`], or no endpoint
    /// can say.
    pub async fn tags(&self) -> Result<Vec<String>, DistributionError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let path = paths::tags(self.0.name.path());
        let mut question = Question::new(self, Method::GET, path, Asked::List, WHAT);
        question.request.query.push(("n".to_owned(), PAGE.to_string()));
        question.limit = limits::MAX_TAGS_PAGE;
        let mut tags = Vec::new();
        let mut reply = self.ask(&question).await?;
        loop {
            let page: Page = serde_json::from_slice(&reply.body).map_err(|error| {
                DistributionError::Malformed { what: WHAT.into(), why: error.to_string() }
            })?;
            let page = page.tags.unwrap_or_default();
            let is_empty = page.is_empty();
            tags.extend(page);
            if tags.len() > limits::MAX_TAGS {
                let limit = limits::MAX_TAGS as u64;
                return Err(DistributionError::TooLarge { what: WHAT.into(), limit });
            }
            match self.next_page(&reply, &mut question).await? {
                // A page without tags that has a next one would go on for ever.
                Some(next) if !is_empty => reply = next,
                _ => return Ok(tags),
            }
        }
    }

    /// The page after this one, when there is one. It is asked of the same endpoint.
    pub(super) async fn next_page(
        &self,
        page: &Reply,
        question: &mut Question<'_>,
    ) -> Result<Option<Reply>, DistributionError> {
        let Some(link) = page.header(LINK).and_then(next_link) else { return Ok(None) };
        let malformed = |why: String| DistributionError::Malformed {
            what: format!("the link to the rest of {}", question.what),
            why,
        };
        let url = resolve_location(&page.url, &link).map_err(malformed)?;
        if url == page.url {
            return Err(malformed("it leads to where it is".into()));
        }
        // All that the next page needs stands in its address.
        question.request.query.clear();
        self.ask_there(page.place, Some(&url), question).await.map(Some)
    }
}
