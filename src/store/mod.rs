//! The one door to the database: a named function per operation, SQL nowhere else.
//!
//! Every operation is spawned on the daemon's multi-thread runtime and awaited through its handle, so that no actor
//! and no HTTP handler ever owns (and drops) a database future: a dropped SQLite future panics on an actix thread
//! and leaves `BEGIN IMMEDIATE` open.
//!
//! Reading order: [`error`], [`records`] (what goes in and out), then one file per aggregate.

pub mod error;
pub mod records;

mod backend;
mod connect;
mod migrate;
mod postgres;
mod schema;
mod statement;
mod types;
mod writer;

mod cursor;
mod lease;
mod lock;
mod rows;
mod sets;

mod admission;
mod audit;
mod census;
mod claims;
mod clock_steps;
mod directory;
mod doctor;
mod failed_runs;
mod failures;
mod imports;
mod instances;
mod listen;
mod overview;
mod passes;
mod policy_lists;
mod prune;
mod reconcile;
mod restores;
mod runs;
mod schedules;
mod sessions;
mod settle;
mod snapshots;
mod tenant_health;
mod tenant_leases;

pub use audit::{AuditLine, AuditQuery};
pub use census::Census;
pub use error::StoreError;
pub use failed_runs::{FailedOf, FailedQuery, FailedRuns};
pub use failures::{FailureGroup, FailureGroups, FailureQuery, Failures};
pub use listen::Hint;
pub use lock::SqliteLock;
pub use migrate::{
    known_versions, known_versions_postgres, migrate, migrate_with, pending, pending_with, revert_all,
    revert_to,
};
pub use overview::{Ended, OPEN_COUNTED_MAX, Open};
pub use policy_lists::{AssignedPolicy, Named, PolicySearch};
pub use records::*;
pub use sessions::{SessionLimits, SessionLook};
pub use tenant_health::{TenantHealth, TenantSearch};

use std::collections::BTreeMap;
use std::time::Duration;

use backend::{Backend, Engine};
use postgres::Target;
use statement::sql;

use crate::clock::{Clock, Instant};
use crate::config::DatabaseConfig;
use crate::domain::admission::Request;
use crate::domain::assignment::{AssignmentsHash, PolicyChanges, PolicyKey};
use crate::domain::operation::Operation;
use crate::domain::reconcile::{Observation, Repair};
use crate::domain::run::{Attempt, Lease, Run, Settlement};
use crate::ids::{InstanceId, RunId, SnapshotId, TenantId, TokenId, WorkspaceId};
use crate::metrics::Metrics;

/// The door. Clones share the pools.
#[derive(Clone)]
pub struct Store {
    /// The pools; shared by clones.
    backend: Backend,
    /// Where every operation runs: it must outlive the pools, whose connections die with it.
    runtime: tokio::runtime::Handle,
    /// Hints for other instances.
    outbox: listen::Outbox,
    /// How long `close` waits for operations that are under way: what one of them can take.
    patience: Duration,
}

