//! Two daemons on one PostgreSQL, in this process: what one remembers of what the other does.

use std::time::Duration;

use atlasd::sandbox::{Policies, SandboxConfig, TenantSpec};
use serde_json::{Value, json};

use crate::bed::{Bed, Client, block_on, run_id, until};
use crate::support::Engine;

/// Longer than a memory of another instance's runs may be relied on.
const STALE: Duration = Duration::from_millis(1_050);

fn bed_of(tenants: u128, latency: Duration) -> Bed {
    let mut config = SandboxConfig::single(0);
    config.latency = latency;
    config.tenants = (1..=tenants)
        .map(|index| {
            let id = uuid::Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 | index);
            TenantSpec::new(id, "Fleet", Policies::Total(60))
        })
        .collect();
    Bed::new(Engine::Postgres, config)
}

async fn tenants(client: &Client, count: u128) -> Vec<i64> {
    let workspace = client.workspace("contoso").await;
    let mut tenants = Vec::new();
    for index in 1..=count {
        let id = uuid::Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 | index);
        tenants.push(client.tenant(workspace, id).await);
    }
    tenants
}

async fn both_live(client: &Client) {
    until("both instances are known", || async {
        let metrics = client.get("/system").await.body;
        metrics["instances"].as_array().is_some_and(|instances| instances.len() == 2)
    })
    .await;
}

async fn attempts(client: &Client, run: i64) -> Vec<Value> {
    let attempts = client.get(&format!("/runs/{run}/attempts")).await.body;
    attempts["items"].as_array().unwrap_or_else(|| panic!("attempts have items: {attempts}")).clone()
}

#[test]
fn what_another_instance_ended_or_replaced_is_known_when_it_decides() {
    let bed = bed_of(1, Duration::ZERO);
    let (one, other) = (bed.daemon(), bed.daemon());
    block_on(async {
        let (one, other) = (bed.client(one.address()), bed.client(other.address()));
        let tenant = tenants(&one, 1).await[0];
        let inputs = json!({"policy_types": ["mobileApp"]});
        let asked = one.fetch(tenant, inputs.clone()).await;
        assert_eq!(asked.body["verdict"], "accepted", "{asked:?}");
        let first = run_id(&asked);
        other.completed(first).await;
        for client in [&other, &one] {
            let again = client.fetch(tenant, inputs.clone()).await;
            assert_eq!(
                (again.body["verdict"].as_str(), run_id(&again)),
                (Some("cooldown"), first),
                "{again:?}"
            );
        }
        // Forced on one, and again on the other: each time the holder is another run.
        let force =
            json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": inputs, "force": true});
        let mut last = first;
        for (forcing, asking) in [(&one, &other), (&other, &one), (&one, &other)] {
            let forced = forcing.post("/runs", force.clone()).await;
            assert_eq!(forced.body["verdict"], "accepted", "{forced:?}");
            assert!(run_id(&forced) > last);
            last = run_id(&forced);
            forcing.completed(last).await;
            tokio::time::sleep(STALE).await;
            let seen = asking.fetch(tenant, inputs.clone()).await;
            assert_eq!((seen.body["verdict"].as_str(), run_id(&seen)), (Some("cooldown"), last), "{seen:?}");
        }
    });
}

#[test]
fn a_run_of_another_instance_is_cancelled_in_time() {
    let bed = bed_of(1, Duration::from_millis(300));
    let (one, other) = (bed.daemon(), bed.daemon());
    block_on(async {
        let (one, other) = (bed.client(one.address()), bed.client(other.address()));
        let tenant = tenants(&one, 1).await[0];
        let run = run_id(&one.fetch(tenant, json!({})).await);
        until("it executes", || async { one.get(&format!("/runs/{run}")).await.body["status"] == "running" })
            .await;
        for client in [&other, &one] {
            // Whichever executes it, the other one is asked, too.
            let asked = client.post(&format!("/runs/{run}/cancel"), json!({})).await;
            assert!(matches!(asked.status, 202 | 409), "{asked:?}");
        }
        let begun = tokio::time::Instant::now();
        let run = one.completed(run).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(run["failure_summary"][0]["code"], "run.cancelled", "{run}");
    });
}

#[test]
fn tenants_are_shared_and_a_stop_hands_them_over() {
    const TENANTS: u128 = 6;
    let bed = bed_of(TENANTS, Duration::from_millis(20));
    let (one, other) = (bed.daemon(), bed.daemon());
    block_on(async {
        let client = bed.client(one.address());
        let kept = bed.client(other.address());
        both_live(&client).await;
        let tenants = tenants(&client, TENANTS).await;
        let mut runs = Vec::new();
        // All through one door: the other instance takes its part all the same.
        for policy_type in ["mobileApp", "intent", "compliancePolicy", "deviceConfiguration"] {
            for tenant in &tenants {
                runs.push(run_id(&client.fetch(*tenant, json!({"policy_types": [policy_type]})).await));
            }
        }
        until("both work", || async {
            let mut workers = std::collections::BTreeSet::new();
            for run in &runs {
                workers.extend(
                    attempts(&client, *run).await.iter().map(|attempt| attempt["instance_id"].to_string()),
                );
            }
            workers.len() == 2
        })
        .await;
        tokio::task::spawn_blocking(move || one.stop()).await.unwrap().expect("it stops");
        for run in runs {
            let run = kept.completed(run).await;
            assert_eq!((&run["outcome"], &run["attempt"]), (&json!("succeeded"), &json!(1)), "{run}");
        }
        drop(other);
    });
    bed.cli(&["doctor"]);
}

#[test]
fn starts_and_periods_of_several_instances_come_to_one_pass() {
    let bed = Bed::with(
        Engine::Postgres,
        SandboxConfig::single(0),
        "[reconcile]\nevery = \"2s\"\nidle_every = \"2s\"\n",
    );
    let first = bed.daemon();
    let begun = tokio::time::Instant::now();
    let passes =
        |client: Client| async move { client.all("/runs?type=ops.reconcile_adapter_runs").await.len() };
    block_on(async {
        let client = bed.client(first.address());
        client.workspace("contoso").await;
    });
    let started: Vec<_> = (0..3).map(|_| bed.daemon()).collect();
    block_on(async {
        let client = bed.client(first.address());
        until("a pass was made", || async { passes(client.clone()).await > 0 }).await;
        let before = passes(client.clone()).await;
        // A period may end while they start.
        let periods = usize::try_from(begun.elapsed().as_secs() / 2).expect("a short test");
        assert!(before <= 2 + periods, "three starts made {before} passes in {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_secs(7)).await;
        let made = passes(client.clone()).await - before;
        assert!((1..=5).contains(&made), "four instances with a period of 2 s made {made} passes in 7 s");
    });
    drop((first, started));
}
