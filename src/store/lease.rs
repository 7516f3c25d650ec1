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

/// See [`under`].
#[derive(QueryableByName)]
pub struct UnderRow {
    #[diesel(sql_type = BigInt)]
    tenant: i64,
    #[diesel(sql_type = Nullable<types::Instant>)]
    at: Option<SqlInstant>,
}

impl UnderRow {
    /// With the time that decides.
    pub fn at(self, conn: &Conn<'_>) -> Under {
        Under { tenant: TenantId(self.tenant), now: conn.time(self.at) }
    }
}

/// A select of [`UnderRow`] and `more` from the run `r` of the lease `$1`, `$2` (and what is joined to it), up to further
/// conditions.
macro_rules! under_lease {
    ($at:literal, $more:literal, $join:literal) => {
        concat!(
            "SELECT r.tenant_id AS tenant, ",
            $at,
            " AS at",
            $more,
            " FROM operation_runs r ",
            $join,
            " WHERE r.id = $1 AND r.lease_token = $2 AND r.status = 'running' AND r.tenant_id IS NOT NULL"
        )
    };
}
pub(super) use under_lease;

/// The tenant of the lease's run while the lease is good, and then the run stays as it is until the transaction ends.
///
/// A running run holds its identity (a CHECK of the table), so this is also the look whether it is the canonical one.
pub async fn under(conn: &mut Conn<'_>, lease: Lease) -> Result<Option<Under>, Problem> {
    let text = match conn.engine() {
        Engine::Sqlite => under_lease!("NULL", "", ""),
        Engine::Postgres => concat!(under_lease!("clock_timestamp()", "", ""), " FOR SHARE"),
    };
    let row: Option<UnderRow> = conn.row(sql(text).bind(lease.run_id.0).bind(lease.token.0)).await?;
    Ok(row.map(|row| row.at(conn)))
}
