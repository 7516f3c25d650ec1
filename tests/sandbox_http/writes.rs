//! A write replaces, and what the service refuses is refused.

use atlasd::domain::policy_types::{self, TargetKind, Write};
use atlasd::sandbox::{ReadDelay, SandboxConfig};
use serde_json::{Value, json};

use crate::client::{Client, holding, tenant};

const GROUP: &str = "#microsoft.graph.groupAssignmentTarget";
const EXCLUSION: &str = "#microsoft.graph.exclusionGroupAssignmentTarget";
const FILTER_ID: &str = "deviceAndAppManagementAssignmentFilterId";
const FILTER_TYPE: &str = "deviceAndAppManagementAssignmentFilterType";

fn to_group(kind: &str, id: &str) -> Value {
    json!({"target": {"@odata.type": kind, "groupId": id}})
}

fn policy_of(client: &Client, key: &str, at: usize) -> String {
    let truth = client.control().expected(tenant());
    truth.keys().filter(|(own, _)| own == key).nth(at).expect("it was seeded").1.clone()
}

fn live(client: &Client, key: &str, id: &str) -> Vec<Value> {
    client.control().expected(tenant())[&(key.to_owned(), id.to_owned())].clone()
}

#[tokio::test]
async fn assign_replaces_the_whole_set_of_every_type_that_has_it() {
    let mut config = SandboxConfig::single(120);
    config.throttle.writes_max = usize::MAX;
    let client = Client::start(config).await;
    let groups = client.control().group_ids(tenant());
    let enrolment = |key: &str| {
        policy_types::find(key).is_some_and(|row| row.list_path.ends_with("EnrollmentConfigurations"))
    };
    for row in policy_types::readable() {
        let Write::Replace { action, body_property, success, .. } = row.write else { continue };
        let id = if enrolment(row.key) {
            // The first one is the default, which cannot be assigned.
            client.control().add_policy(tenant(), row.key, None, Vec::new()).expect("a known type")
        } else {
            policy_of(&client, row.key, 0)
        };
        let kind = match row.targets[0] {
            TargetKind::CloudPcGroup => "#microsoft.graph.cloudPcManagementGroupAssignmentTarget",
            TargetKind::OfficeGroup => "#microsoft.graph.officeConfigurationGroupAssignmentTarget",
            _ => GROUP,
        };
        let path = format!("{}/{id}/{action}", row.list_path);
        let inherited = live(&client, row.key, &id).iter().filter(|item| item["source"] != "direct").count();

        let body = json!({body_property: [to_group(kind, &groups[3]), to_group(kind, &groups[4])]});
        let got = client.post(&path, &body).await;
        assert_eq!(got.status, success.unwrap_or(200), "{}: {}", row.key, got.text);
        let now = live(&client, row.key, &id);
        assert_eq!(now.len(), 2 + inherited, "{}", row.key);
        assert_eq!(now[0]["target"]["groupId"], groups[3].as_str());
        assert!(now[0]["id"].is_string() && now[0]["source"] == "direct");
        let read = client.items(&format!("{}/{id}/assignments", row.list_path)).await;
        assert_eq!(read, now, "{}: what was written is read", row.key);

        let cleared = client.post(&path, &json!({body_property: []})).await;
        assert_eq!(cleared.status, success.unwrap_or(200), "{}", row.key);
        assert_eq!(live(&client, row.key, &id).len(), inherited, "{}: an empty set clears", row.key);

        let wrong = client.post(&path, &json!({"wrong": []})).await;
        assert_eq!(wrong.status, 400, "{}: a wrong property is refused", row.key);
        assert_eq!(client.control().stats().writes_per_policy[&format!("{}/{id}", row.key)], 2);
    }
}

#[tokio::test]
async fn settings_schedules_and_filters_are_kept() {
    let client = Client::start(holding(&[("mobileApp", 1), ("deviceHealthScript", 1)])).await;
    let groups = client.control().group_ids(tenant());
    let filter = client.control().filter_ids(tenant()).remove(0);
    let app = policy_of(&client, "mobileApp", 0);
    let target =
        json!({"@odata.type": GROUP, "groupId": groups[0], FILTER_ID: filter, FILTER_TYPE: "include"});
    let settings =
        json!({"@odata.type": "#microsoft.graph.win32LobAppAssignmentSettings", "notifications": "hideAll"});
    let item = json!({"intent": "required", "target": target, "settings": settings});
    let body = json!({"mobileAppAssignments": [item]});
    assert_eq!(
        client.post(&format!("/deviceAppManagement/mobileApps/{app}/assign"), &body).await.status,
        204
    );
    let kept = live(&client, "mobileApp", &app).remove(0);
    assert_eq!(
        (&kept["intent"], &kept["settings"], &kept["target"]),
        (&json!("required"), &settings, &target)
    );

    let script = policy_of(&client, "deviceHealthScript", 0);
    let schedule = json!({"@odata.type": "#microsoft.graph.deviceHealthScriptHourlySchedule", "interval": 3});
    let mut item = to_group(GROUP, &groups[1]);
    item["runRemediationScript"] = json!(true);
    item["runSchedule"] = schedule.clone();
    let body = json!({"deviceHealthScriptAssignments": [item]});
    let path = format!("/deviceManagement/deviceHealthScripts/{script}/assign");
    assert_eq!(client.post(&path, &body).await.status, 204);
    assert_eq!(live(&client, "deviceHealthScript", &script)[0]["runSchedule"], schedule);
}

