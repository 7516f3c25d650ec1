//! What groups and filters are called: looked up after a fetch, for people who read its snapshot. Nothing is decided by a
//! name, so that it is no failure where none can be learnt, and a fetch needs no permission for it.

use std::collections::BTreeSet;

use super::Attempt;
use crate::domain::assignment::{AssignmentSet, is_pseudo_group};
use crate::domain::permissions::Permissions;
use crate::graph::GraphClient;
use crate::ids::TenantId;
use crate::store::{Named, StoreError};

/// LIMIT: groups whose names one fetch looks up; those beyond are for the next.
const GROUPS_MAX: usize = 1000;

/// The groups and filters that a fetch has met.
#[derive(Default)]
pub struct Mentioned {
    groups: BTreeSet<String>,
    filters: BTreeSet<String>,
}

impl Mentioned {
    /// Those of one policy.
    pub fn add(&mut self, assignments: &AssignmentSet) {
        for assignment in assignments.iter() {
            let groups = assignment.target.group_ids().into_iter().filter(|id| !is_pseudo_group(id));
            self.groups.extend(groups.map(str::to_owned));
            self.filters.extend(assignment.filter.as_ref().map(|filter| filter.id.clone()));
        }
    }

    /// Looks up what has no name in the ledger yet, where the application may, and keeps it.
    pub async fn learn_names(self, attempt: &Attempt, client: &GraphClient, tenant: TenantId) {
        let run = attempt.run.id.0;
        match self.learn(attempt, client, tenant).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(run.id = run, error = %error, "names were not kept"),
        }
    }

    async fn learn(
        self,
        attempt: &Attempt,
        client: &GraphClient,
        tenant: TenantId,
    ) -> Result<(), StoreError> {
        let (store, stop) = (&attempt.parts.store, attempt.stop.token());
        let groups = self.unnamed(attempt, tenant, Named::Group, &self.groups).await?;
        let filters = self.unnamed(attempt, tenant, Named::Filter, &self.filters).await?;
        if groups.is_empty() && filters.is_empty() {
            return Ok(());
        }
        // A token that does not show what it may do is not tried with.
        let Ok(Some(roles)) = client.permissions(stop).await else { return Ok(()) };
        let missing = Permissions::missing(&roles, []);
        if !groups.is_empty()
            && missing.missing_for_groups.is_none()
            && let Ok(names) = client.group_names(&groups, stop).await
        {
            store.keep_names(tenant, Named::Group, names).await?;
        }
        if !filters.is_empty()
            && missing.missing_for_filters.is_none()
            && let Ok(names) = client.filter_names(stop).await
        {
            store.keep_names(tenant, Named::Filter, names).await?;
        }
        Ok(())
    }

    /// Those of `ids` that have no name in the ledger, at most [`GROUPS_MAX`].
    async fn unnamed(
        &self,
        attempt: &Attempt,
        tenant: TenantId,
        named: Named,
        ids: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let known = attempt.parts.store.names_of(tenant, named, ids.iter().cloned().collect()).await?;
        Ok(ids.iter().filter(|id| !known.contains_key(*id)).take(GROUPS_MAX).cloned().collect())
    }
}
