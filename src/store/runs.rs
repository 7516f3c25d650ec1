//! Runs: reading them, and the one statement that every transition of an active run is written with.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::backend::{Backend, Conn, Engine};
use super::cursor::{after_id, next_of, rows_of};
use super::error::{Problem, StoreError};
use super::records::{Page, RunQuery};
use super::rows::{ATTEMPT_COLUMNS, AttemptRow, RunRow, run_columns};
use super::statement::{Statement, sql};
use super::types::{DocumentText, SqlInstant, Word, sql as types};
use crate::clock::Instant;
use crate::domain::failure::Failure;
use crate::domain::identity::IdentityHash;
use crate::domain::operation::Operation;
use crate::domain::run::{Attempt, Completion, Outcome, Run, Status};
use crate::ids::{LeaseToken, RunId};

// --- transitions -----------------------------------------------------------------------------------------------------

#[derive(QueryableByName)]
struct LockedRow {
    #[diesel(embed)]
    run: RunRow,
    #[diesel(sql_type = Nullable<types::Instant>)]
    at: Option<SqlInstant>,
}

/// A run, locked until the end of the transaction, and the time that decides.
pub async fn lock(conn: &mut Conn<'_>, run: RunId) -> Result<Option<(Run, Instant)>, Problem> {
    const TEXT: &str =
        concat!("SELECT ", run_columns!(), ", NULL AS at FROM operation_runs r WHERE r.id = $1");
    const LOCKED: &str = concat!(
        "SELECT ",
        run_columns!(),
        ", clock_timestamp() AS at FROM operation_runs r WHERE r.id = $1 FOR NO KEY UPDATE"
    );
    let text = match conn.engine() {
        Engine::Sqlite => TEXT,
        Engine::Postgres => LOCKED,
    };
    let row: Option<LockedRow> = conn.row(sql(text).bind(run.0)).await?;
    Ok(row.map(|row| (Run::from(row.run), conn.time(row.at))))
}

/// What a transition was decided on: it is written only while the row still shows it.
#[derive(Clone, Copy)]
pub struct Seen {
    /// The run.
    pub id: RunId,
    status: Status,
    token: LeaseToken,
}

impl Seen {
    /// What `run` shows.
    pub fn of(run: &Run) -> Self {
        Self { id: run.id, status: run.status, token: run.lease_token }
    }
}

/// The update that writes the changeable part of a run, for [`saving`].
macro_rules! save_run {
    () => {
        "UPDATE operation_runs SET status = $1, outcome = $2, summary_counts = $3, \
         failure_summary = $4, context = $5, started_at = $6, completed_at = $7, updated_at = $8, attempt = $9, \
         next_attempt_at = $10, cancel_requested_at = $11, lease_token = $12, lease_owner = $13, \
         cooldown_until = $14, holds_identity = $15 WHERE id = $16 AND status = $17 AND lease_token = $18"
    };
}
pub(super) use save_run;

/// A statement whose first eighteen values are those of `save_run!`.
pub fn saving(text: &'static str, seen: Seen, run: &Run) -> Statement {
    sql(text)
        .bind(run.status.as_str())
        .bind(run.outcome.as_str())
        .bind(DocumentText::of(&run.summary_counts))
        .bind(DocumentText::of(&run.failure_summary))
        .bind(DocumentText::of(&run.context))
        .bind(run.started_at)
        .bind(run.completed_at)
        .bind(run.updated_at)
        .bind(run.attempt)
        .bind(run.next_attempt_at)
        .bind(run.cancel_requested_at)
        .bind(run.lease_token.0)
        .bind(run.lease_owner.map(|owner| owner.0))
        .bind(run.cooldown_until)
        .bind(run.holds_identity)
        .bind(seen.id.0)
        .bind(seen.status.as_str())
        .bind(seen.token.0)
}

/// Writes the changeable part of a run; false when the row no longer shows `seen`, and then nothing is written.
pub async fn save(conn: &mut Conn<'_>, seen: Seen, run: &Run) -> Result<bool, Problem> {
    Ok(conn.execute(saving(save_run!(), seen, run)).await? == 1)
}

/// Writes a run that has been completed, and closes what its attempts left open: in one transaction, so that there is
/// no moment in which an adapter run is open whose run has ended.
pub async fn save_completed(
    conn: &mut Conn<'_>,
    seen: Seen,
    run: &Run,
    now: Instant,
) -> Result<bool, Problem> {
    let saved = save(conn, seen, run).await?;
    if saved {
        abandon_adapters(conn, run.id, run.operation, now).await?;
    }
    Ok(saved)
}

/// The update that closes what a run left open in a table of adapter runs.
macro_rules! abandon {
    ($table:literal, at $at:literal, of $run:literal) => {
        concat!(
            "UPDATE ",
            $table,
            " SET state = 'abandoned', outcome = 'failed', completed_at = ",
            $at,
            " WHERE state = 'building' AND operation_run_id = ",
            $run
        )
    };
}
pub(super) use abandon;

