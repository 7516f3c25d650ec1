//! Policies as they are now.

use std::sync::Mutex;

use atlasd::domain::assignment::{AssignmentSet, PolicyKey};
use atlasd::domain::failure::Code;
use atlasd::domain::policy_types::{PolicyType, Read, TABLE, find};
use atlasd::domain::restore::{LivePolicy, PolicyFacts};
use atlasd::graph::GraphError;
use atlasd::sandbox::config::SINGLE_TENANT;
use atlasd::sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::budget::client_of;
use crate::fetch::group;
use crate::support::{Reply, Wire, batch_of, graph, origin, refusal};

fn row(key: &str) -> &'static PolicyType {
    find(key).expect("a row")
}

fn key(policy_type: &str, policy_id: &str) -> PolicyKey {
    PolicyKey { policy_type: policy_type.to_owned(), policy_id: policy_id.to_owned() }
}

/// A Graph whose batches are answered item by item.
async fn items(item: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static) -> Wire {
    graph(move |seen, _| batch_of(seen, &item)).await
}

async fn read(wire: &Wire, policy_type: &str, id: &str) -> Result<Option<LivePolicy>, GraphError> {
    wire.client().read_policy(row(policy_type), id, &CancellationToken::new()).await
}

#[tokio::test]
async fn a_policy_is_its_name_its_facts_and_its_whole_set() {
    let wire = graph(|seen, _| {
        if seen.path.ends_with("?more") {
            return Reply::Json(200, json!({"value": [group(25)]}));
        }
        let next = format!("{}/beta/deviceAppManagement/mobileApps/a/assignments?more", origin(seen));
        batch_of(seen, |path| match path.ends_with("/assignments") {
            true => (200, json!({"value": (0..25).map(group).collect::<Vec<_>>(), "@odata.nextLink": next})),
            false => (
                200,
                json!({"id": "a", "@odata.type": "#microsoft.graph.win32LobApp", "displayName": "An app",
                    "publishingState": "published", "largeIcon": {"value": "CANARY"}, "notes": "CANARY"}),
            ),
        })
    })
    .await;
    let policy = read(&wire, "mobileApp", "a").await.expect("read").expect("it exists");
    assert_eq!((policy.name.as_str(), policy.assignments.len(), policy.ids.len()), ("An app", 26, 26));
    let facts = PolicyFacts {
        odata_type: Some("#microsoft.graph.win32LobApp".to_owned()),
        publishing_state: Some("published".to_owned()),
        ..PolicyFacts::default()
    };
    assert_eq!(policy.facts, facts);
    assert!(policy.ids.iter().any(|(_, id)| id == "p_25"));
    assert!(policy.ids.iter().all(|(assignment, _)| policy.assignments.iter().any(|it| it == assignment)));
    assert!(!format!("{policy:?}").contains("CANARY"));
    let paths: Vec<_> = wire.calls()[0].batch().into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, ["/deviceAppManagement/mobileApps/a", "/deviceAppManagement/mobileApps/a/assignments"]);
}

#[tokio::test]
async fn every_fact_is_read_where_it_stands() {
    let wire = items(|path| match path.ends_with("/assignments") {
        true => (200, json!({"value": []})),
        false => (
            200,
            json!({"id": "x", "name": "n", "displayName": "d", "profileName": "p", "priority": 0,
                "isDefaultProfile": true, "isGlobalScript": false,
                "templateReference": {"templateId": "t", "templateFamily": "enrollmentConfiguration"}}),
        ),
    })
    .await;
    let policy = read(&wire, "configurationPolicy", "x").await.expect("read").expect("it exists");
    let facts = PolicyFacts {
        odata_type: None,
        publishing_state: None,
        priority: Some(0),
        is_default_profile: Some(true),
        is_global_script: Some(false),
        template_family: Some("enrollmentConfiguration".to_owned()),
    };
    assert_eq!((policy.name.as_str(), policy.facts), ("n", facts));
}

