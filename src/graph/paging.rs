//! Collections in pages. A nextLink is followed as it was given, on the same host only, never twice, and to a limit;
//! an empty page with a nextLink is a page like any other; `@odata.count` is never looked at, for it is often wrong.

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::client::GraphClient;
use super::error::GraphError;
use crate::domain::failure::Code;

/// One page. An answer without `value` is none: it must never look like an empty collection.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) value: Vec<T>,
    #[serde(rename = "@odata.nextLink", default)]
    pub(super) next: Option<String>,
}

impl GraphClient {
    /// Reads the collection at `path`, below the Graph version, to its end.
    ///
    /// # Errors
    /// [`GraphError`] of the first page that could not be read; `graph.protocol` for a nextLink to another host, a
    /// repeated one, or more than `graph.pages_max` pages.
    pub async fn get_all<T: DeserializeOwned>(
        &self,
        path: &str,
        cancel: &CancellationToken,
    ) -> Result<Vec<T>, GraphError> {
        let url = self.cloud.call_url(path);
        let first: Page<T> = self.get_json(url, cancel).await?;
        self.follow(first, cancel).await
    }

    /// Reads the rest of a collection whose first page came inside another answer.
    pub(super) async fn follow<T: DeserializeOwned>(
        &self,
        first: Page<T>,
        cancel: &CancellationToken,
    ) -> Result<Vec<T>, GraphError> {
        let Page { value: mut items, mut next } = first;
        let broken = || GraphError::local(Code::GraphProtocol, false);
        let mut followed = HashSet::new();
        while let Some(link) = next {
            let url = self.cloud.own_link(&link).ok_or_else(broken)?;
            // LIMIT: the first page counts too.
            if !followed.insert(link) || followed.len() >= self.wire.limits.pages_max {
                return Err(broken());
            }
            let page: Page<T> = self.get_json(url, cancel).await?;
            items.extend(page.value);
            next = page.next;
        }
        Ok(items)
    }
}
