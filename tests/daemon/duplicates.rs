//! The same request many times over: one run. `ATLASD_TEST_FULL=1` asks a thousand times for each client.

use std::collections::BTreeMap;

use atlasd::domain::counts::Counts;
use atlasd::domain::run::{Completion, Lease, Outcome, Settlement};
use atlasd::ids::RunId;
use atlasd::sandbox::SandboxConfig;
use atlasd::sandbox::config::SINGLE_TENANT;
use atlasd::store::Settled;
use serde_json::json;

use crate::bed::{Bed, block_on, run_id, until};
use crate::many::sized;
use crate::support::for_each_engine;

const CLIENTS: usize = 64;

for_each_engine!(sixty_four_clients_get_one_accepted_and_the_rest_its_run, |engine| {
    let requests_each = sized(250, 1000);
    let bed = Bed::new(engine, SandboxConfig::single(60));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let mut clients = tokio::task::JoinSet::new();
        let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(CLIENTS));
        for _ in 0..CLIENTS {
            let (client, barrier) = (client.clone(), barrier.clone());
            clients.spawn(async move {
                barrier.wait().await;
                let mut verdicts = BTreeMap::<(String, i64), usize>::new();
                for _ in 0..requests_each {
                    let answer = client.fetch(tenant, json!({})).await;
                    let verdict = answer.body["verdict"].as_str().expect("a verdict").to_owned();
                    *verdicts.entry((verdict, run_id(&answer))).or_default() += 1;
                }
                verdicts
            });
        }
        let mut verdicts = BTreeMap::<(String, i64), usize>::new();
        while let Some(counted) = clients.join_next().await {
            for (verdict, count) in counted.expect("no client panics") {
                *verdicts.entry(verdict).or_default() += count;
            }
        }
        let accepted: Vec<_> = verdicts.iter().filter(|((verdict, _), _)| verdict == "accepted").collect();
        assert_eq!(accepted.len(), 1, "{verdicts:?}");
        let ((_, run), count) = accepted[0];
        assert_eq!(*count, 1, "{verdicts:?}");
        let others: usize = verdicts
            .iter()
            .filter(|((verdict, id), _)| id == run && (verdict == "active" || verdict == "cooldown"))
            .map(|(_, count)| count)
            .sum();
        assert_eq!(others, CLIENTS * requests_each - 1, "{verdicts:?}");
        let refused = i64::try_from(CLIENTS * requests_each - 1).unwrap();
        until("the run counts every refused request", || async {
            client.get(&format!("/runs/{run}")).await.body["duplicate_count"] == refused
        })
        .await;
        assert_eq!(client.all("/runs?type=assignments.fetch").await.len(), 1);
    });
    daemon.stop().expect("the daemon stops");
});

for_each_engine!(a_bulk_call_answers_in_order_and_its_own_repeats_are_active, |engine| {
    let bed = Bed::new(engine, SandboxConfig::single(60));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let request = |types: &[&str]| json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": {"policy_types": types}});
        let answer = client
            .post(
                "/runs/batch",
                json!({"requests": [
                    request(&["intent"]),
                    request(&["mobileApp"]),
                    request(&["intent"]),
                    {"type": "assignments.fetch", "tenant_id": 999_999},
                    {"type": "assignments.fetch", "tenant_external_id": SINGLE_TENANT, "inputs": {"policy_types": []}},
                ]}),
            )
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let verdicts = answer.body["verdicts"].as_array().expect("verdicts");
        assert_eq!(verdicts.len(), 5);
        assert_eq!(verdicts[0]["verdict"], "accepted");
        assert_eq!(verdicts[1]["verdict"], "accepted");
        assert_eq!(verdicts[2]["verdict"], "active");
        assert_eq!(verdicts[2]["run"]["id"], verdicts[0]["run"]["id"]);
        assert_eq!(verdicts[3]["error"]["status"], 404, "{}", verdicts[3]);
        assert_eq!(verdicts[4]["error"]["status"], 422, "{}", verdicts[4]);
    });
});

// Nobody tells the registry: it has to find out, and the execution has to end although its own call to the outside
// would take ten minutes.
for_each_engine!(what_another_process_ended_is_neither_active_nor_executed_for_ever, |engine| {
    let mut config = SandboxConfig::single(60);
    config.latency = std::time::Duration::from_mins(10);
    let bed = Bed::new(engine, config);
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let run = RunId(run_id(&client.fetch(tenant, json!({})).await));
        until("it executes here", || async { daemon.handle().progress(run).is_some() }).await;
        let store = daemon.handle().store();
        let token = store.run(run).await.unwrap().expect("it exists").lease_token;
        let end = Completion {
            outcome: Outcome::Succeeded,
            counts: Counts::default(),
            failures: Vec::new(),
            context: serde_json::Map::new(),
            cooldown: std::time::Duration::from_secs(900),
        };
        let settled = store.settle(Lease { run_id: run, token }, Settlement::Complete(end)).await.unwrap();
        assert!(matches!(settled, Settled::Done(_)), "{settled:?}");
        until("the verdict is that of the ledger", || async {
            let answer = client.fetch(tenant, json!({})).await;
            assert_eq!(run_id(&answer), run.0);
            answer.body["verdict"] == "cooldown"
        })
        .await;
        until("nothing executes here", || async { daemon.handle().progress(run).is_none() }).await;
        let attempts = client.get(&format!("/runs/{run}/attempts")).await.body;
        assert_eq!(
            attempts["items"][0]["outcome"], "succeeded",
            "the attempt that ended the run: {attempts}"
        );
    });
    daemon.stop().expect("the daemon stops");
});
