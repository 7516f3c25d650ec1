use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::policy_types::{self, PolicyType, Read, TargetKind};

const GROUP: &str = "0f0f0f0f-0000-4000-8000-00000000000a";
const OTHER: &str = "0f0f0f0f-0000-4000-8000-00000000000b";
const FILTER: &str = "0f0f0f0f-0000-4000-8000-0000000000ff";

fn row(key: &str) -> &'static PolicyType {
    policy_types::find(key).expect("a row of the catalogue")
}

fn read(key: &str, items: Value) -> Result<AssignmentSet, Malformed> {
    AssignmentSet::from_graph(row(key), items.as_array().expect("a list"))
}

/// The one assignment of an item.
fn one(key: &str, item: Value) -> Assignment {
    let set = read(key, json!([item])).expect("well-formed");
    assert_eq!(set.len(), 1);
    set.0[0].clone()
}

fn target_of(key: &str, target: Value) -> Result<Target, &'static str> {
    let set = read(key, json!([{ "id": "x", "target": target }]));
    set.map(|set| set.0[0].target.clone()).map_err(|error| error.problem)
}

fn group(id: &str) -> Target {
    Target::Group { group_id: id.to_owned() }
}

fn plain(target: Target) -> Assignment {
    Assignment { target, filter: None, intent: None, extras: BTreeMap::new(), inherited_from: None }
}

#[test]
fn each_documented_target_is_read() {
    let graph = |name: &str| format!("#microsoft.graph.{name}");
    let upper = GROUP.to_uppercase();
    let cases = [
        (json!({"@odata.type": graph("groupAssignmentTarget"), "groupId": upper}), group(GROUP)),
        (
            json!({"@odata.type": graph("exclusionGroupAssignmentTarget"), "groupId": upper}),
            Target::ExclusionGroup { group_id: GROUP.to_owned() },
        ),
        (json!({"@odata.type": graph("allLicensedUsersAssignmentTarget")}), Target::AllUsers),
        (json!({"@odata.type": "microsoft.graph.allDevicesAssignmentTarget"}), Target::AllDevices),
        (
            json!({"@odata.type": graph("configurationManagerCollectionAssignmentTarget"), "collectionId": "SMS001"}),
            Target::ConfigurationManagerCollection { collection_id: "SMS001".to_owned() },
        ),
        (
            json!({"@odata.type": graph("officeConfigurationGroupAssignmentTarget"), "groupId": upper}),
            Target::OfficeGroup { group_id: GROUP.to_owned() },
        ),
        (
            json!({"@odata.type": "microsoft.graph.cloudPCManagementGroupAssignmentTarget", "groupId": upper}),
            Target::CloudPcGroup {
                group_id: GROUP.to_owned(),
                service_plan_id: None,
                allotment_display_name: None,
                allotment_licenses_count: None,
            },
        ),
    ];
    for (target, expected) in cases {
        assert_eq!(target_of("deviceConfiguration", target.clone()), Ok(expected), "{target}");
    }
}

#[test]
fn a_frontline_target_keeps_its_plan_and_allotment() {
    let target = json!({
        "@odata.type": "#microsoft.graph.cloudPcManagementGroupAssignmentTarget", "groupId": GROUP,
        "servicePlanId": "Plan-1", "allotmentDisplayName": "Shift", "allotmentLicensesCount": 5,
    });
    let expected = Target::CloudPcGroup {
        group_id: GROUP.to_owned(),
        service_plan_id: Some("Plan-1".to_owned()),
        allotment_display_name: Some("Shift".to_owned()),
        allotment_licenses_count: Some(5),
    };
    assert_eq!(target_of("cloudPcProvisioningPolicy", target.clone()), Ok(expected));
    for wrong in [json!(-1), json!(5.0), json!("5")] {
        let mut target = target.clone();
        target["allotmentLicensesCount"] = wrong;
        assert!(target_of("cloudPcProvisioningPolicy", target).is_err());
    }
}

