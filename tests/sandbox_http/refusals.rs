//! What the service refuses, rule by rule, and that each refusal is counted: what a client should have known.

use atlasd::domain::policy_types::{self, TargetKind, Write};
use atlasd::sandbox::{CANARIES, Edit, Policies, SandboxConfig};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{COMPLIANCE, COMPLIANCE_LIST, Client, Got, holding, tenant, to_group};

const FILTER_ID: &str = "deviceAndAppManagementAssignmentFilterId";
const FILTER_TYPE: &str = "deviceAndAppManagementAssignmentFilterType";

fn target(kind: &str, group: Option<&str>) -> Value {
    let mut target = json!({"@odata.type": format!("#microsoft.graph.{kind}AssignmentTarget")});
    if let Some(group) = group {
        target["groupId"] = group.into();
    }
    json!({"target": target})
}

fn filtered(mut item: Value, filter: &str) -> Value {
    item["target"][FILTER_ID] = filter.into();
    item["target"][FILTER_TYPE] = "include".into();
    item
}

/// Sends one item as a type wants it.
async fn send(client: &Client, key: &str, id: &str, item: Value) -> Got {
    let row = policy_types::find(key).expect("a known type");
    match row.write {
        Write::Replace { action, body_property, .. } => {
            client.post(&format!("{}/{id}/{action}", row.list_path), &json!({body_property: [item]})).await
        }
        _ => client.post(&format!("{}/{id}/assignments", row.list_path), &item).await,
    }
}

/// The settings catalogue policy that is a device preparation template.
async fn device_preparation(client: &Client) -> String {
    let list = client.items("/deviceManagement/configurationPolicies").await;
    let found = list.iter().find(|it| it["templateReference"]["templateFamily"] == "enrollmentConfiguration");
    found.expect("one is seeded")["id"].as_str().expect("an id").to_owned()
}

