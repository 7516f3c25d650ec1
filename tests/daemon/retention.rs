//! Retention in a running daemon.

use atlasd::sandbox::SandboxConfig;
use serde_json::json;

use crate::bed::{Bed, block_on, run_id, until};
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
