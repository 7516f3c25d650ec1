use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::assignment::{FilterMode, Target};
use crate::domain::restore::samples::*;
use crate::domain::restore::{LivePolicy, PolicyFacts};

fn one(key: &str, live: &LivePolicy, wanted: &AssignmentSet) -> GraphWrite {
    let calls = writes(row(key), "p-1", live, wanted);
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.into_iter().next().expect("one")
}

fn body(key: &str, wanted: &AssignmentSet) -> Value {
    let empty = live(&AssignmentSet::default());
    one(key, &empty, wanted).body.expect("a body")
}

fn shown(calls: &[GraphWrite]) -> Vec<String> {
    calls.iter().map(|call| format!("{:?} {}", call.method, call.path)).collect()
}

#[test]
fn an_app_is_sent_with_intent_filter_and_settings() {
    let mut item = filtered(group(0), 0, FilterMode::Exclude);
    item.intent = Some("required".to_owned());
    item.extras.insert("settings".to_owned(), json!({"notifications": "hideAll", "restartSettings": null}));
    let wanted = set([item, intended(excluded(1), "required"), intended(Target::AllUsers, "available")]);
    let call = one("mobileApp", &live(&AssignmentSet::default()), &wanted);
    assert_eq!(
        (call.method, call.path.as_str()),
        (WriteMethod::Post, "/deviceAppManagement/mobileApps/p-1/assign")
    );
    assert_eq!(call.success, [204]);
    let expected = json!({"mobileAppAssignments": [
        {
            "@odata.type": "#microsoft.graph.mobileAppAssignment", "intent": "required",
            "settings": {"notifications": "hideAll", "restartSettings": null},
            "target": {
                "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": GROUPS[0],
                "deviceAndAppManagementAssignmentFilterId": FILTERS[0],
                "deviceAndAppManagementAssignmentFilterType": "exclude",
            },
        },
        {
            "@odata.type": "#microsoft.graph.mobileAppAssignment", "intent": "available",
            "target": {
                "@odata.type": "#microsoft.graph.allLicensedUsersAssignmentTarget",
                "deviceAndAppManagementAssignmentFilterId": null,
                "deviceAndAppManagementAssignmentFilterType": "none",
            },
        },
        {
            "@odata.type": "#microsoft.graph.mobileAppAssignment", "intent": "required",
            "target": {"@odata.type": "#microsoft.graph.exclusionGroupAssignmentTarget", "groupId": GROUPS[1]},
        },
    ]});
    let sorted = |body: &Value| {
        let mut items: Vec<_> =
            body["mobileAppAssignments"].as_array().expect("a list").iter().map(Value::to_string).collect();
        items.sort();
        items
    };
    assert_eq!(sorted(&call.body.expect("a body")), sorted(&expected));
}

#[test]
fn no_filter_is_said_only_where_filters_are_known_to_work() {
    let wanted = set([plain(group(0))]);
    for row in writable().filter(|row| row.targets.contains(&TargetKind::Group)) {
        let live = live(&AssignmentSet::default());
        let text = writes(row, "p", &live, &wanted)[0].body.as_ref().expect("a body").to_string();
        assert_eq!(
            text.contains("AssignmentFilterType\":\"none"),
            row.filters == Filters::Yes,
            "{}",
            row.key
        );
    }
    let mut edge = live(&AssignmentSet::default());
    edge.facts = PolicyFacts {
        odata_type: Some("#microsoft.graph.windowsMicrosoftEdgeApp".to_owned()),
        ..PolicyFacts::default()
    };
    let call = one("mobileApp", &edge, &set([intended(group(0), "required")]));
    assert!(!call.body.expect("a body").to_string().contains("Filter"));
}

#[test]
fn the_empty_set_is_sent_as_an_empty_list() {
    let had = live(&set([plain(group(0))]));
    for row in writable().filter(|row| matches!(row.write, Write::Replace { .. })) {
        let Write::Replace { body_property, .. } = row.write else { unreachable!("filtered above") };
        let calls = writes(row, "p", &had, &AssignmentSet::default());
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].body, Some(json!({ body_property: [] })), "{}", row.key);
    }
}

#[test]
fn special_actions_have_their_paths() {
    let call = |key| one(key, &live(&AssignmentSet::default()), &set([plain(group(0))]));
    assert_eq!(call("policySet").path, "/deviceAppManagement/policySets/p-1/update");
    let cast = "/deviceAppManagement/mobileAppConfigurations/p-1/microsoft.graph.managedDeviceMobileAppConfiguration/assign";
    assert_eq!(call("mobileAppConfiguration").path, cast);
    assert_eq!(
        call("policySet").body.expect("a body").as_object().map(Map::len),
        Some(1),
        "assignments only"
    );
    assert_eq!(call("inventoryPolicy").success, [] as [u16; 0], "nobody has documented it");
}

