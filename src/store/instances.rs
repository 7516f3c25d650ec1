//! Instances: who lives, by heartbeats (SPEC section 5).

use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::backend::Backend;
use super::clock_steps;
use super::error::StoreError;
use super::records::{ClockStep, Heartbeat, Instance, NewInstance};
use super::rows::instant;
use super::statement::sql;
use super::types::{SqlId, SqlInstant, sql as types};
use crate::domain::run::Lease;
use crate::ids::{InstanceId, LeaseToken, RunId};

/// True for an instance `i` that lives at the instant `$1` (or whatever number is given).
macro_rules! live {
    ($now:literal) => {
        concat!("i.stopped_at IS NULL AND i.lease_until > ", $now)
    };
}
pub(super) use live;

/// See [`super::Store::register_instance`].
pub async fn register(
    backend: &Backend,
    instance: NewInstance,
    sole: bool,
) -> Result<Option<ClockStep>, StoreError> {
    const OTHERS: &str = "UPDATE instances SET stopped_at = $1 WHERE stopped_at IS NULL AND id <> $2";
    const NEW: &str = "INSERT INTO instances (id, hostname, pid, version, started_at, heartbeat_at, lease_until) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)";
    backend
        .write("registering the instance", move |conn| {
            Box::pin(async move {
                let (step, now) = clock_steps::unnoticed(conn).await?;
                if sole {
                    conn.execute(sql(OTHERS).bind(now).bind(instance.id.0)).await?;
                }
                let statement = sql(NEW)
                    .bind(instance.id.0)
                    .bind(instance.hostname)
                    .bind(i64::from(instance.pid))
                    .bind(instance.version)
                    .bind(now)
                    .bind(now)
                    .bind(now + instance.lease);
                conn.execute(statement).await?;
                Ok(step)
            })
        })
        .await
}

/// A running run of an instance.
#[derive(QueryableByName)]
struct OwnedRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    lease_token: i64,
    #[diesel(sql_type = Bool)]
    cancelled: bool,
}

impl OwnedRow {
    fn lease(&self) -> Lease {
        Lease { run_id: RunId(self.id), token: LeaseToken(self.lease_token) }
    }
}

/// See [`super::Store::heartbeat`].
pub async fn heartbeat(
    backend: &Backend,
    instance: InstanceId,
    lease: Duration,
) -> Result<Heartbeat, StoreError> {
    const RENEW: &str = "UPDATE instances SET heartbeat_at = $1, lease_until = $2, lost_at = NULL \
         WHERE id = $3 AND stopped_at IS NULL";
    const OWNED: &str = "SELECT id, lease_token, cancel_requested_at IS NOT NULL AS cancelled FROM operation_runs \
         WHERE lease_owner = $1 AND status = 'running' ORDER BY id";
    backend
        .write("renewing the instance's lease", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let statement = sql(RENEW).bind(now).bind(now + lease).bind(instance.0);
                let renewed = conn.execute(statement).await? == 1;
                let owned: Vec<OwnedRow> = conn.rows(sql(OWNED).bind(instance.0)).await?;
                Ok(Heartbeat {
                    database_now: now - conn.shift(),
                    cancel_requested: owned
                        .iter()
                        .filter(|row| row.cancelled)
                        .map(|row| RunId(row.id))
                        .collect(),
                    owned: owned.iter().map(OwnedRow::lease).collect(),
                    renewed,
                })
            })
        })
        .await
}

/// See [`super::Store::stop_instance`].
pub async fn stop(backend: &Backend, instance: InstanceId) -> Result<(), StoreError> {
    const TEXT: &str = "UPDATE instances SET stopped_at = $1 WHERE id = $2 AND stopped_at IS NULL";
    backend
        .write("stopping the instance", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.execute(sql(TEXT).bind(now).bind(instance.0)).await?;
                Ok(())
            })
        })
        .await
}

/// See [`super::Store::mark_lost`].
pub async fn mark_lost(backend: &Backend, over: Duration) -> Result<Vec<InstanceId>, StoreError> {
    // RACE: a renewal that comes in between wins, since the row is looked at again once it is locked.
    const TEXT: &str = "UPDATE instances SET lost_at = $1 WHERE stopped_at IS NULL AND lost_at IS NULL \
         AND lease_until <= $2 RETURNING id";
    let rows: Vec<IdRow> = backend
        .write("marking lost instances", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let before = now - chrono::Duration::from_std(over).unwrap_or(chrono::Duration::MAX);
                conn.rows(sql(TEXT).bind(now).bind(before)).await
            })
        })
        .await?;
    Ok(rows.into_iter().map(|row| InstanceId(row.id.0)).collect())
}

#[derive(QueryableByName)]
struct IdRow {
    #[diesel(sql_type = types::Id)]
    id: SqlId,
}

#[derive(QueryableByName)]
struct InstanceRow {
    #[diesel(sql_type = types::Id)]
    id: SqlId,
    #[diesel(sql_type = Text)]
    hostname: String,
    #[diesel(sql_type = BigInt)]
    pid: i64,
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = types::Instant)]
    started_at: SqlInstant,
    #[diesel(sql_type = types::Instant)]
    heartbeat_at: SqlInstant,
    #[diesel(sql_type = types::Instant)]
    lease_until: SqlInstant,
    #[diesel(sql_type = Nullable<types::Instant>)]
    stopped_at: Option<SqlInstant>,
    #[diesel(sql_type = Nullable<types::Instant>)]
    lost_at: Option<SqlInstant>,
}

/// See [`super::Store::instances`].
pub async fn instances(backend: &Backend) -> Result<Vec<Instance>, StoreError> {
    // LIMIT: a fleet that restarts in a loop must not fill an answer.
    const TEXT: &str = "SELECT id, hostname, pid, version, started_at, heartbeat_at, lease_until, stopped_at, lost_at \
         FROM instances WHERE heartbeat_at > $1 ORDER BY started_at DESC LIMIT 1000";
    let rows: Vec<InstanceRow> = backend
        .read("listing instances", |conn| {
            Box::pin(async move {
                let since = conn.now().await? - chrono::Duration::days(1);
                conn.rows(sql(TEXT).bind(since)).await
            })
        })
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| Instance {
            id: InstanceId(row.id.0),
            hostname: row.hostname,
            pid: row.pid,
            version: row.version,
            started_at: row.started_at.0,
            heartbeat_at: row.heartbeat_at.0,
            lease_until: row.lease_until.0,
            stopped_at: instant(row.stopped_at),
            lost_at: instant(row.lost_at),
        })
        .collect())
}
