//! Snapshots and policies: what fetches read (SPEC section 9). Every write carries its lease, and with an old one
//! writes nothing. Snapshots from elsewhere are [`super::imports`] and [`super::restores`].

use std::collections::{BTreeMap, BTreeSet};

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::Store;
use super::backend::{Backend, Conn, Engine};
use super::cursor::{after_id, after_policy, next_of, rows_of};
use super::error::{Problem, StoreError};
use super::lease::{Under, UnderRow, under, under_lease};
use super::records::{
    Coverage, Page, PageRequest, Policy, PolicyOutline, Snapshot, SnapshotEnd, SnapshotItem, SnapshotKind,
    StoredType,
};
use super::rows::{NumberRow, instant};
use super::runs::abandon;
use super::sets::{Sets, parsed};
use super::statement::sql;
use super::types::{Document, DocumentText, SqlId, SqlInstant, Word, sql as types};
use crate::domain::assignment::{AssignmentsHash, PolicyChanges, PolicyKey};
use crate::domain::counts::Counts;
use crate::domain::run::{Lease, Outcome};
use crate::ids::{LeaseToken, RunId, SnapshotId, TenantId, WorkspaceId};

// --- writing ---------------------------------------------------------------------------------------------------------

type Covered = BTreeMap<String, Coverage>;

#[derive(QueryableByName)]
struct BuildingRow {
    #[diesel(embed)]
    under: UnderRow,
    #[diesel(sql_type = types::Document)]
    coverage: Document<Covered>,
}

/// [`under`], and what has been covered, while `snapshot` is the one that the lease's run builds.
async fn building(
    conn: &mut Conn<'_>,
    lease: Lease,
    snapshot: SnapshotId,
) -> Result<Option<(Under, Covered)>, Problem> {
    macro_rules! building {
        ($at:literal) => {
            concat!(
                under_lease!($at, ", s.coverage", "JOIN snapshots s ON s.operation_run_id = r.id"),
                " AND s.id = $3 AND s.lease_token = $2 AND s.state = 'building'"
            )
        };
    }
    let text = match conn.engine() {
        Engine::Sqlite => building!("NULL"),
        Engine::Postgres => concat!(building!("clock_timestamp()"), " FOR SHARE OF r"),
    };
    let statement = sql(text).bind(lease.run_id.0).bind(lease.token.0).bind(snapshot.0);
    let row: Option<BuildingRow> = conn.row(statement).await?;
    Ok(row.map(|row| (row.under.at(conn), row.coverage.0)))
}

/// See [`super::Store::begin_snapshot`].
pub async fn begin(backend: &Backend, lease: Lease) -> Result<Option<SnapshotId>, StoreError> {
    const OPERATION: &str = "beginning a snapshot";
    const ABANDON: &str = concat!(abandon!("snapshots", at "$1", of "$2"), " AND lease_token <> $3");
    const OPEN: &str = "SELECT id AS n FROM snapshots WHERE operation_run_id = $1 AND lease_token = $2";
    const NEW: &str = "INSERT INTO snapshots (operation_run_id, tenant_id, lease_token, state, outcome, created_at) \
         VALUES ($1, $2, $3, 'building', 'pending', $4) ON CONFLICT (operation_run_id, lease_token) DO NOTHING \
         RETURNING id AS n";
    // The first of a run by one statement: nothing is to be abandoned yet.
    const FIRST: &str = concat!(
        "WITH r AS MATERIALIZED (",
        under_lease!("clock_timestamp() + $3 * interval '1 microsecond'", ", r.id", ""),
        " FOR SHARE) INSERT INTO snapshots (operation_run_id, tenant_id, lease_token, state, outcome, created_at) \
         SELECT r.id, r.tenant, $2, 'building', 'pending', r.at FROM r \
         ON CONFLICT (operation_run_id, lease_token) DO NOTHING RETURNING id AS n"
    );
    if matches!(backend, Backend::Postgres { .. }) && lease.token == LeaseToken::FIRST {
        let first: Result<Option<NumberRow>, Problem> = backend
            .try_at_once(move |conn| {
                Box::pin(async move {
                    let statement = sql(FIRST).bind(lease.run_id.0).bind(lease.token.0).bind(conn.shift_us());
                    conn.row(statement).await
                })
            })
            .await;
        if let Some(row) = first.map_err(|problem| problem.during(OPERATION))? {
            return Ok(Some(SnapshotId(row.n)));
        }
    }
    backend
        .write(OPERATION, move |conn| {
            Box::pin(async move {
                let (run, token) = (lease.run_id.0, lease.token.0);
                let Some(Under { tenant, now }) = under(conn, lease).await? else { return Ok(None) };
                if lease.token > LeaseToken::FIRST {
                    conn.execute(sql(ABANDON).bind(now).bind(run).bind(token)).await?;
                }
                let new = conn.row(sql(NEW).bind(run).bind(tenant.0).bind(token).bind(now)).await?;
                let row: Option<NumberRow> = match new {
                    Some(row) => Some(row),
                    // Asked for a second time, as after a lost answer: the same snapshot.
                    None => conn.row(sql(OPEN).bind(run).bind(token)).await?,
                };
                Ok(row.map(|row| SnapshotId(row.n)))
            })
        })
        .await
}

