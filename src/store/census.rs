//! How much there is to do: counted for the metrics, over partial indexes that hold active runs alone.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable};

use super::backend::Backend;
use super::error::StoreError;
use super::statement::sql;
use super::types::{SqlInstant, sql as types};
use crate::clock::Instant;

/// The active runs of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Queued runs, due or not.
    pub queued: i64,
    /// Running ones, of all instances.
    pub running: i64,
    /// When the oldest queued run was accepted.
    pub oldest_queued: Option<Instant>,
    /// The ledger's time.
    pub now: Instant,
}

#[derive(QueryableByName)]
struct CensusRow {
    #[diesel(sql_type = BigInt)]
    queued: i64,
    #[diesel(sql_type = BigInt)]
    running: i64,
    #[diesel(sql_type = Nullable<types::Instant>)]
    oldest_queued: Option<SqlInstant>,
}

/// See [`super::Store::census`].
pub async fn census(backend: &Backend) -> Result<Census, StoreError> {
    const TEXT: &str = "SELECT (SELECT count(*) FROM operation_runs WHERE status = 'queued') AS queued, \
         (SELECT count(*) FROM operation_runs WHERE status = 'running') AS running, \
         (SELECT min(created_at) FROM operation_runs WHERE status = 'queued') AS oldest_queued";
    let (row, now): (Option<CensusRow>, _) = backend
        .read("counting active runs", |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                Ok((conn.rows(sql(TEXT)).await?.pop(), now))
            })
        })
        .await?;
    let row = row.unwrap_or(CensusRow { queued: 0, running: 0, oldest_queued: None });
    Ok(Census {
        queued: row.queued,
        running: row.running,
        oldest_queued: row.oldest_queued.map(|time| time.0),
        now,
    })
}
