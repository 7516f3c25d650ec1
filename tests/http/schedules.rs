//! Schedules over the endpoint: who may, what is refused and how, what is shown.

use atlasd::config::ScheduleConfig;
use atlasd::store::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Engine, Reply, TestDaemon, external_id};

const PATH: &str = "/api/v1/schedules";

fn nightly(workspace: i64) -> Value {
    json!({"workspace_id": workspace, "name": "nightly", "type": "assignments.fetch", "cron": "0 3 * * *",
           "timezone": "Europe/Berlin", "jitter_s": 600})
}

fn delete(daemon: &TestDaemon, token: &str, id: i64) -> Reply {
    daemon.send(Method::DELETE, &format!("{PATH}/{id}"), Some(token), None)
}

#[test]
fn an_operator_adds_changes_pauses_and_removes_a_schedule() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let admin = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&admin, "contoso");
    let (operator, viewer) = (daemon.token(Role::Operator, None), daemon.token(Role::Viewer, None));
    daemon.post(PATH, &viewer, &nightly(workspace)).assert_problem(403, "auth.role_too_low");
    let added = daemon.post(PATH, &operator, &nightly(workspace));
    added.assert_status(201);
    assert_eq!(added.body["inputs"], json!({"policy_types": null, "policy_ids": null}), "normalised");
    assert_eq!((added.body["source"].as_str(), added.body["enabled"].as_bool()), (Some("api"), Some(true)));
    assert_eq!(added.body["upcoming"].as_array().map(Vec::len), Some(5));
    assert_eq!(added.body["upcoming"][0], added.body["next_at"]);
    assert_eq!(added.body["last"]["verdict"], Value::Null);
    daemon.post(PATH, &operator, &nightly(workspace)).assert_problem(409, "resource.exists");
    let one = format!("{PATH}/{}", added.id());
    assert_eq!(daemon.get(&one, &viewer).body, added.body);
    let listed = daemon.get(PATH, &viewer);
    assert_eq!(listed.body["items"][0]["name"], "nightly");
    let paused = daemon.patch(&one, &operator, &json!({"enabled": false, "cron": "30 4 * * *"}));
    paused.assert_status(200);
    assert_eq!((&paused.body["next_at"], &paused.body["upcoming"]), (&Value::Null, &json!([])));
    assert_eq!(
        (paused.body["cron"].as_str(), paused.body["jitter_s"].as_i64()),
        (Some("30 4 * * *"), Some(600))
    );
    delete(&daemon, &viewer, added.id()).assert_problem(403, "auth.role_too_low");
    delete(&daemon, &operator, added.id()).assert_status(204);
    delete(&daemon, &operator, added.id()).assert_problem(404, "schedule.not_found");
    daemon.get(&format!("{PATH}/x"), &viewer).assert_problem(404, "schedule.not_found");
}

