//! Snapshots that come from a file. One is written in bounded transactions, and nobody sees it before its last.

use super::Store;
use super::backend::Backend;
use super::error::{Problem, StoreError};
use super::records::{NewImport, Snapshot};
use super::rows::NumberRow;
use super::sets::Sets;
use super::snapshots::{WrittenItem, snapshot, write_items};
use super::statement::sql;
use super::types::DocumentText;
use crate::domain::counts::{CountKey, Counts};
use crate::ids::{SnapshotId, TenantId};

impl Store {
    /// Imports a snapshot for a tenant, at most `batch_max` items per transaction. What a crash leaves of one is never
    /// seen, and retention removes it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tenant.
    pub async fn import_snapshot(
        &self,
        tenant: TenantId,
        import: NewImport,
        batch_max: usize,
    ) -> Result<Snapshot, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { import_snapshot(&backend, tenant, import, batch_max).await }).await
    }
}

/// See [`super::Store::import_snapshot`].
async fn import_snapshot(
    backend: &Backend,
    tenant: TenantId,
    import: NewImport,
    batch_max: usize,
) -> Result<Snapshot, StoreError> {
    let id = begin(backend, tenant, &import).await?;
    let assignments: usize = import.items.iter().map(|item| item.assignments.len()).sum();
    let mut items = import.items.into_iter();
    loop {
        let mut sets = Sets::default();
        let batch: Vec<WrittenItem> = items
            .by_ref()
            .take(batch_max.max(1))
            .map(|item| WrittenItem {
                hash: sets.add(&item.assignments),
                policy_type: item.policy_type,
                policy_id: item.policy_id,
                name: item.name,
            })
            .collect();
        if batch.is_empty() {
            break;
        }
        backend
            .write("storing a part of an import", move |conn| {
                Box::pin(async move {
                    let now = conn.now().await?;
                    sets.store(conn, now).await?;
                    write_items(conn, id, batch).await
                })
            })
            .await?;
    }
    finish(backend, id, import.created_at, assignments as u64).await?;
    snapshot(backend, id).await?.ok_or_else(|| {
        Problem::Corrupt("an import was removed while it was made".to_owned()).during("importing a snapshot")
    })
}

async fn begin(backend: &Backend, tenant: TenantId, import: &NewImport) -> Result<SnapshotId, StoreError> {
    // Its own directory is kept as none. Until it ends it has the time at which the import began.
    const NEW: &str = "INSERT INTO snapshots (tenant_id, lease_token, kind, state, outcome, source_tenant, label, \
         coverage, created_at) VALUES ($1, 0, 'imported', 'building', 'pending', \
         (SELECT CASE WHEN t.external_id = $2 THEN NULL ELSE $2 END FROM tenants t WHERE t.id = $1), $3, $4, $5) \
         RETURNING id AS n";
    let (source, label) = (import.source_tenant, import.label.clone());
    let coverage = DocumentText::of(&import.coverage);
    backend
        .write("beginning an import", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let statement = sql(NEW).bind(tenant.0).bind(source).bind(label).bind(coverage).bind(now);
                let row: Option<NumberRow> = conn.row(statement).await?;
                row.map(|row| SnapshotId(row.n))
                    .ok_or_else(|| Problem::Corrupt("an insert gave no row".to_owned()))
            })
        })
        .await
}

async fn finish(
    backend: &Backend,
    id: SnapshotId,
    created_at: crate::clock::Instant,
    assignments: u64,
) -> Result<(), StoreError> {
    const TOTAL: &str = "SELECT count(*) AS n FROM snapshot_items WHERE snapshot_id = $1";
    const END: &str = "UPDATE snapshots SET state = 'finished', outcome = 'succeeded', summary_counts = $1, \
         created_at = $2, completed_at = $3 WHERE id = $4 AND state = 'building' AND kind = 'imported'";
    backend
        .write("ending an import", move |conn| {
            Box::pin(async move {
                let row: Option<NumberRow> = conn.row(sql(TOTAL).bind(id.0)).await?;
                let total = row.and_then(|row| u64::try_from(row.n).ok()).unwrap_or_default();
                let counts =
                    Counts::default().with(CountKey::Total, total).with(CountKey::Items, assignments);
                let now = conn.now().await?;
                let statement =
                    sql(END).bind(DocumentText::of(&counts)).bind(created_at).bind(now).bind(id.0);
                conn.execute(statement).await?;
                Ok(())
            })
        })
        .await
}
