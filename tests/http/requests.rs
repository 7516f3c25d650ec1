//! Requests that are wrong: each has its own answer, and changes nothing.

use atlasd::store::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Engine, TestDaemon, external_id};

#[test]
fn a_wrong_request_for_a_run_is_answered_with_what_is_wrong() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let (one, two) = (daemon.workspace(&token, "one"), daemon.workspace(&token, "two"));
    let tenant = daemon.tenant(&token, one, 1, "closed");
    let other = daemon.tenant(&token, two, 1, "closed");
    assert_ne!(tenant, other);
    let fetch = |extra: Value| {
        let mut request = json!({"type": "assignments.fetch", "tenant_id": tenant});
        for (name, value) in extra.as_object().expect("an object") {
            request[name] = value.clone();
        }
        request
    };
    let wrong = [
        (json!({"type": "assignments.fetch"}), 422, "request.invalid", "tenant_id"),
        (json!({"type": "assignments.burn", "tenant_id": tenant}), 422, "operation.unknown", "type"),
        (
            json!({"type": "assignments.fetch", "tenant_external_id": external_id(1)}),
            422,
            "tenant.ambiguous",
            "tenant_external_id",
        ),
        (
            json!({"type": "assignments.restore", "tenant_id": tenant, "inputs": {"snapshot_id": 1}}),
            422,
            "request.invalid",
            "inputs.snapshot_id",
        ),
        (fetch(json!({"tenant_external_id": external_id(2)})), 422, "request.invalid", "tenant_external_id"),
        (fetch(json!({"workspace_id": two})), 422, "request.invalid", "workspace_id"),
        (fetch(json!({"surprise": 1})), 422, "request.invalid", "surprise"),
        (fetch(json!({"inputs": {"policy_types": []}})), 422, "request.invalid", "inputs.policy_types"),
        (
            fetch(json!({"inputs": {"policy_types": ["nope"]}})),
            422,
            "request.invalid",
            "inputs.policy_types[0]",
        ),
        (fetch(json!({"inputs": {"surprise": 1}})), 422, "request.invalid", "inputs.surprise"),
        (
            fetch(json!({"inputs": {"policy_ids": ["a\u{0}"]}})),
            422,
            "request.invalid",
            "inputs.policy_ids[0]",
        ),
        (fetch(json!({"context": 5})), 422, "request.invalid", "context"),
        (fetch(json!({"context": {"x": "y".repeat(9000)}})), 422, "request.invalid", "context"),
        (fetch(json!({"force": "yes"})), 422, "request.invalid", "force"),
    ];
    for (request, status, code, field) in wrong {
        daemon.post("/api/v1/runs", &token, &request).assert_problem(status, code).assert_field(field);
    }
    let unknown = json!({"type": "assignments.fetch", "tenant_id": 999_999});
    daemon.post("/api/v1/runs", &token, &unknown).assert_problem(404, "tenant.not_found");
    let runs = daemon.get("/api/v1/runs?type=assignments.fetch", &token);
    assert_eq!(runs.body["items"], json!([]), "nothing was written");
}

#[test]
fn what_cannot_be_read_is_400_and_what_is_too_large_is_413() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let deep = format!("{{\"type\":\"x\",\"inputs\":{}", "[".repeat(100_000));
    for body in ["", "{", "type=x", "\u{0}", "{\"type\":\"x\"}}", deep.as_str()] {
        daemon
            .send(Method::POST, "/api/v1/runs", Some(&token), Some(body.as_bytes().to_vec()))
            .assert_problem(400, "request.malformed");
    }
    let large = vec![b' '; 1024 * 1024 + 1];
    daemon
        .send(Method::POST, "/api/v1/runs", Some(&token), Some(large))
        .assert_problem(413, "request.too_large");
}

#[test]
fn odd_paths_and_methods_are_clean_refusals() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    for path in ["/nope", "/api/v1/nope", "/api/v1/runs/", "/api/v1/runs/1/nope"] {
        daemon.get(path, &token).assert_problem(404, "route.not_found");
    }
    for id in ["abc", "-1", "0", "99999999999999999999", "%00", "%ff%fe", "1%2f2", "1.0", "%27%20or%201=1"] {
        daemon.get(&format!("/api/v1/runs/{id}"), &token).assert_problem(404, "run.not_found");
    }
    let wrong = daemon.send(Method::DELETE, "/api/v1/runs", Some(&token), None);
    wrong.assert_problem(405, "route.method_not_allowed");
    assert_eq!(wrong.headers["allow"], "GET, POST");
    for (path, allowed) in [("/healthz", "GET"), ("/metrics", "GET"), ("/api/v1/runs/batch", "POST")] {
        let wrong = daemon.send(Method::DELETE, path, Some(&token), None);
        wrong.assert_problem(405, "route.method_not_allowed");
        assert_eq!(wrong.headers["allow"], allowed, "{path}");
    }
}

#[test]
fn wrong_queries_name_the_parameter() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Viewer, None);
    for (query, field) in [
        ("foo=1", "foo"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("status=done", "status"),
        ("outcome=ok", "outcome"),
        ("type=fetch", "type"),
        ("workspace_id=x", "workspace_id"),
        ("run_identity_hash=ABC", "run_identity_hash"),
    ] {
        daemon
            .get(&format!("/api/v1/runs?{query}"), &token)
            .assert_problem(422, "request.invalid")
            .assert_field(field);
    }
    for cursor in ["%00", "nonsense", "", "%F0%9F%92%A9"] {
        let reply = daemon.get(&format!("/api/v1/tenants?cursor={cursor}"), &token);
        reply.assert_problem(400, "request.bad_cursor");
    }
}

#[test]
fn no_secret_of_a_request_reaches_the_ledger() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "silent");
    let context = json!({
        "ticket": "CHG-1042",
        "client_secret": "hunter2-hunter2",
        "note": "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
    });
    let request = json!({"type": "assignments.fetch", "tenant_id": tenant, "context": context});
    let run = daemon.post("/api/v1/runs", &token, &request).id();
    let kept = daemon.get(&format!("/api/v1/runs/{run}"), &token);
    assert_eq!(kept.body["context"]["request_context"]["ticket"], "CHG-1042");
    for secret in ["hunter2", "eyJhbGciOiJub25lIn0"] {
        assert!(!kept.text.contains(secret), "{}", kept.text);
    }
}
