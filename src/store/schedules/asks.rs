//! The requests of an occurrence, from its beginning to their verdicts.

use std::collections::BTreeMap;
use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Text};
use serde_json::Value;

use crate::clock::Instant;
use crate::domain::operation::{Operation, Scope};
use crate::domain::schedule::{Occurrence, ask_at};
use crate::ids::{AskId, ScheduleId, TenantId, WorkspaceId};
use crate::store::backend::{Backend, Conn, Engine};
use crate::store::claims::to_limit;
use crate::store::error::{Problem, StoreError};
use crate::store::records::{Ask, AskEnd, AskVerdict, Schedule};
use crate::store::rows::NumberRow;
use crate::store::statement::{Statement, sql};
use crate::store::types::{Document, DocumentText, SqlInstant, Word, sql as types};

/// See [`crate::store::Store::begin_occurrence`].
pub async fn begin(
    backend: &Backend,
    schedule: Schedule,
    occurrence: Occurrence,
    now: Instant,
) -> Result<Option<usize>, StoreError> {
    // RACE: instances see the same schedule as due; the one whose comparison holds begins the occurrence. A schedule that
    // was changed in between has another expression or next time than the one that was decided on.
    const MOVE_ON: &str = "UPDATE schedules SET next_at = $1, last_at = $2, last_catch_up = $3, accepted = 0, active = 0, \
         cooldown = 0, failed = 0, last_problem = NULL \
         WHERE id = $4 AND next_at = $2 AND enabled AND cron = $5 AND timezone = $6";
    backend
        .write("beginning an occurrence", move |conn| {
            Box::pin(async move {
                let statement = sql(MOVE_ON)
                    .bind(occurrence.next)
                    .bind(occurrence.at)
                    .bind(occurrence.catch_up)
                    .bind(schedule.id.0)
                    .bind(schedule.cron.clone())
                    .bind(schedule.timezone.clone());
                if conn.execute(statement).await? == 0 {
                    return Ok(None);
                }
                let targets = targets(conn, &schedule).await?;
                write(conn, &schedule, &occurrence, now, &targets).await?;
                Ok(Some(targets.len()))
            })
        })
        .await
}

/// Whom an occurrence asks about, as of now; `None` is the workspace.
async fn targets(conn: &mut Conn<'_>, schedule: &Schedule) -> Result<Vec<Option<TenantId>>, Problem> {
    const TENANTS: &str = "SELECT id AS n FROM tenants WHERE workspace_id = $1 ORDER BY id";
    if schedule.operation.scope() == Scope::Workspace || schedule.tenant_id.is_some() {
        return Ok(vec![schedule.tenant_id]);
    }
    let rows: Vec<NumberRow> = conn.rows(sql(TENANTS).bind(schedule.workspace_id.0)).await?;
    Ok(rows.into_iter().map(|row| Some(TenantId(row.n))).collect())
}

