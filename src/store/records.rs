//! What goes into the store and comes out of it, where the domain has no word for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

mod prune;
mod restore;
mod schedule;

pub use prune::{PruneRequest, PruneStep, Pruned};
pub use restore::{ImportedPolicy, ItemEnd, ItemTally, NewImport, RestoreEnd, RestoreItem};
pub use schedule::{
    Ask, AskEnd, AskVerdict, LastOccurrence, NewSchedule, Schedule, ScheduleAdded, ScheduleChange,
    ScheduleSource, SchedulesConfigured,
};

use crate::clock::Instant;
use crate::domain::assignment::{AssignmentSet, AssignmentsHash};
use crate::domain::counts::Counts;
use crate::domain::failure::{Code, Failure};
use crate::domain::identity::IdentityHash;
use crate::domain::operation::Operation;
use crate::domain::reconcile::Limits;
use crate::domain::run::{Outcome, Run, Status};
use crate::ids::{InstanceId, RunId, SnapshotId, TenantId, TokenId, WorkspaceId};

/// Where the ledger is. `Debug` and `Display` hide the password.
#[derive(Clone)]
pub enum DatabaseUrl {
    /// `sqlite://PATH`.
    Sqlite(std::path::PathBuf),
    /// `postgres://…`, as given.
    Postgres(secrecy::SecretString),
}

/// What became of a request in [`super::Store::admit`].
#[derive(Clone, Debug)]
pub enum Admitted {
    /// The new run.
    Accepted(Run),
    /// Somebody holds the identity.
    Held(Run),
    /// Its workspace, tenant or user does not exist any more; the rest of the batch is not affected.
    Gone,
}

/// Refused requests to add to a run's count.
#[derive(Clone, Copy, Debug)]
pub struct DuplicateCount {
    /// The canonical run.
    pub run_id: RunId,
    /// How many more.
    pub count: i64,
    /// The latest of them.
    pub last_at: Instant,
}

/// The answer to [`super::Store::claim_next`].
#[derive(Clone, Debug)]
pub enum Claim {
    /// This run is yours, under `run.lease_token`.
    Claimed {
        /// The run.
        run: Box<Run>,
        /// Others of the tenant are queued, due or not.
        more: bool,
    },
    /// Another run of the tenant is running.
    Busy,
    /// The instance's own lease is over: it claims nothing before it has renewed it.
    Fenced,
    /// Another instance, which lives, has the tenant.
    Elsewhere,
    /// Nothing is due; the earliest queued run is due at `next`, if there is one.
    Idle {
        /// When.
        next: Option<Instant>,
    },
}

/// The ledger's clock was set back: what it told from `low` to `high` it told twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// The earliest time after the step.
    pub low: Instant,
    /// The latest time before it.
    pub high: Instant,
}

/// Who has a tenant's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// The instance that asks.
    Ours,
    /// Another one, which lives.
    Theirs,
    /// Nobody who lives.
    Free,
}

/// A tenant with a due run and none that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueTenant {
    /// The tenant.
    pub tenant: TenantId,
    /// Who claims its runs.
    pub holding: Holding,
}

/// The answer to [`super::Store::due_tenants`].
#[derive(Clone, Debug)]
pub struct DueTenants {
    /// Oldest due run first.
    pub tenants: Vec<DueTenant>,
    /// Tenants with a due or a running run.
    pub with_work: usize,
    /// Instances that live.
    pub live: usize,
}

/// The answer to [`super::Store::settle`].
#[derive(Clone, Debug)]
pub enum Settled {
    /// Written; the run as it is now.
    Done(Box<Run>),
    /// The token was an old one: kept as a stale attempt, the run is unchanged.
    Stale,
}

/// The answer to [`super::Store::request_cancel`].
#[derive(Clone, Debug)]
pub enum Cancel {
    /// It was queued and is completed now.
    Completed(Run),
    /// It is running; its execution will stop at its next safe point.
    Requested(Run),
    /// It had completed before.
    AlreadyCompleted(Run),
    /// No such run.
    NotFound,
}

/// A process that starts.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// Fresh.
    pub id: InstanceId,
    /// The machine's name.
    pub hostname: String,
    /// The process id.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// How long its lease lasts without renewal.
    pub lease: std::time::Duration,
}

