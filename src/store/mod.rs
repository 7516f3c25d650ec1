//! The one door to the database: a named function per operation, SQL nowhere else.
//!
//! Every operation is spawned on the daemon's multi-thread runtime and awaited through its handle, so that no actor
//! and no HTTP handler ever owns (and drops) a database future: a dropped SQLite future panics on an actix thread
//! and leaves `BEGIN IMMEDIATE` open.
//!
//! Reading order: [`error`], [`records`] (what goes in and out), then one file per aggregate.

pub mod error;
pub mod records;

pub use error::StoreError;
pub use records::*;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::config::DatabaseConfig;
use crate::domain::admission::Request;
use crate::domain::assignment::{AssignmentsHash, PolicyChanges, PolicyKey};
use crate::domain::operation::Operation;
use crate::domain::reconcile::{Observation, Repair};
use crate::domain::run::{Attempt, Lease, Run, Settlement};
use crate::ids::{InstanceId, RunId, SnapshotId, TenantId, TokenId, WorkspaceId};

/// The door. Clones share the pools.
#[derive(Clone)]
pub struct Store {}

#[expect(unused_variables, reason = "skeleton")]
impl Store {
    /// Opens the pools on `runtime`, checks that the schema is exactly the one that this program knows.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::SchemaOlder`], [`StoreError::SchemaNewer`], [`StoreError::Url`].
    pub async fn open(
        url: &DatabaseUrl,
        config: &DatabaseConfig,
        clock: Clock,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, StoreError> {
        todo!()
    }

    /// Closes the pools; operations that are under way end first.
    pub async fn close(&self) {
        todo!()
    }

    /// A round trip, for `/readyz`.
    pub async fn ping(&self) -> Result<(), StoreError> {
        todo!()
    }

    // --- admission -------------------------------------------------------------------------------------------

    /// Admits a batch in one transaction, answers in the order of `requests`. Identities are handled in one order
    /// (so that two batches cannot deadlock): a completed holder whose cooldown has passed by the database's clock
    /// (or any completed holder, where the request is forced) is released, then the run is inserted with ON CONFLICT
    /// DO NOTHING; on a conflict the holder is the answer. `requests` has at most one per identity.
    pub async fn admit(&self, requests: Vec<Request>) -> Result<Vec<Admitted>, StoreError> {
        todo!()
    }

    /// Every active run and every completed one in cooldown: what a registry starts with. Releases holders whose
    /// cooldown has passed, in bounded batches.
    pub async fn holders(&self) -> Result<Vec<Run>, StoreError> {
        todo!()
    }

    /// Adds to the counts of refused requests.
    pub async fn count_duplicates(&self, counts: Vec<DuplicateCount>) -> Result<(), StoreError> {
        todo!()
    }

    // --- execution -------------------------------------------------------------------------------------------

    /// Tenants that have a queued run which is due, oldest due run first, at most `limit`.
    pub async fn tenants_with_due_runs(&self, limit: usize) -> Result<Vec<TenantId>, StoreError> {
        todo!()
    }

    /// Queued workspace-scoped runs that are due, oldest first, at most `limit`.
    pub async fn due_workspace_runs(&self, limit: usize) -> Result<Vec<Run>, StoreError> {
        todo!()
    }

    /// Claims the tenant's next due run: restores before fetches, oldest first, unless one is running already.
    /// `queued -> running`, attempt + 1, a larger lease token, a row in the attempts.
    pub async fn claim_next(&self, tenant: TenantId, instance: InstanceId) -> Result<Claim, StoreError> {
        todo!()
    }

    /// Claims one queued run by id; `None` when it is not queued (any more).
    pub async fn claim_run(&self, run: RunId, instance: InstanceId) -> Result<Option<Run>, StoreError> {
        todo!()
    }

    /// Whether the lease is still the run's latest, the run is running, and it holds its identity: asked before the
    /// first call to the outside.
    pub async fn is_canonical(&self, lease: Lease) -> Result<bool, StoreError> {
        todo!()
    }

    /// Ends an attempt, and perhaps its run. With an old token nothing of the run changes and the attempt is kept as
    /// stale ([`Settled::Stale`]). Idempotent: settling the same lease twice in the same way answers `Done` again.
    pub async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, StoreError> {
        todo!()
    }

    /// Asks for the cancellation of a run: a queued one completes at once (code `run.cancelled`, no cooldown), a
    /// running one is marked.
    pub async fn request_cancel(&self, run: RunId, by: &str) -> Result<Cancel, StoreError> {
        todo!()
    }

    // --- instances -------------------------------------------------------------------------------------------

    /// Registers this process. On SQLite (`sole`: the caller holds the file's lock, so no other instance lives) every
    /// other instance is marked as stopped at once.
    pub async fn register_instance(&self, instance: &NewInstance, sole: bool) -> Result<(), StoreError> {
        todo!()
    }

    /// Renews the lease of the instance for `lease` from now; answers with the database's time and those of the
    /// instance's running runs whose cancellation was asked for.
    pub async fn heartbeat(&self, instance: InstanceId, lease: Duration) -> Result<Heartbeat, StoreError> {
        todo!()
    }

    /// Marks the instance as stopped.
    pub async fn stop_instance(&self, instance: InstanceId) -> Result<(), StoreError> {
        todo!()
    }

    /// All instances seen in the last day, newest first.
    pub async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        todo!()
    }

