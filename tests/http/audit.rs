//! The audit: every change leaves a line with who, what and from where; a refusal of a duplicate leaves none.

use std::time::{Duration, Instant};

use atlasd::daemon::Control;
use atlasd::store::{AuditQuery, PageRequest, Role};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Engine, TestDaemon, csrf_of};

on_both_engines! {
    every_change_leaves_one_line_and_a_refused_duplicate_none,
    a_bound_token_sees_the_lines_of_its_workspace_alone,
    the_audit_is_read_part_by_part_and_pruned_by_age,
}

/// The lines once there are `count` of them, newest first.
#[track_caller]
fn lines(daemon: &TestDaemon, token: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let reply = daemon.get("/api/v1/audit?limit=500", token);
        reply.assert_status(200);
        let items = reply.body["items"].as_array().expect("a list").clone();
        if items.len() >= count {
            return items;
        }
        assert!(Instant::now() < deadline, "expected {count} lines, found {}", reply.text);
        daemon.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
}

fn actions(lines: &[Value]) -> Vec<&str> {
    lines.iter().rev().map(|line| line["action"].as_str().expect("a word")).collect()
}

fn every_change_leaves_one_line_and_a_refused_duplicate_none(engine: Engine) {
    let daemon = TestDaemon::start(engine);
    let token = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "silent");
    daemon
        .patch(&format!("/api/v1/tenants/{tenant}"), &token, &json!({"name": "another"}))
        .assert_status(200);
    let fetch = json!({"type": "assignments.fetch", "tenant_id": tenant});
    let run = daemon.post("/api/v1/runs", &token, &fetch).id();
    daemon.post("/api/v1/runs", &token, &fetch).assert_status(200);
    daemon
        .post("/api/v1/runs/batch", &token, &json!({"requests": [fetch, {"type": "x"}]}))
        .assert_status(200);
    daemon.post(&format!("/api/v1/runs/{run}/cancel"), &token, &json!({})).assert_status(202);
    daemon.await_run(&token, run, |run| run["status"] == "completed");
    let again = daemon.post(&format!("/api/v1/runs/{run}/retry"), &token, &json!({})).id();
    daemon.post("/api/v1/reconcile", &token, &json!({"workspace_id": workspace, "dry_run": true}));
    daemon.post("/api/v1/workspaces", &token, &json!({"slug": "contoso"})).assert_status(409);
    let cookie = daemon.sign_in(&token);
    daemon.call(Method::POST, "/login", &[], "token=unknown").assert_status(401);
    let form = format!("_csrf={}", csrf_of(&cookie));
    daemon.call(Method::POST, "/logout", &[("cookie", &cookie)], &form).assert_status(303);
    let lines = lines(&daemon, &token, 10);
    let expected = [
        "workspace.added",
        "tenant.added",
        "tenant.changed",
        "run.submitted",
        "run.cancelled",
        "run.retried",
        "reconcile.asked",
        "session.begun",
        "session.refused",
        "session.ended",
    ];
    assert_eq!(actions(&lines), expected);
    for line in &lines {
        let refused = line["action"] == "session.refused";
        assert_eq!(line["actor"], if refused { "" } else { "token-0" }, "{line}");
        assert_eq!(line["outcome"], if refused { "refused" } else { "done" }, "{line}");
        assert_eq!(line["peer"], "127.0.0.1", "{line}");
        let of_page = line["action"].as_str().is_some_and(|action| action.starts_with("session"));
        assert_eq!(line["via"], if of_page { "page" } else { "api" }, "{line}");
    }
    let submitted = lines.iter().find(|line| line["action"] == "run.submitted").expect("a line");
    assert_eq!((&submitted["object_kind"], &submitted["object_id"]), (&json!("run"), &json!(run)));
    assert_eq!(submitted["detail"], json!({"type": "assignments.fetch", "tenant_id": tenant}));
    let changed = lines.iter().find(|line| line["action"] == "tenant.changed").expect("a line");
    assert_eq!(changed["detail"], json!({"changed": ["name"]}), "what it was changed to is nobody's affair");
    let about = daemon.get(&format!("/api/v1/audit?object_kind=run&object_id={again}"), &token);
    assert_eq!(about.body["items"].as_array().map(Vec::len), Some(1), "{}", about.text);
    for (query, count) in [
        ("action=run.submitted", 1),
        ("action=tenant.added", 1),
        ("actor=token-0", 9),
        ("actor=nobody", 0),
        ("since=1h", 10),
        ("since=2999-01-01T00:00:00Z", 0),
    ] {
        let found = daemon.get(&format!("/api/v1/audit?{query}"), &token);
        assert_eq!(found.body["items"].as_array().map(Vec::len), Some(count), "{query}: {}", found.text);
    }
    for (query, field) in [
        ("object_kind=run", "object_id"),
        ("object_id=1", "object_kind"),
        ("object_kind=x&object_id=1", "object_kind"),
        ("since=yesterday", "since"),
    ] {
        daemon
            .get(&format!("/api/v1/audit?{query}"), &token)
            .assert_problem(422, "request.invalid")
            .assert_field(field);
    }
}

