//! Restores over HTTP, of a tenant that the sandbox plays: planned, carried out, undone; and what others changed
//! meanwhile stays.

use atlasd::sandbox::config::SINGLE_TENANT;
use serde_json::{Value, json};

use crate::snapshots::{Scene, TYPE};
use crate::support::Reply;

/// A policy that is assigned to one group, in a snapshot that says so; by now it is assigned to another group.
struct Changed {
    scene: Scene,
    policy: String,
    snapshot: i64,
    groups: Vec<String>,
}

impl Changed {
    fn new() -> Self {
        let scene = Scene::new();
        let world = scene.sandbox.state();
        let groups = world.group_ids(SINGLE_TENANT);
        let policy = world.add_policy(SINGLE_TENANT, TYPE, Some("Baseline"), vec![target(&groups[0])]);
        let policy = policy.expect("the type is known");
        let snapshot = scene.fetch(json!({}));
        let changed = Self { scene, policy, snapshot, groups };
        changed.edit(1);
        changed
    }

    /// Somebody assigns the policy to another group.
    fn edit(&self, group: usize) {
        let world = self.scene.sandbox.state();
        world
            .set_assignments(SINGLE_TENANT, TYPE, &self.policy, vec![target(&self.groups[group])])
            .expect("the policy exists");
    }

    /// The groups that the policy is assigned to, as indexes.
    fn now(&self) -> Vec<Option<usize>> {
        let truth = self.scene.sandbox.state().expected(SINGLE_TENANT);
        let items = &truth[&(TYPE.to_owned(), self.policy.clone())];
        let index = |item: &Value| self.groups.iter().position(|group| item["target"]["groupId"] == **group);
        items.iter().map(index).collect()
    }

    fn writes(&self) -> usize {
        self.scene.sandbox.state().writes_of(SINGLE_TENANT).len()
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.scene.daemon.post(path, &self.scene.token, body)
    }

    /// A restore of the snapshot, to its end.
    fn restored(&self, inputs: Value) -> Value {
        let mut all = json!({"snapshot_id": self.snapshot});
        all.as_object_mut().expect("an object").extend(inputs.as_object().cloned().expect("an object"));
        let request = json!({"type": "assignments.restore", "tenant_id": self.scene.tenant, "inputs": all, "force": true});
        self.ended(&self.post("/api/v1/runs", &request))
    }

    fn undone(&self, run: &Value, how: Value) -> Value {
        self.ended(&self.post(&format!("/api/v1/runs/{}/undo", run["id"]), &how))
    }

    fn ended(&self, verdict: &Reply) -> Value {
        verdict.assert_status(202);
        self.scene.daemon.await_run(&self.scene.token, verdict.id(), |run| run["status"] == "completed")
    }

    /// What a run did with the policy.
    fn item(&self, run: &Value) -> Value {
        let items = self.scene.all(&format!("/api/v1/runs/{}/items", run["id"]), 25);
        items.into_iter().find(|item| item["policy_id"] == *self.policy).expect("it is among them")
    }
}

fn target(group: &str) -> Value {
    json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": group}})
}

#[test]
fn a_plan_shows_the_difference_and_is_carried_out_and_undone() {
    let world = Changed::new();
    let plan = world.restored(json!({"dry_run": true}));
    assert_eq!((&plan["outcome"], world.writes()), (&json!("succeeded"), 0), "{plan}");
    let item = world.item(&plan);
    assert_eq!((&item["state"], &item["sent_hash"]), (&json!("planned"), &Value::Null), "{item}");
    assert_eq!(item["diff"]["added"][0]["target"]["group_id"], world.groups[0].as_str());
    assert_eq!(item["diff"]["removed"][0]["target"]["group_id"], world.groups[1].as_str());

    let run = world.restored(json!({"plan_run_id": plan["id"]}));
    assert_eq!(
        (&run["outcome"], world.now(), world.writes()),
        (&json!("succeeded"), vec![Some(0)], 1),
        "{run}"
    );
    let item = world.item(&run);
    assert_eq!(item["state"], "verified", "{item}");
    assert_eq!((&item["verified_hash"], &item["sent_hash"]), (&item["wanted_hash"], &item["wanted_hash"]));

    let plan = world.undone(&run, json!({"dry_run": true}));
    assert_eq!((&plan["outcome"], world.now()), (&json!("succeeded"), vec![Some(0)]), "{plan}");
    assert_eq!(world.item(&plan)["diff"]["added"][0]["target"]["group_id"], world.groups[1].as_str());
    let undone = world.undone(&run, json!({}));
    assert_eq!((&undone["outcome"], world.now()), (&json!("succeeded"), vec![Some(1)]), "{undone}");
    let redone = world.undone(&undone, json!({}));
    assert_eq!(
        (&redone["outcome"], world.now()),
        (&json!("succeeded"), vec![Some(0)]),
        "an undo can be undone"
    );
}