    // --- reconcile -------------------------------------------------------------------------------------------

    /// Running runs whose instance's lease is gone, at most `limit`.
    pub async fn orphans(&self, limit: usize) -> Result<Vec<Run>, StoreError> {
        todo!()
    }

    /// Workspaces that have something for reconcile to look at (the same rule as [`Store::observe`], existence only).
    pub async fn workspaces_with_candidates(
        &self,
        filter: CandidateFilter,
    ) -> Result<Vec<WorkspaceId>, StoreError> {
        todo!()
    }

    /// The candidates of a workspace, oldest first, at most `limit`; without the run `except` (the pass itself).
    pub async fn observe(
        &self,
        workspace: WorkspaceId,
        filter: CandidateFilter,
        except: RunId,
        limit: usize,
    ) -> Result<Vec<Observation>, StoreError> {
        todo!()
    }

    /// Carries out one repair in one small transaction, after checking that the run is still as `seen` shows it
    /// (status, lease token); `None` when it is not. `cooldown` is that of the run's operation.
    pub async fn repair(
        &self,
        seen: &Observation,
        repair: Repair,
        cooldown: Duration,
    ) -> Result<Option<Run>, StoreError> {
        todo!()
    }

    // --- reading the ledger ----------------------------------------------------------------------------------

    /// One run.
    pub async fn run(&self, run: RunId) -> Result<Option<Run>, StoreError> {
        todo!()
    }

    /// A page of runs, newest first.
    pub async fn runs(&self, query: RunQuery) -> Result<Page<Run>, StoreError> {
        todo!()
    }

    /// The attempts of a run, oldest first.
    pub async fn attempts(&self, run: RunId) -> Result<Vec<Attempt>, StoreError> {
        todo!()
    }

    /// Who holds an identity in a scope, if anybody: the active run, or the completed one that still holds.
    pub async fn holder(
        &self,
        identity: crate::domain::identity::IdentityHash,
    ) -> Result<Option<Run>, StoreError> {
        todo!()
    }

    /// Runs by operation, status and outcome, for metrics.
    pub async fn run_totals(
        &self,
    ) -> Result<Vec<(Operation, crate::domain::run::Status, crate::domain::run::Outcome, i64)>, StoreError>
    {
        todo!()
    }

    // --- workspaces, tenants, users, tokens ------------------------------------------------------------------

    /// Adds a workspace; [`StoreError::Duplicate`] when the slug is taken.
    pub async fn add_workspace(&self, slug: &str, name: &str) -> Result<Workspace, StoreError> {
        todo!()
    }

