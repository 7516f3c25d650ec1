//! Every fault, as a client sees it.

use std::time::{Duration, Instant};

use atlasd::sandbox::{CANARIES, Fault, FaultKind, On};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{COMPLIANCE, Client, holding, tenant, to_group};

const LIST: &str = "/deviceManagement/deviceCompliancePolicies";

async fn client() -> Client {
    Client::start(holding(&[("compliancePolicy", 4), ("intent", 2)])).await
}

fn first(client: &Client) -> String {
    client.control().expected(tenant()).into_keys().next().expect("a policy").1
}

async fn faulted(client: &Client, kind: FaultKind) -> (u16, String, Option<String>) {
    client.fault(Fault::new(kind).times(1));
    let got = client.get(LIST).await;
    (got.status, got.code(), got.header("Retry-After").map(str::to_owned))
}

#[tokio::test]
async fn refusals_come_in_their_documented_envelopes() {
    let client = client().await;
    let cases = [
        (FaultKind::Forbidden, 403, "Forbidden"),
        (FaultKind::ForbiddenAppOnly, 403, "Forbidden"),
        (FaultKind::ForbiddenEmptyCode, 403, ""),
        (FaultKind::EntraDenied, 403, "Authorization_RequestDenied"),
        (FaultKind::SegmentNotFound, 400, "BadRequest"),
        (FaultKind::NotFound, 404, "ResourceNotFound"),
        (FaultKind::ApprovalRequired, 400, "BadRequest"),
        (FaultKind::Conflict, 409, "Conflict"),
        (FaultKind::Status { status: 401, retry_after: None }, 401, "InvalidAuthenticationToken"),
        (FaultKind::Status { status: 500, retry_after: None }, 500, "InternalError"),
        (FaultKind::Status { status: 504, retry_after: None }, 504, "UnknownError"),
    ];
    for (kind, status, code) in cases {
        assert_eq!(faulted(&client, kind.clone()).await, (status, code.to_owned(), None), "{kind:?}");
        assert_eq!(client.get(LIST).await.status, 200, "once only");
    }
    let unavailable = FaultKind::Status { status: 503, retry_after: Some("30".into()) };
    assert_eq!(faulted(&client, unavailable).await, (503, "ServiceUnavailable".into(), Some("30".into())));
    let throttled = FaultKind::Throttled { retry_after: Some("2.128".into()) };
    assert_eq!(faulted(&client, throttled).await, (429, "TooManyRequests".into(), Some("2.128".into())));
    client.fault(Fault::new(FaultKind::Status { status: 502, retry_after: None }).times(1));
    let got = client.get(LIST).await;
    assert_eq!((got.status, got.header("Content-Type")), (502, Some("text/html")));
}

#[tokio::test]
async fn errors_carry_poison_and_the_ids_that_help() {
    let client = client().await;
    client.fault(Fault::new(FaultKind::Forbidden));
    let url = client.beta(LIST);
    let request = client.http.get(url).bearer_auth(&client.token).header("client-request-id", "mine");
    let got = crate::client::read(request.send().await.expect("answers")).await;
    let error = got.json()["error"].clone();
    let message: Value =
        serde_json::from_str(error["message"].as_str().expect("a text")).expect("JSON in a text");
    assert_eq!(message["_version"], 3);
    let planted = CANARIES.iter().filter(|canary| got.text.contains(**canary)).count();
    assert!(planted >= 4, "{}", got.text);
    assert_eq!(error["innerError"]["request-id"].as_str(), got.header("request-id"));
    assert_eq!(got.header("client-request-id"), Some("mine"));
}

#[tokio::test]
async fn a_rule_looks_at_type_kind_policy_and_turn() {
    let client = client().await;
    let id = first(&client);
    let navigation = format!("{LIST}/{id}/assignments");
    client.fault(Fault::new(FaultKind::NotFound).policy_type("intent"));
    assert_eq!(client.get(LIST).await.status, 200);
    assert_eq!(client.get("/deviceManagement/intents").await.status, 404);
    client.control().clear_faults();

    client.fault(Fault::new(FaultKind::NotFound).on(On::Nav).policy_id(&id));
    let other = client.control().expected(tenant()).into_keys().nth(1).expect("another").1;
    assert_eq!(client.get(LIST).await.status, 200);
    assert_eq!(client.get(&navigation).await.status, 404);
    assert_eq!(client.get(&format!("{LIST}/{other}/assignments")).await.status, 200);
    client.control().clear_faults();

    client.fault(Fault::new(FaultKind::NotFound).every(3).times(2));
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(client.get(LIST).await.status);
    }
    assert_eq!(statuses, [200, 200, 404, 200, 200, 404, 200, 200, 200, 200]);
    client.fault(Fault::new(FaultKind::NotFound).tenant(uuid::Uuid::nil()));
    assert_eq!(client.get(LIST).await.status, 200, "another tenant's");
}

