//! Schedules (SPEC section 4, one of the ways in): their rows, and the requests that they are about to make.
//!
//! An occurrence is begun by the instance that moves `next_at` on, a compare-and-set by the database's clock; in the same
//! transaction it becomes one row per request. A request is taken for a while and ends with its verdict; what its holder
//! did not end is taken again. So no request is lost, and one that is made twice gets the first run as its answer.

mod asks;
mod configured;
mod rows;

use super::backend::Backend;
use super::claims::to_limit;
use super::cursor::{after_id, next_of, rows_of};
use super::error::{Problem, StoreError};
use super::records::{
    Ask, AskEnd, NewSchedule, Page, PageRequest, Schedule, ScheduleAdded, ScheduleChange, ScheduleSource,
    SchedulesConfigured,
};
use super::rows::NumberRow;
use super::statement::sql;
use super::types::DocumentText;
use super::{Store, backend::Conn};
use crate::clock::Instant;
use crate::domain::schedule::{Occurrence, Timetable};
use crate::ids::{AskId, ScheduleId, WorkspaceId};
use rows::{ScheduleRow, schedules_where, source_word};

impl Store {
    /// Adds a schedule, unless there are `schedules_max` of the endpoint already; [`StoreError::Duplicate`] when its
    /// workspace has one of the name.
    pub async fn add_schedule(
        &self,
        schedule: NewSchedule,
        schedules_max: usize,
    ) -> Result<ScheduleAdded, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { add(&backend, schedule, schedules_max).await }).await
    }

    /// A schedule by id.
    pub async fn schedule(&self, id: ScheduleId) -> Result<Option<Schedule>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { one(&backend, id).await }).await
    }

    /// A page of schedules, oldest first.
    pub async fn schedules(
        &self,
        workspace: Option<WorkspaceId>,
        page: PageRequest,
    ) -> Result<Page<Schedule>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { list(&backend, workspace, page).await }).await
    }

    /// Changes a schedule of the endpoint. A new expression, a new zone and a resumption count from now: what would have
    /// come before is not made up for. `None` when there is no such schedule of the endpoint.
    pub async fn change_schedule(
        &self,
        id: ScheduleId,
        change: ScheduleChange,
    ) -> Result<Option<Schedule>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { self::change(&backend, id, change).await }).await
    }

    /// Removes a schedule of the endpoint, with what it was about to ask for; false when there is none.
    pub async fn remove_schedule(&self, id: ScheduleId) -> Result<bool, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { remove(&backend, id).await }).await
    }

    /// Makes the schedules of the configuration those that are given: adds, changes and removes. One whose expression,
    /// zone and state are as they were keeps its next time, so that what was missed while no daemon ran is made up for.
    pub async fn configure_schedules(
        &self,
        wanted: Vec<NewSchedule>,
    ) -> Result<SchedulesConfigured, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { configured::configure(&backend, wanted).await }).await
    }

    /// Schedules whose next time has come, the oldest first, at most `limit`; and the database's time.
    pub async fn due_schedules(&self, limit: usize) -> Result<(Instant, Vec<Schedule>), StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { due(&backend, limit).await }).await
    }

    /// Begins an occurrence: moves the schedule's next time on and writes down its requests, due `now` or later. How many;
    /// `None` when another instance was first, or the schedule has changed.
    pub async fn begin_occurrence(
        &self,
        schedule: &Schedule,
        occurrence: Occurrence,
        now: Instant,
    ) -> Result<Option<usize>, StoreError> {
        let (backend, schedule) = (self.backend.clone(), schedule.clone());
        self.spawn(async move { asks::begin(&backend, schedule, occurrence, now).await }).await
    }

    /// Takes requests that are due and that nobody holds, at most `limit`; they are the caller's for `hold`.
    pub async fn take_asks(&self, limit: usize, hold: std::time::Duration) -> Result<Vec<Ask>, StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { asks::take(&backend, limit, hold).await }).await
    }

    /// Ends requests with their verdicts.
    pub async fn end_asks(&self, ends: Vec<AskEnd>) -> Result<(), StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { asks::end(&backend, ends).await }).await
    }

    /// Gives requests back that got no verdict: they may be taken again `after` from now.
    pub async fn give_asks_back(
        &self,
        asks: Vec<AskId>,
        after: std::time::Duration,
    ) -> Result<(), StoreError> {
        let backend = self.backend.clone();
        self.spawn(async move { asks::give_back(&backend, asks, after).await }).await
    }
}

