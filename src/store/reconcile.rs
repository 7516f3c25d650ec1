//! What reconcile sees, and its repairs (SPEC section 8). The decisions are the domain's.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::backend::{Backend, Conn};
use super::claims::{requeue, to_limit};
use super::error::{Problem, StoreError};
use super::instances::live;
use super::records::CandidateFilter;
use super::rows::{InstantRow, NumberRow, RunRow, instant, known_type, run_columns};
use super::runs::{Seen, abandon_adapters, closed, complete, lock, save_completed};
use super::settle::{AttemptEnd, Over, end_attempt};
use super::statement::{Statement, sql};
use super::types::{Document, SqlInstant, Word, sql as types};
use crate::clock::Instant;
use crate::domain::counts::Counts;
use crate::domain::failure::{Code, Failure};
use crate::domain::operation::Operation;
use crate::domain::reconcile::{AdapterEnd, AdapterId, AdapterRun, Observation, Repair};
use crate::domain::run::{AttemptOutcome, Completion, Lease, Outcome, Run, Status};
use crate::ids::{InstanceId, RestoreId, RunId, SnapshotId, WorkspaceId};

const KNOWN: &str = known_type!("r");

/// A run whose owner is not alive at `$1`.
const LEASE_GONE: &str =
    concat!("NOT EXISTS (SELECT 1 FROM instances i WHERE i.id = r.lease_owner AND ", live!("$1"), ")");

/// Another run of the tenant is running, or one ended after `$2`: a long queue that moves is no sign of neglect. Two
/// looks, since one with OR would read the tenant's whole history.
const TENANT_BUSY: &str = "(EXISTS (SELECT 1 FROM operation_runs b WHERE b.tenant_id = r.tenant_id AND b.id <> r.id \
     AND b.lease_owner IS NOT NULL) OR EXISTS (SELECT 1 FROM operation_runs e WHERE e.tenant_id = r.tenant_id \
     AND e.status = 'completed' AND e.id <> r.id AND e.completed_at > $2))";

/// See [`super::Store::orphans`].
pub async fn orphans(backend: &Backend, limit: usize) -> Result<Vec<Run>, StoreError> {
    let text = format!(
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM operation_runs r WHERE r.status = 'running' AND ",
            known_type!("r"),
            " AND {} ORDER BY r.id LIMIT $2"
        ),
        LEASE_GONE
    );
    let rows: Vec<RunRow> = backend
        .read("finding orphaned runs", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.rows(sql(text).bind(now).bind(to_limit(limit))).await
            })
        })
        .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// The rule, as one condition on `operation_runs r`: `$1` is now, `$2` the instant before which a queued run waits too
/// long, `$3` the one before which an adapter run ended too long ago. It says no more and no less than what
/// [`crate::domain::reconcile::decide`] acts on, so that a workspace without work for it gets no run.
fn candidates() -> String {
    format!(
        "({KNOWN} AND ((r.status = 'running' AND ({LEASE_GONE} OR EXISTS (SELECT 1 FROM snapshots s \
         WHERE s.operation_run_id = r.id AND s.lease_token = r.lease_token AND s.state <> 'building' \
         AND s.completed_at <= $3) OR EXISTS (SELECT 1 FROM restore_runs s \
         WHERE s.operation_run_id = r.id AND s.lease_token = r.lease_token AND s.state <> 'building' \
         AND s.completed_at <= $3))) \
         OR (r.status = 'queued' AND r.updated_at <= $2 AND coalesce(r.next_attempt_at, r.created_at) <= $2 \
         AND EXISTS (SELECT 1 FROM instances i WHERE {} AND i.started_at <= $2) \
         AND NOT {TENANT_BUSY}) \
         OR (r.status = 'completed' AND r.id IN (SELECT s.operation_run_id FROM snapshots s \
         WHERE s.state = 'building' UNION ALL SELECT s.operation_run_id FROM restore_runs s \
         WHERE s.state = 'building'))))",
        live!("$1")
    )
}

