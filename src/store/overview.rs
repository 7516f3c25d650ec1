//! Sums for people who look: runs over hours and days, refused requests, what is open. The sums of days and of refused
//! requests are kept as runs end and requests are counted (migration `0009_pages`); here they are only read.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};

use super::Store;
use super::backend::{Backend, Engine};
use super::error::StoreError;
use super::rows::{RunRow, run_columns};
use super::statement::{Statement, sql};
use super::types::Word;
use crate::clock::Instant;
use crate::domain::run::{Run, Status};
use crate::ids::{TenantId, WorkspaceId};

/// The length of an hour and of a day, in microseconds.
const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// A condition that no index is to be chosen for: there is one of the few rows in question. (SQLite takes the index of an
/// equality before any other.)
const FEW: &str = " AND +workspace_id = ";
const FEW_HELD: &str = " AND +h.workspace_id = ";
const FEW_PASSES: &str = " AND +r.workspace_id = ";

/// LIMIT: open runs that are counted one by one; beyond them a count is "at least".
pub const OPEN_COUNTED_MAX: i64 = 5_000;

/// Runs that ended in one hour or day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Whole hours or days since 1970, UTC.
    pub bucket: i64,
    /// Succeeded.
    pub succeeded: i64,
    /// Failed.
    pub failed: i64,
}

/// Open runs: each at the most [`OPEN_COUNTED_MAX`] together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Waiting.
    pub queued: i64,
    /// Executing.
    pub running: i64,
}

impl Store {
    /// Runs that ended, by the hour, from the hour of `since` on; hours without any are left out.
    pub async fn ended_by_hour(
        &self,
        workspace: Option<WorkspaceId>,
        since: Instant,
    ) -> Result<Vec<Ended>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { by_hour(&backend, workspace, since).await }).await
    }

    /// Runs that ended, by the day, from the day of `since` on; days without any are left out.
    pub async fn ended_by_day(
        &self,
        workspace: Option<WorkspaceId>,
        tenant: Option<TenantId>,
        since: Instant,
    ) -> Result<Vec<Ended>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { by_day(&backend, workspace, tenant, since).await }).await
    }

    /// Refused requests from the hour of `since` on.
    pub async fn refused_since(
        &self,
        workspace: Option<WorkspaceId>,
        since: Instant,
    ) -> Result<i64, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { refused(&backend, workspace, since).await }).await
    }

    /// Open runs by status.
    pub async fn open_runs(&self, workspace: Option<WorkspaceId>) -> Result<Open, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { open(&backend, workspace).await }).await
    }

    /// The passes of reconcile since `since` that repaired something, newest first. A dry run repaired nothing.
    pub async fn repairing_passes(
        &self,
        workspace: Option<WorkspaceId>,
        since: Instant,
        limit: usize,
    ) -> Result<Vec<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { repairing(&backend, workspace, since, limit).await }).await
    }

    /// The runs that have absorbed the most requests of those that hold their identity now.
    pub async fn absorbing_runs(
        &self,
        workspace: Option<WorkspaceId>,
        limit: usize,
    ) -> Result<Vec<Run>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { absorbing(&backend, workspace, limit).await }).await
    }
}

#[derive(QueryableByName)]
struct EndedRow {
    #[diesel(sql_type = BigInt)]
    bucket: i64,
    #[diesel(sql_type = BigInt)]
    succeeded: i64,
    #[diesel(sql_type = BigInt)]
    failed: i64,
}

impl From<EndedRow> for Ended {
    fn from(row: EndedRow) -> Self {
        Self { bucket: row.bucket, succeeded: row.succeeded, failed: row.failed }
    }
}

async fn by_hour(
    backend: &Backend,
    workspace: Option<WorkspaceId>,
    since: Instant,
) -> Result<Vec<Ended>, StoreError> {
    const SQLITE: &str = "SELECT completed_at / 3600000000 AS bucket, sum(outcome = 'succeeded') AS succeeded, \
         sum(outcome = 'failed') AS failed FROM operation_runs INDEXED BY operation_runs_by_end \
         WHERE status = 'completed' AND completed_at >= $1";
    const POSTGRES: &str = "SELECT CAST(floor(extract(epoch FROM completed_at) / 3600) AS BIGINT) AS bucket, \
         count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded, \
         count(*) FILTER (WHERE outcome = 'failed') AS failed FROM operation_runs \
         WHERE status = 'completed' AND completed_at >= $1";
    let first = since.micros().div_euclid(HOUR_US).saturating_mul(HOUR_US);
    let since = Instant::from_micros(first).unwrap_or(since);
    let rows: Vec<EndedRow> = backend
        .read("counting runs by the hour", move |conn| {
            Box::pin(async move {
                let mut statement = match conn.engine() {
                    Engine::Sqlite => sql(SQLITE),
                    Engine::Postgres => sql(POSTGRES),
                }
                .bind(since);
                only(&mut statement, " AND workspace_id = ", workspace.map(|id| id.0));
                statement.push(" GROUP BY 1 ORDER BY 1");
                conn.rows(statement).await
            })
        })
        .await?;
    Ok(rows.into_iter().map(Ended::from).collect())
}

