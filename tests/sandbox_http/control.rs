//! The control API over HTTP, the server's life, and the demo.

use std::collections::BTreeSet;
use std::time::Duration;

use atlasd::domain::policy_types;
use atlasd::sandbox::{Sandbox, SandboxConfig, SandboxError, demo_tenants};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{ANY_PORT, Client, holding, tenant};

async fn call(client: &Client, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("{}/_sandbox{path}", client.sandbox.url());
    let got = client.send(method, &url, body.as_ref()).await.expect("answers");
    (got.status, serde_json::from_str(&got.text).unwrap_or_default())
}

#[tokio::test]
async fn faults_stats_and_tokens_are_controlled_over_http() {
    let client = Client::single(60).await;
    let fault = json!({"policy_type": "intent", "on": "list", "times": 1,
        "kind": {"status": {"status": 503, "retry_after": "2"}}});
    assert_eq!(call(&client, Method::POST, "/faults", Some(fault)).await.0, 204);
    assert_eq!(call(&client, Method::GET, "/faults", None).await.1.as_array().map(Vec::len), Some(1));
    assert_eq!(client.get("/deviceManagement/intents").await.status, 503);
    assert_eq!(client.get("/deviceManagement/intents").await.status, 200);
    let many = json!([{"kind": "forbidden"}, {"kind": "not_found"}]);
    assert_eq!(call(&client, Method::POST, "/faults", Some(many)).await.0, 204);
    assert_eq!(client.get("/deviceManagement/intents").await.status, 403);
    assert_eq!(call(&client, Method::DELETE, "/faults", None).await.0, 204);
    assert_eq!(client.get("/deviceManagement/intents").await.status, 200);
    for wrong in [json!({"kind": "nonsense"}), json!({"kind": "forbidden", "other": 1})] {
        assert_eq!(call(&client, Method::POST, "/faults", Some(wrong)).await.0, 400);
    }

    let stats = call(&client, Method::GET, "/stats", None).await.1;
    assert_eq!(stats["by_kind"]["list"], 4);
    assert_eq!(stats["by_kind"]["token"], 1);
    assert_eq!(stats["requests"], 5, "the control API does not count itself");
    let requests = call(&client, Method::GET, "/requests", None).await.1;
    assert_eq!(requests[1]["path"], "/deviceManagement/intents");
    assert!(!requests.to_string().contains(&client.token));
    assert_eq!(call(&client, Method::DELETE, "/stats", None).await.0, 204);
    assert_eq!(client.control().stats(), atlasd::sandbox::Stats::default());

    assert_eq!(call(&client, Method::POST, "/expire-tokens", None).await, (200, json!({"expired": 1})));
    assert_eq!(client.get("/deviceManagement/intents").await.status, 401);
}

#[tokio::test]
async fn portal_edits_change_what_is_read() {
    let client = Client::start(holding(&[("compliancePolicy", 2)])).await;
    let base = format!("/tenants/{}", tenant());
    let listed = call(&client, Method::GET, "/tenants", None).await.1;
    assert_eq!((&listed[0]["policies"], &listed[0]["filters"]), (&json!(2), &json!(8)));

    let group = call(&client, Method::POST, &format!("{base}/groups"), Some(json!({"name": "New"}))).await.1;
    let group = group["group_id"].as_str().expect("an id");
    let item = json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": group}});
    let policy = json!({"policy_type": "compliancePolicy", "name": "By hand", "assignments": [item]});
    let (status, added) = call(&client, Method::POST, &format!("{base}/policies"), Some(policy)).await;
    assert_eq!(status, 200);
    let id = added["policy_id"].as_str().expect("an id");
    let list = "/deviceManagement/deviceCompliancePolicies";
    assert_eq!(client.get(&format!("{list}/{id}")).await.json()["displayName"], "By hand");
    assert_eq!(client.items(&format!("{list}/{id}/assignments")).await[0]["target"]["groupId"], group);

    let edit = format!("{base}/policies/compliancePolicy/{id}");
    let inherited = json!([{"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"},
        "source": "policySets", "sourceId": "x"}]);
    assert_eq!(call(&client, Method::POST, &format!("{edit}/assignments"), Some(inherited)).await.0, 204);
    let read = client.items(&format!("{list}/{id}/assignments")).await;
    assert_eq!((read.len(), &read[0]["source"]), (1, &json!("policySets")));

    assert_eq!(call(&client, Method::DELETE, &format!("{base}/groups/{group}"), None).await.0, 204);
    assert_eq!(client.get(&format!("/groups/{group}")).await.status, 404);
    assert_eq!(call(&client, Method::DELETE, &edit, None).await.0, 204);
    assert_eq!(client.get(&format!("{list}/{id}/assignments")).await.status, 404);
    assert_eq!(call(&client, Method::DELETE, &edit, None).await.0, 404);
    let truth = call(&client, Method::GET, &format!("{base}/policies"), None).await.1;
    assert_eq!(truth.as_array().map(Vec::len), Some(2));
    assert!(client.control().stats().writes_per_policy.is_empty(), "an edit is not the client's write");
}

#[tokio::test]
async fn concurrent_requests_are_counted() {
    let mut config = holding(&[("compliancePolicy", 1)]);
    config.latency = Duration::from_secs(1);
    let client = Client::start(config).await;
    let one = || client.get("/deviceManagement/assignmentFilters");
    tokio::join!(one(), one(), one(), one());
    assert_eq!(client.control().stats().concurrent_max, 4);
}

#[tokio::test]
async fn a_sandbox_stops_and_its_port_is_free_again() {
    let sandbox = Sandbox::start(SandboxConfig::single(1), ANY_PORT).await.expect("it starts");
    let address = sandbox.url().strip_prefix("http://").expect("plain").parse().expect("an address");
    let taken = Sandbox::start(SandboxConfig::single(1), address).await;
    assert!(matches!(taken, Err(SandboxError::Listen { listen, .. }) if listen == address));
    sandbox.stop().await;
    let again = Sandbox::start(SandboxConfig::single(1), address).await.expect("the port is free");
    again.stop().await;
}

#[tokio::test]
async fn the_demo_has_four_tenants_of_differing_size() {
    let client = Client::start(SandboxConfig::demo()).await;
    let tenants = client.control().tenants();
    let mut sizes: Vec<usize> = tenants.iter().map(|tenant| tenant.policies).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [30, 90, 180, 400]);
    let ids: BTreeSet<_> = demo_tenants().iter().map(|spec| spec.external_id).collect();
    assert_eq!(tenants.iter().map(|tenant| tenant.external_id).collect::<BTreeSet<_>>(), ids);
    assert!(ids.iter().all(|id| id.get_version_num() == 4));
    let largest = client.control().expected(demo_tenants()[0].external_id);
    let types: BTreeSet<_> = largest.keys().map(|(key, _)| key.as_str()).collect();
    assert_eq!(types.len(), policy_types::readable().count());
}
