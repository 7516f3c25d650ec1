//! What people search in: a tenant's policies and a snapshot's items with their assignments, by type and name; and what
//! groups and filters are called.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};

use super::Store;
use super::backend::{Backend, Engine};
use super::cursor::{after_policy, next_of, rows_of};
use super::error::{Problem, StoreError};
use super::records::{Page, PageRequest};
use super::sets::parsed;
use super::statement::{Statement, sql};
use super::tenant_health::literal;
use super::types::{DocumentText, SqlInstant, Word, sql as types};
use crate::clock::Instant;
use crate::domain::assignment::{AssignmentSet, AssignmentsHash};
use crate::ids::{SnapshotId, TenantId};

/// Which policies.
#[derive(Clone, Debug, Default)]
pub struct PolicySearch {
    /// Of a type, by the catalogue's key.
    pub policy_type: Option<String>,
    /// Whose name has this in it, in any case.
    pub name: Option<String>,
}

/// A policy with what it is assigned to.
#[derive(Clone, Debug, PartialEq)]
pub struct AssignedPolicy {
    /// The catalogue's key.
    pub policy_type: String,
    /// As Graph gives it.
    pub policy_id: String,
    /// Its name.
    pub name: String,
    /// In normal form.
    pub assignments: AssignmentSet,
    /// The snapshot that read it.
    pub snapshot_id: SnapshotId,
    /// When; for an item of a snapshot, when that began.
    pub read_at: Instant,
}

/// Whether a name is a group's or a filter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Named {
    /// A group.
    Group,
    /// An assignment filter.
    Filter,
}

impl Named {
    const fn word(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Filter => "filter",
        }
    }
}

impl Store {
    /// A page of a tenant's policies that still exist, by type and id.
    pub async fn assigned_policies(
        &self,
        tenant: TenantId,
        search: PolicySearch,
        page: PageRequest,
    ) -> Result<Page<AssignedPolicy>, StoreError> {
        const TEXT: &str = "SELECT i.policy_type, i.policy_id, i.name, a.assignments, i.assignments_hash, \
             i.snapshot_id, i.read_at FROM policies i JOIN assignment_sets a ON a.hash = i.assignments_hash \
             WHERE i.tenant_id = $1 AND i.deleted_at IS NULL";
        let backend = self.backend.clone();
        self.spawn(async move { listed(&backend, sql(TEXT).bind(tenant.0), search, page).await }).await
    }

    /// A page of a snapshot's items, by type and id.
    pub async fn searched_items(
        &self,
        snapshot: SnapshotId,
        search: PolicySearch,
        page: PageRequest,
    ) -> Result<Page<AssignedPolicy>, StoreError> {
        const TEXT: &str = "SELECT i.policy_type, i.policy_id, i.name, a.assignments, i.assignments_hash, \
             i.snapshot_id, s.created_at AS read_at FROM snapshot_items i JOIN snapshots s ON s.id = i.snapshot_id \
             JOIN assignment_sets a ON a.hash = i.assignments_hash WHERE i.snapshot_id = $1";
        let backend = self.backend.clone();
        self.spawn(async move { listed(&backend, sql(TEXT).bind(snapshot.0), search, page).await }).await
    }

    /// How many policies a tenant has of each type.
    pub async fn policy_counts(&self, tenant: TenantId) -> Result<Vec<(String, i64)>, StoreError> {
        const TEXT: &str = "SELECT policy_type, count(*) AS n FROM policies \
             WHERE tenant_id = $1 AND deleted_at IS NULL GROUP BY policy_type ORDER BY policy_type";
        let backend = self.backend.clone();
        self.spawn(async move {
            let rows: Vec<CountRow> = backend
                .read("counting policies", move |conn| {
                    Box::pin(async move { conn.rows(sql(TEXT).bind(tenant.0)).await })
                })
                .await?;
            Ok(rows.into_iter().map(|row| (row.policy_type, row.n)).collect())
        })
        .await
    }

