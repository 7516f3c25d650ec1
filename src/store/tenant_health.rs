//! Tenants with how they are: when all of them was last fetched, whether they fail since, what is open. A list by name, and
//! the map of them all.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::Store;
use super::backend::Backend;
use super::cursor::{after_policy, next_of, rows_of};
use super::error::StoreError;
use super::records::{Page, PageRequest};
use super::rows::instant;
use super::statement::sql;
use super::types::{Document, SqlInstant, sql as types};
use crate::clock::Instant;
use crate::domain::failure::{Code, Failure};
use crate::ids::{RunId, TenantId, WorkspaceId};

/// A tenant and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantHealth {
    /// The tenant.
    pub id: TenantId,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// For people.
    pub name: String,
    /// Its newest fetch of everything that succeeded, and when that ended. One that was asked for some policies or types
    /// says nothing about the others.
    pub fetched: Option<(RunId, Instant)>,
    /// Its newest run that failed, where neither everything was fetched since nor the same succeeded: when that ended,
    /// and its first code.
    pub failing: Option<(RunId, Instant, Option<Code>)>,
    /// What it executes, else the newest that is queued.
    pub open: Option<RunId>,
}

/// Which tenants.
#[derive(Clone, Debug, Default)]
pub struct TenantSearch {
    /// Of a workspace.
    pub workspace: Option<WorkspaceId>,
    /// One tenant alone.
    pub tenant: Option<TenantId>,
    /// Whose name has this in it, in any case.
    pub name: Option<String>,
}

impl Store {
    /// A page of tenants with how they are, by name.
    pub async fn tenant_health(
        &self,
        search: TenantSearch,
        page: PageRequest,
    ) -> Result<Page<TenantHealth>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { health(&backend, search, page).await }).await
    }
}

#[derive(QueryableByName)]
struct HealthRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    workspace_id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    fetched_id: Option<i64>,
    #[diesel(sql_type = Nullable<types::Instant>)]
    fetched_at: Option<SqlInstant>,
    #[diesel(sql_type = Nullable<BigInt>)]
    failed_id: Option<i64>,
    #[diesel(sql_type = Nullable<types::Instant>)]
    failed_at: Option<SqlInstant>,
    #[diesel(sql_type = types::Document)]
    failures: Document<Vec<Failure>>,
    #[diesel(sql_type = Nullable<BigInt>)]
    open_id: Option<i64>,
}

impl From<HealthRow> for TenantHealth {
    fn from(row: HealthRow) -> Self {
        let fetched = row.fetched_id.map(RunId).zip(instant(row.fetched_at));
        let failed = row.failed_id.map(RunId).zip(instant(row.failed_at));
        let code = row.failures.0.first().map(|failure| failure.code);
        Self {
            id: TenantId(row.id),
            workspace_id: WorkspaceId(row.workspace_id),
            name: row.name,
            failing: failed.map(|(run, at)| (run, at, code)),
            fetched,
            open: row.open_id.map(RunId),
        }
    }
}

async fn health(
    backend: &Backend,
    search: TenantSearch,
    page: PageRequest,
) -> Result<Page<TenantHealth>, StoreError> {
    let (after_name, after_id) = after_policy(page.cursor.as_deref())?.unwrap_or_default();
    let after_id: i64 =
        if after_id.is_empty() { 0 } else { after_id.parse().map_err(|_| StoreError::Cursor)? };
    // The page first; what is looked up of a tenant is an entry of an index each.
    let mut statement = sql(
        "SELECT t.id, t.workspace_id, t.name, g.id AS fetched_id, g.completed_at AS fetched_at, f.id AS failed_id, \
         f.completed_at AS failed_at, coalesce(f.failure_summary, '[]') AS failures, \
         coalesce((SELECT e.id FROM operation_runs e WHERE e.tenant_id = t.id AND e.lease_owner IS NOT NULL), \
         (SELECT max(o.id) FROM operation_runs o WHERE o.tenant_id = t.id AND o.status IN ('queued', 'running'))) \
         AS open_id FROM (SELECT id, workspace_id, name FROM tenants WHERE (name, id) > ($1, $2)",
    )
    .bind(after_name)
    .bind(after_id);
    if let Some(workspace) = search.workspace {
        statement.push(" AND workspace_id = ");
        statement.push_value(workspace.0);
    }
    if let Some(tenant) = search.tenant {
        statement.push(" AND id = ");
        statement.push_value(tenant.0);
    }
    if let Some(name) = search.name {
        statement.push(" AND lower(name) LIKE ");
        statement.push_value(format!("%{}%", literal(&name.to_lowercase())));
        statement.push(" ESCAPE '\\'");
    }
    statement.push(" ORDER BY name, id LIMIT ");
    statement.push_value(rows_of(page.limit));
    statement.push(
        ") t LEFT JOIN operation_runs g ON g.id = (SELECT max(s.id) FROM operation_runs s WHERE s.tenant_id = t.id \
         AND s.type = 'assignments.fetch' AND s.outcome = 'succeeded' \
         AND (s.context -> 'inputs' ->> 'policy_ids') IS NULL AND (s.context -> 'inputs' ->> 'policy_types') IS NULL) \
         LEFT JOIN operation_runs f ON f.id = (SELECT max(b.id) FROM operation_runs b WHERE b.tenant_id = t.id \
         AND b.outcome = 'failed' AND b.id > coalesce(g.id, 0) \
         AND coalesce(b.failure_summary -> 0 ->> 'code', '') <> 'run.cancelled' AND NOT EXISTS (SELECT 1 FROM operation_runs n \
         WHERE n.status = 'completed' AND n.run_identity_hash = b.run_identity_hash AND n.id > b.id \
         AND n.outcome = 'succeeded')) ORDER BY t.name, t.id",
    );
    let rows: Vec<HealthRow> = backend
        .read("reading how tenants are", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    let key = |tenant: &TenantHealth| (tenant.name.clone(), tenant.id.to_string());
    Ok(next_of(rows.into_iter().map(TenantHealth::from).collect(), page.limit, key))
}

/// A text as a pattern that matches it alone.
pub(super) fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pattern_would_take_for_a_joker_is_a_character() {
        assert_eq!(literal(r"50%_a\b"), r"50\%\_a\\b");
    }
}