/// Writes the requests down. One that is still about to be made from an earlier occurrence stands for this one too.
async fn write(
    conn: &mut Conn<'_>,
    schedule: &Schedule,
    occurrence: &Occurrence,
    now: Instant,
    targets: &[Option<TenantId>],
) -> Result<(), Problem> {
    macro_rules! insert {
        ($key:literal, $due:literal, $targets:literal) => {
            concat!(
                "INSERT INTO schedule_asks (schedule_id, tenant_key, occurrence_at, catch_up, due_at) SELECT $1, ",
                $key,
                ", $2, $3, ",
                $due,
                " FROM ",
                $targets,
                " ON CONFLICT (schedule_id, tenant_key) DO NOTHING"
            )
        };
    }
    // SQLite takes `ON` for a join's unless something stands between.
    const SQLITE: &str = insert!("b.value ->> 0", "b.value ->> 1", "json_each($4) b WHERE TRUE");
    const POSTGRES: &str = insert!(
        "b.tenant",
        "TIMESTAMPTZ 'epoch' + b.due * INTERVAL '1 microsecond'",
        "unnest($4, $5) AS b (tenant, due)"
    );
    let jitter = Duration::from_secs(schedule.jitter_s.unsigned_abs());
    let due: Vec<(i64, i64)> = targets
        .iter()
        .map(|tenant| {
            let at = ask_at(schedule.id, *tenant, occurrence, jitter, now);
            (tenant.map_or(0, |tenant| tenant.0), at.micros())
        })
        .collect();
    let statement = match conn.engine() {
        Engine::Sqlite => sql(SQLITE),
        Engine::Postgres => sql(POSTGRES),
    };
    let statement = statement.bind(schedule.id.0).bind(occurrence.at).bind(occurrence.catch_up);
    let statement = match conn.engine() {
        Engine::Sqlite => statement.bind(DocumentText::of(&due)),
        Engine::Postgres => {
            let (tenants, instants): (Vec<_>, Vec<_>) =
                due.into_iter().map(|(tenant, at)| (Some(tenant), Some(at))).unzip();
            statement.bind(tenants).bind(instants)
        }
    };
    conn.execute(statement).await?;
    Ok(())
}

#[derive(QueryableByName)]
struct AskRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    schedule_id: i64,
    #[diesel(sql_type = BigInt)]
    tenant_key: i64,
    #[diesel(sql_type = types::Instant)]
    occurrence_at: SqlInstant,
    #[diesel(sql_type = Bool)]
    catch_up: bool,
    #[diesel(sql_type = BigInt)]
    workspace_id: i64,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text, column_name = "type")]
    operation: Word<Operation>,
    #[diesel(sql_type = types::Document)]
    inputs: Document<Value>,
}

impl From<AskRow> for Ask {
    fn from(row: AskRow) -> Self {
        Self {
            id: AskId(row.id),
            schedule: ScheduleId(row.schedule_id),
            name: row.name,
            operation: row.operation.0,
            inputs: row.inputs.0,
            workspace_id: WorkspaceId(row.workspace_id),
            tenant_id: (row.tenant_key != 0).then_some(TenantId(row.tenant_key)),
            occurrence_at: row.occurrence_at.0,
            catch_up: row.catch_up,
        }
    }
}

/// See [`crate::store::Store::take_asks`].
pub async fn take(backend: &Backend, limit: usize, hold: Duration) -> Result<Vec<Ask>, StoreError> {
    const FREE: &str = "SELECT a.id AS n FROM schedule_asks a \
         WHERE a.due_at <= $1 AND (a.claimed_until IS NULL OR a.claimed_until <= $1) \
         ORDER BY a.due_at, a.id LIMIT $2";
    const HOLD: &str = "UPDATE schedule_asks SET claimed_until = $2 WHERE id IN ({given})";
    const READ: &str = "SELECT a.id, a.schedule_id, a.tenant_key, a.occurrence_at, a.catch_up, s.workspace_id, s.name, \
         s.type, s.inputs FROM schedule_asks a JOIN schedules s ON s.id = a.schedule_id WHERE a.id IN ({given}) \
         ORDER BY a.due_at, a.id";
    // Most looks find nothing: they cost a reader and no turn of the writer.
    let any: Option<NumberRow> = backend
        .read("looking for requests of schedules", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                conn.row(sql(FREE).bind(now).bind(1_i64)).await
            })
        })
        .await?;
    if any.is_none() {
        return Ok(Vec::new());
    }
    backend
        .write("taking requests of schedules", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let mut free = sql(FREE).bind(now).bind(to_limit(limit));
                free.push(conn.lock(" FOR UPDATE SKIP LOCKED"));
                let ids: Vec<NumberRow> = conn.rows(free).await?;
                let ids: Vec<i64> = ids.into_iter().map(|row| row.n).collect();
                if ids.is_empty() {
                    return Ok(Vec::new());
                }
                conn.execute(with(conn, HOLD, &ids).bind(now + hold)).await?;
                let rows: Vec<AskRow> = conn.rows(with(conn, READ, &ids)).await?;
                Ok(rows.into_iter().map(Ask::from).collect())
            })
        })
        .await
}

