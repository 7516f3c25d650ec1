//! Restores: their adapter runs, their journal, and what they replaced (SPEC section 9). Every write carries its lease,
//! and with an old one writes nothing.
//!
//! A restore run is the record of one claim. The journal is the run's: one row per policy, whichever claims worked on
//! it, so that an attempt goes on where the one before died. A set is in the ledger before anything refers to it, and
//! the set that a write replaces before the write is sent.

mod adapter;
mod journal;
mod reading;
mod replaced;

use std::collections::BTreeMap;

use super::error::StoreError;
use super::records::{ItemEnd, ItemTally, Page, PageRequest, RestoreEnd, RestoreItem, Snapshot};
use super::{Store, sets};
use crate::clock::Instant;
use crate::domain::assignment::{AssignmentSet, AssignmentsHash, PolicyKey};
use crate::domain::restore::{ItemState, JournalItem, PlannedItem};
use crate::domain::run::Lease;
use crate::ids::{RestoreId, RunId};

impl Store {
    /// Begins the restore run of an attempt; closes (`abandoned`) what earlier attempts of the run left open. `None`
    /// when the lease is an old one. Asked twice under one lease: the same restore run.
    pub async fn begin_restore(&self, lease: Lease, dry_run: bool) -> Result<Option<RestoreId>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { adapter::begin(&backend, lease, dry_run).await }).await
    }

    /// Stores a plan, in one transaction: its sets, and an item per policy (`Unchanged` becomes skipped, `Refused`
    /// failed, `Write` planned). An item that an earlier attempt of the run sent, verified or skipped stays as it is; one
    /// that was planned or failed is planned anew. False when the lease is an old one: nothing was written.
    pub async fn plan_items(&self, lease: Lease, items: Vec<PlannedItem>) -> Result<bool, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { journal::plan_items(&backend, lease, items).await }).await
    }

    /// The journal of a run, by type and id.
    pub async fn journal(&self, run: RunId) -> Result<Vec<JournalItem>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { reading::journal(&backend, run).await }).await
    }

    /// The sets with these hashes; those that the ledger does not have are left out.
    pub async fn assignment_sets(
        &self,
        hashes: Vec<AssignmentsHash>,
    ) -> Result<BTreeMap<AssignmentsHash, AssignmentSet>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { sets::assignment_sets(&backend, hashes).await }).await
    }

    /// Announces a write, before it is sent: the set that it replaces, the set that is sent, and the time. For an item
    /// that is planned, or sent (when its first write was found not to have been applied). `None` when the lease is an
    /// old one or the item in another state: nothing was written, and nothing may be sent.
    pub async fn mark_sent(
        &self,
        lease: Lease,
        policy: &PolicyKey,
        base: &AssignmentSet,
        sent: &AssignmentSet,
    ) -> Result<Option<Instant>, StoreError> {
        let (policy, base, sent) = (policy.clone(), base.clone(), sent.clone());
        let backend = self.backend.clone();
        self.spawn(async move { journal::mark_sent(&backend, lease, policy, &base, &sent).await }).await
    }

    /// Ends an item: `Verified` one that was sent, `Skipped` one that was not, `Failed` either. False when the lease is
    /// an old one or the item has ended otherwise: nothing was written. Ending it twice in the same way answers true.
    pub async fn mark_item(
        &self,
        lease: Lease,
        policy: &PolicyKey,
        end: ItemEnd,
    ) -> Result<bool, StoreError> {
        let policy = policy.clone();
        let backend = self.backend.clone();
        self.spawn(async move { journal::mark_item(&backend, lease, policy, end).await }).await
    }

    /// Ends a restore run: its outcome, counts and failures. False when the lease is an old one, or not this run's.
    pub async fn finish_restore(
        &self,
        lease: Lease,
        restore: RestoreId,
        end: RestoreEnd,
    ) -> Result<bool, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { adapter::finish(&backend, lease, restore, end).await }).await
    }

    /// A page of a run's items with their sets, by type and id; only those in `state` when given.
    pub async fn restore_items(
        &self,
        run: RunId,
        state: Option<ItemState>,
        page: PageRequest,
    ) -> Result<Page<RestoreItem>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { reading::items(&backend, run, state, page).await }).await
    }

    /// All items of a run, counted by what they have in common.
    pub async fn restore_tally(&self, run: RunId) -> Result<Vec<ItemTally>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { reading::tally(&backend, run).await }).await
    }

    /// The items of a run that somebody should look at, at most `limit`, without those that were as wanted already: what
    /// failed first, then what widens in a way that has to be allowed; only those in `state` when given. Whether there are
    /// more.
    pub async fn restore_items_to_review(
        &self,
        run: RunId,
        state: Option<ItemState>,
        limit: usize,
    ) -> Result<(Vec<RestoreItem>, bool), StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { reading::to_review(&backend, run, state, limit).await }).await
    }

    /// What a completed restore replaced, as a snapshot that can be restored: every policy that it wrote (or may have
    /// written) with the set that it had before the run. Made at the first call, the same one ever after. `None` when the
    /// run is not completed, is gone, or wrote nothing.
    pub async fn replaced_snapshot(&self, run: RunId) -> Result<Option<Snapshot>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { replaced::replaced_snapshot(&backend, run).await }).await
    }

    /// What a run left behind on the policies that it wrote, as it read it back; where it could not, what it sent.
    pub async fn verified_hashes(
        &self,
        run: RunId,
    ) -> Result<BTreeMap<PolicyKey, AssignmentsHash>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { reading::verified_hashes(&backend, run).await }).await
    }

    /// The live sets that a completed dry run showed; none when the run is not one that ended its plan.
    pub async fn planned_hashes(
        &self,
        run: RunId,
    ) -> Result<BTreeMap<PolicyKey, AssignmentsHash>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { reading::planned_hashes(&backend, run).await }).await
    }
}