#[test]
fn what_is_wrong_is_told_by_field() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let admin = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&admin, "contoso");
    let tenant = daemon.tenant(&admin, workspace, 1, "closed");
    for (changes, field, told) in [
        (json!({"cron": "0 3 * *"}), "cron", "expected five fields"),
        (json!({"cron": "0 24 * * *"}), "cron", "field 2 (hour): expected 0-23"),
        (json!({"timezone": "Berlin"}), "timezone", "did you mean Europe/Berlin?"),
        (json!({"jitter_s": 86_401}), "jitter_s", "at most 24h"),
        (json!({"jitter_s": -1}), "jitter_s", ""),
        (json!({"name": "two words"}), "name", "letters, digits"),
        (json!({"type": "assignments.destroy"}), "type", ""),
        (json!({"inputs": {"policy_types": ["nonsense"]}}), "inputs.policy_types[0]", ""),
        (json!({"inputs": {"policy_ids": ["a@contoso.example"]}}), "inputs.policy_ids", "e-mail address"),
        (
            json!({"type": "assignments.restore", "tenant_id": tenant, "inputs": {"snapshot_id": 1}}),
            "inputs.dry_run",
            "writes no assignments",
        ),
        (
            json!({"type": "assignments.restore", "inputs": {"snapshot_id": 1, "dry_run": true}}),
            "tenant",
            "of one tenant",
        ),
        (
            json!({"type": "ops.reconcile_adapter_runs", "tenant_id": tenant}),
            "tenant",
            "works on a workspace",
        ),
        (
            json!({"tenant_id": tenant, "tenant_external_id": external_id(1)}),
            "tenant_external_id",
            "found both",
        ),
        (json!({"workspace_id": null}), "workspace_id", "found neither"),
        (json!({"every": "hour"}), "every", ""),
    ] {
        let mut body = nightly(workspace);
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let reply = daemon.post(PATH, &admin, &body);
        reply.assert_status(422).assert_field(field);
        assert!(reply.text.contains(told), "{changes}: {}", reply.text);
    }
    let mut body = nightly(9999);
    daemon.post(PATH, &admin, &body).assert_problem(404, "workspace.not_found");
    body["tenant_id"] = json!(9999);
    daemon.post(PATH, &admin, &body).assert_problem(404, "tenant.not_found");
    daemon.post(PATH, &admin, &nightly(workspace)).assert_status(201);
    let id = daemon.get(PATH, &admin).body["items"][0]["id"].as_i64().unwrap();
    daemon
        .patch(&format!("{PATH}/{id}"), &admin, &json!({"cron": "x"}))
        .assert_status(422)
        .assert_field("cron");
    daemon
        .patch(&format!("{PATH}/{id}"), &admin, &json!({"inputs": {"nonsense": 1}}))
        .assert_status(422)
        .assert_field("inputs.nonsense");
}

#[test]
fn a_bound_token_sees_and_makes_schedules_of_its_workspace_alone() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let admin = daemon.token(Role::Admin, None);
    let (own, foreign) = (daemon.workspace(&admin, "own"), daemon.workspace(&admin, "foreign"));
    let tenant = daemon.tenant(&admin, foreign, 1, "closed");
    let hidden = daemon.post(PATH, &admin, &nightly(foreign)).id();
    let bound = daemon.token(Role::Admin, Some(own));
    assert_eq!(daemon.get(PATH, &bound).body["items"], json!([]));
    daemon.get(&format!("{PATH}?workspace_id={foreign}"), &bound).assert_problem(404, "workspace.not_found");
    daemon.get(&format!("{PATH}/{hidden}"), &bound).assert_problem(404, "schedule.not_found");
    daemon
        .patch(&format!("{PATH}/{hidden}"), &bound, &json!({"enabled": false}))
        .assert_problem(404, "schedule.not_found");
    delete(&daemon, &bound, hidden).assert_problem(404, "schedule.not_found");
    daemon.post(PATH, &bound, &nightly(foreign)).assert_problem(404, "workspace.not_found");
    let mut of_tenant = nightly(own);
    of_tenant["tenant_id"] = json!(tenant);
    daemon.post(PATH, &bound, &of_tenant).assert_problem(404, "tenant.not_found");
    let mut implied = nightly(own);
    implied.as_object_mut().unwrap().remove("workspace_id");
    assert_eq!(daemon.post(PATH, &bound, &implied).body["workspace_id"], own);
}

#[test]
fn there_are_as_many_as_the_configuration_allows() {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| config.scheduler.schedules_max = 1);
    let admin = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&admin, "contoso");
    daemon.post(PATH, &admin, &nightly(workspace)).assert_status(201);
    let mut second = nightly(workspace);
    second["name"] = json!("second");
    daemon.post(PATH, &admin, &second).assert_problem(409, "schedule.too_many");
}