/// Closes the adapter runs that a run's attempts left open; how many. A fetch has snapshots, a restore also restore runs.
pub async fn abandon_adapters(
    conn: &mut Conn<'_>,
    run: RunId,
    operation: Operation,
    now: Instant,
) -> Result<usize, Problem> {
    let mut closed = 0;
    if operation != Operation::Reconcile {
        let statement = sql(abandon!("snapshots", at "$1", of "$2"));
        closed += conn.execute(statement.bind(now).bind(run.0)).await?;
    }
    if operation == Operation::Restore {
        let statement = sql(abandon!("restore_runs", at "$1", of "$2"));
        closed += conn.execute(statement.bind(now).bind(run.0)).await?;
    }
    Ok(closed)
}

/// Completes a run in memory: the outcome, and whether it goes on holding its identity.
pub fn complete(run: &mut Run, end: Completion, now: Instant) {
    let cooling = !end.cooldown.is_zero();
    run.status = Status::Completed;
    run.outcome = end.outcome;
    run.summary_counts = end.counts;
    run.failure_summary = end.failures;
    run.context.extend(end.context);
    run.completed_at = Some(now);
    run.updated_at = now;
    run.next_attempt_at = None;
    run.lease_owner = None;
    run.holds_identity = cooling;
    run.cooldown_until = cooling.then(|| now + end.cooldown);
}

/// The completion of a run that ends for a reason of the ledger's own.
pub fn closed(failure: Failure, cooldown: std::time::Duration) -> Completion {
    Completion {
        outcome: Outcome::Failed,
        counts: crate::domain::counts::Counts::default(),
        failures: vec![failure],
        context: serde_json::Map::new(),
        cooldown,
    }
}

// --- reading ---------------------------------------------------------------------------------------------------------

/// See [`super::Store::run`].
pub async fn run(backend: &Backend, id: RunId) -> Result<Option<Run>, StoreError> {
    const TEXT: &str = concat!("SELECT ", run_columns!(), " FROM operation_runs r WHERE r.id = $1");
    let row: Option<RunRow> = backend
        .read("reading a run", move |conn| Box::pin(async move { conn.row(sql(TEXT).bind(id.0)).await }))
        .await?;
    Ok(row.map(Run::from))
}

/// See [`super::Store::ended`].
pub async fn ended(backend: &Backend, ids: Vec<RunId>) -> Result<Vec<Run>, StoreError> {
    Ok(by_id(backend, ids).await?.into_iter().filter(|run| !run.is_active()).collect())
}

