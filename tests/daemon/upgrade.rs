//! A fleet that is upgraded while it works: migrations that meet, and programs on a schema that is newer than they are.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bed::{PATIENCE, block_on, until};
use crate::many::{bed_of, request, submit, tenants};
use crate::process::{Launch, Process, free_address};
use crate::support::{Database, Engine, for_each_engine};

for_each_engine!(migrations_by_many_processes_apply_each_once, |engine| {
    let database = Database::create(engine);
    let migrate = |_| {
        Command::new(env!("CARGO_BIN_EXE_atlasd"))
            .args(["migrate", "--database-url", &database.url_text()])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the program was built for this test")
    };
    let migrating: Vec<_> = (0..4).map(migrate).collect();
    let mut applied = Vec::new();
    for one in migrating {
        let output = one.wait_with_output().expect("the process is ours");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        applied.extend(text.lines().filter_map(|line| line.strip_prefix("applied ")).map(str::to_owned));
    }
    applied.sort();
    let known: Vec<String> = atlasd::store::known_versions().into_iter().collect();
    assert_eq!(applied, known, "each was applied by one of them");
});

/// Another program migrates, and does not end: a daemon says so, hears that it is to stop, and who only looks is not kept.
#[test]
fn a_migration_that_waits_for_another_says_so_and_can_be_stopped() {
    let bed = bed_of(Engine::Postgres, 1, Duration::ZERO, "[database]\nmigration_wait = \"700ms\"\n");
    block_on(async {
        let (other, driver) = tokio_postgres::connect(&bed.database.url_text(), tokio_postgres::NoTls)
            .await
            .expect("the server of the tests");
        tokio::spawn(driver);
        other.batch_execute("SELECT pg_advisory_lock(x'61746c617364'::bigint)").await.expect("it is free");

        assert!(bed.cli(&["migrate", "--check"]).contains("up to date"), "who only looks waits for nobody");
        let config = bed.config_path();
        let migrating = Command::new(env!("CARGO_BIN_EXE_atlasd"))
            .args(["migrate", "--database-url", &bed.database.url_text(), "--config"])
            .arg(&config)
            .output()
            .expect("the program was built for this test");
        let said = String::from_utf8_lossy(&migrating.stderr).into_owned();
        assert!(!migrating.status.success(), "it gives up: {said}");
        assert!(said.contains("another process") && said.contains("database.migration_wait"), "{said}");

        // With the default patience, which is minutes.
        let log = bed.directory.path().join("waiting.log");
        let mut serving = Command::new(env!("CARGO_BIN_EXE_atlasd"))
            .args([
                "serve",
                "--migrate",
                "--listen",
                "127.0.0.1:0",
                "--database-url",
                &bed.database.url_text(),
            ])
            .stderr(std::fs::File::create(&log).expect("the directory is writable"))
            .spawn()
            .expect("the program was built for this test");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        until("it says that it waits", || async { said().contains("another process migrates") }).await;
        let stopped = Command::new("kill").args(["-TERM", &serving.id().to_string()]).status();
        assert!(stopped.expect("there is a kill").success());
        let ended = tokio::task::spawn_blocking(move || serving.wait());
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it hears the signal while it waits");
        assert!(ended.expect("nothing panics").expect("the process is ours").success(), "{}", said());
    });
}