    /// A workspace by id.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, StoreError> {
        todo!()
    }

    /// A workspace by slug.
    pub async fn workspace_by_slug(&self, slug: &str) -> Result<Option<Workspace>, StoreError> {
        todo!()
    }

    /// A page of workspaces, oldest first; only `only` when given.
    pub async fn workspaces(
        &self,
        only: Option<WorkspaceId>,
        page: PageRequest,
    ) -> Result<Page<Workspace>, StoreError> {
        todo!()
    }

    /// Adds a tenant; [`StoreError::Duplicate`] when the workspace has one with the external id.
    pub async fn add_tenant(&self, tenant: NewTenant) -> Result<Tenant, StoreError> {
        todo!()
    }

    /// A tenant by id, with its workspace's slug.
    pub async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        todo!()
    }

    /// Tenants with an external id (one per workspace at the most), within `workspace` when given.
    pub async fn tenants_by_external_id(
        &self,
        external_id: uuid::Uuid,
        workspace: Option<WorkspaceId>,
    ) -> Result<Vec<Tenant>, StoreError> {
        todo!()
    }

    /// A page of tenants, oldest first.
    pub async fn tenants(
        &self,
        workspace: Option<WorkspaceId>,
        page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        todo!()
    }

    /// Changes what may change of a tenant.
    pub async fn change_tenant(
        &self,
        id: TenantId,
        change: TenantChange,
    ) -> Result<Option<Tenant>, StoreError> {
        todo!()
    }

    /// Adds a user of a workspace (seeds; runs name their users).
    pub async fn add_user(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<crate::ids::UserId, StoreError> {
        todo!()
    }

    /// Adds an API token by its SHA-256; [`StoreError::Duplicate`] when the name is taken.
    pub async fn add_token(&self, token: NewToken) -> Result<TokenId, StoreError> {
        todo!()
    }

    /// The token with a SHA-256.
    pub async fn token(&self, sha256: [u8; 32]) -> Result<Option<ApiToken>, StoreError> {
        todo!()
    }

    // --- policies and snapshots ------------------------------------------------------------------------------

    /// Begins the snapshot of a fetch's attempt; closes (`abandoned`) what earlier attempts of the run left open.
    /// `None` when the lease is an old one.
    pub async fn begin_snapshot(&self, lease: Lease) -> Result<Option<SnapshotId>, StoreError> {
        todo!()
    }

    /// Stores what was read of one type, in one transaction; assignment sets once by their hash. False when the lease
    /// is an old one: nothing was written.
    pub async fn write_type(
        &self,
        lease: Lease,
        snapshot: SnapshotId,
        reading: StoredType,
    ) -> Result<bool, StoreError> {
        todo!()
    }

    /// The assignment hash last known of each policy of the tenant, for the given types (all when `None`).
    pub async fn known_policies(
        &self,
        tenant: TenantId,
        types: Option<Vec<String>>,
    ) -> Result<BTreeMap<PolicyKey, AssignmentsHash>, StoreError> {
        todo!()
    }

    /// Ends the snapshot: its outcome, counts, failures and coverage; and brings the tenant's `policies` up to date
    /// with it. False when the lease is an old one.
    pub async fn finish_snapshot(
        &self,
        lease: Lease,
        snapshot: SnapshotId,
        end: SnapshotEnd,
        changes: PolicyChanges,
    ) -> Result<bool, StoreError> {
        todo!()
    }

    /// A page of a tenant's snapshots that have ended, newest first.
    pub async fn snapshots(&self, tenant: TenantId, page: PageRequest) -> Result<Page<Snapshot>, StoreError> {
        todo!()
    }

    /// One snapshot, with its tenant and workspace.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        todo!()
    }

    /// A page of a snapshot's items, by type and id.
    pub async fn snapshot_items(
        &self,
        id: SnapshotId,
        page: PageRequest,
    ) -> Result<Page<SnapshotItem>, StoreError> {
        todo!()
    }

    /// A page of a tenant's policies that still exist.
    pub async fn policies(&self, tenant: TenantId, page: PageRequest) -> Result<Page<Policy>, StoreError> {
        todo!()
    }

    // --- doctor ----------------------------------------------------------------------------------------------

    /// Checks what a database can show of the guarantees (SPEC section 12), one finding per check.
    pub async fn doctor(&self) -> Result<Vec<Finding>, StoreError> {
        todo!()
    }

    /// The database's time: what admission and leases are decided by.
    pub async fn now(&self) -> Result<Instant, StoreError> {
        todo!()
    }
}
