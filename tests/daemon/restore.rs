//! `assignments.restore` end to end: what the snapshot holds is what the tenant holds afterwards, by as few writes as
//! it takes.

use std::collections::BTreeMap;

use atlasd::sandbox::SandboxConfig;
use atlasd::sandbox::config::SINGLE_TENANT;
use serde_json::{Value, json};

use crate::bed::{Bed, Client, block_on, run_id};
use crate::support::for_each_engine;

/// A fetch of everything; its snapshot.
pub async fn snapshot(client: &Client, tenant: i64) -> i64 {
    let request = json!({"type": "assignments.fetch", "tenant_id": tenant, "force": true});
    let run = client.completed(run_id(&client.post("/runs", request).await)).await;
    assert_eq!(run["outcome"], "succeeded", "{run}");
    run["context"]["snapshot_id"].as_i64().expect("a fetch's context names its snapshot")
}

/// A restore, to its end.
pub async fn restored(client: &Client, tenant: i64, inputs: Value) -> Value {
    let request =
        json!({"type": "assignments.restore", "tenant_id": tenant, "inputs": inputs, "force": true});
    let answer = client.post("/runs", request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    client.completed(run_id(&answer)).await
}

/// The items of a restore, by type and id.
pub async fn items(client: &Client, run: &Value) -> BTreeMap<(String, String), Value> {
    let items = client.all(&format!("/runs/{}/items", run["id"])).await;
    let text = |item: &Value, key: &str| item[key].as_str().expect("a text").to_owned();
    items.into_iter().map(|item| ((text(&item, "policy_type"), text(&item, "policy_id")), item)).collect()
}

for_each_engine!(a_restore_writes_what_differs_and_nothing_else, |engine| {
    let bed = Bed::new(engine, SandboxConfig::single(120));
    let daemon = bed.daemon();
    let client = bed.client(daemon.address());
    block_on(async {
        let (_, tenant) = client.single().await;
        let id = snapshot(&client, tenant).await;
        let truth = bed.sandbox.state().expected(SINGLE_TENANT);
        let wiped: Vec<_> = truth
            .iter()
            .filter(|((policy_type, _), items)| {
                ["compliancePolicy", "deviceConfiguration"].contains(&policy_type.as_str())
                    && !items.is_empty()
            })
            .map(|(key, _)| key.clone())
            .take(8)
            .collect();
        for (policy_type, policy_id) in &wiped {
            let emptied =
                bed.sandbox.state().set_assignments(SINGLE_TENANT, policy_type, policy_id, Vec::new());
            emptied.expect("the policy is there");
        }
        let plan = restored(&client, tenant, json!({"snapshot_id": id, "dry_run": true})).await;
        assert_eq!(plan["outcome"], "succeeded", "{plan}");
        let planned = items(&client, &plan).await;
        let in_state = |state: &str| -> Vec<_> {
            planned.iter().filter(|(_, item)| item["state"] == state).map(|(key, _)| key.clone()).collect()
        };
        // The tenant has deleted groups, which no plan writes to.
        let (changed, refused) = (in_state("planned"), in_state("failed"));
        assert!(changed.len() >= 4, "{planned:#?}");
        assert_eq!(changed.len() + refused.len(), wiped.len(), "{planned:#?}");
        assert_eq!(plan["context"]["plan"]["to_write"], changed.len());
        assert_eq!(bed.sandbox.state().writes_of(SINGLE_TENANT).len(), 0, "a plan writes nothing");

        let run = restored(&client, tenant, json!({"snapshot_id": id, "plan_run_id": plan["id"]})).await;
        assert_eq!(run["summary_counts"]["updated"], changed.len(), "{run}");
        assert_eq!(run["summary_counts"]["failed"], refused.len(), "{run}");
        assert_eq!(bed.sandbox.state().writes_of(SINGLE_TENANT).len(), changed.len());
        let (before, after) = (hashes(&truth), snapshot_hashes(&bed));
        for (key, item) in &items(&client, &run).await {
            let expected = match () {
                () if changed.contains(key) => "verified",
                () if refused.contains(key) => "failed",
                () => "skipped",
            };
            assert_eq!(item["state"], expected, "{item}");
            assert_eq!(before[key] == after[key], expected != "failed", "{item}");
        }

        let undone = client.post(&format!("/runs/{}/undo", run["id"]), json!({})).await;
        assert_eq!(undone.status, 202, "{undone:?}");
        let undone = client.completed(run_id(&undone)).await;
        assert_eq!(undone["outcome"], "succeeded", "{undone}");
        assert_eq!(undone["summary_counts"]["updated"], changed.len(), "{undone}");
        let now = bed.sandbox.state().expected(SINGLE_TENANT);
        assert!(changed.iter().all(|key| now[key].is_empty()), "the restore to the empty set works");
    });
});

fn snapshot_hashes(bed: &Bed) -> BTreeMap<(String, String), String> {
    hashes(&bed.sandbox.state().expected(SINGLE_TENANT))
}

/// The normal forms of all policies, hashed.
pub fn hashes(truth: &atlasd::sandbox::control::Truth) -> BTreeMap<(String, String), String> {
    truth
        .iter()
        .map(|((policy_type, policy_id), items)| {
            let row = atlasd::domain::policy_types::find(policy_type).expect("a type of the catalogue");
            let set = match row.read {
                atlasd::domain::policy_types::Read::Object => {
                    atlasd::domain::assignment::AssignmentSet::from_role_assignment(&items[0])
                }
                _ => atlasd::domain::assignment::AssignmentSet::from_graph(row, items),
            };
            let set = set.expect("the sandbox holds well-formed assignments");
            ((policy_type.clone(), policy_id.clone()), set.direct().hash().to_string())
        })
        .collect()
}
