//! Claims: `queued -> running` under a fresh fencing token (SPEC section 5).
//!
//! A tenant runs one at a time, by the instance that has the tenant's lease. A claim therefore first takes or finds that
//! lease and with it locks its row (on SQLite it has the database for itself), then looks: the unique index over running
//! runs guards what the look decided and is never run into.
//!
//! A running run is looked for by its owner, and one that is found queued is written by what it has not (an owner, an end),
//! instead of by its status: PostgreSQL takes the small indexes over some status for empty when it has counted them in a
//! quiet moment, and then walks through a whole one of them, or through all that the tenant ever had.

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Nullable};

use super::backend::{Backend, Conn, Engine};
use super::error::{Problem, StoreError};
use super::instances::live;
use super::records::Claim;
use super::rows::{NumberRow, RunRow, instant, known_type, run_columns};
use super::runs::{Seen, lock, save};
use super::statement::sql;
use super::tenant_leases;
use super::types::{SqlInstant, sql as types};
use crate::clock::Instant;
use crate::domain::run::{Lease, Run, Status};
use crate::ids::{InstanceId, LeaseToken, RunId, TenantId};

/// See [`super::Store::tenants_with_due_runs`].
pub async fn tenants_with_due_runs(backend: &Backend, limit: usize) -> Result<Vec<TenantId>, StoreError> {
    const TEXT: &str = "SELECT q.tenant_id AS n FROM operation_runs q \
         WHERE q.status = 'queued' AND q.tenant_id IS NOT NULL \
         AND (q.next_attempt_at IS NULL OR q.next_attempt_at <= $1) \
         AND NOT EXISTS (SELECT 1 FROM operation_runs b WHERE b.tenant_id = q.tenant_id AND b.lease_owner IS NOT NULL) \
         GROUP BY q.tenant_id ORDER BY min(q.id) LIMIT $2";
    let rows: Vec<NumberRow> = backend
        .read("finding tenants with due runs", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.rows(sql(TEXT).bind(now).bind(to_limit(limit))).await
            })
        })
        .await?;
    Ok(rows.into_iter().map(|row| TenantId(row.n)).collect())
}

/// See [`super::Store::due_workspace_runs`].
pub async fn due_workspace_runs(backend: &Backend, limit: usize) -> Result<Vec<Run>, StoreError> {
    const TEXT: &str = concat!(
        "SELECT ",
        run_columns!(),
        " FROM operation_runs r WHERE r.status = 'queued' AND r.tenant_id IS NULL \
         AND (r.next_attempt_at IS NULL OR r.next_attempt_at <= $1) AND ",
        known_type!("r"),
        " ORDER BY r.id LIMIT $2"
    );
    let rows: Vec<RunRow> = backend
        .read("finding due workspace runs", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.rows(sql(TEXT).bind(now).bind(to_limit(limit))).await
            })
        })
        .await?;
    Ok(rows.into_iter().map(Run::from).collect())
}

/// A limit as SQL takes it.
pub fn to_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Looks at a tenant's queue within one claim at the most, while others take what was found.
const LOOKS_MAX: u32 = 3;

/// See [`super::Store::claim_next`].
pub async fn claim_next(
    backend: &Backend,
    tenant: TenantId,
    instance: InstanceId,
) -> Result<Claim, StoreError> {
    backend
        .write("claiming a tenant's next run", move |conn| {
            Box::pin(async move {
                // ORDER: the tenant before its runs. What is seen from here on is not changed by another claim.
                if !tenant_leases::take(conn, tenant, instance).await? {
                    return Ok(Claim::Elsewhere);
                }
                for _ in 0..LOOKS_MAX {
                    let claimed = match conn.engine() {
                        Engine::Postgres => claim_at_once(conn, tenant, instance).await?,
                        Engine::Sqlite => claim_by_steps(conn, tenant, instance).await?,
                    };
                    if let Some(claimed) = claimed {
                        return Ok(claimed);
                    }
                    // RACE: where there is no reason any more, what was next has been cancelled just then: look again.
                    let now = conn.now().await?;
                    if let Some(claim) = why_nothing(conn, tenant, instance, now).await? {
                        return Ok(claim);
                    }
                }
                Ok(Claim::Busy)
            })
        })
        .await
}

#[derive(QueryableByName)]
struct ClaimedRow {
    #[diesel(embed)]
    run: RunRow,
    #[diesel(sql_type = Bool)]
    more: bool,
}

