//! What is to be restored: the snapshot's policies, as far as the request is about them.

use std::collections::BTreeSet;

use super::super::Attempt;
use super::super::breaks::Break;
use super::super::conclude::AttemptEnd;
use crate::domain::assignment::PolicyKey;
use crate::domain::failure::Code;
use crate::domain::identity::RestoreInputs;
use crate::domain::restore::plan::PolicyInput;
use crate::ids::SnapshotId;
use crate::store::{PageRequest, SnapshotKind, Tenant};

/// Policies read from the ledger at once.
const PAGE: usize = 1000;

/// The snapshot, for this request.
pub struct Source {
    /// Its policies that the request is about; nothing is known of them as they are now.
    pub items: Vec<PolicyInput>,
    /// Types that it holds completely.
    pub complete_types: BTreeSet<String>,
    /// Whether it was taken from the tenant's own directory.
    pub same_directory: bool,
    /// Whether it holds what a restore replaced.
    pub replaced: bool,
}

/// Reads the snapshot. One that is gone, or of another tenant, restores nothing.
pub async fn load(attempt: &Attempt, tenant: &Tenant, inputs: &RestoreInputs) -> Result<Source, Break> {
    let store = &attempt.parts.store;
    let gone = || {
        let message = "the snapshot is not there any more: choose another";
        Break::End(AttemptEnd::failed(Code::AssignmentsReadIncomplete, message))
    };
    let id = i64::try_from(inputs.snapshot_id).map(SnapshotId).map_err(|_| gone())?;
    let snapshot = store.snapshot(id).await?.filter(|it| it.tenant_id == tenant.id).ok_or_else(gone)?;
    let complete = snapshot.coverage.iter().filter(|(_, it)| it.complete && it.refused.is_empty());
    let mut source = Source {
        items: Vec::new(),
        complete_types: complete.map(|(policy_type, _)| policy_type.clone()).collect(),
        same_directory: snapshot.source_tenant.is_none_or(|directory| directory == tenant.external_id),
        replaced: snapshot.kind == SnapshotKind::Replaced,
    };
    let mut cursor = None;
    loop {
        let page = store.snapshot_items(id, PageRequest { limit: PAGE, cursor }).await?;
        for item in page.items {
            if inputs.policy_ids.as_ref().is_none_or(|ids| ids.contains(&item.policy_id)) {
                source.items.push(PolicyInput {
                    policy: PolicyKey { policy_type: item.policy_type, policy_id: item.policy_id },
                    name: item.name,
                    snapshot: item.assignments,
                    live: Ok(None),
                });
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(source);
        }
    }
}