impl Store {
    /// Spawns an operation and awaits its end. Whoever drops the returned future drops the wait, not the operation.
    async fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let ended = self.runtime.spawn(work).await;
        ended.unwrap_or_else(|error| {
            Err(StoreError::Unavailable {
                operation: "an operation that ended early",
                source: Box::new(error),
            })
        })
    }

    /// Opens the pools on `runtime`, checks that this program can live with the schema.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::SchemaOlder`], [`StoreError::SchemaNewer`], [`StoreError::Url`],
    /// [`StoreError::Tls`], [`StoreError::Pooler`].
    pub async fn open(
        url: &DatabaseUrl,
        config: &DatabaseConfig,
        clock: Clock,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, StoreError> {
        let (url, config) = (url.clone(), config.clone());
        let patience = *config.acquire_timeout + *config.statement_timeout;
        let opening = runtime.spawn(async move {
            let backend = connect::open(&url, &config, clock).await?;
            migrate::check(&applied_versions(&backend).await?)?;
            Ok(backend)
        });
        let backend = opening.await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable { operation: "opening", source: Box::new(error) })
        })?;
        Ok(Self { backend, runtime, outbox: listen::Outbox::default(), patience })
    }

    /// Closes the pools; operations that are under way end first.
    pub async fn close(&self) {
        self.outbox.close();
        let (backend, patience) = (self.backend.clone(), self.patience);
        let closing = self.runtime.spawn(async move { backend.close(patience).await });
        // A runtime that is gone has closed everything already.
        let _ = closing.await;
    }

    /// Connections of the pool (on SQLite the readers): in use, idle; and operations that wait for one.
    pub fn connections(&self) -> (usize, usize, usize) {
        self.backend.connections()
    }

    /// The active runs of the whole ledger, counted.
    pub async fn census(&self) -> Result<Census, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { census::census(&backend).await }).await
    }

    /// A round trip, for `/readyz`.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.now().await.map(|_| ())
    }

    // --- admission -------------------------------------------------------------------------------------------

    /// Admits a batch in one transaction, answers in the order of `requests`. Identities are handled in one order
    /// (so that two batches cannot deadlock): a completed holder whose cooldown has passed by the database's clock
    /// (or any completed holder, where the request is forced) is released, then the run is inserted with ON CONFLICT
    /// DO NOTHING; on a conflict the holder is the answer. `requests` has at most one per identity.
    pub async fn admit(&self, requests: Vec<Request>) -> Result<Vec<Admitted>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { admission::admit(&backend, requests).await }).await
    }

    /// Every active run and every completed one in cooldown: what a registry starts with. Releases holders whose
    /// cooldown has passed, in bounded batches.
    pub async fn holders(&self) -> Result<Vec<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { admission::holders(&backend).await }).await
    }

    /// Adds to the counts of refused requests.
    pub async fn count_duplicates(&self, counts: Vec<DuplicateCount>) -> Result<(), StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { admission::count_duplicates(&backend, counts).await }).await
    }

    // --- execution -------------------------------------------------------------------------------------------

    /// Tenants that have a queued run which is due and none that is running, oldest due run first, at most `limit`.
    pub async fn tenants_with_due_runs(&self, limit: usize) -> Result<Vec<TenantId>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { claims::tenants_with_due_runs(&backend, limit).await }).await
    }

    /// The same with who has each tenant's lease, for `instance`; and how the work is spread.
    pub async fn due_tenants(&self, instance: InstanceId, limit: usize) -> Result<DueTenants, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { tenant_leases::due(&backend, instance, limit).await }).await
    }

    /// Gives the tenant's lease back, where `instance` has it: whoever wants may take it.
    pub async fn release_tenant(&self, tenant: TenantId, instance: InstanceId) -> Result<bool, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { tenant_leases::release(&backend, tenant, instance).await }).await
    }

    /// Queued workspace-scoped runs that are due, oldest first, at most `limit`.
    pub async fn due_workspace_runs(&self, limit: usize) -> Result<Vec<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { claims::due_workspace_runs(&backend, limit).await }).await
    }

    /// Claims the tenant's next due run: restores before fetches, oldest first, unless one is running already. Takes
    /// the tenant's lease where nobody who lives has it.
    /// `queued -> running`, attempt + 1, a larger lease token, a row in the attempts. Only for an instance that lives.
    pub async fn claim_next(&self, tenant: TenantId, instance: InstanceId) -> Result<Claim, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { claims::claim_next(&backend, tenant, instance).await }).await
    }

    /// Claims one queued run by id; `None` when it is not queued (any more), not due yet, its tenant is busy or another
    /// instance's, or the instance does not live.
    pub async fn claim_run(&self, run: RunId, instance: InstanceId) -> Result<Option<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { claims::claim_run(&backend, run, instance).await }).await
    }

    /// Whether the lease is still the run's latest, the run is running, and it holds its identity: asked before the
    /// first call to the outside.
    pub async fn is_canonical(&self, lease: Lease) -> Result<bool, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { claims::is_canonical(&backend, lease).await }).await
    }

    /// Ends an attempt, and perhaps its run; with the run, its snapshots that are still open. With an old token nothing
    /// of the run changes and the attempt is kept as stale ([`Settled::Stale`]); only the attempt that ended the run
    /// stays what it is, whoever settles it again. Idempotent: settling the same lease twice in the same way answers `Done` again.
    pub async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { settle::settle(&backend, lease, settlement).await }).await
    }

    /// Asks for the cancellation of a run: a queued one completes at once (code `run.cancelled`, no cooldown), a
    /// running one is marked.
    pub async fn request_cancel(&self, run: RunId, by: &str) -> Result<Cancel, StoreError> {
        let by = by.to_owned();
        let backend = self.backend.clone();
        self.spawn(async move { settle::request_cancel(&backend, run, &by).await }).await
    }

    // --- instances -------------------------------------------------------------------------------------------

    /// Registers this process. On SQLite (`sole`: the caller holds the file's lock, so no other instance lives) every
    /// other instance is marked as stopped at once. Answers with the step of the clock that nobody was there to notice.
    pub async fn register_instance(
        &self,
        instance: &NewInstance,
        sole: bool,
    ) -> Result<Option<ClockStep>, StoreError> {
        let instance = instance.clone();
        let backend = self.backend.clone();
        self.spawn(async move { instances::register(&backend, instance, sole).await }).await
    }

    /// Renews the lease of the instance for `lease` from now; answers with the database's time and those of the
    /// instance's running runs whose cancellation was asked for.
    pub async fn heartbeat(&self, instance: InstanceId, lease: Duration) -> Result<Heartbeat, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { instances::heartbeat(&backend, instance, lease).await }).await
    }

    /// The ledger's clock was set back: notes it for the doctor, and brings back what would be waited for, leases and
    /// tries that lie further ahead than `longest_wait`. As often as somebody notices.
    pub async fn clock_was_set_back(
        &self,
        step: ClockStep,
        longest_wait: Duration,
    ) -> Result<(), StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { clock_steps::note(&backend, step, longest_wait).await }).await
    }

    /// Marks the instance as stopped.
    pub async fn stop_instance(&self, instance: InstanceId) -> Result<(), StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { instances::stop(&backend, instance).await }).await
    }

    /// Marks the instances whose lease has been over for more than `over`: for people to see. A renewal takes it back.
    pub async fn mark_lost(&self, over: Duration) -> Result<Vec<InstanceId>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { instances::mark_lost(&backend, over).await }).await
    }

    /// All instances seen in the last day, newest first.
    pub async fn instances(&self) -> Result<Vec<Instance>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { instances::instances(&backend).await }).await
    }

    /// Starts to listen for hints of other instances, once per store; they come in batches, first of all a
    /// [`Hint::Rescan`]. On SQLite, where there are none, the receiver's other end is gone from the start.
    pub fn listen(&self, me: InstanceId, metrics: &Metrics) -> tokio::sync::mpsc::Receiver<Vec<Hint>> {
        match &self.backend {
            Backend::Sqlite { .. } => tokio::sync::mpsc::channel(1).1,
            Backend::Postgres { target, .. } => {
                let _on_the_long_lived_runtime = self.runtime.enter();
                listen::start(Target::clone(target), self.outbox.clone(), me, metrics.clone())
            }
        }
    }

    /// Tells the other instances to look, soon and without waiting; nobody may hear it.
    pub fn tell(&self, hint: Hint) {
        self.outbox.put(hint);
    }

    /// Whether other processes may write to this ledger: on SQLite none, its file is locked.
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Postgres { .. })
    }

    // --- reconcile -------------------------------------------------------------------------------------------

    /// Running runs whose instance's lease is gone, at most `limit`.
    pub async fn orphans(&self, limit: usize) -> Result<Vec<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { reconcile::orphans(&backend, limit).await }).await
    }

    /// Those of `identities` (of reconcile) whose last pass that has ended began less than `age` ago; a dry run is none.
    pub async fn passes_within(
        &self,
        identities: Vec<crate::domain::identity::IdentityHash>,
        age: Duration,
    ) -> Result<Vec<crate::domain::identity::IdentityHash>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { passes::within(&backend, identities, age).await }).await
    }

    /// Workspaces that have something for reconcile to look at (the same rule as [`Store::observe`], existence only).
    pub async fn workspaces_with_candidates(
        &self,
        filter: CandidateFilter,
    ) -> Result<Vec<WorkspaceId>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { reconcile::workspaces_with_candidates(&backend, filter).await }).await
    }

    /// The candidates of a workspace, oldest first, at most `limit`; without the run `except` (the pass itself).
    pub async fn observe(
        &self,
        workspace: WorkspaceId,
        filter: CandidateFilter,
        except: RunId,
        limit: usize,
    ) -> Result<Vec<Observation>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { reconcile::observe(&backend, workspace, filter, except, limit).await }).await
    }

    /// Carries out one repair in one small transaction, after checking that the run is still as `seen` shows it
    /// (status, lease token); `None` when it is not. `cooldown` is that of the run's operation.
    pub async fn repair(
        &self,
        seen: &Observation,
        repair: Repair,
        cooldown: Duration,
    ) -> Result<Option<Run>, StoreError> {
        let seen = seen.clone();
        let backend = self.backend.clone();
        self.spawn(async move { reconcile::repair(&backend, &seen, repair, cooldown).await }).await
    }

    // --- reading the ledger ----------------------------------------------------------------------------------

    /// One run.
    pub async fn run(&self, run: RunId) -> Result<Option<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { runs::run(&backend, run).await }).await
    }

    /// Those of `ids` that exist.
    pub async fn runs_by_id(&self, ids: Vec<RunId>) -> Result<Vec<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { runs::by_id(&backend, ids).await }).await
    }

    /// Those of `ids` that have completed.
    pub async fn ended(&self, ids: Vec<RunId>) -> Result<Vec<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { runs::ended(&backend, ids).await }).await
    }

    /// A page of runs, newest first.
    pub async fn runs(&self, query: RunQuery) -> Result<Page<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { runs::runs(&backend, query).await }).await
    }

    /// The attempts of a run, oldest first.
    pub async fn attempts(&self, run: RunId) -> Result<Vec<Attempt>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { runs::attempts(&backend, run).await }).await
    }

    /// Who holds an identity in a scope, if anybody: the active run, or the completed one that still holds.
    pub async fn holder(
        &self,
        identity: crate::domain::identity::IdentityHash,
    ) -> Result<Option<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { runs::holder(&backend, identity).await }).await
    }

    /// Runs by operation, status and outcome, for metrics.
    pub async fn run_totals(
        &self,
    ) -> Result<Vec<(Operation, crate::domain::run::Status, crate::domain::run::Outcome, i64)>, StoreError>
    {
        let backend = self.backend.clone();
        self.spawn(async move { runs::run_totals(&backend).await }).await
    }

    /// Failures of completed runs, rolled up: the groups with the most runs, at most `query.limit`. Runs are counted by
    /// whole days (UTC).
    pub async fn failures(&self, query: FailureQuery) -> Result<Failures, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { failures::failures(&backend, query).await }).await
    }

    // --- workspaces, tenants, users, tokens ------------------------------------------------------------------

    /// Adds a workspace; [`StoreError::Duplicate`] when the slug is taken.
    pub async fn add_workspace(&self, slug: &str, name: &str) -> Result<Workspace, StoreError> {
        let slug = slug.to_owned();
        let name = name.to_owned();
        let backend = self.backend.clone();
        self.spawn(async move { directory::add_workspace(&backend, &slug, &name).await }).await
    }

    /// A workspace by id.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::workspace(&backend, id).await }).await
    }

    /// A workspace by slug.
    pub async fn workspace_by_slug(&self, slug: &str) -> Result<Option<Workspace>, StoreError> {
        let slug = slug.to_owned();
        let backend = self.backend.clone();
        self.spawn(async move { directory::workspace_by_slug(&backend, &slug).await }).await
    }

    /// A page of workspaces, oldest first; only `only` when given.
    pub async fn workspaces(
        &self,
        only: Option<WorkspaceId>,
        page: PageRequest,
    ) -> Result<Page<Workspace>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::workspaces(&backend, only, page).await }).await
    }

    /// Adds a tenant; [`StoreError::Duplicate`] when the workspace has one with the external id.
    pub async fn add_tenant(&self, tenant: NewTenant) -> Result<Tenant, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::add_tenant(&backend, tenant).await }).await
    }

    /// A tenant by id, with its workspace's slug.
    pub async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::tenant(&backend, id).await }).await
    }

    /// The names of tenants, of those that exist.
    pub async fn tenant_names(&self, ids: Vec<TenantId>) -> Result<BTreeMap<TenantId, String>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::tenant_names(&backend, ids).await }).await
    }

    /// Tenants with an external id (one per workspace at the most), within `workspace` when given.
    pub async fn tenants_by_external_id(
        &self,
        external_id: uuid::Uuid,
        workspace: Option<WorkspaceId>,
    ) -> Result<Vec<Tenant>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::tenants_by_external_id(&backend, external_id, workspace).await })
            .await
    }

    /// A workspace's tenants with a name.
    pub async fn tenants_by_name(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Vec<Tenant>, StoreError> {
        let name = name.to_owned();
        let backend = self.backend.clone();
        self.spawn(async move { directory::tenants_by_name(&backend, workspace, name).await }).await
    }

    /// A page of tenants, oldest first.
    pub async fn tenants(
        &self,
        workspace: Option<WorkspaceId>,
        page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::tenants(&backend, workspace, page).await }).await
    }

    /// Changes what may change of a tenant.
    pub async fn change_tenant(
        &self,
        id: TenantId,
        change: TenantChange,
    ) -> Result<Option<Tenant>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::change_tenant(&backend, id, change).await }).await
    }

    /// Adds a user of a workspace (seeds; runs name their users).
    pub async fn add_user(
        &self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<crate::ids::UserId, StoreError> {
        let name = name.to_owned();
        let backend = self.backend.clone();
        self.spawn(async move { directory::add_user(&backend, workspace, &name).await }).await
    }

    /// Adds an API token by its SHA-256; [`StoreError::Duplicate`] when the name is taken.
    pub async fn add_token(&self, token: NewToken) -> Result<TokenId, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::add_token(&backend, token).await }).await
    }

    /// The token with a SHA-256.
    pub async fn token(&self, sha256: [u8; 32]) -> Result<Option<ApiToken>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::token(&backend, sha256).await }).await
    }

    /// Every token, by name; never what a token is.
    pub async fn tokens(&self) -> Result<Vec<KnownToken>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { directory::tokens(&backend).await }).await
    }

    /// Removes the token with a name, and whoever is signed in with it; false when there is none.
    pub async fn remove_token(&self, name: &str) -> Result<bool, StoreError> {
        let name = name.to_owned();
        let backend = self.backend.clone();
        self.spawn(async move { directory::remove_token(&backend, name).await }).await
    }

    // --- policies and snapshots ------------------------------------------------------------------------------

    /// Begins the snapshot of a fetch's attempt; closes (`abandoned`) what earlier attempts of the run left open.
    /// `None` when the lease is an old one.
    pub async fn begin_snapshot(&self, lease: Lease) -> Result<Option<SnapshotId>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { snapshots::begin(&backend, lease).await }).await
    }

    /// Stores what was read of some types, in one transaction; assignment sets once by their hash. False when the lease
    /// is an old one: nothing was written.
    pub async fn write_types(
        &self,
        lease: Lease,
        snapshot: SnapshotId,
        readings: Vec<StoredType>,
    ) -> Result<bool, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { snapshots::write_types(&backend, lease, snapshot, readings).await }).await
    }

    /// The assignment hash last known of each policy of the tenant, for the given types (all when `None`).
    pub async fn known_policies(
        &self,
        tenant: TenantId,
        types: Option<Vec<String>>,
    ) -> Result<BTreeMap<PolicyKey, AssignmentsHash>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { snapshots::known_policies(&backend, tenant, types).await }).await
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
        let backend = self.backend.clone();
        self.spawn(async move { snapshots::finish(&backend, lease, snapshot, end, changes).await }).await
    }

    /// A page of a tenant's snapshots that have ended, newest first.
    pub async fn snapshots(&self, tenant: TenantId, page: PageRequest) -> Result<Page<Snapshot>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { snapshots::snapshots(&backend, tenant, page).await }).await
    }

    /// One snapshot, with its tenant and workspace.
    pub async fn snapshot(&self, id: SnapshotId) -> Result<Option<Snapshot>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { snapshots::snapshot(&backend, id).await }).await
    }

    /// A page of a snapshot's items, by type and id.
    pub async fn snapshot_items(
        &self,
        id: SnapshotId,
        page: PageRequest,
    ) -> Result<Page<SnapshotItem>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { snapshots::snapshot_items(&backend, id, page).await }).await
    }

    /// A page of a tenant's policies that still exist.
    pub async fn policies(&self, tenant: TenantId, page: PageRequest) -> Result<Page<Policy>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { snapshots::policies(&backend, tenant, page).await }).await
    }

    // Of restores, imports, retention, schedules, sessions, the audit and what people look at, the operations stand in
    // `restores`, `imports`, `prune`, `schedules`, `sessions`, `audit`, `overview`, `tenant_health` and `policy_lists`.

    // --- doctor ----------------------------------------------------------------------------------------------

    /// Checks what a database can show of the guarantees (SPEC section 12), one finding per check.
    pub async fn doctor(&self) -> Result<Vec<Finding>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { doctor::doctor(&backend, None).await }).await
    }

    /// [`Store::doctor`] for a daemon at work: of history it looks at the `newest` runs alone.
    pub async fn doctor_of_newest(&self, newest: u32) -> Result<Vec<Finding>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { doctor::doctor(&backend, Some(newest)).await }).await
    }

    /// The database's time: what admission and leases are decided by.
    pub async fn now(&self) -> Result<Instant, StoreError> {
        let backend = self.backend.clone();
        const OPERATION: &str = "reading the clock";
        self.spawn(async move {
            const TEXT: &str = "SELECT CAST(1 AS bigint) AS n";
            backend
                .read(OPERATION, |conn| {
                    Box::pin(async move {
                        let _: Vec<rows::NumberRow> = conn.rows(sql(TEXT)).await?;
                        conn.now().await
                    })
                })
                .await
        })
        .await
    }
}

