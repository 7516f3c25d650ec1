//! The client commands: what they ask, what they print, how they exit.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::daemon::{Call, Daemon, TOKEN};

fn run(id: i64, status: &str, outcome: &str) -> Value {
    json!({"id": id, "workspace_id": 1, "tenant_id": 7, "type": "assignments.fetch", "status": status,
        "outcome": outcome, "initiator_name": "ci", "created_at": "2026-01-01T00:00:00.000000Z", "attempt": 1,
        "summary_counts": {"total": 3, "items": 9}, "failure_summary": []})
}

fn tenants() -> Value {
    json!({"items": [
        {"id": 7, "workspace_id": 1, "workspace_slug": "contoso", "external_id": "7c1f5b0e-3a64-4d92-8e17-5f0b9c2d6a31", "name": "HQ"},
        {"id": 8, "workspace_id": 1, "workspace_slug": "contoso", "external_id": "e59a3c18-6d27-4b8f-9c04-d8517ba2e653", "name": "Plant"},
    ], "next_cursor": null})
}

fn ok(body: &Value) -> (u16, String) {
    (200, body.to_string())
}

/// A daemon whose tenants are HQ and Plant, and which answers everything else with `answer`.
fn daemon_with_tenants(answer: impl Fn(&Call) -> (u16, String) + Send + 'static) -> Daemon {
    Daemon::start(move |call| match call.line.as_str() {
        "GET /api/v1/tenants" => ok(&tenants()),
        _ => answer(call),
    })
}

#[test]
fn a_fetch_names_its_tenants_as_people_do() {
    let verdicts = json!({"verdicts": [
        {"verdict": "accepted", "run": run(1, "queued", "pending")},
        {"verdict": "accepted", "run": run(2, "queued", "pending")},
    ]});
    let daemon = daemon_with_tenants(move |_| ok(&verdicts));
    let args = ["fetch", "hq", "E59A3C18-6D27-4B8F-9C04-D8517BA2E653", "--policy-type", "mobileApp"];
    let ended = daemon.client().run(args).with_code(0);
    let rows: Vec<Vec<&str>> = ended.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["FOR", "VERDICT", "RUN", "STATUS", "OUTCOME", "DETAIL"]);
    assert_eq!(rows[1][..4], ["HQ", "accepted", "1", "queued"]);
    assert_eq!(rows[2][..4], ["Plant", "accepted", "2", "queued"]);

    let calls = daemon.calls();
    assert_eq!(calls[1].line, "POST /api/v1/runs/batch");
    assert!(calls.iter().all(|call| call.authorization == format!("Bearer {TOKEN}")));
    let request = |tenant: i64| json!({"type": "assignments.fetch", "tenant_id": tenant, "force": false, "inputs": {"policy_types": ["mobileApp"]}});
    assert_eq!(calls[1].body, json!({"requests": [request(7), request(8)]}));
}

#[test]
fn an_unknown_tenant_asks_for_nothing() {
    let daemon = daemon_with_tenants(|_| (500, String::new()));
    daemon.client().run(["fetch", "HQ", "Moon"]).failed(2, &["`Moon`"]);
    assert_eq!(daemon.calls().len(), 1);
}

#[test]
fn a_refusal_exits_with_3_only_where_asked_for() {
    for verdict in ["active", "cooldown"] {
        let mut answer = json!({"verdict": verdict, "run": run(1, "completed", "succeeded")});
        if verdict == "cooldown" {
            answer["retry_at"] = json!("2026-01-01T00:15:00.000000Z");
        }
        let daemon = daemon_with_tenants(move |_| ok(&json!({"verdicts": [answer]})));
        let ended = daemon.client().run(["fetch", "HQ"]).with_code(0);
        assert!(ended.stdout.contains(verdict), "{}", ended.stdout);
        let ended = daemon.client().run(["fetch", "HQ", "--fail-on-refused"]).with_code(3);
        assert!(ended.stderr.starts_with("error: 1 of 1 requests refused"), "{}", ended.stderr);
    }
}

#[test]
fn waiting_asks_until_the_run_has_completed() {
    let asked = AtomicUsize::new(0);
    let daemon = daemon_with_tenants(move |call| match call.line.as_str() {
        "GET /api/v1/runs/1" => match asked.fetch_add(1, Ordering::SeqCst) {
            0 => ok(&run(1, "running", "pending")),
            // A daemon that restarts is waited for.
            1 => (503, json!({"status": 503, "code": "daemon.draining", "detail": "draining"}).to_string()),
            _ => ok(&run(1, "completed", "succeeded")),
        },
        _ => ok(&json!({"verdicts": [{"verdict": "accepted", "run": run(1, "queued", "pending")}]})),
    });
    let ended = daemon.client().run(["fetch", "HQ", "--wait", "--output", "json"]).with_code(0);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(
        lines,
        ["run 1 assignments.fetch running", "run 1 assignments.fetch completed: succeeded items=9 total=3"]
    );
    assert_eq!(ended.json()[0]["run"]["status"], "completed");
}

#[test]
fn a_run_that_fails_fails_who_waits_for_it() {
    let daemon = daemon_with_tenants(|call| match call.line.as_str() {
        "GET /api/v1/runs/1" => ok(&run(1, "completed", "failed")),
        _ => ok(&json!({"verdicts": [{"verdict": "accepted", "run": run(1, "queued", "pending")}]})),
    });
    let ended = daemon.client().run(["fetch", "HQ", "--wait"]).with_code(1);
    assert!(ended.stderr.ends_with("error: runs failed: 1; see `atlasd runs show ID`\n"), "{}", ended.stderr);
    daemon.client().run(["runs", "watch", "1"]).with_code(1);
}