/// See [`super::Store::write_types`].
pub async fn write_types(
    backend: &Backend,
    lease: Lease,
    snapshot: SnapshotId,
    readings: Vec<StoredType>,
) -> Result<bool, StoreError> {
    const COVERED: &str = "UPDATE snapshots SET coverage = $1 WHERE id = $2";
    const CLEAR: &str = "DELETE FROM snapshot_items WHERE snapshot_id = $1 AND policy_type = $2";
    // Canonical bytes are made before the writer is taken.
    let (mut sets, mut items, mut read) = (Sets::default(), Vec::new(), Covered::new());
    for StoredType { policy_type, coverage, policies } in readings {
        items.extend(policies.into_iter().map(|policy| WrittenItem {
            hash: sets.add_hashed(&policy.assignments, policy.hash),
            policy_type: policy_type.clone(),
            policy_id: policy.policy_id,
            name: policy.name,
        }));
        read.insert(policy_type, coverage);
    }
    backend
        .write("storing what was read", move |conn| {
            Box::pin(async move {
                let Some((Under { now, .. }, mut covered)) = building(conn, lease, snapshot).await? else {
                    return Ok(false);
                };
                for policy_type in read.keys().filter(|policy_type| covered.contains_key(*policy_type)) {
                    conn.execute(sql(CLEAR).bind(snapshot.0).bind(policy_type.clone())).await?;
                }
                covered.extend(read);
                conn.execute(sql(COVERED).bind(DocumentText::of(&covered)).bind(snapshot.0)).await?;
                sets.store(conn, now).await?;
                write_items(conn, snapshot, items).await?;
                Ok(true)
            })
        })
        .await
}

/// A policy as it is written.
pub struct WrittenItem {
    /// The catalogue's key.
    pub policy_type: String,
    /// As Graph gives it.
    pub policy_id: String,
    /// Its name.
    pub name: String,
    /// The hash of a set that is stored.
    pub hash: String,
}

/// Writes items of a snapshot that it does not have yet.
pub async fn write_items(
    conn: &mut Conn<'_>,
    snapshot: SnapshotId,
    items: Vec<WrittenItem>,
) -> Result<(), Problem> {
    const ITEM: &str = "INSERT INTO snapshot_items (snapshot_id, policy_type, policy_id, name, assignments_hash) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (snapshot_id, policy_type, policy_id) DO NOTHING";
    const ITEMS: &str = "INSERT INTO snapshot_items (snapshot_id, policy_type, policy_id, name, assignments_hash) \
         SELECT $1, b.policy_type, b.policy_id, b.name, b.hash \
         FROM unnest($2, $3, $4, $5) AS b (policy_type, policy_id, name, hash) \
         ON CONFLICT (snapshot_id, policy_type, policy_id) DO NOTHING";
    if conn.engine() == Engine::Sqlite {
        for item in items {
            let statement = sql(ITEM)
                .bind(snapshot.0)
                .bind(item.policy_type)
                .bind(item.policy_id)
                .bind(item.name)
                .bind(item.hash);
            conn.execute(statement).await?;
        }
        return Ok(());
    }
    if items.is_empty() {
        return Ok(());
    }
    let mut columns: [Vec<String>; 4] = Default::default();
    for item in items {
        let [types, ids, names, hashes] = &mut columns;
        types.push(item.policy_type);
        ids.push(item.policy_id);
        names.push(item.name);
        hashes.push(item.hash);
    }
    let [types, ids, names, hashes] = columns;
    let statement = sql(ITEMS).bind(snapshot.0).bind(types).bind(ids).bind(names).bind(hashes);
    conn.execute(statement).await?;
    Ok(())
}

