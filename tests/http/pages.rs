//! The pages without a browser: who sees what, and what a form may do.

use atlasd::store::Role;
use reqwest::Method;
use serde_json::json;

use crate::support::{Engine, Reply, TestDaemon, csrf_of};

/// Pages that everybody with a token may open.
const PAGES: &[&str] = &["/runs", "/failures", "/system"];

fn look(daemon: &TestDaemon, path: &str, cookie: &str) -> Reply {
    daemon.call(Method::GET, path, &[("cookie", cookie), ("accept", "text/html")], "")
}

fn post(daemon: &TestDaemon, path: &str, cookie: &str, form: &str) -> Reply {
    let body = format!("_csrf={}&{form}", csrf_of(cookie));
    daemon.call(Method::POST, path, &[("cookie", cookie), ("accept", "text/html")], &body)
}

#[test]
fn pages_are_html_that_nobody_keeps_and_holds_no_secret() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let cookie = daemon.sign_in(&token);
    for path in PAGES {
        let page = look(&daemon, path, &cookie);
        page.assert_status(200);
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8", "{path}");
        assert_eq!(page.headers["cache-control"], "no-store", "{path}");
        let session = cookie.split('=').nth(1).unwrap_or("?");
        assert!(!page.text.contains(&token) && !page.text.contains(session), "{path}");
        for forbidden in [" style=", "<style", " onclick=", "javascript:"] {
            assert!(!page.text.contains(forbidden), "{path} holds {forbidden}");
        }
    }
}

#[test]
fn assets_are_kept_for_ever_and_change_their_names() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let login = daemon.send(Method::GET, "/login", None, None).text;
    let mut found = 0;
    for part in login.split('"').filter(|part| part.starts_with("/assets/")) {
        let asset = daemon.send(Method::GET, part, None, None);
        asset.assert_status(200);
        assert_eq!(asset.headers["cache-control"], "public, max-age=31536000, immutable");
        let kind = asset.headers["content-type"].to_str().unwrap();
        let wanted = match part.rsplit('.').next() {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(kind, wanted);
        found += 1;
    }
    assert_eq!(found, 3, "{login}");
    daemon.send(Method::GET, "/assets/atlasd-000000000000.css", None, None).assert_status(404);
    daemon.send(Method::GET, "/assets/..%2f..%2fetc%2fpasswd", None, None).assert_status(404);
}

#[test]
fn a_browser_gets_a_page_where_a_program_gets_a_problem() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let cookie = daemon.sign_in(&daemon.token(Role::Viewer, None));
    for (path, status, code) in [
        ("/runs/999", 404, "run.not_found"),
        ("/runs/x", 404, "route.not_found"),
        ("/nothing", 404, "route.not_found"),
        ("/runs?status=odd", 422, "request.invalid"),
        ("/runs?cursor=odd", 400, "request.bad_cursor"),
        ("/failures?code=odd", 422, "request.invalid"),
    ] {
        let page = look(&daemon, path, &cookie);
        page.assert_status(status);
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8", "{path}");
        assert!(page.text.contains(code) && page.text.contains("<nav"), "{path}: {}", page.text);
        let program = daemon.call(Method::GET, path, &[("cookie", &cookie)], "");
        program.assert_problem(status, code);
    }
}

#[test]
fn a_bound_token_sees_no_page_about_what_is_foreign() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let admin = daemon.token(Role::Admin, None);
    let (own, foreign) = (daemon.workspace(&admin, "own"), daemon.workspace(&admin, "foreign"));
    daemon.tenant(&admin, own, 1, "closed");
    let tenant = daemon.tenant(&admin, foreign, 2, "silent");
    let run =
        daemon.post("/api/v1/runs", &admin, &json!({"type": "assignments.fetch", "tenant_id": tenant})).id();
    daemon.await_run(&admin, run, |run| run["status"] == "running");
    let cookie = daemon.sign_in(&daemon.token(Role::Operator, Some(own)));
    for path in [
        format!("/runs/{run}"),
        format!("/runs?workspace_id={foreign}"),
        format!("/failures?workspace_id={foreign}"),
    ] {
        look(&daemon, &path, &cookie).assert_status(404);
    }
    for verb in ["cancel", "retry"] {
        post(&daemon, &format!("/runs/{run}/{verb}"), &cookie, "").assert_status(404);
    }
    let group = format!("code=graph.network&type=assignments.fetch&workspace_id={foreign}");
    post(&daemon, "/failures/retry", &cookie, &group).assert_status(404);
    let group = format!("code=graph.network&type=assignments.fetch&workspace_id={own}&tenant_id={tenant}");
    post(&daemon, "/failures/retry", &cookie, &group).assert_status(404);
    for path in PAGES {
        let text = look(&daemon, path, &cookie).text;
        assert!(!text.contains("tenant 2") && !text.contains("foreign"), "{path} tells of a foreign tenant");
        assert!(!text.contains(&format!("/runs/{run}\"")), "{path} tells of a foreign run");
    }
}