async fn app(client: &Client, which: impl Fn(&Value) -> bool) -> String {
    let list = client.items("/deviceAppManagement/mobileApps").await;
    list.iter().find(|it| which(it)).expect("one is seeded")["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn each_rule_refuses_with_poison_changes_nothing_and_is_counted() {
    let mut config = SandboxConfig::single(0);
    config.tenants[0].policies = Policies::PerType(8);
    config.page_size = 1000;
    let client = Client::start(config).await;
    let control = client.control();
    let (group, filters) = (client.group(0), control.filter_ids(tenant()));
    let (for_devices, for_apps) = (&filters[0], &filters[6]);
    let deleted = control.add_group(tenant(), "Gone").expect("the tenant is there");
    control.delete_group(tenant(), &deleted).expect("it is there");
    let published = |it: &Value| it["publishingState"] == "published";
    let edge = |it: &Value| published(it) && it["@odata.type"] == "#microsoft.graph.windowsMicrosoftEdgeApp";
    let (plain_app, edge_app) = (app(&client, published).await, app(&client, edge).await);
    let unpublished = app(&client, |it| !published(it)).await;
    let default = client.items("/deviceManagement/deviceEnrollmentConfigurations").await;
    let default = default.iter().find(|it| {
        it["priority"] == 0
            && it["@odata.type"] == "#microsoft.graph.windows10EnrollmentCompletionPageConfiguration"
    });
    let default = default.expect("one default of the kind")["id"].as_str().expect("an id").to_owned();
    let preparation = device_preparation(&client).await;
    let of = |key: &str| client.policy(key, 0);
    let all_users = || target("allLicensedUsers", None);

    let mut on_exclusion = target("exclusionGroup", Some(&group));
    on_exclusion["settings"] = json!({"@odata.type": "#microsoft.graph.winGetAppAssignmentSettings"});
    let half = json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": group, FILTER_TYPE: "include"}});
    let exclusion = || target("exclusionGroup", Some(&group));
    let cases: Vec<(&str, &str, String, Value)> = vec![
        ("settings_on_exclusion", "mobileApp", plain_app.clone(), on_exclusion),
        ("app_not_published", "mobileApp", unpublished, to_group(&group)),
        ("filter_not_accepted", "mobileApp", edge_app, filtered(to_group(&group), for_devices)),
        (
            "broad_target_on_app_protection",
            "iosManagedAppProtection",
            of("iosManagedAppProtection"),
            all_users(),
        ),
        (
            "broad_target_on_app_protection",
            "targetedManagedAppConfiguration",
            of("targetedManagedAppConfiguration"),
            target("allDevices", None),
        ),
        (
            "filter_kind",
            "iosManagedAppProtection",
            of("iosManagedAppProtection"),
            filtered(to_group(&group), for_devices),
        ),
        ("filter_kind", COMPLIANCE, of(COMPLIANCE), filtered(to_group(&group), for_apps)),
        ("filter_on_exclusion", COMPLIANCE, of(COMPLIANCE), filtered(exclusion(), for_devices)),
        ("unknown_filter", COMPLIANCE, of(COMPLIANCE), filtered(to_group(&group), &group)),
        ("filter_not_accepted", "policySet", of("policySet"), filtered(to_group(&group), for_devices)),
        (
            "filter_not_accepted",
            "deviceComplianceScript",
            of("deviceComplianceScript"),
            filtered(to_group(&group), for_devices),
        ),
        (
            "filter_not_accepted",
            "configurationPolicy",
            preparation.clone(),
            filtered(to_group(&group), for_devices),
        ),
        ("target_not_accepted", "configurationPolicy", preparation, all_users()),
        ("all_users_on_autopilot", "autopilotProfile", of("autopilotProfile"), all_users()),
        ("target_not_accepted", "termsAndConditions", of("termsAndConditions"), exclusion()),
        ("target_not_accepted", "roleScopeTag", of("roleScopeTag"), exclusion()),
        ("enrollment_default", "enrollmentStatusPage", default, to_group(&group)),
        ("group_id", COMPLIANCE, of(COMPLIANCE), to_group("a_b")),
        ("unknown_group", COMPLIANCE, of(COMPLIANCE), to_group(&deleted)),
        ("unknown_group", "autopilotProfile", of("autopilotProfile"), to_group(&deleted)),
        ("shape", COMPLIANCE, of(COMPLIANCE), half),
        ("shape", COMPLIANCE, of(COMPLIANCE), json!({"groupId": group})),
    ];
    let before = control.expected(tenant());
    for (rule, key, id, item) in &cases {
        let counted = |stats: atlasd::sandbox::Stats| {
            let policy = stats.refusals_per_policy.get(&format!("{key}/{id}")).copied().unwrap_or_default();
            (policy, stats.refusals_per_rule.get(*rule).copied().unwrap_or_default())
        };
        let (of_policy, of_rule) = counted(control.stats());
        let got = send(&client, key, id, item.clone()).await;
        assert_eq!(got.status, 400, "{rule} {key}: {}", got.text);
        let planted = CANARIES.iter().filter(|canary| got.text.contains(**canary)).count();
        assert!(planted >= 4, "{rule}: {}", got.text);
        assert_eq!(counted(control.stats()), (of_policy + 1, of_rule + 1), "{rule} {key}");
    }
    assert_eq!(control.expected(tenant()), before, "nothing changed");
    assert!(control.stats().writes_per_policy.is_empty());
    let records = control.writes_of(tenant());
    assert_eq!(records.len(), cases.len());
    assert!(records.iter().all(|write| write.status == 400 && !write.applied));
}

#[tokio::test]
async fn what_looks_like_a_refusal_and_is_none_is_taken() {
    let client = Client::start(holding(&[
        ("iosManagedAppProtection", 1),
        ("mobileApp", 1),
        (COMPLIANCE, 1),
        ("enrollmentLimit", 2),
    ]))
    .await;
    let filters = client.control().filter_ids(tenant());
    let everybody = to_group("acacacac-9df4-4c7d-9d50-4ef0226f57a9");
    let group = client.group(0);
    let second = client.items("/deviceManagement/deviceEnrollmentConfigurations").await[1]["id"].clone();
    let mut excluded = target("exclusionGroup", Some(&group));
    excluded["intent"] = "required".into();
    excluded["settings"] = Value::Null;
    let mut none = to_group(&group);
    none["target"][FILTER_ID] = Value::Null;
    none["target"][FILTER_TYPE] = "none".into();
    let taken = [
        ("iosManagedAppProtection", client.policy("iosManagedAppProtection", 0), everybody),
        (
            "iosManagedAppProtection",
            client.policy("iosManagedAppProtection", 0),
            filtered(to_group(&group), &filters[6]),
        ),
        ("mobileApp", client.policy("mobileApp", 0), excluded),
        (COMPLIANCE, client.policy(COMPLIANCE, 0), none),
        (COMPLIANCE, client.policy(COMPLIANCE, 0), filtered(target("allDevices", None), &filters[0])),
        ("enrollmentLimit", second.as_str().expect("an id").to_owned(), to_group(&group.to_uppercase())),
    ];
    for (key, id, item) in taken {
        let got = send(&client, key, &id, item.clone()).await;
        assert!(got.status < 300, "{key} {item}: {}", got.text);
    }
    assert!(client.control().stats().refusals_per_rule.is_empty());
}

#[tokio::test]
async fn every_type_takes_its_own_body_property_and_no_other() {
    let mut config = SandboxConfig::single(0);
    config.tenants[0].policies = Policies::PerType(2);
    config.throttle.writes_max = usize::MAX;
    config.throttle.tenant_writes_max = usize::MAX;
    let client = Client::start(config).await;
    let spellings: std::collections::BTreeSet<&str> = policy_types::readable()
        .filter_map(|row| match row.write {
            Write::Replace { body_property, .. } => Some(body_property),
            _ => None,
        })
        .collect();
    assert!(spellings.len() >= 10, "{spellings:?}");
    for row in policy_types::readable() {
        let Write::Replace { action, body_property, success, .. } = row.write else { continue };
        let id = client.control().add_policy(tenant(), row.key, None, Vec::new()).expect("a known type");
        let path = format!("{}/{id}/{action}", row.list_path);
        for spelling in &spellings {
            let got = client.post(&path, &json!({*spelling: []})).await;
            let expected = if *spelling == body_property { success.unwrap_or(200) } else { 400 };
            assert_eq!(got.status, expected, "{} {spelling}: {}", row.key, got.text);
        }
        let with = client.post(&path, &json!({body_property: [], "displayName": "x"})).await;
        assert_eq!(with.status, 400, "{}: a second property", row.key);
        let one =
            client.post(&format!("{}/{id}/assignments", row.list_path), &to_group(&client.group(0))).await;
        let taken = if row.key == "mobileApp" { 201 } else { 400 };
        assert_eq!(one.status, taken, "{}: a single POST", row.key);
    }
}

#[tokio::test]
async fn types_without_assign_take_one_at_a_time() {
    let keys = ["autopilotProfile", "appleUserInitiatedEnrollmentProfile", "termsAndConditions"];
    let counts: Vec<(&str, usize)> = keys.iter().map(|key| (*key, 1)).collect();
    let client = Client::start(holding(&counts)).await;
    for key in keys {
        let row = policy_types::find(key).expect("a known type");
        let id = client.policy(key, 0);
        client.control().set_assignments(tenant(), key, &id, Vec::new()).expect("it is there");
        let path = format!("{}/{id}/assignments", row.list_path);
        let first = client.post(&path, &to_group(&client.group(0))).await;
        assert_eq!((first.status, row.targets[0]), (201, TargetKind::Group), "{key}: {}", first.text);
        assert_eq!(client.post(&path, &to_group(&client.group(1))).await.status, 201);
        assert_eq!(client.items(&path).await.len(), 2, "{key}");
        let one = first.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(client.delete(&format!("{path}/{one}")).await.status, 204);
        assert_eq!(client.items(&path).await.len(), 1, "{key}");
        let assign =
            client.post(&format!("{}/{id}/assign", row.list_path), &json!({"assignments": []})).await;
        assert_eq!(assign.status, 400, "{key}");
    }
    assert_eq!(client.control().stats().refusals_per_rule["assign_on_autopilot"], 1);
}

#[tokio::test]
async fn a_cloud_pc_policy_keeps_the_ids_that_its_write_names() {
    let client = Client::start(holding(&[("cloudPcProvisioningPolicy", 1)])).await;
    let (key, id) = ("cloudPcProvisioningPolicy", client.policy("cloudPcProvisioningPolicy", 0));
    let portal = |group: &str| json!({"target": {"groupId": group}});
    let both = vec![portal(&client.group(0)), portal(&client.group(1))];
    client.control().set_assignments(tenant(), key, &id, both).expect("it is there");
    let old = client.live(key, &id);
    let path = format!("/deviceManagement/virtualEndpoint/provisioningPolicies/{id}");
    let mut moved = portal(&client.group(2));
    moved["id"] = old[0]["id"].clone();
    let body = json!({"assignments": [moved, portal(&client.group(3))]});
    assert_eq!(client.post(&format!("{path}/assign"), &body).await.status, 204);
    let now = client.live(key, &id);
    assert_eq!((&now[0]["id"], &now[0]["target"]["groupId"]), (&old[0]["id"], &json!(client.group(2))));
    assert_eq!(now[1]["id"], client.group(3), "a new one is named after its group");
    assert_eq!(
        client.get(&format!("{}('{id}')/assignments", &path[..path.len() - id.len() - 1])).await.status,
        404
    );
}

#[tokio::test]
async fn a_role_assignment_takes_groups_that_exist() {
    let client = Client::start(holding(&[("roleAssignment", 1)])).await;
    let id = client.policy("roleAssignment", 0);
    let url = client.beta(&format!("/deviceManagement/roleAssignments/{id}"));
    for (members, status) in [(json!([client.group(0)]), 200), (json!(["x"]), 400), (json!([tenant()]), 400)]
    {
        let got =
            client.send(Method::PATCH, &url, Some(&json!({"members": members}))).await.expect("answers");
        assert_eq!(got.status, status, "{members}");
    }
    assert_eq!(client.live("roleAssignment", &id)[0]["members"], json!([client.group(0)]));
}

#[tokio::test]
async fn approval_is_switched_per_tenant_and_per_policy() {
    let client = Client::start(holding(&[(COMPLIANCE, 2)])).await;
    let (first, second) = (client.policy(COMPLIANCE, 0), client.policy(COMPLIANCE, 1));
    let control = client.control();
    control.edit(tenant(), COMPLIANCE, &first, Edit::Approval(true)).expect("it is there");
    let refused = client.assign(&first, &[]).await.expect("answered");
    assert_eq!(refused.status, 400);
    let sentence = "Header 'x-msft-approval-justification' is required";
    assert!(refused.json()["error"]["message"].as_str().expect("a text").contains(sentence));
    assert_eq!(client.assign(&second, &[]).await.expect("answered").status, 200);

    let path = format!("/tenants/{}/approval", tenant());
    assert_eq!(client.control_call(Method::PUT, &path, Some(json!({"required": true}))).await.0, 204);
    assert_eq!(client.assign(&second, &[]).await.expect("answered").status, 400);
    assert_eq!(client.get(COMPLIANCE_LIST).await.status, 200, "reads need none");
    let request = client.http.post(client.beta(&format!("{COMPLIANCE_LIST}/{second}/assign")));
    let request = request.bearer_auth(&client.token).header("x-msft-approval-justification", "run 1");
    let got = request.json(&json!({"assignments": []})).send().await.expect("answers");
    assert_eq!(got.status(), 200);
    let stats = control.stats();
    assert_eq!((stats.approvals_asked, stats.refusals_per_rule.len()), (2, 0));
}

#[tokio::test]
async fn a_permission_that_was_taken_away_is_missed_by_the_next_token() {
    let mut client = Client::start(holding(&[(COMPLIANCE, 1)])).await;
    let id = client.policy(COMPLIANCE, 0);
    let roles = json!({"roles": ["DeviceManagementConfiguration.Read.All"]});
    let path = format!("/tenants/{}/roles", tenant());
    assert_eq!(client.control_call(Method::PUT, &path, Some(roles)).await.0, 204);
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 200, "the token keeps its own");
    client.sign_in().await;
    let refused = client.assign(&id, &[]).await.expect("answered");
    assert_eq!((refused.status, refused.code().as_str()), (403, "Forbidden"));
    assert!(refused.text.contains("DeviceManagementConfiguration.ReadWrite.All"));
    assert_eq!(client.get(COMPLIANCE_LIST).await.status, 200);
    assert_eq!(client.get("/deviceManagement/deviceManagementScripts").await.status, 403);
    let ids = client.post("/directoryObjects/getByIds", &json!({"ids": []})).await;
    assert_eq!((ids.status, ids.code().as_str()), (403, "Authorization_RequestDenied"));
    client.control().set_roles(tenant(), None).expect("it is there");
    client.sign_in().await;
    assert_eq!(client.assign(&id, &[]).await.expect("answered").status, 200);
}
