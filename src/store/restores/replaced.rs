//! What a restore replaced, as a snapshot: its undo is an ordinary restore of it.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::Text;

use super::super::backend::{Backend, Conn};
use super::super::error::{Problem, StoreError};
use super::super::records::{Coverage, Snapshot};
use super::super::rows::{InstantRow, NumberRow, instant};
use super::super::runs::lock;
use super::super::sets::parsed;
use super::super::snapshots::{SNAPSHOTS, SnapshotRow, WrittenItem, write_items};
use super::super::statement::sql;
use super::super::types::{DocumentText, Word};
use crate::clock::Instant;
use crate::domain::assignment::AssignmentsHash;
use crate::domain::counts::{CountKey, Counts};
use crate::domain::run::{Run, Status};
use crate::ids::{RunId, SnapshotId};

#[derive(QueryableByName)]
struct ReplacedRow {
    #[diesel(sql_type = Text)]
    policy_type: String,
    #[diesel(sql_type = Text)]
    policy_id: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    hash: Word<AssignmentsHash>,
    #[diesel(sql_type = Text)]
    assignments: String,
}

/// See [`super::super::Store::replaced_snapshot`].
pub async fn replaced_snapshot(backend: &Backend, run: RunId) -> Result<Option<Snapshot>, StoreError> {
    if let Some(made) = read(backend, run).await? {
        return Ok(Some(made));
    }
    backend
        .write("storing what a restore replaced", move |conn| {
            Box::pin(async move {
                // Locked: retention cannot remove it until the snapshot refers to it.
                match lock(conn, run).await? {
                    Some((run, _)) if run.status == Status::Completed => make(conn, &run).await,
                    _ => Ok(()),
                }
            })
        })
        .await?;
    read(backend, run).await
}

async fn read(backend: &Backend, run: RunId) -> Result<Option<Snapshot>, StoreError> {
    let mut statement = sql(SNAPSHOTS);
    statement.push("s.kind = 'replaced' AND s.lease_token = 0 AND s.operation_run_id = ");
    statement.push_value(run.0);
    let row: Option<SnapshotRow> = backend
        .read("reading what a restore replaced", move |conn| {
            Box::pin(async move { conn.row(statement).await })
        })
        .await?;
    Ok(row.map(Snapshot::from))
}

async fn make(conn: &mut Conn<'_>, run: &Run) -> Result<(), Problem> {
    const ITEMS: &str = "SELECT i.policy_type, i.policy_id, i.name, i.replaced_hash AS hash, a.assignments \
         FROM restore_items i JOIN assignment_sets a ON a.hash = i.replaced_hash WHERE i.operation_run_id = $1";
    const FIRST: &str = "SELECT min(created_at) AS at FROM restore_runs WHERE operation_run_id = $1";
    const NEW: &str = "INSERT INTO snapshots (operation_run_id, tenant_id, lease_token, kind, state, outcome, \
         summary_counts, coverage, created_at, completed_at) \
         VALUES ($1, $2, 0, 'replaced', 'finished', 'succeeded', $3, $4, $5, $6) \
         ON CONFLICT (operation_run_id, lease_token) DO NOTHING RETURNING id AS n";
    let rows: Vec<ReplacedRow> = conn.rows(sql(ITEMS).bind(run.id.0)).await?;
    let (Some(tenant), Some(completed_at), false) = (run.tenant_id, run.completed_at, rows.is_empty()) else {
        return Ok(());
    };
    let began: Option<InstantRow> = conn.row(sql(FIRST).bind(run.id.0)).await?;
    let began: Instant = began.and_then(|row| instant(row.at)).unwrap_or(run.created_at);
    let (counts, coverage) = summary(&rows)?;
    let statement = sql(NEW)
        .bind(run.id.0)
        .bind(tenant.0)
        .bind(DocumentText::of(&counts))
        .bind(DocumentText::of(&coverage))
        .bind(began)
        .bind(completed_at);
    // RACE: somebody else may have made it in between; it is the same.
    let made: Option<NumberRow> = conn.row(statement).await?;
    let Some(made) = made else { return Ok(()) };
    let items = rows.into_iter().map(|row| WrittenItem {
        policy_type: row.policy_type,
        policy_id: row.policy_id,
        name: row.name,
        hash: row.hash.0.to_string(),
    });
    write_items(conn, SnapshotId(made.n), items.collect()).await
}

/// Each of these policies was read completely before it was written.
fn summary(rows: &[ReplacedRow]) -> Result<(Counts, BTreeMap<String, Coverage>), Problem> {
    let mut coverage: BTreeMap<String, Coverage> = BTreeMap::new();
    let mut assignments = 0;
    for row in rows {
        let set = parsed(row.hash.0, &row.assignments)?;
        assignments += set.len() as u64;
        let of_type = coverage
            .entry(row.policy_type.clone())
            .or_insert_with(|| Coverage { complete: true, ..Coverage::default() });
        of_type.listed += 1;
        of_type.read += 1;
        of_type.confirmed_empty += u64::from(set.is_empty());
    }
    let counts =
        Counts::default().with(CountKey::Total, rows.len() as u64).with(CountKey::Items, assignments);
    Ok((counts, coverage))
}