    /// What those of `ids` are called that are known; ids in lower case.
    pub async fn names_of(
        &self,
        tenant: TenantId,
        named: Named,
        ids: Vec<String>,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { names(&backend, tenant, named, ids).await }).await
    }

    /// Keeps what groups or filters are called.
    pub async fn keep_names(
        &self,
        tenant: TenantId,
        named: Named,
        names: BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        const TEXT: &str = "INSERT INTO directory_names (tenant_id, kind, object_id, name, read_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, kind, object_id) \
             DO UPDATE SET name = excluded.name, read_at = excluded.read_at";
        let backend = self.backend.clone();
        self.spawn(async move {
            backend
                .write("keeping names", move |conn| {
                    Box::pin(async move {
                        let now = conn.now().await?;
                        for (id, name) in names {
                            let statement =
                                sql(TEXT).bind(tenant.0).bind(named.word()).bind(id).bind(name).bind(now);
                            conn.execute(statement).await?;
                        }
                        Ok(())
                    })
                })
                .await
        })
        .await
    }
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = Text)]
    policy_type: String,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct AssignedRow {
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
    #[diesel(sql_type = BigInt)]
    snapshot_id: i64,
    #[diesel(sql_type = types::Instant)]
    read_at: SqlInstant,
}

/// Carries a list's statement out, which ends with its conditions; the searched alias is `i`.
async fn listed(
    backend: &Backend,
    mut statement: Statement,
    search: PolicySearch,
    page: PageRequest,
) -> Result<Page<AssignedPolicy>, StoreError> {
    const OPERATION: &str = "searching policies";
    let (after_type, after_id) = after_policy(page.cursor.as_deref())?.unwrap_or_default();
    statement.push(" AND (i.policy_type, i.policy_id) > (");
    statement.push_value(after_type);
    statement.push(", ");
    statement.push_value(after_id);
    statement.push(")");
    if let Some(policy_type) = search.policy_type {
        statement.push(" AND i.policy_type = ");
        statement.push_value(policy_type);
    }
    if let Some(name) = search.name {
        statement.push(" AND lower(i.name) LIKE ");
        statement.push_value(format!("%{}%", literal(&name.to_lowercase())));
        statement.push(" ESCAPE '\\'");
    }
    statement.push(" ORDER BY i.policy_type, i.policy_id LIMIT ");
    statement.push_value(rows_of(page.limit));
    let rows: Vec<AssignedRow> =
        backend.read(OPERATION, move |conn| Box::pin(async move { conn.rows(statement).await })).await?;
    let items: Result<Vec<AssignedPolicy>, Problem> = rows.into_iter().map(assigned).collect();
    let items = items.map_err(|problem| problem.during(OPERATION))?;
    Ok(next_of(items, page.limit, |item| (item.policy_type.clone(), item.policy_id.clone())))
}

fn assigned(row: AssignedRow) -> Result<AssignedPolicy, Problem> {
    Ok(AssignedPolicy {
        assignments: parsed(row.assignments_hash.0, &row.assignments)?,
        policy_type: row.policy_type,
        policy_id: row.policy_id,
        name: row.name,
        snapshot_id: SnapshotId(row.snapshot_id),
        read_at: row.read_at.0,
    })
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    object_id: String,
    #[diesel(sql_type = Text)]
    name: String,
}

async fn names(
    backend: &Backend,
    tenant: TenantId,
    named: Named,
    ids: Vec<String>,
) -> Result<BTreeMap<String, String>, StoreError> {
    const SQLITE: &str = "SELECT d.object_id, d.name FROM json_each($3) j CROSS JOIN directory_names d \
         ON d.tenant_id = $1 AND d.kind = $2 AND d.object_id = j.value";
    const POSTGRES: &str = "SELECT d.object_id, d.name FROM directory_names d \
         WHERE d.tenant_id = $1 AND d.kind = $2 AND d.object_id = ANY ($3)";
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<NameRow> = backend
        .read("reading names", move |conn| {
            Box::pin(async move {
                let statement = match conn.engine() {
                    Engine::Sqlite => {
                        sql(SQLITE).bind(tenant.0).bind(named.word()).bind(DocumentText::of(&ids))
                    }
                    Engine::Postgres => sql(POSTGRES).bind(tenant.0).bind(named.word()).bind(ids),
                };
                conn.rows(statement).await
            })
        })
        .await?;
    Ok(rows.into_iter().map(|row| (row.object_id, row.name)).collect())
}
