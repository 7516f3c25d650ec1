//! From what a client writes to what the registry decides on, without a ledger.

use serde_json::json;

use super::*;
use crate::ids::RunId;

fn by() -> Initiator {
    Initiator { name: "ci".to_owned(), user_id: None, workspace: None }
}

fn tenant_facts() -> TenantFacts {
    TenantFacts {
        id: TenantId(3),
        workspace_id: WorkspaceId(1),
        workspace_slug: "contoso-group".into(),
        external_id: "3f2b8c1e-9d47-4a5b-8e21-0c6d7f8a9b10".parse().unwrap(),
    }
}

fn resolved(operation: Operation, inputs: &Value) -> Resolved {
    let subject = Subject::Tenant(tenant_facts());
    Resolved::new(operation, subject, normalise(operation, inputs).unwrap())
}

fn request(value: Value) -> RunRequest {
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_identity_is_that_of_the_published_vector() {
    let resolved = resolved(Operation::Fetch, &json!({}));
    assert_eq!(
        resolved.identity.to_string(),
        "b38000d800d23d2ab3ab1706714e0c0798ff13284ad5df19e22fdaffa1df1c37"
    );
}

#[test]
fn the_context_holds_the_version_the_normalised_inputs_and_what_the_caller_said() {
    let given = request(json!({"type": "assignments.fetch", "tenant_id": 3, "context": {"ticket": "CHG-1"}}));
    let made = finish(resolved(Operation::Fetch, &Value::Null), given, 100).unwrap().into_request(&by());
    assert_eq!(
        Value::Object(made.context),
        json!({
            "identity_version": 1,
            "inputs": {"policy_types": null, "policy_ids": null},
            "request_context": {"ticket": "CHG-1"},
        })
    );
    assert_eq!((made.workspace_id, made.tenant_id, made.force), (WorkspaceId(1), Some(TenantId(3)), false));
}

#[test]
fn force_names_who_forced() {
    let given = request(json!({"type": "assignments.fetch", "tenant_id": 3, "force": true}));
    let made = finish(resolved(Operation::Fetch, &Value::Null), given, 100).unwrap().into_request(&by());
    assert!(made.force);
    assert_eq!(made.context["forced_by"], "ci");
}

#[test]
fn a_caller_cannot_write_the_daemons_own_keys_of_the_context() {
    let given = request(json!({
        "type": "assignments.fetch", "tenant_id": 3,
        "context": {"dry_run": true, "retry_of": 1, "inputs": {}, "forced_by": "nobody"}
    }));
    let made = finish(resolved(Operation::Fetch, &Value::Null), given, 1000).unwrap().into_request(&by());
    assert!(!made.context.contains_key("dry_run") && !made.context.contains_key("forced_by"));
    assert_eq!(made.context["inputs"], json!({"policy_types": null, "policy_ids": null}));
}

#[test]
fn a_group_map_is_of_group_ids() {
    let group = "aaaaaaaa-0000-4000-8000-000000000001";
    for (map, field) in [
        (json!({"x": group}), "inputs.group_map.x"),
        (json!({group: "everybody"}), &format!("inputs.group_map.{group}")),
    ] {
        let error = normalise(Operation::Restore, &json!({"snapshot_id": 5, "group_map": map})).unwrap_err();
        assert_eq!(error.field_name(), Some(field));
    }
}

#[test]
fn the_scope_of_the_operation_decides_what_must_be_named() {
    let field = |operation, value| {
        check_scope(operation, &request(value)).err().and_then(|e| e.field_name().map(str::to_owned))
    };
    let fetch = |tenant: Value| field(Operation::Fetch, tenant);
    assert_eq!(fetch(json!({"type": "x"})).as_deref(), Some("tenant_id"));
    assert_eq!(fetch(json!({"type": "x", "workspace_id": 1})).as_deref(), Some("tenant_id"));
    assert_eq!(fetch(json!({"type": "x", "tenant_id": 1})), None);
    let reconcile = |value| field(Operation::Reconcile, value);
    assert_eq!(reconcile(json!({"type": "x"})).as_deref(), Some("workspace_id"));
    assert_eq!(
        reconcile(json!({"type": "x", "workspace_id": 1, "tenant_id": 1})).as_deref(),
        Some("tenant_id")
    );
    assert_eq!(reconcile(json!({"type": "x", "workspace_id": 1})), None);
}

#[test]
fn what_a_request_says_about_its_tenant_must_be_true() {
    let field =
        |value| agree(&tenant_facts(), &request(value)).err().and_then(|e| e.field_name().map(str::to_owned));
    let right = "3F2B8C1E-9D47-4A5B-8E21-0C6D7F8A9B10";
    let wrong = "a0b1c2d3-e4f5-4a6b-9c7d-8e9f0a1b2c3d";
    assert_eq!(field(json!({"type": "x", "tenant_external_id": right, "workspace_id": 1})), None);
    assert_eq!(
        field(json!({"type": "x", "tenant_external_id": wrong})).as_deref(),
        Some("tenant_external_id")
    );
    assert_eq!(field(json!({"type": "x", "workspace_id": 2})).as_deref(), Some("workspace_id"));
}

#[test]
fn nul_in_an_input_is_refused_by_name() {
    let error = normalise(Operation::Fetch, &json!({"policy_ids": ["a\u{0}"]})).unwrap_err();
    assert_eq!(error.field_name(), Some("inputs.policy_ids[0]"));
}

#[test]
fn an_unknown_field_is_refused() {
    let error = serde_json::from_value::<RunRequest>(json!({"type": "x", "tenant": 1})).unwrap_err();
    assert!(error.to_string().contains("`tenant`"), "{error}");
}

#[test]
fn a_retry_keeps_the_dry_run_and_names_the_run() {
    let mut context = Map::new();
    context.insert("dry_run".to_owned(), json!(true));
    context.insert("undo_of".to_owned(), json!(4));
    context.insert("repairs".to_owned(), json!([1]));
    let run = crate::admin::samples::run(RunId(9), context);
    let explained = explained_again(&run);
    assert_eq!(Value::Object(explained), json!({"dry_run": true, "retry_of": 9, "undo_of": 4}));
}

#[test]
fn a_reconcile_of_the_daemon_is_that_of_a_client() {
    let workspace = Workspace {
        id: WorkspaceId(1),
        slug: "contoso-group".to_owned(),
        name: "Contoso".to_owned(),
        created_at: crate::clock::Instant::from_micros(0).unwrap(),
    };
    let made = reconcile_request(&workspace, true, "signal:SIGUSR1", None);
    let facts = WorkspaceFacts { id: WorkspaceId(1), slug: "contoso-group".into() };
    assert_eq!(made.identity, reconcile_of(facts, false, &by()).identity, "a dry run is the same identity");
    assert_eq!((made.tenant_id, made.force), (None, false));
    assert_eq!(made.initiator_name, "signal:SIGUSR1");
    assert_eq!(Value::Object(made.context), json!({"identity_version": 1, "inputs": {}, "dry_run": true}));
}

#[test]
fn an_address_or_a_token_is_no_policy_id() {
    for id in ["joe@contoso.com", "Bearer abc", "eyJhbGciOiJub25lIn0.e30.c2ln"] {
        let error = normalise(Operation::Fetch, &json!({"policy_ids": [id]})).unwrap_err();
        assert_eq!(error.field_name(), Some("inputs.policy_ids"));
        assert!(!error.to_string().contains(id), "{error}");
    }
    let odd = json!({"policy_ids": ["T_9f1C0000-aaaa-4bbb-8ccc-000000000001", "a\"b\\c\n\u{7}/", "😀"]});
    assert!(normalise(Operation::Fetch, &odd).is_ok(), "ids are taken as given");
}
