//! Workspaces and tenants.

use atlasd::store::Role;
use serde_json::{Value, json};

use crate::support::{Engine, TestDaemon, external_id};

#[test]
fn a_workspace_is_added_once_and_listed() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let body = json!({"slug": "contoso", "name": "Contoso Ltd"});
    let added = daemon.post("/api/v1/workspaces", &token, &body);
    added.assert_status(201);
    assert_eq!(
        (added.body["slug"].as_str(), added.body["name"].as_str()),
        (Some("contoso"), Some("Contoso Ltd"))
    );
    daemon.post("/api/v1/workspaces", &token, &body).assert_problem(409, "resource.exists");
    let listed = daemon.get("/api/v1/workspaces", &token);
    assert_eq!(listed.body, json!({"items": [added.body], "next_cursor": null}));
}

#[test]
fn a_tenant_is_added_once_per_workspace_shown_and_changed() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let (one, two) = (daemon.workspace(&token, "one"), daemon.workspace(&token, "two"));
    let body = |workspace: i64| {
        json!({"workspace_id": workspace, "external_id": external_id(7).to_uppercase(), "name": "Contoso",
               "cloud": "global", "credential": "app"})
    };
    let added = daemon.post("/api/v1/tenants", &token, &body(one));
    added.assert_status(201);
    assert_eq!(added.body["external_id"], external_id(7));
    assert_eq!(added.body["workspace_slug"], "one");
    daemon.post("/api/v1/tenants", &token, &body(one)).assert_problem(409, "resource.exists");
    daemon.post("/api/v1/tenants", &token, &body(two)).assert_status(201);
    let path = format!("/api/v1/tenants/{}", added.id());
    assert_eq!(daemon.get(&path, &token).body, added.body);
    let changed = daemon.patch(&path, &token, &json!({"name": "Contoso AG", "cloud": "china"}));
    changed.assert_status(200);
    assert_eq!(
        (changed.body["name"].as_str(), changed.body["cloud"].as_str()),
        (Some("Contoso AG"), Some("china"))
    );
    assert_eq!(changed.body["credential"], "app", "what is left out stays");
    let listed = daemon.get(&format!("/api/v1/tenants?workspace_id={one}"), &token);
    assert_eq!(listed.body["items"], json!([changed.body]));
}

#[test]
fn a_wrong_tenant_is_answered_with_what_is_wrong() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&token, "one");
    let with = |name: &str, value: Value| {
        let mut body = json!({"workspace_id": workspace, "external_id": external_id(1), "name": "Contoso",
                              "cloud": "global", "credential": "app"});
        body[name] = value;
        daemon.post("/api/v1/tenants", &token, &body)
    };
    for (name, value) in [
        ("cloud", json!("moon")),
        ("credential", json!("nobody")),
        ("external_id", json!("contoso")),
        ("name", json!("")),
        ("name", json!("a\u{0}b")),
        ("surprise", json!(1)),
    ] {
        with(name, value).assert_problem(422, "request.invalid").assert_field(name);
    }
    with("workspace_id", json!(999_999)).assert_problem(404, "workspace.not_found");
    let tenant = daemon.tenant(&token, workspace, 1, "global");
    let path = format!("/api/v1/tenants/{tenant}");
    for (body, field) in [
        (json!({"cloud": "moon"}), "cloud"),
        (json!({"credential": "nobody"}), "credential"),
        (json!({"external_id": external_id(2)}), "external_id"),
    ] {
        daemon.patch(&path, &token, &body).assert_problem(422, "request.invalid").assert_field(field);
    }
    daemon.patch("/api/v1/tenants/999999", &token, &json!({})).assert_problem(404, "tenant.not_found");
    daemon.post("/api/v1/workspaces", &token, &json!({"slug": "A b"})).assert_problem(422, "request.invalid");
}