/// The next time of a schedule that counts from `now`.
fn next_from(cron: &str, timezone: &str, enabled: bool, now: Instant) -> Result<Option<Instant>, Problem> {
    if !enabled {
        return Ok(None);
    }
    let table = Timetable::parse(cron, timezone).map_err(|error| Problem::Corrupt(error.to_string()))?;
    Ok(table.next_after(now))
}

async fn add(
    backend: &Backend,
    schedule: NewSchedule,
    schedules_max: usize,
) -> Result<ScheduleAdded, StoreError> {
    const COUNT: &str = "SELECT count(*) AS n FROM schedules WHERE source = 'api'";
    const OPERATION: &str = "adding a schedule";
    let what = format!("a schedule with the name `{}` in this workspace", schedule.name);
    let added = backend
        .try_write(move |conn| {
            Box::pin(async move {
                let count: Option<NumberRow> = conn.row(sql(COUNT)).await?;
                if count.is_some_and(|row| row.n >= to_limit(schedules_max)) {
                    return Ok(ScheduleAdded::Full);
                }
                let now = conn.now().await?;
                let id = insert(conn, &schedule, now).await?;
                let row: Option<ScheduleRow> = conn.row(schedules_where("s.id = ", id.0)).await?;
                let row = row.ok_or_else(|| Problem::Corrupt("expected the new row back".into()))?;
                Ok(ScheduleAdded::Added(Box::new(row.into())))
            })
        })
        .await;
    added.map_err(|problem| match problem.is_unique_violation() {
        true => StoreError::Duplicate { what },
        false => problem.during(OPERATION),
    })
}

/// Inserts a schedule that counts from `now`.
async fn insert(conn: &mut Conn<'_>, schedule: &NewSchedule, now: Instant) -> Result<ScheduleId, Problem> {
    const TEXT: &str = "INSERT INTO schedules (workspace_id, tenant_id, name, source, type, inputs, cron, timezone, \
         jitter_s, enabled, created_by, created_at, updated_at, next_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13) RETURNING id AS n";
    let next = next_from(&schedule.cron, &schedule.timezone, schedule.enabled, now)?;
    let statement = sql(TEXT)
        .bind(schedule.workspace_id.0)
        .bind(schedule.tenant_id.map(|tenant| tenant.0))
        .bind(schedule.name.clone())
        .bind(source_word(schedule.source))
        .bind(schedule.operation.as_str())
        .bind(DocumentText::of(&schedule.inputs))
        .bind(schedule.cron.clone())
        .bind(schedule.timezone.clone())
        .bind(schedule.jitter.as_secs().cast_signed())
        .bind(schedule.enabled)
        .bind(schedule.created_by.clone())
        .bind(now)
        .bind(next);
    let row: Option<NumberRow> = conn.row(statement).await?;
    row.map(|row| ScheduleId(row.n)).ok_or_else(|| Problem::Corrupt("expected the new row back".into()))
}

async fn one(backend: &Backend, id: ScheduleId) -> Result<Option<Schedule>, StoreError> {
    let statement = schedules_where("s.id = ", id.0);
    let row: Option<ScheduleRow> = backend
        .read("reading a schedule", move |conn| Box::pin(async move { conn.row(statement).await }))
        .await?;
    Ok(row.map(Schedule::from))
}

async fn list(
    backend: &Backend,
    workspace: Option<WorkspaceId>,
    page: PageRequest,
) -> Result<Page<Schedule>, StoreError> {
    let mut statement = schedules_where("s.id > ", after_id(page.cursor.as_deref())?.unwrap_or(0));
    if let Some(workspace) = workspace {
        statement.push(" AND s.workspace_id = ");
        statement.push_value(workspace.0);
    }
    statement.push(" ORDER BY s.id LIMIT ");
    statement.push_value(rows_of(page.limit));
    let rows: Vec<ScheduleRow> = backend
        .read("listing schedules", move |conn| Box::pin(async move { conn.rows(statement).await }))
        .await?;
    let items = rows.into_iter().map(Schedule::from).collect();
    Ok(next_of(items, page.limit, |schedule: &Schedule| schedule.id.0))
}

