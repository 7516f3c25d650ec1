//! What a database can show of the guarantees (SPEC section 12).
//!
//! It reads only. Each finding has its figure: how many rows it looked at, and how many break it. All of history is
//! looked at, or only the newest runs where that is asked for; texts only in a sample of the newest rows.

mod checks;
mod sample;

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Text};

use self::checks::{CHECKS, Check};
use super::backend::{Backend, Conn, Engine};
use super::error::{Problem, StoreError};
use super::records::Finding;
use super::schema::{EXPECTED_INDEXES, EXPECTED_TRIGGERS, normal};
use super::statement::{Statement, sql};
use crate::clock::Instant;
use crate::ids::RunId;

/// Example runs of a finding at the most.
const EXAMPLES_MAX: i64 = 10;
/// How long after the death of its instance a run may go without being worked on (G3).
const G3_LIMIT: chrono::Duration = chrono::Duration::seconds(15);
/// How long a due run may wait that nothing keeps from being executed (G9); the default of `reconcile.queued_max`.
const G9_LIMIT: chrono::Duration = chrono::Duration::minutes(10);

/// Where the clock was set back, what began later may seem to have begun earlier: by times alone nobody can tell.
const TOLD_ONCE: &str =
    "NOT EXISTS (SELECT 1 FROM clock_steps c WHERE o.started_at BETWEEN c.low_at AND c.high_at)";

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

#[derive(QueryableByName)]
struct ObjectRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    definition: String,
    #[diesel(sql_type = Bool)]
    works: bool,
}

/// What a check's texts are given.
#[derive(Clone, Copy)]
struct Terms {
    now: Instant,
    after: i64,
}

/// See [`super::Store::doctor`].
pub async fn doctor(backend: &Backend, newest: Option<u32>) -> Result<Vec<Finding>, StoreError> {
    backend
        .view("examining the ledger", move |conn| {
            Box::pin(async move {
                let terms = Terms { now: conn.now().await?, after: after(conn, newest).await? };
                let mut findings = Vec::new();
                for check in CHECKS {
                    findings.push(rows_that_break(conn, check, terms).await?);
                }
                findings.push(sample::texts(conn).await?);
                findings.extend(schema(conn).await?);
                Ok(findings)
            })
        })
        .await
}

/// The run after which the `newest` runs come.
async fn after(conn: &mut Conn<'_>, newest: Option<u32>) -> Result<i64, Problem> {
    const LATEST: &str = "SELECT coalesce(max(id), 0) AS n FROM operation_runs";
    let Some(newest) = newest else { return Ok(0) };
    let latest: Option<CountRow> = conn.row(sql(LATEST)).await?;
    Ok(latest.map_or(0, |row| row.n) - i64::from(newest))
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
        let text =
            format!("SELECT DISTINCT run_id FROM ({text}) broken ORDER BY run_id LIMIT {EXAMPLES_MAX}");
        let rows: Vec<RunIdRow> = conn.rows(bound(text, terms)).await?;
        examples = rows.into_iter().map(|row| RunId(row.run_id)).collect();
    }
    let advice = if broken == 0 { "" } else { check.advice };
    Ok(Finding {
        guarantee: check.guarantee.to_owned(),
        key: check.key.to_owned(),
        check: check.what.to_owned(),
        looked_at,
        broken,
        examples,
        advice: advice.to_owned(),
    })
}

fn bound(text: String, terms: Terms) -> Statement {
    let Terms { now, after } = terms;
    sql(text).bind(now).bind(now - G3_LIMIT).bind(now - G9_LIMIT).bind(after)
}

async fn count(conn: &mut Conn<'_>, statement: Statement) -> Result<i64, Problem> {
    let row: Option<CountRow> = conn.row(statement).await?;
    Ok(row.map_or(0, |row| row.n))
}

/// The indexes and triggers that enforce the guarantees, compared with what this program created.
async fn schema(conn: &mut Conn<'_>) -> Result<Vec<Finding>, Problem> {
    let engine = conn.engine();
    let indexes = objects(
        conn,
        match engine {
            Engine::Sqlite => {
                "SELECT name, sql AS definition, TRUE AS works FROM sqlite_master \
                 WHERE type = 'index' AND sql IS NOT NULL"
            }
            Engine::Postgres => {
                "SELECT c.relname::text AS name, pg_get_indexdef(c.oid) AS definition, \
                 x.indisvalid AND x.indisready AND x.indislive AS works \
                 FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid \
                 WHERE c.relnamespace = current_schema()::regnamespace"
            }
        },
    )
    .await?;
    let triggers = objects(
        conn,
        match engine {
            Engine::Sqlite => {
                "SELECT name, sql AS definition, TRUE AS works FROM sqlite_master WHERE type = 'trigger'"
            }
            Engine::Postgres => {
                "SELECT t.tgname::text AS name, pg_get_triggerdef(t.oid) AS definition, \
                 t.tgenabled IN ('O', 'A') AS works FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
                 WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
            }
        },
    )
    .await?;
    let mut findings = Vec::new();
    for expected in EXPECTED_INDEXES {
        let found = indexes.get(expected.name);
        let wanted = normal(if engine == Engine::Sqlite { expected.sqlite } else { expected.postgres });
        let as_created = found.is_some_and(|index| normal(&index.definition) == wanted);
        let check = format!("the index {} is there as created", expected.name);
        findings.push(object(expected.guarantee, expected.name, check, as_created));
        // G11 rests on them too: what is not valid refuses nothing, or refuses what it should not.
        let check = format!("the index {} is valid and in use", expected.name);
        let works = found.is_some_and(|index| index.works);
        findings.push(object("G11", &format!("{}_valid", expected.name), check, works));
    }
    for (guarantee, name) in EXPECTED_TRIGGERS {
        let works = triggers.get(*name).is_some_and(|trigger| trigger.works);
        findings.push(object(guarantee, name, format!("the trigger {name} is there"), works));
    }
    Ok(findings)
}

/// A finding about one object of the schema.
fn object(guarantee: &str, key: &str, check: String, well: bool) -> Finding {
    const ADVICE: &str =
        "somebody changed the schema: stop the daemons and restore it as the migrations have it";
    Finding {
        guarantee: guarantee.to_owned(),
        key: key.to_owned(),
        check,
        looked_at: 1,
        broken: i64::from(!well),
        examples: Vec::new(),
        advice: if well { String::new() } else { ADVICE.to_owned() },
    }
}

async fn objects(conn: &mut Conn<'_>, text: &'static str) -> Result<BTreeMap<String, ObjectRow>, Problem> {
    let rows: Vec<ObjectRow> = conn.rows(sql(text)).await?;
    Ok(rows.into_iter().map(|row| (row.name.clone(), row)).collect())
}