/// See [`super::Store::finish_snapshot`].
pub async fn finish(
    backend: &Backend,
    lease: Lease,
    snapshot: SnapshotId,
    end: SnapshotEnd,
    changes: PolicyChanges,
) -> Result<bool, StoreError> {
    macro_rules! end {
        () => {
            "UPDATE snapshots SET state = 'finished', outcome = $3, summary_counts = $4, \
             failure_summary = $5, coverage = $6, completed_at = $1 WHERE id = $2"
        };
    }
    macro_rules! policies {
        ($tenant:literal, of $snapshots:literal) => {
            concat!(
                "INSERT INTO policies (tenant_id, policy_type, policy_id, name, assignments_hash, snapshot_id, read_at) \
                 SELECT ",
                $tenant,
                ", i.policy_type, i.policy_id, i.name, i.assignments_hash, i.snapshot_id, $1 \
                 FROM snapshot_items i JOIN ",
                $snapshots,
                " e ON e.id = i.snapshot_id WHERE e.id = $2 \
                 ON CONFLICT (tenant_id, policy_type, policy_id) DO UPDATE SET name = excluded.name, \
                 assignments_hash = excluded.assignments_hash, snapshot_id = excluded.snapshot_id, \
                 read_at = excluded.read_at, deleted_at = NULL"
            )
        };
    }
    const AT_ONCE: &str = concat!("WITH ended AS (", end!(), " RETURNING id) ", policies!("$7", of "ended"));
    const GONE: &str = "UPDATE policies SET deleted_at = $1 \
         WHERE tenant_id = $2 AND policy_type = $3 AND policy_id = $4 AND deleted_at IS NULL";
    backend
        .write("ending a snapshot", move |conn| {
            Box::pin(async move {
                let Some((Under { tenant, now }, _)) = building(conn, lease, snapshot).await? else {
                    return Ok(false);
                };
                let ending = |text| {
                    sql(text)
                        .bind(now)
                        .bind(snapshot.0)
                        .bind(end.outcome.as_str())
                        .bind(DocumentText::of(&end.counts))
                        .bind(DocumentText::of(&end.failures))
                        .bind(DocumentText::of(&end.coverage))
                };
                if conn.engine() == Engine::Postgres {
                    conn.execute(ending(AT_ONCE).bind(tenant.0)).await?;
                } else {
                    conn.execute(ending(end!())).await?;
                    conn.execute(
                        sql(policies!("$3", of "snapshots")).bind(now).bind(snapshot.0).bind(tenant.0),
                    )
                    .await?;
                }
                for gone in changes.deleted {
                    let statement =
                        sql(GONE).bind(now).bind(tenant.0).bind(gone.policy_type).bind(gone.policy_id);
                    conn.execute(statement).await?;
                }
                Ok(true)
            })
        })
        .await
}

// --- reading ---------------------------------------------------------------------------------------------------------

#[derive(QueryableByName)]
struct KnownRow {
    #[diesel(sql_type = Text)]
    policy_type: String,
    #[diesel(sql_type = Text)]
    policy_id: String,
    #[diesel(sql_type = Text)]
    assignments_hash: Word<AssignmentsHash>,
}

/// See [`super::Store::known_policies`].
pub async fn known_policies(
    backend: &Backend,
    tenant: TenantId,
    types: Option<Vec<String>>,
) -> Result<BTreeMap<PolicyKey, AssignmentsHash>, StoreError> {
    const TEXT: &str = "SELECT policy_type, policy_id, assignments_hash FROM policies \
         WHERE tenant_id = $1 AND deleted_at IS NULL";
    let rows: Vec<KnownRow> = backend
        .read("reading known policies", move |conn| {
            Box::pin(async move { conn.rows(sql(TEXT).bind(tenant.0)).await })
        })
        .await?;
    let types: Option<BTreeSet<String>> = types.map(BTreeSet::from_iter);
    let wanted = |row: &KnownRow| types.as_ref().is_none_or(|types| types.contains(&row.policy_type));
    let known = rows.into_iter().filter(wanted).map(|row| {
        let key = PolicyKey { policy_type: row.policy_type, policy_id: row.policy_id };
        (key, row.assignments_hash.0)
    });
    Ok(known.collect())
}

