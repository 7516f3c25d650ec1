//! A sandbox out of an exported snapshot: what the file says is what is read.

use std::collections::BTreeMap;

use atlasd::domain::assignment::AssignmentSet;
use atlasd::domain::policy_types::{self, Read};
use atlasd::sandbox::{Sandbox, SandboxConfig, SnapshotFile};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{ANY_PORT, COMPLIANCE, Client, tenant};

/// The normal form of all policies of a sandbox.
fn normal_forms(sandbox: &Sandbox, tenant: Uuid) -> BTreeMap<(String, String), AssignmentSet> {
    let truth = sandbox.state().expected(tenant).into_iter();
    truth
        .map(|((key, id), items)| {
            let row = policy_types::find(&key).expect("a known type");
            let set = match row.read {
                Read::Object => AssignmentSet::from_role_assignment(&items[0]),
                _ => AssignmentSet::from_graph(row, &items),
            };
            ((key, id), set.expect("well-formed"))
        })
        .collect()
}

/// What an export of the sandbox's tenant looks like.
fn exported(sets: &BTreeMap<(String, String), AssignmentSet>) -> Value {
    let items = sets.iter().map(|((key, id), set)| {
        json!({"policy_type": key, "policy_id": id, "name": format!("Name of {id}"), "assignments": set,
            "assignments_hash": set.hash()})
    });
    json!({
        "format": "atlasd.snapshot", "version": 1, "exported_at": "2026-01-02T03:04:05.000000Z",
        "tenant": {"external_id": tenant(), "name": "Exported", "cloud": "global"},
        "snapshot": {"id": 1, "created_at": "2026-01-02T03:00:00.000000Z", "coverage": {}},
        "items": items.collect::<Vec<_>>(),
    })
}

async fn file() -> (Value, BTreeMap<(String, String), AssignmentSet>) {
    let seeded = Sandbox::start(SandboxConfig::single(300), ANY_PORT).await.expect("it starts");
    let sets = normal_forms(&seeded, tenant());
    (exported(&sets), sets)
}

#[tokio::test]
async fn every_type_comes_back_as_it_was_exported() {
    let (file, sets) = file().await;
    let types: std::collections::BTreeSet<_> = sets.keys().map(|(key, _)| key).collect();
    assert_eq!(types.len(), policy_types::readable().count());
    let parsed = SnapshotFile::parse(&file.to_string()).expect("a good file");
    let mut config = SandboxConfig::from_snapshot(parsed, None);
    config.page_size = 1000;
    let client = Client::start(config).await;
    assert_eq!(client.tenant, tenant());
    assert_eq!(normal_forms(&client.sandbox, tenant()), sets);
    assert_eq!(client.control().tenants()[0].name, "Exported");
    for item in client.items("/deviceManagement/deviceCompliancePolicies").await {
        assert_eq!(item["displayName"], format!("Name of {}", item["id"].as_str().expect("an id")));
    }
    let everything = json!(sets.values().collect::<Vec<_>>()).to_string();
    let groups = client.control().group_ids(tenant());
    assert!(!groups.is_empty() && groups.iter().all(|id| everything.contains(id)));
    for filter in client.control().filter_ids(tenant()) {
        assert!(everything.contains(&filter));
    }
    // What was exported can be written again.
    let id = client.policy(COMPLIANCE, 0);
    let set = client.live(COMPLIANCE, &id);
    let direct: Vec<Value> = set.iter().filter(|item| item["source"] == "direct").cloned().collect();
    let items: Vec<Value> = direct.iter().map(|item| json!({"target": item["target"]})).collect();
    assert_eq!(client.assign(&id, &items).await.expect("answered").status, 200);
    assert_eq!(normal_forms(&client.sandbox, tenant()), sets);
}

#[tokio::test]
async fn it_may_be_played_under_another_directory_id() {
    let (file, sets) = file().await;
    let parsed = SnapshotFile::parse(&file.to_string()).expect("a good file");
    let other = Uuid::from_u128(7);
    let client = Client::start(SandboxConfig::from_snapshot(parsed, Some(other))).await;
    assert_eq!((client.tenant, client.control().tenants()[0].policies), (other, sets.len()));
}

#[tokio::test]
async fn a_bad_file_is_refused_with_what_is_wrong_and_where() {
    let (good, _) = file().await;
    let with = |pointer: &str, value: Value| {
        let mut file = good.clone();
        *file.pointer_mut(pointer).expect("it is there") = value;
        file.to_string()
    };
    let mut twice = good.clone();
    twice["items"][1] = good["items"][0].clone();
    let filled = |wanted: &str| {
        let items = good["items"].as_array().expect("a list");
        let item = |item: &Value| item["policy_type"] == wanted && item["assignments"][0].is_object();
        items.iter().position(item).expect("one has assignments")
    };
    let at = filled(COMPLIANCE);
    let role = filled("roleAssignment");
    let cases = [
        ("{".to_owned(), "the file: expected JSON"),
        (with("/format", json!("zip")), "format: expected \"atlasd.snapshot\", found \"zip\""),
        (with("/version", json!(2)), "version: expected 1, found 2"),
        (with("/tenant", json!(null)), "tenant.external_id: expected a text, found none"),
        (with("/tenant/external_id", json!("x")), "tenant.external_id: expected a UUID, found \"x\""),
        (with("/items", json!({})), "items: expected a list"),
        (with("/items/3/policy_type", json!("nothing")), "items[3].policy_type: expected a type"),
        (with("/items/3/policy_type", json!("assignmentFilter")), "items[3].policy_type: expected a type"),
        (with("/items/3/policy_id", json!(3)), "items[3].policy_id: expected a text, found none"),
        (with("/items/3/name", json!(null)), "items[3].name: expected a text, found none"),
        (with("/items/3/assignments", json!(null)), "items[3].assignments: expected a list"),
        (with("/items/3/assignments_hash", json!("00")), "items[3].assignments_hash: expected "),
        (twice.to_string(), "items[1].policy_id: expected a policy once, found that of items[0] again"),
        (
            with(&format!("/items/{at}/assignments/0/target/type"), json!("planet")),
            &format!("items[{at}].assignments[0]: unknown variant `planet`"),
        ),
        (
            with(&format!("/items/{at}/assignments/0"), good["items"][role]["assignments"][0].clone()),
            &format!("items[{at}].assignments[0].target: expected a target that compliancePolicy can have"),
        ),
    ];
    for (text, expected) in cases {
        let error = SnapshotFile::parse(&text).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error} for {expected}");
    }
}
