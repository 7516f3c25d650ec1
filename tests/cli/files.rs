//! `atlasd snapshots export`, `import` and `diff`, against a stand-in for the daemon.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::daemon::{Call, Daemon};

fn ok(body: &Value) -> (u16, String) {
    (200, body.to_string())
}

fn diff(part: usize) -> Value {
    let item = |id: &str| {
        json!({"policy_type": "compliancePolicy", "policy_id": id, "name": "P", "change": "changed",
            "assignments": {"added": [{"target": {"type": "all_users"}, "filter": null}], "removed": [], "changed": []}})
    };
    let (id, next) = [("a", json!("c1")), ("b", Value::Null)][part].clone();
    json!({"a": 1, "b": 2, "items": [item(id)], "next_cursor": next, "not_compared": ["mobileApp"]})
}

fn answer_diff(call: &Call) -> (u16, String) {
    match call.line.as_str() {
        "GET /api/v1/snapshots/1/diff/2" | "GET /api/v1/snapshots/1/diff/2?limit=1" => ok(&diff(0)),
        "GET /api/v1/snapshots/1/diff/2?cursor=c1" => ok(&diff(1)),
        other => panic!("{other}"),
    }
}

#[test]
fn an_export_is_written_as_it_came() {
    let text = "{\"format\": \"atlasd.snapshot\",  \"items\": []}\n";
    let daemon = Daemon::start(move |call| {
        assert_eq!(call.line, "GET /api/v1/snapshots/4/export");
        (200, text.to_owned())
    });
    let atlasd = daemon.client();
    assert_eq!(atlasd.run(["snapshots", "export", "4"]).with_code(0).stdout, text);
    let ended = atlasd.run(["snapshots", "export", "4", "-o", "out.json"]).with_code(0);
    assert_eq!(ended.stdout, "");
    assert_eq!(std::fs::read_to_string(atlasd.folder().join("out.json")).expect("written"), text);
}

#[test]
fn an_export_that_is_cut_off_leaves_no_file() {
    let daemon = Daemon::start(|_| (200, "{\"items\": [".to_owned()));
    let atlasd = daemon.client();
    atlasd.run(["snapshots", "export", "4", "-o", "out.json"]).failed(1, &["without JSON"]);
    assert!(!atlasd.folder().join("out.json").exists());
}

#[test]
fn an_import_sends_the_file_and_shows_the_snapshot() {
    let snapshot = json!({"id": 8, "kind": "imported", "operation_run_id": null, "label": "before", "outcome": "succeeded",
        "created_at": "2026-01-01T00:00:00.000000Z", "coverage": {"compliancePolicy": {"listed": 2, "read": 2}}});
    let tenants = json!({"items": [{"id": 7, "workspace_id": 1, "external_id": "x", "name": "HQ"}], "next_cursor": null});
    let daemon = Daemon::start(move |call| match call.line.as_str() {
        "GET /api/v1/tenants" => ok(&tenants),
        "POST /api/v1/tenants/7/snapshots/import?label=before" => (201, snapshot.to_string()),
        other => panic!("{other}"),
    });
    let atlasd = daemon.client();
    std::fs::write(atlasd.folder().join("in.json"), "{\"items\":[]}").expect("written");
    let args = ["snapshots", "import", "in.json", "--tenant", "hq", "--label", "before"];
    let ended = atlasd.run(args).with_code(0);
    assert!(
        ended.stdout.lines().nth(1).is_some_and(|row| row.starts_with("8 ") && row.contains("imported")),
        "{}",
        ended.stdout
    );
    assert_eq!(daemon.calls()[1].body, json!({"items": []}));
    atlasd.run(["snapshots", "import", "no.json", "--tenant", "hq"]).failed(1, &["no.json"]);
}

#[test]
fn a_difference_is_words_for_people_and_complete_for_programs() {
    let daemon = Daemon::start(answer_diff);
    let ended = daemon.client().run(["snapshots", "diff", "1", "2"]).with_code(0);
    let rows: Vec<&str> = ended.stdout.lines().collect();
    assert!(rows.len() == 3 && rows[1].ends_with("changed  + all users"), "{}", ended.stdout);
    assert!(ended.stderr.contains("mobileApp"), "{}", ended.stderr);
    let json = daemon.client().run(["snapshots", "diff", "1", "2", "-o", "json"]).with_code(0).json();
    assert_eq!((json["items"].as_array().map(Vec::len), &json["next_cursor"]), (Some(2), &Value::Null));
    assert_eq!(json["not_compared"], json!(["mobileApp"]));
}

fn fetch(status: &str, outcome: &str, context: &Value) -> Value {
    json!({"id": 9, "workspace_id": 1, "tenant_id": 7, "type": "assignments.fetch", "status": status, "outcome": outcome,
        "created_at": "", "completed_at": "2026-01-01T00:00:00.000000Z", "context": context,
        "failure_summary": if outcome == "failed" { json!([{"code": "graph.forbidden", "message": "1 type"}]) } else { json!([]) }})
}

#[test]
fn a_difference_with_live_fetches_first() {
    let asked = AtomicUsize::new(0);
    let daemon = Daemon::start(move |call| match call.line.as_str() {
        "POST /api/v1/snapshots/1/drift" => {
            assert_eq!(call.body, json!({"force": true}));
            (202, json!({"verdict": "accepted", "run": fetch("queued", "pending", &json!({}))}).to_string())
        }
        "GET /api/v1/runs/9" => match asked.fetch_add(1, Ordering::SeqCst) {
            0 => ok(&fetch("running", "pending", &json!({}))),
            _ => ok(&fetch("completed", "succeeded", &json!({"snapshot_id": 2}))),
        },
        _ => answer_diff(call),
    });
    let ended = daemon.client().run(["snapshots", "diff", "1", "live", "--force"]).with_code(0);
    assert_eq!(ended.stdout.lines().count(), 3, "{}", ended.stdout);
}

#[test]
fn a_fetch_that_read_nothing_is_no_difference() {
    let daemon = Daemon::start(|call| match call.line.as_str() {
        "POST /api/v1/snapshots/1/drift" => {
            let run = fetch("completed", "failed", &json!({}));
            ok(&json!({"verdict": "cooldown", "run": run, "retry_at": "2026-01-01T00:15:00.000000Z"}))
        }
        "GET /api/v1/runs/9" => ok(&fetch("completed", "failed", &json!({}))),
        other => panic!("{other}"),
    });
    let ended = daemon.client().run(["snapshots", "diff", "1", "live"]).with_code(1);
    assert!(ended.stderr.contains("--force fetches again"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("the fetch failed: run 9: graph.forbidden: 1 type\n"), "{}", ended.stderr);
}