#[tokio::test]
async fn a_closed_connection_tells_nothing_about_the_write() {
    let client = client().await;
    let id = client
        .control()
        .expected(tenant())
        .into_iter()
        .find(|((key, _), items)| key == "compliancePolicy" && !items.is_empty())
        .expect("one is assigned")
        .0
        .1;
    let url = client.beta(&format!("{LIST}/{id}/assign"));
    let body = json!({"assignments": []});
    let live = || client.control().expected(tenant())[&("compliancePolicy".to_owned(), id.clone())].len();
    let before = live();

    client.fault(Fault::new(FaultKind::CloseBefore).on(On::Write).times(1));
    assert!(client.send(Method::POST, &url, Some(&body)).await.is_err());
    assert_eq!(live(), before, "nothing was done");

    client.fault(Fault::new(FaultKind::CloseAfter).on(On::Write).times(1));
    assert!(client.send(Method::POST, &url, Some(&body)).await.is_err());
    assert_eq!(live(), 0, "it was done all the same");
    let stats = client.control().stats();
    assert_eq!((stats.by_status[&0], stats.writes_per_policy[&format!("compliancePolicy/{id}")]), (2, 1));
}

#[tokio::test]
async fn bodies_come_slowly_as_html_or_cut() {
    let client = client().await;
    client.fault(Fault::new(FaultKind::SlowBody { millis: 300 }).times(1));
    let begun = Instant::now();
    assert_eq!(client.get(LIST).await.json()["value"].as_array().map(Vec::len), Some(4));
    assert!(begun.elapsed() >= Duration::from_millis(300));

    client.fault(Fault::new(FaultKind::HtmlBody).times(1));
    let got = client.get(LIST).await;
    assert_eq!((got.status, got.header("Content-Type")), (200, Some("text/html")));

    client.fault(Fault::new(FaultKind::CutJson).times(1));
    let got = client.get(LIST).await;
    assert_eq!(got.status, 200);
    assert!(serde_json::from_str::<Value>(&got.text).is_err());
}

#[tokio::test]
async fn links_lead_astray_and_who_follows_is_seen() {
    let client = client().await;
    client.fault(Fault::new(FaultKind::Redirect { to: None }).times(1));
    let got = client.get(LIST).await;
    assert_eq!(got.status, 302);
    let location = got.header("Location").expect("a place").to_owned();
    assert!(location.starts_with("http://localhost:"), "another host name: {location}");

    client.fault(Fault::new(FaultKind::ForeignNextLink).times(1));
    let page = client.get(LIST).await.json();
    assert_eq!(page["@odata.nextLink"], location.as_str());

    assert_eq!(client.control().stats().trap_requests, 0);
    let port = client.sandbox.url().rsplit_once(':').expect("a port").1.to_owned();
    let trap = format!("http://127.0.0.1:{port}/_sandbox/trap");
    client.http.get(&trap).send().await.expect("answers");
    client.http.get(&trap).bearer_auth(&client.token).send().await.expect("answers");
    let stats = client.control().stats();
    assert_eq!((stats.trap_requests, stats.trap_tokens), (2, 1));

    client.fault(Fault::new(FaultKind::RepeatedNextLink).times(1));
    let page = client.get(&format!("{LIST}?$top=2")).await.json();
    assert_eq!(page["@odata.nextLink"], client.beta(&format!("{LIST}?$top=2")).as_str());
}

#[tokio::test]
async fn an_expanded_list_may_be_empty_and_a_read_may_be_old() {
    let client = client().await;
    let expanded = format!("{LIST}?$expand=assignments");
    let counts = |items: &[Value]| {
        items.iter().map(|item| item["assignments"].as_array().map_or(0, Vec::len)).sum::<usize>()
    };
    assert!(counts(&client.items(&expanded).await) > 0);
    client.fault(Fault::new(FaultKind::EmptyExpand).on(On::List).times(1));
    assert_eq!(counts(&client.items(&expanded).await), 0);

    let id = first(&client);
    let navigation = format!("{LIST}/{id}/assignments");
    let before = client.items(&navigation).await;
    let group = client.control().group_ids(tenant()).remove(5);
    let item = json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": group}});
    assert_eq!(
        client.post(&format!("{LIST}/{id}/assign"), &json!({"assignments": [item]})).await.status,
        200
    );
    client.fault(Fault::new(FaultKind::StaleRead).on(On::Nav).times(2));
    assert_eq!(client.items(&navigation).await, before);
    assert_eq!(client.items(&navigation).await, before);
    assert_ne!(client.items(&navigation).await, before);
}

#[tokio::test]
async fn an_approved_write_passes_multi_admin_approval() {
    let client = client().await;
    client.fault(Fault::new(FaultKind::ApprovalRequired).on(On::Write));
    let url = client.beta(&format!("{LIST}/{}/assign", first(&client)));
    let body = json!({"assignments": []});
    let request = |justified: bool| {
        let request = client.http.post(&url).bearer_auth(&client.token).json(&body);
        if justified { request.header("x-msft-approval-justification", "run 7") } else { request }
    };
    assert_eq!(request(false).send().await.expect("answers").status(), 400);
    assert_eq!(request(true).send().await.expect("answers").status(), 200);
}