#[test]
fn waiting_ends_when_its_time_is_over() {
    let daemon = Daemon::start(|_| ok(&run(1, "running", "pending")));
    let ended = daemon.client().run(["runs", "watch", "1", "--timeout", "600ms"]).with_code(1);
    assert!(ended.stderr.contains("error: runs still active after 600ms: 1; they go on"), "{}", ended.stderr);
}

#[test]
fn a_problem_is_shown_with_its_code_and_tells_the_exit_code() {
    for (status, code) in [(422, 2), (400, 2), (401, 1), (404, 1), (409, 1), (503, 1)] {
        let problem = json!({"status": status, "code": "some.code", "title": "T", "detail": "what is wrong"});
        let daemon = Daemon::start(move |_| (status, problem.to_string()));
        let expected = format!("error: what is wrong (some.code, status {status})");
        daemon.client().run(["runs", "show", "1"]).failed(code, &[&expected]);
    }
}

#[test]
fn who_is_no_atlasd_is_told_apart() {
    for (status, text) in [(200, "<html>"), (404, "not here"), (502, "{}"), (302, ""), (200, "[]")] {
        let daemon = Daemon::start(move |_| (status, text.to_owned()));
        daemon.client().run(["runs", "list"]).failed(1, &["expected an answer of atlasd"]);
        assert_eq!(daemon.calls().len(), 1, "a token follows no redirect");
    }
}

#[test]
fn a_cancellation_is_told_in_words_or_with_the_run() {
    let daemon = Daemon::start(|_| (202, json!({"run": run(1, "running", "pending")}).to_string()));
    let words = daemon.client().run(["runs", "cancel", "1"]).with_code(0);
    assert_eq!(words.stdout, "run 1: cancellation requested\n");
    let json = daemon.client().run(["runs", "cancel", "1", "--output", "json"]).with_code(0).json();
    assert_eq!(json["run"]["status"], "running");
}

#[test]
fn a_list_is_read_to_its_end_or_its_limit() {
    let daemon = Daemon::start(|call| {
        let (items, next) = match call.line.as_str() {
            "GET /api/v1/runs?type=assignments.fetch&status=completed" => {
                (vec![run(4, "completed", "failed"), run(3, "completed", "failed")], json!("c1"))
            }
            "GET /api/v1/runs?type=assignments.fetch&status=completed&cursor=c1" => {
                (vec![run(2, "completed", "failed")], Value::Null)
            }
            other => panic!("{other}"),
        };
        ok(&json!({"items": items, "next_cursor": next}))
    });
    let list = ["runs", "list", "--type", "assignments.fetch", "--status", "completed", "-o", "json"];
    let all = daemon.client().run(list).with_code(0).json();
    let ids: Vec<&Value> = all.as_array().expect("a list").iter().map(|run| &run["id"]).collect();
    assert_eq!(ids, [4, 3, 2]);
    let limited = daemon.client().run(list.iter().chain(&["--limit", "2"])).with_code(0).json();
    assert_eq!(limited.as_array().expect("a list").len(), 2);
}

#[test]
fn reconcile_without_a_workspace_means_every_one() {
    let daemon = Daemon::start(|call| match call.line.as_str() {
        "GET /api/v1/workspaces" => ok(
            &json!({"items": [{"id": 1, "slug": "contoso"}, {"id": 2, "slug": "fabrikam"}], "next_cursor": null}),
        ),
        _ => (202, json!({"verdict": "accepted", "run": run(5, "queued", "pending")}).to_string()),
    });
    daemon.client().run(["reconcile", "--dry-run"]).with_code(0);
    let bodies: Vec<Value> = daemon.calls().into_iter().skip(1).map(|call| call.body).collect();
    assert_eq!(bodies, [1, 2].map(|id| json!({"workspace_id": id, "dry_run": true})));
}

#[test]
fn what_a_daemon_says_cannot_steer_the_terminal() {
    let problem = json!({"status": 404, "code": "run.unknown", "detail": "\u{1b}[2Jgone\nerror: no"});
    let daemon = Daemon::start(move |_| (404, problem.to_string()));
    daemon.client().run(["runs", "show", "1"]).failed(1, &["[2Jgone"]);
}

#[test]
fn failures_are_asked_for_in_groups_and_shown_with_what_to_do() {
    let group = json!({"code": "graph.throttled", "next_action": "Wait and retry.", "workspace_id": 1, "tenant_id": 7,
        "runs": 3, "items": 12, "first_at": "2026-01-01T00:00:00.000000Z", "last_at": "2026-01-02T00:00:00.000000Z",
        "example_run_id": 99});
    let answer = json!({"items": [group], "since": "2026-01-01T00:00:00.000000Z", "truncated": true});
    let daemon = daemon_with_tenants(move |_| ok(&answer));
    let args = ["failures", "--group-by", "code,tenant", "--tenant", "HQ", "--since", "24h"];
    let ended = daemon.client().run(args).with_code(0);
    let rows: Vec<Vec<&str>> = ended.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["CODE", "WORKSPACE", "TENANT", "RUNS", "ITEMS", "FIRST", "LAST", "EXAMPLE", "NEXT"]);
    assert_eq!(rows[1][..5], ["graph.throttled", "1", "7", "3", "12"]);
    assert!(ended.stderr.contains("more than 50 groups"), "{}", ended.stderr);
    let calls = daemon.calls();
    assert_eq!(calls[1].line, "GET /api/v1/failures?group_by=code%2Ctenant&since=24h&limit=50&tenant_id=7");
    let json = daemon.client().run(["failures", "--output", "json"]).with_code(0);
    let items: Value = serde_json::from_str(&json.stdout).expect("an array");
    assert_eq!(items[0]["example_run_id"], 99);
}
