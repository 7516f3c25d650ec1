//! What a restore names is looked at before it is admitted; its items and its undo, without any call to Graph.
//!
//! The runs here are made in the ledger itself: the daemon's own search for due runs is put off.

use std::collections::BTreeMap;
use std::time::Duration;

use atlasd::config::Span;
use atlasd::domain::admission::Request;
use atlasd::domain::assignment::{Assignment, AssignmentSet, PolicyKey, Target};
use atlasd::domain::counts::Counts;
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::identity::{self, Inputs, ScopeIds};
use atlasd::domain::operation::Operation;
use atlasd::domain::restore::{Decision, ItemState, PlannedItem, Widening};
use atlasd::domain::run::{Completion, Lease, Outcome, Run, Settlement};
use atlasd::ids::{InstanceId, RunId, TenantId, WorkspaceId};
use atlasd::store::{Admitted, Claim, ItemEnd, NewInstance, RestoreEnd, Role};
use serde_json::{Map, Value, json};

use crate::support::{Engine, Reply, TestDaemon, external_id};

struct Scene {
    daemon: TestDaemon,
    token: String,
    workspace: i64,
    tenant: i64,
    instance: InstanceId,
}

fn set_of(groups: &[&str]) -> AssignmentSet {
    let assignment = |group: &&str| Assignment {
        target: Target::Group { group_id: (*group).into() },
        filter: None,
        intent: None,
        extras: BTreeMap::new(),
        inherited_from: None,
    };
    AssignmentSet::new(groups.iter().map(assignment).collect())
}

fn planned(id: &str, decision: Decision) -> PlannedItem {
    PlannedItem {
        policy: key(id),
        name: format!("Policy {id}"),
        base: Some(set_of(&["g-old"])),
        wanted: Some(set_of(&["g-new"])),
        widens: vec![Widening::TargetAdded],
        decision,
    }
}

fn key(id: &str) -> PolicyKey {
    PolicyKey { policy_type: "compliancePolicy".into(), policy_id: id.into() }
}

impl Scene {
    fn new(engine: Engine) -> Self {
        let daemon = TestDaemon::start_with(engine, |config| {
            config.execution.poll = Span(Duration::from_secs(3600));
        });
        let token = daemon.token(Role::Admin, None);
        let workspace = daemon.workspace(&token, "contoso");
        let tenant = daemon.tenant(&token, workspace, 1, "silent");
        let instance = InstanceId::fresh();
        let row = NewInstance {
            id: instance,
            hostname: "test".into(),
            pid: 1,
            version: "0".into(),
            lease: Duration::from_secs(600),
        };
        daemon.block_on(daemon.store().register_instance(&row, false)).expect("an instance");
        Self { daemon, token, workspace, tenant, instance }
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.daemon.post(path, &self.token, body)
    }

    fn restore(&self, inputs: Value) -> Reply {
        self.post("/api/v1/runs", &self.request(inputs))
    }

    fn request(&self, inputs: Value) -> Value {
        json!({"type": "assignments.restore", "tenant_id": self.tenant, "inputs": inputs})
    }

    /// A snapshot of a tenant, out of a file.
    fn snapshot(&self, tenant: i64) -> i64 {
        let file = crate::snapshot_files::file(&[("a", &["g-new"])]);
        let reply = self.post(&format!("/api/v1/tenants/{tenant}/snapshots/import"), &file);
        reply.assert_status(201);
        reply.id()
    }

    /// A run with these inputs in the ledger, queued, of which the daemon does not know.
    fn queued(&self, operation: Operation, inputs: &Value) -> Run {
        let inputs = Inputs::normalise(operation, inputs).expect("valid inputs");
        let scope =
            ScopeIds { workspace: "contoso".into(), tenant: Some(external_id(1).parse().expect("a UUID")) };
        let request = Request {
            workspace_id: WorkspaceId(self.workspace),
            tenant_id: Some(TenantId(self.tenant)),
            user_id: None,
            initiator_name: "test".into(),
            operation,
            identity: identity::hash(operation, &scope, &inputs),
            context: Map::from_iter([("inputs".to_owned(), inputs.to_json())]),
            force: false,
        };
        let admitted = self.daemon.block_on(self.daemon.store().admit(vec![request])).expect("a verdict");
        match admitted.into_iter().next() {
            Some(Admitted::Accepted(run)) => run,
            other => panic!("expected Accepted, got {other:?}"),
        }
    }