/// A process, as the ledger knows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The machine.
    pub hostname: String,
    /// The process id there.
    pub pid: i64,
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started_at: Instant,
    /// When it last renewed.
    pub heartbeat_at: Instant,
    /// Until when its lease lasts.
    pub lease_until: Instant,
    /// When it stopped.
    pub stopped_at: Option<Instant>,
    /// When others found that it does not renew its lease; it may come back.
    pub lost_at: Option<Instant>,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The database's time, without the clock's test shift.
    pub database_now: Instant,
    /// Running runs of this instance whose cancellation was asked for.
    pub cancel_requested: Vec<RunId>,
    /// The leases of all running runs of this instance.
    pub owned: Vec<crate::domain::run::Lease>,
    /// False when the instance's row is gone or marked as stopped: its lease cannot be renewed.
    pub renewed: bool,
}

/// The ages that make a run a candidate for reconcile.
#[derive(Clone, Copy, Debug)]
pub struct CandidateFilter {
    /// `reconcile.queued_max`.
    pub queued_max: std::time::Duration,
    /// `reconcile.adapter_grace`.
    pub adapter_grace: std::time::Duration,
}

impl From<&Limits> for CandidateFilter {
    fn from(limits: &Limits) -> Self {
        Self { queued_max: limits.queued_max, adapter_grace: limits.adapter_grace }
    }
}

/// Which runs, see `GET /runs` (SPEC section 10).
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Of a workspace.
    pub workspace_id: Option<WorkspaceId>,
    /// Of a tenant.
    pub tenant_id: Option<TenantId>,
    /// Of an operation.
    pub operation: Option<Operation>,
    /// In a status.
    pub status: Option<Status>,
    /// With an outcome.
    pub outcome: Option<Outcome>,
    /// With an identity.
    pub identity: Option<IdentityHash>,
    /// Which part.
    pub page: PageRequest,
}

/// A part of a list, by key: never an offset.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Items at the most; 0 means none.
    pub limit: usize,
    /// The `next_cursor` of the part before; `None` for the first.
    pub cursor: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// In order.
    pub items: Vec<T>,
    /// Where the next part begins; `None` at the end.
    pub next_cursor: Option<String>,
}

/// A workspace.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// Immutable.
    pub slug: String,
    /// For people.
    pub name: String,
    /// When it was added.
    pub created_at: Instant,
}

/// A tenant to add.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// The owner.
    pub workspace_id: WorkspaceId,
    /// The directory id.
    pub external_id: Uuid,
    /// For people.
    pub name: String,
    /// A cloud of the configuration.
    pub cloud: String,
    /// A credential of the configuration.
    pub credential: String,
}

/// A tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// The owner.
    pub workspace_id: WorkspaceId,
    /// The owner's slug: part of every identity.
    pub workspace_slug: String,
    /// The directory id; immutable.
    pub external_id: Uuid,
    /// For people.
    pub name: String,
    /// A cloud of the configuration.
    pub cloud: String,
    /// A credential of the configuration.
    pub credential: String,
    /// When it was added.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
}

/// What may change of a tenant.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantChange {
    /// For people.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    pub name: Option<String>,
    /// A cloud of the configuration.
    pub cloud: Option<String>,
    /// A credential of the configuration.
    pub credential: Option<String>,
}

/// What a token may do; each role may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Ask for runs, cancel, retry, reconcile.
    Operator,
    /// Add and change workspaces and tenants.
    Admin,
}

/// A token to add.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its label, unique.
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it may do.
    pub role: Role,
    /// The one workspace that it sees.
    pub workspace_id: Option<WorkspaceId>,
}

/// A token, as the ledger knows it.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// Its row.
    pub id: TokenId,
    /// Its label.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The one workspace that it sees.
    pub workspace_id: Option<WorkspaceId>,
}

/// A token in a list of them.
#[derive(Clone, Debug, Serialize)]
pub struct KnownToken {
    /// Its row.
    pub id: TokenId,
    /// Its label.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The one workspace that it sees; null sees all.
    pub workspace_id: Option<WorkspaceId>,
    /// That workspace's slug.
    pub workspace_slug: Option<String>,
    /// When it was made.
    pub created_at: Instant,
}