#[test]
fn what_was_changed_since_the_plan_stays() {
    let world = Changed::new();
    let plan = world.restored(json!({"dry_run": true}));
    world.edit(2);
    let run = world.restored(json!({"plan_run_id": plan["id"]}));
    assert_eq!((&run["outcome"], world.now(), world.writes()), (&json!("failed"), vec![Some(2)], 0), "{run}");
    let item = world.item(&run);
    assert_eq!(
        (&item["state"], &item["failure"]["code"]),
        (&json!("failed"), &json!("assignments.drifted_since_plan"))
    );
    let nothing = world.post(&format!("/api/v1/runs/{}/undo", run["id"]), &json!({}));
    nothing.assert_problem(422, "run.nothing_to_undo");
}

#[test]
fn what_was_changed_since_the_restore_is_not_undone() {
    let world = Changed::new();
    let run = world.restored(json!({}));
    assert_eq!(world.now(), [Some(0)], "{run}");
    world.edit(2);
    let plan = world.undone(&run, json!({"dry_run": true}));
    assert_eq!(world.item(&plan)["failure"]["code"], "assignments.drifted_since_plan");
    let undone = world.undone(&run, json!({}));
    assert_eq!((&undone["outcome"], world.now()), (&json!("failed"), vec![Some(2)]), "{undone}");
}

#[test]
fn a_restore_can_be_retried() {
    let world = Changed::new();
    let run = world.restored(json!({"policy_ids": [world.policy]}));
    world.edit(1);
    let again = world.ended(&world.post(&format!("/api/v1/runs/{}/retry", run["id"]), &json!({})));
    assert_eq!((&again["outcome"], &again["context"]["retry_of"]), (&json!("succeeded"), &run["id"]));
    assert_eq!(world.now(), [Some(0)]);
}

#[test]
fn drift_is_what_lies_between_the_snapshot_and_its_fetch() {
    let world = Changed::new();
    let path = format!("/api/v1/snapshots/{}/drift", world.snapshot);
    let run = world.ended(&world.post(&path, &json!({"force": true})));
    assert_eq!(world.writes(), 0);
    let live = run["context"]["snapshot_id"].as_i64().expect("a snapshot");
    let diff = world.scene.get(&format!("/api/v1/snapshots/{}/diff/{live}", world.snapshot));
    let changed: Vec<_> =
        diff["items"].as_array().expect("a list").iter().map(|item| &item["policy_id"]).collect();
    assert_eq!(changed, [&json!(world.policy)], "{diff}");
    assert_eq!(diff["items"][0]["change"], "changed");
}

#[test]
fn a_snapshot_of_every_type_survives_its_file() {
    let world = Changed::new();
    let export = |snapshot: i64| {
        let path = format!("/api/v1/snapshots/{snapshot}/export");
        world.scene.daemon.get(&path, &world.scene.token)
    };
    let file = export(world.snapshot);
    assert!(file.body["items"].as_array().is_some_and(|items| items.len() == 61), "{}", file.status);
    let path = format!("/api/v1/tenants/{}/snapshots/import", world.scene.tenant);
    let imported = world.post(&path, &file.body);
    imported.assert_status(201);
    assert_eq!(export(imported.id()).body["items"], file.body["items"]);
    let run = world.restored(json!({"snapshot_id": imported.id()}));
    assert_eq!(
        (&run["outcome"], world.now(), world.writes()),
        (&json!("succeeded"), vec![Some(0)], 1),
        "{run}"
    );
}