    fn claimed(&self, operation: Operation, inputs: &Value) -> Lease {
        self.queued(operation, inputs);
        let claim = self.daemon.store().claim_next(TenantId(self.tenant), self.instance);
        match self.daemon.block_on(claim).expect("an answer") {
            Claim::Claimed { run, .. } => Lease { run_id: run.id, token: run.lease_token },
            other => panic!("expected Claimed, got {other:?}"),
        }
    }

    fn settle(&self, lease: Lease, outcome: Outcome, cooldown: Duration) -> RunId {
        let failed = outcome == Outcome::Failed;
        let completion = Completion {
            outcome,
            counts: Counts::default(),
            failures: if failed { vec![Failure::new(Code::GraphForbidden, "no")] } else { Vec::new() },
            context: Map::new(),
            cooldown,
        };
        let settling = self.daemon.store().settle(lease, Settlement::Complete(completion));
        self.daemon.block_on(settling).expect("settled");
        lease.run_id
    }

    fn completed(&self, operation: Operation, inputs: &Value, outcome: Outcome) -> i64 {
        self.settle(self.claimed(operation, inputs), outcome, Duration::ZERO).0
    }

    /// From here on the daemon executes nothing for the tenant: another instance does.
    fn busy(&self) {
        self.claimed(Operation::Fetch, &json!({"policy_ids": ["busy"]}));
    }

    /// A completed restore that wrote the policies `a` and `b`, skipped `c` and refused `d`.
    fn restored(&self, inputs: &Value) -> i64 {
        let lease = self.claimed(Operation::Restore, inputs);
        let store = self.daemon.store();
        self.daemon.block_on(async {
            let restore = store.begin_restore(lease, false).await.expect("begun").expect("a good lease");
            let failure = Failure::new(Code::AssignmentsGroupUnmapped, "no group for g");
            let items = vec![
                planned("a", Decision::Write { calls: 1 }),
                planned("b", Decision::Write { calls: 1 }),
                planned("c", Decision::Unchanged),
                planned("d", Decision::Refused(failure)),
            ];
            assert!(store.plan_items(lease, items).await.expect("planned"));
            for id in ["a", "b"] {
                let (old, new) = (set_of(&["g-old"]), set_of(&["g-new"]));
                assert!(store.mark_sent(lease, &key(id), &old, &new).await.expect("sent").is_some());
                let end = ItemEnd { state: ItemState::Verified, verified: Some(new), failure: None };
                assert!(store.mark_item(lease, &key(id), end).await.expect("marked"));
            }
            let end = RestoreEnd {
                outcome: Outcome::Failed,
                counts: Counts::default(),
                failures: vec![Failure::new(Code::AssignmentsPartialFailure, "1 policy")],
            };
            assert!(store.finish_restore(lease, restore, end).await.expect("finished"));
        });
        self.settle(lease, Outcome::Failed, Duration::ZERO).0
    }
}

fn only_a_snapshot_of_the_tenant_can_be_restored(engine: Engine) {
    let scene = Scene::new(engine);
    let other_tenant = scene.daemon.tenant(&scene.token, scene.workspace, 2, "silent");
    let other_workspace = scene.daemon.workspace(&scene.token, "fabrikam");
    let third = scene.daemon.tenant(&scene.token, other_workspace, 3, "silent");
    let unknown = scene.restore(json!({"snapshot_id": 999_999}));
    unknown.assert_problem(422, "request.invalid").assert_field("inputs.snapshot_id");
    for foreign in [scene.snapshot(other_tenant), scene.snapshot(third)] {
        let reply = scene.restore(json!({"snapshot_id": foreign}));
        assert_eq!((reply.status, &reply.body), (422, &unknown.body), "foreign is told like unknown");
    }
    let largest = scene.restore(json!({"snapshot_id": 9_007_199_254_740_991_u64}));
    assert_eq!(largest.body, unknown.body);
    let runs = scene.daemon.get("/api/v1/runs?type=assignments.restore", &scene.token);
    assert_eq!(runs.body["items"], json!([]), "nothing was written");
    scene.busy();
    let own = scene.snapshot(scene.tenant);
    let accepted = scene.restore(json!({"snapshot_id": own}));
    accepted.assert_status(202);
    assert_eq!(accepted.body["run"]["context"]["inputs"]["mode"], "exact");
}

