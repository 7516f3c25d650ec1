//! Sessions of the web page: sign-in, cookie, forms, scripts, sign-out.

use std::time::Duration;

use atlasd::config::Span;
use atlasd::store::Role;
use reqwest::Method;

use crate::support::{Engine, Reply, TestDaemon, csrf_of};

on_both_engines! {
    a_session_stands_for_its_token_until_it_is_signed_out,
    a_withdrawn_token_ends_its_sessions,
    a_page_that_is_left_open_does_not_keep_its_session,
}

fn location(reply: &Reply) -> &str {
    reply.headers["location"].to_str().expect("ASCII")
}

fn post(daemon: &TestDaemon, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    daemon.call(Method::POST, path, headers, body)
}

fn read_runs(daemon: &TestDaemon, cookie: &str) -> Reply {
    daemon.call(Method::GET, "/api/v1/runs", &[("cookie", cookie)], "")
}

fn a_session_stands_for_its_token_until_it_is_signed_out(engine: Engine) {
    let daemon = TestDaemon::start(engine);
    let token = daemon.token(Role::Viewer, None);
    let cookie = daemon.sign_in(&token);
    read_runs(&daemon, &cookie).assert_status(200);
    let csrf = csrf_of(&cookie);
    post(&daemon, "/logout", &[("cookie", &cookie)], "_csrf=wrong").assert_problem(403, "auth.csrf");
    post(&daemon, "/logout", &[("cookie", &cookie)], "").assert_problem(403, "auth.csrf");
    read_runs(&daemon, &cookie).assert_status(200);
    let out = post(&daemon, "/logout", &[("cookie", &cookie)], &format!("_csrf={csrf}"));
    assert_eq!((out.status, location(&out)), (303, "/login"));
    read_runs(&daemon, &cookie).assert_problem(401, "auth.session_invalid");
    let again = post(&daemon, "/logout", &[("cookie", &cookie)], &format!("_csrf={csrf}"));
    assert_eq!((again.status, location(&again)), (303, "/login?next=/"));
}

fn a_withdrawn_token_ends_its_sessions(engine: Engine) {
    let daemon = TestDaemon::start_with(engine, |config| config.http.token_cache = Span(Duration::ZERO));
    let cookie = daemon.sign_in(&daemon.token(Role::Admin, None));
    read_runs(&daemon, &cookie).assert_status(200);
    daemon.execute("DELETE FROM api_tokens");
    read_runs(&daemon, &cookie).assert_problem(401, "auth.session_invalid");
}

fn a_page_that_is_left_open_does_not_keep_its_session(engine: Engine) {
    let daemon = TestDaemon::start_with(engine, |config| {
        config.http.token_cache = Span(Duration::ZERO);
        config.events.heartbeat = Span(Duration::from_millis(50));
    });
    let cookie = daemon.sign_in(&daemon.token(Role::Viewer, None));
    // Long ago, and within `http.session_idle`.
    let long_ago = match engine {
        Engine::Sqlite => "UPDATE sessions SET seen_at = created_at - 1800000000",
        Engine::Postgres => "UPDATE sessions SET seen_at = created_at - interval '30 minutes'",
    };
    daemon.execute(long_ago);
    let was_used = || daemon.count("SELECT count(*) AS n FROM sessions WHERE seen_at >= created_at") == 1;
    let mut stream = daemon.block_on(daemon.open_as("/api/v1/events", &[("cookie", &cookie)]));
    for _ in 0..3 {
        // Each heartbeat looks whether the session is still good.
        daemon.block_on(stream.chunk()).expect("the stream goes on").expect("the session is good");
    }
    for path in ["/runs", "/api/v1/runs"] {
        daemon
            .call(Method::GET, path, &[("cookie", &cookie), ("x-atlasd-refresh", "1")], "")
            .assert_status(200);
    }
    assert!(!was_used(), "nobody used it");
    read_runs(&daemon, &cookie).assert_status(200);
    assert!(was_used(), "somebody looked");
}

#[test]
fn a_session_lasts_no_longer_than_it_may() {
    for (ttl, idle) in [(0, 3600), (3600, 0)] {
        let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
            config.http.session_ttl = Span(Duration::from_secs(ttl));
            config.http.session_idle = Span(Duration::from_secs(idle));
        });
        let cookie = daemon.sign_in(&daemon.token(Role::Viewer, None));
        read_runs(&daemon, &cookie).assert_problem(401, "auth.session_invalid");
    }
}

