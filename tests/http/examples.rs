//! The examples of the OpenAPI document: real answers, recorded here.
//!
//! `ATLASD_TEST_REWRITE=1 ./scripts/test --test http the_examples` writes `src/admin/openapi/answers.json` anew. Without it
//! the same requests are made, and each answer must have the shape of the recorded one.

use std::path::Path;

use atlasd::sandbox::config::SINGLE_TENANT;
use atlasd::store::Role;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::snapshots::{Scene, TYPE};
use crate::support::{Reply, external_id};

const FILE: &str = "src/admin/openapi/answers.json";

/// Objects whose keys are data.
const MAPS: [&str; 6] = ["coverage", "summary_counts", "context", "detail", "read_back", "refused"];

/// Makes requests and keeps what was answered.
struct Recorder {
    scene: Scene,
    calls: Map<String, Value>,
}

impl Recorder {
    /// One request of the operation `id`; the answer is kept as its example `name`.
    fn record(&mut self, id: &str, name: &str, method: Method, path: &str, body: Option<Value>) -> Reply {
        let token = self.scene.token.clone();
        self.record_as(Some(&token), id, name, method, path, body)
    }

    fn record_as(
        &mut self,
        token: Option<&str>,
        id: &str,
        name: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        let bytes = body.as_ref().map(|body| body.to_string().into_bytes());
        let reply = self.scene.daemon.send(method, path, token, bytes);
        let answer = if reply.body.is_null() { json!(reply.text) } else { reply.body.clone() };
        let mut call = json!({"name": name, "status": reply.status, "answer": answer});
        // A request that was refused is no example of one.
        if let Some(body) = body.filter(|_| reply.status < 300) {
            call["request"] = body;
        }
        let calls = self.calls.entry(id).or_insert_with(|| json!([]));
        calls.as_array_mut().expect("made above").push(call);
        reply
    }

    fn get(&mut self, id: &str, name: &str, path: &str) -> Reply {
        let reply = self.record(id, name, Method::GET, path, None);
        reply.assert_status(200);
        reply
    }

    fn post(&mut self, id: &str, name: &str, path: &str, body: Value, status: u16) -> Reply {
        let reply = self.record(id, name, Method::POST, path, Some(body));
        reply.assert_status(status);
        reply
    }

    /// A request that is refused; the example has the name of its code.
    fn refused(&mut self, id: &str, path: &str, body: Value, status: u16, code: &str) {
        let token = self.scene.token.clone();
        self.refused_as(Some(&token), id, path, body, status, code);
    }

    fn refused_as(
        &mut self,
        token: Option<&str>,
        id: &str,
        path: &str,
        body: Value,
        status: u16,
        code: &str,
    ) {
        let reply = self.record_as(token, id, code, Method::POST, path, Some(body));
        reply.assert_problem(status, code);
    }

    fn ended(&self, run: i64) -> Value {
        self.scene.daemon.await_run(&self.scene.token, run, |run| run["status"] == "completed")
    }
}

/// Everything that the document shows.
fn recorded() -> Map<String, Value> {
    let scene = Scene::new();
    let tenant = scene.tenant;
    let world = scene.sandbox.state();
    let groups = world.group_ids(SINGLE_TENANT);
    let group = |index: usize| json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": groups[index]}});
    let policy =
        world.add_policy(SINGLE_TENANT, TYPE, Some("Baseline"), vec![group(0)]).expect("it is known");
    let mut all = Recorder { scene, calls: Map::new() };

    directory(&mut all, tenant);
    let fetch = json!({
        "type": "assignments.fetch", "tenant_id": tenant, "inputs": {"policy_types": [TYPE]},
        "context": {"ticket": "CHG-1042"},
    });
    let run = all.post("submit_run", "accepted", "/api/v1/runs", fetch.clone(), 202).id();
    let snapshot = all.ended(run)["context"]["snapshot_id"].as_i64().expect("a fetch leaves a snapshot");
    all.post("submit_run", "cooldown", "/api/v1/runs", fetch.clone(), 200);
    runs(&mut all, &fetch, run);

    world.set_assignments(SINGLE_TENANT, TYPE, &policy, vec![group(1)]).expect("it exists");
    let drift = all.post(
        "check_drift",
        "accepted",
        &format!("/api/v1/snapshots/{snapshot}/drift"),
        json!({"force": true}),
        202,
    );
    let now = all.ended(drift.id())["context"]["snapshot_id"].as_i64().expect("a fetch leaves a snapshot");
    snapshots(&mut all, tenant, snapshot, now);
    restores(&mut all, tenant, snapshot, run);
    failures(&mut all);
    schedules(&mut all);
    all.get("list_audit", "a part", "/api/v1/audit?limit=1");
    all.get("show_system", "an instance", "/api/v1/system");
    // The machine's name is nobody's business.
    all.calls["show_system"][0]["answer"]["instances"][0]["hostname"] = json!("atlas-1");
    all.get("healthz", "up", "/healthz");
    all.get("readyz", "ready", "/readyz");
    all.calls
}

