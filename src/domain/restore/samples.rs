//! Builders and strategies for the tests of this room: sets that a type takes, and sets of any kind.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{LivePolicy, PolicyFacts};
use crate::domain::assignment::{Assignment, AssignmentSet, Filter, FilterMode, Target};
use crate::domain::policy_types::{self, Filters, PolicyType, TargetKind, Write};

/// Groups that exist in the tests' tenant.
pub const GROUPS: [&str; 4] = [
    "0f0f0f0f-0000-4000-8000-00000000000a",
    "0f0f0f0f-0000-4000-8000-00000000000b",
    "0f0f0f0f-0000-4000-8000-00000000000c",
    "0f0f0f0f-0000-4000-8000-00000000000d",
];
/// Filters that exist there.
pub const FILTERS: [&str; 2] =
    ["0f0f0f0f-0000-4000-8000-0000000000f1", "0f0f0f0f-0000-4000-8000-0000000000f2"];

pub fn row(key: &str) -> &'static PolicyType {
    policy_types::find(key).expect("a row of the catalogue")
}

/// The rows whose assignments can be written.
pub fn writable() -> impl Iterator<Item = &'static PolicyType> {
    policy_types::TABLE.iter().filter(|row| row.write != Write::Nothing)
}

pub fn plain(target: Target) -> Assignment {
    Assignment { target, filter: None, intent: None, extras: BTreeMap::new(), inherited_from: None }
}

pub fn group(at: usize) -> Target {
    Target::Group { group_id: GROUPS[at].to_owned() }
}

pub fn named_group(id: &str) -> Target {
    Target::Group { group_id: id.to_owned() }
}

pub fn excluded(at: usize) -> Target {
    Target::ExclusionGroup { group_id: GROUPS[at].to_owned() }
}

pub fn cloud_pc(at: usize, plan: Option<&str>) -> Target {
    Target::CloudPcGroup {
        group_id: GROUPS[at].to_owned(),
        service_plan_id: plan.map(str::to_owned),
        allotment_display_name: None,
        allotment_licenses_count: plan.map(|_| 5),
    }
}

pub fn role(members: &[usize], scope_type: &str) -> Target {
    Target::RoleScope {
        members: members.iter().map(|at| GROUPS[*at].to_owned()).collect(),
        resource_scopes: BTreeSet::from([GROUPS[3].to_owned()]),
        scope_type: Some(scope_type.to_owned()),
    }
}

pub fn filtered(target: Target, at: usize, mode: FilterMode) -> Assignment {
    Assignment { filter: Some(Filter { id: FILTERS[at].to_owned(), mode }), ..plain(target) }
}

pub fn intended(target: Target, intent: &str) -> Assignment {
    Assignment { intent: Some(intent.to_owned()), ..plain(target) }
}

pub fn inherited(target: Target) -> Assignment {
    Assignment { inherited_from: Some("policySets".to_owned()), ..plain(target) }
}

pub fn set<const N: usize>(assignments: [Assignment; N]) -> AssignmentSet {
    AssignmentSet::new(assignments.into())
}

/// A policy that has `assignments`, each with an id.
pub fn live(assignments: &AssignmentSet) -> LivePolicy {
    let ids = assignments.iter().map(|it| (it.clone(), assigned_id(it))).collect();
    LivePolicy {
        name: "live name".to_owned(),
        assignments: assignments.clone(),
        ids,
        facts: PolicyFacts::default(),
    }
}

/// The id under which the tests' service keeps an assignment: of its place, with a character to be escaped.
pub fn assigned_id(assignment: &Assignment) -> String {
    let target = match &assignment.target {
        Target::CloudPcGroup { group_id, .. } => group_id.clone(),
        target => serde_json::to_string(target).expect("a target is JSON"),
    };
    format!("{target}:{:?}", assignment.intent)
}

fn target_of(kind: TargetKind, at: usize) -> Target {
    match kind {
        TargetKind::Group => group(at),
        TargetKind::ExclusionGroup => excluded(at),
        TargetKind::AllUsers => Target::AllUsers,
        TargetKind::AllDevices => Target::AllDevices,
        TargetKind::CloudPcGroup => cloud_pc(at, at.is_multiple_of(2).then_some("Plan-1")),
        TargetKind::OfficeGroup => Target::OfficeGroup { group_id: GROUPS[at].to_owned() },
    }
}

fn extra(name: &str) -> BoxedStrategy<Option<Value>> {
    let values = match name {
        "settings" => vec![
            json!({"@odata.type": "#microsoft.graph.win32LobAppAssignmentSettings", "notifications": "showAll",
                "installTimeSettings": {"startDateTime": "2025-10-01T06:00:00Z", "useLocalTime": true}}),
            json!({"autoUpdateSettings": null, "n": 1.5}),
        ],
        "runSchedule" => vec![json!({"interval": 8, "time": "11:58:36.2550000"}), json!({"interval": 1})],
        "runRemediationScript" => vec![json!(true), json!(false)],
        _ => vec![json!("required"), json!("available")],
    };
    proptest::option::of(proptest::sample::select(values)).boxed()
}