#[test]
fn a_token_has_so_many_sessions_and_no_more() {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
        config.http.sessions_max = 2;
        config.http.token_cache = Span(Duration::ZERO);
    });
    let (one, other) = (daemon.token(Role::Viewer, None), daemon.token(Role::Viewer, None));
    let bystander = daemon.sign_in(&other);
    let cookies: Vec<String> = (0..3).map(|_| daemon.sign_in(&one)).collect();
    let alive = cookies.iter().filter(|cookie| read_runs(&daemon, cookie).status == 200).count();
    assert_eq!(alive, 2);
    read_runs(&daemon, &cookies[2]).assert_status(200);
    read_runs(&daemon, &bystander).assert_status(200);
}

#[test]
fn a_script_reads_with_the_cookie_and_changes_with_its_proof_besides() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let cookie = daemon.sign_in(&daemon.token(Role::Admin, None));
    let (csrf, foreign) = (csrf_of(&cookie), csrf_of(&daemon.sign_in(&daemon.token(Role::Admin, None))));
    let body = r#"{"slug": "made-by-script"}"#;
    let with = |headers: &[(&str, &str)]| {
        post(&daemon, "/api/v1/workspaces", &[&[("cookie", cookie.as_str())], headers].concat(), body)
    };
    with(&[]).assert_problem(403, "auth.csrf");
    with(&[("x-csrf-token", &foreign)]).assert_problem(403, "auth.csrf");
    with(&[("x-csrf-token", &csrf), ("x-csrf-token", &csrf)]).assert_problem(403, "auth.csrf");
    let evil = [("x-csrf-token", csrf.as_str()), ("origin", "http://evil.example")];
    with(&evil).assert_problem(403, "auth.cross_site");
    with(&[("x-csrf-token", &csrf), ("sec-fetch-site", "cross-site")]).assert_problem(403, "auth.cross_site");
    with(&[("x-csrf-token", &csrf)]).assert_status(201);
}

#[test]
fn a_sign_in_makes_a_fresh_session_whatever_cookie_came_along() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Viewer, None);
    let planted = "atlasd_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let form = format!("token={token}");
    let reply = post(&daemon, "/login", &[("cookie", planted)], &form);
    let cookie = reply.headers["set-cookie"].to_str().expect("ASCII");
    assert!(!cookie.contains("AAAAAAAA"), "{cookie}");
    read_runs(&daemon, planted).assert_problem(401, "auth.session_invalid");
    // The session before ends with the next sign-in of the same browser.
    let first = daemon.sign_in(&token);
    post(&daemon, "/login", &[("cookie", &first)], &form).assert_status(303);
    read_runs(&daemon, &first).assert_problem(401, "auth.session_invalid");
}

#[test]
fn the_way_back_after_a_sign_in_never_leaves_this_host() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Viewer, None);
    for (next, way) in [
        ("/runs?limit=5", "/runs?limit=5"),
        ("%2Fruns%3Flimit%3D5", "/runs?limit=5"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/%5Cevil.example", "/"),
        ("http://evil.example/", "/"),
        ("/%0D%0ASet-Cookie:%20a=b", "/"),
        ("/%09/evil.example", "/"),
    ] {
        let reply = post(&daemon, "/login", &[], &format!("token={token}&next={next}"));
        assert_eq!((reply.status, location(&reply)), (303, way), "{next}");
        let form = daemon.call(Method::GET, &format!("/login?next={next}"), &[], "");
        assert!(form.text.contains(&format!("value=\"{way}\"")), "{}", form.text);
    }
}

#[test]
fn a_token_that_is_none_begins_no_session() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    for form in ["token=atlasd_unknown", "token=", "token=%00", "token=a%0Ab"] {
        let reply = post(&daemon, "/login", &[], form);
        assert_eq!(reply.status, 401, "{form}: {}", reply.text);
        assert!(!reply.headers.contains_key("set-cookie"));
        assert!(reply.text.contains("no token of this daemon"), "{}", reply.text);
    }
    for form in ["", "next=/", "token=a&token=b", "token=%FF%FE&x=1"] {
        assert_eq!(post(&daemon, "/login", &[], form).status, 422, "{form}");
    }
    let token = daemon.token(Role::Viewer, None);
    let form = format!("token={token}");
    assert_eq!(post(&daemon, "/login", &[("origin", "http://evil.example")], &form).status, 403);
}
