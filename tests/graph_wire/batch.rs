//! `$batch`: items judged one by one.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use atlasd::domain::failure::Code;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Reply, batch_of, graph, ids, origin, page, refusal, throttled};

fn paths(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("/things/{n}")).collect()
}

/// The path of an item, as a body.
fn echo(path: &str) -> (u16, Value) {
    (200, json!({ "id": path }))
}

#[tokio::test]
async fn answers_in_any_order_reach_their_requests() {
    let wire = graph(|seen, _| batch_of(seen, echo)).await;
    let paths = paths(20);
    let answers = wire.client().get_batch(&paths, &CancellationToken::new()).await;
    for (path, answer) in paths.iter().zip(answers) {
        assert_eq!(answer.expect("an answer")["id"], *path);
    }
    let calls = wire.calls();
    assert_eq!((calls.len(), calls[0].path.as_str()), (1, "/beta/$batch"));
    let sent: HashSet<_> = calls[0].batch().into_iter().map(|(id, _)| id).collect();
    assert_eq!(sent.len(), 20);
}

#[tokio::test]
async fn only_failed_items_are_sent_again_after_the_longest_wait() {
    let wire = graph(|seen, n| {
        let Reply::Json(_, mut body) = batch_of(seen, echo) else { unreachable!("a batch is JSON") };
        if n == 0 {
            for (index, name, wait) in [(0, "Retry-After", "0.05"), (1, "RETRY-AFTER", "0.15")] {
                let id = body["responses"][index]["id"].clone();
                body["responses"][index] = json!({"id": id, "status": 429, "headers": {name: wait},
                    "body": refusal(429, "TooManyRequests")});
            }
        }
        Reply::Json(if n == 0 { 424 } else { 200 }, body)
    })
    .await;
    let begun = Instant::now();
    let answers = wire.client().get_batch(&paths(4), &CancellationToken::new()).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!(begun.elapsed() >= Duration::from_millis(150));
    let again: Vec<_> = wire.calls()[1].batch().into_iter().map(|(_, path)| path).collect();
    assert_eq!(again, ["/things/2", "/things/3"]);
}

#[tokio::test]
async fn each_item_is_judged_by_itself() {
    let wire = graph(|seen, _| {
        batch_of(seen, |path| match path {
            "/things/1" => (403, refusal(403, "Forbidden")),
            "/things/2" => (404, refusal(404, "ResourceNotFound")),
            "/things/3" => (503, refusal(503, "ServiceUnavailable")),
            "/things/4" => (200, json!("bm90IEpTT04=")),
            _ => echo(path),
        })
    })
    .await;
    let answers = wire.client().get_batch(&paths(5), &CancellationToken::new()).await;
    let codes: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(|error| error.code)).collect();
    assert!(codes[0].is_ok());
    assert_eq!(codes[1], Err(Code::GraphForbidden));
    assert_eq!(codes[2], Err(Code::GraphNotFound));
    assert_eq!(codes[3], Err(Code::GraphUnavailable));
    assert_eq!(codes[4], Err(Code::GraphProtocol));
    let sizes: Vec<_> = wire.calls().iter().map(|call| call.batch().len()).collect();
    assert_eq!(sizes, [5, 2, 2], "what is final is not asked again");
}

#[tokio::test]
async fn a_missing_item_is_asked_again_and_then_a_protocol_error() {
    let wire = graph(|seen, n| {
        let Reply::Json(_, mut body) = batch_of(seen, echo) else { unreachable!("a batch is JSON") };
        let items = body["responses"].as_array_mut().expect("items");
        items
            .retain(|item| item["body"]["id"] != "/things/0" && (n > 0 || item["body"]["id"] != "/things/1"));
        Reply::Json(200, body)
    })
    .await;
    let answers = wire.client().get_batch(&paths(3), &CancellationToken::new()).await;
    let error = answers[0].as_ref().expect_err("never answered");
    assert_eq!((error.code, error.transient), (Code::GraphProtocol, true));
    assert!(answers[1].is_ok(), "answered the second time");
    assert_eq!(wire.calls().len(), 3);
}

