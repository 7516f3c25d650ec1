//! Single calls and lists, when Graph misbehaves.

use std::time::{Duration, Instant};

use atlasd::config::Span;
use atlasd::domain::failure::Code;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Reply, Wire, client, graph, ids, origin, page, refusal, throttled};

async fn list(wire: &Wire) -> Result<Vec<Value>, atlasd::graph::GraphError> {
    wire.client().get_all("/things", &CancellationToken::new()).await
}

#[tokio::test]
async fn pages_are_followed_to_the_end_byte_for_byte() {
    let escaped = "/beta/things?$skiptoken=%255B%257B%2522t%2522%253A1";
    let wire = graph(move |seen, _| match seen.path.as_str() {
        "/beta/things" => Reply::Json(200, page(&["a"], Some(origin(seen) + escaped))),
        path if path == escaped => {
            // An empty page with a nextLink is a page like any other.
            Reply::Json(200, page(&[], Some(format!("{}/beta/things?last", origin(seen)))))
        }
        _ => Reply::Json(200, page(&["b"], None)),
    })
    .await;
    assert_eq!(ids(&list(&wire).await.expect("all pages")), ["a", "b"]);
    let calls = wire.calls();
    assert_eq!(calls[1].path, escaped);
    assert!(calls.iter().all(|call| call.header("authorization") == Some("Bearer secret-token-0")));
    let traces: std::collections::HashSet<_> =
        calls.iter().map(|call| call.header("client-request-id").expect("a trace id").to_owned()).collect();
    assert_eq!(traces.len(), 3, "every call has an id of its own");
    assert_eq!(wire.tokens(), 1);
}