/// What can be a candidate at all, both few: without it all runs of a workspace would be looked at.
const IN_QUESTION: &str = "r.id IN (SELECT a.id FROM operation_runs a WHERE a.status IN ('queued', 'running') \
     UNION ALL SELECT b.operation_run_id FROM snapshots b WHERE b.state = 'building' \
     UNION ALL SELECT c.operation_run_id FROM restore_runs c WHERE c.state = 'building')";

fn bound(statement: Statement, filter: &CandidateFilter, now: Instant) -> Statement {
    statement.bind(now).bind(before(now, filter.queued_max)).bind(before(now, filter.adapter_grace))
}

fn before(now: Instant, age: Duration) -> Instant {
    // LIMIT: an age that no calendar can subtract means never; a century is as good.
    now - chrono::Duration::from_std(age).unwrap_or(CENTURY).min(CENTURY)
}

const CENTURY: chrono::Duration = chrono::Duration::days(36_525);

/// See [`super::Store::workspaces_with_candidates`].
pub async fn workspaces_with_candidates(
    backend: &Backend,
    filter: CandidateFilter,
) -> Result<Vec<WorkspaceId>, StoreError> {
    let text = format!(
        "SELECT DISTINCT r.workspace_id AS n FROM operation_runs r WHERE \
         {IN_QUESTION} AND {} ORDER BY n",
        candidates()
    );
    let rows: Vec<NumberRow> = backend
        .read("finding workspaces to reconcile", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.rows(bound(sql(text), &filter, now)).await
            })
        })
        .await?;
    Ok(rows.into_iter().map(|row| WorkspaceId(row.n)).collect())
}

#[derive(QueryableByName)]
struct SeenRow {
    #[diesel(embed)]
    run: RunRow,
    #[diesel(sql_type = Bool)]
    lease_gone: bool,
    #[diesel(sql_type = Bool)]
    tenant_busy: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    adapter_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    adapter_token: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    adapter_outcome: Option<Word<Outcome>>,
    #[diesel(sql_type = Nullable<types::Instant>)]
    adapter_ended_at: Option<SqlInstant>,
}

/// See [`super::Store::observe`].
pub async fn observe(
    backend: &Backend,
    workspace: WorkspaceId,
    filter: CandidateFilter,
    except: RunId,
    limit: usize,
) -> Result<Vec<Observation>, StoreError> {
    // The latest adapter run of a run (a run has those of one kind); for a completed run the one that is still open.
    let text = format!(
        concat!(
            "SELECT ",
            run_columns!(),
            ", (r.status = 'running' AND {gone}) AS lease_gone, \
             {busy} AS tenant_busy, \
             coalesce(f.id, p.id) AS adapter_id, coalesce(f.lease_token, p.lease_token) AS adapter_token, \
             coalesce(f.outcome, p.outcome) AS adapter_outcome, \
             coalesce(f.completed_at, p.completed_at) AS adapter_ended_at \
             FROM operation_runs r LEFT JOIN snapshots f ON f.id = (SELECT s.id FROM snapshots s \
             WHERE s.operation_run_id = r.id AND s.kind = 'fetched' AND (r.status <> 'completed' OR s.state = 'building') \
             ORDER BY s.lease_token DESC LIMIT 1) \
             LEFT JOIN restore_runs p ON p.id = (SELECT s.id FROM restore_runs s \
             WHERE s.operation_run_id = r.id AND (r.status <> 'completed' OR s.state = 'building') \
             ORDER BY s.lease_token DESC LIMIT 1) \
             WHERE r.workspace_id = $4 AND r.id <> $5 \
             AND {in_question} AND {candidates} ORDER BY r.id LIMIT $6"
        ),
        gone = LEASE_GONE,
        busy = TENANT_BUSY,
        in_question = IN_QUESTION,
        candidates = candidates()
    );
    backend
        .view("observing the ledger", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let served_since = served_since(conn, now).await?;
                let statement =
                    bound(sql(text), &filter, now).bind(workspace.0).bind(except.0).bind(to_limit(limit));
                let rows: Vec<SeenRow> = conn.rows(statement).await?;
                Ok(rows.into_iter().map(|row| observation(row, served_since)).collect())
            })
        })
        .await
}

