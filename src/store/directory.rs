//! Workspaces, tenants, users and API tokens.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};
use uuid::Uuid;

use super::backend::{Backend, Engine};
use super::cursor::{after_id, next_of, rows_of};
use super::error::{Problem, StoreError};
use super::records::{
    ApiToken, KnownToken, NewTenant, NewToken, Page, PageRequest, Role, Tenant, TenantChange, Workspace,
};
use super::rows::{NumberRow, role_word};
use super::statement::{Statement, sql};
use super::types::{DocumentText, SqlId, SqlInstant, Word, sql as types};
use crate::ids::{TenantId, TokenId, UserId, WorkspaceId};

// --- workspaces ------------------------------------------------------------------------------------------------------

#[derive(QueryableByName)]
struct WorkspaceRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    slug: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = types::Instant)]
    created_at: SqlInstant,
}

impl From<WorkspaceRow> for Workspace {
    fn from(row: WorkspaceRow) -> Self {
        Self { id: WorkspaceId(row.id), slug: row.slug, name: row.name, created_at: row.created_at.0 }
    }
}

/// See [`super::Store::add_workspace`].
pub async fn add_workspace(backend: &Backend, slug: &str, name: &str) -> Result<Workspace, StoreError> {
    const TEXT: &str = "INSERT INTO workspaces (slug, name, created_at) VALUES ($1, $2, $3) \
         RETURNING id, slug, name, created_at";
    let what = format!("a workspace with the slug `{slug}`");
    let (slug, name) = (slug.to_owned(), name.to_owned());
    let row: Result<Option<WorkspaceRow>, Problem> = backend
        .try_write(move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.row(sql(TEXT).bind(slug).bind(name).bind(now)).await
            })
        })
        .await;
    added(row, "adding a workspace", what).map(Workspace::from)
}

/// The row that an INSERT gave back, or that its unique name is taken.
fn added<T>(row: Result<Option<T>, Problem>, operation: &'static str, what: String) -> Result<T, StoreError> {
    match row {
        Ok(Some(row)) => Ok(row),
        Ok(None) => Err(StoreError::Corrupt { operation, what: "expected the new row back".into() }),
        Err(problem) if problem.is_unique_violation() => Err(StoreError::Duplicate { what }),
        Err(problem) => Err(problem.during(operation)),
    }
}

/// See [`super::Store::workspace`].
pub async fn workspace(backend: &Backend, id: WorkspaceId) -> Result<Option<Workspace>, StoreError> {
    const TEXT: &str = "SELECT id, slug, name, created_at FROM workspaces WHERE id = $1";
    one_workspace(backend, sql(TEXT).bind(id.0)).await
}

/// See [`super::Store::workspace_by_slug`].
pub async fn workspace_by_slug(backend: &Backend, slug: &str) -> Result<Option<Workspace>, StoreError> {
    const TEXT: &str = "SELECT id, slug, name, created_at FROM workspaces WHERE slug = $1";
    one_workspace(backend, sql(TEXT).bind(slug.to_owned())).await
}

async fn one_workspace(backend: &Backend, statement: Statement) -> Result<Option<Workspace>, StoreError> {
    let row: Option<WorkspaceRow> = backend
        .read("reading a workspace", move |conn| Box::pin(async move { conn.row(statement).await }))
        .await?;
    Ok(row.map(Workspace::from))
}

/// See [`super::Store::workspaces`].
pub async fn workspaces(
    backend: &Backend,
    only: Option<WorkspaceId>,
    page: PageRequest,
) -> Result<Page<Workspace>, StoreError> {
    let mut statement = sql("SELECT id, slug, name, created_at FROM workspaces WHERE id > ");
    statement.push_value(after_id(page.cursor.as_deref())?.unwrap_or(0));
    if let Some(only) = only {
        statement.push(" AND id = ");
        statement.push_value(only.0);
    }
    statement.push(" ORDER BY id LIMIT ");
    statement.push_value(rows_of(page.limit));
    let rows: Vec<WorkspaceRow> = backend
        .read("listing workspaces", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    let items = rows.into_iter().map(Workspace::from).collect();
    Ok(next_of(items, page.limit, |workspace: &Workspace| workspace.id.0))
}

// --- tenants ---------------------------------------------------------------------------------------------------------

#[derive(QueryableByName)]
struct TenantRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    workspace_id: i64,
    #[diesel(sql_type = Text)]
    workspace_slug: String,
    #[diesel(sql_type = types::Id)]
    external_id: SqlId,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    cloud: String,
    #[diesel(sql_type = Text)]
    credential: String,
    #[diesel(sql_type = types::Instant)]
    created_at: SqlInstant,
    #[diesel(sql_type = types::Instant)]
    updated_at: SqlInstant,
}

