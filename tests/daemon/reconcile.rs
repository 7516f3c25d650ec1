//! Reconcile as a client sees it.

use atlasd::daemon::Control;
use atlasd::domain::admission::Request;
use atlasd::domain::identity::IdentityHash;
use atlasd::domain::operation::Operation;
use atlasd::ids::{InstanceId, TenantId, WorkspaceId};
use atlasd::sandbox::SandboxConfig;
use atlasd::store::{Admitted, NewInstance, Store};
use serde_json::json;

use crate::bed::{Bed, PATIENCE, block_on, run_id, tick, until};
use crate::support::{Engine, for_each_engine};

/// A rescue is a request of the daemon's own: clients who fill the gate keep none waiting.
#[test]
fn a_full_gate_keeps_no_pass_of_the_daemons_own_waiting() {
    let bed = Bed::with(Engine::Sqlite, SandboxConfig::single(0), "[admission]\nwaiting_max = 1\n");
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (workspace, _) = client.single().await;
        let passes = format!("/runs?workspace_id={workspace}&type=ops.reconcile_adapter_runs");
        let _place = daemon.handle().take_place().expect("nobody else has it");
        assert_eq!(client.post("/reconcile", json!({"workspace_id": workspace})).await.status, 503);
        daemon.control().send(Control::ReconcileAll("signal:SIGUSR1")).await.expect("the daemon listens");
        until("the pass has ended", || async {
            let runs = client.all(&passes).await;
            runs.iter().any(|run| run["status"] == "completed")
        })
        .await;
    });
}

for_each_engine!(many_triggers_at_once_are_at_most_one_pass_more, |engine| {
    let bed = Bed::new(engine, SandboxConfig::single(60));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (workspace, _) = client.single().await;
        let mut triggers = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let client = client.clone();
            triggers
                .spawn(async move { client.post("/reconcile", json!({"workspace_id": workspace})).await });
        }
        let mut accepted = 0;
        while let Some(answer) = triggers.join_next().await {
            let answer = answer.expect("no client panics");
            match (answer.status, answer.body["verdict"].as_str()) {
                (202, Some("accepted")) => accepted += 1,
                (200, Some("active")) => {}
                _ => panic!("{answer:?}"),
            }
        }
        assert!(accepted >= 1);
        // The list that is looked at below is the one in which every pass had ended: another may begin at any time.
        let passes = format!("/runs?workspace_id={workspace}&type=ops.reconcile_adapter_runs");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let runs = loop {
            let runs = client.all(&passes).await;
            if runs.iter().all(|run| run["status"] == "completed") {
                break runs;
            }
            assert!(tokio::time::Instant::now() < deadline, "passes do not end: {runs:?}");
            tick().await;
        };
        let mut spans: Vec<_> = runs
            .iter()
            .map(|run| {
                assert_eq!(run["outcome"], "succeeded", "{run}");
                assert_eq!(run["tenant_id"], json!(null));
                (
                    run["started_at"].as_str().unwrap().to_owned(),
                    run["completed_at"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        spans.sort();
        for pair in spans.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "two passes overlap: {pair:?}");
        }
    });
});