#[test]
fn an_untyped_target_is_read_only_where_its_policy_type_leaves_no_choice() {
    let target = json!({ "groupId": GROUP });
    assert!(matches!(target_of("cloudPcUserSetting", target.clone()), Ok(Target::CloudPcGroup { .. })));
    assert_eq!(target_of("roleScopeTag", target.clone()), Ok(group(GROUP)));
    assert_eq!(target_of("termsAndConditions", target.clone()), Ok(group(GROUP)));
    for key in ["deviceConfiguration", "iosManagedAppProtection", "intuneBrandingProfile", "mobileApp"] {
        assert!(target_of(key, target.clone()).is_err(), "{key}");
    }
    assert!(target_of("termsAndConditions", json!({})).is_err(), "nothing at all is not all users");
    assert!(target_of("roleScopeTag", json!({"@odata.type": null})).is_err());
}

#[test]
fn an_exclusion_is_never_read_as_an_inclusion() {
    let readable = policy_types::readable().filter(|row| row.read == Read::Navigation);
    for row in readable {
        for name in [
            "#microsoft.graph.exclusionGroupAssignmentTarget",
            "microsoft.graph.ExclusionGroupAssignmentTarget",
        ] {
            let target = json!({"@odata.type": name, "groupId": GROUP});
            let expected = Target::ExclusionGroup { group_id: GROUP.to_owned() };
            assert_eq!(target_of(row.key, target), Ok(expected), "{}", row.key);
        }
        if row.targets.contains(&TargetKind::ExclusionGroup) {
            assert!(target_of(row.key, json!({ "groupId": GROUP })).is_err(), "{}", row.key);
        }
    }
}

