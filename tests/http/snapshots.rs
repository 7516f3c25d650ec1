//! Policies, snapshots and their differences, of a tenant that the sandbox plays.

use std::collections::BTreeSet;

use atlasd::config::{CloudConfig, Config, CredentialConfig};
use atlasd::sandbox::config::{CLIENT_ID, CLIENT_SECRET, SINGLE_TENANT};
use atlasd::sandbox::{Sandbox, SandboxConfig};
use atlasd::store::Role;
use serde_json::{Value, json};

use crate::support::{Engine, TestDaemon};

/// A policy type that has `/assign` and plain group targets.
pub const TYPE: &str = "compliancePolicy";

/// A daemon, and the sandbox that its one tenant lives in.
pub struct Scene {
    pub daemon: TestDaemon,
    pub sandbox: Sandbox,
    pub token: String,
    pub tenant: i64,
    _secret: tempfile::NamedTempFile,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a configuration that is changed.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let starting = Sandbox::start(SandboxConfig::single(60), ([127, 0, 0, 1], 0).into());
        let runtime = tokio::runtime::Runtime::new().expect("the test can have threads");
        let sandbox = runtime.block_on(starting).expect("the sandbox starts");
        let secret = tempfile::NamedTempFile::new().expect("the test can have a file");
        std::fs::write(secret.path(), CLIENT_SECRET).expect("it can be written");
        let daemon = TestDaemon::start_with(Engine::Sqlite, |config| {
            let url = sandbox.url();
            config
                .clouds
                .insert("sandbox".to_owned(), CloudConfig { login_url: url.clone(), graph_url: url });
            let credential = CredentialConfig {
                client_id: CLIENT_ID.to_owned(),
                client_secret_env: None,
                client_secret_file: Some(secret.path().to_owned()),
                certificate_file: None,
                private_key_file: None,
            };
            config.credentials.insert("sandbox".to_owned(), credential);
            change(config);
        });
        let token = daemon.token(Role::Admin, None);
        let workspace = daemon.workspace(&token, "contoso");
        let body = json!({
            "workspace_id": workspace, "external_id": SINGLE_TENANT, "name": "Contoso Test",
            "cloud": "sandbox", "credential": "sandbox",
        });
        let tenant = daemon.post("/api/v1/tenants", &token, &body).id();
        Self { daemon, sandbox, token, tenant, _secret: secret }
    }

    pub fn get(&self, path: &str) -> Value {
        self.daemon.get(path, &self.token).assert_status(200).body.clone()
    }

    /// Fetches with `inputs`; the id of the snapshot.
    pub fn fetch(&self, inputs: Value) -> i64 {
        let request =
            json!({"type": "assignments.fetch", "tenant_id": self.tenant, "inputs": inputs, "force": true});
        let run = self.daemon.post("/api/v1/runs", &self.token, &request).id();
        let run = self.daemon.await_run(&self.token, run, |run| run["status"] == "completed");
        assert_eq!(run["outcome"], "succeeded", "{run}");
        let newest = self.get(&format!("/api/v1/tenants/{}/snapshots?limit=1", self.tenant));
        assert_eq!(newest["items"][0]["operation_run_id"], run["id"]);
        newest["items"][0]["id"].as_i64().expect("a number")
    }

    /// All parts of a list.
    pub fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let part = self.get(&format!("{path}?limit={limit}{cursor}"));
            items.extend(part["items"].as_array().expect("a list").iter().cloned());
            match part["next_cursor"].as_str() {
                None => return items,
                Some(next) => cursor = format!("&cursor={next}"),
            }
        }
    }
}

#[test]
fn a_snapshot_shows_all_its_policies_in_parts() {
    let scene = Scene::new();
    let snapshot = scene.fetch(json!({}));
    let path = format!("/api/v1/snapshots/{snapshot}");
    let items = scene.all(&path, 7);
    let keys: BTreeSet<_> =
        items.iter().map(|item| (item["policy_type"].to_string(), item["policy_id"].to_string())).collect();
    assert_eq!((items.len(), keys.len()), (60, 60), "no policy is missing or repeated");
    let whole = scene.get(&format!("{path}?limit=500"));
    assert_eq!(whole["items"], json!(items));
    assert_eq!(whole["coverage"][TYPE]["complete"], true);
    assert!(items.iter().any(|item| item["assignments"][0]["target"]["type"] == "group"));
    let policies = scene.all(&format!("/api/v1/tenants/{}/policies", scene.tenant), 11);
    assert_eq!(policies.len(), 60);
}

#[test]
fn a_diff_shows_what_was_added_changed_and_removed_and_nothing_else() {
    let scene = Scene::new();
    let world = scene.sandbox.state();
    let target = |group: &str| json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": group}});
    let groups = world.group_ids(SINGLE_TENANT);
    let add = |name| {
        world.add_policy(SINGLE_TENANT, TYPE, Some(name), vec![target(&groups[0])]).expect("it is known")
    };
    let (changed, removed) = (add("changed"), add("removed"));
    let before = scene.fetch(json!({}));
    world.set_assignments(SINGLE_TENANT, TYPE, &changed, vec![target(&groups[1])]).expect("it exists");
    world.delete_policy(SINGLE_TENANT, TYPE, &removed).expect("it exists");
    let added = add("added");
    let after = scene.fetch(json!({}));
    let path = format!("/api/v1/snapshots/{before}/diff/{after}");
    let items = scene.all(&path, 1);
    let found: BTreeSet<_> =
        items.iter().map(|item| (item["change"].as_str(), item["policy_id"].as_str())).collect();
    let expected = [("added", &added), ("changed", &changed), ("removed", &removed)];
    assert_eq!(found, expected.map(|(change, id)| (Some(change), Some(id.as_str()))).into());
    let change = items.iter().find(|item| item["change"] == "changed").expect("it is among them");
    assert_eq!(change["assignments"]["added"][0]["target"]["group_id"], groups[1].as_str());
    assert_eq!(change["assignments"]["removed"][0]["target"]["group_id"], groups[0].as_str());
    assert_eq!(scene.get(&format!("/api/v1/snapshots/{after}/diff/{after}"))["items"], json!([]));
}

#[test]
fn a_fetch_of_one_type_removes_nothing_of_the_others() {
    let scene = Scene::new();
    let before = scene.fetch(json!({}));
    let after = scene.fetch(json!({"policy_types": [TYPE]}));
    let diff = scene.get(&format!("/api/v1/snapshots/{before}/diff/{after}"));
    assert_eq!(diff["items"], json!([]));
    let not_compared = diff["not_compared"].as_array().expect("a list");
    assert!(not_compared.len() > 10 && !not_compared.contains(&json!(TYPE)), "{diff}");
}

#[test]
fn a_tenant_without_a_fetch_has_no_policies_and_no_snapshots() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Admin, None);
    let workspace = daemon.workspace(&token, "contoso");
    let tenant = daemon.tenant(&token, workspace, 1, "closed");
    for list in ["policies", "snapshots"] {
        let reply = daemon.get(&format!("/api/v1/tenants/{tenant}/{list}"), &token);
        assert_eq!(reply.assert_status(200).body, json!({"items": [], "next_cursor": null}), "{list}");
    }
}

#[test]
fn an_unknown_snapshot_is_not_found() {
    let daemon = TestDaemon::start(Engine::Sqlite);
    let token = daemon.token(Role::Viewer, None);
    for path in ["/api/v1/snapshots/1", "/api/v1/snapshots/x", "/api/v1/snapshots/1/diff/2"] {
        daemon.get(path, &token).assert_problem(404, "snapshot.not_found");
    }
}
