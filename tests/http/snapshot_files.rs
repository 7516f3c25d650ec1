//! Snapshots as files: what is exported is imported as it was, and what is no snapshot is refused with its place.

use std::collections::BTreeMap;

use atlasd::domain::assignment::{Assignment, AssignmentSet, Target};
use atlasd::store::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Engine, Reply, TestDaemon, external_id};

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

/// A file of compliance policies: their ids, and the groups that each is assigned to.
pub fn file(policies: &[(&str, &[&str])]) -> Value {
    let count = policies.len();
    let item = |(id, groups): &(&str, &[&str])| {
        let set = set_of(groups);
        json!({"policy_type": "compliancePolicy", "policy_id": id, "name": format!("Policy {id}"),
               "assignments": set, "assignments_hash": set.hash()})
    };
    json!({
        "format": "atlasd.snapshot", "version": 1, "exported_at": "2026-01-02T03:04:05.000000Z",
        "tenant": {"external_id": external_id(77), "name": "Elsewhere", "cloud": "usgov"},
        "snapshot": {"id": 12, "created_at": "2026-01-02T03:04:05.000000Z", "coverage": {"compliancePolicy":
            {"listed": count, "read": count, "confirmed_empty": 0, "complete": true}}},
        "items": policies.iter().map(item).collect::<Vec<_>>(),
    })
}

struct Scene {
    daemon: TestDaemon,
    token: String,
    tenant: i64,
}

impl Scene {
    fn new(engine: Engine) -> Self {
        let daemon = TestDaemon::start_with(engine, |config| {
            config.http.import_bytes_max = 2 * 1024 * 1024;
            config.http.page_max = 50;
            config.database.import_batch_max = 7;
        });
        let token = daemon.token(Role::Admin, None);
        let workspace = daemon.workspace(&token, "contoso");
        let tenant = daemon.tenant(&token, workspace, 1, "silent");
        Self { daemon, token, tenant }
    }

    fn import(&self, query: &str, file: impl Into<Vec<u8>>) -> Reply {
        let path = format!("/api/v1/tenants/{}/snapshots/import{query}", self.tenant);
        self.daemon.send(Method::POST, &path, Some(&self.token), Some(file.into()))
    }

    fn export(&self, snapshot: i64) -> Reply {
        self.daemon.get(&format!("/api/v1/snapshots/{snapshot}/export"), &self.token)
    }

    fn snapshots(&self) -> usize {
        let list = self.daemon.get(&format!("/api/v1/tenants/{}/snapshots", self.tenant), &self.token);
        list.body["items"].as_array().map_or(0, Vec::len)
    }
}

fn what_is_exported_is_imported_as_it_was(engine: Engine) {
    let scene = Scene::new(engine);
    let ids: Vec<String> = (0..120).map(|number| format!("policy-{number:03}")).collect();
    let policies: Vec<(&str, &[&str])> = ids
        .iter()
        .enumerate()
        .map(|(index, id)| (id.as_str(), [&[][..], &["g1"], &["g1", "g2"]][index % 3]))
        .collect();
    let given = file(&policies);
    let first = scene.import("?label=before%20the%20change", given.to_string());
    first.assert_status(201);
    assert_eq!(
        (&first.body["kind"], &first.body["label"]),
        (&json!("imported"), &json!("before the change"))
    );
    assert_eq!(first.body["source_tenant"], external_id(77));
    assert_eq!(first.body["summary_counts"], json!({"total": 120, "items": 120}));
    let exported = scene.export(first.id());
    exported.assert_status(200);
    assert_eq!(exported.headers["content-type"], "application/json");
    let name = exported.headers["content-disposition"].to_str().expect("text");
    assert_eq!(name, format!("attachment; filename=\"atlasd-snapshot-{}.json\"", first.id()));
    assert_eq!(exported.body["items"], given["items"]);
    assert_eq!(exported.body["tenant"]["external_id"], external_id(1));
    assert_eq!(exported.body["snapshot"]["coverage"], given["snapshot"]["coverage"]);
    assert_eq!(exported.body["snapshot"]["created_at"], given["snapshot"]["created_at"]);
    let second = scene.import("", exported.text.clone());
    second.assert_status(201);
    assert_eq!((&second.body["source_tenant"], &second.body["label"]), (&Value::Null, &Value::Null));
    let diff = format!("/api/v1/snapshots/{}/diff/{}", first.id(), second.id());
    let diff = scene.daemon.get(&diff, &scene.token);
    assert_eq!((&diff.body["items"], &diff.body["not_compared"]), (&json!([]), &json!([])));
    assert_eq!(scene.export(second.id()).body["items"], given["items"]);
}