/// A select of tenants with their workspace's slug, up to its conditions.
const TENANTS: &str = "SELECT t.id, t.workspace_id, w.slug AS workspace_slug, t.external_id, t.name, t.cloud, \
     t.credential, t.created_at, t.updated_at FROM tenants t JOIN workspaces w ON w.id = t.workspace_id WHERE ";

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Self {
        Self {
            id: TenantId(row.id),
            workspace_id: WorkspaceId(row.workspace_id),
            workspace_slug: row.workspace_slug,
            external_id: row.external_id.0,
            name: row.name,
            cloud: row.cloud,
            credential: row.credential,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        }
    }
}

/// A select of tenants under `condition`, whose value is `value`.
fn tenants_where(condition: &str, value: impl Into<super::statement::Value>) -> Statement {
    let mut statement = sql(TENANTS);
    statement.push(condition);
    statement.push_value(value);
    statement
}

/// See [`super::Store::add_tenant`].
pub async fn add_tenant(backend: &Backend, tenant: NewTenant) -> Result<Tenant, StoreError> {
    const TEXT: &str = "INSERT INTO tenants (workspace_id, external_id, name, cloud, credential, created_at, \
         updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6) RETURNING id AS n";
    let what = format!("a tenant with the external id {} in this workspace", tenant.external_id);
    let row: Result<Option<TenantRow>, Problem> = backend
        .try_write(move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let statement = sql(TEXT)
                    .bind(tenant.workspace_id.0)
                    .bind(tenant.external_id)
                    .bind(tenant.name)
                    .bind(tenant.cloud)
                    .bind(tenant.credential)
                    .bind(now);
                let id: Option<NumberRow> = conn.row(statement).await?;
                let Some(NumberRow { n }) = id else { return Ok(None) };
                conn.row(tenants_where("t.id = ", n)).await
            })
        })
        .await;
    added(row, "adding a tenant", what).map(Tenant::from)
}

/// See [`super::Store::tenant`].
pub async fn tenant(backend: &Backend, id: TenantId) -> Result<Option<Tenant>, StoreError> {
    let statement = tenants_where("t.id = ", id.0);
    let row: Option<TenantRow> = backend
        .read("reading a tenant", move |conn| Box::pin(async move { conn.row(statement).await }))
        .await?;
    Ok(row.map(Tenant::from))
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
}

/// See [`super::Store::tenant_names`].
pub async fn tenant_names(
    backend: &Backend,
    ids: Vec<TenantId>,
) -> Result<BTreeMap<TenantId, String>, StoreError> {
    const SQLITE: &str = "SELECT t.id, t.name FROM json_each($1) j CROSS JOIN tenants t ON t.id = j.value";
    const POSTGRES: &str = "SELECT t.id, t.name FROM tenants t WHERE t.id = ANY ($1)";
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<NameRow> = backend
        .read("naming tenants", move |conn| {
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
    Ok(rows.into_iter().map(|row| (TenantId(row.id), row.name)).collect())
}

/// See [`super::Store::tenants_by_external_id`].
pub async fn tenants_by_external_id(
    backend: &Backend,
    external_id: Uuid,
    workspace: Option<WorkspaceId>,
) -> Result<Vec<Tenant>, StoreError> {
    let mut statement = tenants_where("t.external_id = ", external_id);
    if let Some(workspace) = workspace {
        statement.push(" AND t.workspace_id = ");
        statement.push_value(workspace.0);
    }
    find_tenants(backend, statement).await
}

/// See [`super::Store::tenants_by_name`].
pub async fn tenants_by_name(
    backend: &Backend,
    workspace: WorkspaceId,
    name: String,
) -> Result<Vec<Tenant>, StoreError> {
    let mut statement = tenants_where("t.workspace_id = ", workspace.0);
    statement.push(" AND t.name = ");
    statement.push_value(name);
    find_tenants(backend, statement).await
}

async fn find_tenants(backend: &Backend, mut statement: Statement) -> Result<Vec<Tenant>, StoreError> {
    statement.push(" ORDER BY t.id");
    let rows: Vec<TenantRow> = backend
        .read("finding tenants", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    Ok(rows.into_iter().map(Tenant::from).collect())
}

/// See [`super::Store::tenants`].
pub async fn tenants(
    backend: &Backend,
    workspace: Option<WorkspaceId>,
    page: PageRequest,
) -> Result<Page<Tenant>, StoreError> {
    let mut statement = tenants_where("t.id > ", after_id(page.cursor.as_deref())?.unwrap_or(0));
    if let Some(workspace) = workspace {
        statement.push(" AND t.workspace_id = ");
        statement.push_value(workspace.0);
    }
    statement.push(" ORDER BY t.id LIMIT ");
    statement.push_value(rows_of(page.limit));
    let rows: Vec<TenantRow> = backend
        .read("listing tenants", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    let items = rows.into_iter().map(Tenant::from).collect();
    Ok(next_of(items, page.limit, |tenant: &Tenant| tenant.id.0))
}

/// See [`super::Store::change_tenant`].
pub async fn change_tenant(
    backend: &Backend,
    id: TenantId,
    change: TenantChange,
) -> Result<Option<Tenant>, StoreError> {
    const TEXT: &str = "UPDATE tenants SET name = coalesce($1, name), cloud = coalesce($2, cloud), \
         credential = coalesce($3, credential), updated_at = $4 WHERE id = $5";
    let row: Option<TenantRow> = backend
        .write("changing a tenant", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let statement = sql(TEXT)
                    .bind(change.name)
                    .bind(change.cloud)
                    .bind(change.credential)
                    .bind(now)
                    .bind(id.0);
                conn.execute(statement).await?;
                conn.row(tenants_where("t.id = ", id.0)).await
            })
        })
        .await?;
    Ok(row.map(Tenant::from))
}

// --- users and tokens ------------------------------------------------------------------------------------------------

/// See [`super::Store::add_user`].
pub async fn add_user(backend: &Backend, workspace: WorkspaceId, name: &str) -> Result<UserId, StoreError> {
    const INSERT: &str = "INSERT INTO users (workspace_id, name, created_at) VALUES ($1, $2, $3) \
         ON CONFLICT (workspace_id, name) DO NOTHING";
    const SELECT: &str = "SELECT id AS n FROM users WHERE workspace_id = $1 AND name = $2";
    const OPERATION: &str = "adding a user";
    let name = name.to_owned();
    let row: Option<NumberRow> = backend
        .write(OPERATION, move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.execute(sql(INSERT).bind(workspace.0).bind(name.clone()).bind(now)).await?;
                conn.row(sql(SELECT).bind(workspace.0).bind(name)).await
            })
        })
        .await?;
    let row =
        row.ok_or(StoreError::Corrupt { operation: OPERATION, what: "expected the row back".into() })?;
    Ok(UserId(row.n))
}

