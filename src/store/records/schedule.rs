//! Schedules: standing requests, and the requests that they are about to make.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::Instant;
use crate::domain::operation::Operation;
use crate::ids::{AskId, RunId, ScheduleId, TenantId, WorkspaceId};

/// Where a schedule is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleSource {
    /// Over the endpoint, where it can be changed.
    Api,
    /// In the configuration, where alone it can be changed.
    Config,
}

/// What became of a schedule's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AskVerdict {
    /// A new run.
    Accepted,
    /// The run that is active already.
    Active,
    /// The run that is in cooldown.
    Cooldown,
    /// None: the request could not be made, `last_problem` says why.
    Failed,
}

impl AskVerdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Active, Self::Cooldown, Self::Failed];

    /// The word in the ledger, in JSON and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Active => "active",
            Self::Cooldown => "cooldown",
            Self::Failed => "failed",
        }
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// The owner.
    pub workspace_id: WorkspaceId,
    /// The owner's slug.
    pub workspace_slug: String,
    /// The tenant; null means every tenant of the workspace (those added later too), or the workspace itself.
    pub tenant_id: Option<TenantId>,
    /// The tenant's directory id.
    pub tenant_external_id: Option<Uuid>,
    /// The tenant's name.
    pub tenant_name: Option<String>,
    /// Unique in its workspace.
    pub name: String,
    /// Where it is defined; one of the configuration is read-only here.
    pub source: ScheduleSource,
    /// What it asks for.
    #[serde(rename = "type")]
    pub operation: Operation,
    /// With which inputs, normalised.
    #[schema(value_type = Object)]
    pub inputs: Value,
    /// When: five fields (minute, hour, day of month, month, day of week) or a nickname such as `@daily`.
    pub cron: String,
    /// The IANA time zone of the expression.
    pub timezone: String,
    /// Each request is made up to this many seconds after its time.
    pub jitter_s: i64,
    /// Whether it asks for anything at all.
    pub enabled: bool,
    /// Who defined it.
    pub created_by: String,
    /// When.
    pub created_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
    /// The next time, without jitter; null while it is paused.
    pub next_at: Option<Instant>,
    /// What the last time came to.
    pub last: LastOccurrence,
    /// Requests that are about to be made.
    pub pending: i64,
}

/// The last occurrence of a schedule, and what became of its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastOccurrence {
    /// The time that the expression names; null before the first.
    pub occurrence_at: Option<Instant>,
    /// It came late: no daemon ran when it was time.
    pub catch_up: bool,
    /// When the latest of its requests was answered.
    pub asked_at: Option<Instant>,
    /// That answer.
    pub verdict: Option<AskVerdict>,
    /// The run of that answer.
    pub run_id: Option<RunId>,
    /// What went wrong with the latest request that could not be made.
    pub problem: Option<String>,
    /// Requests that became runs.
    pub accepted: i64,
    /// Requests that were refused because their run is active.
    pub active: i64,
    /// Requests that were refused because their run is in cooldown.
    pub cooldown: i64,
    /// Requests that could not be made.
    pub failed: i64,
}

/// A schedule to add, checked.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// The owner.
    pub workspace_id: WorkspaceId,
    /// The tenant, or none.
    pub tenant_id: Option<TenantId>,
    /// Unique in its workspace.
    pub name: String,
    /// Where it is defined.
    pub source: ScheduleSource,
    /// What it asks for.
    pub operation: Operation,
    /// Normalised.
    pub inputs: Value,
    /// An expression that can be read.
    pub cron: String,
    /// A zone that is known.
    pub timezone: String,
    /// At most a day.
    pub jitter: Duration,
    /// Whether it asks for anything at all.
    pub enabled: bool,
    /// Who defines it.
    pub created_by: String,
}

/// What became of a schedule to add.
#[derive(Clone, Debug)]
pub enum ScheduleAdded {
    /// It is there.
    Added(Box<Schedule>),
    /// There are as many as there may be.
    Full,
}

/// What is to change of a schedule, checked; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ScheduleChange {
    /// Its name.
    pub name: Option<String>,
    /// Normalised inputs.
    pub inputs: Option<Value>,
    /// An expression that can be read.
    pub cron: Option<String>,
    /// A zone that is known.
    pub timezone: Option<String>,
    /// At most a day.
    pub jitter: Option<Duration>,
    /// Whether it asks for anything at all.
    pub enabled: Option<bool>,
}

/// What [`super::super::Store::configure_schedules`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchedulesConfigured {
    /// Names that are new.
    pub added: Vec<String>,
    /// Names that changed.
    pub changed: Vec<String>,
    /// Names that the configuration has no more.
    pub removed: Vec<String>,
    /// Names that a schedule of the endpoint has in the same workspace: left alone.
    pub taken: Vec<String>,
}

/// A request that a schedule is to make now; whoever was given it holds it for a while.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its id.
    pub id: AskId,
    /// The schedule.
    pub schedule: ScheduleId,
    /// The schedule's name.
    pub name: String,
    /// What it asks for.
    pub operation: Operation,
    /// With which inputs.
    pub inputs: Value,
    /// The owner.
    pub workspace_id: WorkspaceId,
    /// Of which tenant.
    pub tenant_id: Option<TenantId>,
    /// The time that the expression names.
    pub occurrence_at: Instant,
    /// It comes late.
    pub catch_up: bool,
}

/// What became of an [`Ask`].
#[derive(Clone, Debug)]
pub struct AskEnd {
    /// The request.
    pub ask: AskId,
    /// Its schedule.
    pub schedule: ScheduleId,
    /// The answer.
    pub verdict: AskVerdict,
    /// The answer's run.
    pub run_id: Option<RunId>,
    /// What went wrong, safe to show.
    pub problem: Option<String>,
}