/// A row of `snapshots`, with its workspace.
#[derive(QueryableByName)]
pub struct SnapshotRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    kind: Word<SnapshotKind>,
    #[diesel(sql_type = Nullable<BigInt>)]
    operation_run_id: Option<i64>,
    #[diesel(sql_type = Nullable<types::Id>)]
    source_tenant: Option<SqlId>,
    #[diesel(sql_type = Nullable<Text>)]
    label: Option<String>,
    #[diesel(sql_type = BigInt)]
    tenant_id: i64,
    #[diesel(sql_type = BigInt)]
    workspace_id: i64,
    #[diesel(sql_type = Text)]
    outcome: Word<Outcome>,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = types::Instant)]
    created_at: SqlInstant,
    #[diesel(sql_type = Nullable<types::Instant>)]
    completed_at: Option<SqlInstant>,
    #[diesel(sql_type = types::Document)]
    summary_counts: Document<Counts>,
    #[diesel(sql_type = types::Document)]
    coverage: Document<BTreeMap<String, Coverage>>,
}

/// A select of snapshots with their workspace, up to its conditions.
pub const SNAPSHOTS: &str = "SELECT s.id, s.kind, s.operation_run_id, s.source_tenant, s.label, s.tenant_id, \
     t.workspace_id, s.outcome, s.state, s.created_at, s.completed_at, s.summary_counts, s.coverage \
     FROM snapshots s JOIN tenants t ON t.id = s.tenant_id WHERE ";

impl From<SnapshotRow> for Snapshot {
    fn from(row: SnapshotRow) -> Self {
        Self {
            id: SnapshotId(row.id),
            kind: row.kind.0,
            operation_run_id: row.operation_run_id.map(RunId),
            source_tenant: row.source_tenant.map(|SqlId(id)| id),
            label: row.label,
            tenant_id: TenantId(row.tenant_id),
            workspace_id: WorkspaceId(row.workspace_id),
            outcome: row.outcome.0,
            finished: row.state == "finished",
            created_at: row.created_at.0,
            completed_at: instant(row.completed_at),
            summary_counts: row.summary_counts.0,
            coverage: row.coverage.0,
        }
    }
}

/// See [`super::Store::snapshots`].
pub async fn snapshots(
    backend: &Backend,
    tenant: TenantId,
    page: PageRequest,
) -> Result<Page<Snapshot>, StoreError> {
    let mut statement = sql(SNAPSHOTS);
    statement.push("s.state = 'finished' AND s.tenant_id = ");
    statement.push_value(tenant.0);
    statement.push(" AND s.id < ");
    statement.push_value(after_id(page.cursor.as_deref())?.unwrap_or(i64::MAX));
    statement.push(" ORDER BY s.id DESC LIMIT ");
    statement.push_value(rows_of(page.limit));
    let rows: Vec<SnapshotRow> = backend
        .read("listing snapshots", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    let items = rows.into_iter().map(Snapshot::from).collect();
    Ok(next_of(items, page.limit, |snapshot: &Snapshot| snapshot.id.0))
}

/// See [`super::Store::snapshot`].
pub async fn snapshot(backend: &Backend, id: SnapshotId) -> Result<Option<Snapshot>, StoreError> {
    let mut statement = sql(SNAPSHOTS);
    // One that is still being imported is not there yet.
    statement.push("(s.kind <> 'imported' OR s.state = 'finished') AND s.id = ");
    statement.push_value(id.0);
    let row: Option<SnapshotRow> = backend
        .read("reading a snapshot", move |conn| Box::pin(async move { conn.row(statement).await }))
        .await?;
    Ok(row.map(Snapshot::from))
}

#[derive(QueryableByName)]
struct OutlineRow {
    #[diesel(sql_type = Text)]
    policy_type: String,
    #[diesel(sql_type = Text)]
    policy_id: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    assignments_hash: Word<AssignmentsHash>,
}

impl Store {
    /// What a snapshot says of each policy in short, without the assignments: all of it at once.
    pub async fn snapshot_outline(
        &self,
        id: SnapshotId,
    ) -> Result<BTreeMap<PolicyKey, PolicyOutline>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { outline(&backend, id).await }).await
    }
}

