//! Many tenants, and many requests of which no two are the same.

#![allow(dead_code, reason = "every test binary that includes this file uses its own part of it")]

use std::time::Duration;

use atlasd::sandbox::{Policies, SandboxConfig, TenantSpec};
use serde_json::{Value, json};

use crate::bed::{Bed, Client};
use crate::support::Engine;

/// How many: the small form, or the full one where it is asked for (`ATLASD_TEST_FULL`).
pub fn sized(small: usize, full: usize) -> usize {
    if std::env::var_os("ATLASD_TEST_FULL").is_some() { full } else { small }
}

fn external_id(index: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 | (index as u128 + 1))
}

/// A bed whose sandbox has so many tenants, of some policies each.
pub fn bed_of(engine: Engine, tenants: usize, latency: Duration, extra: &str) -> Bed {
    bed_with(engine, tenants, Policies::Total(40), latency, extra)
}

/// The same with policies of the caller's choice.
pub fn bed_with(engine: Engine, tenants: usize, policies: Policies, latency: Duration, extra: &str) -> Bed {
    let mut config = SandboxConfig::single(0);
    config.latency = latency;
    config.tenants = (0..tenants)
        .map(|index| TenantSpec::new(external_id(index), "Instances", policies.clone()))
        .collect();
    Bed::with(engine, config, extra)
}

/// Adds those tenants to the ledger; their ids.
pub async fn tenants(client: &Client, count: usize) -> Vec<i64> {
    let workspace = client.workspace("contoso").await;
    let mut tenants = Vec::new();
    for index in 0..count {
        tenants.push(client.tenant(workspace, external_id(index)).await);
    }
    tenants
}

const TYPES: [&str; 5] =
    ["intent", "mobileApp", "compliancePolicy", "deviceConfiguration", "configurationPolicy"];

/// The `index`th of many distinct requests.
pub fn request(tenants: &[i64], index: usize) -> Value {
    let tenant = tenants[index % tenants.len()];
    let policy_type = TYPES[index / tenants.len() % TYPES.len()];
    let inputs = json!({"policy_types": [policy_type], "policy_ids": [format!("policy-{index}")]});
    json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": inputs})
}

/// Asks for all of them; the runs.
pub async fn submit(client: &Client, requests: Vec<Value>) -> Vec<i64> {
    let mut runs = Vec::new();
    for some in requests.chunks(500) {
        let answer = client.post("/runs/batch", json!({"requests": some})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for verdict in answer.body["verdicts"].as_array().expect("verdicts") {
            assert_eq!(verdict["verdict"], "accepted", "{verdict}");
            runs.push(verdict["run"]["id"].as_i64().expect("an id"));
        }
    }
    runs
}
