//! A fleet that is upgraded while it works: migrations that meet, and programs on a schema that is newer than they are.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bed::{block_on, until};
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