async fn change(
    backend: &Backend,
    id: ScheduleId,
    change: ScheduleChange,
) -> Result<Option<Schedule>, StoreError> {
    const OPERATION: &str = "changing a schedule";
    let what =
        format!("a schedule with the name `{}` in this workspace", change.name.as_deref().unwrap_or(""));
    let changed = backend
        .try_write(move |conn| {
            Box::pin(async move {
                let Some(before) = locked(conn, id).await? else { return Ok(None) };
                if before.source != ScheduleSource::Api {
                    return Ok(None);
                }
                let now = conn.now().await?;
                update(conn, &before, change, now).await?;
                let row: Option<ScheduleRow> = conn.row(schedules_where("s.id = ", id.0)).await?;
                Ok(row.map(Schedule::from))
            })
        })
        .await;
    changed.map_err(|problem| match problem.is_unique_violation() {
        true => StoreError::Duplicate { what },
        false => problem.during(OPERATION),
    })
}

/// A schedule that nobody else changes or begins until the end of the transaction.
async fn locked(conn: &mut Conn<'_>, id: ScheduleId) -> Result<Option<Schedule>, Problem> {
    let mut statement = schedules_where("s.id = ", id.0);
    statement.push(conn.lock(" FOR NO KEY UPDATE OF s"));
    let row: Option<ScheduleRow> = conn.row(statement).await?;
    Ok(row.map(Schedule::from))
}

/// Changes the schedule that was `before`.
async fn update(
    conn: &mut Conn<'_>,
    before: &Schedule,
    change: ScheduleChange,
    now: Instant,
) -> Result<(), Problem> {
    const TEXT: &str = "UPDATE schedules SET name = coalesce($1, name), inputs = $2, cron = $3, timezone = $4, \
         jitter_s = $5, enabled = $6, updated_at = $7, next_at = $8 WHERE id = $9";
    const FORGET: &str = "DELETE FROM schedule_asks WHERE schedule_id = $1";
    let cron = change.cron.unwrap_or_else(|| before.cron.clone());
    let timezone = change.timezone.unwrap_or_else(|| before.timezone.clone());
    let enabled = change.enabled.unwrap_or(before.enabled);
    let counts_anew = (&cron, &timezone, enabled) != (&before.cron, &before.timezone, before.enabled);
    let next = match counts_anew {
        true => next_from(&cron, &timezone, enabled, now)?,
        false => before.next_at,
    };
    let jitter_s = change.jitter.map_or(before.jitter_s, |jitter| jitter.as_secs().cast_signed());
    let statement = sql(TEXT)
        .bind(change.name)
        .bind(DocumentText::of(&change.inputs.unwrap_or_else(|| before.inputs.clone())))
        .bind(cron)
        .bind(timezone)
        .bind(jitter_s)
        .bind(enabled)
        .bind(now)
        .bind(next)
        .bind(before.id.0);
    conn.execute(statement).await?;
    if !enabled {
        conn.execute(sql(FORGET).bind(before.id.0)).await?;
    }
    Ok(())
}

async fn remove(backend: &Backend, id: ScheduleId) -> Result<bool, StoreError> {
    const TEXT: &str = "DELETE FROM schedules WHERE id = $1 AND source = 'api'";
    backend
        .write("removing a schedule", move |conn| {
            Box::pin(async move { Ok(conn.execute(sql(TEXT).bind(id.0)).await? > 0) })
        })
        .await
}

async fn due(backend: &Backend, limit: usize) -> Result<(Instant, Vec<Schedule>), StoreError> {
    backend
        .read("finding schedules that are due", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let mut statement = schedules_where("s.next_at <= ", now);
                statement.push(" ORDER BY s.next_at, s.id LIMIT ");
                statement.push_value(to_limit(limit));
                let rows: Vec<ScheduleRow> = conn.rows(statement).await?;
                Ok((now, rows.into_iter().map(Schedule::from).collect()))
            })
        })
        .await
}
