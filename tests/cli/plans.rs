//! `atlasd restore` and what shows its plans, against a stand-in for the daemon.

use serde_json::{Value, json};

use crate::daemon::{Call, Daemon};

fn run(id: i64, status: &str, outcome: &str) -> Value {
    let inputs = json!({"snapshot_id": 5, "policy_ids": ["p1"], "group_map": {}, "mode": "merge", "dry_run": true,
        "plan_run_id": null, "allow_widening": false});
    json!({"id": id, "workspace_id": 1, "tenant_id": 7, "type": "assignments.restore", "status": status,
        "outcome": outcome, "initiator_name": "ci", "created_at": "2026-01-01T00:00:00.000000Z", "attempt": 1,
        "summary_counts": {"total": 2}, "context": {"inputs": inputs},
        "failure_summary": if outcome == "failed" { json!([{"code": "assignments.partial_failure", "message": "1 policy"}]) } else { json!([]) }})
}

fn items() -> Value {
    let diff = json!({"added": [{"target": {"type": "group", "group_id": "g1"}, "filter": null}], "removed": [], "changed": []});
    let item = |id: &str, state: &str, failure: Value| {
        json!({"policy_type": "compliancePolicy", "policy_id": id, "name": format!("Policy {id}"), "state": state,
            "widens": ["target_added"], "diff": diff, "base_hash": null, "wanted_hash": null, "sent_hash": null,
            "verified_hash": null, "failure": failure, "calls": 1, "sent_at": null})
    };
    let refused = json!({"code": "assignments.guard_blocked", "message": "a filter would be lost"});
    json!({"items": [item("p1", "planned", Value::Null), item("p2", "failed", refused)], "next_cursor": null})
}

fn ok(body: &Value) -> (u16, String) {
    (200, body.to_string())
}

/// A daemon with the tenant HQ, whose run 9 ended with `outcome`.
fn daemon(outcome: &'static str) -> Daemon {
    Daemon::start(move |call: &Call| match call.line.as_str() {
        "GET /api/v1/tenants" => {
            ok(&json!({"items": [{"id": 7, "workspace_id": 1, "workspace_slug": "contoso",
            "external_id": "7c1f5b0e-3a64-4d92-8e17-5f0b9c2d6a31", "name": "HQ"}], "next_cursor": null}))
        }
        "GET /api/v1/runs/9" => ok(&run(9, "completed", outcome)),
        "GET /api/v1/runs/9/items" | "GET /api/v1/runs/9/items?state=failed" => ok(&items()),
        "POST /api/v1/runs" | "POST /api/v1/runs/4/undo" => {
            (202, json!({"verdict": "accepted", "run": run(9, "queued", "pending")}).to_string())
        }
        other => panic!("{other}"),
    })
}

const FROM: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const TO: &str = "bbbbbbbb-0000-4000-8000-000000000002";

#[test]
fn a_dry_run_waits_and_shows_the_plan_in_words() {
    let daemon = daemon("succeeded");
    let map = format!("{FROM}={TO}");
    let args = [
        "restore",
        "hq",
        "--snapshot",
        "5",
        "--policy",
        "p1",
        "--group-map",
        &map,
        "--mode",
        "merge",
        "--dry-run",
    ];
    let ended = daemon.client().run(args).with_code(0);
    let expected = "\
2 policies: 1 to write, 1 refused or failed

compliancePolicy \"Policy p1\" (p1): to write
  + group g1

compliancePolicy \"Policy p2\" (p2): not touched
  + group g1
  x assignments.guard_blocked: a filter would be lost; --allow-widening
";
    assert_eq!(ended.stdout, expected);
    assert!(ended.stderr.contains("`atlasd restore --plan 9` carries it out"), "{}", ended.stderr);
    let asked =
        daemon.calls().into_iter().find(|call| call.line == "POST /api/v1/runs").expect("a request").body;
    assert_eq!(
        asked,
        json!({"type": "assignments.restore", "tenant_id": 7, "force": false, "inputs": {"snapshot_id": 5,
            "policy_ids": ["p1"], "group_map": {FROM: TO}, "mode": "merge", "dry_run": true, "plan_run_id": null,
            "allow_widening": false}})
    );
}

#[test]
fn a_plan_as_json_is_the_answer_with_its_items() {
    let args = ["restore", "HQ", "--snapshot", "5", "--dry-run", "--output", "json"];
    let answers = daemon("succeeded").client().run(args).with_code(0).json();
    assert_eq!(
        (&answers[0]["run"]["outcome"], &answers[0]["items"]),
        (&json!("succeeded"), &items()["items"])
    );
}

