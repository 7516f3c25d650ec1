//! `atlasd schedules`: what it asks, what it prints, and what it answers without a daemon.

use serde_json::{Value, json};

use crate::daemon::{Call, Daemon};
use crate::program::Atlasd;

fn schedule(id: i64, name: &str, workspace: &str) -> Value {
    json!({"id": id, "workspace_id": 1, "workspace_slug": workspace, "tenant_id": null, "tenant_name": null, "name": name,
        "source": "api", "type": "assignments.fetch", "inputs": {"policy_types": null}, "cron": "0 3 * * *",
        "timezone": "Europe/Berlin", "jitter_s": 600, "enabled": true, "created_by": "ci",
        "next_at": "2026-11-29T02:00:00.000000Z", "upcoming": ["2026-11-29T02:00:00.000000Z"], "pending": 2,
        "last": {"occurrence_at": "2026-11-28T02:00:00.000000Z", "verdict": "accepted", "run_id": 7, "problem": null,
                 "accepted": 3, "active": 0, "cooldown": 1, "failed": 0}})
}

/// A daemon with two schedules called `nightly` in two workspaces, and one called `weekly`.
fn daemon() -> Daemon {
    Daemon::start(|call: &Call| match call.line.as_str() {
        "GET /api/v1/schedules" => {
            let items =
                [schedule(1, "nightly", "a"), schedule(2, "nightly", "b"), schedule(3, "weekly", "a")];
            (200, json!({"items": items, "next_cursor": null}).to_string())
        }
        "GET /api/v1/workspaces" => {
            (200, json!({"items": [{"id": 9, "slug": "a"}], "next_cursor": null}).to_string())
        }
        line if line.starts_with("DELETE ") => (204, String::new()),
        _ => (200, schedule(3, "weekly", "a").to_string()),
    })
}

#[test]
fn a_list_shows_the_next_and_the_last_times() {
    let daemon = daemon();
    let table = daemon.client().run(["schedules", "list"]).with_code(0);
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[0].starts_with("ID  NAME"), "{}", lines[0]);
    for part in [
        "fetch all tenants",
        "0 3 * * *",
        "Europe/Berlin",
        "2026-11-29 02:00",
        "accepted 3, cooldown 1, pending 2",
    ] {
        assert!(lines[1].contains(part), "expected {part} in {}", lines[1]);
    }
    let json = daemon.client().run(["schedules", "list", "--output", "json"]).with_code(0).json();
    assert_eq!(json[2]["name"], "weekly");
}

#[test]
fn a_schedule_is_named_by_id_or_by_a_name_that_is_its_own() {
    let daemon = daemon();
    daemon.client().run(["schedules", "pause", "weekly"]).with_code(0);
    daemon.client().run(["schedules", "resume", "1"]).with_code(0);
    let calls = daemon.calls();
    assert_eq!(
        (calls[1].line.as_str(), &calls[1].body),
        ("PATCH /api/v1/schedules/3", &json!({"enabled": false}))
    );
    assert_eq!(
        (calls[3].line.as_str(), &calls[3].body),
        ("PATCH /api/v1/schedules/1", &json!({"enabled": true}))
    );
    daemon.client().run(["schedules", "show", "nightly"]).failed(2, &["several schedules", "1 (a), 2 (b)"]);
    daemon.client().run(["schedules", "show", "hourly"]).failed(2, &["`hourly`", "`atlasd schedules list`"]);
    let shown = daemon.client().run(["schedules", "show", "3"]).with_code(0);
    assert!(shown.stdout.contains("0 3 * * * (Europe/Berlin)"), "{}", shown.stdout);
    let removed = daemon.client().run(["schedules", "remove", "3"]).with_code(0);
    assert!(removed.stderr.contains("its runs stay"), "{}", removed.stderr);
    let removed = daemon.client().run(["schedules", "remove", "3", "--output", "json"]).with_code(0);
    assert_eq!(removed.json(), json!({"id": 3, "removed": true}));
}

#[test]
fn a_schedule_is_added_with_what_was_said() {
    let daemon = daemon();
    let args = [
        "schedules",
        "add",
        "weekly",
        "--workspace",
        "a",
        "--cron",
        "0 3 * * 0",
        "--timezone",
        "Europe/Berlin",
        "--jitter",
        "10m",
        "--inputs",
        r#"{"policy_types": ["mobileApp"]}"#,
    ];
    daemon.client().run(args).with_code(0);
    let body = daemon.calls()[1].body.clone();
    assert_eq!(
        body,
        json!({"name": "weekly", "type": "assignments.fetch", "workspace_id": 9, "cron": "0 3 * * 0",
        "timezone": "Europe/Berlin", "jitter_s": 600, "enabled": true, "inputs": {"policy_types": ["mobileApp"]}})
    );
}

#[test]
fn what_no_expression_is_is_told_before_a_daemon_is_asked() {
    let atlasd = Atlasd::new();
    let add = ["schedules", "add", "x", "--workspace", "a", "--cron", "0 3 * *"];
    atlasd.run(add).failed(2, &["`cron`", "expected five fields", "found 4"]);
    atlasd.run(["schedules", "next", "0 25 * * *"]).failed(2, &["field 2 (hour)", "`25`"]);
    atlasd
        .run(["schedules", "next", "@daily", "--timezone", "Berlin"])
        .failed(2, &["did you mean Europe/Berlin?"]);
}

#[test]
fn the_next_times_are_told_without_a_daemon() {
    let args = [
        "schedules",
        "next",
        "30 2 * * *",
        "--timezone",
        "Europe/Berlin",
        "--after",
        "2026-03-28T12:00:00Z",
        "-n",
        "2",
    ];
    let told = Atlasd::new().run(args).with_code(0);
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines[1].starts_with("Sun 2026-03-29 03:00 +02:00"), "right after the gap: {}", lines[1]);
    assert!(lines[2].starts_with("Mon 2026-03-30 02:30 +02:00"), "{}", lines[2]);
    let json = Atlasd::new().run(args.into_iter().chain(["--output", "json"])).with_code(0).json();
    assert_eq!(json[0]["at"], "2026-03-29T01:00:00.000000Z");
}
