//! Claims: `queued -> running` under a fresh fencing token (SPEC section 5).
//!
//! A tenant runs one at a time. A claim therefore first locks the tenant's row (on SQLite it has the database for
//! itself), then looks: the unique index over running runs guards what the look decided and is never run into.

use super::backend::{Backend, Conn};
use super::error::{Problem, StoreError};
use super::instances::live;
use super::records::Claim;
use super::rows::{InstantRow, NumberRow, RunRow, instant, run_columns};
use super::runs::{Seen, lock, save};
use super::statement::sql;
use crate::clock::Instant;
use crate::domain::run::{Lease, Run, Status};
use crate::ids::{InstanceId, LeaseToken, RunId, TenantId};

/// See [`super::Store::tenants_with_due_runs`].
pub async fn tenants_with_due_runs(backend: &Backend, limit: usize) -> Result<Vec<TenantId>, StoreError> {
    const TEXT: &str = "SELECT q.tenant_id AS n FROM operation_runs q \
         WHERE q.status = 'queued' AND q.tenant_id IS NOT NULL \
         AND (q.next_attempt_at IS NULL OR q.next_attempt_at <= $1) \
         AND NOT EXISTS (SELECT 1 FROM operation_runs b WHERE b.tenant_id = q.tenant_id AND b.status = 'running') \
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
         AND (r.next_attempt_at IS NULL OR r.next_attempt_at <= $1) ORDER BY r.id LIMIT $2"
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

/// See [`super::Store::claim_next`].
pub async fn claim_next(
    backend: &Backend,
    tenant: TenantId,
    instance: InstanceId,
) -> Result<Claim, StoreError> {
    backend
        .write("claiming a tenant's next run", move |conn| {
            Box::pin(async move {
                lock_tenant(conn, tenant).await?;
                if is_busy(conn, tenant).await? {
                    return Ok(Claim::Busy);
                }
                let now = conn.now().await?;
                let Some(run) = next_due(conn, tenant, now).await? else {
                    return Ok(Claim::Idle { next: next_at(conn, tenant).await? });
                };
                let run = begin_attempt(conn, run, instance, now).await?;
                Ok(run.map_or(Claim::Fenced, |run| Claim::Claimed(Box::new(run))))
            })
        })
        .await
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
                    lock_tenant(conn, tenant).await?;
                    if is_busy(conn, tenant).await? {
                        return Ok(None);
                    }
                }
                let run = lock(conn, run).await?;
                let now = conn.now().await?;
                let is_due = |run: &Run| run.next_attempt_at.is_none_or(|due| due <= now);
                let run = run.filter(|run| run.status == Status::Queued && is_due(run));
                let Some(run) = run else { return Ok(None) };
                begin_attempt(conn, run, instance, now).await
            })
        })
        .await
}

/// NO KEY UPDATE keeps other claims of the tenant out and lets admissions of new runs for it through.
async fn lock_tenant(conn: &mut Conn<'_>, tenant: TenantId) -> Result<(), Problem> {
    const TEXT: &str = "SELECT id AS n FROM tenants WHERE id = $1 FOR NO KEY UPDATE";
    if !conn.lock("lock").is_empty() {
        let _: Option<NumberRow> = conn.row(sql(TEXT).bind(tenant.0)).await?;
    }
    Ok(())
}

async fn is_busy(conn: &mut Conn<'_>, tenant: TenantId) -> Result<bool, Problem> {
    const TEXT: &str =
        "SELECT id AS n FROM operation_runs WHERE tenant_id = $1 AND status = 'running' LIMIT 1";
    let running: Option<NumberRow> = conn.row(sql(TEXT).bind(tenant.0)).await?;
    Ok(running.is_some())
}

async fn next_due(conn: &mut Conn<'_>, tenant: TenantId, now: Instant) -> Result<Option<Run>, Problem> {
    macro_rules! next_due {
        ($lock:literal) => {
            concat!(
                "SELECT ",
                run_columns!(),
                " FROM operation_runs r WHERE r.tenant_id = $1 AND r.status = 'queued' \
                 AND (r.next_attempt_at IS NULL OR r.next_attempt_at <= $2) ORDER BY r.priority, r.id LIMIT 1",
                $lock
            )
        };
    }
    let text = if conn.lock("lock").is_empty() { next_due!("") } else { next_due!(" FOR NO KEY UPDATE") };
    let row: Option<RunRow> = conn.row(sql(text).bind(tenant.0).bind(now)).await?;
    Ok(row.map(Run::from))
}

async fn next_at(conn: &mut Conn<'_>, tenant: TenantId) -> Result<Option<Instant>, Problem> {
    const TEXT: &str =
        "SELECT min(next_attempt_at) AS at FROM operation_runs WHERE tenant_id = $1 AND status = 'queued'";
    let row: Option<InstantRow> = conn.row(sql(TEXT).bind(tenant.0)).await?;
    Ok(row.and_then(|row| instant(row.at)))
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