for_each_engine!(a_dry_run_lists_what_a_pass_would_do_and_changes_nothing, |engine| {
    // A lease that has run out is planted by hand: the passes of this daemon come only when they are asked for.
    let bed = Bed::with(
        engine,
        SandboxConfig::single(60),
        "[execution]\nheartbeat = \"200ms\"\nlease = \"1500ms\"\npoll = \"10m\"\n",
    );
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (workspace, tenant) = client.single().await;
        let orphan = plant_orphan(daemon.handle().store(), workspace, tenant).await;
        let dry = client.post("/reconcile", json!({"workspace_id": workspace, "dry_run": true})).await;
        assert_eq!(dry.status, 202, "{dry:?}");
        let dry = client.completed(run_id(&dry)).await;
        assert_eq!(dry["context"]["repairs"][0]["run_id"], orphan, "{dry}");
        assert_eq!(dry["context"]["repairs"][0]["repair"], "requeue", "{dry}");
        assert_eq!(dry["context"]["repairs"][0]["applied"], false, "{dry}");
        assert_eq!(client.get(&format!("/runs/{orphan}")).await.body["status"], "running");

        let real = client
            .completed(run_id(&client.post("/reconcile", json!({"workspace_id": workspace})).await))
            .await;
        assert_eq!(real["context"]["repairs"][0]["applied"], true, "{real}");
        assert_eq!(real["context"]["repairs"][0]["before"], "running/pending", "{real}");
        assert_eq!(real["context"]["repairs"][0]["after"], "queued/pending", "{real}");
        assert_eq!(real["summary_counts"]["total"], 1, "{real}");
        assert_eq!(real["summary_counts"]["created"], 1, "{real}");
        // Its tenant is woken at once.
        let orphan = client.completed(orphan).await;
        assert_eq!(orphan["attempt"], 2, "{orphan}");
    });
});

/// A row that somebody holds keeps the pass waiting until it has been cancelled.
#[test]
fn a_cancelled_pass_says_so_and_lists_what_it_did() {
    let bed = Bed::with(
        Engine::Postgres,
        SandboxConfig::single(60),
        "[execution]\nheartbeat = \"200ms\"\nlease = \"1500ms\"\npoll = \"10m\"\n",
    );
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    std::thread::scope(|scope| {
        block_on(async {
            let (workspace, tenant) = client.single().await;
            let orphan = plant_orphan(daemon.handle().store(), workspace, tenant).await;
            let text = format!(
                "BEGIN; SELECT id FROM operation_runs WHERE id = {orphan} FOR UPDATE; SELECT pg_sleep(2); COMMIT"
            );
            let database = &bed.database;
            scope.spawn(move || database.execute(&text).expect("the row is held for a while"));
            let held = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                 AND datname = current_database()";
            until("the row is held", || async { bed.database.number(held) == 1 }).await;
            let pass = run_id(&client.post("/reconcile", json!({"workspace_id": workspace})).await);
            until("the pass is under way", || async {
                client.get(&format!("/runs/{pass}")).await.body["status"] == "running"
            })
            .await;
            assert_eq!(client.post(&format!("/runs/{pass}/cancel"), json!({})).await.status, 202);
            let pass = client.completed(pass).await;
            assert_eq!(pass["outcome"], "failed", "{pass}");
            assert_eq!(pass["failure_summary"][0]["code"], "run.cancelled", "{pass}");
            assert_eq!(pass["context"]["repairs"][0]["run_id"], orphan, "{pass}");
        });
    });
}

/// A run that an instance claimed which was never heard of again.
pub async fn plant_orphan(store: &Store, workspace: i64, tenant: i64) -> i64 {
    let lease = std::time::Duration::from_secs(60);
    let dead =
        NewInstance { id: InstanceId::fresh(), hostname: "gone".into(), pid: 1, version: "0".into(), lease };
    store.register_instance(&dead, false).await.expect("an instance");
    let request = Request {
        workspace_id: WorkspaceId(workspace),
        tenant_id: Some(TenantId(tenant)),
        user_id: None,
        initiator_name: "test".to_owned(),
        operation: Operation::Fetch,
        identity: IdentityHash([1; 32]),
        context: serde_json::Map::from_iter([("inputs".to_owned(), json!({}))]),
        force: false,
    };
    let admitted = store.admit(vec![request]).await.expect("admitted").remove(0);
    let Admitted::Accepted(run) = admitted else { panic!("a new identity: {admitted:?}") };
    store.claim_run(run.id, dead.id).await.expect("claimed").expect("it is queued");
    store.stop_instance(dead.id).await.expect("it is never heard of again");
    run.id.0
}