/// The next due run of a tenant that has none running, and whether others are queued, by one statement; the tenant is
/// locked, and the time is read after that.
async fn claim_at_once(
    conn: &mut Conn<'_>,
    tenant: TenantId,
    instance: InstanceId,
) -> Result<Option<Claim>, Problem> {
    const TEXT: &str = concat!(
        "WITH t AS MATERIALIZED (SELECT clock_timestamp() + $3 * interval '1 microsecond' AS at), \
         r AS (UPDATE operation_runs SET status = 'running', attempt = attempt + 1, \
         lease_token = lease_token + 1, lease_owner = $2, started_at = coalesce(started_at, (SELECT at FROM t)), \
         updated_at = (SELECT at FROM t), next_attempt_at = NULL \
         WHERE id = (SELECT q.id FROM operation_runs q WHERE q.tenant_id = $1 \
         AND q.status = 'queued' AND (q.next_attempt_at IS NULL OR q.next_attempt_at <= (SELECT at FROM t)) AND ",
        known_type!("q"),
        " ORDER BY q.priority, q.id LIMIT 1) AND lease_owner IS NULL AND completed_at IS NULL \
         AND NOT EXISTS (SELECT 1 FROM operation_runs b WHERE b.tenant_id = $1 AND b.lease_owner IS NOT NULL) \
         AND EXISTS (SELECT 1 FROM instances i WHERE i.id = $2 AND ",
        live!("(SELECT at FROM t)"),
        ") RETURNING *), \
         a AS (INSERT INTO run_attempts (run_id, attempt, lease_token, instance_id, started_at, outcome) \
         SELECT r.id, r.attempt, r.lease_token, r.lease_owner, r.updated_at, 'running' FROM r) \
         SELECT ",
        run_columns!(),
        // All of the statement sees the queue as it was before. In the order of the index that the run itself is found by,
        // so that no other looks as good.
        ", (SELECT m.id FROM operation_runs m WHERE m.tenant_id = $1 AND m.status = 'queued' AND m.id <> r.id \
         ORDER BY m.priority, m.id LIMIT 1) IS NOT NULL AS more FROM r"
    );
    let statement = sql(TEXT).bind(tenant.0).bind(instance.0).bind(conn.shift_us());
    let row: Option<ClaimedRow> = conn.row(statement).await?;
    Ok(row.map(|row| Claim::Claimed { run: Box::new(Run::from(row.run)), more: row.more }))
}

/// The same in steps, where a statement that writes can be no part of another.
async fn claim_by_steps(
    conn: &mut Conn<'_>,
    tenant: TenantId,
    instance: InstanceId,
) -> Result<Option<Claim>, Problem> {
    const MORE: &str =
        "SELECT id AS n FROM operation_runs WHERE tenant_id = $1 AND status = 'queued' LIMIT 1";
    if is_busy(conn, tenant).await? {
        return Ok(None);
    }
    let now = conn.now().await?;
    let Some(run) = next_due(conn, tenant, now).await? else { return Ok(None) };
    let Some(run) = begin_attempt(conn, run, instance, now).await? else { return Ok(None) };
    let more: Option<NumberRow> = conn.row(sql(MORE).bind(tenant.0)).await?;
    Ok(Some(Claim::Claimed { run: Box::new(run), more: more.is_some() }))
}

#[derive(QueryableByName)]
struct WhyRow {
    #[diesel(sql_type = Bool)]
    busy: bool,
    #[diesel(sql_type = Bool)]
    lives: bool,
    #[diesel(sql_type = Nullable<types::Instant>)]
    next: Option<SqlInstant>,
    #[diesel(sql_type = Bool)]
    due: bool,
}

/// Why nothing was claimed; `None` when there is no reason any more.
async fn why_nothing(
    conn: &mut Conn<'_>,
    tenant: TenantId,
    instance: InstanceId,
    now: Instant,
) -> Result<Option<Claim>, Problem> {
    const TEXT: &str = concat!(
        "SELECT EXISTS (SELECT 1 FROM operation_runs b WHERE b.tenant_id = $1 AND b.lease_owner IS NOT NULL) AS busy, \
         EXISTS (SELECT 1 FROM instances i WHERE i.id = $2 AND ",
        live!("$3"),
        ") AS lives, (SELECT min(q.next_attempt_at) FROM operation_runs q WHERE q.tenant_id = $1 \
         AND q.status = 'queued' AND ",
        known_type!("q"),
        ") AS next, EXISTS (SELECT 1 FROM operation_runs d WHERE d.tenant_id = $1 AND d.status = 'queued' \
         AND (d.next_attempt_at IS NULL OR d.next_attempt_at <= $3) AND ",
        known_type!("d"),
        ") AS due"
    );
    let row: Option<WhyRow> = conn.row(sql(TEXT).bind(tenant.0).bind(instance.0).bind(now)).await?;
    Ok(row.and_then(|why| match why {
        WhyRow { busy: true, .. } => Some(Claim::Busy),
        WhyRow { due: true, lives: false, .. } => Some(Claim::Fenced),
        WhyRow { due: true, .. } => None,
        WhyRow { next, .. } => Some(Claim::Idle { next: instant(next) }),
    }))
}

