//! The tree under stress: deaths, a full gate, a draining daemon.

use atlasd::actors::supervisor::{ChildKey, PanicChild};
use atlasd::daemon::Control;
use atlasd::ids::TenantId;
use atlasd::sandbox::{Policies, SandboxConfig, TenantSpec};
use serde_json::json;

use crate::bed::{Bed, block_on, run_id, until};
use crate::support::{Engine, for_each_engine};

fn two_tenants() -> SandboxConfig {
    let mut config = SandboxConfig::single(0);
    config.latency = std::time::Duration::from_millis(50);
    config.tenants = ["a0b1c2d3-e4f5-4a6b-9c7d-8e9f0a1b2c3d", "3f2b8c1e-9d47-4a5b-8e21-0c6d7f8a9b10"]
        .map(|id| TenantSpec::new(id.parse().unwrap(), "Two", Policies::Total(100)))
        .into();
    config
}

for_each_engine!(a_panicking_tenant_actor_comes_back_and_its_neighbour_does_not_notice, |engine| {
    let bed = Bed::with(engine, two_tenants(), "[graph]\nparallel = 1\n");
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let workspace = client.workspace("contoso").await;
        let ids: Vec<uuid::Uuid> = two_tenants().tenants.iter().map(|tenant| tenant.external_id).collect();
        let victim = client.tenant(workspace, ids[0]).await;
        let neighbour = client.tenant(workspace, ids[1]).await;
        let victims = run_id(&client.fetch(victim, json!({})).await);
        let neighbours = run_id(&client.fetch(neighbour, json!({})).await);
        for run in [victims, neighbours] {
            until("it executes", || async {
                client.get(&format!("/runs/{run}")).await.body["status"] == "running"
            })
            .await;
        }
        assert!(daemon.handle().panic_child(PanicChild(ChildKey::Tenant(TenantId(victim)))).await);
        let mended = client.completed(victims).await;
        assert_eq!(mended["outcome"], "succeeded", "{mended}");
        assert_eq!(mended["attempt"], 1, "the actor's death is not the run's fault: {mended}");
        let untouched = client.completed(neighbours).await;
        let attempts = client.get(&format!("/runs/{neighbours}/attempts")).await.body;
        assert_eq!(attempts["items"].as_array().map(Vec::len), Some(1), "{untouched} {attempts}");
        let tree = client.get("/system").await.body;
        let restarts: Vec<_> = tree["actors"]
            .as_array()
            .expect("actors")
            .iter()
            .filter(|actor| actor["name"] == format!("tenant:{victim}"))
            .map(|actor| actor["restarts"].clone())
            .collect();
        assert_eq!(restarts, [json!(1)], "{tree}");
    });
});

// The watch that finds what nobody told of looks once in ten minutes: what executes here does so because it was told of,
// or because the claim before it said that there is more.
for_each_engine!(what_comes_while_a_tenant_executes_waits_for_no_poll, |engine| {
    let bed = Bed::with(
        engine,
        two_tenants(),
        "[execution]\nheartbeat = \"200ms\"\nlease = \"1500ms\"\npoll = \"10m\"\n",
    );
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let workspace = client.workspace("contoso").await;
        let tenant = client.tenant(workspace, two_tenants().tenants[0].external_id).await;
        let of = |policy_type: &str| json!({"policy_types": [policy_type]});
        for first in [json!({}), of("intent")] {
            let mut runs = vec![run_id(&client.fetch(tenant, first).await)];
            until("it executes, or has", || async {
                client.get(&format!("/runs/{}", runs[0])).await.body["status"] != "queued"
            })
            .await;
            for more in ["mobileApp", "deviceConfiguration"] {
                let asked = json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": of(more), "force": true});
                runs.push(run_id(&client.post("/runs", asked).await));
            }
            for run in runs {
                assert_eq!(client.completed(run).await["outcome"], "succeeded");
            }
        }
    });
});

#[test]
fn a_registry_that_panicked_ends_the_daemon() {
    let bed = Bed::new(Engine::Sqlite, SandboxConfig::single(60));
    let daemon = bed.daemon();
    assert!(block_on(daemon.handle().panic_child(PanicChild(ChildKey::Registry))));
    let error = daemon.wait().expect_err("the daemon ends by itself");
    assert!(error.to_string().contains("run registry"), "{error}");
}

for_each_engine!(a_full_gate_and_a_draining_daemon_answer_503_with_retry_after, |engine| {
    let bed = Bed::with(
        engine,
        SandboxConfig::single(60),
        "[admission]\nwaiting_max = 1\nduplicates_flush = \"200ms\"\n",
    );
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        // While the database is busy with one request, the gate of one place is full.
        let _place = daemon.handle().take_place().expect("the gate is free");
        let refused = client.fetch(tenant, json!({})).await;
        assert_eq!(
            (refused.status, refused.body["code"].as_str()),
            (503, Some("admission.full")),
            "{refused:?}"
        );
        assert!(refused.retry_after.is_some(), "{refused:?}");
        drop(_place);
        assert_eq!(client.fetch(tenant, json!({})).await.status, 202);
        assert_eq!(
            client.all("/runs?type=assignments.fetch").await.len(),
            1,
            "the refused one wrote nothing"
        );
        daemon.handle().close_gate();
        let refused = client.fetch(tenant, json!({"policy_types": ["intent"]})).await;
        assert_eq!(
            (refused.status, refused.body["code"].as_str()),
            (503, Some("daemon.draining")),
            "{refused:?}"
        );
        assert_eq!(client.get("/readyz").await.status, 503);
        daemon.control().send(Control::Stop).await.expect("the daemon listens");
    });
    daemon.wait().expect("the daemon stops");
});