async fn served_since(conn: &mut Conn<'_>, now: Instant) -> Result<Option<Instant>, Problem> {
    const TEXT: &str = concat!("SELECT min(i.started_at) AS at FROM instances i WHERE ", live!("$1"));
    let row: Option<InstantRow> = conn.row(sql(TEXT).bind(now)).await?;
    Ok(row.and_then(|row| instant(row.at)))
}

fn observation(row: SeenRow, served_since: Option<Instant>) -> Observation {
    let run = Run::from(row.run);
    let token = run.lease_token.0;
    let end = row.adapter_ended_at.zip(row.adapter_outcome);
    let name = |id| match run.operation {
        Operation::Restore => AdapterId::Restore(RestoreId(id)),
        Operation::Fetch | Operation::Reconcile => AdapterId::Snapshot(SnapshotId(id)),
    };
    Observation {
        lease_gone: row.lease_gone,
        tenant_busy: row.tenant_busy,
        served_since,
        adapter: row.adapter_id.map(|id| AdapterRun {
            id: name(id),
            of_latest_claim: row.adapter_token == Some(token),
            terminal: end.map(|(SqlInstant(at), Word(outcome))| AdapterEnd { at, outcome }),
        }),
        run,
    }
}

/// See [`super::Store::repair`].
pub async fn repair(
    backend: &Backend,
    seen: &Observation,
    repair: Repair,
    cooldown: Duration,
) -> Result<Option<Run>, StoreError> {
    let seen = seen.clone();
    backend
        .write("repairing a run", move |conn| {
            Box::pin(async move {
                let Some((run, now)) = lock(conn, seen.run.id).await? else { return Ok(None) };
                if run.status != seen.run.status || run.lease_token != seen.run.lease_token {
                    return Ok(None);
                }
                match repair {
                    Repair::CloseAdapter => close_adapter(conn, run, now).await,
                    Repair::CompleteFromAdapter => from_adapter(conn, run, cooldown, now).await,
                    Repair::Requeue | Repair::CompleteLeaseExpired | Repair::CompleteCancelled => {
                        after_lost_lease(conn, run, repair, cooldown, now).await
                    }
                    Repair::CompleteStaleQueued => stale_queued(conn, run, cooldown, now).await,
                }
            })
        })
        .await
}

async fn close_adapter(conn: &mut Conn<'_>, run: Run, now: Instant) -> Result<Option<Run>, Problem> {
    if run.status != Status::Completed {
        return Ok(None);
    }
    let closed = abandon_adapters(conn, run.id, run.operation, now).await?;
    Ok((closed > 0).then_some(run))
}

#[derive(QueryableByName)]
struct EndRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    outcome: Word<Outcome>,
    #[diesel(sql_type = types::Document)]
    summary_counts: Document<Counts>,
    #[diesel(sql_type = types::Document)]
    failure_summary: Document<Vec<Failure>>,
}