fn a_snapshot_that_was_not_read_to_its_end_is_refused(engine: Engine) {
    let scene = Scene::new(engine);
    let lease = scene.claimed(Operation::Fetch, &json!({}));
    let begun = scene.daemon.block_on(scene.daemon.store().begin_snapshot(lease));
    let snapshot = begun.expect("an answer").expect("a good lease");
    let refused = || {
        let reply = scene.restore(json!({"snapshot_id": snapshot}));
        reply.assert_problem(422, "request.invalid").assert_field("inputs.snapshot_id");
        assert!(
            reply.body["detail"].as_str().is_some_and(|text| text.contains("to its end")),
            "{}",
            reply.text
        );
    };
    refused();
    scene.settle(lease, Outcome::Failed, Duration::ZERO);
    refused();
    let export = scene.daemon.get(&format!("/api/v1/snapshots/{snapshot}/export"), &scene.token);
    export.assert_problem(409, "snapshot.not_finished");
}

fn a_plan_is_the_completed_dry_run_of_the_same_request(engine: Engine) {
    let scene = Scene::new(engine);
    let snapshot = scene.snapshot(scene.tenant);
    let refused = |inputs: Value, text: &str| {
        let reply = scene.restore(inputs);
        reply.assert_problem(422, "request.invalid").assert_field("inputs.plan_run_id");
        assert!(reply.body["detail"].as_str().is_some_and(|detail| detail.contains(text)), "{}", reply.text);
    };
    let with = |plan: i64| json!({"snapshot_id": snapshot, "plan_run_id": plan});
    refused(with(999_999), "found none with this id");
    let fetch = scene.completed(Operation::Fetch, &json!({}), Outcome::Succeeded);
    refused(with(fetch), "found none with this id");
    let dry = json!({"snapshot_id": snapshot, "dry_run": true});
    let failed = scene.completed(Operation::Restore, &dry, Outcome::Failed);
    refused(with(failed), "found one that failed");
    let wet = scene.completed(Operation::Restore, &json!({"snapshot_id": snapshot}), Outcome::Succeeded);
    refused(with(wet), "found another restore");
    let plan = scene.completed(Operation::Restore, &dry, Outcome::Succeeded);
    let mut both = with(plan);
    both["dry_run"] = json!(true);
    refused(both, "with dry_run");
    let mut other = with(plan);
    other["mode"] = json!("merge");
    refused(other, "`mode`");
    scene.busy();
    let mut widening = with(plan);
    widening["allow_widening"] = json!(true);
    scene.restore(widening).assert_status(202);
    let running = scene.queued(Operation::Restore, &dry);
    refused(with(running.id.0), "found one that is queued");
}

fn a_request_whose_identity_is_held_gets_its_verdict_whatever_became_of_its_snapshot(engine: Engine) {
    let scene = Scene::new(engine);
    scene.busy();
    let gone = json!({"snapshot_id": 999_999});
    let held = scene.queued(Operation::Restore, &gone);
    let reply = scene.restore(gone.clone());
    assert_eq!((reply.status, reply.body["verdict"].as_str(), reply.id()), (200, Some("active"), held.id.0));
    let other = json!({"snapshot_id": 888_888});
    let batch = json!({"requests": [scene.request(gone.clone()), scene.request(other)]});
    let batch = scene.post("/api/v1/runs/batch", &batch);
    let verdicts = &batch.assert_status(200).body["verdicts"];
    assert_eq!((&verdicts[0]["verdict"], &verdicts[0]["run"]["id"]), (&json!("active"), &json!(held.id)));
    assert_eq!(verdicts[1]["error"]["field"], "inputs.snapshot_id");
    let retry = scene.post(&format!("/api/v1/runs/{}/retry", held.id), &json!({}));
    assert_eq!((retry.status, retry.id()), (200, held.id.0));
}

fn a_retry_of_a_restore_is_checked_like_the_first_request(engine: Engine) {
    let scene = Scene::new(engine);
    let snapshot = scene.snapshot(scene.tenant);
    let run = scene.completed(Operation::Restore, &json!({"snapshot_id": snapshot}), Outcome::Failed);
    let gone = scene.completed(Operation::Restore, &json!({"snapshot_id": 999_999}), Outcome::Failed);
    scene.busy();
    let again = scene.post(&format!("/api/v1/runs/{run}/retry"), &json!({}));
    again.assert_status(202);
    assert_eq!(again.body["run"]["context"]["retry_of"], run);
    let refused = scene.post(&format!("/api/v1/runs/{gone}/retry"), &json!({}));
    refused.assert_problem(422, "request.invalid").assert_field("inputs.snapshot_id");
}

