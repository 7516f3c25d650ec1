//! Rows of schedules, and the words of their closed lists.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use serde_json::Value;

use crate::domain::operation::Operation;
use crate::ids::{RunId, ScheduleId, TenantId, WorkspaceId};
use crate::store::records::{AskVerdict, LastOccurrence, Schedule, ScheduleSource};
use crate::store::rows::instant;
use crate::store::statement::{Statement, sql};
use crate::store::types::{Document, FromWord, SqlId, SqlInstant, Word, sql as types};

/// A schedule with the names of what it is about.
#[derive(QueryableByName)]
pub struct ScheduleRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    workspace_id: i64,
    #[diesel(sql_type = Text)]
    workspace_slug: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    tenant_id: Option<i64>,
    #[diesel(sql_type = Nullable<types::Id>)]
    tenant_external_id: Option<SqlId>,
    #[diesel(sql_type = Nullable<Text>)]
    tenant_name: Option<String>,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    source: Word<ScheduleSource>,
    #[diesel(sql_type = Text, column_name = "type")]
    operation: Word<Operation>,
    #[diesel(sql_type = types::Document)]
    inputs: Document<Value>,
    #[diesel(sql_type = Text)]
    cron: String,
    #[diesel(sql_type = Text)]
    timezone: String,
    #[diesel(sql_type = BigInt)]
    jitter_s: i64,
    #[diesel(sql_type = Bool)]
    enabled: bool,
    #[diesel(sql_type = Text)]
    created_by: String,
    #[diesel(sql_type = types::Instant)]
    created_at: SqlInstant,
    #[diesel(sql_type = types::Instant)]
    updated_at: SqlInstant,
    #[diesel(sql_type = Nullable<types::Instant>)]
    next_at: Option<SqlInstant>,
    #[diesel(sql_type = Nullable<types::Instant>)]
    last_at: Option<SqlInstant>,
    #[diesel(sql_type = Bool)]
    last_catch_up: bool,
    #[diesel(sql_type = Nullable<types::Instant>)]
    last_asked_at: Option<SqlInstant>,
    #[diesel(sql_type = Nullable<Text>)]
    last_verdict: Option<Word<AskVerdict>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_run_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    last_problem: Option<String>,
    #[diesel(sql_type = BigInt)]
    accepted: i64,
    #[diesel(sql_type = BigInt)]
    active: i64,
    #[diesel(sql_type = BigInt)]
    cooldown: i64,
    #[diesel(sql_type = BigInt)]
    failed: i64,
    #[diesel(sql_type = BigInt)]
    pending: i64,
}

/// A select of schedules up to its conditions.
const SCHEDULES: &str = "SELECT s.id, s.workspace_id, w.slug AS workspace_slug, s.tenant_id, \
     t.external_id AS tenant_external_id, t.name AS tenant_name, s.name, s.source, s.type, s.inputs, s.cron, s.timezone, \
     s.jitter_s, s.enabled, s.created_by, s.created_at, s.updated_at, s.next_at, s.last_at, s.last_catch_up, \
     s.last_asked_at, s.last_verdict, s.last_run_id, s.last_problem, s.accepted, s.active, s.cooldown, s.failed, \
     (SELECT count(*) FROM schedule_asks a WHERE a.schedule_id = s.id) AS pending \
     FROM schedules s JOIN workspaces w ON w.id = s.workspace_id LEFT JOIN tenants t ON t.id = s.tenant_id WHERE ";

/// A select of schedules under `condition`, whose value is `value`.
pub fn schedules_where(condition: &str, value: impl Into<crate::store::statement::Value>) -> Statement {
    let mut statement = sql(SCHEDULES);
    statement.push(condition);
    statement.push_value(value);
    statement
}

impl From<ScheduleRow> for Schedule {
    fn from(row: ScheduleRow) -> Self {
        Self {
            id: ScheduleId(row.id),
            workspace_id: WorkspaceId(row.workspace_id),
            workspace_slug: row.workspace_slug,
            tenant_id: row.tenant_id.map(TenantId),
            tenant_external_id: row.tenant_external_id.map(|SqlId(id)| id),
            tenant_name: row.tenant_name,
            name: row.name,
            source: row.source.0,
            operation: row.operation.0,
            inputs: row.inputs.0,
            cron: row.cron,
            timezone: row.timezone,
            jitter_s: row.jitter_s,
            enabled: row.enabled,
            created_by: row.created_by,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
            next_at: instant(row.next_at),
            last: LastOccurrence {
                occurrence_at: instant(row.last_at),
                catch_up: row.last_catch_up,
                asked_at: instant(row.last_asked_at),
                verdict: row.last_verdict.map(|Word(verdict)| verdict),
                run_id: row.last_run_id.map(RunId),
                problem: row.last_problem,
                accepted: row.accepted,
                active: row.active,
                cooldown: row.cooldown,
                failed: row.failed,
            },
            pending: row.pending,
        }
    }
}

/// A source as the ledger holds it.
pub const fn source_word(source: ScheduleSource) -> &'static str {
    match source {
        ScheduleSource::Api => "api",
        ScheduleSource::Config => "config",
    }
}

impl FromWord for ScheduleSource {
    fn from_word(word: &str) -> Option<Self> {
        [Self::Api, Self::Config].into_iter().find(|source| source_word(*source) == word)
    }
}

impl FromWord for AskVerdict {
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }
}