#[test]
fn an_id_stays_within_its_segment() {
    let live = live(&set([plain(group(0))]));
    let wanted = set([plain(group(1))]);
    let path = |key| writes(row(key), "a/../b?c#d%é", &live, &wanted)[0].path.clone();
    assert_eq!(path("intent"), "/deviceManagement/intents/a%2F..%2Fb%3Fc%23d%25%C3%A9/assign");
    let calls = writes(row("autopilotProfile"), "a/b", &live, &wanted);
    assert!(calls.iter().all(|call| !call.path.contains(['{', '"', '?', '#', ':', ' '])), "{calls:?}");
}

#[test]
fn terms_carry_a_type_and_a_group_alone() {
    let call = one("termsAndConditions", &live(&AssignmentSet::default()), &set([plain(group(0))]));
    let target = json!({"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": GROUPS[0]});
    let item = json!({"@odata.type": "#microsoft.graph.termsAndConditionsAssignment", "target": target});
    assert_eq!((call.body, call.success), (Some(item), &[201_u16][..]));
}

#[test]
fn a_cloud_pc_group_keeps_its_id_even_with_another_plan() {
    let had = live(&set([plain(cloud_pc(0, None)), plain(cloud_pc(1, Some("Plan-1")))]));
    let wanted = set([
        plain(cloud_pc(0, Some("Plan-2"))),
        plain(cloud_pc(1, Some("Plan-1"))),
        plain(cloud_pc(2, None)),
    ]);
    for key in ["cloudPcProvisioningPolicy", "cloudPcUserSetting"] {
        let call = one(key, &had, &wanted);
        let body = call.body.expect("a body");
        for item in body["assignments"].as_array().expect("a list") {
            let at = GROUPS.iter().position(|id| item["target"]["groupId"] == *id).expect("a known group");
            let expected = (at < 2).then(|| format!("{}:None", GROUPS[at]));
            assert_eq!(item.get("id").and_then(Value::as_str), expected.as_deref(), "{item}");
        }
        assert_eq!(
            AssignmentSet::from_graph(row(key), body["assignments"].as_array().expect("a list")),
            Ok(wanted.clone())
        );
    }
}

#[test]
fn a_role_is_patched_with_members_and_scopes_alone() {
    let had = live(&set([plain(role(&[0], "resourceScope"))]));
    let call = one("roleAssignment", &had, &set([plain(role(&[1, 2], "allDevices"))]));
    assert_eq!(
        (call.method, call.path.as_str()),
        (WriteMethod::Patch, "/deviceManagement/roleAssignments/p-1")
    );
    let expected = json!({
        "@odata.type": "#microsoft.graph.deviceAndAppManagementRoleAssignment",
        "members": [GROUPS[1], GROUPS[2]], "resourceScopes": [GROUPS[3]], "scopeType": "allDevices",
    });
    assert_eq!(call.body, Some(expected));
}

#[test]
fn one_by_one_adds_first_changes_in_place_and_deletes_last() {
    let row = row("appleUserInitiatedEnrollmentProfile");
    let changed = filtered(group(1), 0, FilterMode::Include);
    let had = live(&set([plain(group(0)), plain(group(1)), plain(group(2))]));
    let calls = writes(row, "p", &had, &set([plain(group(2)), changed, plain(group(3))]));
    let path = "/deviceManagement/appleUserInitiatedEnrollmentProfiles/p/assignments";
    let id = |at: usize| segment(&assigned_id(&plain(group(at))));
    let expected = [
        format!("Post {path}"),
        format!("Delete {path}/{}", id(1)),
        format!("Post {path}"),
        format!("Delete {path}/{}", id(0)),
    ];
    assert_eq!(shown(&calls), expected);
    assert_eq!(calls[0].body.as_ref().expect("a body")["target"]["groupId"], GROUPS[3]);
    assert_eq!(calls[2].body.as_ref().expect("a body")["target"]["groupId"], GROUPS[1]);
}

#[test]
fn a_group_that_is_to_be_left_out_is_taken_away_first() {
    let row = row("autopilotProfile");
    let had = live(&set([plain(group(0)), plain(excluded(1))]));
    let calls = writes(row, "p", &had, &set([plain(excluded(0)), plain(group(1)), plain(group(2))]));
    let methods: Vec<_> = calls.iter().map(|call| call.method).collect();
    use WriteMethod::{Delete, Post};
    assert_eq!(methods, [Post, Delete, Post, Delete, Post], "the ids of both are the same");
}