async fn by_day(
    backend: &Backend,
    workspace: Option<WorkspaceId>,
    tenant: Option<TenantId>,
    since: Instant,
) -> Result<Vec<Ended>, StoreError> {
    const TEXT: &str = "SELECT day AS bucket, CAST(sum(succeeded) AS BIGINT) AS succeeded, \
         CAST(sum(failed) AS BIGINT) AS failed FROM run_days WHERE day >= $1";
    let mut statement = sql(TEXT).bind(since.micros().div_euclid(DAY_US));
    only(&mut statement, " AND workspace_id = ", workspace.map(|id| id.0));
    only(&mut statement, " AND tenant_key = ", tenant.map(|id| id.0));
    statement.push(" GROUP BY day ORDER BY day");
    let rows: Vec<EndedRow> = backend
        .read("counting runs by the day", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    Ok(rows.into_iter().map(Ended::from).collect())
}

#[derive(QueryableByName)]
struct SumRow {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

async fn refused(
    backend: &Backend,
    workspace: Option<WorkspaceId>,
    since: Instant,
) -> Result<i64, StoreError> {
    const TEXT: &str =
        "SELECT CAST(coalesce(sum(refused), 0) AS BIGINT) AS n FROM refused_hours WHERE hour >= $1";
    let mut statement = sql(TEXT).bind(since.micros().div_euclid(HOUR_US));
    only(&mut statement, " AND workspace_id = ", workspace.map(|id| id.0));
    let row: Option<SumRow> = backend
        .read("summing refused requests", move |conn| Box::pin(async move { conn.row(statement).await }))
        .await?;
    Ok(row.map_or(0, |row| row.n))
}

#[derive(QueryableByName)]
struct OpenRow {
    #[diesel(sql_type = Text)]
    status: Word<Status>,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

async fn open(backend: &Backend, workspace: Option<WorkspaceId>) -> Result<Open, StoreError> {
    let mut statement = sql(
        "SELECT status, count(*) AS n FROM (SELECT status FROM operation_runs WHERE status IN ('queued', 'running')",
    );
    only(&mut statement, FEW, workspace.map(|id| id.0));
    statement.push(" LIMIT ");
    statement.push_value(OPEN_COUNTED_MAX);
    statement.push(") o GROUP BY status");
    let rows: Vec<OpenRow> = backend
        .read("counting open runs", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    let count = |status| rows.iter().filter(|row| row.status.0 == status).map(|row| row.n).sum();
    Ok(Open { queued: count(Status::Queued), running: count(Status::Running) })
}

async fn absorbing(
    backend: &Backend,
    workspace: Option<WorkspaceId>,
    limit: usize,
) -> Result<Vec<Run>, StoreError> {
    let mut statement = sql(concat!(
        "SELECT ",
        run_columns!(),
        " FROM operation_runs r WHERE r.id IN (SELECT h.id FROM operation_runs h \
         WHERE h.holds_identity AND h.duplicate_count > 0"
    ));
    only(&mut statement, FEW_HELD, workspace.map(|id| id.0));
    statement.push(" ORDER BY h.duplicate_count DESC, h.id DESC LIMIT ");
    statement.push_value(i64::try_from(limit).unwrap_or(i64::MAX));
    statement.push(") ORDER BY r.duplicate_count DESC, r.id DESC");
    let rows: Vec<RunRow> = backend
        .read("reading absorbing runs", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

async fn repairing(
    backend: &Backend,
    workspace: Option<WorkspaceId>,
    since: Instant,
    limit: usize,
) -> Result<Vec<Run>, StoreError> {
    // Ids grow with time: the newest pass before `since` bounds the look to the passes that matter, which an index of
    // passes alone gives from its end.
    let mut statement = sql(concat!(
        "SELECT ",
        run_columns!(),
        " FROM operation_runs r WHERE r.type = 'ops.reconcile_adapter_runs' AND r.created_at >= $1 \
         AND r.id > coalesce((SELECT b.id FROM operation_runs b WHERE b.type = 'ops.reconcile_adapter_runs' \
         AND b.created_at < $1 ORDER BY b.id DESC LIMIT 1), 0) \
         AND (CAST(r.summary_counts ->> 'updated' AS BIGINT) > 0 \
         OR CAST(r.summary_counts ->> 'created' AS BIGINT) > 0 \
         OR CAST(r.summary_counts ->> 'failed' AS BIGINT) > 0) AND (r.context ->> 'dry_run') IS NULL"
    ))
    .bind(since);
    only(&mut statement, FEW_PASSES, workspace.map(|id| id.0));
    statement.push(" ORDER BY r.id DESC LIMIT ");
    statement.push_value(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<RunRow> = backend
        .read("reading passes that repaired something", move |conn| {
            Box::pin(async move { conn.rows(statement).await })
        })
        .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// Adds a condition where there is a value for it.
fn only(statement: &mut Statement, condition: &str, value: Option<i64>) {
    if let Some(value) = value {
        statement.push(condition);
        statement.push_value(value);
    }
}
