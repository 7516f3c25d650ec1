//! Verdicts, on both engines.

use atlasd::store::Role;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Engine, Reply, TestDaemon, external_id};

/// A daemon with one workspace and one tenant, whose fetches stay running (`silent`) or fail at once (`closed`).
struct Scene {
    daemon: TestDaemon,
    token: String,
    workspace: i64,
    tenant: i64,
}

impl Scene {
    fn new(engine: Engine, cloud: &str) -> Self {
        let daemon = TestDaemon::start(engine);
        let token = daemon.token(Role::Admin, None);
        let workspace = daemon.workspace(&token, "contoso");
        let tenant = daemon.tenant(&token, workspace, 1, cloud);
        Self { daemon, token, workspace, tenant }
    }

    fn fetch(&self) -> Value {
        json!({"type": "assignments.fetch", "tenant_id": self.tenant})
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.daemon.post(path, &self.token, body)
    }

    fn completed(&self, run: i64) -> Value {
        self.daemon.await_run(&self.token, run, |run| run["status"] == "completed")
    }
}

fn a_second_request_gets_the_active_run(engine: Engine) {
    let scene = Scene::new(engine, "silent");
    let first = scene.post("/api/v1/runs", &scene.fetch());
    first.assert_status(202);
    assert_eq!(first.body["verdict"], "accepted");
    assert_eq!(first.body["run"]["type"], "assignments.fetch");
    assert_eq!(first.body["run"]["workspace_id"], scene.workspace);
    let by_external_id =
        json!({"type": "assignments.fetch", "tenant_external_id": external_id(1).to_uppercase()});
    let second = scene.post("/api/v1/runs", &by_external_id);
    second.assert_status(200);
    assert_eq!((second.body["verdict"].as_str(), second.id()), (Some("active"), first.id()));
    assert!(!second.headers.contains_key("retry-after"));
}

fn a_completed_run_answers_cooldown_until_it_is_forced(engine: Engine) {
    let scene = Scene::new(engine, "closed");
    let first = scene.post("/api/v1/runs", &scene.fetch()).id();
    let run = scene.completed(first);
    assert_eq!(run["outcome"], "failed");
    assert_eq!(run["failure_summary"][0]["code"], "graph.network", "{run}");
    let refused = scene.post("/api/v1/runs", &scene.fetch());
    refused.assert_status(200);
    assert_eq!((refused.body["verdict"].as_str(), refused.id()), (Some("cooldown"), first));
    assert_eq!(refused.body["retry_at"], run["cooldown_until"]);
    let wait_s = refused.body["retry_after_s"].as_u64().expect("a number");
    assert!((890..=901).contains(&wait_s), "{wait_s}");
    assert_eq!(refused.headers["retry-after"], wait_s.to_string().as_str());
    let forced = scene.post(
        "/api/v1/runs",
        &json!({"type": "assignments.fetch", "tenant_id": scene.tenant, "force": true}),
    );
    forced.assert_status(202);
    assert_ne!(forced.id(), first);
    assert_eq!(forced.body["run"]["context"]["forced_by"], forced.body["run"]["initiator_name"]);
}

fn of_many_equal_requests_at_once_exactly_one_is_accepted(engine: Engine) {
    let scene = Scene::new(engine, "silent");
    let body = scene.fetch().to_string().into_bytes();
    let replies = scene.daemon.block_on(join_all((0..256).map(|_| {
        scene.daemon.sending(Method::POST, "/api/v1/runs", Some(&scene.token), Some(body.clone()))
    })));
    let of = |verdict: &str| replies.iter().filter(|reply| reply.body["verdict"] == verdict).count();
    assert_eq!((of("accepted"), of("active")), (1, 255));
    let run = replies[0].id();
    assert!(replies.iter().all(|reply| reply.id() == run));
    scene.daemon.await_run(&scene.token, run, |run| run["duplicate_count"] == 255);
}