#[tokio::test]
async fn an_item_answered_401_gets_one_new_token() {
    let wire = graph(|seen, _| {
        let old = seen.header("authorization") == Some("Bearer secret-token-0");
        batch_of(seen, |path| match path {
            "/things/1" if old => (401, refusal(401, "InvalidAuthenticationToken")),
            "/things/2" => (401, refusal(401, "InvalidAuthenticationToken")),
            _ => echo(path),
        })
    })
    .await;
    let answers = wire.client().get_batch(&paths(3), &CancellationToken::new()).await;
    assert!(answers[1].is_ok());
    assert_eq!(answers[2].as_ref().expect_err("still refused").code, Code::GraphAuthFailed);
    assert_eq!((wire.tokens(), wire.calls().len()), (2, 2));
}

#[tokio::test]
async fn a_batch_refused_as_a_whole_fails_every_item() {
    let wire = graph(|_, _| Reply::Json(400, refusal(400, "BadRequest"))).await;
    let answers = wire.client().get_batch(&paths(2), &CancellationToken::new()).await;
    assert!(answers.iter().all(|answer| answer.as_ref().expect_err("refused").code == Code::GraphBadRequest));
    assert_eq!(wire.calls().len(), 1);
}

#[tokio::test]
async fn an_outer_error_is_tried_again() {
    let wire = graph(|seen, n| match n {
        0 => Reply::Json(424, refusal(424, "FailedDependency")),
        1 => throttled("0.01"),
        _ => batch_of(seen, echo),
    })
    .await;
    let answers = wire.client().get_batch(&paths(2), &CancellationToken::new()).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn an_item_with_more_pages_is_read_to_its_end() {
    let wire = graph(|seen, _| match seen.path.as_str() {
        "/beta/$batch" => {
            let next = format!("{}/beta/things/0?page2", origin(seen));
            batch_of(seen, |_| (200, page(&["a"], Some(next.clone()))))
        }
        _ => Reply::Json(200, page(&["b"], None)),
    })
    .await;
    let client = wire.client();
    let cancel = CancellationToken::new();
    let body = client.get_batch(&paths(1), &cancel).await.remove(0).expect("a page");
    let items: Vec<Value> = client.rest_of(body, &cancel).await.expect("all pages");
    assert_eq!(ids(&items), ["a", "b"]);
    let no_page = client.rest_of::<Value>(json!({"id": "x"}), &cancel).await;
    assert_eq!(no_page.expect_err("no page").code, Code::GraphProtocol);
}

#[tokio::test]
async fn an_item_that_asks_for_too_long_a_wait_fails_and_stops_the_tenant() {
    let wire = graph(|seen, _| {
        let Reply::Json(_, mut body) = batch_of(seen, echo) else { unreachable!("a batch is JSON") };
        let id = body["responses"][0]["id"].clone();
        body["responses"][0] = json!({"id": id, "status": 429, "headers": {"Retry-After": "3600"},
            "body": refusal(429, "TooManyRequests")});
        Reply::Json(200, body)
    })
    .await;
    let client = wire.client();
    let cancel = CancellationToken::new();
    let answers = client.get_batch(&paths(2), &cancel).await;
    assert!(answers[0].is_ok());
    let error = answers[1].as_ref().expect_err("throttled");
    assert_eq!((error.code, error.retry_after), (Code::GraphThrottled, Some(Duration::from_secs(3600))));
    let next = client.get_batch(&paths(2), &cancel).await;
    assert!(next.iter().all(|answer| answer.as_ref().is_err_and(|error| error.code == Code::GraphThrottled)));
    assert_eq!(wire.calls().len(), 1, "no call while the tenant is throttled");
}
