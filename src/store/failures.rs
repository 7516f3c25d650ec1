//! Failures rolled up: what failed, where, how often, since when (SPEC section 10). The database keeps the sums by day
//! itself (migration `0006_failures`); here they are only read.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};

use super::backend::Backend;
use super::cursor::rows_of;
use super::error::{Problem, StoreError};
use super::statement::sql;
use super::types::{SqlInstant, sql as types};
use crate::clock::Instant;
use crate::domain::failure::Code;
use crate::domain::operation::Operation;
use crate::ids::{RunId, TenantId, WorkspaceId};

const DAY_US: i64 = 86_400_000_000;

/// What makes a group; at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureGroups {
    /// Each reason code.
    pub code: bool,
    /// Each operation.
    pub operation: bool,
    /// Each tenant; the runs of a workspace itself are a group of their own.
    pub tenant: bool,
}

/// Which failures.
#[derive(Clone, Copy, Debug)]
pub struct FailureQuery {
    /// What makes a group.
    pub groups: FailureGroups,
    /// With a code.
    pub code: Option<Code>,
    /// Of a workspace.
    pub workspace_id: Option<WorkspaceId>,
    /// Of a tenant.
    pub tenant_id: Option<TenantId>,
    /// Of an operation.
    pub operation: Option<Operation>,
    /// Of runs that completed on the day (UTC) of this time, or later.
    pub since: Instant,
    /// Groups at the most.
    pub limit: usize,
}

impl FailureQuery {
    /// The beginning of the day from which failures are counted.
    pub fn counted_from(&self) -> Instant {
        Instant::from_micros(self.day().saturating_mul(DAY_US)).unwrap_or(self.since)
    }

    fn day(&self) -> i64 {
        self.since.micros().div_euclid(DAY_US)
    }
}

/// A group of failures. What does not make the group is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureGroup {
    /// The code.
    pub code: Option<Code>,
    /// The operation.
    pub operation: Option<Operation>,
    /// The workspace, and the tenant unless the runs are the workspace's own; where tenants make groups.
    pub scope: Option<(WorkspaceId, Option<TenantId>)>,
    /// Runs that failed (with the code).
    pub runs: i64,
    /// Items that failed, as far as the runs tell; one for each code of a run that does not.
    pub items: i64,
    /// When the first of the runs ended.
    pub first_at: Instant,
    /// When the last of them ended.
    pub last_at: Instant,
    /// The newest of them.
    pub last_run: RunId,
}

/// The largest groups, and whether there are more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// Most runs first.
    pub groups: Vec<FailureGroup>,
    /// There are more than were asked for.
    pub more: bool,
}

#[derive(QueryableByName)]
struct GroupRow {
    #[diesel(sql_type = Text)]
    code: String,
    #[diesel(sql_type = Text, column_name = "type")]
    operation: String,
    #[diesel(sql_type = BigInt)]
    workspace_id: i64,
    #[diesel(sql_type = BigInt)]
    tenant_key: i64,
    #[diesel(sql_type = BigInt)]
    runs: i64,
    #[diesel(sql_type = BigInt)]
    items: i64,
    #[diesel(sql_type = types::Instant)]
    first_at: SqlInstant,
    #[diesel(sql_type = types::Instant)]
    last_at: SqlInstant,
    #[diesel(sql_type = BigInt)]
    last_run_id: i64,
}

/// See [`super::Store::failures`].
pub async fn failures(backend: &Backend, query: FailureQuery) -> Result<Failures, StoreError> {
    let groups = query.groups;
    let choose = |chosen, column: &'static str, none: &'static str| if chosen { column } else { none };
    // A run with several codes is one run unless codes make the groups.
    let runs = choose(groups.code, "runs", "runs_first");
    let columns = [
        choose(groups.code, "code", "'' AS code"),
        choose(groups.operation, "type", "'' AS type"),
        choose(
            groups.tenant,
            "tenant_key, workspace_id",
            "CAST(0 AS BIGINT) AS tenant_key, CAST(0 AS BIGINT) AS workspace_id",
        ),
    ];
    // Numbers first: they are compared sooner than words, and most groups differ in them.
    let grouped: Vec<_> = columns.into_iter().rev().filter(|column| !column.contains(" AS ")).collect();
    let mut statement = sql(format!(
        "SELECT {}, CAST(sum({runs}) AS BIGINT) AS runs, CAST(sum(items) AS BIGINT) AS items, min(first_at) AS first_at, \
         max(last_at) AS last_at, max(last_run_id) AS last_run_id FROM failure_days WHERE day >= $1",
        columns.join(", "),
    ))
    .bind(query.day());
    let mut only = |condition: &str, value: Option<super::statement::Value>| {
        if let Some(value) = value {
            statement.push(condition);
            statement.push_value(value);
        }
    };
    only(" AND workspace_id = ", query.workspace_id.map(|id| id.0.into()));
    only(" AND tenant_key = ", query.tenant_id.map(|id| id.0.into()));
    only(" AND code = ", query.code.map(|code| code.as_str().into()));
    only(" AND type = ", query.operation.map(|operation| operation.as_str().into()));
    statement.push(&format!(" GROUP BY {} ", grouped.join(", ")));
    statement.push("ORDER BY 5 DESC, 9 DESC LIMIT ");
    statement.push_value(rows_of(query.limit));
    let rows: Vec<GroupRow> = backend
        .read("rolling failures up", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    let more = rows.len() > query.limit;
    let read = rows.into_iter().take(query.limit).map(|row| row.group(groups));
    let groups: Result<Vec<_>, Problem> = read.collect();
    Ok(Failures { groups: groups.map_err(|problem| problem.during("rolling failures up"))?, more })
}

impl GroupRow {
    fn group(self, groups: FailureGroups) -> Result<FailureGroup, Problem> {
        let unknown = |what: &str| Problem::Corrupt(format!("the roll-up of failures has an unknown {what}"));
        let code = groups.code.then(|| self.code.parse::<Code>()).transpose();
        let operation = groups.operation.then(|| self.operation.parse::<Operation>()).transpose();
        let tenant = (self.tenant_key != 0).then_some(TenantId(self.tenant_key));
        Ok(FailureGroup {
            code: code.map_err(|()| unknown("code"))?,
            operation: operation.map_err(|_| unknown("operation"))?,
            scope: groups.tenant.then_some((WorkspaceId(self.workspace_id), tenant)),
            runs: self.runs,
            items: self.items,
            first_at: self.first_at.0,
            last_at: self.last_at.0,
            last_run: RunId(self.last_run_id),
        })
    }
}
