//! Retention in a running daemon.

use std::collections::HashMap;
use std::time::Duration;

use atlasd::sandbox::{Policies, SandboxConfig};
use serde_json::json;
use tokio::time::Instant;

use crate::bed::{Bed, Client, block_on, run_id, tick, until};
use crate::many::{bed_with, tenants};
use crate::support::for_each_engine;

for_each_engine!(old_runs_and_snapshots_go_by_themselves, |engine| {
    let bed = Bed::with(
        engine,
        SandboxConfig::single(60),
        "[retention]\nevery = \"100ms\"\nruns_max_age = \"2s\"\nsnapshots_max_age = \"2s\"\n\
         [operations.\"assignments.fetch\"]\ncooldown = \"1s\"\n\
         [operations.\"assignments.restore\"]\ncooldown = \"1s\"\n",
    );
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let mut runs = Vec::new();
        for policy_type in ["configurationPolicy", "mobileApp"] {
            let answer = client.fetch(tenant, json!({"policy_types": [policy_type]})).await;
            let run = run_id(&answer);
            assert_eq!(client.completed(run).await["outcome"], "succeeded");
            runs.push(run);
        }
        // What the second one did not read was last read in the first one's snapshot: both stay. A third one reads all.
        let answer = client.fetch(tenant, json!({})).await;
        let last = run_id(&answer);
        assert_eq!(client.completed(last).await["outcome"], "succeeded");
        until("the old runs have gone", || async {
            let mut left = 0;
            for run in &runs {
                left += usize::from(client.get(&format!("/runs/{run}")).await.status == 200);
            }
            left == 0
        })
        .await;
        assert_eq!(client.get(&format!("/runs/{last}")).await.status, 200, "it made the last good snapshot");
        let snapshots = client.all(&format!("/tenants/{tenant}/snapshots")).await;
        assert_eq!(
            snapshots.iter().map(|it| it["operation_run_id"].as_i64()).collect::<Vec<_>>(),
            [Some(last)]
        );
        let items = client.all(&format!("/snapshots/{}", snapshots[0]["id"])).await;
        assert!(!items.is_empty());
    });
    // It fails when anything is broken.
    bed.cli(&["doctor"]);
});

const COOLDOWN: Duration = Duration::from_secs(1);
const LOAD: Duration = Duration::from_secs(8);

/// A run that was accepted: between when and when.
struct Accepted {
    run: i64,
    asked: Instant,
    answered: Instant,
}

/// Asks for one thing again and again; which runs of its were accepted.
async fn insist(client: Client, tenant: i64) -> Vec<Accepted> {
    let (begun, mut accepted) = (Instant::now(), Vec::new());
    while begun.elapsed() < LOAD {
        let asked = Instant::now();
        let answer = client.fetch(tenant, json!({"policy_types": ["intent"]})).await;
        match answer.body["verdict"].as_str() {
            Some("accepted") => {
                accepted.push(Accepted { run: run_id(&answer), asked, answered: Instant::now() });
            }
            Some("active" | "cooldown") => {}
            _ => panic!("no verdict: {answer:?}"),
        }
        tick().await;
    }
    accepted
}

// G12, and with it G2, while everything goes that may go: a holder that was removed too early would let the next
// request in.
for_each_engine!(pruning_under_load_lets_nothing_in_too_early, |engine| {
    let bed = bed_with(
        engine,
        8,
        Policies::Total(0),
        Duration::ZERO,
        "[retention]\nevery = \"20ms\"\nruns_max_age = \"1100ms\"\nsnapshots_max_age = \"1100ms\"\n\
         [operations.\"assignments.fetch\"]\ncooldown = \"1s\"\n\
         [operations.\"assignments.restore\"]\ncooldown = \"1s\"\n",
    );
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let mut asking = tokio::task::JoinSet::new();
        for tenant in tenants(&client, 8).await {
            for _ in 0..2 {
                let client = client.clone();
                asking.spawn(async move { (tenant, insist(client, tenant).await) });
            }
        }
        let mut accepted: HashMap<i64, Vec<Accepted>> = HashMap::new();
        for (tenant, runs) in asking.join_all().await {
            accepted.entry(tenant).or_default().extend(runs);
        }
        for (tenant, runs) in &mut accepted {
            runs.sort_by_key(|accepted| accepted.run);
            assert!(runs.len() >= 3, "tenant {tenant} had several runs, not {}", runs.len());
            for [first, second] in runs.array_windows() {
                // At the least: what is over between the two began after the first request and ended before the second
                // answer.
                let apart = second.answered - first.asked;
                assert!(
                    apart >= COOLDOWN,
                    "tenant {tenant}: runs {} and {}: {apart:?}",
                    first.run,
                    second.run
                );
            }
        }
        let all: i64 = accepted.values().map(|runs| i64::try_from(runs.len()).expect("few")).sum();
        let left =
            bed.database.number("SELECT count(*) AS n FROM operation_runs WHERE tenant_id IS NOT NULL");
        println!("{all} runs, {left} of them are left");
        assert!(left < all, "pruning went on under the load");
    });
    bed.cli(&["doctor"]);
});