async fn from_adapter(
    conn: &mut Conn<'_>,
    mut run: Run,
    cooldown: Duration,
    now: Instant,
) -> Result<Option<Run>, Problem> {
    const SNAPSHOT: &str = "SELECT id, outcome, summary_counts, failure_summary FROM snapshots \
         WHERE operation_run_id = $1 AND lease_token = $2 AND state <> 'building'";
    const RESTORE: &str = "SELECT id, outcome, summary_counts, failure_summary FROM restore_runs \
         WHERE operation_run_id = $1 AND lease_token = $2 AND state <> 'building'";
    let (text, name) = match run.operation {
        Operation::Restore => (RESTORE, "restore_id"),
        Operation::Fetch | Operation::Reconcile => (SNAPSHOT, "snapshot_id"),
    };
    let row: Option<EndRow> = conn.row(sql(text).bind(run.id.0).bind(run.lease_token.0)).await?;
    let Some(row) = row.filter(|_| run.status == Status::Running) else { return Ok(None) };
    let mut failures = row.failure_summary.0;
    let failed = row.outcome.0 != Outcome::Succeeded;
    if failed && failures.is_empty() {
        failures.push(Failure::new(Code::RunAdapterOutOfSync, "its adapter run failed without saying why"));
    }
    let end = Completion {
        outcome: row.outcome.0,
        counts: row.summary_counts.0,
        failures: if failed { failures } else { Vec::new() },
        // As the execution would have had it.
        context: serde_json::Map::from_iter([(name.to_owned(), row.id.into())]),
        cooldown,
    };
    let lease = Lease { run_id: run.id, token: run.lease_token };
    end_attempt(conn, lease, AttemptEnd::completing(&end), Over::Open, now).await?;
    let seen = Seen::of(&run);
    complete(&mut run, end, now);
    Ok(save_completed(conn, seen, &run, now).await?.then_some(run))
}

/// Whether an instance lives, once nobody else is just writing its row; nobody does until the transaction ends.
async fn lives(conn: &mut Conn<'_>, instance: InstanceId) -> Result<bool, Problem> {
    // Not `live!` in the condition: a row that does not meet it would neither be locked nor waited for.
    const LOCK: &str = "SELECT CAST(1 AS bigint) AS n FROM instances WHERE id = $1 FOR SHARE";
    const LIVES: &str =
        concat!("SELECT CAST(1 AS bigint) AS n FROM instances i WHERE i.id = $2 AND ", live!("$1"));
    if !conn.lock("lock").is_empty() {
        let _: Option<NumberRow> = conn.row(sql(LOCK).bind(instance.0)).await?;
    }
    let now = conn.now().await?;
    let lives: Option<NumberRow> = conn.row(sql(LIVES).bind(now).bind(instance.0)).await?;
    Ok(lives.is_some())
}

/// RACE: the owner may have renewed its lease since the observation; then the run is its own again. Its row is locked,
/// so that it can neither renew behind this look nor, once it may again, miss that the run is gone.
async fn after_lost_lease(
    conn: &mut Conn<'_>,
    mut run: Run,
    repair: Repair,
    cooldown: Duration,
    now: Instant,
) -> Result<Option<Run>, Problem> {
    let owner = run.lease_owner.filter(|_| run.status == Status::Running);
    let Some(owner) = owner else { return Ok(None) };
    if lives(conn, owner).await? {
        return Ok(None);
    }
    let expired = Failure::new(Code::RunLeaseExpired, "its instance stopped or could not renew its lease");
    let end = AttemptEnd {
        outcome: AttemptOutcome::LeaseExpired,
        counts: Counts::default(),
        failures: vec![expired.clone()],
        reason: None,
    };
    end_attempt(conn, Lease { run_id: run.id, token: run.lease_token }, end, Over::Open, now).await?;
    let cancelled = run.cancel_requested_at.is_some();
    let end = match repair {
        Repair::Requeue if !cancelled => return requeue(conn, run, now).await,
        // Also where the request came after the observation: in the queue it would be forgotten.
        Repair::Requeue | Repair::CompleteCancelled => {
            let failure = Failure::new(Code::RunCancelled, "cancelled; its instance had stopped");
            closed(failure, Duration::ZERO)
        }
        _ => closed(expired, cooldown),
    };
    let seen = Seen::of(&run);
    complete(&mut run, end, now);
    Ok(save_completed(conn, seen, &run, now).await?.then_some(run))
}

async fn stale_queued(
    conn: &mut Conn<'_>,
    mut run: Run,
    cooldown: Duration,
    now: Instant,
) -> Result<Option<Run>, Problem> {
    if run.status != Status::Queued {
        return Ok(None);
    }
    let seen = Seen::of(&run);
    let failure = Failure::new(Code::RunStaleQueued, "no instance picked it up in time");
    complete(&mut run, closed(failure, cooldown), now);
    Ok(save_completed(conn, seen, &run, now).await?.then_some(run))
}
