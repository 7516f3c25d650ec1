//! `$batch`.

use std::time::Duration;

use atlasd::sandbox::{Fault, FaultKind, On, RetryAfterForm};
use serde_json::{Value, json};

use crate::client::{Client, holding, tenant};

fn batch(urls: &[String]) -> Value {
    let requests: Vec<Value> = urls
        .iter()
        .enumerate()
        .map(|(at, url)| json!({"id": (at + 1).to_string(), "method": "GET", "url": url}))
        .collect();
    json!({"requests": requests})
}

fn navigations(client: &Client, count: usize) -> Vec<String> {
    let truth = client.control().expected(tenant());
    let ids = truth.keys().map(|(_, id)| id.clone());
    ids.take(count).map(|id| format!("/deviceManagement/configurationPolicies/{id}/assignments")).collect()
}

fn responses(body: &Value) -> Vec<Value> {
    body["responses"].as_array().expect("responses").clone()
}

#[tokio::test]
async fn twenty_items_are_answered_in_another_order_and_the_same_one_each_time() {
    let client = Client::start(holding(&[("configurationPolicy", 25)])).await;
    let body = batch(&navigations(&client, 20));
    let first = client.post("/$batch", &body).await.json();
    let order = |body: &Value| -> Vec<String> {
        responses(body).iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    };
    let mut sorted = order(&first);
    assert_ne!(sorted, (1..=20).map(|id| id.to_string()).collect::<Vec<_>>());
    assert_eq!(order(&first), order(&client.post("/$batch", &body).await.json()));
    sorted.sort_by_key(|id| id.parse::<u8>().expect("a number"));
    assert_eq!(sorted, (1..=20).map(|id| id.to_string()).collect::<Vec<_>>());
    assert!(responses(&first).iter().all(|one| one["status"] == 200));
    let stats = client.control().stats();
    assert_eq!((stats.by_kind["batch"], stats.by_kind["batch_item"], stats.by_kind["nav"]), (2, 40, 40));
    assert_eq!(stats.calls_by_tenant[&tenant()], 40);
}

#[tokio::test]
async fn an_items_next_link_is_a_whole_url() {
    let client = Client::start(holding(&[("configurationPolicy", 30)])).await;
    let truth = client.control().expected(tenant());
    let ((_, many), wanted) = truth.iter().find(|(_, items)| items.len() > 50).expect("one has many");
    let url = format!("/deviceManagement/configurationPolicies/{many}/assignments");
    let item = responses(&client.post("/$batch", &batch(&[url])).await.json()).remove(0);
    let mut read = item["body"]["value"].as_array().expect("items").clone();
    let mut next = item["body"]["@odata.nextLink"].as_str().map(str::to_owned);
    while let Some(url) = next {
        let page = client.send(reqwest::Method::GET, &url, None).await.expect("answers").json();
        read.extend(page["value"].as_array().expect("items").clone());
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(&read, wanted);
}

#[tokio::test]
async fn too_many_items_doubled_ids_and_nonsense_are_refused_as_a_whole() {
    let client = Client::start(holding(&[("configurationPolicy", 25)])).await;
    let mut doubled = batch(&navigations(&client, 2));
    doubled["requests"][1]["id"] = json!("1");
    for body in [batch(&navigations(&client, 21)), doubled, batch(&[]), json!({"items": []})] {
        assert_eq!(client.post("/$batch", &body).await.status, 400, "{body}");
    }
    assert!(!client.control().stats().by_kind.contains_key("batch_item"));
}

#[tokio::test]
async fn items_are_judged_one_by_one() {
    let client = Client::start(holding(&[("configurationPolicy", 2), ("compliancePolicy", 1)])).await;
    client.fault(Fault::new(FaultKind::Forbidden).policy_type("compliancePolicy"));
    let navigation = navigations(&client, 3).pop().expect("one of the catalogue");
    let compliance = client.control().expected(tenant()).keys().next().expect("sorted first").1.clone();
    let group = client.control().group_ids(tenant()).remove(0);
    let target =
        json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": group}});
    let assign = navigation.replace("/assignments", "/assign");
    let body = json!({"requests": [
        {"id": "read", "method": "GET", "url": navigation},
        {"id": "gone", "method": "GET", "url": "/deviceManagement/configurationPolicies/none/assignments"},
        {"id": "denied", "method": "GET",
         "url": format!("deviceManagement/deviceCompliancePolicies/{compliance}/assignments")},
        {"id": "written", "method": "POST", "url": assign, "headers": {"Content-Type": "application/json"},
         "body": {"assignments": [target]}},
        {"id": "bare", "method": "POST", "url": assign, "body": {"assignments": []}},
        {"id": "after", "method": "GET", "url": "/groups", "dependsOn": ["denied"]},
    ]});
    let got = client.post("/$batch", &body).await;
    assert_eq!(got.status, 200);
    let status = |id: &str| {
        responses(&got.json()).iter().find(|one| one["id"] == id).expect("answered")["status"].clone()
    };
    assert_eq!(status("read"), 200);
    assert_eq!(status("gone"), 404);
    assert_eq!(status("denied"), 403);
    assert_eq!(status("written"), 200);
    assert_eq!(status("bare"), 400, "a body needs its content type");
    assert_eq!(status("after"), 424);
}

#[tokio::test]
async fn throttled_items_carry_their_own_wait_in_any_spelling() {
    let mut config = holding(&[("configurationPolicy", 25)]);
    config.throttle.calls_max = 5;
    config.throttle.window = Duration::from_secs(30);
    config.throttle.forms = vec![RetryAfterForm::Fraction];
    let client = Client::start(config).await;
    let got = client.post("/$batch", &batch(&navigations(&client, 20))).await;
    assert_eq!(got.status, 200);
    let throttled: Vec<Value> =
        responses(&got.json()).into_iter().filter(|one| one["status"] == 429).collect();
    assert_eq!(throttled.len(), 15, "items are counted one by one");
    let mut spellings = std::collections::BTreeSet::new();
    for one in &throttled {
        let headers = one["headers"].as_object().expect("headers");
        let (name, wait) =
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after")).expect("a wait");
        spellings.insert(name.clone());
        assert!(wait.as_str().expect("text").contains('.'), "decimal: {wait}");
    }
    assert!(spellings.len() > 1, "{spellings:?}");
    client.fault(Fault::new(FaultKind::BatchOuter424).on(On::Batch));
    let outer = client.post("/$batch", &batch(&navigations(&client, 2))).await;
    assert_eq!(outer.status, 424);
    assert_eq!(responses(&outer.json()).len(), 2);
}

#[tokio::test]
async fn a_lost_item_is_missing_and_a_closed_one_takes_its_batch_along() {
    let client = Client::start(holding(&[("configurationPolicy", 25)])).await;
    client.fault(Fault::new(FaultKind::LostItem).on(On::BatchItem).every(7).times(2));
    let body = batch(&navigations(&client, 20));
    assert_eq!(responses(&client.post("/$batch", &body).await.json()).len(), 18);
    assert_eq!(responses(&client.post("/$batch", &body).await.json()).len(), 20, "twice at the most");
    client.fault(Fault::new(FaultKind::CloseBefore).on(On::BatchItem).times(1));
    assert!(client.send(reqwest::Method::POST, &client.beta("/$batch"), Some(&body)).await.is_err());
}