/// The migrations that a database has, none when it has no table of them; and which of them break older programs.
async fn applied_versions(backend: &Backend) -> Result<migrate::Applied, StoreError> {
    const APPLIED: &str = "SELECT version AS word FROM __diesel_schema_migrations";
    const BREAKS: &str = "SELECT version AS word FROM schema_breaks";
    backend
        .read("checking the schema", |conn| {
            Box::pin(async move {
                let mut applied = migrate::Applied::default();
                if has_table(conn, "__diesel_schema_migrations").await? {
                    let versions: Vec<rows::TextRow> = conn.rows(sql(APPLIED)).await?;
                    applied.versions = versions.into_iter().map(|row| row.word).collect();
                }
                if has_table(conn, "schema_breaks").await? {
                    let breaks: Vec<rows::TextRow> = conn.rows(sql(BREAKS)).await?;
                    applied.breaks = breaks.into_iter().map(|row| row.word).collect();
                }
                Ok(applied)
            })
        })
        .await
}

async fn has_table(conn: &mut backend::Conn<'_>, name: &'static str) -> Result<bool, error::Problem> {
    let text = match conn.engine() {
        Engine::Sqlite => "SELECT name AS word FROM sqlite_master WHERE type = 'table' AND name = $1",
        Engine::Postgres => "SELECT $1 AS word WHERE to_regclass($1) IS NOT NULL",
    };
    let table: Option<rows::TextRow> = conn.row(sql(text).bind(name)).await?;
    Ok(table.is_some())
}
