//! `Retry-After` in every form in which Graph says it, on single calls and on items of a batch.

use std::time::{Duration, SystemTime};

use atlasd::clock::Clock;
use atlasd::config::Span;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Reply, Wire, batch_of, client, graph, page, refusal, throttled};

/// The time between the first two calls of a list.
async fn gap_after(first: impl Fn() -> Reply + Send + Sync + 'static) -> Duration {
    let wire = graph(move |_, n| if n == 0 { first() } else { Reply::Json(200, page(&["a"], None)) }).await;
    let all = wire.client().get_all::<Value>("/things", &CancellationToken::new()).await;
    all.expect("the second try");
    gap(&wire)
}

fn gap(wire: &Wire) -> Duration {
    let calls = wire.calls();
    assert_eq!(calls.len(), 2);
    calls[1].at - calls[0].at
}

/// Intune's envelope with the wait inside.
fn in_message(wait: Value) -> Value {
    let message = json!({"_version": 3, "Message": "busy", "RetryAfter": wait}).to_string();
    json!({"error": {"code": "TooManyRequests", "message": message}})
}

#[tokio::test]
async fn whole_seconds_are_waited_for() {
    assert!(gap_after(|| throttled("1")).await >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_fraction_is_not_taken_for_nothing() {
    let gap = gap_after(|| throttled("0.249")).await;
    assert!(gap >= Duration::from_millis(249), "{gap:?}");
}

#[tokio::test]
async fn a_date_is_waited_for() {
    let until = SystemTime::from(Clock::system().now().to_utc()) + Duration::from_secs(2);
    let text = httpdate::fmt_http_date(until);
    let gap = gap_after(move || throttled(&text)).await;
    // A date has whole seconds: between one and two of them are left.
    assert!(gap >= Duration::from_millis(900), "{gap:?}");
}

#[tokio::test]
async fn a_wait_inside_the_text_of_the_message_is_found() {
    for wait in [json!(0.2), json!("0.2")] {
        let gap = gap_after(move || Reply::Json(429, in_message(wait.clone()))).await;
        assert!(gap >= Duration::from_millis(200), "{gap:?}");
    }
}

#[tokio::test]
async fn a_wait_of_a_503_is_kept_too() {
    let gap = gap_after(|| Reply::Raw {
        status: 503,
        headers: vec![("retry-after", "0.2".to_owned())],
        body: refusal(503, "ServiceUnavailable").to_string(),
    })
    .await;
    assert!(gap >= Duration::from_millis(200), "{gap:?}");
}

#[tokio::test]
async fn where_nothing_is_said_the_own_backoff_decides() {
    let wire = graph(|_, n| match n {
        0 => Reply::Json(429, refusal(429, "TooManyRequests")),
        _ => Reply::Json(200, page(&["a"], None)),
    })
    .await;
    let mut config = wire.config();
    config.graph.backoff_base = Span(Duration::from_millis(200));
    config.graph.backoff_max = Span(Duration::from_millis(200));
    let all = client(&config).get_all::<Value>("/things", &CancellationToken::new()).await;
    all.expect("the second try");
    assert!(gap(&wire) >= Duration::from_millis(100), "at least half of the step");
}

#[tokio::test]
async fn an_items_wait_is_found_in_its_headers_or_in_its_message_under_any_outer_status() {
    for (outer, headers, body) in [
        (200, json!({"Retry-After": "0.2"}), refusal(429, "TooManyRequests")),
        (424, json!({"retry-after": 0.2}), refusal(429, "TooManyRequests")),
        (200, json!({}), in_message(json!(0.2))),
        (424, Value::Null, in_message(json!("0.2"))),
    ] {
        let wire = graph(move |seen, n| {
            let Reply::Json(_, mut answer) = batch_of(seen, |_| (200, json!({"id": "x"}))) else {
                unreachable!("a batch is JSON")
            };
            if n == 0 {
                let id = answer["responses"][0]["id"].clone();
                answer["responses"][0] =
                    json!({"id": id, "status": 429, "headers": headers.clone(), "body": body.clone()});
            }
            Reply::Json(if n == 0 { outer } else { 200 }, answer)
        })
        .await;
        let paths = ["/a".to_owned(), "/b".to_owned()];
        let answers = wire.client().get_batch(&paths, &CancellationToken::new()).await;
        assert!(answers.iter().all(Result::is_ok), "{outer}");
        assert!(gap(&wire) >= Duration::from_millis(200), "{outer}");
        assert_eq!(wire.calls()[1].batch().len(), 1, "only the throttled item again");
    }
}