fn items_show_the_plan_and_how_far_it_got(engine: Engine) {
    let scene = Scene::new(engine);
    let run = scene.restored(&json!({"snapshot_id": 5}));
    let get = |query: &str| scene.daemon.get(&format!("/api/v1/runs/{run}/items{query}"), &scene.token);
    let all = get("").assert_status(200).body.clone();
    let states: Vec<_> = all["items"].as_array().expect("a list").iter().map(|item| &item["state"]).collect();
    assert_eq!(states, ["verified", "verified", "skipped", "failed"]);
    let first = &all["items"][0];
    assert_eq!(first["diff"]["added"][0]["target"], json!({"type": "group", "group_id": "g-new"}));
    assert_eq!(first["diff"]["removed"][0]["target"]["group_id"], "g-old");
    assert_eq!(first["widens"], json!(["target_added"]));
    assert_eq!(first["verified_hash"], json!(set_of(&["g-new"]).hash()));
    assert_eq!(
        (&first["base_hash"], &first["sent_hash"]),
        (&json!(set_of(&["g-old"]).hash()), &first["wanted_hash"])
    );
    assert_eq!(all["items"][3]["failure"]["code"], "assignments.group_unmapped");
    let verified = get("?state=verified&limit=1").assert_status(200).body.clone();
    assert_eq!(verified["items"], json!([first]));
    let cursor = verified["next_cursor"].as_str().expect("there is more");
    let rest = get(&format!("?state=verified&limit=1&cursor={cursor}")).body;
    assert_eq!((&rest["items"][0]["policy_id"], &rest["next_cursor"]), (&json!("b"), &Value::Null));
    get("?state=done").assert_problem(422, "request.invalid").assert_field("state");
    get("?cursor=!").assert_problem(400, "request.bad_cursor");
    let fetch = scene.completed(Operation::Fetch, &json!({}), Outcome::Succeeded);
    let none = scene.daemon.get(&format!("/api/v1/runs/{fetch}/items"), &scene.token);
    assert_eq!(none.assert_status(200).body, json!({"items": [], "next_cursor": null}));
}

fn an_undo_is_a_restore_of_what_was_replaced(engine: Engine) {
    let scene = Scene::new(engine);
    let run = scene.restored(&json!({"snapshot_id": 5, "mode": "merge"}));
    scene.busy();
    let path = format!("/api/v1/runs/{run}/undo");
    let planned = scene.post(&path, &json!({"dry_run": true}));
    planned.assert_status(202);
    let inputs = &planned.body["run"]["context"]["inputs"];
    let replaced = inputs["snapshot_id"].as_i64().expect("a snapshot");
    assert_eq!(
        inputs,
        &json!({"snapshot_id": replaced, "plan_run_id": run, "dry_run": true, "policy_ids": null,
            "group_map": {}, "mode": "exact", "allow_widening": false})
    );
    let snapshot = scene.daemon.get(&format!("/api/v1/snapshots/{replaced}"), &scene.token);
    assert_eq!(
        (&snapshot.body["kind"], &snapshot.body["operation_run_id"]),
        (&json!("replaced"), &json!(run))
    );
    assert_eq!(snapshot.body["items"].as_array().map(Vec::len), Some(2), "what it wrote, and no more");
    // Without a body, as with an empty one.
    let undone = scene.daemon.send(reqwest::Method::POST, &path, Some(&scene.token), None);
    undone.assert_status(202);
    assert_eq!(undone.body["run"]["context"]["undo_of"], run);
    assert_eq!(undone.body["run"]["context"]["inputs"]["dry_run"], false);
    let twice = scene.post(&path, &json!({}));
    assert_eq!(
        (twice.status, twice.body["verdict"].as_str(), twice.id()),
        (200, Some("active"), undone.id())
    );
    // The same request, asked for as what it is.
    let mut by_inputs = undone.body["run"]["context"]["inputs"].clone();
    assert_eq!(scene.restore(by_inputs.clone()).id(), undone.id());
    by_inputs["plan_run_id"] = json!(undone.id());
    scene.restore(by_inputs).assert_problem(422, "request.invalid").assert_field("inputs.plan_run_id");
    scene.post(&path, &json!({"dry": true})).assert_problem(422, "request.invalid").assert_field("dry");
}

