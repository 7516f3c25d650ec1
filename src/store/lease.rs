//! The check of every write of an execution: its lease is the run's latest and the run is running (SPEC section 5).

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable};

use super::backend::{Conn, Engine};
use super::error::Problem;
use super::statement::sql;
use super::types::{SqlInstant, sql as types};
use crate::clock::Instant;
use crate::domain::run::Lease;
use crate::ids::TenantId;

/// What a write under a good lease begins with.
pub struct Under {
    /// The run's tenant.
    pub tenant: TenantId,
    /// The time that decides.
    pub now: Instant,
}

#[derive(QueryableByName)]
struct UnderRow {
    #[diesel(sql_type = BigInt)]
    tenant: i64,
    #[diesel(sql_type = Nullable<types::Instant>)]
    at: Option<SqlInstant>,
}

/// The tenant of the lease's run while the lease is good, and then the run stays as it is until the transaction ends.
///
/// A running run holds its identity (a CHECK of the table), so this is also the look whether it is the canonical one.
pub async fn under(conn: &mut Conn<'_>, lease: Lease) -> Result<Option<Under>, Problem> {
    macro_rules! under_lease {
        ($at:literal, $lock:literal) => {
            concat!(
                "SELECT tenant_id AS tenant, ",
                $at,
                " AS at FROM operation_runs WHERE id = $1 AND lease_token = $2 \
                 AND status = 'running' AND tenant_id IS NOT NULL",
                $lock
            )
        };
    }
    let text = match conn.engine() {
        Engine::Sqlite => under_lease!("NULL", ""),
        Engine::Postgres => under_lease!("clock_timestamp()", " FOR SHARE"),
    };
    let row: Option<UnderRow> = conn.row(sql(text).bind(lease.run_id.0).bind(lease.token.0)).await?;
    Ok(row.map(|row| Under { tenant: TenantId(row.tenant), now: conn.time(row.at) }))
}
