//! A long history, written in a few statements: what a ledger holds after years with many tenants.
//!
//! One text serves both engines: `{at:X}` is the instant X microseconds after 1970, `{hash:N}` the hexadecimal form of a
//! number, in 64 characters.

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};

use crate::support::Engine;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Tenants, which are there already, with the ids from 1 on.
    pub tenants: u64,
    /// Runs, over 30 days until now.
    pub runs: u64,
}

/// Of 1,000 tenants the first 600 are of workspace 1, the next 300 of 2, then 99 of 3, the last of 4; 5 has none.
pub fn workspace_of(tenant: u64, size: Size) -> i64 {
    match tenant * 1000 / size.tenants {
        0..=600 => 1,
        601..=900 => 2,
        901..=999 => 3,
        _ => 4,
    }
}

/// Writes the history. `now` is in microseconds since 1970, `instance` the id of a process in hexadecimal.
pub fn write(engine: Engine, url: &str, size: Size, now: i64, instance: &str) {
    let numbers = [
        ("{runs}", size.runs.to_string()),
        ("{tenants}", size.tenants.to_string()),
        ("{now}", now.to_string()),
        ("{step}", (30 * 86_400_000_000 / size.runs.max(1)).to_string()),
        (
            "{instance}",
            match engine {
                Engine::Sqlite => format!("x'{instance}'"),
                Engine::Postgres => format!("'{instance}'::uuid"),
            },
        ),
    ];
    for text in STATEMENTS {
        let text = numbers.iter().fold((*text).to_owned(), |text, (name, value)| text.replace(name, value));
        execute(engine, url, &spoken(engine, &text));
    }
    // As an operator's database does by itself; SQLite lives with the figures that its migrations name.
    if matches!(engine, Engine::Postgres) {
        execute(engine, url, "VACUUM ANALYZE");
    }
}

/// A random order that is the same every time.
const RUNS: &str = "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, \
    run_identity_hash, summary_counts, failure_summary, context, started_at, completed_at, created_at, updated_at, \
    attempt, priority, lease_token, cooldown_until, holds_identity, duplicate_count, last_duplicate_at) \
    WITH RECURSIVE n (i) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < {runs} - 1), \
    d AS (SELECT i, 1 + (i * 2654435761 / 65536) % {tenants} AS t, (i * 40503 / 1024) % 20 = 0 AS unlucky, \
        {now} - ({runs} - i) * {step} AS us, (i * 97) % 20 = 7 AS pass, (i * 193) % 50 = 3 AS restore FROM n), \
    k AS (SELECT i, t, us, pass, restore, CASE WHEN pass THEN 1 + i % 3 ELSE CASE WHEN t * 1000 / {tenants} <= 600 THEN 1 \
        WHEN t * 1000 / {tenants} <= 900 THEN 2 WHEN t * 1000 / {tenants} <= 999 THEN 3 ELSE 4 END END AS w, \
        (unlucky AND t % 10 <> 5) OR (t = {tenants} AND NOT pass) AS fails FROM d), \
    s AS (SELECT k.*, i >= {runs} - {runs} / 400 AND w <= 2 AND NOT pass AS open FROM k) \
    SELECT w, CASE WHEN pass THEN NULL ELSE t END, 'schedule', \
    CASE WHEN pass THEN 'ops.reconcile_adapter_runs' WHEN restore THEN 'assignments.restore' ELSE 'assignments.fetch' END, \
    CASE WHEN open THEN 'queued' ELSE 'completed' END, \
    CASE WHEN open THEN 'pending' WHEN fails THEN 'failed' ELSE 'succeeded' END, {hash:i}, \
    '{\"total\":412,\"processed\":412,\"succeeded\":412,\"items\":1630,\"created\":2,\"updated\":5}', \
    CASE WHEN open OR NOT fails THEN '[]' WHEN i % 3 = 0 THEN \
    '[{\"code\":\"graph.throttled\",\"message\":\"Graph asked to wait longer than allowed (12 items)\"}]' \
    WHEN i % 3 = 1 THEN '[{\"code\":\"graph.permission_missing\",\"message\":\"the application lacks a permission\"}]' \
    ELSE '[{\"code\":\"graph.unavailable\",\"message\":\"Graph is not available (3 items)\"}]' END, \
    '{\"identity_version\":1,\"inputs\":{\"policy_ids\":null,\"policy_types\":null},\"request_context\":{\"reason\":\"nightly\"}}', \
    CASE WHEN open THEN NULL ELSE {at:us + 1000000} END, CASE WHEN open THEN NULL ELSE {at:us + 9000000} END, {at:us}, \
    {at:us + 9000000}, CASE WHEN open THEN 0 ELSE 1 END, CASE WHEN restore THEN 0 ELSE 10 END, \
    CASE WHEN open THEN 0 ELSE 1 END, \
    CASE WHEN NOT open AND i >= {runs} - {runs} / 200 THEN {at:{now} + 600000000} ELSE NULL END, \
    open OR i >= {runs} - {runs} / 200, CASE WHEN i % 5 = 0 THEN i % 40 ELSE 0 END, \
    CASE WHEN i % 5 = 0 AND i % 40 > 0 THEN {at:us + 5000000} ELSE NULL END FROM s";