/// What was read of one policy type, to be stored.
#[derive(Clone, Debug)]
pub struct StoredType {
    /// The catalogue's key.
    pub policy_type: String,
    /// How far the read got.
    pub coverage: Coverage,
    /// What was read completely.
    pub policies: Vec<StoredPolicy>,
}

/// One policy that was read completely.
#[derive(Clone, Debug)]
pub struct StoredPolicy {
    /// As Graph gives it.
    pub policy_id: String,
    /// Its name, sanitised.
    pub name: String,
    /// Its assignments.
    pub assignments: AssignmentSet,
    /// Their hash.
    pub hash: AssignmentsHash,
}

/// How far the read of one policy type got (SPEC section 9).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// Policies that the list named and the request wanted.
    pub listed: u64,
    /// Policies whose assignments were read completely.
    pub read: u64,
    /// Of those: empty ones that a read of their own confirmed.
    pub confirmed_empty: u64,
    /// What was not read, by code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    #[schema(value_type = BTreeMap<String, u64>)]
    pub refused: BTreeMap<Code, u64>,
    /// The list itself was read to its end.
    pub complete: bool,
}

/// How a snapshot ends.
#[derive(Clone, Debug)]
pub struct SnapshotEnd {
    /// `Succeeded` or `Failed`.
    pub outcome: Outcome,
    /// As the run will have them.
    pub counts: Counts,
    /// As the run will have them.
    pub failures: Vec<Failure>,
    /// Per policy type.
    pub coverage: BTreeMap<String, Coverage>,
}

/// Where a snapshot comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    /// A fetch read it: its adapter run.
    Fetched,
    /// Somebody imported it.
    Imported,
    /// What a restore replaced, for its undo.
    Replaced,
}

/// A snapshot of a tenant's assignments.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Where it comes from.
    pub kind: SnapshotKind,
    /// The run that made it, or whose replaced sets it holds; absent for an imported one.
    pub operation_run_id: Option<RunId>,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The tenant's workspace.
    pub workspace_id: WorkspaceId,
    /// `succeeded` when everything in scope was read, `failed` when something was not.
    pub outcome: Outcome,
    /// False while it is being made, and for ever when the attempt that made it died.
    #[serde(skip)]
    pub finished: bool,
    /// The directory that it was read from, where that is not the tenant's own: imported ones alone.
    pub source_tenant: Option<Uuid>,
    /// What somebody called it: imported ones alone.
    pub label: Option<String>,
    /// When it began to be read; for what a restore replaced, when the first of it was.
    pub created_at: Instant,
    /// When it ended; for an imported one, when it was imported.
    pub completed_at: Option<Instant>,
    /// Counts.
    pub summary_counts: Counts,
    /// Per policy type.
    pub coverage: BTreeMap<String, Coverage>,
}

/// A policy in a snapshot, without its assignments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOutline {
    /// Its name.
    pub name: String,
    /// The hash of its assignments.
    pub hash: AssignmentsHash,
}

/// A policy in a snapshot.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SnapshotItem {
    /// The catalogue's key.
    pub policy_type: String,
    /// As Graph gives it.
    pub policy_id: String,
    /// Its name then.
    pub name: String,
    /// In normal form.
    pub assignments: AssignmentSet,
    /// Their hash.
    pub assignments_hash: AssignmentsHash,
}

/// A policy of a tenant, as last read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Policy {
    /// The catalogue's key.
    pub policy_type: String,
    /// As Graph gives it.
    pub policy_id: String,
    /// Its name.
    pub name: String,
    /// The hash of its assignments.
    pub assignments_hash: AssignmentsHash,
    /// The snapshot that read it last.
    pub snapshot_id: SnapshotId,
    /// When.
    pub read_at: Instant,
}

/// A check of `atlasd doctor`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Finding {
    /// The guarantee, such as `G1`.
    pub guarantee: String,
    /// Its short name, as in the metric `atlasd_doctor_broken`.
    pub key: String,
    /// What was checked.
    pub check: String,
    /// How many rows (or objects of the schema) were looked at.
    pub looked_at: i64,
    /// How many rows break it; 0 is well.
    pub broken: i64,
    /// Some of those rows, by run id.
    pub examples: Vec<RunId>,
    /// What to do about them; empty when well.
    pub advice: String,
}