/// What only a newer program has a word for is left to it, and keeps nobody else waiting: neither the takeover of what a
/// dead instance left behind, nor a pass.
#[test]
fn a_run_of_a_type_that_is_not_known_keeps_nobody_waiting() {
    let bed = bed_of(Engine::Postgres, 2, Duration::ZERO, "");
    block_on(async {
        let daemon = Process::start(&bed).await;
        let client = daemon.client(&bed);
        let tenants = tenants(&client, 2).await;
        let dead = "INSERT INTO instances (id, hostname, pid, version, started_at, heartbeat_at, lease_until) \
             VALUES ('11111111-1111-4111-8111-111111111111', 'gone', 1, '0', now() - interval '1 hour', \
             now() - interval '1 hour', now() - interval '59 minutes')";
        bed.database.execute(dead).expect("an instance that has died");
        for constraint in ["operation_runs_type_known", "operation_runs_scope_of_type"] {
            bed.database
                .execute(&format!("ALTER TABLE operation_runs DROP CONSTRAINT {constraint}"))
                .expect("as a newer migration would");
        }
        let left = |tenant: i64, hash: &str, word: &str| {
            format!(
                "INSERT INTO operation_runs (workspace_id, tenant_id, initiator_name, type, run_identity_hash, status, \
                 outcome, context, created_at, updated_at, started_at, priority, attempt, lease_token, lease_owner) \
                 SELECT t.workspace_id, t.id, 'test', '{word}', repeat('{hash}', 64), 'running', 'pending', \
                 jsonb_build_object('inputs', jsonb_build_object()), now() - interval '1 hour', \
                 now() - interval '1 hour', now() - interval '1 hour', 1, 1, 1, \
                 '11111111-1111-4111-8111-111111111111' FROM tenants t WHERE t.id = {tenant}"
            )
        };
        bed.database
            .execute(&left(tenants[0], "a", "assignments.export"))
            .expect("a run of the newer program");
        bed.database.execute(&left(tenants[1], "b", "assignments.fetch")).expect("a run of ours");
        let ours = "SELECT count(*) AS n FROM operation_runs WHERE type = 'assignments.fetch' \
             AND status = 'running' AND lease_token = 1";
        until("what is ours is taken up", || async { bed.database.number(ours) == 0 }).await;
        let workspace = bed.database.number("SELECT workspace_id AS n FROM tenants LIMIT 1");
        let pass = crate::bed::run_id(
            &client.post("/reconcile", serde_json::json!({"workspace_id": workspace})).await,
        );
        let pass = client.completed(pass).await;
        assert_eq!((&pass["outcome"], &pass["attempt"]), (&"succeeded".into(), &1.into()), "{pass}");
        let theirs = "SELECT count(*) AS n FROM operation_runs WHERE type = 'assignments.export' \
             AND status = 'running' AND lease_token = 1";
        assert_eq!(bed.database.number(theirs), 1, "it is as its program left it");
    });
}

/// What a newer program's migration may do: add a column, a table and an index.
const NEWER: &str = "BEGIN; ALTER TABLE operation_runs ADD COLUMN colour text NOT NULL DEFAULT 'blue'; \
     CREATE INDEX operation_runs_by_colour ON operation_runs (colour, id); \
     CREATE TABLE colours (name text PRIMARY KEY); \
     INSERT INTO __diesel_schema_migrations (version) VALUES ('9998'); COMMIT";

/// The program is the older of the two; what the newer one has done to the schema comes while it works.
#[test]
fn a_program_works_on_through_a_newer_migration_and_starts_after_it() {
    let bed = bed_of(Engine::Postgres, 4, Duration::from_millis(5), "");
    block_on(async {
        let before = Process::start(&bed).await;
        let client = before.client(&bed);
        let tenants = tenants(&client, 4).await;
        let requests = |from: usize| (from..from + 60).map(|index| request(&tenants, index)).collect();
        let mut runs = submit(&client, requests(0)).await;
        until("it is at work", || async {
            let done = client.get(&format!("/runs/{}", runs[0])).await.body;
            done["status"] == "completed"
        })
        .await;
        bed.database.execute(NEWER).expect("the migration is right");

        let after = Process::start(&bed).await;
        runs.extend(submit(&after.client(&bed), requests(60)).await);
        runs.extend(submit(&client, requests(120)).await);
        for run in &runs {
            let run: Value = client.completed(*run).await;
            assert_eq!(run["attempt"], 1, "{run}");
        }
        let workers = "SELECT count(DISTINCT a.instance_id) AS n FROM run_attempts a";
        assert_eq!(bed.database.number(workers), 2, "both worked");

        // One that says that others cannot live with it: nobody starts on it any more, and who works goes on.
        let breaks = "INSERT INTO schema_breaks (version) VALUES ('9998')";
        bed.database.execute(breaks).expect("a row");
        let log = bed.directory.path().join("refused.log");
        let launch = Launch {
            address: free_address(),
            database_url: bed.database.url_text(),
            environment: Vec::new(),
            log: log.clone(),
        };
        assert_eq!(Process::launch(&bed, &launch).exit_code(), Some(1));
        let log = std::fs::read_to_string(log).expect("it says why");
        assert!(log.contains("9998"), "it names the migration: {log}");
        for run in submit(&client, requests(180)).await {
            client.completed(run).await;
        }
        drop(after);
    });
}