async fn outline(
    backend: &Backend,
    id: SnapshotId,
) -> Result<BTreeMap<PolicyKey, PolicyOutline>, StoreError> {
    const TEXT: &str =
        "SELECT policy_type, policy_id, name, assignments_hash FROM snapshot_items WHERE snapshot_id = $1";
    let rows: Vec<OutlineRow> = backend
        .read("outlining a snapshot", move |conn| {
            Box::pin(async move { conn.rows(sql(TEXT).bind(id.0)).await })
        })
        .await?;
    let outlined = rows.into_iter().map(|row| {
        let key = PolicyKey { policy_type: row.policy_type, policy_id: row.policy_id };
        (key, PolicyOutline { name: row.name, hash: row.assignments_hash.0 })
    });
    Ok(outlined.collect())
}

#[derive(QueryableByName)]
struct ItemRow {
    #[diesel(sql_type = Text)]
    policy_type: String,
    #[diesel(sql_type = Text)]
    policy_id: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    assignments: String,
    #[diesel(sql_type = Text)]
    assignments_hash: Word<AssignmentsHash>,
}

/// See [`super::Store::snapshot_items`].
pub async fn snapshot_items(
    backend: &Backend,
    id: SnapshotId,
    page: PageRequest,
) -> Result<Page<SnapshotItem>, StoreError> {
    const TEXT: &str = "SELECT i.policy_type, i.policy_id, i.name, a.assignments, i.assignments_hash \
         FROM snapshot_items i JOIN assignment_sets a ON a.hash = i.assignments_hash \
         WHERE i.snapshot_id = $1 AND (i.policy_type, i.policy_id) > ($2, $3) \
         ORDER BY i.policy_type, i.policy_id LIMIT $4";
    const OPERATION: &str = "listing a snapshot's items";
    let (after_type, after_id) = after_policy(page.cursor.as_deref())?.unwrap_or_default();
    let rows: Vec<ItemRow> = backend
        .read(OPERATION, move |conn| {
            Box::pin(async move {
                let statement =
                    sql(TEXT).bind(id.0).bind(after_type).bind(after_id).bind(rows_of(page.limit));
                conn.rows(statement).await
            })
        })
        .await?;
    let items: Result<Vec<SnapshotItem>, Problem> = rows.into_iter().map(item).collect();
    let items = items.map_err(|problem| problem.during(OPERATION))?;
    let key = |item: &SnapshotItem| (item.policy_type.clone(), item.policy_id.clone());
    Ok(next_of(items, page.limit, key))
}

fn item(row: ItemRow) -> Result<SnapshotItem, Problem> {
    Ok(SnapshotItem {
        assignments: parsed(row.assignments_hash.0, &row.assignments)?,
        policy_type: row.policy_type,
        policy_id: row.policy_id,
        name: row.name,
        assignments_hash: row.assignments_hash.0,
    })
}

#[derive(QueryableByName)]
struct PolicyRow {
    #[diesel(sql_type = Text)]
    policy_type: String,
    #[diesel(sql_type = Text)]
    policy_id: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    assignments_hash: Word<AssignmentsHash>,
    #[diesel(sql_type = BigInt)]
    snapshot_id: i64,
    #[diesel(sql_type = types::Instant)]
    read_at: SqlInstant,
}

/// See [`super::Store::policies`].
pub async fn policies(
    backend: &Backend,
    tenant: TenantId,
    page: PageRequest,
) -> Result<Page<Policy>, StoreError> {
    const TEXT: &str = "SELECT policy_type, policy_id, name, assignments_hash, snapshot_id, read_at FROM policies \
         WHERE tenant_id = $1 AND deleted_at IS NULL AND (policy_type, policy_id) > ($2, $3) \
         ORDER BY policy_type, policy_id LIMIT $4";
    let (after_type, after_id) = after_policy(page.cursor.as_deref())?.unwrap_or_default();
    let rows: Vec<PolicyRow> = backend
        .read("listing policies", move |conn| {
            Box::pin(async move {
                let statement =
                    sql(TEXT).bind(tenant.0).bind(after_type).bind(after_id).bind(rows_of(page.limit));
                conn.rows(statement).await
            })
        })
        .await?;
    let items = rows.into_iter().map(|row| Policy {
        policy_type: row.policy_type,
        policy_id: row.policy_id,
        name: row.name,
        assignments_hash: row.assignments_hash.0,
        snapshot_id: SnapshotId(row.snapshot_id),
        read_at: row.read_at.0,
    });
    let key = |policy: &Policy| (policy.policy_type.clone(), policy.policy_id.clone());
    Ok(next_of(items.collect(), page.limit, key))
}