#[test]
fn the_way_back_from_a_bulk_retry_is_a_page_of_failures() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let admin = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&admin, "contoso");
    let operator = daemon.sign_in(&daemon.token(Role::Operator, None));
    for (back, way) in [
        ("%2Ffailures%3Fsince%3D24h", "/failures?since=24h"),
        ("%2Ffailures%3Fa%0D%0ASet-Cookie:%20a=b", "/failures"),
        ("%2Ffailures%3F%C3%A9", "/failures"),
        ("%2F%2Fevil.example", "/failures"),
        ("", "/failures"),
    ] {
        let group = format!("code=graph.network&type=assignments.fetch&workspace_id={workspace}&back={back}");
        let reply = post(&daemon, "/failures/retry", &operator, &group);
        reply.assert_status(303);
        assert_eq!(reply.headers["location"], way, "{back}");
    }
}

#[test]
fn a_viewer_changes_nothing_and_a_form_without_its_proof_neither() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let admin = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&admin, "contoso");
    let tenant = daemon.tenant(&admin, workspace, 1, "silent");
    let run =
        daemon.post("/api/v1/runs", &admin, &json!({"type": "assignments.fetch", "tenant_id": tenant})).id();
    let viewer = daemon.sign_in(&daemon.token(Role::Viewer, None));
    let operator = daemon.sign_in(&daemon.token(Role::Operator, None));
    let group = format!("code=graph.network&type=assignments.fetch&workspace_id={workspace}");
    for (path, form) in [
        (format!("/runs/{run}/cancel"), ""),
        (format!("/runs/{run}/retry"), ""),
        ("/failures/retry".to_owned(), group.as_str()),
    ] {
        post(&daemon, &path, &viewer, form).assert_status(403);
        daemon.call(Method::POST, &path, &[("cookie", &operator)], form).assert_status(403);
    }
    let cancelled = post(&daemon, &format!("/runs/{run}/cancel"), &operator, "");
    cancelled.assert_status(303);
    assert_eq!(cancelled.headers["location"], format!("/runs/{run}").as_str());
    daemon.await_run(&admin, run, |run| run["status"] == "completed");
}

#[test]
fn the_look_is_kept_in_a_cookie_and_leads_back_to_this_host_alone() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let cookie = daemon.sign_in(&daemon.token(Role::Viewer, None));
    for (next, way) in [
        ("%2Fruns%3Flimit%3D5", "/runs?limit=5"),
        ("%2F%2Fevil.example", "/"),
        ("https%3A%2F%2Fevil.example", "/"),
    ] {
        let reply = post(&daemon, "/theme", &cookie, &format!("theme=dark&next={next}"));
        reply.assert_status(303);
        assert_eq!(reply.headers["location"], way);
        assert!(reply.headers["set-cookie"].to_str().unwrap().starts_with("atlasd_theme=dark"), "{reply:?}");
    }
    let dark = format!("{cookie}; atlasd_theme=dark");
    assert!(look(&daemon, "/runs", &dark).text.contains("data-theme=\"dark\""));
    let odd = format!("{cookie}; atlasd_theme=\"><script>");
    assert!(!look(&daemon, "/runs", &odd).text.contains("\"><script>"));
}

fn failed_runs_are_asked_for_again(engine: Engine) {
    let daemon = TestDaemon::start(engine);
    let admin = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&admin, "contoso");
    let tenants: Vec<_> = (1..=3).map(|number| daemon.tenant(&admin, workspace, number, "closed")).collect();
    let fetch = |tenant: i64| {
        daemon.post("/api/v1/runs", &admin, &json!({"type": "assignments.fetch", "tenant_id": tenant})).id()
    };
    let runs: Vec<_> = tenants.iter().map(|tenant| fetch(*tenant)).collect();
    for run in &runs {
        daemon.await_run(&admin, *run, |run| run["outcome"] == "failed");
    }
    let retry = |body: serde_json::Value| daemon.post("/api/v1/failures/retry", &admin, &body);
    let one = retry(json!({"code": "graph.network", "tenant_id": tenants[0]}));
    one.assert_status(200);
    assert_eq!(one.body["verdicts"].as_array().map(Vec::len), Some(1), "{}", one.text);
    assert_eq!(
        (&one.body["verdicts"][0]["verdict"], &one.body["verdicts"][0]["retry_of"]),
        (&json!("accepted"), &json!(runs[0]))
    );
    assert_eq!(one.body["more"], false);
    daemon.await_run(&admin, one.body["verdicts"][0]["run"]["id"].as_i64().unwrap(), |run| {
        run["outcome"] == "failed"
    });
    let all = retry(json!({"code": "graph.network", "type": "assignments.fetch", "since": "1h"}));
    assert_eq!(all.assert_status(200).body["verdicts"].as_array().map(Vec::len), Some(3), "{}", all.text);
    retry(json!({"code": "graph.auth_failed"})).assert_status(200);
    retry(json!({"code": "odd"})).assert_problem(422, "request.invalid").assert_field("code");
    retry(json!({})).assert_problem(422, "request.invalid").assert_field("code");
    retry(json!({"code": "graph.network", "tenant_id": 999})).assert_problem(404, "tenant.not_found");
    retry(json!({"code": "graph.network", "workspace_id": 999})).assert_status(200);
}

on_both_engines! {
    failed_runs_are_asked_for_again,
}
