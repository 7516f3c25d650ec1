//! A ledger whose clock was set back: by hand, by a time server, by a failover to a server with another clock.
//!
//! Two things would come of it. What was to happen at a time that now lies far ahead would be waited for: the takeover of
//! an instance that died meanwhile (its lease ends in a day), a run's next try. And the doctor would take times that were
//! told twice for attempts that overlapped. So whoever notices brings the former back to the present and notes the
//! latter.
//!
//! A cooldown stays what it is, since a completed run never changes: one that began ahead lasts until the time that it
//! names, and `force` goes past it.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::Nullable;

use super::backend::{Backend, Conn};
use super::error::{Problem, StoreError};
use super::records::ClockStep;
use super::statement::sql;
use super::types::{SqlInstant, sql as types};
use crate::clock::Instant;

#[derive(QueryableByName)]
struct LatestRow {
    #[diesel(sql_type = Nullable<types::Instant>)]
    latest: Option<SqlInstant>,
}

/// The step that shows by heartbeats from the future: the clock was set back while nobody was there to notice. And the
/// time that it was judged by.
pub(super) async fn unnoticed(conn: &mut Conn<'_>) -> Result<(Option<ClockStep>, Instant), Problem> {
    const TEXT: &str = "SELECT max(heartbeat_at) AS latest FROM instances";
    let row: Option<LatestRow> = conn.row(sql(TEXT)).await?;
    let latest = row.and_then(|row| row.latest).map(|SqlInstant(at)| at);
    // RACE: read after that: others beat all the time, and none of their beats is from the future.
    let now = conn.now().await?;
    let step = latest.filter(|latest| *latest > now).map(|latest| ClockStep { low: now, high: latest });
    Ok((step, now))
}

/// See [`super::Store::clock_was_set_back`].
pub async fn note(backend: &Backend, step: ClockStep, longest_wait: Duration) -> Result<(), StoreError> {
    const NOTE: &str = "INSERT INTO clock_steps (low_at, high_at) VALUES ($1, $2)";
    // LIMIT: a clock that is set all the time.
    const FORGET: &str = "DELETE FROM clock_steps WHERE id <= (SELECT max(id) FROM clock_steps) - 1000";
    // A whole lease from now: who lives renews it, and nobody is taken for dead too early.
    const LEASES: &str = "UPDATE instances SET lease_until = $1 + (lease_until - heartbeat_at), heartbeat_at = $1 \
         WHERE stopped_at IS NULL AND heartbeat_at > $1";
    const TRIES: &str =
        "UPDATE operation_runs SET next_attempt_at = $1 WHERE status = 'queued' AND next_attempt_at > $2";
    backend
        .write("noting that the clock was set back", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.execute(sql(NOTE).bind(step.low).bind(step.high)).await?;
                conn.execute(sql(FORGET)).await?;
                conn.execute(sql(LEASES).bind(now)).await?;
                conn.execute(sql(TRIES).bind(now).bind(now + longest_wait)).await?;
                Ok(())
            })
        })
        .await
}
