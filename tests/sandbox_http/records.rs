//! What the sandbox remembers of what it was asked.

use std::collections::BTreeSet;

use atlasd::sandbox::{CANARIES, SandboxConfig};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{COMPLIANCE, COMPLIANCE_LIST, Client, holding, tenant, to_group};

#[tokio::test]
async fn equal_writes_have_equal_hashes_whatever_their_order() {
    let client = Client::start(holding(&[(COMPLIANCE, 2)])).await;
    let (id, other) = (client.policy(COMPLIANCE, 0), client.policy(COMPLIANCE, 1));
    let (one, two) = (to_group(&client.group(0)), to_group(&client.group(1)));
    client.assign(&id, &[one.clone(), two.clone()]).await.expect("answered");
    client.assign(&id, &[two.clone(), one.clone()]).await.expect("answered");
    client.assign(&id, std::slice::from_ref(&one)).await.expect("answered");
    client.assign(&other, &[one, two]).await.expect("answered");
    client.delete(&format!("{COMPLIANCE_LIST}/{id}/assignments/x")).await;
    let writes = client.control().writes_of(tenant());
    let hashes: Vec<&str> = writes.iter().map(|write| write.content_sha256.as_str()).collect();
    assert_eq!(hashes[0], hashes[1]);
    assert!(hashes[0].len() == 64 && ![hashes[2], hashes[3], hashes[4]].contains(&hashes[0]));
    assert!(writes.iter().all(|write| write.policy_type.as_deref() == Some(COMPLIANCE)));
    let applied: Vec<_> = writes.iter().map(|write| (write.applied, write.status)).collect();
    assert_eq!(applied, [(true, 200), (true, 200), (true, 200), (true, 200), (false, 400)]);
    assert_eq!((&writes[3].policy_id, writes[4].method.as_str()), (&other, "DELETE"));

    let (status, told) =
        client.control_call(Method::GET, &format!("/tenants/{}/writes", tenant()), None).await;
    assert_eq!((status, &told[0]["content_sha256"]), (200, &json!(hashes[0])));
    client.control().reset_stats();
    assert!(client.control().writes_of(tenant()).is_empty());
}

#[tokio::test]
async fn a_write_to_what_is_not_there_is_remembered_too() {
    let client = Client::start(holding(&[(COMPLIANCE, 1)])).await;
    assert_eq!(client.assign("nowhere", &[]).await.expect("answered").status, 404);
    let write = client.control().writes_of(tenant()).remove(0);
    assert_eq!((write.policy_type, write.policy_id.as_str(), write.status), (None, "nowhere", 404));
    assert!(client.control().writes_of(uuid::Uuid::nil()).is_empty());
}

#[tokio::test]
async fn calls_bytes_and_methods_are_counted() {
    let client = Client::start(SandboxConfig::single(48)).await;
    client.control().reset_stats();
    let got = client.get(COMPLIANCE_LIST).await;
    let id = client.policy(COMPLIANCE, 0);
    let written = client.assign(&id, &[]).await.expect("answered");
    let stats = client.control().stats();
    assert_eq!(stats.by_method, [("GET".to_owned(), 1), ("POST".to_owned(), 1)].into());
    assert_eq!(stats.bytes_sent, (got.text.len() + written.text.len()) as u64);
    assert_eq!(stats.bytes_received, r#"{"assignments":[]}"#.len() as u64);
}

#[tokio::test]
async fn secrets_and_poison_that_come_back_are_noticed() {
    let client = Client::start(holding(&[(COMPLIANCE, 1)])).await;
    let seen = || {
        let stats = client.control().stats();
        (stats.secrets_seen, stats.canaries_seen)
    };
    assert_eq!(seen(), (0, 0), "a sign-in carries its secret in its body");
    client.get(COMPLIANCE_LIST).await;
    assert_eq!(seen(), (0, 0), "a token belongs into its header");
    client.get(&format!("{COMPLIANCE_LIST}?token={}", client.token)).await;
    assert_eq!(seen(), (1, 0));
    let secret = atlasd::sandbox::config::CLIENT_SECRET;
    let request = client.http.get(client.beta(COMPLIANCE_LIST)).bearer_auth(&client.token);
    request.header("client-request-id", secret).send().await.expect("answers");
    assert_eq!(seen(), (2, 0));
    let request = client.http.get(client.beta(COMPLIANCE_LIST)).bearer_auth(&client.token);
    request.header("x-note", CANARIES[0]).send().await.expect("answers");
    assert_eq!(seen(), (2, 1));
    client.post("/directoryObjects/getByIds", &json!({"ids": [CANARIES[1]]})).await;
    assert_eq!(seen(), (2, 2));
}

#[tokio::test]
async fn groups_are_found_by_id_and_filters_say_what_they_are_for() {
    let client = Client::start(holding(&[(COMPLIANCE, 1)])).await;
    let ids = json!({"ids": [client.group(0).to_uppercase(), tenant()], "types": ["group"]});
    let found = client.post("/directoryObjects/getByIds", &ids).await.json();
    assert_eq!(found["value"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["value"][0]["id"], client.group(0));
    let base = format!("/tenants/{}/filters", tenant());
    let new = json!({"name": "New", "platform": "macOS", "management": "devices"});
    let added = client.control_call(Method::POST, &base, Some(new)).await.1;
    let filters = client.items("/deviceManagement/assignmentFilters").await;
    let own = filters.iter().find(|filter| filter["id"] == added["filter_id"]).expect("it is listed");
    assert_eq!(
        (&own["platform"], &own["assignmentFilterManagementType"]),
        (&json!("macOS"), &json!("devices"))
    );
    assert!(filters.iter().all(|filter| filter["platform"].is_string()));
    let one = format!("{base}/{}", added["filter_id"].as_str().expect("an id"));
    assert_eq!(client.control_call(Method::DELETE, &one, None).await.0, 204);
    assert_eq!(client.control_call(Method::DELETE, &one, None).await.0, 404);
}

#[tokio::test]
async fn objects_say_what_decides_whether_they_can_be_written() {
    let mut config = SandboxConfig::single(600);
    config.page_size = 1000;
    config.empty_pages = false;
    let client = Client::start(config).await;
    let apps = client.items("/deviceAppManagement/mobileApps").await;
    let unpublished = apps.iter().filter(|app| app["publishingState"] != "published").count();
    assert!(unpublished >= 3 && unpublished * 4 < apps.len(), "{unpublished} of {}", apps.len());
    let enrolment = client.items("/deviceManagement/deviceEnrollmentConfigurations").await;
    let defaults = enrolment.iter().filter(|item| item["priority"] == 0).map(|item| &item["@odata.type"]);
    let defaults: Vec<&Value> = defaults.collect();
    let kinds: BTreeSet<String> = defaults.iter().map(ToString::to_string).collect();
    assert_eq!((defaults.len(), kinds.len()), (7, 7), "one default of each kind");
    let branding = client.items("/deviceManagement/intuneBrandingProfiles").await;
    assert_eq!(branding.iter().filter(|item| item["isDefaultProfile"] == true).count(), 1);
    let scripts = client.items("/deviceManagement/deviceHealthScripts").await;
    let global = scripts.iter().filter(|item| item["isGlobalScript"] == true).count();
    assert!(global > 0 && global < scripts.len());
    let catalogue = client.items("/deviceManagement/configurationPolicies").await;
    assert!(catalogue.iter().all(|item| item["templateReference"]["templateFamily"].is_string()));
}