#[tokio::test]
async fn what_the_service_refuses_changes_nothing() {
    let client = Client::start(holding(&[
        ("mobileApp", 1),
        ("iosManagedAppProtection", 1),
        ("configurationPolicy", 1),
        ("enrollmentStatusPage", 1),
        ("autopilotProfile", 1),
        ("policySet", 1),
    ]))
    .await;
    let group = client.control().group_ids(tenant()).remove(0);
    let filter = client.control().filter_ids(tenant()).remove(0);
    let before = client.control().expected(tenant());
    let assign = |list: &str, key: &str, property: &str, item: Value| {
        (format!("{list}/{}/assign", policy_of(&client, key, 0)), json!({property: [item]}))
    };
    let with_settings = json!({"intent": "required", "target": {"@odata.type": EXCLUSION, "groupId": group},
        "settings": {"@odata.type": "#microsoft.graph.winGetAppAssignmentSettings"}});
    let filtered = json!({"target": {"@odata.type": EXCLUSION, "groupId": group, FILTER_ID: filter, FILTER_TYPE: "include"}});
    let unknown_filter =
        json!({"target": {"@odata.type": GROUP, "groupId": group, FILTER_ID: group, FILTER_TYPE: "include"}});
    let everybody = json!({"target": {"@odata.type": "#microsoft.graph.allLicensedUsersAssignmentTarget"}});
    let settings_catalogue = "/deviceManagement/configurationPolicies";
    let refused = [
        assign("/deviceAppManagement/mobileApps", "mobileApp", "mobileAppAssignments", with_settings),
        assign(
            "/deviceAppManagement/iosManagedAppProtections",
            "iosManagedAppProtection",
            "assignments",
            everybody,
        ),
        assign(settings_catalogue, "configurationPolicy", "assignments", to_group(GROUP, "a_b")),
        assign(settings_catalogue, "configurationPolicy", "assignments", filtered),
        assign(settings_catalogue, "configurationPolicy", "assignments", unknown_filter),
        assign(settings_catalogue, "configurationPolicy", "assignments", json!({"groupId": group})),
        assign(
            "/deviceManagement/deviceEnrollmentConfigurations",
            "enrollmentStatusPage",
            "enrollmentConfigurationAssignments",
            to_group(GROUP, &group),
        ),
        assign(
            "/deviceManagement/windowsAutopilotDeploymentProfiles",
            "autopilotProfile",
            "assignments",
            to_group(GROUP, &group),
        ),
        assign("/deviceAppManagement/policySets", "policySet", "assignments", to_group(GROUP, &group)),
    ];
    for (path, body) in refused {
        let got = client.post(&path, &body).await;
        assert_eq!(got.status, 400, "{path} {body}: {}", got.text);
    }
    let enrolment = policy_of(&client, "enrollmentStatusPage", 0);
    let one =
        before[&("enrollmentStatusPage".to_owned(), enrolment.clone())][0]["id"].as_str().expect("an id");
    let path = format!("/deviceManagement/deviceEnrollmentConfigurations/{enrolment}/assignments/{one}");
    let got = client.delete(&path).await;
    assert_eq!((got.status, got.code().as_str()), (400, "No method match route template"));
    assert_eq!(client.control().expected(tenant()), before);
    assert!(client.control().stats().writes_per_policy.is_empty());
}

#[tokio::test]
async fn autopilot_takes_one_assignment_at_a_time() {
    let client = Client::start(holding(&[("autopilotProfile", 1)])).await;
    let groups = client.control().group_ids(tenant());
    let id = policy_of(&client, "autopilotProfile", 0);
    client.control().set_assignments(tenant(), "autopilotProfile", &id, Vec::new()).expect("it exists");
    let path = format!("/deviceManagement/windowsAutopilotDeploymentProfiles/{id}/assignments");
    let added = client.post(&path, &to_group(GROUP, &groups[0])).await;
    assert_eq!(added.status, 201);
    assert_eq!(client.post(&path, &to_group(GROUP, &groups[0])).await.status, 409);
    assert_eq!(client.post(&path, &to_group(EXCLUSION, &groups[1])).await.status, 201);
    assert_eq!(live(&client, "autopilotProfile", &id).len(), 2);
    let one = added.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(client.delete(&format!("{path}/{one}")).await.status, 204);
    assert_eq!(client.delete(&format!("{path}/{one}")).await.status, 404);
    assert_eq!(live(&client, "autopilotProfile", &id)[0]["target"]["groupId"], groups[1].as_str());
}

