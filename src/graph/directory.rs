//! Which groups and assignment filters a tenant has: what the targets of a restore refer to.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::client::{Call, GraphClient};
use super::error::GraphError;
use super::paging::Page;
use crate::domain::failure::sanitise;
use crate::domain::restore::FilterFacts;

/// LIMIT: what `getByIds` takes at once.
const IDS_MAX: usize = 1000;

/// Intune's own names for "all users" and "all devices" where a type takes groups alone; in no directory, in every
/// tenant.
const PSEUDO_GROUPS: [&str; 2] =
    ["acacacac-9df4-4c7d-9d50-4ef0226f57a9", "adadadad-808e-44e2-905a-0b7873a8a531"];

#[derive(Deserialize)]
struct Group {
    id: String,
    #[serde(rename = "displayName")]
    name: Option<String>,
    #[serde(rename = "deletedDateTime")]
    deleted: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Filter {
    id: String,
    #[serde(rename = "displayName")]
    name: Option<String>,
    platform: Option<String>,
    #[serde(rename = "assignmentFilterManagementType")]
    management_type: Option<String>,
}

impl GraphClient {
    /// Those of `ids` that are groups of the tenant, in lower case. Absent is a group that is deleted, also when it
    /// could be restored, and what is no group or no id at all. The two pseudo groups of Intune always exist.
    ///
    /// # Errors
    /// [`GraphError`] when any part could not be read: it says nothing about any group.
    pub async fn existing_groups(
        &self,
        ids: &BTreeSet<String>,
        cancel: &CancellationToken,
    ) -> Result<BTreeSet<String>, GraphError> {
        let asked: BTreeSet<String> = ids.iter().map(|id| id.to_ascii_lowercase()).collect();
        let (pseudo, asked): (BTreeSet<_>, BTreeSet<_>) =
            asked.into_iter().partition(|id| PSEUDO_GROUPS.contains(&id.as_str()));
        // One id of another shape would make Graph refuse them all.
        let known: Vec<&String> = asked.iter().filter(|id| Uuid::try_parse(id).is_ok()).collect();
        let mut existing = pseudo;
        for part in known.chunks(IDS_MAX) {
            let body = json!({"ids": part, "types": ["group"]});
            let found = self.groups(&body, cancel).await?;
            let alive = found.into_iter().filter(|group| group.deleted.is_none());
            existing.extend(alive.map(|group| group.id.to_ascii_lowercase()).filter(|id| asked.contains(id)));
        }
        Ok(existing)
    }

    /// What groups are called, by id in lower case: for people alone. What is not a group of the tenant is absent.
    ///
    /// # Errors
    /// [`GraphError`] when any part could not be read.
    pub async fn group_names(
        &self,
        ids: &BTreeSet<String>,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<String, String>, GraphError> {
        let known: Vec<&String> = ids.iter().filter(|id| Uuid::try_parse(id).is_ok()).collect();
        let mut names = BTreeMap::new();
        for part in known.chunks(IDS_MAX) {
            let found = self.groups(&json!({"ids": part, "types": ["group"]}), cancel).await?;
            names.extend(found.into_iter().filter_map(|group| named(group.id, group.name)));
        }
        Ok(names)
    }

    /// What the assignment filters of the tenant are called, by id in lower case: for people alone.
    ///
    /// # Errors
    /// [`GraphError`] when the list could not be read to its end.
    pub async fn filter_names(
        &self,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<String, String>, GraphError> {
        let filters: Vec<Filter> = self.get_all("/deviceManagement/assignmentFilters", cancel).await?;
        Ok(filters.into_iter().filter_map(|filter| named(filter.id, filter.name)).collect())
    }

    async fn groups(&self, body: &Value, cancel: &CancellationToken) -> Result<Vec<Group>, GraphError> {
        let url = self.cloud.call_url("/directoryObjects/getByIds");
        let call = Call { method: Method::POST, body: Some(body), ..Call::get(url) };
        let first: Page<Group> = self.json(&call, cancel).await?;
        self.follow(first, cancel).await
    }

    /// The assignment filters of the tenant, by id in lower case.
    ///
    /// # Errors
    /// [`GraphError`] when the list could not be read to its end.
    pub async fn filters(
        &self,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<String, FilterFacts>, GraphError> {
        let filters: Vec<Filter> = self.get_all("/deviceManagement/assignmentFilters", cancel).await?;
        let facts = |filter: Filter| {
            let facts = FilterFacts { platform: filter.platform, management_type: filter.management_type };
            (filter.id.to_ascii_lowercase(), facts)
        };
        Ok(filters.into_iter().map(facts).collect())
    }
}

/// An id and a name that may be shown.
fn named(id: String, name: Option<String>) -> Option<(String, String)> {
    Some((id.to_ascii_lowercase(), sanitise(&name?)))
}
