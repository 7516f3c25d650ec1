//! Rows as the queries give them, and the domain's words made of them.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use serde_json::{Map, Value};

use super::records::{Role, SnapshotKind};
use super::types::{Document, FromWord, SqlId, SqlInstant, Word, sql};
use crate::clock::Instant;
use crate::domain::counts::Counts;
use crate::domain::failure::{Code, Failure};
use crate::domain::identity::IdentityHash;
use crate::domain::operation::Operation;
use crate::domain::restore::ItemState;
use crate::domain::run::{Attempt, AttemptOutcome, Outcome, Run, Status};
use crate::ids::{InstanceId, LeaseToken, RunId, TenantId, UserId, WorkspaceId};

/// The columns of a [`RunRow`], of a table or alias `r`.
macro_rules! run_columns {
    () => {
        "r.id, r.workspace_id, r.tenant_id, r.user_id, r.initiator_name, r.type, r.status, r.outcome, \
         r.run_identity_hash, r.summary_counts, r.failure_summary, r.context, r.started_at, r.completed_at, \
         r.created_at, r.updated_at, r.attempt, r.next_attempt_at, r.cancel_requested_at, r.lease_token, \
         r.lease_owner, r.cooldown_until, r.holds_identity, r.duplicate_count, r.last_duplicate_at"
    };
}
pub(super) use run_columns;

/// True for a run, of a table or alias, of a type that this program knows. A newer program beside this one may have others;
/// those are left to it: nobody can execute, repair or even read what it has no word for.
macro_rules! known_type {
    ($of:literal) => {
        concat!($of, ".type IN ('assignments.fetch', 'assignments.restore', 'ops.reconcile_adapter_runs')")
    };
}
pub(super) use known_type;

/// A row of `operation_runs`.
#[derive(QueryableByName)]
pub struct RunRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    workspace_id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    tenant_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    user_id: Option<i64>,
    #[diesel(sql_type = Text)]
    initiator_name: String,
    #[diesel(sql_type = Text, column_name = "type")]
    operation: Word<Operation>,
    #[diesel(sql_type = Text)]
    status: Word<Status>,
    #[diesel(sql_type = Text)]
    outcome: Word<Outcome>,
    #[diesel(sql_type = Text)]
    run_identity_hash: Word<IdentityHash>,
    #[diesel(sql_type = sql::Document)]
    summary_counts: Document<Counts>,
    #[diesel(sql_type = sql::Document)]
    failure_summary: Document<Vec<Failure>>,
    #[diesel(sql_type = sql::Document)]
    context: Document<Map<String, Value>>,
    #[diesel(sql_type = Nullable<sql::Instant>)]
    started_at: Option<SqlInstant>,
    #[diesel(sql_type = Nullable<sql::Instant>)]
    completed_at: Option<SqlInstant>,
    #[diesel(sql_type = sql::Instant)]
    created_at: SqlInstant,
    #[diesel(sql_type = sql::Instant)]
    updated_at: SqlInstant,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = Nullable<sql::Instant>)]
    next_attempt_at: Option<SqlInstant>,
    #[diesel(sql_type = Nullable<sql::Instant>)]
    cancel_requested_at: Option<SqlInstant>,
    #[diesel(sql_type = BigInt)]
    lease_token: i64,
    #[diesel(sql_type = Nullable<sql::Id>)]
    lease_owner: Option<SqlId>,
    #[diesel(sql_type = Nullable<sql::Instant>)]
    cooldown_until: Option<SqlInstant>,
    #[diesel(sql_type = Bool)]
    holds_identity: bool,
    #[diesel(sql_type = BigInt)]
    duplicate_count: i64,
    #[diesel(sql_type = Nullable<sql::Instant>)]
    last_duplicate_at: Option<SqlInstant>,
}

/// Unwraps an optional instant.
pub fn instant(at: Option<SqlInstant>) -> Option<Instant> {
    at.map(|SqlInstant(at)| at)
}

