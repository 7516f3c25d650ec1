//! What stands around every route: headers of every answer, HEAD, the brake on unknown tokens, reading only.

use atlasd::store::Role;
use reqwest::Method;
use serde_json::json;

use crate::support::{Engine, TestDaemon, csrf_of};

#[test]
fn every_answer_tells_browsers_what_they_may_do_with_it() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Viewer, None);
    for (path, kind) in [
        ("/healthz", "default-src 'none'; frame-ancestors 'none'"),
        ("/api/v1/runs", "default-src 'none'; frame-ancestors 'none'"),
        ("/api/v1/nope", "default-src 'none'; frame-ancestors 'none'"),
        ("/login", "default-src 'none'; style-src 'self'; script-src 'self';"),
    ] {
        let reply = daemon.get(path, &token);
        let header = |name: &str| reply.headers[name].to_str().expect("ASCII").to_owned();
        assert!(header("content-security-policy").starts_with(kind), "{path}: {:?}", reply.headers);
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
        assert_eq!(header("cache-control"), "no-store", "{path}");
        assert!(!reply.headers.contains_key("access-control-allow-origin"), "{path}");
    }
}

#[test]
fn a_head_is_a_get_without_its_body() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Viewer, None);
    for path in ["/healthz", "/api/v1/openapi.json", "/api/v1/runs", "/login"] {
        let get = daemon.send(Method::GET, path, Some(&token), None);
        let head = daemon.send(Method::HEAD, path, Some(&token), None);
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
        assert_eq!(head.headers["content-length"], get.headers["content-length"], "{path}");
    }
    // A stream is not held open for nobody.
    let events = daemon.send(Method::HEAD, "/api/v1/events", Some(&token), None);
    assert_eq!((events.status, events.text.as_str()), (200, ""));
    daemon.send(Method::HEAD, "/api/v1/runs", None, None).assert_status(401);
    daemon.send(Method::HEAD, "/api/v1/reconcile", Some(&token), None).assert_status(405);
}

#[test]
fn unknown_tokens_are_braked_and_known_ones_are_not() {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| config.http.failures_per_address = 3);
    let (known, fresh) = (daemon.token(Role::Viewer, None), daemon.token(Role::Viewer, None));
    daemon.get("/api/v1/runs", &known).assert_status(200);
    for number in 0..3 {
        daemon.get("/api/v1/runs", &format!("unknown-{number}")).assert_problem(401, "auth.token_invalid");
    }
    let braked = daemon.get("/api/v1/runs", "unknown-3");
    braked.assert_problem(429, "auth.too_many_failures");
    let wait: u64 = braked.headers["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
    assert!((1..=20).contains(&wait), "{wait}");
    daemon.get("/api/v1/runs", &known).assert_status(200);
    // The first use of a token from such an address is what may have to wait.
    daemon.get("/api/v1/runs", &fresh).assert_status(429);
    let sign_in = |token: &str| daemon.call(Method::POST, "/login", &[], &format!("token={token}")).status;
    assert_eq!((sign_in("unknown-4"), sign_in(&known)), (429, 303));
    let cookie = format!("atlasd_session={}", "A".repeat(43));
    let guessed = daemon.call(Method::GET, "/api/v1/runs", &[("cookie", &cookie)], "");
    guessed.assert_problem(429, "auth.too_many_failures");
}

#[test]
fn behind_a_proxy_the_brake_knows_the_addresses_apart() {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
        config.http.failures_per_address = 1;
        config.http.behind_proxy = true;
    });
    let from = |address: &str| {
        let headers = [("authorization", "Bearer unknown"), ("x-forwarded-for", address)];
        daemon.call(Method::GET, "/api/v1/runs", &headers, "").status
    };
    assert_eq!(from("192.0.2.1"), 401);
    assert_eq!(from("192.0.2.1"), 429);
    assert_eq!(from("192.0.2.2"), 401);
    assert_eq!(from("192.0.2.9, 192.0.2.1"), 429, "what the client wrote before is not believed");
}

#[test]
fn a_daemon_that_only_shows_refuses_every_change_and_nothing_else() {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| config.http.read_only = true);
    let token = daemon.token(Role::Admin, None);
    let change = |path: &str, body| {
        daemon.post(path, &token, &body).assert_problem(403, "daemon.read_only");
    };
    change("/api/v1/workspaces", json!({"slug": "a"}));
    change("/api/v1/runs", json!({"type": "assignments.fetch", "tenant_id": 1}));
    change("/api/v1/runs/1/cancel", json!({}));
    daemon.patch("/api/v1/tenants/1", &token, &json!({"name": "b"})).assert_problem(403, "daemon.read_only");
    daemon.post("/api/v1/runs", "unknown", &json!({})).assert_problem(401, "auth.token_invalid");
    daemon.get("/api/v1/runs", &token).assert_status(200);
    let explain = daemon.post("/api/v1/identity/explain", &token, &json!({"request": {"type": "x"}}));
    assert_eq!(explain.status, 422, "{}", explain.text);
    let cookie = daemon.sign_in(&token);
    let overview = daemon.call(Method::GET, "/", &[("cookie", &cookie), ("accept", "text/html")], "");
    assert!(overview.text.contains("every change is refused"), "{}", overview.text);
    let form = format!("_csrf={}", csrf_of(&cookie));
    let retry = daemon.call(Method::POST, "/runs/1/retry", &[("cookie", &cookie)], &form);
    retry.assert_problem(403, "daemon.read_only");
    let logout = daemon.call(Method::POST, "/logout", &[("cookie", &cookie)], &form);
    assert_eq!(logout.status, 303, "{}", logout.text);
}