fn directory(all: &mut Recorder, tenant: i64) {
    let workspaces = "/api/v1/workspaces";
    let fabrikam = json!({"slug": "fabrikam", "name": "Fabrikam Health"});
    let workspace = all.post("add_workspace", "added", workspaces, fabrikam.clone(), 201).id();
    all.refused("add_workspace", workspaces, fabrikam.clone(), 409, "resource.exists");
    all.refused("add_workspace", workspaces, json!({"slug": "Fabrikam"}), 422, "request.invalid");
    let bound = all.scene.daemon.token(Role::Admin, Some(workspace));
    all.refused_as(Some(&bound), "add_workspace", workspaces, fabrikam.clone(), 403, "auth.workspace_bound");
    let viewer = all.scene.daemon.token(Role::Viewer, None);
    all.refused_as(Some(&viewer), "add_workspace", workspaces, fabrikam.clone(), 403, "auth.role_too_low");
    all.refused_as(None, "add_workspace", workspaces, fabrikam.clone(), 401, "auth.token_missing");
    all.refused_as(Some("none-of-ours"), "add_workspace", workspaces, fabrikam, 401, "auth.token_invalid");
    let malformed = all.scene.daemon.send(
        Method::POST,
        workspaces,
        Some(&all.scene.token),
        Some(b"{\"slug\": ".to_vec()),
    );
    malformed.assert_problem(400, "request.malformed");
    let call = json!({"name": "request.malformed", "status": 400, "answer": malformed.body});
    all.calls["add_workspace"].as_array_mut().expect("a list").push(call);
    all.get("list_workspaces", "a part", workspaces);

    let body = json!({
        "workspace_id": workspace, "external_id": external_id(7), "name": "Fabrikam EU",
        "cloud": "global", "credential": "app",
    });
    all.post("add_tenant", "added", "/api/v1/tenants", body.clone(), 201);
    all.refused("add_tenant", "/api/v1/tenants", body, 409, "resource.exists");
    all.get("list_tenants", "a part", "/api/v1/tenants?limit=1");
    all.get("show_tenant", "a tenant", &format!("/api/v1/tenants/{tenant}"));
    let change = json!({"name": "Contoso Manufacturing"});
    let path = format!("/api/v1/tenants/{tenant}");
    all.record("change_tenant", "changed", Method::PATCH, &path, Some(change)).assert_status(200);
    let missing = all.record("show_tenant", "tenant.not_found", Method::GET, "/api/v1/tenants/999", None);
    missing.assert_problem(404, "tenant.not_found");
    let foreign =
        all.record("list_tenants", "request.bad_cursor", Method::GET, "/api/v1/tenants?cursor=x", None);
    foreign.assert_problem(400, "request.bad_cursor");
}

