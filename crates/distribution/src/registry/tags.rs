//! The tags of a repository. [OCI distribution, listing tags]

use std::collections::HashSet;

use ferry_oci::reference::is_tag;
use http::header::LINK;
use http::{Method, Uri};
use serde::Deserialize;

use super::Repository;
use super::ask::{Question, Reply};
use super::refusal::Asked;
use crate::error::DistributionError;
use crate::limits;
use crate::protocol::links::next_link;
use crate::protocol::paths;
use crate::transport::resolve_securely;

/// Tags that are asked for at a time; a registry may give fewer.
const PAGE: usize = 1000;
const WHAT: &str = "the list of tags";

impl Repository {
    /// All its tags, in the registry's order.
    ///
    /// # Errors
    /// When there is no such repository, it has more than [`limits::MAX_TAGS`], the list has what
    /// is no tag, or no endpoint can say.
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
        let malformed = |why: String| DistributionError::Malformed { what: WHAT.into(), why };
        let mut tags = Vec::new();
        let mut pages = Pages::default();
        let mut reply = self.ask(&question).await?;
        loop {
            let page: Page = serde_json::from_slice(&reply.body)
                .map_err(|error| malformed(error.to_string()))?;
            for tag in page.tags.unwrap_or_default() {
                if !is_tag(&tag) {
                    let shown: String = tag.chars().take(32).collect();
                    return Err(malformed(format!("{shown:?} is no tag")));
                }
                tags.push(tag);
            }
            if tags.len() > limits::MAX_TAGS {
                let limit = limits::MAX_TAGS as u64;
                return Err(DistributionError::TooLarge { what: WHAT.into(), limit });
            }
            match self.next_page(&reply, &mut question, &mut pages).await? {
                Some(next) => reply = next,
                None => return Ok(tags),
            }
        }
    }

    /// The page after this one, when there is one. It is asked of the same endpoint. A page may be
    /// empty: registries leave out what one may not see.
    pub(super) async fn next_page(
        &self,
        page: &Reply,
        question: &mut Question<'_>,
        pages: &mut Pages,
    ) -> Result<Option<Reply>, DistributionError> {
        let links = page.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        let Some(link) = links.into_iter().find_map(next_link) else { return Ok(None) };
        let malformed = |why: String| DistributionError::Malformed {
            what: format!("the link to the rest of {}", question.what),
            why,
        };
        let url = resolve_securely(&page.url, &link).map_err(malformed)?;
        pages.bytes += page.body.len() as u64;
        if pages.bytes > limits::MAX_LIST {
            let (what, limit) = (question.what.to_owned(), limits::MAX_LIST);
            return Err(DistributionError::TooLarge { what, limit });
        }
        pages.seen.insert(page.url.clone());
        if pages.seen.contains(&url) {
            return Err(malformed("it leads to where it was".into()));
        }
        if pages.seen.len() >= limits::MAX_PAGES {
            return Err(malformed(format!("there are more than {} pages", limits::MAX_PAGES)));
        }
        // All that the next page needs stands in its address.
        question.request.query.clear();
        self.ask_there(page.place, Some(&url), question).await.map(Some)
    }
}

/// The pages of a list that were read.
#[derive(Debug, Default)]
pub(super) struct Pages {
    seen: HashSet<Uri>,
    bytes: u64,
}