/// See [`crate::store::Store::give_asks_back`].
pub async fn give_back(backend: &Backend, asks: Vec<AskId>, after: Duration) -> Result<(), StoreError> {
    const TEXT: &str = "UPDATE schedule_asks SET claimed_until = $2 WHERE id IN ({given})";
    let ids: Vec<i64> = asks.into_iter().map(|ask| ask.0).collect();
    backend
        .write("giving requests of schedules back", move |conn| {
            Box::pin(async move {
                let until = conn.now().await? + after;
                conn.execute(with(conn, TEXT, &ids).bind(until)).await?;
                Ok(())
            })
        })
        .await
}

/// See [`crate::store::Store::end_asks`].
pub async fn end(backend: &Backend, ends: Vec<AskEnd>) -> Result<(), StoreError> {
    const REMOVE: &str = "DELETE FROM schedule_asks WHERE id IN ({given}) RETURNING id AS n";
    const COUNT: &str = "UPDATE schedules SET accepted = accepted + $1, active = active + $2, cooldown = cooldown + $3, \
         failed = failed + $4, last_asked_at = $5, last_verdict = $6, last_run_id = coalesce($7, last_run_id), \
         last_problem = coalesce($8, last_problem) WHERE id = $9";
    backend
        .write("ending requests of schedules", move |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let ids: Vec<i64> = ends.iter().map(|end| end.ask.0).collect();
                let removed: Vec<NumberRow> = conn.rows(with(conn, REMOVE, &ids)).await?;
                // One that was taken twice counts once.
                let removed: Vec<i64> = removed.into_iter().map(|row| row.n).collect();
                // ORDER: schedules are locked in one order, so that two instances do not wait for each other.
                let mut sums: BTreeMap<ScheduleId, Sum> = BTreeMap::new();
                for end in ends.into_iter().filter(|end| removed.contains(&end.ask.0)) {
                    sums.entry(end.schedule).or_default().add(end);
                }
                for (schedule, sum) in sums {
                    let [accepted, active, cooldown, failed] =
                        AskVerdict::ALL.map(|verdict| sum.counts.get(verdict.as_str()).copied().unwrap_or(0));
                    let statement = sql(COUNT)
                        .bind(accepted)
                        .bind(active)
                        .bind(cooldown)
                        .bind(failed)
                        .bind(now)
                        .bind(sum.last_verdict.map(AskVerdict::as_str))
                        .bind(sum.last_run_id)
                        .bind(sum.last_problem)
                        .bind(schedule.0);
                    conn.execute(statement).await?;
                }
                Ok(())
            })
        })
        .await
}

/// What the ended requests of one schedule come to.
#[derive(Default)]
struct Sum {
    counts: BTreeMap<&'static str, i64>,
    last_verdict: Option<AskVerdict>,
    last_run_id: Option<i64>,
    last_problem: Option<String>,
}

impl Sum {
    fn add(&mut self, end: AskEnd) {
        *self.counts.entry(end.verdict.as_str()).or_default() += 1;
        self.last_verdict = Some(end.verdict);
        self.last_run_id = end.run_id.map(|run| run.0).or(self.last_run_id);
        self.last_problem = end.problem.or(self.last_problem.take());
    }
}

/// A statement that is given ids as its first value.
fn with(conn: &Conn<'_>, text: &'static str, ids: &[i64]) -> Statement {
    match conn.engine() {
        Engine::Sqlite => {
            sql(text.replace("{given}", "SELECT j.value FROM json_each($1) j")).bind(DocumentText::of(&ids))
        }
        Engine::Postgres => sql(text.replace("{given}", "SELECT unnest($1)"))
            .bind(ids.iter().map(|id| Some(*id)).collect::<Vec<_>>()),
    }
}