fn what_cannot_be_undone_says_why(engine: Engine) {
    let scene = Scene::new(engine);
    let undo = |run: i64| scene.post(&format!("/api/v1/runs/{run}/undo"), &json!({}));
    undo(999_999).assert_problem(404, "run.not_found");
    let fetch = scene.completed(Operation::Fetch, &json!({}), Outcome::Succeeded);
    undo(fetch).assert_problem(422, "run.nothing_to_undo");
    let dry = json!({"snapshot_id": 5, "dry_run": true});
    undo(scene.completed(Operation::Restore, &dry, Outcome::Succeeded))
        .assert_problem(422, "run.nothing_to_undo");
    let nothing = scene.completed(Operation::Restore, &json!({"snapshot_id": 5}), Outcome::Succeeded);
    undo(nothing).assert_problem(422, "run.nothing_to_undo");
    scene.busy();
    let queued = scene.queued(Operation::Restore, &json!({"snapshot_id": 6}));
    undo(queued.id.0).assert_problem(409, "run.not_completed");
}

fn drift_is_a_fetch_of_the_types_of_the_snapshot(engine: Engine) {
    let scene = Scene::new(engine);
    scene.busy();
    let snapshot = scene.snapshot(scene.tenant);
    let path = format!("/api/v1/snapshots/{snapshot}/drift");
    let reply = scene.daemon.send(reqwest::Method::POST, &path, Some(&scene.token), None);
    reply.assert_status(202);
    assert_eq!(reply.body["run"]["type"], "assignments.fetch");
    let context = &reply.body["run"]["context"];
    assert_eq!(context["inputs"], json!({"policy_types": ["compliancePolicy"], "policy_ids": null}));
    assert_eq!(context["drift_of"], snapshot);
    let again = scene.post(&path, &json!({"force": true}));
    assert_eq!((again.status, again.body["verdict"].as_str(), again.id()), (200, Some("active"), reply.id()));
    let mut empty = crate::snapshot_files::file(&[]);
    empty["snapshot"]["coverage"] = json!({});
    let empty = scene.post(&format!("/api/v1/tenants/{}/snapshots/import", scene.tenant), &empty).id();
    scene.post(&format!("/api/v1/snapshots/{empty}/drift"), &json!({})).assert_problem(422, "snapshot.empty");
}

#[test]
fn a_bound_token_finds_no_restore_and_no_snapshot_of_another_workspace() {
    let scene = Scene::new(Engine::Sqlite);
    let snapshot = scene.snapshot(scene.tenant);
    let run = scene.restored(&json!({"snapshot_id": snapshot}));
    let own = scene.daemon.workspace(&scene.token, "own");
    let bound = scene.daemon.token(Role::Admin, Some(own));
    scene.daemon.get(&format!("/api/v1/runs/{run}/items"), &bound).assert_problem(404, "run.not_found");
    scene
        .daemon
        .get(&format!("/api/v1/snapshots/{snapshot}/export"), &bound)
        .assert_problem(404, "snapshot.not_found");
    let post = |path: String, body: Value| scene.daemon.post(&path, &bound, &body);
    post(format!("/api/v1/runs/{run}/undo"), json!({})).assert_problem(404, "run.not_found");
    post(format!("/api/v1/snapshots/{snapshot}/drift"), json!({})).assert_problem(404, "snapshot.not_found");
    let file = crate::snapshot_files::file(&[]);
    post(format!("/api/v1/tenants/{}/snapshots/import", scene.tenant), file)
        .assert_problem(404, "tenant.not_found");
    let tenant = scene.daemon.tenant(&scene.token, own, 9, "silent");
    let request =
        json!({"type": "assignments.restore", "tenant_id": tenant, "inputs": {"snapshot_id": snapshot}});
    post("/api/v1/runs".to_owned(), request)
        .assert_problem(422, "request.invalid")
        .assert_field("inputs.snapshot_id");
}

on_both_engines! {
    only_a_snapshot_of_the_tenant_can_be_restored,
    a_snapshot_that_was_not_read_to_its_end_is_refused,
    a_plan_is_the_completed_dry_run_of_the_same_request,
    a_request_whose_identity_is_held_gets_its_verdict_whatever_became_of_its_snapshot,
    a_retry_of_a_restore_is_checked_like_the_first_request,
    items_show_the_plan_and_how_far_it_got,
    an_undo_is_a_restore_of_what_was_replaced,
    what_cannot_be_undone_says_why,
    drift_is_a_fetch_of_the_types_of_the_snapshot,
}
