//! The doctor and time: a check that takes too long stands alone, and none grows with the square of the history.

use super::*;

/// A store whose statements may take so long.
async fn hasty(lab: &Lab, statement: Duration) -> Store {
    let config = DatabaseConfig { statement_timeout: Span(statement), ..DatabaseConfig::default() };
    let runtime = tokio::runtime::Handle::current();
    Store::open(&lab.database.url, &config, lab.clock.clone(), runtime).await.unwrap()
}

/// Waits until there is a row of this kind.
async fn until(lab: &Lab, rows: &str) {
    while lab.database.number(&format!("SELECT count(*) AS n FROM {rows}")) == 0 {
        tokio::task::yield_now().await;
    }
}

on_each_engine! {
    async fn a_check_that_takes_too_long(lab: &Lab) {
        if lab.engine == Engine::Sqlite {
            return; // It has no limit, and nobody locks a reader out.
        }
        let hasty = hasty(lab, Duration::from_secs(1)).await;
        let database = lab.database.clone();
        let locker = std::thread::spawn(move || database.execute("BEGIN; LOCK TABLE clock_steps; SELECT pg_sleep(300)"));
        let locked = "pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'clock_steps'::regclass";
        until(lab, locked).await;
        let found = hasty.doctor_of_newest(10).await.unwrap();
        let found: Vec<_> = found.into_iter().filter(|finding| finding.broken > 0).collect();
        assert!(found.len() >= 4 && found.iter().all(|finding| !finding.is_examined()), "{found:?}");
        assert!(found.iter().all(|finding| finding.advice.contains("statement timeout")), "{found:?}");
        // All of history gets the time that it needs.
        let store = hasty.clone();
        let patient = tokio::spawn(async move { store.doctor().await.unwrap() });
        until(lab, "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
            AND query_start < clock_timestamp() - interval '1500 milliseconds'").await;
        lab.database.execute(&format!("SELECT pg_terminate_backend(pid) FROM {locked}")).unwrap();
        let found = patient.await.unwrap();
        assert!(found.iter().all(|finding| finding.broken == 0), "{found:?}");
        locker.join().unwrap().expect_err("it was ended");
        hasty.close().await;
    }

    /// A check that compared each run of an identity with each would not be done within hours.
    async fn a_long_history_of_one_identity_and_a_long_queue(lab: &Lab) {
        const RUNS: i64 = 30_000;
        // Every run began an hour after the one before, with a quarter of an hour of cooldown; one came too early.
        let (numbers, at, hash, off, on) = match lab.engine {
            Engine::Sqlite => (
                format!("WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {RUNS})"),
                "(1500000000000000 + 3600000000 * (i - CASE WHEN i = 20000 THEN 0.9 ELSE 0 END) + {s} * 1000000)",
                "printf('%064x', i)", "SELECT 1", "SELECT 1",
            ),
            // Each row would add a version to one row of the days' sums.
            Engine::Postgres => (
                format!("WITH numbers (i) AS (SELECT generate_series(1, {RUNS}))"),
                "(timestamptz '2017-01-01' + interval '1 hour' * (i - CASE WHEN i = 20000 THEN 0.9 ELSE 0 END) \
                    + interval '1 second' * {s})",
                "lpad(to_hex(i), 64, '0')", "ALTER TABLE operation_runs DISABLE TRIGGER USER", "ALTER TABLE operation_runs ENABLE TRIGGER USER",
            ),
        };
        let at = |seconds: i64| {
            let at = at.replace("{s}", &seconds.to_string());
            if lab.engine == Engine::Sqlite { format!("CAST({at} AS INTEGER)") } else { at }
        };
        let columns = "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, status, outcome, \
            run_identity_hash, created_at, completed_at, updated_at, cooldown_until, priority, holds_identity)";
        let (workspace, tenant) = (lab.workspace.0, lab.tenant().0);
        lab.database.execute(&format!("{off}; \
            {numbers} {columns} SELECT {workspace}, {tenant}, 'test', 'assignments.fetch', 'completed', 'succeeded', '{}', \
            {}, {}, {}, {}, 1, FALSE FROM numbers ORDER BY i; \
            {numbers} {columns} SELECT {workspace}, {tenant}, 'test', 'assignments.fetch', 'queued', 'pending', {hash}, \
            {}, NULL, {}, NULL, 1, TRUE FROM numbers ORDER BY i; {on}",
            "a".repeat(64), at(0), at(1), at(1), at(901), at(0), at(0))).unwrap();
        let hasty = hasty(lab, Duration::from_secs(20)).await;
        // SQLite has no limit for a statement.
        let looked = tokio::time::timeout(Duration::from_secs(120), hasty.doctor_of_newest(u32::MAX)).await;
        let found: Vec<_> = looked.expect("no check is quadratic").unwrap().into_iter().filter(|finding| finding.broken > 0).collect();
        assert_eq!(keys(&found), ["cooldown"], "{found:?}");
        assert_eq!((found[0].looked_at, found[0].broken, found[0].examples.as_slice()), (RUNS, 1, [RunId(20_000)].as_slice()));
        hasty.close().await;
    }
}
