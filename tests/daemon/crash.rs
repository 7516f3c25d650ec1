//! `kill -9` at random moments under load: nothing is lost, nothing is active twice, everything ends.
//!
//! `ATLASD_TEST_KILLS` sets how many (20 by default); `ATLASD_TEST_SEED` replays the moments of a failed test.

use std::time::Duration;

use atlasd::sandbox::{Policies, SandboxConfig, TenantSpec};
use serde_json::{Value, json};

use crate::bed::{Bed, Client, block_on, tick};
use crate::moments::{Moments, from_env};
use crate::process::Process;
use crate::support::for_each_engine;

const TENANTS: usize = 6;
const CLIENTS: usize = 8;

fn sandbox() -> SandboxConfig {
    let mut config = SandboxConfig::single(0);
    config.latency = Duration::from_millis(10);
    config.tenants = (0..TENANTS)
        .map(|index| {
            let id = uuid::Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 | (index as u128 + 1));
            TenantSpec::new(id, "Crash", Policies::Total(60))
        })
        .collect();
    config
}

/// Asks for runs until told to stop, noting every run that was accepted.
async fn ask(
    client: Client,
    tenants: Vec<i64>,
    seed: u64,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Vec<i64> {
    let types = ["intent", "mobileApp", "compliancePolicy", "deviceConfiguration", "configurationPolicy"];
    let mut moments = Moments(seed);
    let mut accepted = Vec::new();
    while !*stop.borrow() {
        let tenant = tenants[usize::try_from(moments.below(tenants.len() as u64)).unwrap()];
        let policy_type = types[usize::try_from(moments.below(types.len() as u64)).unwrap()];
        let request = json!({"type": "assignments.fetch", "tenant_id": tenant, "force": true,
                             "inputs": {"policy_types": [policy_type]}});
        // A dead daemon gives no answer: nothing is known of such a request.
        if let Ok(answer) = client.try_post("/runs", request).await
            && answer.body["verdict"] == "accepted"
        {
            accepted.push(answer.body["run"]["id"].as_i64().expect("an id"));
        }
        tick().await;
    }
    accepted
}

for_each_engine!(kill_9_at_random_moments_under_load_loses_nothing, |engine| {
    let kills = from_env("ATLASD_TEST_KILLS", 20);
    let seed = from_env("ATLASD_TEST_SEED", u64::from(std::process::id()));
    println!("ATLASD_TEST_SEED={seed} ATLASD_TEST_KILLS={kills}");
    let bed = Bed::with(
        engine,
        sandbox(),
        "[execution]\nheartbeat = \"200ms\"\nlease = \"1500ms\"\npoll = \"100ms\"\nbackoff_base = \"100ms\"\nattempts_max = 50\n",
    );
    block_on(async {
        let mut moments = Moments(seed);
        let mut process = Process::start(&bed).await;
        let client = process.client(&bed);
        let workspace = client.workspace("contoso").await;
        let mut tenants = Vec::new();
        for tenant in sandbox().tenants {
            tenants.push(client.tenant(workspace, tenant.external_id).await);
        }
        let mut accepted = Vec::new();
        for kill in 0..kills {
            let (told, stop) = tokio::sync::watch::channel(false);
            let mut clients = tokio::task::JoinSet::new();
            for index in 0..CLIENTS {
                let seed = seed ^ (kill << 32) ^ index as u64;
                clients.spawn(ask(process.client(&bed), tenants.clone(), seed, stop.clone()));
            }
            tokio::time::sleep(Duration::from_millis(100 + moments.below(900))).await;
            process.kill();
            told.send_replace(true);
            accepted.extend(clients.join_all().await.into_iter().flatten());
            process = Process::start(&bed).await;
        }
        check(&process.client(&bed), &accepted).await;
        process.signal("TERM");
        assert_eq!(process.exit_code(), Some(0));
    });
    bed.cli(&["doctor"]);
});

/// Every accepted run is there and completes; what each of its attempts did is on record.
async fn check(client: &Client, accepted: &[i64]) {
    assert!(accepted.len() > 20, "there was load: {}", accepted.len());
    for run in accepted {
        let run = client.completed(*run).await;
        assert_eq!(run["outcome"], "succeeded", "{run}");
        let attempts = client.get(&format!("/runs/{}/attempts", run["id"])).await.body;
        let attempts: Vec<Value> = attempts["items"].as_array().expect("items").clone();
        for pair in attempts.windows(2) {
            let (ended, began) =
                (pair[0]["ended_at"].as_str().unwrap(), pair[1]["started_at"].as_str().unwrap());
            assert!(ended <= began, "two attempts of a run at once: {pair:?}");
        }
        assert_eq!(attempts.last().expect("an attempt")["outcome"], "succeeded");
    }
    let runs = client.all("/runs?type=assignments.fetch").await;
    let unfinished: Vec<_> = runs.iter().filter(|run| run["status"] != "completed").collect();
    for run in unfinished {
        client.completed(run["id"].as_i64().unwrap()).await;
    }
}
