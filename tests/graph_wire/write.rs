//! What is certain after a write.

use std::time::Duration;

use atlasd::config::Span;
use atlasd::domain::failure::Code;
use atlasd::domain::restore::write::{GraphWrite, WriteMethod};
use atlasd::graph::{GraphError, WriteFate};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Reply, Wire, client, graph, refusal, throttled, token};

const PATH: &str = "/deviceManagement/deviceCompliancePolicies/a/assign";

fn assign() -> GraphWrite {
    GraphWrite {
        method: WriteMethod::Post,
        path: PATH.to_owned(),
        body: Some(json!({"assignments": []})),
        success: &[200],
    }
}

fn delete() -> GraphWrite {
    GraphWrite {
        method: WriteMethod::Delete,
        path: "/x/assignments/1".to_owned(),
        body: None,
        success: &[204],
    }
}

fn ok(status: u16) -> Reply {
    Reply::Raw { status, headers: vec![], body: String::new() }
}

async fn write(wire: &Wire, call: &GraphWrite) -> WriteFate {
    wire.client().write(call, &CancellationToken::new()).await
}

/// A word for the fate, and what came with it.
fn of(fate: WriteFate) -> (&'static str, Option<GraphError>) {
    match fate {
        WriteFate::Applied => ("applied", None),
        WriteFate::NotApplied(error) => ("not applied", Some(error)),
        WriteFate::Unknown(error) => ("unknown", Some(error)),
        WriteFate::Late => ("late", None),
    }
}

