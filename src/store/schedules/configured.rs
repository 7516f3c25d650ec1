//! The schedules of the configuration: after a start and a reload the ledger has what the file says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rows::{ScheduleRow, schedules_where};
use super::{insert, update};
use crate::store::backend::{Backend, Engine};
use crate::store::error::StoreError;
use crate::store::records::{NewSchedule, Schedule, ScheduleChange, ScheduleSource, SchedulesConfigured};
use crate::store::statement::sql;

/// See [`crate::store::Store::configure_schedules`].
pub async fn configure(
    backend: &Backend,
    wanted: Vec<NewSchedule>,
) -> Result<SchedulesConfigured, StoreError> {
    const REMOVE: &str = "DELETE FROM schedules WHERE id = $1";
    backend
        .write("taking over the schedules of the configuration", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                // RACE: two instances that start together would both insert; the second waits here and finds the rows.
                if conn.engine() == Engine::Postgres {
                    conn.execute(sql("LOCK TABLE schedules IN SHARE ROW EXCLUSIVE MODE")).await?;
                }
                let rows: Vec<ScheduleRow> = conn.rows(schedules_where("s.id > ", 0_i64)).await?;
                let mut known: BTreeMap<_, Schedule> = rows
                    .into_iter()
                    .map(Schedule::from)
                    .map(|one| ((one.workspace_id, one.name.clone()), one))
                    .collect();
                let mut done = SchedulesConfigured::default();
                for one in wanted {
                    match known.remove(&(one.workspace_id, one.name.clone())) {
                        None => {
                            insert(conn, &one, now).await?;
                            done.added.push(one.name);
                        }
                        Some(other) if other.source == ScheduleSource::Api => done.taken.push(one.name),
                        Some(before) if is_about_the_same(&before, &one) => {
                            if let Some(change) = difference(&before, &one) {
                                update(conn, &before, change, now).await?;
                                done.changed.push(one.name);
                            }
                        }
                        Some(before) => {
                            conn.execute(sql(REMOVE).bind(before.id.0)).await?;
                            insert(conn, &one, now).await?;
                            done.changed.push(one.name);
                        }
                    }
                }
                for gone in known.into_values().filter(|one| one.source == ScheduleSource::Config) {
                    conn.execute(sql(REMOVE).bind(gone.id.0)).await?;
                    done.removed.push(gone.name);
                }
                Ok(done)
            })
        })
        .await
}

/// Whether only what a schedule can change is different.
fn is_about_the_same(before: &Schedule, wanted: &NewSchedule) -> bool {
    before.operation == wanted.operation && before.tenant_id == wanted.tenant_id
}

/// What is to change; `None` when it is as it should be.
fn difference(before: &Schedule, wanted: &NewSchedule) -> Option<ScheduleChange> {
    let jitter = Duration::from_secs(before.jitter_s.unsigned_abs());
    let change = ScheduleChange {
        name: None,
        inputs: (before.inputs != wanted.inputs).then(|| wanted.inputs.clone()),
        cron: (before.cron != wanted.cron).then(|| wanted.cron.clone()),
        timezone: (before.timezone != wanted.timezone).then(|| wanted.timezone.clone()),
        jitter: (jitter.as_secs() != wanted.jitter.as_secs()).then_some(wanted.jitter),
        enabled: (before.enabled != wanted.enabled).then_some(wanted.enabled),
    };
    let is_any = change.inputs.is_some()
        || change.cron.is_some()
        || change.timezone.is_some()
        || change.jitter.is_some()
        || change.enabled.is_some();
    is_any.then_some(change)
}