#[test]
fn a_plan_of_a_snapshot_that_is_not_the_tenants_is_refused_at_once() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let admin = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&admin, "contoso");
    let (own, other) =
        (daemon.tenant(&admin, workspace, 1, "closed"), daemon.tenant(&admin, workspace, 2, "closed"));
    let run =
        daemon.post("/api/v1/runs", &admin, &json!({"type": "assignments.fetch", "tenant_id": own})).id();
    daemon.await_run(&admin, run, |run| run["status"] == "completed");
    let snapshots = daemon.get(&format!("/api/v1/tenants/{own}/snapshots"), &admin);
    let snapshot = snapshots.body["items"][0]["id"].as_i64().expect("a failed fetch has a snapshot, too");
    let plan = |name: &str, tenant: i64, snapshot: i64| {
        json!({"name": name, "tenant_id": tenant, "type": "assignments.restore", "cron": "@daily",
               "inputs": {"snapshot_id": snapshot, "dry_run": true}})
    };
    for wrong in [plan("none", own, snapshot + 1000), plan("foreign", other, snapshot)] {
        daemon
            .post(PATH, &admin, &wrong)
            .assert_problem(422, "request.invalid")
            .assert_field("inputs.snapshot_id");
    }
    let added = daemon.post(PATH, &admin, &plan("good", own, snapshot));
    added.assert_status(201);
    let worse = json!({"inputs": {"snapshot_id": snapshot + 1000, "dry_run": true}});
    let changed = daemon.patch(&format!("{PATH}/{}", added.id()), &admin, &worse);
    changed.assert_problem(422, "request.invalid").assert_field("inputs.snapshot_id");
}

/// Asks for the schedules until one has this name and comes from the configuration.
fn await_configured(daemon: &TestDaemon, token: &str, name: &str) -> Value {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let listed = daemon.get(PATH, token);
        let mut items = listed.body["items"].as_array().into_iter().flatten();
        if let Some(one) = items.find(|one| one["name"] == name && one["source"] == "config") {
            return one.clone();
        }
        assert!(std::time::Instant::now() < deadline, "{name} never came: {}", listed.text);
    }
}

#[test]
fn a_schedule_of_the_configuration_gets_its_name_once_nobody_else_has_it() {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
        config.scheduler.poll = atlasd::config::Span(std::time::Duration::from_millis(20));
        let schedule: ScheduleConfig = serde_json::from_value(
            json!({"workspace": "contoso", "type": "assignments.fetch", "cron": "@daily", "tenant": "tenant 1"}),
        )
        .expect("a schedule");
        config.schedules.insert("nightly".to_owned(), schedule.clone());
        config.schedules.insert("other".to_owned(), schedule);
    });
    let admin = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&admin, "contoso");
    let added = daemon.post(PATH, &admin, &nightly(workspace)).id();
    // Now both can be looked up; the one whose name is free comes, the other waits for its name.
    daemon.tenant(&admin, workspace, 1, "closed");
    await_configured(&daemon, &admin, "other");
    assert_eq!(daemon.get(&format!("{PATH}/{added}"), &admin).body["source"], "api");
    delete(&daemon, &admin, added).assert_status(204);
    await_configured(&daemon, &admin, "nightly");
}

#[test]
fn a_schedule_of_the_configuration_is_shown_and_read_only() {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
        config.scheduler.poll = atlasd::config::Span(std::time::Duration::from_millis(20));
        let schedule: ScheduleConfig = serde_json::from_value(
            json!({"workspace": "contoso", "type": "assignments.fetch", "cron": "@daily", "tenant": "tenant 1"}),
        )
        .expect("a schedule");
        config.schedules.insert("from-file".to_owned(), schedule);
    });
    let admin = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&admin, "contoso");
    daemon.tenant(&admin, workspace, 1, "closed");
    // The daemon has started before there was a workspace of the name: it looks again.
    let shown = await_configured(&daemon, &admin, "from-file");
    assert_eq!(shown["tenant_name"], "tenant 1");
    let one = format!("{PATH}/{}", shown["id"]);
    daemon.patch(&one, &admin, &json!({"enabled": false})).assert_problem(409, "schedule.read_only");
    let refused = delete(&daemon, &admin, shown["id"].as_i64().unwrap());
    refused.assert_problem(409, "schedule.read_only");
    assert!(refused.text.contains("[schedules.from-file]"), "{}", refused.text);
}
