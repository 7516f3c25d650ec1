//! Failures rolled up.

use atlasd::domain::failure::Code;
use atlasd::store::Role;
use serde_json::{Value, json};

use crate::support::{Engine, TestDaemon};

const FAILURES: &str = "/api/v1/failures";

fn failed(daemon: &TestDaemon, token: &str, tenant: i64) -> Value {
    let request = json!({"type": "assignments.fetch", "tenant_id": tenant, "force": true});
    let run = daemon.post("/api/v1/runs", token, &request).id();
    daemon.await_run(token, run, |run| run["status"] == "completed")
}

fn failures_are_rolled_up(engine: Engine) {
    let daemon = TestDaemon::start(engine);
    let token = daemon.token(Role::Admin, None);
    let (own, foreign) = (daemon.workspace(&token, "own"), daemon.workspace(&token, "foreign"));
    let (one, two) = (daemon.tenant(&token, own, 1, "closed"), daemon.tenant(&token, foreign, 2, "closed"));
    assert_eq!(daemon.get(FAILURES, &token).assert_status(200).body["items"], json!([]));
    let first = failed(&daemon, &token, one);
    let second = failed(&daemon, &token, one);
    let other = failed(&daemon, &token, two);

    let by_code = daemon.get(FAILURES, &token);
    by_code.assert_status(200);
    assert_eq!(by_code.body["truncated"], false);
    let group = &by_code.body["items"][0];
    assert_eq!((group["code"].as_str(), group["runs"].as_i64()), (Some("graph.network"), Some(3)), "{group}");
    assert_eq!(group["next_action"], Code::GraphNetwork.advice());
    assert!(group["items"].as_i64() >= Some(3), "{group}");
    assert_eq!((&group["first_at"], &group["last_at"]), (&first["completed_at"], &other["completed_at"]));
    assert_eq!(group["example_run_id"], other["id"]);
    for absent in ["type", "tenant_id", "workspace_id"] {
        assert_eq!(group.get(absent), None, "{group}");
    }

    let all =
        daemon.get(&format!("{FAILURES}?group_by=code,type,tenant&since=1h&type=assignments.fetch"), &token);
    let groups = all.body["items"].as_array().expect("groups");
    assert_eq!(groups.len(), 2, "{}", all.text);
    assert_eq!((&groups[0]["tenant_id"], &groups[0]["workspace_id"]), (&json!(one), &json!(own)));
    assert_eq!((&groups[0]["runs"], &groups[0]["example_run_id"]), (&json!(2), &second["id"]));
    assert_eq!(groups[0]["type"], "assignments.fetch");
    let cut = daemon.get(&format!("{FAILURES}?group_by=tenant&limit=1"), &token);
    assert_eq!((cut.body["items"].as_array().map(Vec::len), &cut.body["truncated"]), (Some(1), &json!(true)));
    assert_eq!(cut.body["items"][0].get("next_action"), None, "no code, no advice");

    let bound = daemon.token(Role::Viewer, Some(foreign));
    let seen = daemon.get(&format!("{FAILURES}?group_by=tenant"), &bound);
    assert_eq!(seen.body["items"].as_array().map(Vec::len), Some(1), "{}", seen.text);
    assert_eq!(seen.body["items"][0]["tenant_id"], two);
    daemon.get(&format!("{FAILURES}?workspace_id={own}"), &bound).assert_problem(404, "workspace.not_found");
    let walled = daemon.get(&format!("{FAILURES}?tenant_id={one}"), &bound);
    assert_eq!(walled.assert_status(200).body["items"], json!([]));
}

#[test]
fn failures_are_rolled_up_on_sqlite() {
    failures_are_rolled_up(Engine::Sqlite);
}

#[test]
fn failures_are_rolled_up_on_postgres() {
    failures_are_rolled_up(Engine::Postgres);
}

#[test]
fn wrong_questions_name_the_field() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Viewer, None);
    for (query, field) in [
        ("group_by=", "group_by"),
        ("group_by=code,tenants", "group_by"),
        ("since=soon", "since"),
        ("limit=0", "limit"),
        ("tenant_id=x", "tenant_id"),
        ("cursor=x", "cursor"),
    ] {
        let reply = daemon.get(&format!("{FAILURES}?{query}"), &token);
        reply.assert_problem(422, "request.invalid").assert_field(field);
    }
}