#[tokio::test]
async fn only_a_404_of_the_policy_itself_means_that_it_does_not_exist() {
    let object = || (200, json!({"id": "a", "displayName": "n"}));
    let gone = items(|_| (404, refusal(404, "ResourceNotFound"))).await;
    assert_eq!(read(&gone, "compliancePolicy", "a").await, Ok(None));

    let without_assignments = items(move |path| match path.ends_with("/assignments") {
        true => (404, refusal(404, "ResourceNotFound")),
        false => object(),
    })
    .await;
    let error = read(&without_assignments, "compliancePolicy", "a").await.expect_err("half a policy");
    assert_eq!(error.code, Code::GraphNotFound);

    for (status, body, expected) in [
        (403, refusal(403, "Forbidden"), Code::GraphForbidden),
        (404, json!("<html>"), Code::GraphProtocol),
        (503, refusal(503, "ServiceUnavailable"), Code::GraphUnavailable),
        (200, json!({"unexpected": true}), Code::GraphProtocol),
    ] {
        let (first, second) = (body.clone(), body.clone());
        let no_object = items(move |path| match path.ends_with("/assignments") {
            true => (200, json!({"value": []})),
            false => (status, first.clone()),
        })
        .await;
        let error = read(&no_object, "compliancePolicy", "a").await.expect_err("not read");
        assert_eq!(error.code, expected, "object {status}");
        let no_set = items(move |path| match path.ends_with("/assignments") {
            true => (status, second.clone()),
            false => object(),
        })
        .await;
        let error = read(&no_set, "compliancePolicy", "a").await.expect_err("not read");
        assert_eq!(error.code, expected, "assignments {status}");
    }
    let malformed = items(move |path| match path.ends_with("/assignments") {
        true => (200, json!({"value": [group(1), {"id": "x", "target": null}]})),
        false => object(),
    })
    .await;
    let error = read(&malformed, "compliancePolicy", "a").await.expect_err("not as the schema has it");
    assert_eq!((error.code, error.transient), (Code::AssignmentsReadIncomplete, false));
}

#[tokio::test]
async fn an_object_of_another_type_is_none_and_one_without_type_is_an_error() {
    let of = |odata_type: Option<&'static str>| {
        items(move |path| match path.ends_with("/assignments") {
            true => (200, json!({"value": []})),
            false => {
                let mut object = json!({"id": "a", "displayName": "n"});
                if let Some(odata_type) = odata_type {
                    object["@odata.type"] = odata_type.into();
                }
                (200, object)
            }
        })
    };
    let ring = of(Some("#microsoft.graph.windowsUpdateForBusinessConfiguration")).await;
    assert!(read(&ring, "windowsUpdateRing", "a").await.expect("read").is_some());
    assert_eq!(read(&ring, "deviceConfiguration", "a").await, Ok(None));
    let untyped = of(None).await;
    assert!(read(&untyped, "compliancePolicy", "a").await.expect("read").is_some(), "alone in its list");
    let error = read(&untyped, "windowsUpdateRing", "a").await.expect_err("it may be one");
    assert_eq!((error.code, error.transient), (Code::GraphProtocol, false));
    // Of an enrolment configuration the id says what it is.
    assert!(read(&untyped, "enrollmentLimit", "1_Limit").await.expect("read").is_some());
    assert_eq!(read(&untyped, "enrollmentLimit", "1_WindowsRestore").await, Ok(None));
}

#[tokio::test]
async fn a_role_assignment_is_one_read() {
    let members = json!({"id": "a", "displayName": "Helpdesk", "members": ["00000000-0000-4000-8000-000000000001"],
        "resourceScopes": [], "scopeType": "allDevices"});
    let whole = members.clone();
    let wire = items(move |_| (200, whole.clone())).await;
    let policy = read(&wire, "roleAssignment", "a").await.expect("read").expect("it exists");
    assert_eq!((policy.name.as_str(), policy.assignments.len(), policy.ids.len()), ("Helpdesk", 1, 0));
    assert_eq!(wire.calls()[0].batch().len(), 1);

    let wire = graph(move |_, _| Reply::Json(200, members.clone())).await;
    let read = wire.client().read_assignments(row("roleAssignment"), "a", &CancellationToken::new()).await;
    assert_eq!(read.expect("read").expect("it exists").set, policy.assignments);
    assert_eq!(wire.calls()[0].path, "/beta/deviceManagement/roleAssignments/a");
}

#[tokio::test]
async fn assignments_alone_are_one_call_and_bring_their_ids() {
    let wire = graph(|_, n| match n {
        0 => Reply::Json(200, json!({"value": [group(1), group(2), {"target": group(3)["target"]}]})),
        1 => Reply::Json(404, refusal(404, "ResourceNotFound")),
        2 => Reply::Json(200, json!({"value": []})),
        _ => Reply::Json(400, refusal(400, "BadRequest")),
    })
    .await;
    let (client, cancel) = (wire.client(), CancellationToken::new());
    let profile = row("autopilotProfile");
    let read = client.read_assignments(profile, "a", &cancel).await.expect("read").expect("it exists");
    let ids: Vec<_> = read.ids.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!((read.set.len(), ids), (3, vec!["p_1", "p_2"]), "one has no id");
    assert_eq!(wire.calls().len(), 1);
    assert_eq!(client.read_assignments(profile, "a", &cancel).await, Ok(None), "no such policy");
    let empty = client.read_assignments(profile, "a", &cancel).await.expect("read").expect("it exists");
    assert!(empty.set.is_empty() && empty.ids.is_empty());
    let error = client.read_assignments(profile, "a", &cancel).await.expect_err("refused");
    assert_eq!(error.code, Code::GraphBadRequest);
}

