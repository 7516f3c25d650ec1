//! One tenant's slowness, throttling or failure delays no other tenant (SPEC section 12, G9).

use std::time::Duration;

use atlasd::sandbox::{Fault, FaultKind, Policies, SandboxConfig, TenantSpec};
use serde_json::json;
use tokio::time::Instant;

use crate::bed::{Bed, Client, block_on, run_id, until};
use crate::support::for_each_engine;

/// Fetches of a tenant that is well, one after the other.
const FETCHES: usize = 12;
/// What a neighbour in trouble may add to the slowest of them: the noise of a machine with other work.
const NOISE: Duration = Duration::from_millis(750);

fn directory(index: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 | (index as u128 + 1))
}

/// Every trouble that a tenant's Graph can make without an end.
fn troubles() -> Vec<FaultKind> {
    vec![
        FaultKind::Throttled { retry_after: Some("30".to_owned()) },
        FaultKind::TimeoutBefore { millis: 60_000 },
        FaultKind::SlowBody { millis: 60_000 },
        FaultKind::Status { status: 503, retry_after: None },
        FaultKind::CutJson,
    ]
}

/// How long each of the fetches took from request to end.
async fn latencies(client: &Client, tenant: i64) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for _ in 0..FETCHES {
        let begun = Instant::now();
        let request = json!({"type": "assignments.fetch", "tenant_id": tenant, "force": true,
                             "inputs": {"policy_types": ["intent", "mobileApp"]}});
        let run = client.completed(run_id(&client.post("/runs", request).await)).await;
        assert_eq!(run["outcome"], "succeeded", "{run}");
        latencies.push(begun.elapsed());
    }
    latencies.sort();
    latencies
}

for_each_engine!(a_tenant_in_trouble_delays_no_other_tenant, |engine| {
    let troubles = troubles();
    let mut config = SandboxConfig::single(0);
    config.latency = Duration::from_millis(5);
    config.tenants = (0..=troubles.len())
        .map(|index| TenantSpec::new(directory(index), "Neighbour", Policies::Total(60)))
        .collect();
    // As few calls at once as a tenant may have: a budget that tenants shared would show.
    let bed = Bed::with(engine, config, "[graph]\nparallel = 2\n");
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let workspace = client.workspace("contoso").await;
        let well = client.tenant(workspace, directory(0)).await;
        let alone = latencies(&client, well).await;

        let mut stuck = Vec::new();
        for (index, trouble) in troubles.iter().enumerate() {
            let tenant = client.tenant(workspace, directory(index + 1)).await;
            bed.sandbox.state().add_fault(Fault::new(trouble.clone()).tenant(directory(index + 1)));
            for policy_type in ["intent", "mobileApp", "compliancePolicy"] {
                let inputs = json!({"policy_types": [policy_type]});
                let run = run_id(&client.fetch(tenant, inputs.clone()).await);
                stuck.push((tenant, inputs, run));
            }
        }
        let running = || async {
            let running = client.get("/runs?status=running").await.body;
            running["items"].as_array().map_or(0, Vec::len) >= 2
        };
        until("the neighbours are in trouble", running).await;
        let beside = latencies(&client, well).await;
        assert!(running().await, "they still are");

        let (slowest, slowest_alone) = (beside[FETCHES - 1], alone[FETCHES - 1]);
        println!(
            "p50 {:?}, slowest {slowest:?}; alone p50 {:?}, slowest {slowest_alone:?}",
            beside[FETCHES / 2],
            alone[FETCHES / 2]
        );
        assert!(slowest < 2 * slowest_alone + NOISE, "{beside:?}, alone {alone:?}");
        // A request for a tenant in trouble is answered as quickly as any other.
        let begun = Instant::now();
        for (tenant, inputs, run) in stuck {
            let again = client.fetch(tenant, inputs).await;
            assert_eq!(again.status, 200, "{again:?}");
            client.post(&format!("/runs/{run}/cancel"), json!({})).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    });
    daemon.stop().expect("the daemon stops");
});