#[tokio::test]
async fn of_two_entries_for_one_target_the_second_is_ignored() {
    let client = Client::start(holding(&[("compliancePolicy", 1)])).await;
    let groups = client.control().group_ids(tenant());
    let id = policy_of(&client, "compliancePolicy", 0);
    let body = json!({"assignments": [to_group(GROUP, &groups[0]), to_group(GROUP, &groups[0])]});
    let got = client.post(&format!("/deviceManagement/deviceCompliancePolicies/{id}/assign"), &body).await;
    assert_eq!(got.json()["value"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_role_assignment_is_patched() {
    let client = Client::start(holding(&[("roleAssignment", 1)])).await;
    let group = client.control().group_ids(tenant()).remove(0);
    let id = policy_of(&client, "roleAssignment", 0);
    let url = client.beta(&format!("/deviceManagement/roleAssignments/{id}"));
    let body = json!({"members": [group], "scopeType": "allDevices"});
    let got = client.send(reqwest::Method::PATCH, &url, Some(&body)).await.expect("answers");
    assert_eq!(got.status, 200);
    assert_eq!(live(&client, "roleAssignment", &id)[0]["members"], json!([group]));
    let refused =
        client.send(reqwest::Method::PATCH, &url, Some(&json!({"id": "x"}))).await.expect("answers");
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn the_first_reads_after_a_write_may_be_old() {
    let mut config = holding(&[("compliancePolicy", 2)]);
    config.stale_reads = 2;
    let client = Client::start(config).await;
    let id = policy_of(&client, "compliancePolicy", 0);
    let list = format!("/deviceManagement/deviceCompliancePolicies/{id}");
    let before = client.items(&format!("{list}/assignments")).await;
    let group = client.control().group_ids(tenant()).remove(0);
    let body = json!({"assignments": [to_group(GROUP, &group)]});
    assert_eq!(client.post(&format!("{list}/assign"), &body).await.status, 200);
    let mut reads = Vec::new();
    for _ in 0..3 {
        reads.push(client.items(&format!("{list}/assignments")).await);
    }
    let now = live(&client, "compliancePolicy", &id);
    assert_ne!(before, now);
    assert_eq!(reads, [before.clone(), before, now]);
}

#[tokio::test]
async fn reads_may_be_old_for_a_time() {
    let config = holding(&[("compliancePolicy", 1), ("roleAssignment", 1)]);
    let clock = config.clock.clone();
    let client = Client::start(config).await;
    let id = policy_of(&client, "compliancePolicy", 0);
    let before = client.assignments(&id).await;
    let delay = json!({"millis": 60_000});
    assert_eq!(client.control_call(reqwest::Method::PUT, "/read-delay", Some(delay)).await.0, 204);
    assert_eq!(client.assign(&id, &[to_group(GROUP, &client.group(1))]).await.expect("answered").status, 200);
    assert_eq!(client.assign(&id, &[to_group(GROUP, &client.group(2))]).await.expect("answered").status, 200);
    let listed = client.items("/deviceManagement/deviceCompliancePolicies?$expand=assignments").await;
    for old in [client.assignments(&id).await, listed[0]["assignments"].as_array().expect("a list").clone()] {
        assert_eq!(old, before, "as it was before the first of both writes");
    }
    let role = policy_of(&client, "roleAssignment", 0);
    let path = format!("/deviceManagement/roleAssignments/{role}");
    let old = client.get(&path).await.json();
    let body = json!({"members": [client.group(3)]});
    client.send(reqwest::Method::PATCH, &client.beta(&path), Some(&body)).await.expect("answered");
    assert_eq!(client.get(&path).await.json(), old);
    clock.advance(chrono::Duration::seconds(61));
    assert_eq!(client.assignments(&id).await, live(&client, "compliancePolicy", &id));
    assert_eq!(client.get(&path).await.json()["members"], json!([client.group(3)]));

    client.control().set_read_delay(ReadDelay { reads: 1, millis: 0 });
    let before = client.assignments(&id).await;
    client.assign(&id, &[]).await.expect("answered");
    assert_eq!([client.assignments(&id).await, client.assignments(&id).await], [before, Vec::new()]);
    assert!(client.assignments(&id).await.is_empty());
}

#[tokio::test]
async fn an_old_read_is_old_to_its_last_page_and_an_empty_expansion_is_none() {
    let mut config = holding(&[("configurationPolicy", 1)]);
    config.stale_reads = 1;
    let client = Client::start(config).await;
    let id = policy_of(&client, "configurationPolicy", 0);
    let path = format!("/deviceManagement/configurationPolicies/{id}");
    let before = client.items(&format!("{path}/assignments")).await;
    assert!(before.len() > 25, "it takes several pages");
    assert_eq!(client.post(&format!("{path}/assign"), &json!({"assignments": []})).await.status, 200);
    client.items("/deviceManagement/configurationPolicies?$expand=assignments").await;
    assert_eq!(client.items(&format!("{path}/assignments")).await, before);
    assert!(client.items(&format!("{path}/assignments")).await.is_empty());
}