/// One assignment that the type takes.
fn fitting(row: &'static PolicyType) -> BoxedStrategy<Assignment> {
    let filter = match row.filters {
        Filters::No => Just(None).boxed(),
        Filters::Yes | Filters::SchemaOnly => proptest::option::of((0..2_usize, any::<bool>())).boxed(),
    };
    let has_intent = row.kept.contains(&"intent");
    let extras: Vec<&'static str> = row.kept.iter().copied().filter(|name| *name != "intent").collect();
    let values: Vec<_> = extras.iter().map(|name| extra(name)).collect();
    let target = (proptest::sample::select(row.targets), 0..GROUPS.len());
    (target, filter, any::<bool>(), values)
        .prop_map(move |((kind, at), filter, first, values)| {
            let target = target_of(kind, at);
            let takes_filter = !target.is_exclusion();
            let mode = |exclude| if exclude { FilterMode::Exclude } else { FilterMode::Include };
            let extras = extras.iter().zip(values).filter_map(|(name, value)| {
                let value = value.filter(|_| takes_filter || *name != "settings")?;
                Some(((*name).to_owned(), value))
            });
            Assignment {
                filter: filter
                    .filter(|_| takes_filter)
                    .map(|(at, exclude)| Filter { id: FILTERS[at].to_owned(), mode: mode(exclude) }),
                intent: has_intent.then(|| if first { "required" } else { "available" }.to_owned()),
                extras: extras.collect(),
                ..plain(target)
            }
        })
        .boxed()
}

/// A set that the type takes: one assignment in each place, direct ones alone. Where assignments are written one by one
/// they are named by their group, so that no policy has a group both included and excluded.
pub fn fitting_set(row: &'static PolicyType) -> BoxedStrategy<AssignmentSet> {
    if row.write == Write::Patch {
        let members = proptest::collection::btree_set(0..GROUPS.len(), 0..3);
        let scope =
            proptest::sample::select(vec!["resourceScope", "allDevices", "allDevicesAndLicensedUsers"]);
        return (members, scope)
            .prop_map(|(members, scope)| set([plain(role(&Vec::from_iter(members), scope))]))
            .boxed();
    }
    let by_group = matches!(row.write, Write::OneByOne { .. });
    proptest::collection::vec(fitting(row), 0..6)
        .prop_map(move |items| {
            let mut kept: Vec<Assignment> = Vec::new();
            for item in items {
                let group = item.target.group_id().filter(|_| by_group);
                let meets = |it: &Assignment| group.is_some() && it.target.group_id() == group;
                if !kept.iter().any(|it| it.same_place(&item) || meets(it)) {
                    kept.push(item);
                }
            }
            AssignmentSet::new(kept)
        })
        .boxed()
}

/// A writable row with `N` sets that it takes.
pub fn row_with_sets<const N: usize>() -> impl Strategy<Value = (&'static PolicyType, [AssignmentSet; N])> {
    proptest::sample::select(Vec::from_iter(writable())).prop_flat_map(|row| {
        let sets = proptest::collection::vec(fitting_set(row), N);
        (Just(row), sets.prop_map(|sets| sets.try_into().expect("as many as were asked for")))
    })
}

/// A set of anything: what no service would take, too.
pub fn any_set() -> impl Strategy<Value = AssignmentSet> {
    let id = prop_oneof![
        6 => proptest::sample::select(GROUPS.to_vec()),
        1 => Just("acacacac-9df4-4c7d-9d50-4ef0226f57a9"),
        1 => Just("no id"),
    ];
    let target = (0..8_usize, id).prop_map(|(kind, id)| {
        let group_id = id.to_owned();
        match kind {
            0 | 1 => Target::Group { group_id },
            2 => Target::ExclusionGroup { group_id },
            3 => Target::AllUsers,
            4 => Target::AllDevices,
            5 => Target::ConfigurationManagerCollection { collection_id: "SMS1".to_owned() },
            6 => Target::OfficeGroup { group_id },
            _ => Target::RoleScope {
                members: BTreeSet::from([group_id]),
                resource_scopes: BTreeSet::new(),
                scope_type: None,
            },
        }
    });
    let filter = proptest::option::of((0..2_usize, any::<bool>()));
    let intent = proptest::option::of(proptest::sample::select(vec!["required", "available"]));
    let settings = proptest::option::weighted(0.2, Just(json!({"a": 1})));
    let source = proptest::option::weighted(0.2, Just("policySets".to_owned()));
    let item = (target, filter, intent, settings, source).prop_map(
        |(target, filter, intent, settings, inherited_from)| Assignment {
            filter: filter.map(|(at, exclude)| Filter {
                id: FILTERS[at].to_owned(),
                mode: if exclude { FilterMode::Exclude } else { FilterMode::Include },
            }),
            intent: intent.map(str::to_owned),
            extras: settings.map(|it| ("settings".to_owned(), it)).into_iter().collect(),
            inherited_from,
            target,
        },
    );
    proptest::collection::vec(item, 0..6).prop_map(AssignmentSet::new)
}
