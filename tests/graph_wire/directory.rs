//! Groups and filters by id.

use std::collections::{BTreeMap, BTreeSet};

use atlasd::domain::failure::Code;
use atlasd::domain::restore::FilterFacts;
use atlasd::sandbox::config::SINGLE_TENANT;
use atlasd::sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::budget::client_of;
use crate::support::{Reply, graph, origin, refusal};

const ALL_USERS: &str = "acacacac-9df4-4c7d-9d50-4ef0226f57a9";

fn id(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

#[tokio::test]
async fn groups_are_looked_up_a_thousand_at_a_time() {
    let wire = graph(|seen, _| {
        let body = seen.json();
        assert_eq!(body["types"], json!(["group"]));
        let asked: Vec<&str> =
            body["ids"].as_array().expect("ids").iter().filter_map(Value::as_str).collect();
        assert!(asked.len() <= 1000 && !asked.contains(&"no-id") && !asked.contains(&ALL_USERS));
        // Every second one exists; one of them is deleted and could be restored; one was never asked for.
        let mut found: Vec<Value> = asked
            .iter()
            .step_by(2)
            .map(|id| json!({"id": id.to_ascii_uppercase(), "displayName": "x"}))
            .collect();
        found[0]["deletedDateTime"] = json!("2025-01-02T03:04:05Z");
        found[1]["deletedDateTime"] = Value::Null;
        found.push(json!({"id": id(9_999_999)}));
        Reply::Json(200, json!({ "value": found }))
    })
    .await;
    let mut ids: BTreeSet<String> = (0..2500).map(id).collect();
    ids.extend(["no-id".to_owned(), ALL_USERS.to_uppercase()]);
    let existing = wire.client().existing_groups(&ids, &CancellationToken::new()).await.expect("all parts");
    assert_eq!(wire.calls().len(), 3);
    assert!(wire.calls().iter().all(|call| call.path == "/beta/directoryObjects/getByIds"));
    assert_eq!(existing.len(), 1250 - 3 + 1, "one of each part is deleted, and all users always exist");
    assert!(existing.contains(&id(2)) && existing.contains(ALL_USERS));
    assert!(!existing.contains(&id(0)) && !existing.contains(&id(1)) && !existing.contains(&id(9_999_999)));
}

#[tokio::test]
async fn no_groups_need_no_call_and_a_failed_part_says_nothing() {
    let wire = graph(|seen, _| match seen.json()["ids"][0] == id(1000) {
        true => Reply::Json(403, refusal(403, "Authorization_RequestDenied")),
        false => Reply::Json(200, json!({"value": []})),
    })
    .await;
    let cancel = CancellationToken::new();
    let none = wire.client().existing_groups(&BTreeSet::new(), &cancel).await.expect("nothing to ask");
    assert!(none.is_empty() && wire.calls().is_empty());
    let ids = (0..1500).map(id).collect();
    let error = wire.client().existing_groups(&ids, &cancel).await.expect_err("half is not enough");
    assert_eq!(error.code, Code::GraphPermissionMissing);
}

#[tokio::test]
async fn a_lookup_is_a_read_and_is_tried_again() {
    let wire = graph(|_, n| match n {
        0 => Reply::Close,
        1 => Reply::Json(200, json!({})),
        _ => Reply::Json(200, json!({"value": [{"id": id(1)}]})),
    })
    .await;
    let ids = BTreeSet::from([id(1)]);
    let existing =
        wire.client().existing_groups(&ids, &CancellationToken::new()).await.expect("the third try");
    assert_eq!(existing, ids);
}

#[tokio::test]
async fn filters_are_read_to_the_last_page() {
    let wire = graph(|seen, _| match seen.path.contains("skip") {
        false => Reply::Json(
            200,
            json!({"value": [{"id": id(1).to_uppercase(), "displayName": "x", "platform": "windows10AndLater",
                "rule": "CANARY", "assignmentFilterManagementType": "devices"}],
                "@odata.nextLink": format!("{}/beta/deviceManagement/assignmentFilters?skip=1", origin(seen))}),
        ),
        true => Reply::Json(200, json!({"value": [{"id": id(2), "platform": null}]})),
    })
    .await;
    let filters = wire.client().filters(&CancellationToken::new()).await.expect("both pages");
    let facts = |platform: Option<&str>, management: Option<&str>| FilterFacts {
        platform: platform.map(str::to_owned),
        management_type: management.map(str::to_owned),
    };
    let first = facts(Some("windows10AndLater"), Some("devices"));
    assert_eq!(filters, BTreeMap::from([(id(1), first), (id(2), facts(None, None))]));

    let broken = graph(|_, _| Reply::Json(200, json!({"value": [{"platform": "iOS"}]}))).await;
    let error = broken.client().filters(&CancellationToken::new()).await.expect_err("a filter without id");
    assert_eq!(error.code, Code::GraphProtocol);
}

#[tokio::test]
async fn a_deleted_group_of_a_tenant_is_absent_and_its_filters_are_all_there() {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let sandbox = Sandbox::start(SandboxConfig::single(10), listen).await.expect("a sandbox");
    let (state, client, cancel) = (sandbox.state(), client_of(&sandbox, |_| ()), CancellationToken::new());
    let all: BTreeSet<String> = state.group_ids(SINGLE_TENANT).into_iter().collect();
    assert_eq!(client.existing_groups(&all, &cancel).await.expect("read"), all);
    let gone = all.first().expect("a group").clone();
    state.delete_group(SINGLE_TENANT, &gone).expect("it existed");
    let left = client.existing_groups(&all, &cancel).await.expect("read");
    assert_eq!(all.difference(&left).collect::<Vec<_>>(), [&gone]);
    let filters = client.filters(&cancel).await.expect("read");
    let known: BTreeSet<String> = state.filter_ids(SINGLE_TENANT).into_iter().collect();
    assert_eq!(filters.keys().cloned().collect::<BTreeSet<_>>(), known);
    assert!(!known.is_empty() && filters.values().all(|facts| facts.platform.is_some()));
    sandbox.stop().await;
}
