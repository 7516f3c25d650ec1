//! The throttle, on a clock that the test moves.

use std::time::Duration;

use atlasd::sandbox::{RetryAfterForm, SandboxConfig};
use serde_json::json;

use crate::client::{Client, Got, holding, tenant};

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
