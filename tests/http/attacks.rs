//! What an attacker sends (docs/security.md has the list): each is refused with the right status, and the daemon goes
//! on serving.

use std::io::Write;
use std::time::Duration;

use atlasd::config::Span;
use atlasd::store::Role;
use reqwest::Method;
use serde_json::json;

use crate::raw::{self, connect, exchange, read};
use crate::support::{Engine, TestDaemon, csrf_of};

struct Scene {
    daemon: TestDaemon,
    token: String,
}

impl Scene {
    fn new() -> Self {
        let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
            (config.http.failures_per_address, config.http.failures_total) = (1000, 1000);
            config.http.token_cache = Span(Duration::ZERO);
        });
        let token = daemon.token(Role::Admin, None);
        Self { daemon, token }
    }

    /// A request's bytes: what to ask, further lines, a body.
    fn bytes(&self, line: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
        let mut bytes = format!("{line} HTTP/1.1\r\nAuthorization: Bearer {}\r\n", self.token).into_bytes();
        for header in headers {
            bytes.extend_from_slice(format!("{header}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        bytes
    }

    fn send(&self, line: &str, headers: &[&str], body: &[u8]) -> raw::Answer {
        exchange(&self.daemon, &self.bytes(line, headers, body))
    }

    #[track_caller]
    fn still_serves(&self) {
        self.daemon.get("/api/v1/runs", &self.token).assert_status(200);
    }
}

#[test]
fn missing_foreign_and_withdrawn_tokens_open_nothing() {
    let scene = Scene::new();
    let daemon = &scene.daemon;
    let workspace = daemon.workspace(&scene.token, "own");
    let other = daemon.workspace(&scene.token, "other");
    let tenant = daemon.tenant(&scene.token, other, 1, "closed");
    let bound = daemon.token(Role::Admin, Some(workspace));
    daemon.get(&format!("/api/v1/tenants/{tenant}"), &bound).assert_problem(404, "tenant.not_found");
    for query in ["token", "access_token", "authorization"] {
        let path = format!("/api/v1/runs?{query}={}", scene.token);
        daemon.send(Method::GET, &path, None, None).assert_problem(401, "auth.token_missing");
    }
    daemon.execute("DELETE FROM api_tokens WHERE workspace_id IS NOT NULL");
    daemon.get("/api/v1/runs", &bound).assert_problem(401, "auth.token_invalid");
    scene.still_serves();
}

#[test]
fn pages_of_other_sites_change_nothing() {
    let scene = Scene::new();
    let daemon = &scene.daemon;
    let (cookie, other) = (daemon.sign_in(&scene.token), daemon.sign_in(&scene.token));
    let (own, foreign) = (csrf_of(&cookie), csrf_of(&other));
    let out = |headers: &[(&str, &str)], form: &str| {
        let headers = [&[("cookie", cookie.as_str())], headers].concat();
        daemon.call(Method::POST, "/logout", &headers, form).status
    };
    let proven = format!("_csrf={own}");
    assert_eq!(out(&[("origin", "https://evil.example")], &proven), 403);
    assert_eq!(out(&[("origin", "null")], &proven), 403);
    assert_eq!(out(&[("sec-fetch-site", "cross-site")], &proven), 403);
    assert_eq!(out(&[("sec-fetch-site", "same-site")], &proven), 403);
    for form in ["", "_csrf=", "a=1", &format!("_csrf={foreign}"), &format!("_csrf={own}&_csrf={foreign}")] {
        assert_eq!(out(&[], form), 403, "{form}");
    }
    let both = format!("{cookie}; {other}");
    let two = daemon.call(Method::GET, "/api/v1/runs", &[("cookie", &both)], "");
    two.assert_problem(401, "auth.token_missing");
    assert_eq!(out(&[], &proven), 303, "nothing of that ended the session");
    scene.still_serves();
}

#[test]
fn a_name_that_somebody_points_at_us_is_not_ours() {
    let scene = Scene::new();
    for (line, headers, status) in [
        ("GET /healthz", &["Host: evil.example"][..], 421),
        ("GET /api/v1/runs", &["Host: evil.example:7717"], 421),
        ("GET /login", &["Host: 127.0.0.1.evil.example"], 421),
        ("GET http://evil.example/healthz", &["Host: evil.example"], 421),
        ("GET http://evil.example/healthz", &["Host: 127.0.0.1"], 400),
        ("GET /healthz", &["Host: 127.0.0.1", "Host: evil.example"], 400),
        ("GET /healthz", &["Host: 127.0.0.1", "Host: 127.0.0.1"], 400),
        ("GET /healthz", &["Host: "], 400),
        ("GET /healthz", &["Host: a@127.0.0.1"], 400),
        ("GET /healthz", &[], 400),
        ("GET /healthz", &["Host: 192.0.2.1"], 421),
        ("GET /healthz", &["Host: 127.0.0.1"], 200),
        ("GET /healthz", &["Host: localhost:1"], 200),
        ("GET http://127.0.0.1/healthz", &["Host: 127.0.0.1"], 200),
    ] {
        let answer = scene.send(line, headers, b"");
        assert_eq!(answer.status(), Some(status), "{line} {headers:?}: {answer:?}");
    }
    let forwarded = ["Host: 127.0.0.1", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"];
    assert_eq!(scene.send("GET /healthz", &forwarded, b"").status(), Some(200), "nobody asks them");
    scene.still_serves();
}

#[test]
fn bodies_that_are_too_large_too_deep_or_no_json_are_refused() {
    let scene = Scene::new();
    let post = |body: Vec<u8>| {
        scene.daemon.send(Method::POST, "/api/v1/runs", Some(&scene.token), Some(body)).status
    };
    let nested = |open: &str, times: usize| format!("{{\"type\":\"x\",\"inputs\":{}", open.repeat(times));
    for body in [
        nested("[", 100_000).into_bytes(),
        nested("{\"a\":", 100_000).into_bytes(),
        b"{\"type\":\"\xff\xfe\"}".to_vec(),
        b"{\"type\":\"\\ud800\"}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"type\":\"x\",\"tenant_id\":1e999999}".to_vec(),
    ] {
        assert_eq!(post(body.clone()), 400, "{}", String::from_utf8_lossy(&body[..body.len().min(60)]));
    }
    for body in [
        r#"{"type":"assignments.fetch","type":"assignments.restore","tenant_id":1}"#.to_owned(),
        r#"{"type":"assignments.fetch","tenant_id":1,"inputs":{"policy_ids":[],"policy_ids":[]}}"#.to_owned(),
        r#"{"type":"assignments.fetch","tenant_id":123456789012345678901234567890}"#.to_owned(),
        r#"{"type":"assignments.fetch","tenant_id":-1}"#.to_owned(),
        format!(r#"{{"type":"assignments.fetch","tenant_id":{}}}"#, "9".repeat(10_000)),
        r#"{"type":"assignments.fetch","tenant_id":1.0000000000000001}"#.to_owned(),
    ] {
        let status = post(body.clone().into_bytes());
        assert!([400, 404, 422].contains(&status), "{status}: {}", &body[..body.len().min(80)]);
    }
    assert_eq!(post(vec![b'a'; 1024 * 1024 + 1]), 413);
    let told = ["Host: 127.0.0.1", "Content-Length: 99999999999"];
    scene.send("POST /api/v1/runs", &told, b"{").assert_refused(&[413], "a length beyond all limits");
    scene.still_serves();
}

#[test]
fn heads_that_are_too_large_or_broken_are_refused() {
    let scene = Scene::new();
    let (long, many) = (format!("X-Long: {}", "a".repeat(300_000)), vec!["X-Many: a"; 500]);
    let target = format!("GET /{}", "a".repeat(300_000));
    for (what, line, headers) in [
        ("a long header", "GET /healthz", vec!["Host: 127.0.0.1", &long]),
        ("many headers", "GET /healthz", [&["Host: 127.0.0.1"][..], &many[..]].concat()),
        ("a long target", &target, vec!["Host: 127.0.0.1"]),
        ("a name with a space", "GET /healthz", vec!["Host: 127.0.0.1", "X Y: z"]),
        ("a space before the colon", "GET /healthz", vec!["Host: 127.0.0.1", "Content-Length : 5"]),
        ("a folded line", "GET /healthz", vec!["Host: 127.0.0.1", "X-A: b\r\n c"]),
        ("a null", "GET /healthz", vec!["Host: 127.0.0.1", "X-A: b\0c"]),
        ("a lone return", "GET /healthz", vec!["Host: 127.0.0.1", "X-A: b\rX-B: c"]),
        ("no target", "GET", vec!["Host: 127.0.0.1"]),
        ("a target with a null", "GET /\0", vec!["Host: 127.0.0.1"]),
    ] {
        scene.send(line, &headers, b"").assert_refused(&[400, 404, 414, 431], what);
    }
    for (what, bytes) in [
        ("another protocol", &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("a version of its own", b"GET /healthz HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n"),
        ("noise", b"\xff\xfe\xfd\r\n\r\n"),
    ] {
        exchange(&scene.daemon, bytes).assert_refused(&[400, 505], what);
    }
    scene.still_serves();
}

#[test]
fn one_request_is_never_taken_for_two() {
    let scene = Scene::new();
    let hidden = "POST /api/v1/workspaces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20\r\n\r\n{\"slug\":\"smuggled\"}\n";
    let hidden = hidden.replace("Host:", &format!("Authorization: Bearer {}\r\nHost:", scene.token));
    let chunks = format!("0\r\n\r\n{hidden}");
    let length = format!("Content-Length: {}", chunks.len());
    for (what, headers) in [
        ("both lengths", vec![length.as_str(), "Transfer-Encoding: chunked"]),
        ("two lengths", vec!["Content-Length: 5", length.as_str()]),
        ("a list of lengths", vec!["Content-Length: 5, 6"]),
        ("a signed length", vec!["Content-Length: +5"]),
        ("a negative length", vec!["Content-Length: -1"]),
        ("a length that is none", vec!["Content-Length: 0x5"]),
        ("an unknown coding", vec!["Transfer-Encoding: xchunked"]),
        ("chunked twice", vec!["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]),
        ("chunked, and not last", vec!["Transfer-Encoding: chunked, identity"]),
    ] {
        let headers = [&["Host: 127.0.0.1"][..], &headers[..]].concat();
        let mut socket = connect(&scene.daemon);
        let _ = socket.write_all(&scene.bytes("POST /api/v1/identity/explain", &headers, chunks.as_bytes()));
        let answer = read(&mut socket, raw::is_whole);
        let status = answer.status();
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{what}: {answer:?}");
    }
    for (what, body) in [
        ("a size that is none", "zz\r\n{}\r\n0\r\n\r\n"),
        ("a size beyond all", "fffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("a negative size", "-2\r\n{}\r\n0\r\n\r\n"),
        ("a chunk without its end", "2\r\n{}GET /\r\n0\r\n\r\n"),
    ] {
        let headers = ["Host: 127.0.0.1", "Transfer-Encoding: chunked"];
        let answer = scene.send("POST /api/v1/identity/explain", &headers, body.as_bytes());
        answer.assert_refused(&[400], what);
    }
    let workspaces = scene.daemon.get("/api/v1/workspaces", &scene.token);
    assert!(!workspaces.text.contains("smuggled"), "{}", workspaces.text);
    scene.still_serves();
}

#[test]
fn odd_paths_lead_nowhere() {
    let scene = Scene::new();
    for path in [
        "/api/v1/../../etc/passwd",
        "/../healthz/../api/v1/runs",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/assets/../Cargo.toml",
        "/assets/%2e%2e%2fCargo.toml",
        "/assets/..%5cCargo.toml",
        "//api/v1/runs",
        "/api//v1/runs",
        "/api/v1/runs//",
        "/api/v1/runs.",
        "/api/v1/runs%00",
        "/api/v1/runs/%00",
        "/api/v1/runs%2f1",
        "/api/v1/runs/1%2f..%2f2",
        "/api/v1/runs;a=b",
        "/API/V1/RUNS",
        "/api/v1/runs/..;/system",
        "*",
        "\\api\\v1\\runs",
    ] {
        let answer = scene.send(&format!("GET {path}"), &["Host: 127.0.0.1"], b"");
        answer.assert_refused(&[400, 404, 405], path);
    }
    scene.still_serves();
}

#[test]
fn odd_methods_and_conditions_are_harmless() {
    let scene = Scene::new();
    for method in ["TRACE", "OPTIONS", "CONNECT", "DELETE", "PUT", "PROPFIND", "get", "GETX"] {
        let answer = scene.send(&format!("{method} /api/v1/runs"), &["Host: 127.0.0.1"], b"");
        answer.assert_refused(&[400, 404, 405], method);
        assert!(!answer.text.contains("Authorization: Bearer"), "nothing is echoed: {answer:?}");
    }
    for header in [
        "Range: bytes=0-0",
        "Range: bytes=5-1,0-,-99999999999999999999",
        "If-None-Match: *",
        "If-Modified-Since: Mon, 01 Jan 2999 00:00:00 GMT",
        "If-Unmodified-Since: nonsense",
        "Upgrade: websocket",
        "Upgrade: h2c",
        "Expect: nonsense",
        "Accept-Encoding: gzip;q=99999999999",
        "Accept: text/html;q=\u{fffd}",
    ] {
        let answer = scene.send("GET /api/v1/openapi.json", &["Host: 127.0.0.1", header], b"");
        assert!(matches!(answer.status(), Some(200 | 400 | 417)), "{header}: {answer:?}");
    }
    scene.still_serves();
}

#[test]
fn values_that_split_headers_or_carry_scripts_stay_values() {
    let scene = Scene::new();
    let daemon = &scene.daemon;
    let add = |name: &str| {
        daemon.post("/api/v1/workspaces", &scene.token, &json!({"slug": "split", "name": name})).status
    };
    for name in ["a\r\nSet-Cookie: b=c", "a\nb", "a\u{0}b"] {
        assert_eq!(add(name), 422, "{name:?}");
    }
    let script = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    assert_eq!(add(script), 201);
    let workspace = daemon.get("/api/v1/workspaces", &scene.token).body["items"][0]["id"].as_i64();
    let body = json!({
        "workspace_id": workspace, "external_id": crate::support::external_id(1), "name": script,
        "cloud": "closed", "credential": "app",
    });
    let tenant = daemon.post("/api/v1/tenants", &scene.token, &body).id();
    let run = json!({"type": "assignments.fetch", "tenant_id": tenant});
    let run = daemon.post("/api/v1/runs", &scene.token, &run).id();
    let cookie = daemon.sign_in(&scene.token);
    let pages = ["/", "/runs", "/tenants", "/failures", "/system", "/schedules", "/audit"].map(str::to_owned);
    let of_one = [
        format!("/runs/{run}"),
        format!("/tenants/{tenant}"),
        format!("/tenants/{tenant}/policies"),
        "/login?next=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        "/runs?status=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        "/%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
    ];
    for page in pages.iter().chain(&of_one) {
        let headers = [("cookie", cookie.as_str()), ("accept", "text/html")];
        let shown = daemon.call(Method::GET, page, &headers, "");
        assert!(shown.status < 500, "{page}: {}", shown.text);
        let is_page =
            shown.headers.get("content-type").is_some_and(|kind| kind == "text/html; charset=utf-8");
        assert!(!is_page || !shown.text.contains("<script>alert"), "{page}: {}", shown.text);
        assert!(!is_page || !shown.text.contains("<img src=x"), "{page}: {}", shown.text);
    }
    scene.still_serves();
}