/// See [`super::Store::add_token`].
pub async fn add_token(backend: &Backend, token: NewToken) -> Result<TokenId, StoreError> {
    const TEXT: &str = "INSERT INTO api_tokens (name, sha256, role, workspace_id, created_at) \
         VALUES ($1, $2, $3, $4, $5) RETURNING id AS n";
    let what = format!("a token with the name `{}`", token.name);
    let row: Result<Option<NumberRow>, Problem> = backend
        .try_write(move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let statement = sql(TEXT)
                    .bind(token.name)
                    .bind(token.sha256.to_vec())
                    .bind(role_word(token.role))
                    .bind(token.workspace_id.map(|workspace| workspace.0))
                    .bind(now);
                conn.row(statement).await
            })
        })
        .await;
    added(row, "adding a token", what).map(|row| TokenId(row.n))
}

#[derive(QueryableByName)]
struct TokenRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    role: Word<Role>,
    #[diesel(sql_type = Nullable<BigInt>)]
    workspace_id: Option<i64>,
}

/// See [`super::Store::token`].
pub async fn token(backend: &Backend, sha256: [u8; 32]) -> Result<Option<ApiToken>, StoreError> {
    const TEXT: &str = "SELECT id, name, role, workspace_id FROM api_tokens WHERE sha256 = $1";
    let row: Option<TokenRow> = backend
        .read("finding a token", move |conn| {
            Box::pin(async move { conn.row(sql(TEXT).bind(sha256.to_vec())).await })
        })
        .await?;
    Ok(row.map(|row| ApiToken {
        id: TokenId(row.id),
        name: row.name,
        role: row.role.0,
        workspace_id: row.workspace_id.map(WorkspaceId),
    }))
}

#[derive(QueryableByName)]
struct KnownTokenRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    role: Word<Role>,
    #[diesel(sql_type = Nullable<BigInt>)]
    workspace_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    workspace_slug: Option<String>,
    #[diesel(sql_type = types::Instant)]
    created_at: SqlInstant,
}

/// See [`super::Store::tokens`].
pub async fn tokens(backend: &Backend) -> Result<Vec<KnownToken>, StoreError> {
    const TEXT: &str = "SELECT k.id, k.name, k.role, k.workspace_id, w.slug AS workspace_slug, k.created_at \
         FROM api_tokens k LEFT JOIN workspaces w ON w.id = k.workspace_id ORDER BY k.name";
    let rows: Vec<KnownTokenRow> =
        backend.read("listing tokens", |conn| Box::pin(async move { conn.rows(sql(TEXT)).await })).await?;
    let known = |row: KnownTokenRow| KnownToken {
        id: TokenId(row.id),
        name: row.name,
        role: row.role.0,
        workspace_id: row.workspace_id.map(WorkspaceId),
        workspace_slug: row.workspace_slug,
        created_at: row.created_at.0,
    };
    Ok(rows.into_iter().map(known).collect())
}

/// See [`super::Store::remove_token`].
pub async fn remove_token(backend: &Backend, name: String) -> Result<bool, StoreError> {
    const TEXT: &str = "DELETE FROM api_tokens WHERE name = $1";
    backend
        .write("removing a token", move |conn| {
            Box::pin(async move { Ok(conn.execute(sql(TEXT).bind(name)).await? > 0) })
        })
        .await
}