#[test]
fn a_plan_that_failed_is_shown_and_fails() {
    let ended = daemon("failed").client().run(["restore", "HQ", "--snapshot", "5", "--dry-run"]).with_code(1);
    assert!(ended.stdout.contains("x assignments.guard_blocked"), "{}", ended.stdout);
    assert!(
        ended.stderr.ends_with("error: the plan failed: run 9: assignments.partial_failure: 1 policy\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_plan_is_carried_out_with_what_it_was_made_for() {
    let daemon = daemon("succeeded");
    daemon.client().run(["restore", "--plan", "9", "--allow-widening", "--wait"]).with_code(0);
    let asked =
        daemon.calls().into_iter().find(|call| call.line == "POST /api/v1/runs").expect("a request").body;
    assert_eq!(
        asked["inputs"],
        json!({"snapshot_id": 5, "policy_ids": ["p1"], "group_map": {}, "mode": "merge", "dry_run": false,
            "plan_run_id": 9, "allow_widening": true})
    );
    assert_eq!(asked["tenant_id"], 7);
    daemon.client().run(["restore", "Moon", "--plan", "9"]).failed(2, &["`Moon`"]);
}

#[test]
fn an_undo_is_planned_or_carried_out() {
    let daemon = daemon("succeeded");
    daemon.client().run(["restore", "--undo", "4", "--dry-run"]).with_code(0);
    daemon.client().run(["restore", "--undo", "4", "--yes", "--force"]).with_code(0);
    let undone = daemon.calls().into_iter().filter(|call| call.line == "POST /api/v1/runs/4/undo");
    let bodies: Vec<Value> = undone.map(|call| call.body).collect();
    let body = |dry_run: bool| json!({"dry_run": dry_run, "allow_widening": false, "force": !dry_run});
    assert_eq!(bodies, [body(true), body(false)]);
}

#[test]
fn where_nobody_can_be_asked_the_command_says_what_to_decide() {
    let daemon = daemon("succeeded");
    let parts = ["--dry-run", "--plan RUN", "--yes"];
    daemon.client().run(["restore", "HQ", "--snapshot", "5"]).failed(2, &parts);
    daemon.client().run(["restore", "--undo", "4"]).failed(2, &parts);
    assert!(daemon.calls().is_empty());
}

#[test]
fn what_makes_no_sense_together_is_wrong_usage() {
    for args in [
        &["restore"][..],
        &["restore", "HQ"],
        &["restore", "HQ", "--snapshot", "x"],
        &["restore", "HQ", "--snapshot", "5", "--plan", "9"],
        &["restore", "HQ", "--undo", "9"],
        &["restore", "--undo", "4", "--plan", "9"],
        &["restore", "--plan", "9", "--dry-run"],
        &["restore", "HQ", "--snapshot", "5", "--dry-run", "--yes"],
        &["restore", "HQ", "--snapshot", "5", "--yes", "--group-map", "a"],
        &["restore", "HQ", "--snapshot", "5", "--yes", "--mode", "half"],
        &["runs", "items", "9", "--state", "done"],
        &["snapshots", "diff", "5", "now"],
        &["snapshots", "import", "x.json"],
        &["tenants", "check", "HQ", "--types", "nope"],
    ] {
        daemon("succeeded").client().run(args).with_code(2);
    }
}

#[test]
fn a_group_map_can_come_from_a_file() {
    let daemon = daemon("succeeded");
    let atlasd = daemon.client();
    let write = |text: &str| std::fs::write(atlasd.folder().join("map.json"), text).expect("written");
    let args = ["restore", "HQ", "--snapshot", "5", "--yes", "--group-map-file", "map.json"];
    write("[1]");
    atlasd.run(args).failed(2, &["map.json", "JSON object"]);
    write(&json!({FROM: TO}).to_string());
    atlasd.run(args).with_code(0);
    let asked =
        daemon.calls().into_iter().find(|call| call.line == "POST /api/v1/runs").expect("a request").body;
    assert_eq!(asked["inputs"]["group_map"], json!({FROM: TO}));
    atlasd
        .run(["restore", "HQ", "--snapshot", "5", "--yes", "--group-map-file", "no.json"])
        .failed(1, &["no.json"]);
}

#[test]
fn items_are_a_table_with_the_difference() {
    let daemon = daemon("succeeded");
    let table = daemon.client().run(["runs", "items", "9"]).with_code(0).stdout;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("TYPE") && rows[0].ends_with("FAILURE"), "{table}");
    assert!(rows[1].contains("+ group g1") && rows[1].contains("target_added"), "{table}");
    assert!(rows[2].ends_with("assignments.guard_blocked"), "{table}");
    let json =
        daemon.client().run(["runs", "items", "9", "--state", "failed", "-o", "json"]).with_code(0).json();
    assert_eq!(json, items()["items"]);
}
