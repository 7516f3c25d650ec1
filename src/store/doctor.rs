//! What a database can show of the guarantees (SPEC section 12).

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};

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

/// A check of rows: `text` gives the runs that break it, as `run_id`, and may name `$1` (now) and `$2` (now - 15 s).
struct Check {
    guarantee: &'static str,
    what: &'static str,
    text: &'static str,
    advice: &'static str,
}

const CHECKS: &[Check] = &[
    Check {
        guarantee: "G1",
        what: "at most one active run per identity",
        text: "SELECT a.id AS run_id FROM operation_runs a WHERE a.status IN ('queued', 'running') AND EXISTS \
             (SELECT 1 FROM operation_runs b WHERE b.run_identity_hash = a.run_identity_hash AND b.id < a.id \
             AND b.status IN ('queued', 'running') AND (b.tenant_id = a.tenant_id \
             OR (b.tenant_id IS NULL AND a.tenant_id IS NULL AND b.workspace_id = a.workspace_id)))",
        advice: "cancel all but the oldest run of each identity, then restore the unique indexes",
    },
    Check {
        guarantee: "G1",
        what: "at most one running run per tenant",
        text: "SELECT a.id AS run_id FROM operation_runs a WHERE a.status = 'running' AND EXISTS \
             (SELECT 1 FROM operation_runs b WHERE b.tenant_id = a.tenant_id AND b.status = 'running' \
             AND b.id < a.id)",
        advice: "stop the instance that owns the later run, then restore the unique index",
    },
    Check {
        guarantee: "G1",
        what: "every active run holds its identity, and no identity has two holders",
        text: "SELECT a.id AS run_id FROM operation_runs a \
             WHERE (a.status IN ('queued', 'running') AND NOT a.holds_identity) OR (a.holds_identity AND EXISTS \
             (SELECT 1 FROM operation_runs b WHERE b.run_identity_hash = a.run_identity_hash AND b.id < a.id \
             AND b.holds_identity AND (b.tenant_id = a.tenant_id \
             OR (b.tenant_id IS NULL AND a.tenant_id IS NULL AND b.workspace_id = a.workspace_id))))",
        advice: "cancel all but the oldest holder of each identity, then restore the unique indexes",
    },
    Check {
        guarantee: "G2",
        // A forced run ends the cooldown that it skips, also for those after it: nobody holds the identity any more.
        what: "no run was accepted within the cooldown of an earlier one of its identity, unless forced",
        text: "SELECT a.id AS run_id FROM operation_runs a WHERE a.id IN ( \
             SELECT later.id FROM operation_runs earlier JOIN operation_runs later \
             ON later.run_identity_hash = earlier.run_identity_hash AND later.id > earlier.id \
             AND later.created_at < earlier.cooldown_until AND (later.tenant_id = earlier.tenant_id \
             OR (later.tenant_id IS NULL AND earlier.tenant_id IS NULL \
             AND later.workspace_id = earlier.workspace_id)) \
             WHERE earlier.cooldown_until IS NOT NULL AND NOT EXISTS (SELECT 1 FROM operation_runs f \
             WHERE f.run_identity_hash = earlier.run_identity_hash AND f.id > earlier.id AND f.id <= later.id \
             AND f.workspace_id = earlier.workspace_id AND {forced}))",
        advice: "look at the context of these runs for who asked; two daemons without the holder index do this",
    },
    Check {
        guarantee: "G3",
        what: "no running run is left with a dead instance for longer than 15 s",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.status = 'running' AND NOT EXISTS \
             (SELECT 1 FROM instances i WHERE i.id = r.lease_owner AND i.lease_until > $2 \
             AND (i.stopped_at IS NULL OR i.stopped_at > $2))",
        advice: "start a daemon on this database: it takes them up or closes them",
    },
    Check {
        guarantee: "G3",
        what: "a completed run has an outcome and an end, an active one has neither",
        text: "SELECT r.id AS run_id FROM operation_runs r \
             WHERE (r.status = 'completed') <> (r.outcome <> 'pending') \
             OR (r.status = 'completed') <> (r.completed_at IS NOT NULL)",
        advice: "restore the ledger's CHECKs and correct these rows by hand",
    },
    Check {
        guarantee: "G3",
        what: "no attempt is open that its run does not execute",
        text: "SELECT a.run_id FROM run_attempts a JOIN operation_runs r ON r.id = a.run_id \
             WHERE a.outcome = 'running' AND (r.status <> 'running' OR r.lease_token <> a.lease_token)",
        advice: "these attempts ended without a settlement; their runs are not affected",
    },
    Check {
        guarantee: "G3",
        what: "every running run has an open attempt of its latest claim",
        text: "SELECT r.id AS run_id FROM operation_runs r WHERE r.status = 'running' AND NOT EXISTS \
             (SELECT 1 FROM run_attempts a WHERE a.run_id = r.id AND a.lease_token = r.lease_token \
             AND a.outcome = 'running')",
        advice: "wait for the execution to end, or cancel the run",
    },
    Check {
        guarantee: "G5",
        what: "counts and failures of a completed run are those of its final attempt",
        text: "SELECT r.id AS run_id FROM operation_runs r JOIN run_attempts a ON a.run_id = r.id \
             AND a.lease_token = r.lease_token WHERE r.status = 'completed' \
             AND a.outcome IN ('succeeded', 'failed') AND (a.outcome <> r.outcome \
             OR a.summary_counts <> r.summary_counts OR a.failure_summary <> r.failure_summary)",
        advice: "the attempt's row is the original; somebody changed the run's",
    },
    Check {
        guarantee: "G7",
        what: "at most one reconcile is active per workspace",
        text: "SELECT a.id AS run_id FROM operation_runs a WHERE a.type = 'ops.reconcile_adapter_runs' \
             AND a.status IN ('queued', 'running') AND EXISTS (SELECT 1 FROM operation_runs b \
             WHERE b.workspace_id = a.workspace_id AND b.type = a.type AND b.id < a.id \
             AND b.status IN ('queued', 'running'))",
        advice: "cancel the later one, then restore the unique index",
    },
    Check {
        guarantee: "G3",
        what: "adapter runs are closed once their run has ended",
        text: "SELECT s.operation_run_id AS run_id FROM snapshots s JOIN operation_runs r \
             ON r.id = s.operation_run_id WHERE s.state = 'building' AND r.status = 'completed'",
        advice: "run a reconcile of the workspace: it closes them",
    },
    Check {
        guarantee: "G12",
        what: "every attempt and snapshot still has its run",
        text: "SELECT o.run_id FROM (SELECT run_id FROM run_attempts \
             UNION SELECT operation_run_id FROM snapshots WHERE operation_run_id IS NOT NULL) o \
             WHERE NOT EXISTS (SELECT 1 FROM operation_runs r WHERE r.id = o.run_id)",
        advice: "rows of the ledger were removed by something that is not atlasd",
    },
    Check {
        guarantee: "G12",
        what: "no completed run holds an identity without a cooldown that ends",
        text: "SELECT r.id AS run_id FROM operation_runs r \
             WHERE r.status = 'completed' AND r.holds_identity AND r.cooldown_until IS NULL",
        advice: "take the flag off these rows: nothing else ever would",
    },
];

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
}

