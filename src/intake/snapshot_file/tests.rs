//! Files that are snapshots, and files that only look like them.

use serde_json::{Value, json};

use super::*;

const GROUP: &str = "aaaaaaaa-0000-4000-8000-000000000001";

fn item(id: &str, assignments: Value) -> Value {
    let set: AssignmentSet = serde_json::from_value(assignments.clone()).expect("a set");
    json!({"policy_type": "compliancePolicy", "policy_id": id, "name": format!("policy {id}"),
           "assignments": assignments, "assignments_hash": set.hash()})
}

fn file(items: Vec<Value>) -> Value {
    let count = items.len();
    json!({
        "format": FORMAT, "version": 1, "exported_at": "2026-01-02T03:04:05Z",
        "tenant": {"external_id": "3f2b8c1e-9d47-4a5b-8e21-0c6d7f8a9b10", "name": "Contoso", "cloud": "global"},
        "snapshot": {"id": 1, "created_at": "2026-01-02T03:04:05.000001Z",
            "coverage": {"compliancePolicy": {"listed": count, "read": count, "confirmed_empty": 0, "complete": true}}},
        "items": items,
    })
}

fn group(id: &str) -> Value {
    json!([{"target": {"type": "group", "group_id": id}, "filter": null}])
}

fn check(file: Value) -> Result<NewImport, IntakeError> {
    serde_json::from_value::<SnapshotFile>(file).expect("the form is right").check(Some("before the change"))
}

/// The place of the mistake in a good file after `change`.
fn place(change: impl FnOnce(&mut Value)) -> String {
    let mut file = file(vec![item("a", group(GROUP)), item("b", json!([]))]);
    change(&mut file);
    let error = check(file).expect_err("a mistake");
    assert_eq!(error.code(), "request.invalid");
    error.field_name().expect("a place").to_owned()
}

#[test]
fn a_file_becomes_a_snapshot_with_safe_names() {
    let mut second = item("b", json!([]));
    second["name"] = json!("for jane.doe@contoso.com\u{7}");
    let imported = check(file(vec![second, item("a", group(GROUP))])).expect("a snapshot");
    assert_eq!(imported.items.len(), 2);
    assert!(!imported.items[0].name.contains("jane.doe"), "{}", imported.items[0].name);
    assert_eq!(imported.items[1].assignments.len(), 1);
    assert_eq!(imported.created_at.to_string(), "2026-01-02T03:04:05.000001Z");
    assert_eq!(imported.source_tenant.to_string(), "3f2b8c1e-9d47-4a5b-8e21-0c6d7f8a9b10");
    assert_eq!(imported.label.as_deref(), Some("before the change"));
}

#[test]
fn every_mistake_has_its_place() {
    assert_eq!(place(|file| file["format"] = json!("other")), "format");
    assert_eq!(place(|file| file["version"] = json!(2)), "version");
    assert_eq!(
        place(|file| file["snapshot"]["coverage"]["nope"] =
            json!({"listed": 0, "read": 0, "confirmed_empty": 0, "complete": true})),
        "snapshot.coverage"
    );
    assert_eq!(
        place(|file| file["snapshot"]["coverage"]["compliancePolicy"]["listed"] = json!(u64::MAX)),
        "snapshot.coverage.compliancePolicy"
    );
    assert_eq!(place(|file| file["items"][0]["policy_type"] = json!("nope")), "items[0].policy_type");
    assert_eq!(place(|file| file["items"][1]["policy_type"] = json!("mobileApp")), "items[1].policy_type");
    assert_eq!(
        place(|file| file["snapshot"]["coverage"]["compliancePolicy"]["read"] = json!(1)),
        "items[1].policy_type"
    );
    assert_eq!(place(|file| file["items"][1]["policy_id"] = json!("a")), "items[1]");
    for odd in ["", "a\u{0}", "jane@contoso.com", &"x".repeat(201)] {
        assert_eq!(place(|file| file["items"][1]["policy_id"] = json!(odd)), "items[1].policy_id");
    }
    assert_eq!(place(|file| file["items"][0]["assignments"] = json!([])), "items[0].assignments_hash");
    for odd in ["", "4F53", "zz"] {
        assert_eq!(
            place(|file| file["items"][0]["assignments_hash"] = json!(odd)),
            "items[0].assignments_hash"
        );
    }
}

#[test]
fn a_set_that_no_fetch_could_have_stored_is_refused_even_with_its_right_hash() {
    let of = |assignments: Value| place(|file| file["items"][0] = item("a", assignments));
    assert_eq!(of(group(&GROUP.to_uppercase())), "items[0].assignments[0]");
    assert_eq!(of(group("")), "items[0].assignments[0]");
    let filter = json!([{"target": {"type": "all_devices"}, "filter": {"id": "ABC", "mode": "include"}}]);
    assert_eq!(of(filter), "items[0].assignments[0]");
    let foreign = json!([{"target": {"type": "all_users"}, "filter": null, "extras": {"token": "x"}}]);
    assert_eq!(of(foreign), "items[0].assignments[0].extras");
    let nul = json!([{"target": {"type": "configuration_manager_collection", "collection_id": "a\u{0}"}, "filter": null}]);
    assert_eq!(of(nul), "items[0].assignments[0].target.collection_id");
}

#[test]
fn unknown_fields_are_refused() {
    for path in ["", "tenant", "snapshot"] {
        let mut file = file(vec![]);
        let object = if path.is_empty() { &mut file } else { &mut file[path] };
        object["secret"] = json!("x");
        let error = serde_json::from_value::<SnapshotFile>(file).expect_err("unknown");
        assert!(error.to_string().contains("`secret`"), "{error}");
    }
}