fn a_batch_answers_each_request_in_order(engine: Engine) {
    let scene = Scene::new(engine, "silent");
    let one =
        json!({"type": "assignments.fetch", "tenant_id": scene.tenant, "inputs": {"policy_ids": ["a"]}});
    let batch = json!({"requests": [
        one, {"type": "nope"}, scene.fetch(), one,
        {"type": "assignments.fetch", "tenant_id": 999_999}, 5,
    ]});
    let reply = scene.post("/api/v1/runs/batch", &batch);
    reply.assert_status(200);
    let verdicts = reply.body["verdicts"].as_array().expect("a list");
    assert_eq!(verdicts.len(), 6);
    assert_eq!(verdicts[0]["verdict"], "accepted");
    assert_eq!(verdicts[1]["error"]["code"], "operation.unknown");
    assert_eq!(verdicts[2]["verdict"], "accepted");
    assert_eq!(verdicts[3]["verdict"], "active");
    assert_eq!(verdicts[3]["run"]["id"], verdicts[0]["run"]["id"]);
    assert_eq!(verdicts[4]["error"]["code"], "tenant.not_found");
    assert_eq!(verdicts[5]["error"]["status"], 422);
}

fn a_retry_skips_the_cooldown_and_names_the_run(engine: Engine) {
    let scene = Scene::new(engine, "closed");
    let first = scene
        .post(
            "/api/v1/runs",
            &json!({"type": "assignments.fetch", "tenant_id": scene.tenant, "inputs": {"policy_ids": ["b", "a"]}}),
        )
        .id();
    scene.completed(first);
    let retry = scene.post(&format!("/api/v1/runs/{first}/retry"), &json!({}));
    retry.assert_status(202);
    assert_eq!(retry.body["run"]["context"]["retry_of"], first);
    assert_eq!(retry.body["run"]["context"]["inputs"]["policy_ids"], json!(["a", "b"]));
    let hash = |run: i64| {
        scene.daemon.get(&format!("/api/v1/runs/{run}"), &scene.token).body["run_identity_hash"].clone()
    };
    assert_eq!(hash(first), hash(retry.id()));
}

fn a_cancelled_run_leaves_no_cooldown(engine: Engine) {
    let scene = Scene::new(engine, "silent");
    let run = scene.post("/api/v1/runs", &scene.fetch()).id();
    let cancel = format!("/api/v1/runs/{run}/cancel");
    scene.post(&cancel, &json!({})).assert_status(202);
    let ended = scene.completed(run);
    assert_eq!(ended["failure_summary"][0]["code"], "run.cancelled");
    scene.post(&cancel, &json!({})).assert_problem(409, "run.already_completed");
    scene.post("/api/v1/runs", &scene.fetch()).assert_status(202);
}

on_both_engines! {
    a_second_request_gets_the_active_run,
    a_completed_run_answers_cooldown_until_it_is_forced,
    of_many_equal_requests_at_once_exactly_one_is_accepted,
    a_batch_answers_each_request_in_order,
    a_retry_skips_the_cooldown_and_names_the_run,
    a_cancelled_run_leaves_no_cooldown,
}

#[test]
fn lists_are_filtered_and_come_in_parts_newest_first() {
    let scene = Scene::new(Engine::Sqlite, "silent");
    let ids: Vec<i64> = ["a", "b", "c"]
        .into_iter()
        .map(|id| {
            let inputs = json!({"policy_ids": [id]});
            let request = json!({"type": "assignments.fetch", "tenant_id": scene.tenant, "inputs": inputs});
            scene.post("/api/v1/runs", &request).id()
        })
        .collect();
    let list = |query: &str| scene.daemon.get(&format!("/api/v1/runs?{query}"), &scene.token);
    let fetches = "type=assignments.fetch&limit=2";
    let first = list(fetches);
    let numbers = |reply: &Reply| -> Vec<i64> {
        reply.body["items"].as_array().expect("a list").iter().filter_map(|run| run["id"].as_i64()).collect()
    };
    assert_eq!(numbers(&first), [ids[2], ids[1]]);
    let cursor = first.body["next_cursor"].as_str().expect("there is more");
    let second = list(&format!("{fetches}&cursor={cursor}"));
    assert_eq!((numbers(&second), &second.body["next_cursor"]), (vec![ids[0]], &Value::Null));
    assert!(numbers(&list("type=assignments.fetch&outcome=succeeded")).is_empty());
    assert_eq!(
        numbers(&list(&format!("tenant_id={}&workspace_id={}", scene.tenant, scene.workspace))).len(),
        3
    );
    list("cursor=nonsense").assert_problem(400, "request.bad_cursor");
}