fn a_bound_token_sees_the_lines_of_its_workspace_alone(engine: Engine) {
    let daemon = TestDaemon::start(engine);
    let admin = daemon.token(Role::Admin, None);
    let (own, foreign) = (daemon.workspace(&admin, "own"), daemon.workspace(&admin, "foreign"));
    daemon.tenant(&admin, foreign, 1, "silent");
    daemon.tenant(&admin, own, 2, "silent");
    daemon.call(Method::POST, "/login", &[], "token=unknown").assert_status(401);
    lines(&daemon, &admin, 5);
    let bound = daemon.token(Role::Admin, Some(own));
    assert_eq!(actions(&lines(&daemon, &bound, 2)), ["workspace.added", "tenant.added"]);
    daemon
        .get(&format!("/api/v1/audit?workspace_id={foreign}"), &bound)
        .assert_problem(404, "workspace.not_found");
    let operator = daemon.token(Role::Operator, None);
    daemon.get("/api/v1/audit", &operator).assert_problem(403, "auth.role_too_low");
}

fn the_audit_is_read_part_by_part_and_pruned_by_age(engine: Engine) {
    let daemon = TestDaemon::start(engine);
    let token = daemon.token(Role::Admin, None);
    for number in 0..5 {
        daemon.workspace(&token, &format!("w-{number}"));
    }
    let all = lines(&daemon, &token, 5);
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let part = daemon.get(&format!("/api/v1/audit?limit=2{more}"), &token);
        part.assert_status(200);
        seen.extend(part.body["items"].as_array().expect("a list").iter().cloned());
        cursor = part.body["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, all);
    let prune =
        |age: Duration, batch| daemon.block_on(daemon.store().prune_audit(age, batch)).expect("pruned");
    assert_eq!(prune(Duration::from_secs(3600), 100), 0);
    assert_eq!(prune(Duration::ZERO, 2), 2);
    assert_eq!(lines(&daemon, &token, 0), all[..3], "the oldest go first");
    assert_eq!(prune(Duration::ZERO, 100), 3);
}

#[test]
fn no_line_is_lost_by_an_orderly_stop() {
    let daemon = TestDaemon::start(Engine::Postgres);
    let token = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&token, "contoso");
    let runs = 200;
    let tenants: Vec<i64> =
        (0..runs).map(|number| daemon.tenant(&token, workspace, number, "closed")).collect();
    let requests: Vec<Value> =
        tenants.iter().map(|tenant| json!({"type": "assignments.fetch", "tenant_id": tenant})).collect();
    let batch = daemon.post("/api/v1/runs/batch", &token, &json!({"requests": requests}));
    batch.assert_status(200);
    daemon.daemon().control().blocking_send(Control::Stop).expect("it runs");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !daemon.daemon().has_ended() {
        assert!(Instant::now() < deadline, "the daemon does not stop");
        daemon.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
    let kept = daemon.count("SELECT count(*) AS n FROM audit WHERE action = 'run.submitted'");
    assert_eq!(kept, i64::try_from(runs).expect("few"));
    // The daemon's own way to the ledger is closed by now.
    let query = AuditQuery { page: PageRequest { limit: 1, cursor: None }, ..AuditQuery::default() };
    assert!(daemon.block_on(daemon.store().audit(query)).is_err());
}