/// See [`super::Store::doctor`].
pub async fn doctor(backend: &Backend) -> Result<Vec<Finding>, StoreError> {
    backend
        .view("examining the ledger", |conn| {
            Box::pin(async move {
                let now = conn.now().await?;
                let mut findings = Vec::new();
                for check in CHECKS {
                    findings.push(rows_that_break(conn, check, now).await?);
                }
                findings.extend(schema(conn).await?);
                Ok(findings)
            })
        })
        .await
}

async fn rows_that_break(conn: &mut Conn<'_>, check: &Check, now: Instant) -> Result<Finding, Problem> {
    let forced = match conn.engine() {
        // Not json_type with a path: a path begins with the sign that marks a statement's values.
        Engine::Sqlite => "EXISTS (SELECT 1 FROM json_each(f.context) j WHERE j.key = 'forced_by')",
        Engine::Postgres => "jsonb_exists(f.context, 'forced_by')",
    };
    let text = check.text.replace("{forced}", forced);
    let bound = |text: String| -> Statement { sql(text).bind(now).bind(now - G3_LIMIT) };
    let count: Option<CountRow> =
        conn.row(bound(format!("SELECT count(*) AS n FROM ({text}) broken"))).await?;
    let broken = count.map_or(0, |row| row.n);
    let mut examples = Vec::new();
    if broken > 0 {
        let text =
            format!("SELECT DISTINCT run_id FROM ({text}) broken ORDER BY run_id LIMIT {EXAMPLES_MAX}");
        let rows: Vec<RunIdRow> = conn.rows(bound(text)).await?;
        examples = rows.into_iter().map(|row| RunId(row.run_id)).collect();
    }
    Ok(finding(check.guarantee, check.what.to_owned(), broken, examples, check.advice))
}

fn finding(guarantee: &str, check: String, broken: i64, examples: Vec<RunId>, advice: &str) -> Finding {
    let advice = if broken == 0 { String::new() } else { advice.to_owned() };
    Finding { guarantee: guarantee.to_owned(), check, broken, examples, advice }
}

/// The indexes and triggers that enforce the guarantees, compared with what this program created.
async fn schema(conn: &mut Conn<'_>) -> Result<Vec<Finding>, Problem> {
    const ADVICE: &str =
        "somebody changed the schema: stop the daemons and restore it as the migrations have it";
    let engine = conn.engine();
    let indexes = objects(
        conn,
        match engine {
            Engine::Sqlite => {
                "SELECT name, sql AS definition FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            }
            Engine::Postgres => {
                "SELECT indexname::text AS name, indexdef AS definition FROM pg_indexes \
             WHERE schemaname = current_schema()"
            }
        },
    )
    .await?;
    let triggers = objects(conn, match engine {
        Engine::Sqlite => "SELECT name, sql AS definition FROM sqlite_master WHERE type = 'trigger'",
        Engine::Postgres => "SELECT t.tgname::text AS name, pg_get_triggerdef(t.oid) AS definition \
             FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
             WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND c.relnamespace = current_schema()::regnamespace",
    })
    .await?;
    let mut findings = Vec::new();
    for expected in EXPECTED_INDEXES {
        let found = indexes.get(expected.name).map(|definition| normal(definition));
        let wanted = normal(if engine == Engine::Sqlite { expected.sqlite } else { expected.postgres });
        let broken = i64::from(found.is_none_or(|found| found != wanted));
        let check = format!("the index {} is there as created", expected.name);
        findings.push(finding(expected.guarantee, check, broken, Vec::new(), ADVICE));
    }
    for (guarantee, name) in EXPECTED_TRIGGERS {
        let broken = i64::from(!triggers.contains_key(*name));
        let check = format!("the trigger {name} is there");
        findings.push(finding(guarantee, check, broken, Vec::new(), ADVICE));
    }
    Ok(findings)
}

async fn objects(conn: &mut Conn<'_>, text: &'static str) -> Result<BTreeMap<String, String>, Problem> {
    let rows: Vec<ObjectRow> = conn.rows(sql(text)).await?;
    Ok(rows.into_iter().map(|row| (row.name, row.definition)).collect())
}