/// See [`super::Store::runs_by_id`].
pub async fn by_id(backend: &Backend, ids: Vec<RunId>) -> Result<Vec<Run>, StoreError> {
    // By key alone: what is asked of the status, too, is looked up in an index of all that has completed.
    const SQLITE: &str = concat!(
        "SELECT ",
        run_columns!(),
        " FROM json_each($1) j CROSS JOIN operation_runs r ON r.id = j.value"
    );
    const POSTGRES: &str = concat!("SELECT ", run_columns!(), " FROM operation_runs r WHERE r.id = ANY ($1)");
    let rows: Vec<RunRow> = backend
        .read("looking runs up", move |conn| {
            Box::pin(async move {
                let statement = match conn.engine() {
                    Engine::Sqlite => sql(SQLITE).bind(DocumentText::of(&ids)),
                    Engine::Postgres => {
                        sql(POSTGRES).bind(ids.iter().map(|id| Some(id.0)).collect::<Vec<_>>())
                    }
                };
                conn.rows(statement).await
            })
        })
        .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// See [`super::Store::runs`].
pub async fn runs(backend: &Backend, query: RunQuery) -> Result<Page<Run>, StoreError> {
    let limit = query.page.limit;
    if asks_for_nothing(&query) {
        // Still a list, and a cursor is still looked at.
        after_id(query.page.cursor.as_deref())?;
        return Ok(Page { items: Vec::new(), next_cursor: None });
    }
    let after = after_id(query.page.cursor.as_deref())?.unwrap_or(i64::MAX);
    let rows: Vec<RunRow> = backend
        .read("listing runs", move |conn| {
            Box::pin(async move {
                let statement = listing(conn.engine(), &query, after);
                conn.rows(statement).await
            })
        })
        .await?;
    Ok(next_of(rows.into_iter().map(Run::from).collect(), limit, |run| run.id.0))
}

/// Whether the filters contradict each other: no run can be so, and a search for it would go through all of them.
fn asks_for_nothing(query: &RunQuery) -> bool {
    let ended = |status: Status| status == Status::Completed;
    let unlike = |(status, outcome): (Status, Outcome)| ended(status) == (outcome == Outcome::Pending);
    let of_tenant = query.tenant_id.is_some() && query.operation == Some(Operation::Reconcile);
    of_tenant || query.status.zip(query.outcome).is_some_and(unlike)
}

/// The statement of a list: ids first, from an index that holds what the filters ask for, then the rows of one page
/// alone. Words stand in the text and not among its values: only so can either engine see that an index of, say, failed
/// runs holds all that is asked for. The texts are as many as there are combinations of filters.
fn listing(engine: Engine, query: &RunQuery, after: i64) -> super::statement::Statement {
    let mut statement = sql(concat!(
        "SELECT ",
        run_columns!(),
        " FROM operation_runs r WHERE r.id IN (SELECT f.id FROM operation_runs f WHERE f.id < $1"
    ))
    .bind(after);
    if let Some(tenant) = query.tenant_id {
        statement.push(" AND f.tenant_id = ");
        statement.push_value(tenant.0);
    }
    if let Some(workspace) = query.workspace_id {
        // SQLite takes the index of an equality before any other, and would go through a workspace for the few of its
        // runs that another index holds: the plus hides the equality. PostgreSQL may take a workspace for one like all
        // others, and would go through those to find that this one has nothing: its newest run is where it begins.
        let has_index = query.tenant_id.is_none() && is_of_few(query);
        statement.push(if has_index && engine == Engine::Sqlite {
            " AND +f.workspace_id = "
        } else {
            " AND f.workspace_id = "
        });
        statement.push_value(workspace.0);
        if query.tenant_id.is_none() && !has_index {
            statement.push(" AND f.id <= (SELECT max(n.id) FROM operation_runs n WHERE n.workspace_id = ");
            statement.push_value(workspace.0);
            statement.push(")");
        }
    }
    if let Some(operation) = query.operation {
        statement.push(&format!(" AND f.type = '{}'", operation.as_str()));
    }
    // The words of the indexes, and beside them what narrows them.
    match (query.status, query.outcome) {
        (_, Some(outcome @ (Outcome::Succeeded | Outcome::Failed))) => {
            statement.push(&format!(" AND f.outcome = '{}'", outcome.as_str()));
        }
        (Some(Status::Completed), _) => statement.push(" AND f.status = 'completed'"),
        (None, None) => {}
        (status, _) => {
            statement.push(" AND f.status IN ('queued', 'running')");
            if let Some(status) = status {
                statement.push(&format!(" AND f.status = '{}'", status.as_str()));
            }
        }
    }
    if let Some(identity) = query.identity.map(|hash| hash.to_string()) {
        // Each half by its own index: the history by hash, the active runs by what is active.
        statement.push(
            " AND f.id IN (SELECT c.id FROM operation_runs c WHERE c.status = 'completed' AND c.run_identity_hash = ",
        );
        statement.push_value(identity.clone());
        statement.push(
            " UNION ALL SELECT a.id FROM operation_runs a WHERE a.status IN ('queued', 'running') \
             AND a.run_identity_hash = ",
        );
        statement.push_value(identity);
        statement.push(")");
    }
    statement.push(" ORDER BY f.id DESC LIMIT ");
    statement.push_value(rows_of(query.page.limit));
    statement.push(") ORDER BY r.id DESC");
    statement
}

/// Whether the filters ask for what an index of few runs holds (migration `0009_pages`).
fn is_of_few(query: &RunQuery) -> bool {
    matches!(query.status, Some(Status::Queued | Status::Running))
        || matches!(query.outcome, Some(Outcome::Pending | Outcome::Failed))
        || matches!(query.operation, Some(Operation::Restore | Operation::Reconcile))
}

/// See [`super::Store::attempts`].
pub async fn attempts(backend: &Backend, run: RunId) -> Result<Vec<Attempt>, StoreError> {
    let text = format!("SELECT {ATTEMPT_COLUMNS} FROM run_attempts WHERE run_id = $1 ORDER BY lease_token");
    let rows: Vec<AttemptRow> = backend
        .read("reading attempts", move |conn| Box::pin(async move { conn.rows(sql(text).bind(run.0)).await }))
        .await?;
    Ok(rows.into_iter().map(Attempt::from).collect())
}

/// See [`super::Store::holder`].
pub async fn holder(backend: &Backend, identity: IdentityHash) -> Result<Option<Run>, StoreError> {
    const TEXT: &str = concat!(
        "SELECT ",
        run_columns!(),
        " FROM operation_runs r WHERE r.run_identity_hash = $1 AND r.holds_identity \
         AND (r.status <> 'completed' OR r.cooldown_until > $2) ORDER BY r.id DESC LIMIT 1"
    );
    let row: Option<RunRow> = backend
        .read("reading a holder", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.row(sql(TEXT).bind(identity.to_string()).bind(now)).await
            })
        })
        .await?;
    Ok(row.map(Run::from))
}

#[derive(QueryableByName)]
struct TotalRow {
    #[diesel(sql_type = Text, column_name = "type")]
    operation: Word<Operation>,
    #[diesel(sql_type = Text)]
    status: Word<Status>,
    #[diesel(sql_type = Text)]
    outcome: Word<Outcome>,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// See [`super::Store::run_totals`].
pub async fn run_totals(backend: &Backend) -> Result<Vec<(Operation, Status, Outcome, i64)>, StoreError> {
    const TEXT: &str = "SELECT type, status, outcome, count(*) AS n FROM operation_runs \
         GROUP BY type, status, outcome ORDER BY type, status, outcome";
    let rows: Vec<TotalRow> =
        backend.read("counting runs", |conn| Box::pin(async move { conn.rows(sql(TEXT)).await })).await?;
    Ok(rows.into_iter().map(|row| (row.operation.0, row.status.0, row.outcome.0, row.n)).collect())
}
