//! What a database can show of the guarantees (SPEC section 12).
//!
//! It reads only. Each finding has its figure: how many rows it looked at, and how many break it. All of history is
//! looked at, or only the newest runs where that is asked for; texts only in a sample of the newest rows.
//!
//! Each check stands alone: one that the database refuses, for a table that is gone or a limit of time, is a finding that
//! says so ([`Finding::is_examined`]), and the others go on. No check may cost more than a sort of what it looks at.

mod checks;
mod objects;
mod sample;

use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::BigInt;

use self::checks::{CHECKS, Check};
use super::backend::{Backend, Conn, Engine};
use super::error::{Problem, StoreError};
use super::records::Finding;
use super::schema;
use super::statement::{Statement, sql};
use crate::clock::Instant;
use crate::ids::RunId;

/// LIMIT: how long one statement over all of history may take on PostgreSQL, whatever `database.statement_timeout` says:
/// who asks for it waits for the answer, and a big ledger is sorted some dozen times.
const STATEMENT_MAX: Duration = Duration::from_secs(3_600);
/// LIMIT: how long a look as a whole may take on PostgreSQL, in times of what one statement may.
const STATEMENTS_PATIENCE: u32 = 10;

/// Example runs of a finding at the most.
const EXAMPLES_MAX: i64 = 10;
/// How long after its instance's last sign of life a run may go without being worked on (G3): 15 s after a death, which
/// comes at the latest when the next heartbeat is due (2 s by default).
const DEATH_LIMIT: chrono::Duration = chrono::Duration::seconds(17);
/// How long after the end of its instance's lease: what G3's 15 s leave of the default lease (10 s).
const RESCUE_LIMIT: chrono::Duration = chrono::Duration::seconds(5);
/// How long a due run may wait that nothing keeps from being executed (G9); the default of `reconcile.queued_max`.
const G9_LIMIT: chrono::Duration = chrono::Duration::minutes(10);
/// How long a due reconcile may wait: passes go one after another, and each is short.
const RECONCILE_LIMIT: chrono::Duration = chrono::Duration::hours(1);

/// Where the clock was set back, what began later may seem to have begun earlier: by times alone nobody can tell.
const TOLD_ONCE: &str =
    "NOT EXISTS (SELECT 1 FROM clock_steps c WHERE o.started_at BETWEEN c.low_at AND c.high_at)";

impl Finding {
    /// Whether the check was made. One that could not be made looked at nothing and counts as broken.
    pub fn is_examined(&self) -> bool {
        self.looked_at > 0 || self.broken == 0
    }

    /// Whether it is about an object of the schema, and not about rows.
    pub fn is_of_schema(&self) -> bool {
        objects::is_of_schema(&self.key)
    }
}