#[test]
fn a_run_has_its_attempts() {
    let scene = Scene::new(Engine::Sqlite, "closed");
    let run = scene.post("/api/v1/runs", &scene.fetch()).id();
    scene.completed(run);
    let attempts = scene.daemon.get(&format!("/api/v1/runs/{run}/attempts"), &scene.token);
    let items = attempts.assert_status(200).body["items"].as_array().expect("a list");
    assert_eq!(items.len(), 1);
    assert_eq!(
        (items[0]["outcome"].as_str(), items[0]["code"].as_str()),
        (Some("failed"), Some("graph.network"))
    );
}

#[test]
fn a_reconcile_run_says_whether_it_was_a_dry_run() {
    let scene = Scene::new(Engine::Sqlite, "closed");
    let reply = scene.post("/api/v1/reconcile", &json!({"workspace_id": scene.workspace, "dry_run": true}));
    // The daemon's own pass at its start may be the active one.
    if reply.body["verdict"] == "accepted" {
        assert_eq!(reply.assert_status(202).body["run"]["context"]["dry_run"], true);
    } else {
        assert_eq!(reply.assert_status(200).body["verdict"], "active");
    }
    assert_eq!(reply.body["run"]["tenant_id"], Value::Null);
    scene
        .post("/api/v1/reconcile", &json!({"workspace_id": 999_999}))
        .assert_problem(404, "workspace.not_found");
}

#[test]
fn a_full_gate_is_503_with_retry_after_and_writes_nothing() {
    let daemon = TestDaemon::start_with(Engine::Sqlite, |config| config.admission.waiting_max = 1);
    let token = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "silent");
    let request = |id: usize| {
        let inputs = json!({"policy_ids": [id.to_string()]});
        json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": inputs}).to_string().into_bytes()
    };
    let (mut accepted, mut refused) = (0, 0);
    // Whether two requests meet at the gate is chance; that none of many rounds brings it about is not.
    for round in 0..50 {
        let replies = daemon.block_on(join_all((0..16).map(|index| {
            let body = request(round * 16 + index);
            daemon.sending(Method::POST, "/api/v1/runs", Some(&token), Some(body))
        })));
        for reply in &replies {
            if reply.status == 202 {
                accepted += 1;
            } else {
                reply.assert_problem(503, "admission.full");
                assert_eq!(reply.headers["retry-after"], "1");
                refused += 1;
            }
        }
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "{accepted} requests and never a full gate");
    let runs = daemon.get("/api/v1/runs?type=assignments.fetch&limit=500", &token);
    assert_eq!(runs.body["items"].as_array().map(Vec::len), Some(accepted), "a refused request wrote a run");
}

#[test]
fn explain_shows_the_identity_its_holder_and_the_differences() {
    let scene = Scene::new(Engine::Sqlite, "silent");
    let run = scene.post("/api/v1/runs", &scene.fetch());
    let explain = |request: Value, against: Option<i64>| {
        let reply = scene.post("/api/v1/identity/explain", &json!({"request": request, "against": against}));
        reply.assert_status(200).body.clone()
    };
    let same = explain(scene.fetch(), Some(run.id()));
    assert_eq!(same["run_identity_hash"], run.body["run"]["run_identity_hash"]);
    assert_eq!(same["held_by"]["id"], run.id());
    assert_eq!(same["differences"], json!([]));
    assert!(same["canonical"].as_str().expect("text").starts_with("{\"identity_version\":1,"));
    let other =
        json!({"type": "assignments.fetch", "tenant_id": scene.tenant, "inputs": {"policy_ids": ["x"]}});
    let other = explain(other, Some(run.id()));
    assert_eq!(other["held_by"], Value::Null);
    assert_eq!(other["differences"][0]["path"], "/inputs/policy_ids");
    let restore =
        json!({"type": "assignments.restore", "tenant_id": scene.tenant, "inputs": {"snapshot_id": 77}});
    assert_eq!(explain(restore, None)["differences"], json!([]));
}