#[test]
fn what_is_not_as_the_schema_has_it_is_malformed() {
    let exclusion = "#microsoft.graph.exclusionGroupAssignmentTarget";
    let items = [
        json!(null),
        json!("x"),
        json!({}),
        json!({"target": null}),
        json!({"target": []}),
        json!({"target": {"@odata.type": 7, "groupId": GROUP}}),
        json!({"target": {"@odata.type": "#microsoft.graph.deviceAndAppManagementAssignmentTarget"}}),
        json!({"target": {"@odata.type": "#microsoft.graph.everybodyAssignmentTarget", "groupId": GROUP}}),
        json!({"target": {"@odata.type": exclusion}}),
        json!({"target": {"@odata.type": exclusion, "groupId": null}}),
        json!({"target": {"@odata.type": exclusion, "groupId": ""}}),
        json!({"target": {"@odata.type": exclusion, "groupId": 7}}),
        json!({"target": {"@odata.type": "#microsoft.graph.configurationManagerCollectionAssignmentTarget"}}),
        json!({"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}, "intent": 7}),
        json!({"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}, "source": {}}),
        json!({"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"},
            "settings": {"x": [9_007_199_254_740_992_i64]}}),
    ];
    let good = json!({"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}});
    for item in items {
        let error = read("mobileApp", json!([good, item])).expect_err(&item.to_string());
        assert_eq!(error.index, 1, "{item}");
        assert!(!error.to_string().contains(GROUP));
    }
}

#[test]
fn every_form_of_no_filter_is_one_form() {
    let bare = json!({"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"});
    let zero = "00000000-0000-0000-0000-000000000000";
    for (id, mode) in [
        (None, None),
        (Some(json!(null)), Some(json!("none"))),
        (Some(json!(null)), Some(json!(null))),
        (Some(json!("")), Some(json!("none"))),
        (Some(json!(FILTER)), Some(json!("none"))),
        (Some(json!(zero)), Some(json!("none"))),
        (Some(json!(zero)), Some(json!("include"))),
        (Some(json!(zero)), None),
    ] {
        let mut target = bare.clone();
        let fields = [("Id", id), ("Type", mode)];
        for (name, value) in fields {
            if let Some(value) = value {
                target[format!("deviceAndAppManagementAssignmentFilter{name}")] = value;
            }
        }
        assert_eq!(one("mobileApp", json!({ "target": target })), plain(Target::AllDevices), "{target}");
    }
}

#[test]
fn a_filter_keeps_its_mode_and_half_a_filter_is_malformed() {
    let with = |id: Value, mode: Value| {
        read(
            "mobileApp",
            json!([{"target": {
                "@odata.type": "#microsoft.graph.allLicensedUsersAssignmentTarget",
                "deviceAndAppManagementAssignmentFilterId": id,
                "deviceAndAppManagementAssignmentFilterType": mode,
            }}]),
        )
    };
    for (text, mode) in [("include", FilterMode::Include), ("exclude", FilterMode::Exclude)] {
        let set = with(json!(FILTER.to_uppercase()), json!(text)).expect("well-formed");
        assert_eq!(set.0[0].filter, Some(Filter { id: FILTER.to_owned(), mode }));
    }
    for (id, mode) in [
        (json!(FILTER), json!(null)),
        (json!(null), json!("include")),
        (json!(""), json!("exclude")),
        (json!(FILTER), json!("sometimes")),
        (json!(7), json!("include")),
        (json!(FILTER), json!(1)),
    ] {
        assert!(with(id.clone(), mode.clone()).is_err(), "{id} {mode}");
    }
}

#[test]
fn what_must_survive_survives_byte_for_byte_and_the_rest_is_dropped() {
    let schedule = json!({
        "@odata.type": "microsoft.graph.deviceHealthScriptDailySchedule",
        "interval": 8, "useUtc": true, "time": "11:58:36.2550000", "date": null,
    });
    let read = one(
        "deviceHealthScript",
        json!({
            "@odata.type": "#microsoft.graph.deviceHealthScriptAssignment", "id": "a:b", "sourceId": "s",
            "lastModifiedDateTime": "2017-01-01T00:00:35.1329464-08:00", "intent": "apply", "settings": {"a": 1},
            "target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": GROUP},
            "runRemediationScript": true, "runSchedule": schedule,
        }),
    );
    assert_eq!(read.intent, None, "the type has no intent");
    let extras = BTreeMap::from([
        ("runRemediationScript".to_owned(), json!(true)),
        ("runSchedule".to_owned(), schedule),
    ]);
    assert_eq!(read.extras, extras);
    let app = one(
        "mobileApp",
        json!({"intent": "required", "settings": null, "target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}),
    );
    assert_eq!(app.intent.as_deref(), Some("required"));
    assert!(app.extras.is_empty(), "null is nothing");
}

#[test]
fn what_a_policy_set_assigns_is_kept_apart() {
    let item = |source: Value| {
        json!({"id": "x", "source": source, "sourceId": "y",
            "target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": GROUP}})
    };
    let set = read("mobileApp", json!([item(json!("direct")), item(json!("policySets")), item(json!(null))]))
        .expect("well-formed");
    assert_eq!(set.len(), 2);
    assert_eq!(set.direct(), AssignmentSet::new(vec![plain(group(GROUP))]));
    assert_ne!(set.hash(), set.direct().hash());
}

#[test]
fn pseudo_groups_of_app_protection_stay_groups() {
    for id in ["acacacac-9df4-4c7d-9d50-4ef0226f57a9", "adadadad-808e-44e2-905a-0b7873a8a531"] {
        let target = json!({"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": id});
        assert_eq!(target_of("iosManagedAppProtection", target), Ok(group(id)));
    }
}

#[test]
fn a_role_assignment_is_its_members_and_scopes() {
    let object = json!({
        "id": "x", "displayName": "Helpdesk", "members": [OTHER, GROUP.to_uppercase(), GROUP],
        "resourceScopes": [OTHER], "scopeType": "resourceScope",
    });
    let set = AssignmentSet::from_role_assignment(&object).expect("well-formed");
    let expected = Target::RoleScope {
        members: BTreeSet::from([GROUP.to_owned(), OTHER.to_owned()]),
        resource_scopes: BTreeSet::from([OTHER.to_owned()]),
        scope_type: Some("resourceScope".to_owned()),
    };
    assert_eq!(set, AssignmentSet::new(vec![plain(expected)]));
    let older = json!({"members": [], "scopeMembers": [OTHER]});
    assert!(AssignmentSet::from_role_assignment(&older).is_ok_and(|set| set.canonical().len() > OTHER.len()));
    for wrong in [
        json!([]),
        json!({}),
        json!({"members": null}),
        json!({"members": [7]}),
        json!({"members": [], "resourceScopes": "x"}),
        json!({"members": [], "scopeType": 7}),
    ] {
        assert!(AssignmentSet::from_role_assignment(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_canonical_form_and_hash_are_fixed() {
    let empty = AssignmentSet::default();
    assert_eq!(empty.canonical(), b"[]");
    assert_eq!(empty.hash().to_string(), "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945");
    let set = AssignmentSet::new(vec![Assignment {
        filter: Some(Filter { id: FILTER.to_owned(), mode: FilterMode::Exclude }),
        intent: Some("required".to_owned()),
        ..plain(group(GROUP))
    }]);
    let text = format!(
        r#"[{{"filter":{{"id":"{FILTER}","mode":"exclude"}},"intent":"required","target":{{"group_id":"{GROUP}","type":"group"}}}}]"#
    );
    assert_eq!(String::from_utf8(set.canonical()).expect("JSON is UTF-8"), text);
    assert_eq!(read("mobileApp", json!([])), Ok(empty));
}

#[test]
fn numbers_have_the_form_that_they_have_in_the_ledger() {
    let set = |raw: &str| {
        let raw = serde_json::from_str::<Value>(raw).expect("JSON");
        AssignmentSet::new(vec![Assignment {
            extras: BTreeMap::from([("settings".to_owned(), raw)]),
            ..plain(Target::AllUsers)
        }])
    };
    for number in
        ["1.0", "-0.0", "0.1", "1e300", "9007199254740991", "9007199254740994.0", "-9007199254740994"]
    {
        let set = set(&format!("[{number}]"));
        let stored: AssignmentSet = serde_json::from_slice(&set.canonical()).expect("a set");
        assert_eq!(stored, set, "{number}");
        assert_eq!(stored.hash(), set.hash(), "{number}");
    }
    assert_eq!(set("1.0"), set("1"));
}

#[test]
fn a_change_of_filter_is_one_change() {
    let filtered = |mode| Assignment {
        filter: Some(Filter { id: FILTER.to_owned(), mode }),
        ..plain(Target::AllDevices)
    };
    let before =
        AssignmentSet::new(vec![filtered(FilterMode::Include), plain(group(GROUP)), plain(group(OTHER))]);
    let after = AssignmentSet::new(vec![
        filtered(FilterMode::Exclude),
        Assignment { intent: Some("remove".to_owned()), ..plain(group(GROUP)) },
        plain(group(OTHER)),
    ]);
    let found = diff(&before, &after);
    assert_eq!(found.changed, [(filtered(FilterMode::Include), filtered(FilterMode::Exclude))]);
    assert_eq!(found.removed, [plain(group(GROUP))]);
    assert_eq!(found.added.len(), 1, "another intent is another assignment");
}

#[test]
fn an_exclusion_and_an_inclusion_of_a_group_are_not_a_change_of_one() {
    let exclusion = plain(Target::ExclusionGroup { group_id: GROUP.to_owned() });
    let (before, after) =
        (AssignmentSet::new(vec![exclusion]), AssignmentSet::new(vec![plain(group(GROUP))]));
    let found = diff(&before, &after);
    assert!(found.changed.is_empty() && found.added.len() == 1 && found.removed.len() == 1);
}

#[test]
fn a_pair_is_of_one_source_where_it_can_be() {
    let from = |source: Option<&str>, run: u32| Assignment {
        extras: BTreeMap::from([("settings".to_owned(), json!(run))]),
        inherited_from: source.map(str::to_owned),
        ..plain(group(GROUP))
    };
    let before = AssignmentSet::new(vec![from(None, 1), from(Some("policySets"), 1)]);
    let after = AssignmentSet::new(vec![from(Some("policySets"), 2), from(None, 2)]);
    let found = diff(&before, &after);
    assert_eq!(found.changed.len(), 2);
    assert!(found.changed.iter().all(|(old, new)| old.inherited_from == new.inherited_from));
}

fn key(policy_type: &str, policy_id: &str) -> PolicyKey {
    PolicyKey { policy_type: policy_type.to_owned(), policy_id: policy_id.to_owned() }
}

#[test]
fn policies_are_created_updated_and_deleted() {
    let hash = |text: &str| AssignmentsHash::of(text.as_bytes());
    let known = BTreeMap::from([
        (key("a", "same"), hash("1")),
        (key("a", "changed"), hash("1")),
        (key("a", "gone"), hash("1")),
        (key("a", "unread"), hash("1")),
        (key("b", "gone, but b was not listed completely"), hash("1")),
        (key("c", "gone, but c was not listed at all"), hash("1")),
    ]);
    let read = BTreeMap::from([
        (key("a", "same"), hash("1")),
        (key("a", "changed"), hash("2")),
        (key("a", "new"), hash("1")),
        (key("b", "new"), hash("1")),
    ]);
    let listed: BTreeSet<_> =
        read.keys().cloned().chain([key("a", "unread"), key("a", "new and unread")]).collect();
    let changes = policy_changes(&known, &listed, &read, &BTreeSet::from(["a".to_owned()]));
    assert_eq!(changes.created, BTreeSet::from([key("a", "new"), key("b", "new")]));
    assert_eq!(changes.updated, BTreeSet::from([key("a", "changed")]));
    assert_eq!(changes.deleted, BTreeSet::from([key("a", "gone")]));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zé😀\"\\\\]{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-c😀]{0,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Few targets, so that sets overlap.
fn assignment() -> impl Strategy<Value = Assignment> {
    let target = prop_oneof![
        Just(Target::AllUsers),
        Just(Target::AllDevices),
        Just(group(GROUP)),
        Just(group(OTHER)),
        Just(Target::ExclusionGroup { group_id: GROUP.to_owned() }),
    ];
    let filter = proptest::option::of(prop_oneof![Just(FilterMode::Include), Just(FilterMode::Exclude)]);
    let intent = proptest::option::of(prop_oneof![Just("required"), Just("available")]);
    let source = proptest::option::weighted(0.2, Just("policySets".to_owned()));
    (target, filter, intent, proptest::option::of(json_value()), source).prop_map(
        |(target, mode, intent, settings, inherited_from)| Assignment {
            target,
            filter: mode.map(|mode| Filter { id: FILTER.to_owned(), mode }),
            intent: intent.map(str::to_owned),
            extras: settings.map(|settings| ("settings".to_owned(), settings)).into_iter().collect(),
            inherited_from,
        },
    )
}

fn assignments() -> impl Strategy<Value = Vec<Assignment>> {
    proptest::collection::vec(assignment(), 0..8)
}

/// An assignment as Graph writes it, with read-only fields that differ from one call to the next.
fn to_graph(assignment: &Assignment, salt: u64) -> Value {
    let (name, group_id) = match &assignment.target {
        Target::AllUsers => ("allLicensedUsersAssignmentTarget", None),
        Target::AllDevices => ("allDevicesAssignmentTarget", None),
        Target::ExclusionGroup { group_id } => ("exclusionGroupAssignmentTarget", Some(group_id)),
        Target::Group { group_id } => ("groupAssignmentTarget", Some(group_id)),
        other => unreachable!("the strategy makes no {other:?}"),
    };
    let mode = assignment.filter.as_ref().map_or("none", |filter| match filter.mode {
        FilterMode::Include => "include",
        FilterMode::Exclude => "exclude",
    });
    json!({
        "@odata.type": "#microsoft.graph.mobileAppAssignment",
        "id": format!("id-{salt}"), "sourceId": format!("{salt}"), "lastModifiedDateTime": format!("{salt}"),
        "source": assignment.inherited_from.as_deref().unwrap_or("direct"),
        "intent": assignment.intent,
        "settings": assignment.extras.get("settings"),
        "target": {
            "@odata.type": format!("#microsoft.graph.{name}"),
            "groupId": group_id.map(|id| if salt % 2 == 0 { id.to_uppercase() } else { id.clone() }),
            "deviceAndAppManagementAssignmentFilterId": assignment.filter.as_ref().map(|filter| &filter.id),
            "deviceAndAppManagementAssignmentFilterType": mode,
        },
    })
}

/// Null is no extra in the normal form.
fn normal(mut assignment: Assignment) -> Assignment {
    assignment.extras.retain(|_, value| !value.is_null());
    assignment
}

proptest! {
    #[test]
    fn order_and_repeats_do_not_matter(items in assignments(), salt: usize) {
        let set = AssignmentSet::new(items.clone());
        let mut other = items.clone();
        other.rotate_left(salt % items.len().max(1));
        other.extend(items);
        let other = AssignmentSet::new(other);
        prop_assert_eq!(set.canonical(), other.canonical());
        prop_assert_eq!(set, other);
    }

    #[test]
    fn sets_are_equal_exactly_when_their_hashes_are(a in assignments(), b in assignments()) {
        let (a, b) = (AssignmentSet::new(a), AssignmentSet::new(b));
        prop_assert_eq!(a == b, a.hash() == b.hash());
        let stored: AssignmentSet = serde_json::from_slice(&a.canonical()).expect("a set");
        prop_assert_eq!(stored.hash(), a.hash());
        prop_assert_eq!(stored, a);
    }

    #[test]
    fn ids_that_only_name_do_not_matter(items in assignments(), salts in proptest::collection::vec(any::<u64>(), 16)) {
        let items: Vec<_> = items.into_iter().map(normal).collect();
        let graph = |salts: &[u64]| -> Vec<Value> {
            items.iter().zip(salts).map(|(item, salt)| to_graph(item, *salt)).collect()
        };
        let read = |salts| AssignmentSet::from_graph(row("mobileApp"), &graph(salts)).expect("well-formed");
        prop_assert_eq!(read(&salts[..8]).hash(), read(&salts[8..]).hash());
        prop_assert_eq!(read(&salts[..8]), AssignmentSet::new(items.clone()));
    }

    #[test]
    fn a_difference_applied_to_the_first_gives_the_second(a in assignments(), b in assignments()) {
        let (a, b) = (AssignmentSet::new(a), AssignmentSet::new(b));
        let found = diff(&a, &b);
        let (old, new): (Vec<_>, Vec<_>) = found.changed.iter().cloned().unzip();
        let gone: Vec<_> = found.removed.iter().cloned().chain(old).collect();
        prop_assert!(gone.iter().all(|it| a.0.contains(it)));
        let kept = a.iter().filter(|it| !gone.contains(it)).cloned();
        let result = AssignmentSet::new(kept.chain(found.added.iter().cloned()).chain(new).collect());
        prop_assert_eq!(result, b.clone());
        prop_assert_eq!(diff(&b, &b), SetDiff::default());
        for (old, new) in &found.changed {
            prop_assert!(old.target == new.target && old.intent == new.intent && old != new);
        }
    }

    #[test]
    fn any_json_is_answered_without_a_panic(value in json_value(), name in "[@a-zA-Z.]{0,12}") {
        for row in policy_types::TABLE {
            for item in [value.clone(), json!({"target": value.clone()}), json!({"target": {name.clone(): value.clone()}})] {
                let _ = AssignmentSet::from_graph(row, &[item.clone()]);
                let _ = AssignmentSet::from_role_assignment(&item);
            }
        }
    }
}