/// See [`super::Store::claim_run`].
pub async fn claim_run(
    backend: &Backend,
    run: RunId,
    instance: InstanceId,
) -> Result<Option<Run>, StoreError> {
    const TENANT: &str = "SELECT tenant_id AS n FROM operation_runs WHERE id = $1 AND tenant_id IS NOT NULL";
    backend
        .write("claiming a run", move |conn| {
            Box::pin(async move {
                let tenant: Option<NumberRow> = conn.row(sql(TENANT).bind(run.0)).await?;
                if let Some(tenant) = tenant.map(|row| TenantId(row.n)) {
                    // ORDER: the tenant before its runs, as in claim_next.
                    let ours = tenant_leases::take(conn, tenant, instance).await?;
                    if !ours || is_busy(conn, tenant).await? {
                        return Ok(None);
                    }
                }
                let Some((run, now)) = lock(conn, run).await? else { return Ok(None) };
                let is_due = run.next_attempt_at.is_none_or(|due| due <= now);
                if run.status != Status::Queued || !is_due {
                    return Ok(None);
                }
                begin_attempt(conn, run, instance, now).await
            })
        })
        .await
}

async fn is_busy(conn: &mut Conn<'_>, tenant: TenantId) -> Result<bool, Problem> {
    const TEXT: &str =
        "SELECT id AS n FROM operation_runs WHERE tenant_id = $1 AND lease_owner IS NOT NULL LIMIT 1";
    let running: Option<NumberRow> = conn.row(sql(TEXT).bind(tenant.0)).await?;
    Ok(running.is_some())
}

async fn next_due(conn: &mut Conn<'_>, tenant: TenantId, now: Instant) -> Result<Option<Run>, Problem> {
    const TEXT: &str = concat!(
        "SELECT ",
        run_columns!(),
        " FROM operation_runs r WHERE r.tenant_id = $1 AND r.status = 'queued' \
         AND (r.next_attempt_at IS NULL OR r.next_attempt_at <= $2) AND ",
        known_type!("r"),
        " ORDER BY r.priority, r.id LIMIT 1"
    );
    let row: Option<RunRow> = conn.row(sql(TEXT).bind(tenant.0).bind(now)).await?;
    Ok(row.map(Run::from))
}

/// The transition itself, and the attempt's row. `None` when the instance does not live: what it claimed would be
/// taken from it at once, while it executes it. The caller has locked the run, so nothing else can be in the way.
async fn begin_attempt(
    conn: &mut Conn<'_>,
    mut run: Run,
    instance: InstanceId,
    now: Instant,
) -> Result<Option<Run>, Problem> {
    const RUN: &str = concat!(
        "UPDATE operation_runs SET status = 'running', attempt = $1, lease_token = $2, \
         lease_owner = $3, started_at = $4, updated_at = $5, next_attempt_at = NULL \
         WHERE id = $6 AND status = 'queued' AND lease_token = $7 \
         AND EXISTS (SELECT 1 FROM instances i WHERE i.id = $3 AND ",
        live!("$5"),
        ")"
    );
    const ATTEMPT: &str = "INSERT INTO run_attempts (run_id, attempt, lease_token, instance_id, started_at, outcome) \
         VALUES ($1, $2, $3, $4, $5, 'running')";
    let seen = run.lease_token;
    run.status = Status::Running;
    run.attempt += 1;
    run.lease_token = LeaseToken(seen.0 + 1);
    run.lease_owner = Some(instance);
    run.started_at = Some(run.started_at.unwrap_or(now));
    run.updated_at = now;
    run.next_attempt_at = None;
    let statement = sql(RUN)
        .bind(run.attempt)
        .bind(run.lease_token.0)
        .bind(instance.0)
        .bind(run.started_at)
        .bind(now)
        .bind(run.id.0)
        .bind(seen.0);
    if conn.execute(statement).await? != 1 {
        return Ok(None);
    }
    let statement =
        sql(ATTEMPT).bind(run.id.0).bind(run.attempt).bind(run.lease_token.0).bind(instance.0).bind(now);
    conn.execute(statement).await?;
    Ok(Some(run))
}

/// See [`super::Store::is_canonical`].
pub async fn is_canonical(backend: &Backend, lease: Lease) -> Result<bool, StoreError> {
    const TEXT: &str = "SELECT id AS n FROM operation_runs \
         WHERE id = $1 AND lease_token = $2 AND status = 'running' AND holds_identity";
    let row: Option<NumberRow> = backend
        .read("checking a lease", move |conn| {
            Box::pin(async move { conn.row(sql(TEXT).bind(lease.run_id.0).bind(lease.token.0)).await })
        })
        .await?;
    Ok(row.is_some())
}

/// Puts a run back in the queue: its owner is gone, the token stays so that the next claim takes a larger one.
pub async fn requeue(conn: &mut Conn<'_>, mut run: Run, now: Instant) -> Result<Option<Run>, Problem> {
    let seen = Seen::of(&run);
    run.status = Status::Queued;
    run.lease_owner = None;
    run.next_attempt_at = None;
    run.updated_at = now;
    Ok(save(conn, seen, &run).await?.then_some(run))
}
