//! Tokens, roles, and the one workspace that a token may be bound to.

use atlasd::admin::routes;
use atlasd::store::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Engine, TestDaemon, external_id};

/// A route's path with ids in it.
fn path_of(route: &routes::Route) -> String {
    ["{id}", "{a}", "{b}"].iter().fold(route.path.to_owned(), |path, parameter| path.replace(parameter, "1"))
}

fn method_of(route: &routes::Route) -> Method {
    route.method.parse().expect("the table has methods")
}

#[test]
fn without_a_good_token_nothing_behind_the_door_answers() {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
        (config.http.failures_per_address, config.http.failures_total) = (1000, 1000);
    });
    for route in routes::TABLE.iter().filter(|route| route.role.is_some()) {
        let call = |token| daemon.send(method_of(route), &path_of(route), token, Some(b"{".to_vec()));
        let missing = call(None);
        missing.assert_problem(401, "auth.token_missing");
        assert_eq!(missing.headers["www-authenticate"], "Bearer");
        call(Some("atl_unknown")).assert_problem(401, "auth.token_invalid");
    }
}

#[test]
fn each_route_asks_for_its_role_before_it_reads_the_body() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let (viewer, operator) = (daemon.token(Role::Viewer, None), daemon.token(Role::Operator, None));
    for route in routes::TABLE {
        let call =
            |token: &str| daemon.send(method_of(route), &path_of(route), Some(token), Some(b"{".to_vec()));
        for (token, role) in [(&viewer, Role::Viewer), (&operator, Role::Operator)] {
            let reply = call(token);
            let refused = reply.body["code"] == "auth.role_too_low";
            assert_eq!(refused, route.role > Some(role), "{} {}: {}", route.method, route.path, reply.text);
            assert!(reply.status < 500, "{} {}: {}", route.method, route.path, reply.text);
        }
    }
}

#[test]
fn a_bound_token_finds_nothing_of_another_workspace() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let admin = daemon.token(Role::Admin, None);
    let (own, foreign) = (daemon.workspace(&admin, "own"), daemon.workspace(&admin, "foreign"));
    let tenant = daemon.tenant(&admin, foreign, 1, "silent");
    let run =
        daemon.post("/api/v1/runs", &admin, &json!({"type": "assignments.fetch", "tenant_id": tenant})).id();
    let bound = daemon.token(Role::Admin, Some(own));
    let get = |path: String| daemon.get(&path, &bound);
    get(format!("/api/v1/runs/{run}")).assert_problem(404, "run.not_found");
    get(format!("/api/v1/runs/{run}/attempts")).assert_problem(404, "run.not_found");
    get(format!("/api/v1/tenants/{tenant}")).assert_problem(404, "tenant.not_found");
    get(format!("/api/v1/tenants/{tenant}/policies")).assert_problem(404, "tenant.not_found");
    get(format!("/api/v1/tenants/{tenant}/snapshots")).assert_problem(404, "tenant.not_found");
    get(format!("/api/v1/runs?workspace_id={foreign}")).assert_problem(404, "workspace.not_found");
    let post = |path: String, body| daemon.post(&path, &bound, &body);
    post(format!("/api/v1/runs/{run}/cancel"), json!({})).assert_problem(404, "run.not_found");
    post(format!("/api/v1/runs/{run}/retry"), json!({})).assert_problem(404, "run.not_found");
    for named in [json!({"tenant_id": tenant}), json!({"tenant_external_id": external_id(1)})] {
        let mut request = named;
        request["type"] = json!("assignments.fetch");
        post("/api/v1/runs".to_owned(), request.clone()).assert_problem(404, "tenant.not_found");
        post("/api/v1/identity/explain".to_owned(), json!({"request": request}))
            .assert_problem(404, "tenant.not_found");
    }
    post("/api/v1/reconcile".to_owned(), json!({"workspace_id": foreign}))
        .assert_problem(404, "workspace.not_found");
    post("/api/v1/workspaces".to_owned(), json!({"slug": "more"}))
        .assert_problem(403, "auth.workspace_bound");
    daemon
        .patch(&format!("/api/v1/tenants/{tenant}"), &bound, &json!({"name": "mine"}))
        .assert_problem(404, "tenant.not_found");
    for list in ["/api/v1/tenants", "/api/v1/runs?type=assignments.fetch"] {
        assert_eq!(daemon.get(list, &bound).assert_status(200).body["items"], json!([]), "{list}");
    }
    let workspaces = daemon.get("/api/v1/workspaces", &bound);
    let items = workspaces.body["items"].as_array().expect("a list");
    assert_eq!((items.len(), items[0]["id"].as_i64()), (1, Some(own)));
    let system = daemon.get("/api/v1/system", &bound);
    assert!(!system.text.contains(&format!("tenant:{tenant}\"")), "{}", system.text);
    for actor in system.body["actors"].as_array().expect("a list") {
        let told = (&actor["queue"], &actor["last_pass"], &actor["last_pass_at"]);
        assert_eq!(told, (&json!(0), &Value::Null, &Value::Null), "it tells how much others do: {actor}");
    }
    let unbound = daemon.get("/api/v1/system", &admin);
    assert!(unbound.text.contains("\"last_pass\":\"wrote "), "{}", unbound.text);
}