#[tokio::test]
async fn a_planned_429_notices_who_comes_back_early() {
    let client = client().await;
    client.fault(Fault::new(FaultKind::Throttled { retry_after: Some("30".into()) }).times(1));
    assert_eq!(client.get(LIST).await.status, 429);
    assert_eq!(client.get(LIST).await.status, 200);
    assert_eq!(client.control().stats().retries_early, 1);
}

#[tokio::test]
async fn a_write_may_be_applied_and_its_answer_say_otherwise() {
    let client = client().await;
    let id = client.policy(COMPLIANCE, 0);
    let after = |status| FaultKind::StatusAfter { status, retry_after: None };
    let kinds = [
        (after(500), Some(500)),
        (after(502), Some(502)),
        (after(503), Some(503)),
        (after(504), Some(504)),
        (FaultKind::HtmlAfter, Some(200)),
        (FaultKind::CloseAfter, None),
        (FaultKind::TimeoutAfter { millis: 20 }, None),
        (FaultKind::CutJson, Some(200)),
        (FaultKind::SlowBody { millis: 20 }, Some(200)),
    ];
    for (at, (kind, status)) in kinds.into_iter().enumerate() {
        client.fault(Fault::new(kind.clone()).on(On::Write).times(1));
        let group = client.group(at);
        let got = client.assign(&id, &[to_group(&group)]).await.ok().map(|got| got.status);
        assert_eq!(got, status, "{kind:?}");
        let direct = client.live(COMPLIANCE, &id);
        assert_eq!(direct[0]["target"]["groupId"], group.as_str(), "{kind:?} was applied");
        let last = client.control().writes_of(tenant()).pop().expect("it was recorded");
        assert_eq!((last.applied, last.status), (true, status.unwrap_or(0)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_write_may_fail_before_it_is_applied() {
    let client = client().await;
    let id = client.policy(COMPLIANCE, 0);
    let before = client.live(COMPLIANCE, &id);
    let status = |status| FaultKind::Status { status, retry_after: None };
    let kinds = [
        (status(500), Some(500)),
        (status(502), Some(502)),
        (status(503), Some(503)),
        (status(504), Some(504)),
        (status(401), Some(401)),
        (FaultKind::HtmlBody, Some(200)),
        (FaultKind::CloseBefore, None),
        (FaultKind::TimeoutBefore { millis: 20 }, None),
        (FaultKind::Redirect { to: None }, Some(302)),
    ];
    for (kind, status) in kinds {
        client.fault(Fault::new(kind.clone()).on(On::Write).times(1));
        let got = client.assign(&id, &[]).await.ok().map(|got| got.status);
        assert_eq!(got, status, "{kind:?}");
        assert_eq!(client.live(COMPLIANCE, &id), before, "{kind:?} changed nothing");
    }
    assert!(client.control().writes_of(tenant()).iter().all(|write| !write.applied));
    assert!(client.control().stats().writes_per_policy.is_empty());
}

#[tokio::test]
async fn the_nth_write_alone_may_be_hit() {
    let client = client().await;
    let id = client.policy(COMPLIANCE, 0);
    client.fault(Fault::new(FaultKind::CloseAfter).on(On::Write).policy_id(&id).skip(2).times(1));
    let mut answered = Vec::new();
    for at in 0..4 {
        answered.push(client.assign(&id, &[to_group(&client.group(at))]).await.is_ok());
    }
    assert_eq!(answered, [true, true, false, true]);
    assert_eq!(client.get(LIST).await.status, 200);
}

#[tokio::test]
async fn a_token_may_end_in_the_middle_of_a_run() {
    let mut client = client().await;
    let id = client.policy(COMPLIANCE, 0);
    client.fault(Fault::new(FaultKind::ExpireTokens).on(On::Write).skip(1).times(1));
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 200);
    let refused = client.assign(&id, &[]).await.expect("answered");
    assert_eq!((refused.status, refused.code().as_str()), (401, "InvalidAuthenticationToken"));
    assert_eq!(client.get(LIST).await.status, 401, "for every call");
    client.sign_in().await;
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 200);
}

#[tokio::test]
async fn a_followed_redirect_tells_whether_the_token_went_along() {
    let client = client().await;
    for (with_token, counts) in [(false, (1, 0)), (true, (2, 1))] {
        client.fault(Fault::new(FaultKind::Redirect { to: None }).times(1));
        let to = client.get(LIST).await.header("Location").expect("a place").to_owned();
        let request = client.http.get(to);
        let request = if with_token { request.bearer_auth(&client.token) } else { request };
        request.send().await.expect("the trap answers");
        let stats = client.control().stats();
        assert_eq!((stats.trap_requests, stats.trap_tokens), counts);
    }
}
