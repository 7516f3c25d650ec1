//! Stopping: SIGTERM in the middle of work loses nothing and uses up no try.

use atlasd::sandbox::{Policies, SandboxConfig, TenantSpec};
use serde_json::json;

use crate::bed::{Bed, block_on, run_id, until};
use crate::process::Process;
use crate::support::for_each_engine;

for_each_engine!(a_graceful_stop_hands_the_run_back_and_the_next_start_finishes_it, |engine| {
    let mut config = SandboxConfig::single(300);
    config.latency = std::time::Duration::from_millis(100);
    let bed = Bed::with(engine, config, "[graph]\nparallel = 1\n[shutdown]\ndrain = \"300ms\"\n");
    block_on(async {
        let process = Process::start(&bed).await;
        let client = process.client(&bed);
        let (_, tenant) = client.single().await;
        let run = run_id(&client.fetch(tenant, json!({})).await);
        until("the run executes", || async {
            client.get(&format!("/runs/{run}")).await.body["status"] == "running"
        })
        .await;
        process.signal("TERM");
        assert_eq!(process.exit_code(), Some(0));

        let process = Process::start(&bed).await;
        let client = process.client(&bed);
        let run = client.completed(run).await;
        assert_eq!(run["outcome"], "succeeded", "{run}");
        assert_eq!(run["attempt"], 1, "the hand-back used up no try: {run}");
        let attempts = client.get(&format!("/runs/{}/attempts", run["id"])).await.body;
        let outcomes: Vec<_> = attempts["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|attempt| attempt["outcome"].clone())
            .collect();
        assert_eq!(outcomes, [json!("handed_back"), json!("succeeded")]);
        process.signal("INT");
        assert_eq!(process.exit_code(), Some(0));
    });
    let findings = bed.cli(&["doctor", "--output", "json"]);
    assert!(!findings.is_empty());
});

// Three tenants with work that outlasts the drain and more in their queues: whoever is told last must not go on claiming.
for_each_engine!(a_stop_in_the_middle_of_many_tenants_uses_up_no_try, |engine| {
    let mut config = SandboxConfig::single(0);
    config.latency = std::time::Duration::from_millis(100);
    let ids = [
        "a0b1c2d3-e4f5-4a6b-9c7d-8e9f0a1b2c3d",
        "3f2b8c1e-9d47-4a5b-8e21-0c6d7f8a9b10",
        "5d1c9e7a-2b48-4f63-9a0e-7c8b6d5e4f31",
    ]
    .map(|id| id.parse().unwrap());
    config.tenants = ids.map(|id| TenantSpec::new(id, "One of three", Policies::Total(300))).into();
    let bed = Bed::with(engine, config, "[graph]\nparallel = 1\n[shutdown]\ndrain = \"300ms\"\n");
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    let runs = block_on(async {
        let workspace = client.workspace("contoso").await;
        let mut runs = Vec::new();
        for id in ids {
            let tenant = client.tenant(workspace, id).await;
            runs.push(run_id(&client.fetch(tenant, json!({})).await));
            runs.push(run_id(&client.fetch(tenant, json!({"policy_types": ["intent"]})).await));
        }
        until("every tenant executes", || async {
            client.all("/runs?status=running&type=assignments.fetch").await.len() == ids.len()
        })
        .await;
        runs
    });
    daemon.stop().expect("it stops");

    let text = "SELECT CAST(id AS text) || ' ' || status || ' ' || CAST(attempt AS text) AS word \
         FROM operation_runs WHERE type = 'assignments.fetch' ORDER BY id";
    let wanted: Vec<_> = runs.iter().map(|run| format!("{run} queued 0")).collect();
    assert_eq!(bed.database.words(text), wanted, "all are back in the queue, no try used up");
    let text = "SELECT a.outcome AS word FROM run_attempts a JOIN operation_runs r ON r.id = a.run_id \
         WHERE r.type = 'assignments.fetch'";
    assert_eq!(bed.database.words(text), ["handed_back"; 3], "nothing was claimed anew");
});

for_each_engine!(usr1_makes_a_reconcile_run_for_every_workspace, |engine| {
    let bed = Bed::new(engine, SandboxConfig::single(60));
    block_on(async {
        let process = Process::start(&bed).await;
        let client = process.client(&bed);
        for slug in ["contoso", "fabrikam"] {
            client.workspace(slug).await;
        }
        process.signal("USR1");
        until("each workspace has a reconcile run by the signal", || async {
            let runs = client.all("/runs?type=ops.reconcile_adapter_runs&status=completed").await;
            let by_signal: std::collections::BTreeSet<_> = runs
                .iter()
                .filter(|run| run["initiator_name"] == "signal:SIGUSR1")
                .map(|run| run["workspace_id"].as_i64())
                .collect();
            by_signal.len() == 2
        })
        .await;
        process.signal("USR2");
        process.signal("TERM");
        assert_eq!(process.exit_code(), Some(0));
    });
    let log = std::fs::read_to_string(bed.directory.path().join("daemon.log")).unwrap();
    assert!(log.contains("an actor of the tree"), "SIGUSR2 logs the tree: {log}");
});

#[test]
fn a_log_that_nobody_reads_any_more_costs_neither_work_nor_the_stop() {
    let bed = Bed::new(crate::support::Engine::Sqlite, SandboxConfig::single(60));
    block_on(async {
        let process = Process::start_with_a_log_that_nobody_reads(&bed).await;
        let client = process.client(&bed);
        client.workspace("contoso").await;
        process.signal("USR2");
        process.signal("HUP");
        process.signal("USR1");
        until("the reconcile run that the signal asked for completes", || async {
            !client.all("/runs?type=ops.reconcile_adapter_runs&status=completed").await.is_empty()
        })
        .await;
        process.signal("TERM");
        assert_eq!(process.exit_code(), Some(0));
    });
}

#[test]
fn a_second_daemon_on_the_same_sqlite_file_is_refused_by_name() {
    let bed = Bed::new(crate::support::Engine::Sqlite, SandboxConfig::single(60));
    let daemon = bed.daemon();
    let second = atlasd::daemon::Daemon::start(bed.options());
    let error = second.err().expect("a second daemon does not start");
    let chain = format!("{error}: {}", std::error::Error::source(&error).expect("a reason"));
    assert!(chain.contains(&std::process::id().to_string()), "names the holder's process: {chain}");
    drop(daemon);
    bed.daemon().stop().expect("the lock is free again");
}

#[test]
fn a_taken_port_is_refused_by_name() {
    let bed = Bed::new(crate::support::Engine::Sqlite, SandboxConfig::single(60));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = bed.options();
    options.listen = taken.local_addr().unwrap().to_string();
    let error = atlasd::daemon::Daemon::start(options).err().expect("the port is taken");
    assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()), "{error}");
}
