//! The check of every write of an execution: its lease is the run's latest and the run is running (SPEC section 5).

use super::backend::Conn;
use super::error::Problem;
use super::rows::NumberRow;
use super::statement::sql;
use crate::domain::run::Lease;
use crate::ids::TenantId;

/// The tenant of the lease's run while the lease is good, and then the run stays as it is until the transaction ends.
pub async fn tenant_under(conn: &mut Conn<'_>, lease: Lease) -> Result<Option<TenantId>, Problem> {
    macro_rules! under_lease {
        ($lock:literal) => {
            concat!(
                "SELECT tenant_id AS n FROM operation_runs WHERE id = $1 AND lease_token = $2 \
                 AND status = 'running' AND tenant_id IS NOT NULL",
                $lock
            )
        };
    }
    let text = if conn.lock("lock").is_empty() { under_lease!("") } else { under_lease!(" FOR SHARE") };
    let row: Option<NumberRow> = conn.row(sql(text).bind(lease.run_id.0).bind(lease.token.0)).await?;
    Ok(row.map(|row| TenantId(row.n)))
}