fn runs(all: &mut Recorder, fetch: &Value, run: i64) {
    all.refused(
        "submit_run",
        "/api/v1/runs",
        json!({"type": "assignments.burn", "tenant_id": 1}),
        422,
        "operation.unknown",
    );
    let unknown = json!({"type": "ops.reconcile_adapter_runs", "workspace_id": 999});
    all.refused("submit_run", "/api/v1/runs", unknown, 404, "workspace.not_found");
    // Its calls are never answered, so its run stays.
    let workspace = all.scene.get("/api/v1/workspaces")["items"][0]["id"].as_i64().expect("a number");
    let token = all.scene.token.clone();
    let slow = all.scene.daemon.tenant(&token, workspace, 8, "silent");
    let stays = json!({"type": "assignments.fetch", "tenant_id": slow});
    let held = all.scene.daemon.post("/api/v1/runs", &token, &stays).id();
    all.scene.daemon.await_run(&token, held, |run| run["status"] == "running");
    all.post("submit_run", "active", "/api/v1/runs", stays.clone(), 200);
    let batch = json!({"requests": [stays, fetch, {"type": "assignments.fetch", "tenant_id": 999}]});
    all.post("submit_batch", "one answer each", "/api/v1/runs/batch", batch, 200);
    let explain = json!({"request": fetch, "against": held});
    all.post("explain_identity", "differences", "/api/v1/identity/explain", explain, 200);
    all.get("show_run", "running", &format!("/api/v1/runs/{held}"));
    let cancel = format!("/api/v1/runs/{held}/cancel");
    let reply = all.record("cancel_run", "asked to stop", Method::POST, &cancel, None);
    reply.assert_status(202);
    all.ended(held);
    all.record("cancel_run", "run.already_completed", Method::POST, &cancel, None)
        .assert_problem(409, "run.already_completed");
    all.get("show_run", "completed", &format!("/api/v1/runs/{run}"));
    all.get("list_runs", "a part", "/api/v1/runs?type=assignments.fetch&limit=1");
    all.get("list_attempts", "all", &format!("/api/v1/runs/{run}/attempts"));
    all.record("show_run", "run.not_found", Method::GET, "/api/v1/runs/999", None)
        .assert_problem(404, "run.not_found");
    let retried =
        all.record("retry_run", "accepted", Method::POST, &format!("/api/v1/runs/{run}/retry"), None);
    retried.assert_status(202);
    all.ended(retried.id());
    let reconcile = json!({"workspace_id": workspace, "dry_run": true});
    let reconciled = all.post("reconcile_workspace", "accepted", "/api/v1/reconcile", reconcile, 202);
    all.ended(reconciled.id());
}

fn snapshots(all: &mut Recorder, tenant: i64, before: i64, after: i64) {
    all.get("list_policies", "a part", &format!("/api/v1/tenants/{tenant}/policies?limit=1"));
    all.get("list_snapshots", "a part", &format!("/api/v1/tenants/{tenant}/snapshots?limit=1"));
    all.get("show_snapshot", "a part", &format!("/api/v1/snapshots/{before}?limit=1"));
    all.get("compare_snapshots", "a part", &format!("/api/v1/snapshots/{before}/diff/{after}"));
    all.record("show_snapshot", "snapshot.not_found", Method::GET, "/api/v1/snapshots/999", None)
        .assert_problem(404, "snapshot.not_found");
    let mut file = all.get("export_snapshot", "a file", &format!("/api/v1/snapshots/{before}/export")).body;
    // One policy shows the form.
    file["items"].as_array_mut().expect("a list").truncate(1);
    all.calls["export_snapshot"][0]["answer"] = file.clone();
    let import = format!("/api/v1/tenants/{tenant}/snapshots/import?label=from%20the%20archive");
    all.post("import_snapshot", "imported", &import, file, 201);
}

fn restores(all: &mut Recorder, tenant: i64, snapshot: i64, fetch: i64) {
    let restore = |extra: Value| {
        let mut inputs = json!({"snapshot_id": snapshot});
        inputs.as_object_mut().expect("an object").extend(extra.as_object().cloned().unwrap_or_default());
        json!({"type": "assignments.restore", "tenant_id": tenant, "inputs": inputs})
    };
    let plan =
        all.post("submit_run", "plan a restore", "/api/v1/runs", restore(json!({"dry_run": true})), 202).id();
    all.ended(plan);
    let carried_out = restore(json!({"plan_run_id": plan, "allow_widening": true}));
    let done = all.post("submit_run", "carry the plan out", "/api/v1/runs", carried_out, 202).id();
    assert_eq!(all.ended(done)["outcome"], "succeeded");
    all.get("list_items", "written", &format!("/api/v1/runs/{done}/items?state=verified&limit=1"));
    let undo = format!("/api/v1/runs/{done}/undo");
    let undone = all.post("undo_run", "accepted", &undo, json!({"dry_run": true}), 202);
    all.ended(undone.id());
    all.refused("undo_run", &format!("/api/v1/runs/{fetch}/undo"), json!({}), 422, "run.nothing_to_undo");
}

