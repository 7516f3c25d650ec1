//! The throttle, on a clock that the test moves.

use std::time::Duration;

use atlasd::sandbox::{Fault, FaultKind, Limit, On, RetryAfterForm, SandboxConfig};
use reqwest::Method;
use serde_json::json;

use crate::client::{COMPLIANCE, COMPLIANCE_LIST, Client, Got, holding, tenant};

const FILTERS: &str = "/deviceManagement/assignmentFilters";

fn limited(calls_max: usize, writes_max: usize, forms: &[RetryAfterForm]) -> SandboxConfig {
    let mut config = holding(&[("compliancePolicy", 3)]);
    config.throttle.calls_max = calls_max;
    config.throttle.writes_max = writes_max;
    config.throttle.forms = forms.to_vec();
    config
}

fn message_wait(got: &Got) -> Option<u64> {
    let message = got.json()["error"]["message"].as_str()?.to_owned();
    serde_json::from_str::<serde_json::Value>(&message).ok()?["RetryAfter"].as_u64()
}

#[tokio::test]
async fn calls_over_the_limit_are_told_to_wait_and_then_served() {
    let config = limited(3, 100, &[RetryAfterForm::Integer]);
    let clock = config.clock.clone();
    let client = Client::start(config).await;
    for _ in 0..3 {
        assert_eq!(client.get(FILTERS).await.status, 200);
    }
    let got = client.get(FILTERS).await;
    assert_eq!((got.status, got.code().as_str()), (429, "TooManyRequests"));
    let wait: i64 = got.header("Retry-After").expect("a wait").parse().expect("an integer");
    assert!((15..=20).contains(&wait), "{wait}");
    clock.advance(chrono::Duration::seconds(wait));
    assert_eq!(client.get(FILTERS).await.status, 200);
    let stats = client.control().stats();
    assert_eq!((stats.throttled, stats.retries_early), (1, 0));
    assert_eq!(stats.by_status[&429], 1);
}

#[tokio::test]
async fn an_early_repetition_is_counted_and_prolongs_the_wait() {
    let config = limited(1, 100, &[RetryAfterForm::Fraction]);
    let clock = config.clock.clone();
    let client = Client::start(config).await;
    assert_eq!(client.get(FILTERS).await.status, 200);
    assert_eq!(client.get(FILTERS).await.status, 429);
    clock.advance(chrono::Duration::seconds(15));
    let early = client.get(FILTERS).await;
    assert_eq!(early.status, 429);
    let wait: f64 = early.header("Retry-After").expect("a wait").parse().expect("a number");
    assert!(wait > 19.0, "a call while throttled counts: {wait}");
    assert_eq!(client.control().stats().retries_early, 1);
    assert_eq!(client.get("/groups").await.status, 429, "another call");
    assert_eq!(client.control().stats().retries_early, 1, "is no repetition");
}

#[tokio::test]
async fn writes_have_a_limit_of_their_own() {
    let client = Client::start(limited(100, 2, &[RetryAfterForm::Integer])).await;
    let ids: Vec<String> = client.control().expected(tenant()).into_keys().map(|(_, id)| id).collect();
    let mut statuses = Vec::new();
    for id in &ids {
        let path = format!("/deviceManagement/deviceCompliancePolicies/{id}/assign");
        statuses.push(client.post(&path, &json!({"assignments": []})).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(client.control().stats().writes_per_policy.len(), 2, "a throttled write changes nothing");
    assert_eq!(client.get(FILTERS).await.status, 200, "reads go on");
}

#[tokio::test]
async fn the_wait_is_told_in_every_form_in_turn() {
    use RetryAfterForm::{Absent, Fraction, HttpDate, InMessage, Integer};
    let mut config = limited(0, 100, &[Integer, Fraction, HttpDate, InMessage, Absent]);
    config.throttle.window = Duration::from_millis(2500);
    let client = Client::start(config).await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(client.get(FILTERS).await);
    }
    let headers: Vec<Option<&str>> = answers.iter().map(|got| got.header("Retry-After")).collect();
    assert_eq!(headers[0], Some("3"));
    assert_eq!(headers[1], Some("2.500"));
    assert!(httpdate::parse_http_date(headers[2].expect("a date")).is_ok());
    assert_eq!((headers[3], message_wait(&answers[3])), (None, Some(3)));
    assert_eq!((headers[4], message_wait(&answers[4])), (None, None));
}

#[tokio::test]
async fn tenants_have_buckets_of_their_own() {
    let mut config = SandboxConfig::demo();
    config.throttle.calls_max = 1;
    let second = config.tenants[1].external_id;
    let mut client = Client::start(config).await;
    assert_eq!(client.get(FILTERS).await.status, 200);
    assert_eq!(client.get(FILTERS).await.status, 429);
    client.tenant = second;
    client.sign_in().await;
    assert_eq!(client.get(FILTERS).await.status, 200);
}

#[tokio::test]
async fn the_budget_that_all_applications_share_is_the_tenants() {
    let mut config = limited(1000, 100, &[RetryAfterForm::Integer]);
    config.throttle.tenant_calls_max = 5;
    config.throttle.tenant_writes_max = 3;
    let clock = config.clock.clone();
    let client = Client::start(config).await;
    let id = client.policy(COMPLIANCE, 0);
    let path = format!("/tenants/{}/others-use", tenant());
    let used = client.control_call(Method::POST, &path, Some(json!({"calls": 2, "writes": 2}))).await;
    assert_eq!(used.0, 204);
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 200);
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 429, "the writes are used up");
    assert_eq!(client.get(FILTERS).await.status, 200);
    assert_eq!(client.get(FILTERS).await.status, 429, "the calls are used up");
    let stats = client.control().stats();
    assert_eq!(stats.budget_exceeded, [(Limit::TenantCalls, 1), (Limit::TenantWrites, 1)].into());
    assert_eq!(stats.calls_in_window_max[&tenant()], 4, "those of others are not this client's");
    assert_eq!(stats.writes_in_window_max[&tenant()], 2);
    clock.advance(chrono::Duration::seconds(21));
    assert_eq!(client.get(FILTERS).await.status, 200);
}