impl From<RunRow> for Run {
    fn from(row: RunRow) -> Self {
        Self {
            id: RunId(row.id),
            workspace_id: WorkspaceId(row.workspace_id),
            tenant_id: row.tenant_id.map(TenantId),
            user_id: row.user_id.map(UserId),
            initiator_name: row.initiator_name,
            operation: row.operation.0,
            status: row.status.0,
            outcome: row.outcome.0,
            identity: row.run_identity_hash.0,
            summary_counts: row.summary_counts.0,
            failure_summary: row.failure_summary.0,
            context: row.context.0,
            started_at: instant(row.started_at),
            completed_at: instant(row.completed_at),
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
            attempt: row.attempt,
            next_attempt_at: instant(row.next_attempt_at),
            cancel_requested_at: instant(row.cancel_requested_at),
            cooldown_until: instant(row.cooldown_until),
            duplicate_count: row.duplicate_count,
            last_duplicate_at: instant(row.last_duplicate_at),
            holds_identity: row.holds_identity,
            lease_token: LeaseToken(row.lease_token),
            lease_owner: row.lease_owner.map(|SqlId(id)| InstanceId(id)),
        }
    }
}

/// A row of `run_attempts`.
#[derive(QueryableByName)]
pub struct AttemptRow {
    #[diesel(sql_type = BigInt)]
    run_id: i64,
    #[diesel(sql_type = Integer)]
    attempt: i32,
    #[diesel(sql_type = BigInt)]
    lease_token: i64,
    #[diesel(sql_type = sql::Id)]
    instance_id: SqlId,
    #[diesel(sql_type = sql::Instant)]
    started_at: SqlInstant,
    #[diesel(sql_type = Nullable<sql::Instant>)]
    ended_at: Option<SqlInstant>,
    #[diesel(sql_type = Text)]
    outcome: Word<AttemptOutcome>,
    #[diesel(sql_type = Nullable<Text>)]
    code: Option<Word<Code>>,
    #[diesel(sql_type = sql::Document)]
    summary_counts: Document<Counts>,
    #[diesel(sql_type = sql::Document)]
    failure_summary: Document<Vec<Failure>>,
}

/// The columns of an [`AttemptRow`].
pub const ATTEMPT_COLUMNS: &str = "run_id, attempt, lease_token, instance_id, started_at, ended_at, outcome, code, \
     summary_counts, failure_summary";

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            run_id: RunId(row.run_id),
            attempt: row.attempt,
            lease_token: LeaseToken(row.lease_token),
            instance_id: InstanceId(row.instance_id.0),
            started_at: row.started_at.0,
            ended_at: instant(row.ended_at),
            outcome: row.outcome.0,
            code: row.code.map(|Word(code)| code),
            summary_counts: row.summary_counts.0,
            failure_summary: row.failure_summary.0,
        }
    }
}

/// A row with one number, called `n`.
#[derive(QueryableByName)]
pub struct NumberRow {
    #[diesel(sql_type = BigInt)]
    pub n: i64,
}

/// A row with one optional instant, called `at`.
#[derive(QueryableByName)]
pub struct InstantRow {
    #[diesel(sql_type = Nullable<sql::Instant>)]
    pub at: Option<SqlInstant>,
}

/// A row with one text, called `word`.
#[derive(QueryableByName)]
pub struct TextRow {
    #[diesel(sql_type = Text)]
    pub word: String,
}

/// The ledger's words of these types are the domain's own.
macro_rules! parsed {
    ($($type:ty),*) => {$(
        impl FromWord for $type {
            fn from_word(word: &str) -> Option<Self> {
                word.parse().ok()
            }
        }
    )*};
}
parsed!(Status, Outcome, AttemptOutcome, Operation, Code, IdentityHash);

/// A role as the ledger holds it.
pub const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

impl FromWord for SnapshotKind {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "fetched" => Some(Self::Fetched),
            "imported" => Some(Self::Imported),
            "replaced" => Some(Self::Replaced),
            _ => None,
        }
    }
}

/// The state of a restore's item as the ledger holds it.
pub const fn item_state_word(state: ItemState) -> &'static str {
    match state {
        ItemState::Planned => "planned",
        ItemState::Sent => "sent",
        ItemState::Verified => "verified",
        ItemState::Skipped => "skipped",
        ItemState::Failed => "failed",
    }
}

impl FromWord for ItemState {
    fn from_word(word: &str) -> Option<Self> {
        [Self::Planned, Self::Sent, Self::Verified, Self::Skipped, Self::Failed]
            .into_iter()
            .find(|state| item_state_word(*state) == word)
    }
}

impl FromWord for Role {
    fn from_word(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role_word(*role) == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_known() {
        let listed: Vec<&str> = known_type!("r").split('\'').skip(1).step_by(2).collect();
        assert_eq!(listed, Operation::ALL.map(Operation::as_str));
    }
}