#[tokio::test]
async fn many_policies_are_each_judged_alone_and_stay_in_order() {
    let wire = items(|path| match path {
        path if path.contains("/3") => (404, refusal(404, "ResourceNotFound")),
        path if path.contains("/5/assignments") => (403, refusal(403, "Forbidden")),
        path if path.ends_with("/assignments") => (200, json!({"value": [group(1)]})),
        path => (200, json!({"id": path, "displayName": path.rsplit('/').next()})),
    })
    .await;
    let mut keys: Vec<_> = (0..25).map(|n| key("compliancePolicy", &n.to_string())).collect();
    keys.insert(1, key("somethingNew", "x"));
    let told = Mutex::new(Vec::new());
    let tell = |read| told.lock().expect("no test panics with it").push(read);
    let results = wire.client().read_policies(&keys, &CancellationToken::new(), &tell).await;
    assert_eq!(results.len(), 26);
    for (key, result) in keys.iter().zip(&results) {
        match (key.policy_type.as_str(), key.policy_id.as_str(), result) {
            ("somethingNew", _, Err(error)) => assert_eq!(error.code, Code::GraphTypeUnavailable),
            (_, "3", Ok(None)) => {}
            (_, "5", Err(error)) => assert_eq!(error.code, Code::GraphForbidden),
            (_, id, Ok(Some(policy))) => {
                assert_eq!((policy.name.as_str(), policy.assignments.len()), (id, 1))
            }
            other => panic!("expected each policy's own result, got {other:?}"),
        }
    }
    assert_eq!(told.lock().expect("no test panics with it").last(), Some(&25));
    let sizes: Vec<_> = wire.calls().iter().map(|call| call.batch().len()).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (3, 50));
}

#[tokio::test]
async fn script_bodies_are_not_asked_for() {
    let wire = items(|path| match path.ends_with("/assignments") {
        true => (200, json!({"value": []})),
        false => (200, json!({"id": "a", "displayName": "n", "scriptContent": "CANARY"})),
    })
    .await;
    let scripts: Vec<_> =
        TABLE.iter().filter(|row| row.permission_read == Some("DeviceManagementScripts.Read.All")).collect();
    assert_eq!(scripts.len(), 5);
    for row in scripts {
        let policy = read(&wire, row.key, "a").await.expect("read").expect("it exists");
        assert!(!format!("{policy:?}").contains("CANARY"));
    }
    for call in wire.calls() {
        let (_, object) = call.batch().remove(0);
        assert!(object.contains("?$select=id,displayName") && !object.contains("scriptContent"), "{object}");
    }
}

#[tokio::test]
async fn five_hundred_policies_of_every_type_are_read_as_they_are_in_sixty_calls() {
    let mut config = SandboxConfig::single(500);
    config.throttle.calls_max = 1_000_000;
    let sandbox =
        Sandbox::start(config, "127.0.0.1:0".parse().expect("an address")).await.expect("a sandbox");
    let client = client_of(&sandbox, |graph| graph.calls_per_20s = 1_000_000);
    let truth = sandbox.state().expected(SINGLE_TENANT);
    let keys: Vec<_> = truth.keys().map(|(policy_type, id)| key(policy_type, id)).collect();
    assert_eq!(keys.len(), 500);
    let cancel = CancellationToken::new();
    let results = client.read_policies(&keys, &cancel, &|_| ()).await;
    for ((key, result), items) in keys.iter().zip(results).zip(truth.values()) {
        let policy = result.expect("read").expect("it exists");
        let row = row(&key.policy_type);
        let expected = match row.read {
            Read::Object => AssignmentSet::from_role_assignment(&items[0]),
            _ => AssignmentSet::from_graph(row, items),
        };
        assert_eq!(policy.assignments, expected.expect("the sandbox keeps to the schema"), "{key:?}");
        assert!(!policy.name.is_empty(), "{key:?}");
    }
    assert!(client.calls() <= 60, "{} calls", client.calls());
    sandbox.stop().await;
}