fn an_empty_snapshot_is_a_file_too(engine: Engine) {
    let scene = Scene::new(engine);
    let empty = scene.import("", file(&[]).to_string());
    let exported = scene.export(empty.assert_status(201).id());
    assert_eq!(exported.body["items"], json!([]), "{}", exported.text);
    scene.import("", exported.text).assert_status(201);
}

#[test]
fn what_is_no_snapshot_is_refused_with_its_place_and_nothing_is_kept() {
    let scene = Scene::new(Engine::Sqlite);
    let text = file(&[("a", &["g1"]), ("b", &[])]).to_string();
    let malformed = scene.import("", &text[..text.len() - 5]);
    malformed.assert_problem(400, "request.malformed");
    assert!(
        malformed.body["detail"].as_str().is_some_and(|text| text.contains("column")),
        "{}",
        malformed.text
    );
    scene.import("", "").assert_problem(400, "request.malformed");
    scene.import("", "[]").assert_problem(422, "request.invalid").assert_field("body");
    let refused = |change: fn(&mut Value), field: &str| {
        let mut file: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut file);
        scene.import("", file.to_string()).assert_problem(422, "request.invalid").assert_field(field);
    };
    refused(|file| file["version"] = json!(2), "version");
    refused(|file| file["version"] = json!("1"), "version");
    refused(|file| file["items"][1]["policy_type"] = json!("nope"), "items[1].policy_type");
    refused(|file| file["items"][0]["assignments"] = json!([]), "items[0].assignments_hash");
    refused(
        |file| file["items"][0]["assignments"][0]["target"] = json!({}),
        "items[0].assignments[0].target.type",
    );
    refused(|file| file["items"][0]["password"] = json!("x"), "items[0].password");
    refused(|file| file["tenant"]["external_id"] = json!("x"), "tenant.external_id");
    refused(|file| file["exported_at"] = json!("today"), "exported_at");
    scene.import("?label=", text.clone()).assert_problem(422, "request.invalid").assert_field("label");
    scene.import("?name=x", text.clone()).assert_problem(422, "request.invalid").assert_field("name");
    assert_eq!(scene.snapshots(), 0);
}

#[test]
fn a_file_has_a_limit_of_its_own() {
    let scene = Scene::new(Engine::Sqlite);
    let mut large = file(&[("a", &["g1"])]).to_string();
    large.push_str(&" ".repeat(1_500_000));
    scene.import("", large.clone()).assert_status(201);
    large.push_str(&" ".repeat(1_000_000));
    let refused = scene.import("", large);
    refused.assert_problem(413, "request.too_large");
    assert!(refused.text.contains("http.import_bytes_max"), "{}", refused.text);
    assert_eq!(scene.snapshots(), 1);
}

#[test]
fn names_of_a_file_are_sanitised() {
    let scene = Scene::new(Engine::Sqlite);
    let mut file = file(&[("a", &["g1"])]);
    file["items"][0]["name"] = json!("for jane.doe@contoso.com");
    let snapshot = scene.import("?label=of%20jane.doe@contoso.com", file.to_string());
    snapshot.assert_status(201);
    let exported = scene.export(snapshot.id());
    assert!(!exported.text.contains("jane.doe") && !snapshot.text.contains("jane.doe"), "{}", exported.text);
}

#[test]
fn an_unknown_snapshot_or_tenant_is_not_found() {
    let scene = Scene::new(Engine::Sqlite);
    scene.export(999).assert_problem(404, "snapshot.not_found");
    let path = "/api/v1/tenants/999/snapshots/import";
    scene.daemon.post(path, &scene.token, &file(&[])).assert_problem(404, "tenant.not_found");
}

#[test]
fn the_example_of_the_documentation_is_a_snapshot() {
    let scene = Scene::new(Engine::Sqlite);
    let page = include_str!("../../docs/snapshots.md");
    let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let example = example.expect("docs/snapshots.md has an example");
    let imported = scene.import("", example);
    imported.assert_status(201);
    let exported = scene.export(imported.id()).body;
    let mut expected: Value = serde_json::from_str(example).expect("JSON");
    // Whose it is now, and when it was exported, differ.
    for own in ["exported_at", "tenant"] {
        expected[own] = exported[own].clone();
    }
    expected["snapshot"]["id"] = exported["snapshot"]["id"].clone();
    assert_eq!(exported, expected);
}

on_both_engines! {
    what_is_exported_is_imported_as_it_was,
    an_empty_snapshot_is_a_file_too,
}
