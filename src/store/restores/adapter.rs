//! Restore runs: the adapter runs of restores, one per claim.

use diesel::QueryableByName;
use serde_json::Value;

use super::super::backend::{Backend, Conn};
use super::super::error::{Problem, StoreError};
use super::super::lease::{Under, under};
use super::super::records::RestoreEnd;
use super::super::rows::NumberRow;
use super::super::runs::abandon;
use super::super::statement::sql;
use super::super::types::{Document, DocumentText, sql as types};
use crate::domain::run::Lease;
use crate::ids::{RestoreId, RunId};

/// See [`super::super::Store::begin_restore`].
pub async fn begin(backend: &Backend, lease: Lease, dry_run: bool) -> Result<Option<RestoreId>, StoreError> {
    const ABANDON: &str = concat!(abandon!("restore_runs", at "$1", of "$2"), " AND lease_token <> $3");
    const OPEN: &str = "SELECT id AS n FROM restore_runs WHERE operation_run_id = $1 AND lease_token = $2";
    const NEW: &str = "INSERT INTO restore_runs (operation_run_id, tenant_id, lease_token, dry_run, snapshot_id, \
         plan_run_id, state, outcome, created_at) VALUES ($1, $2, $3, $4, $5, $6, 'building', 'pending', $7) \
         RETURNING id AS n";
    backend
        .write("beginning a restore", move |conn| {
            Box::pin(async move {
                let (run, token) = (lease.run_id.0, lease.token.0);
                let Some(Under { tenant, now }) = under(conn, lease).await? else { return Ok(None) };
                conn.execute(sql(ABANDON).bind(now).bind(run).bind(token)).await?;
                // Asked for a second time, as after a lost answer: the same restore run.
                let open: Option<NumberRow> = conn.row(sql(OPEN).bind(run).bind(token)).await?;
                if let Some(open) = open {
                    return Ok(Some(RestoreId(open.n)));
                }
                let [snapshot, plan] = inputs(conn, lease.run_id).await?;
                let statement = sql(NEW)
                    .bind(run)
                    .bind(tenant.0)
                    .bind(token)
                    .bind(dry_run)
                    .bind(snapshot)
                    .bind(plan)
                    .bind(now);
                let row: Option<NumberRow> = conn.row(statement).await?;
                Ok(row.map(|row| RestoreId(row.n)))
            })
        })
        .await
}

#[derive(QueryableByName)]
struct ContextRow {
    #[diesel(sql_type = types::Document)]
    context: Document<Value>,
}

/// The snapshot and the plan that a run's inputs name.
async fn inputs(conn: &mut Conn<'_>, run: RunId) -> Result<[Option<i64>; 2], Problem> {
    const TEXT: &str = "SELECT context FROM operation_runs WHERE id = $1";
    let row: Option<ContextRow> = conn.row(sql(TEXT).bind(run.0)).await?;
    let context = row.map(|row| row.context.0).unwrap_or_default();
    Ok(["snapshot_id", "plan_run_id"].map(|name| context["inputs"][name].as_i64()))
}

/// See [`super::super::Store::finish_restore`].
pub async fn finish(
    backend: &Backend,
    lease: Lease,
    restore: RestoreId,
    end: RestoreEnd,
) -> Result<bool, StoreError> {
    const END: &str = "UPDATE restore_runs SET state = 'finished', outcome = $1, summary_counts = $2, \
         failure_summary = $3, completed_at = $4 \
         WHERE id = $5 AND operation_run_id = $6 AND lease_token = $7 AND state = 'building'";
    backend
        .write("ending a restore", move |conn| {
            Box::pin(async move {
                let Some(Under { now, .. }) = under(conn, lease).await? else { return Ok(false) };
                let statement = sql(END)
                    .bind(end.outcome.as_str())
                    .bind(DocumentText::of(&end.counts))
                    .bind(DocumentText::of(&end.failures))
                    .bind(now)
                    .bind(restore.0)
                    .bind(lease.run_id.0)
                    .bind(lease.token.0);
                Ok(conn.execute(statement).await? == 1)
            })
        })
        .await
}