#[test]
fn what_has_no_id_cannot_be_deleted_one_by_one() {
    let row = row("autopilotProfile");
    let mut had = live(&set([plain(group(0)), plain(group(1)), inherited(group(2))]));
    let wanted = set([plain(group(1))]);
    assert_eq!(undeletable(row, &had, &wanted), None);
    had.ids.clear();
    assert_eq!(undeletable(row, &had, &wanted), Some(&plain(group(0))));
    assert_eq!(undeletable(row, &had, &set([plain(group(0)), plain(group(1))])), None);
    assert_eq!(undeletable(crate::domain::restore::samples::row("intent"), &had, &wanted), None);
}

#[test]
fn inherited_assignments_are_never_written() {
    let wanted = set([plain(group(0)), inherited(group(1))]);
    let text = body("compliancePolicy", &wanted).to_string();
    assert!(text.contains(GROUPS[0]) && !text.contains(GROUPS[1]), "{text}");
    let had = live(&set([plain(group(0)), inherited(group(2))]));
    assert!(writes(row("compliancePolicy"), "p", &had, &wanted).is_empty(), "the direct ones are the same");
    assert!(writes(row("autopilotProfile"), "p", &had, &wanted).is_empty());
}

#[test]
fn of_two_in_one_place_one_is_sent() {
    let wanted = set([plain(group(0)), filtered(group(0), 0, FilterMode::Include)]);
    assert_eq!(body("compliancePolicy", &wanted)["assignments"].as_array().map(Vec::len), Some(1));
}

/// What the service has after one of the calls: the double of these tests.
fn after(row: &PolicyType, have: &AssignmentSet, call: &GraphWrite) -> AssignmentSet {
    let parse = |items: &[Value]| AssignmentSet::from_graph(row, items).expect("what is sent can be read");
    match (call.method, &call.body) {
        (WriteMethod::Patch, Some(body)) => {
            AssignmentSet::from_role_assignment(body).expect("a role assignment")
        }
        (WriteMethod::Post, Some(body)) => match row.write {
            Write::Replace { body_property, .. } => {
                assert_eq!(body.as_object().map(Map::len), Some(1));
                parse(body[body_property].as_array().expect("a list"))
            }
            _ => {
                let new = parse(std::slice::from_ref(body)).iter().next().cloned().expect("one");
                assert!(!have.iter().any(|it| it.same_place(&new)), "409: {new:?} is there already");
                AssignmentSet::new(have.iter().cloned().chain([new]).collect())
            }
        },
        (WriteMethod::Delete, None) => {
            let gone = |it: &&Assignment| !call.path.ends_with(&format!("/{}", segment(&assigned_id(it))));
            let left = AssignmentSet::new(have.iter().filter(gone).cloned().collect());
            assert_eq!(left.len() + 1, have.len(), "404: nothing to delete");
            left
        }
        (method, body) => panic!("no such call: {method:?} {body:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_sent_is_read_back_as_what_was_wanted((row, [had, wanted]) in row_with_sets::<2>()) {
        let calls = writes(row, "p", &live(&had), &wanted);
        prop_assert_eq!(calls.is_empty(), had == wanted);
        let at_once = !matches!(row.write, Write::OneByOne { .. });
        prop_assert!(!at_once || calls.len() <= 1);
        let mut have = had.clone();
        for (done, call) in calls.iter().enumerate() {
            // After any of the calls the rest of them is what is still to be sent: none is repeated.
            let rest = writes(row, "p", &live(&have), &wanted);
            prop_assert_eq!(&rest[..], &calls[done..], "{}", row.key);
            have = after(row, &have, call);
            let in_place = had.iter().any(|old| wanted.iter().any(|new| has_its_id(old, new) && old != new));
            let bare = have.is_empty() && !had.is_empty() && !wanted.is_empty();
            prop_assert!(!bare || in_place, "a policy that had and shall have something was bare");
        }
        prop_assert_eq!(have, wanted);
        for call in &calls {
            let text = call.body.as_ref().map(Value::to_string).unwrap_or_default();
            for read_only in ["\"source\"", "sourceId", "lastModifiedDateTime", "createdDateTime", "odata.context"] {
                prop_assert!(!text.contains(read_only), "{text}");
            }
            prop_assert!(!text.contains("\"id\"") || row.throttle_family == "cloudpc", "{text}");
        }
    }

    #[test]
    fn any_set_is_written_or_not_without_a_panic(had in any_set(), wanted in any_set()) {
        let role = |set: &AssignmentSet| set.iter().any(|it| matches!(it.target, Target::RoleScope { .. }));
        for row in writable().filter(|row| row.write == Write::Patch || !role(&wanted)) {
            let _ = writes(row, "p", &live(&had), &wanted);
        }
    }
}