fn schedules(all: &mut Recorder) {
    let workspace = all.scene.get("/api/v1/workspaces")["items"][0]["id"].as_i64().expect("a number");
    let nightly = json!({
        "workspace_id": workspace, "name": "nightly", "type": "assignments.fetch", "cron": "0 3 * * *",
        "timezone": "Europe/Berlin", "jitter_s": 600,
    });
    let schedule = all.post("add_schedule", "added", "/api/v1/schedules", nightly.clone(), 201).id();
    all.refused("add_schedule", "/api/v1/schedules", nightly, 409, "resource.exists");
    all.get("list_schedules", "a part", "/api/v1/schedules?limit=1");
    let path = format!("/api/v1/schedules/{schedule}");
    all.get("show_schedule", "a schedule", &path);
    let paused = json!({"enabled": false});
    all.record("change_schedule", "paused", Method::PATCH, &path, Some(paused)).assert_status(200);
    all.scene.daemon.send(Method::DELETE, &path, Some(&all.scene.token), None).assert_status(204);
    all.record("show_schedule", "schedule.not_found", Method::GET, &path, None)
        .assert_problem(404, "schedule.not_found");
}

fn failures(all: &mut Recorder) {
    let token = all.scene.token.clone();
    let workspace = all.scene.get("/api/v1/workspaces")["items"][0]["id"].as_i64().expect("a number");
    let tenant = all.scene.daemon.tenant(&token, workspace, 9, "closed");
    let fetch = json!({"type": "assignments.fetch", "tenant_id": tenant});
    let run = all.scene.daemon.post("/api/v1/runs", &token, &fetch).id();
    all.ended(run);
    let again = json!({"code": "graph.network", "tenant_id": tenant});
    let retried = all.post("retry_failures", "one answer each", "/api/v1/failures/retry", again, 200);
    let again = retried.body["verdicts"][0]["run"]["id"].as_i64().expect("it was made again");
    all.ended(again);
    all.get("roll_up_failures", "by code and tenant", "/api/v1/failures?group_by=code,type,tenant&limit=1");
}

/// Where two values have another shape: keys, and kinds of values. What is null in one of them says nothing.
fn differs(recorded: &Value, now: &Value, place: &str, into: &mut Vec<String>) {
    match (recorded, now) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(recorded), Value::Object(now)) => {
            if MAPS.iter().any(|map| place.ends_with(map)) {
                return;
            }
            for key in recorded.keys().chain(now.keys()) {
                match (recorded.get(key), now.get(key)) {
                    (Some(recorded), Some(now)) => differs(recorded, now, &format!("{place}.{key}"), into),
                    _ => into.push(format!("{place}.{key}: only in one of them")),
                }
            }
        }
        (Value::Array(recorded), Value::Array(now)) => {
            if let (Some(recorded), Some(now)) = (recorded.first(), now.first()) {
                differs(recorded, now, &format!("{place}[0]"), into);
            }
        }
        _ if std::mem::discriminant(recorded) == std::mem::discriminant(now) => {}
        _ => into.push(format!("{place}: {recorded} and {now}")),
    }
}

#[test]
fn the_examples_of_the_document_are_what_a_daemon_answers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let now = recorded();
    if std::env::var_os("ATLASD_TEST_REWRITE").is_some() {
        let text = serde_json::to_string_pretty(&now).expect("it is JSON");
        std::fs::write(&path, text + "\n").expect("the file can be written");
        return;
    }
    let text = std::fs::read_to_string(&path).expect("the file is there");
    let recorded: Map<String, Value> = serde_json::from_str(&text).expect("it is JSON");
    let mut differences = Vec::new();
    differs(&json!(recorded), &json!(now), "", &mut differences);
    for (id, now) in &now {
        let (now, recorded) = (now.as_array().expect("a list"), recorded[id].as_array().expect("a list"));
        let about = |call: &Value| (call["name"].to_string(), call["status"].to_string());
        let names = |calls: &[Value]| calls.iter().map(about).collect::<Vec<_>>();
        assert_eq!(names(now), names(recorded), "{id}");
        for (now, recorded) in now.iter().zip(recorded) {
            differs(&recorded["answer"], &now["answer"], &format!("{id} {}", now["name"]), &mut differences);
        }
    }
    assert!(differences.is_empty(), "set ATLASD_TEST_REWRITE=1 to record anew:\n{}", differences.join("\n"));
}