fn code((word, error): (&'static str, Option<GraphError>)) -> (&'static str, Option<Code>) {
    (word, error.map(|error| error.code))
}

#[tokio::test]
async fn a_write_is_sent_as_it_is_once() {
    let wire = graph(|_, _| ok(200)).await;
    assert_eq!(write(&wire, &assign()).await, WriteFate::Applied);
    let calls = wire.calls();
    assert_eq!((calls.len(), calls[0].method.as_str()), (1, "POST"));
    assert_eq!(calls[0].path, format!("/beta{PATH}"));
    assert_eq!(calls[0].json(), json!({"assignments": []}));
    assert_eq!(calls[0].header("content-type"), Some("application/json"));
    assert!(calls[0].header("client-request-id").is_some());
    assert_eq!(calls[0].header("authorization"), Some("Bearer secret-token-0"));

    let wire = graph(|_, _| ok(204)).await;
    assert_eq!(write(&wire, &delete()).await, WriteFate::Applied);
    assert_eq!((wire.calls()[0].method.as_str(), wire.calls()[0].body.as_str()), ("DELETE", ""));
    let patch = GraphWrite { method: WriteMethod::Patch, success: &[], ..assign() };
    assert_eq!(
        write(&wire, &patch).await,
        WriteFate::Applied,
        "no status is documented: any success will do"
    );
    assert_eq!(wire.calls()[1].method, "PATCH");
}

#[tokio::test]
async fn every_answer_has_its_fate_and_doubt_is_never_repeated() {
    for (status, graph_code, word, expected) in [
        (400, "BadRequest", "not applied", Code::GraphBadRequest),
        (403, "Forbidden", "not applied", Code::GraphForbidden),
        (404, "ResourceNotFound", "not applied", Code::GraphNotFound),
        (409, "Conflict", "not applied", Code::GraphConflict),
        (412, "PreconditionFailed", "not applied", Code::GraphConflict),
        (408, "Timeout", "unknown", Code::GraphTimeout),
        (500, "InternalServerError", "unknown", Code::GraphUnavailable),
        (502, "BadGateway", "unknown", Code::GraphUnavailable),
        (503, "ServiceUnavailable", "unknown", Code::GraphUnavailable),
        (504, "GatewayTimeout", "unknown", Code::GraphUnavailable),
        (302, "", "unknown", Code::GraphProtocol),
    ] {
        let wire = graph(move |_, _| Reply::Json(status, refusal(status, graph_code))).await;
        let fate = of(write(&wire, &assign()).await);
        assert!(!format!("{fate:?}").contains("contoso"));
        assert_eq!(code(fate), (word, Some(expected)), "{status}");
        assert_eq!(wire.calls().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_write_follows_no_redirect() {
    let other = Wire::start(|_, _| ok(200)).await;
    let location = format!("{}/beta{PATH}", other.url);
    let wire = graph(move |_, _| Reply::Raw {
        status: 307,
        headers: vec![("location", location.clone())],
        body: String::new(),
    })
    .await;
    assert_eq!(code(of(write(&wire, &assign()).await)), ("unknown", Some(Code::GraphProtocol)));
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_success_that_is_not_the_documented_one_leaves_doubt() {
    let wire = graph(|_, _| ok(202)).await;
    assert_eq!(code(of(write(&wire, &assign()).await)), ("unknown", Some(Code::GraphProtocol)));
}

#[tokio::test]
async fn a_lost_or_cut_answer_and_silence_leave_doubt() {
    for (broken, expected) in
        [(0, Code::GraphNetwork), (1, Code::GraphNetwork), (2, Code::GraphTimeout), (3, Code::GraphProtocol)]
    {
        let wire = graph(move |_, _| match broken {
            0 => Reply::Close,
            1 => Reply::Cut,
            2 => Reply::Stall,
            _ => Reply::Raw { status: 200, headers: vec![], body: "x".repeat(4096) },
        })
        .await;
        let mut config = wire.config();
        config.graph.body_bytes_max = 1024;
        config.graph.call_timeout = Span(Duration::from_millis(200));
        let fate = client(&config).write(&assign(), &CancellationToken::new()).await;
        assert_eq!(code(of(fate)), ("unknown", Some(expected)), "{broken}");
        assert_eq!(wire.calls().len(), 1, "{broken}");
    }
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_applied() {
    let login = graph(|_, _| ok(200)).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut config = login.config();
    config.clouds.get_mut("test").expect("the test cloud").graph_url =
        format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    let fate = client(&config).write(&assign(), &CancellationToken::new()).await;
    assert_eq!(code(of(fate)), ("not applied", Some(Code::GraphNetwork)));
    assert_eq!(login.tokens(), 1);
}

#[tokio::test]
async fn a_throttled_write_is_repeated_for_it_was_not_applied() {
    let wire = graph(|_, n| if n == 0 { throttled("0.2") } else { ok(200) }).await;
    assert_eq!(write(&wire, &assign()).await, WriteFate::Applied);
    let calls = wire.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[1].at - calls[0].at >= Duration::from_millis(200));

    let wire = graph(|_, _| throttled("0.01")).await;
    assert_eq!(code(of(write(&wire, &assign()).await)), ("not applied", Some(Code::GraphThrottled)));
    assert_eq!(wire.calls().len(), 3, "as often as any call is tried");

    let wire = graph(|_, _| throttled("3600")).await;
    assert_eq!(code(of(write(&wire, &assign()).await)), ("not applied", Some(Code::GraphThrottled)));
    assert_eq!(wire.calls().len(), 1, "that long is not waited for");
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_the_write_repeated_once() {
    let wire = Wire::start(|seen, n| match seen.header("authorization") {
        _ if seen.is_token() => token(n),
        Some("Bearer secret-token-0") => Reply::Json(401, refusal(401, "InvalidAuthenticationToken")),
        _ => ok(200),
    })
    .await;
    assert_eq!(write(&wire, &assign()).await, WriteFate::Applied);
    assert_eq!((wire.tokens(), wire.calls().len()), (2, 2));

    let wire = graph(|_, _| Reply::Json(401, refusal(401, "InvalidAuthenticationToken"))).await;
    assert_eq!(code(of(write(&wire, &assign()).await)), ("not applied", Some(Code::GraphAuthFailed)));
    assert_eq!((wire.tokens(), wire.calls().len()), (2, 2));
}

#[tokio::test]
async fn a_refused_sign_in_applies_nothing() {
    let wire = Wire::start(|_, _| Reply::Json(401, json!({"error": "invalid_client"}))).await;
    assert_eq!(code(of(write(&wire, &assign()).await)), ("not applied", Some(Code::GraphAuthFailed)));
    assert!(wire.calls().is_empty());
}

#[tokio::test]
async fn what_is_gone_already_is_deleted() {
    let wire = graph(|_, _| Reply::Json(404, refusal(404, "ResourceNotFound"))).await;
    assert_eq!(write(&wire, &delete()).await, WriteFate::Applied);
    // Something in between that knows no such page has deleted nothing.
    let wire = graph(|_, _| Reply::Raw { status: 404, headers: vec![], body: "<html>".to_owned() }).await;
    assert_eq!(code(of(write(&wire, &delete()).await)), ("not applied", Some(Code::GraphProtocol)));
}

#[tokio::test]
async fn multi_admin_approval_has_an_outcome_of_its_own() {
    let message = json!({"_version": 3, "CustomApiErrorPhrase": "",
        "Message": "Header 'x-msft-approval-justification' is required to request approval - Url: https://fef.msub00\
            .manage.microsoft.com/x('secret-policy')"});
    let body = json!({"error": {"code": "BadRequest", "message": message.to_string()}});
    let wire = graph(move |_, _| Reply::Json(400, body.clone())).await;
    let (word, error) = of(write(&wire, &assign()).await);
    let error = error.expect("refused");
    assert_eq!((word, error.code, error.transient), ("not applied", Code::GraphApprovalRequired, false));
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("secret-policy") && !shown.contains("manage.microsoft"), "{shown}");
}

#[tokio::test]
async fn a_write_that_was_cancelled_before_it_left_was_not_applied() {
    let cancel = CancellationToken::new();
    let stalled = graph(|_, _| Reply::Stall).await;
    let client = stalled.client();
    let call = assign();
    let (fate, ()) = tokio::join!(client.write(&call, &cancel), async {
        while stalled.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!(code(of(fate)), ("unknown", Some(Code::RunCancelled)), "it had left");
    let fate = client.write(&call, &cancel).await;
    assert_eq!(code(of(fate)), ("not applied", Some(Code::RunCancelled)));
    assert_eq!(stalled.calls().len(), 1);
}

#[tokio::test]
async fn writes_beyond_the_budget_wait_while_reads_go_on() {
    let wire = graph(|seen, _| match seen.method.as_str() {
        "GET" => Reply::Json(200, json!({"id": "a"})),
        _ => ok(200),
    })
    .await;
    let mut config = wire.config();
    config.graph.writes_per_20s = 3;
    let client = client(&config);
    let cancel = CancellationToken::new();
    for _ in 0..3 {
        assert_eq!(client.write(&assign(), &cancel).await, WriteFate::Applied);
    }
    let call = assign();
    let (fate, ()) = tokio::join!(client.write(&call, &cancel), async {
        for _ in 0..5 {
            client.get::<Value>("/a", &CancellationToken::new()).await.expect("a read");
        }
        cancel.cancel();
    });
    assert_eq!(code(of(fate)), ("not applied", Some(Code::RunCancelled)));
    let writes = wire.calls().iter().filter(|call| call.method == "POST").count();
    assert_eq!(writes, 3, "the fourth was held back");
}