#[tokio::test]
async fn a_next_link_to_another_host_is_refused_and_gets_no_token() {
    let other = Wire::start(|_, _| Reply::Json(200, page(&["stolen"], None))).await;
    let link = format!("{}/beta/things", other.url);
    let wire = graph(move |_, _| Reply::Json(200, page(&["a"], Some(link.clone())))).await;
    let error = list(&wire).await.expect_err("refused");
    assert_eq!((error.code, error.transient), (Code::GraphProtocol, false));
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Wire::start(|_, _| Reply::Json(200, page(&["stolen"], None))).await;
    let location = format!("{}/beta/things", other.url);
    let wire = graph(move |_, _| Reply::Raw {
        status: 302,
        headers: vec![("location", location.clone())],
        body: String::new(),
    })
    .await;
    assert_eq!(list(&wire).await.expect_err("refused").code, Code::GraphProtocol);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_repeated_next_link_ends_the_list_as_broken() {
    let wire =
        graph(|seen, _| Reply::Json(200, page(&["a"], Some(format!("{}/beta/things?again", origin(seen))))))
            .await;
    assert_eq!(list(&wire).await.expect_err("a loop").code, Code::GraphProtocol);
    assert_eq!(wire.calls().len(), 2);
}

#[tokio::test]
async fn a_list_has_no_more_pages_than_allowed() {
    let wire = graph(|seen, _| {
        let longer = format!("{}{}x", origin(seen), seen.path.replace("things", "things?"));
        Reply::Json(200, page(&["a"], Some(longer)))
    })
    .await;
    let mut config = wire.config();
    config.graph.pages_max = 5;
    let cancel = CancellationToken::new();
    let all = client(&config).get_all::<Value>("/things", &cancel).await;
    assert_eq!(all.expect_err("too many").code, Code::GraphProtocol);
    assert_eq!(wire.calls().len(), 5);
}

#[tokio::test]
async fn a_page_without_value_is_not_an_empty_list() {
    for body in [json!({}), json!({"value": null}), json!([]), json!({"error": {"code": "x"}})] {
        let wire = graph(move |_, _| Reply::Json(200, body.clone())).await;
        let error = list(&wire).await.expect_err("no list");
        assert_eq!((error.code, error.transient), (Code::GraphProtocol, true));
        assert_eq!(wire.calls().len(), 3, "worth every try");
    }
}

#[tokio::test]
async fn html_cut_bodies_and_lost_connections_are_tried_again() {
    for broken in 0..3 {
        let wire = graph(move |_, n| match (n, broken) {
            (0, 0) => Reply::Raw { status: 200, headers: vec![], body: "<html>Welcome</html>".to_owned() },
            (0, 1) => Reply::Cut,
            (0, _) => Reply::Close,
            _ => Reply::Json(200, page(&["a"], None)),
        })
        .await;
        assert_eq!(ids(&list(&wire).await.expect("the second try")), ["a"], "{broken}");
    }
}

#[tokio::test]
async fn a_service_that_never_recovers_fails_after_the_last_try() {
    for (status, code) in
        [(500, Code::GraphUnavailable), (503, Code::GraphUnavailable), (429, Code::GraphThrottled)]
    {
        let wire = graph(move |_, _| Reply::Json(status, refusal(status, "x"))).await;
        let error = list(&wire).await.expect_err("down");
        assert_eq!((error.code, error.transient, error.status), (code, true, Some(status)));
        assert_eq!(wire.calls().len(), 3);
        assert!(!format!("{error}{error:?}").contains("contoso"));
    }
}

#[tokio::test]
async fn a_refusal_is_final() {
    for (status, code, expected) in [
        (400, "BadRequest", Code::GraphBadRequest),
        (403, "Authorization_RequestDenied", Code::GraphPermissionMissing),
        (404, "ResourceNotFound", Code::GraphNotFound),
    ] {
        let wire = graph(move |_, _| Reply::Json(status, refusal(status, code))).await;
        assert_eq!(list(&wire).await.expect_err("refused").code, expected);
        assert_eq!(wire.calls().len(), 1);
    }
}

#[tokio::test]
async fn a_fraction_of_a_second_is_waited_for() {
    let wire =
        graph(|_, n| if n == 0 { throttled("0.249") } else { Reply::Json(200, page(&["a"], None)) }).await;
    let begun = Instant::now();
    list(&wire).await.expect("the second try");
    assert!(begun.elapsed() >= Duration::from_millis(249));
}

#[tokio::test]
async fn a_wait_beyond_the_limit_fails_at_once_and_stops_the_tenants_other_calls() {
    let wire = graph(|_, _| throttled("3600")).await;
    let client = wire.client();
    let cancel = CancellationToken::new();
    let error = client.get::<Value>("/a", &cancel).await.expect_err("too long");
    assert_eq!((error.code, error.retry_after), (Code::GraphThrottled, Some(Duration::from_secs(3600))));
    let other = client.get::<Value>("/b", &cancel).await.expect_err("too long");
    assert_eq!((other.code, other.transient), (Code::GraphThrottled, true));
    assert_eq!(wire.calls().len(), 1, "the second call was not made");
    assert!(client.throttled_until().is_some());
}

#[tokio::test]
async fn a_slow_body_is_a_timeout() {
    let wire = graph(|_, _| Reply::Stall).await;
    let mut config = wire.config();
    config.graph.call_timeout = Span(Duration::from_millis(60));
    config.graph.tries_max = 1;
    let answer = client(&config).get::<Value>("/a", &CancellationToken::new()).await;
    let error = answer.expect_err("silence");
    assert_eq!((error.code, error.transient), (Code::GraphTimeout, true));
}

#[tokio::test]
async fn nobody_listening_is_a_network_error() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    let wire = Wire::start(|_, _| Reply::Close).await;
    let mut config = wire.config();
    let cloud = config.clouds.get_mut("test").expect("the test cloud");
    (cloud.login_url, cloud.graph_url) = (url.clone(), url);
    let error = client(&config).sign_in(&CancellationToken::new()).await.expect_err("nobody");
    assert_eq!((error.code, error.transient), (Code::GraphNetwork, true));
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_refused_announced_or_not() {
    let wire = graph(|_, _| Reply::Json(200, json!({"value": ["x".repeat(4096)]}))).await;
    let mut config = wire.config();
    config.graph.body_bytes_max = 1024;
    let answer = client(&config).get::<Value>("/a", &CancellationToken::new()).await;
    assert_eq!(answer.expect_err("too large").code, Code::GraphProtocol);
    assert_eq!(wire.calls().len(), 1);

    let chunked = graph(|_, _| Reply::Raw {
        status: 200,
        headers: vec![("transfer-encoding", "chunked".to_owned())],
        body: format!("1000\r\n{}\r\n0\r\n\r\n", "x".repeat(4096)),
    })
    .await;
    let mut config = chunked.config();
    config.graph.body_bytes_max = 1024;
    let answer = client(&config).get::<Value>("/a", &CancellationToken::new()).await;
    assert_eq!(answer.expect_err("too large").code, Code::GraphProtocol);
}

#[tokio::test]
async fn cancelling_ends_a_call_and_a_wait_at_once() {
    for throttle in [false, true] {
        let wire = graph(move |_, _| if throttle { throttled("100") } else { Reply::Stall }).await;
        let client = wire.client();
        let cancel = CancellationToken::new();
        let begun = Instant::now();
        let (answer, ()) = tokio::join!(client.get::<Value>("/a", &cancel), async {
            while wire.calls().is_empty() {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        });
        assert!(answer.expect_err("cancelled").is_cancelled());
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn calls_are_counted_by_status() {
    use atlasd::clock::Clock;
    use atlasd::graph::GraphService;
    use atlasd::metrics::{Metrics, Reason};
    let wire = graph(|_, n| match n {
        0 => throttled("0.01"),
        1 => Reply::Close,
        _ => Reply::Json(200, page(&["a"], None)),
    })
    .await;
    let metrics = Metrics::new();
    let service = GraphService::new(&wire.config(), Clock::system(), metrics.clone()).expect("a service");
    let client = service.client("test", uuid::Uuid::nil(), "main").expect("a client");
    client.get::<Value>("/a", &CancellationToken::new()).await.expect("the third try");
    let counted = |reason| metrics.graph_calls.get_or_create(&Reason { reason }).get();
    // The sign-in is a call too.
    assert_eq!((counted("2xx"), counted("429"), counted("network")), (2, 1, 1));
    assert_eq!(client.calls(), 3);
}