const STATEMENTS: &[&str] = &[
    RUNS,
    // One that executes in each of the first tenants.
    "UPDATE operation_runs SET status = 'running', started_at = created_at, attempt = 1, lease_token = 1, \
     lease_owner = {instance} WHERE id IN (SELECT min(id) FROM operation_runs WHERE status = 'queued' \
     AND tenant_id <= 64 GROUP BY tenant_id)",
    "INSERT INTO assignment_sets (hash, assignments, created_at) \
     WITH RECURSIVE n (i) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 1999) \
     SELECT {hash:i}, '[{\"filter\":null,\"target\":{\"group_id\":\"aaaaaaaa-0000-4000-8000-' || (100000000000 + i) || \
     '\",\"type\":\"group\"}},{\"filter\":null,\"target\":{\"group_id\":\"bbbbbbbb-0000-4000-8000-' || (100000000000 + i) || \
     '\",\"type\":\"exclusion_group\"}},{\"filter\":null,\"target\":{\"type\":\"all_devices\"}}]', {at:{now}} FROM n",
    "INSERT INTO snapshots (operation_run_id, tenant_id, lease_token, state, outcome, summary_counts, coverage, created_at, \
     completed_at) SELECT id, tenant_id, 1, 'finished', 'succeeded', summary_counts, \
     '{\"compliancePolicy\":{\"listed\":100,\"read\":100,\"confirmed_empty\":3,\"complete\":true},\"mobileApp\":{\"listed\":100,\"read\":99,\"confirmed_empty\":0,\"refused\":{\"graph.forbidden\":1},\"complete\":true}}', \
     created_at, completed_at FROM operation_runs WHERE type = 'assignments.fetch' AND outcome = 'succeeded' AND id % 30 = 0",
    // The newest snapshots of a tenant have items: 200 policies, in the first tenant 5,000.
    "INSERT INTO snapshot_items (snapshot_id, policy_type, policy_id, name, assignments_hash) \
     WITH RECURSIVE n (i) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 4999), \
     newest AS (SELECT max(id) AS id, tenant_id FROM snapshots GROUP BY tenant_id UNION ALL \
     SELECT max(s.id), s.tenant_id FROM snapshots s WHERE s.id < (SELECT max(l.id) FROM snapshots l \
     WHERE l.tenant_id = s.tenant_id) GROUP BY s.tenant_id) \
     SELECT s.id, CASE WHEN i % 2 = 0 THEN 'compliancePolicy' ELSE 'mobileApp' END, \
     'cccccccc-0000-4000-8000-' || (100000000000 + i), 'Policy ' || i || ' of everybody', {hash:(i + s.id * (i % 7)) % 2000} \
     FROM newest s JOIN n ON n.i < CASE WHEN s.tenant_id = 1 THEN 5000 ELSE 200 END",
    "INSERT INTO policies (tenant_id, policy_type, policy_id, name, assignments_hash, snapshot_id, read_at) \
     SELECT s.tenant_id, i.policy_type, i.policy_id, i.name, i.assignments_hash, s.id, s.completed_at FROM snapshots s \
     JOIN snapshot_items i ON i.snapshot_id = s.id WHERE s.id IN (SELECT max(id) FROM snapshots GROUP BY tenant_id)",
    "INSERT INTO refused_hours (hour, workspace_id, refused) \
     WITH RECURSIVE n (i) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 2159) \
     SELECT {now} / 3600000000 - i / 3, 1 + i % 3, i FROM n",
    "INSERT INTO directory_names (tenant_id, kind, object_id, name, read_at) \
     WITH RECURSIVE n (i) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 1999) \
     SELECT 1, 'group', 'aaaaaaaa-0000-4000-8000-' || (100000000000 + i), 'Group ' || i, {at:{now}} FROM n",
];

/// A statement in the engine's words.
fn spoken(engine: Engine, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((name, start)) = ["{at:", "{hash:"]
        .iter()
        .filter_map(|name| Some((*name, rest.find(name)?)))
        .min_by_key(|found| found.1)
    {
        out.push_str(&rest[..start]);
        let body = &rest[start + name.len()..];
        let end = body.find('}').expect("what is opened is closed");
        let value = &body[..end];
        out.push_str(&match (engine, name) {
            (Engine::Sqlite, "{at:") => format!("({value})"),
            (Engine::Postgres, "{at:") => {
                format!("(timestamptz 'epoch' + ({value}) * interval '1 microsecond')")
            }
            (Engine::Sqlite, _) => format!("printf('%064x', {value})"),
            (Engine::Postgres, _) => format!("lpad(to_hex({value}), 64, '0')"),
        });
        rest = &body[end + 1..];
    }
    out.push_str(rest);
    if matches!(engine, Engine::Postgres) {
        // The alternatives of a CASE are text unless one of them says what they are.
        out = out.replace("NOT fails THEN '[]'", "NOT fails THEN '[]'::jsonb");
    }
    out
}

fn execute(engine: Engine, url: &str, text: &str) {
    match engine {
        Engine::Sqlite => {
            let path = url.trim_start_matches("sqlite://");
            let mut conn = SqliteConnection::establish(path).expect("the file opens");
            conn.batch_execute(
                "PRAGMA busy_timeout = 60000; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000",
            )
            .expect("pragmas");
            conn.batch_execute(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        }
        Engine::Postgres => {
            let (url, text) = (url.to_owned(), text.to_owned());
            crate::support::runtime().block_on(async {
                let (client, connection) =
                    tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("the bench's database");
                let driver = tokio::spawn(connection);
                client.batch_execute(&text).await.unwrap_or_else(|error| panic!("{error}: {text}"));
                drop(client);
                let _ = driver.await;
            });
        }
    }
}