#[derive(QueryableByName)]
struct RunIdRow {
    #[diesel(sql_type = BigInt)]
    run_id: i64,
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// What a check's texts are given.
#[derive(Clone, Copy)]
struct Terms {
    now: Instant,
    after: i64,
}

/// See [`super::Store::doctor`].
pub async fn doctor(backend: &Backend, newest: Option<u32>) -> Result<Vec<Finding>, StoreError> {
    let backend = with_patience(backend, newest);
    backend.view("examining the ledger", move |conn| Box::pin(examine(conn, newest))).await
}

/// The same pools, with patience for some dozen statements in a row.
fn with_patience(backend: &Backend, newest: Option<u32>) -> Backend {
    let mut backend = backend.clone();
    if let Backend::Postgres { patience, .. } = &mut backend {
        let statement = if newest.is_none() { STATEMENT_MAX } else { *patience };
        *patience = statement * STATEMENTS_PATIENCE;
    }
    backend
}

async fn examine(conn: &mut Conn<'_>, newest: Option<u32>) -> Result<Vec<Finding>, Problem> {
    if newest.is_none() && conn.engine() == Engine::Postgres {
        let text = format!("SET LOCAL statement_timeout = {}", STATEMENT_MAX.as_millis());
        conn.execute(sql(text)).await?;
    }
    let terms = terms(conn, newest).await?;
    let mut findings = Vec::new();
    for check in CHECKS {
        begin_look(conn).await?;
        let looked = rows_that_break(conn, check, terms).await;
        let looked = end_look(conn, looked).await?;
        findings.push(looked.unwrap_or_else(|why| unmade(check.guarantee, check.key, check.what, why)));
    }
    begin_look(conn).await?;
    let looked = sample::texts(conn).await;
    let looked = end_look(conn, looked).await?;
    findings.push(looked.unwrap_or_else(|why| unmade("G8", sample::KEY, sample::WHAT, why)));
    findings.extend(objects(conn).await?);
    Ok(findings)
}

/// Begins a look whose failure is its own: PostgreSQL refuses all that comes after a statement that failed, until the
/// transaction goes back to where it was good. SQLite ends the statement alone, and needs no such place.
async fn begin_look(conn: &mut Conn<'_>) -> Result<(), Problem> {
    if conn.engine() == Engine::Postgres {
        conn.execute(sql("SAVEPOINT look")).await?;
    }
    Ok(())
}

/// Ends it. When the transaction cannot go back, the failure is everybody's: the connection is gone.
async fn end_look<T>(conn: &mut Conn<'_>, looked: Result<T, Problem>) -> Result<Result<T, Problem>, Problem> {
    if conn.engine() == Engine::Sqlite {
        return Ok(looked);
    }
    match looked {
        Ok(found) => {
            conn.execute(sql("RELEASE SAVEPOINT look")).await?;
            Ok(Ok(found))
        }
        Err(problem) => match conn.execute(sql("ROLLBACK TO SAVEPOINT look")).await {
            Ok(_) => Ok(Err(problem)),
            Err(_) => Err(problem),
        },
    }
}

/// ORDER: the first look fixes the state that all others see, and the time is read after it. Otherwise what was released
/// in between, since its cooldown had just passed, would seem to have been released too early.
async fn terms(conn: &mut Conn<'_>, newest: Option<u32>) -> Result<Terms, Problem> {
    const LATEST: &str = "SELECT coalesce(max(id), 0) AS n FROM operation_runs";
    // Without the table every check says so by itself.
    begin_look(conn).await?;
    let latest = count(conn, sql(LATEST)).await;
    let latest = end_look(conn, latest).await?.unwrap_or(0);
    let after = newest.map_or(0, |newest| latest - i64::from(newest));
    Ok(Terms { now: conn.now().await?, after })
}

async fn rows_that_break(conn: &mut Conn<'_>, check: &Check, terms: Terms) -> Result<Finding, Problem> {
    let forced = match conn.engine() {
        // Not json_type with a path: a path begins with the sign that marks a statement's values.
        Engine::Sqlite => "EXISTS (SELECT 1 FROM json_each(f.context) j WHERE j.key = 'forced_by')",
        Engine::Postgres => "jsonb_exists(f.context, 'forced_by')",
    };
    let text = check.text.replace("{forced}", forced).replace("{told_once}", TOLD_ONCE);
    let looked_at = count(conn, bound(format!("SELECT count(*) AS n FROM {}", check.of), terms)).await?;
    let broken = count(conn, bound(format!("SELECT count(*) AS n FROM ({text}) broken"), terms)).await?;
    let mut examples = Vec::new();
    if broken > 0 {
        let text = format!(
            "SELECT DISTINCT run_id FROM ({text}) broken WHERE run_id > 0 ORDER BY run_id LIMIT {EXAMPLES_MAX}"
        );
        let rows: Vec<RunIdRow> = conn.rows(bound(text, terms)).await?;
        examples = rows.into_iter().map(|row| RunId(row.run_id)).collect();
    }
    let advice = if broken == 0 { "" } else { check.advice };
    Ok(Finding {
        guarantee: check.guarantee.to_owned(),
        key: check.key.to_owned(),
        check: check.what.to_owned(),
        // What breaks a guarantee was looked at, also where it is not among what the guarantee speaks of.
        looked_at: looked_at.max(broken),
        broken,
        examples,
        advice: advice.to_owned(),
    })
}

fn bound(text: String, terms: Terms) -> Statement {
    let Terms { now, after } = terms;
    sql(text)
        .bind(now)
        .bind(now - DEATH_LIMIT)
        .bind(now - G9_LIMIT)
        .bind(after)
        .bind(now - RESCUE_LIMIT)
        .bind(now - RECONCILE_LIMIT)
}

async fn count(conn: &mut Conn<'_>, statement: Statement) -> Result<i64, Problem> {
    let row: Option<CountRow> = conn.row(statement).await?;
    Ok(row.map_or(0, |row| row.n))
}

/// The schema, compared with what the migrations make.
async fn objects(conn: &mut Conn<'_>) -> Result<Vec<Finding>, Problem> {
    let expected = schema::expected(conn.engine())?;
    let found = schema::found(conn).await?;
    let is_newer = schema::is_newer(conn).await?;
    Ok(objects::compare(&expected, &found, is_newer))
}

/// A check that could not be made.
fn unmade(guarantee: &str, key: &str, what: &str, why: Problem) -> Finding {
    let why = match why {
        Problem::Database(error) | Problem::Refused(error) => error.to_string(),
        other => other.during("examining the ledger").to_string(),
    };
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    Finding {
        guarantee: guarantee.to_owned(),
        key: key.to_owned(),
        check: format!("not examined: {what}"),
        looked_at: 0,
        broken: 1,
        examples: Vec::new(),
        advice: format!("this could not be examined ({why}): mend what else is broken, then look again"),
    }
}
