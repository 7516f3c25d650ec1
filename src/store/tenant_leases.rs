//! Tenant leases: which instance claims a tenant's runs (SPEC section 5).
//!
//! A lease has no end of its own: it lasts until its owner releases it or does not live any more. It is not what fences
//! an execution (that is the run's token); it keeps instances from working on one tenant by turns, and is the lock under
//! which a tenant's claims look before they write.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::backend::{Backend, Conn};
use super::claims::to_limit;
use super::error::{Problem, StoreError};
use super::instances::live;
use super::records::{DueTenant, DueTenants, Holding};
use super::rows::{NumberRow, known_type};
use super::statement::sql;
use super::types::{FromWord, SqlId, Word, sql as types};
use crate::ids::{InstanceId, TenantId};

#[derive(QueryableByName)]
struct OwnerRow {
    #[diesel(sql_type = Nullable<types::Id>)]
    owner: Option<SqlId>,
}

/// Takes the tenant's lease, or finds it taken; whatever comes of it, the lease's row is locked until the end of the
/// transaction. False: another instance that lives has it.
pub async fn take(conn: &mut Conn<'_>, tenant: TenantId, instance: InstanceId) -> Result<bool, Problem> {
    const LOOK: &str = "SELECT owner FROM tenant_leases WHERE tenant_id = $1";
    const LOCK: &str = "SELECT owner FROM tenant_leases WHERE tenant_id = $1 FOR NO KEY UPDATE";
    const TAKE: &str = concat!(
        "INSERT INTO tenant_leases (tenant_id, owner, taken_at) VALUES ($1, $2, $3) \
         ON CONFLICT (tenant_id) DO UPDATE SET owner = $2, taken_at = $3 \
         WHERE tenant_leases.owner IS NULL OR tenant_leases.owner = $2 \
         OR NOT EXISTS (SELECT 1 FROM instances i WHERE i.id = tenant_leases.owner AND ",
        live!("$3"),
        ") RETURNING tenant_id AS n"
    );
    let text = if conn.lock("lock").is_empty() { LOOK } else { LOCK };
    let known: Option<OwnerRow> = conn.row(sql(text).bind(tenant.0)).await?;
    if known.and_then(|row| row.owner).is_some_and(|SqlId(owner)| owner == instance.0) {
        return Ok(true);
    }
    let now = conn.now().await?;
    let taken: Option<NumberRow> = conn.row(sql(TAKE).bind(tenant.0).bind(instance.0).bind(now)).await?;
    Ok(taken.is_some())
}

/// See [`super::Store::release_tenant`].
pub async fn release(backend: &Backend, tenant: TenantId, instance: InstanceId) -> Result<bool, StoreError> {
    const TEXT: &str = "UPDATE tenant_leases SET owner = NULL WHERE tenant_id = $1 AND owner = $2";
    backend
        .write("releasing a tenant", move |conn| {
            Box::pin(async move { Ok(conn.execute(sql(TEXT).bind(tenant.0).bind(instance.0)).await? > 0) })
        })
        .await
}

#[derive(QueryableByName)]
struct DueRow {
    #[diesel(sql_type = BigInt)]
    n: i64,
    #[diesel(sql_type = Text)]
    holding: Word<Holding>,
}

impl FromWord for Holding {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "ours" => Some(Self::Ours),
            "theirs" => Some(Self::Theirs),
            "free" => Some(Self::Free),
            _ => None,
        }
    }
}

/// See [`super::Store::due_tenants`].
pub async fn due(backend: &Backend, instance: InstanceId, limit: usize) -> Result<DueTenants, StoreError> {
    const DUE: &str = concat!(
        "SELECT q.tenant_id AS n, CASE WHEN l.owner = $3 THEN 'ours' WHEN EXISTS (SELECT 1 FROM instances i \
         WHERE i.id = l.owner AND ",
        live!("$1"),
        ") THEN 'theirs' ELSE 'free' END AS holding \
         FROM (SELECT o.tenant_id, min(o.id) AS first FROM operation_runs o WHERE o.status = 'queued' \
         AND o.tenant_id IS NOT NULL AND (o.next_attempt_at IS NULL OR o.next_attempt_at <= $1) AND ",
        known_type!("o"),
        " GROUP BY o.tenant_id) q \
         LEFT JOIN tenant_leases l ON l.tenant_id = q.tenant_id \
         WHERE NOT EXISTS (SELECT 1 FROM operation_runs b WHERE b.tenant_id = q.tenant_id AND b.lease_owner IS NOT NULL) \
         ORDER BY q.first LIMIT $2"
    );
    const LIVE: &str = concat!("SELECT count(*) AS n FROM instances i WHERE ", live!("$1"));
    const RUNNING: &str =
        "SELECT count(*) AS n FROM operation_runs WHERE status = 'running' AND tenant_id IS NOT NULL";
    backend
        .view("finding tenants with due runs", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let statement = sql(DUE).bind(now).bind(to_limit(limit)).bind(instance.0);
                let rows: Vec<DueRow> = conn.rows(statement).await?;
                let live = count(conn.row(sql(LIVE).bind(now)).await?);
                let running = count(conn.row(sql(RUNNING)).await?);
                let tenants: Vec<_> = rows
                    .into_iter()
                    .map(|row| DueTenant { tenant: TenantId(row.n), holding: row.holding.0 })
                    .collect();
                Ok(DueTenants { with_work: tenants.len() + running, live, tenants })
            })
        })
        .await
}

fn count(row: Option<NumberRow>) -> usize {
    row.and_then(|row| usize::try_from(row.n).ok()).unwrap_or(0)
}