#[tokio::test]
async fn calls_of_one_second_have_a_limit_over_all_tenants() {
    let mut config = limited(1000, 100, &[RetryAfterForm::Fraction]);
    config.throttle.global_calls_per_second_max = 2;
    let clock = config.clock.clone();
    let client = Client::start(config).await;
    // The items of a batch come at one moment, however slow the machine is.
    let three: Vec<_> =
        (0..3).map(|at| json!({"id": at.to_string(), "method": "GET", "url": FILTERS})).collect();
    let got = client.post("/$batch", &json!({"requests": three})).await.json();
    let items = got["responses"].as_array().expect("three");
    assert_eq!(items.iter().filter(|item| item["status"] == 429).count(), 1);
    assert_eq!(client.control().stats().budget_exceeded, [(Limit::GlobalCalls, 1)].into());
    clock.advance(chrono::Duration::seconds(1));
    assert_eq!(client.get(FILTERS).await.status, 200);
}

#[tokio::test]
async fn items_of_a_batch_are_throttled_one_by_one_and_early_writes_are_counted() {
    let client = Client::start(limited(100, 2, &[RetryAfterForm::Fraction])).await;
    let item = |at: usize| {
        json!({"id": at.to_string(), "method": "POST",
            "url": format!("{COMPLIANCE_LIST}/{}/assign", client.policy(COMPLIANCE, at)),
            "headers": {"Content-Type": "application/json"}, "body": {"assignments": []}})
    };
    let requests: Vec<_> = (0..3).map(item).collect();
    let got = client.post("/$batch", &json!({"requests": requests})).await;
    assert_eq!(got.status, 200);
    let got = got.json();
    let throttled: Vec<_> =
        got["responses"].as_array().expect("three").iter().filter(|it| it["status"] == 429).collect();
    assert_eq!((throttled.len(), &throttled[0]["id"]), (1, &json!("2")));
    let headers = throttled[0]["headers"].as_object().expect("headers");
    assert!(headers.keys().any(|name| name.eq_ignore_ascii_case("retry-after")));
    client.post("/$batch", &json!({"requests": [item(2)]})).await;
    let stats = client.control().stats();
    assert_eq!((stats.retries_early, stats.writes_retried_early), (1, 1));
    assert_eq!(stats.budget_exceeded, [(Limit::AppWrites, 2)].into());
    assert_eq!(stats.writes_in_window_max[&tenant()], 4);
}

#[tokio::test]
async fn the_largest_window_is_the_largest_there_ever_was() {
    let config = limited(1000, 100, &[RetryAfterForm::Integer]);
    let clock = config.clock.clone();
    let client = Client::start(config).await;
    for _ in 0..3 {
        client.get(FILTERS).await;
    }
    clock.advance(chrono::Duration::seconds(15));
    for _ in 0..2 {
        client.get(FILTERS).await;
    }
    assert_eq!(client.control().stats().calls_in_window_max[&tenant()], 5, "a window slides");
    clock.advance(chrono::Duration::seconds(60));
    client.get(FILTERS).await;
    let stats = client.control().stats();
    assert_eq!(stats.calls_in_window_max[&tenant()], 5);
    assert!(stats.budget_exceeded.is_empty());
}

#[tokio::test]
async fn a_wait_that_came_after_the_write_was_applied_counts_too() {
    let client = Client::start(limited(100, 100, &[])).await;
    let id = client.policy(COMPLIANCE, 0);
    let kind = FaultKind::StatusAfter { status: 503, retry_after: Some("30".to_owned()) };
    client.fault(Fault::new(kind).on(On::Write).times(1));
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 503);
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 200);
    assert_eq!(client.control().stats().writes_retried_early, 1);
}
