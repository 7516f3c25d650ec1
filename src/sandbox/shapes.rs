//! The assignments that a policy is seeded with: every shape that a client meets, in turn, as far as the type's
//! targets allow.

use serde_json::{Map, Value, json};

use super::assignments::{self, ALL_USERS_PSEUDO_GROUP};
use super::policies::{self, Directory, EDGE_APP, MOBILE_APPS};
use super::seed::Origin;
use crate::domain::policy_types::{Filters, PolicyType, TargetKind};

/// How many shapes take turns.
const SHAPES: usize = 11;
/// The assignments of the policy that fills several pages.
const MANY: usize = 60;
/// The assignments of the policy that makes a long expanded list.
const SEVERAL: usize = 30;

/// A target, before it is written as Graph writes it.
struct Wish {
    kind: TargetKind,
    group: String,
    filter: Option<(String, &'static str)>,
    intent: usize,
    inherited: bool,
}

/// The assignments of the `index`-th policy of a type, the `ordinal`-th of its tenant.
pub fn assignments(
    here: &Origin,
    row: &PolicyType,
    policy_id: &str,
    index: usize,
    ordinal: usize,
    directory: &Directory,
) -> Vec<Value> {
    let wishes = if is_enrollment_default(row, index) {
        vec![plain(TargetKind::AllDevices)]
    } else {
        wishes(here, row, index, ordinal, directory)
    };
    let allowed = wishes.into_iter().filter_map(|wish| fit(row, index, wish));
    let mut items: Vec<Value> = allowed
        .enumerate()
        .map(|(position, wish)| {
            let target = target(here, row, &wish, position);
            let mut properties = extras(row, index, position, &wish);
            properties.insert("target".to_owned(), target);
            let mut item = assignments::stored(row, policy_id, properties, position);
            if wish.inherited {
                item["source"] = "policySets".into();
                item["sourceId"] = here.uuid("policy-set").to_string().into();
            }
            item
        })
        .collect();
    if (row.key, index) == ("deviceConfiguration", 2) {
        let target = json!({"@odata.type": assignments::COLLECTION_TARGET, "collectionId": "SMS00001"});
        let properties =
            Map::from_iter([("target".to_owned(), target), ("intent".to_owned(), "apply".into())]);
        items.push(assignments::stored(row, policy_id, properties, items.len()));
    }
    items
}

/// The object of priority 0 of each enrolment kind is everybody's.
pub fn is_enrollment_default(row: &PolicyType, index: usize) -> bool {
    index == 0 && row.list_path.ends_with("/deviceEnrollmentConfigurations")
}

fn wishes(here: &Origin, row: &PolicyType, index: usize, ordinal: usize, directory: &Directory) -> Vec<Wish> {
    use TargetKind::{AllDevices, AllUsers, ExclusionGroup, Group};
    let groups = &directory.group_ids;
    let start = here.below("group", groups.len());
    let group = |offset: usize, kind| Wish {
        group: groups.get((start + offset * 7) % groups.len().max(1)).cloned().unwrap_or_default(),
        ..plain(kind)
    };
    let consecutive = |count: usize| {
        (0..count.min(groups.len())).map(|at| Wish { group: groups[at].clone(), ..plain(Group) }).collect()
    };
    let filter = |mode| {
        let apps = assignments::is_managed_app(row);
        let choice = if apps { 6 + here.below("filter", 2) } else { here.below("filter", 6) };
        directory.filter_ids.get(choice).map(|id| (id.clone(), mode))
    };
    match (row.key, index) {
        ("configurationPolicy", 0) => return consecutive(MANY),
        ("deviceConfiguration", 0) => return consecutive(SEVERAL),
        _ => {}
    }
    match ordinal % SHAPES {
        0 => vec![group(0, Group)],
        1 => vec![plain(AllUsers)],
        2 => vec![plain(AllDevices), group(0, ExclusionGroup)],
        3 => Vec::new(),
        4 => vec![group(0, Group), group(1, Group), group(2, Group), group(3, ExclusionGroup)],
        5 => vec![Wish { filter: filter("include"), ..group(0, Group) }, group(1, Group)],
        6 => vec![Wish { filter: filter("exclude"), ..plain(AllDevices) }],
        7 => vec![plain(AllUsers), plain(AllDevices), group(0, ExclusionGroup), group(1, ExclusionGroup)],
        8 => vec![group(0, Group), Wish { inherited: true, ..group(1, Group) }],
        // A group that was deleted after it had been assigned.
        9 => vec![Wish { group: here.uuid("deleted-group").to_string(), ..plain(Group) }, group(0, Group)],
        _ => vec![group(0, Group), Wish { intent: 1, ..group(0, Group) }],
    }
}

fn plain(kind: TargetKind) -> Wish {
    Wish { kind, group: String::new(), filter: None, intent: 0, inherited: false }
}

/// What the type can carry of a wish: the nearest target that it takes, no filter where none is taken.
fn fit(row: &PolicyType, index: usize, mut wish: Wish) -> Option<Wish> {
    use TargetKind::{AllDevices, AllUsers, CloudPcGroup, Group, OfficeGroup};
    if wish.kind == AllUsers && assignments::is_managed_app(row) {
        // App protection refuses the broad targets; everybody is a pseudo group there.
        wish.kind = Group;
        wish.group = ALL_USERS_PSEUDO_GROUP.to_owned();
    }
    let group_like = row.targets.iter().find(|kind| matches!(kind, CloudPcGroup | OfficeGroup));
    if let (Group, Some(kind)) = (wish.kind, group_like) {
        wish.kind = *kind;
    }
    let is_edge = row.key == "mobileApp" && MOBILE_APPS[index % MOBILE_APPS.len()] == EDGE_APP;
    let groups_only = policies::template_family(row, index) == Some("enrollmentConfiguration");
    if row.filters == Filters::No || is_edge || groups_only {
        wish.filter = None;
    }
    if groups_only && matches!(wish.kind, AllUsers | AllDevices) {
        return None;
    }
    if wish.intent > 0 && row.key != "mobileApp" {
        return None;
    }
    row.targets.contains(&wish.kind).then_some(wish)
}

fn target(here: &Origin, row: &PolicyType, wish: &Wish, position: usize) -> Value {
    let mut target = Map::new();
    let named = assignments::target_type(wish.kind);
    // Scope tags and Cloud PCs are seen without it.
    if !(row.key == "roleScopeTag" && position % 2 == 1) {
        target.insert("@odata.type".to_owned(), named.into());
    }
    if !wish.group.is_empty() {
        target.insert("groupId".to_owned(), wish.group.as_str().into());
    }
    match (&wish.filter, row.filters) {
        (Some((id, mode)), _) => {
            target.insert(assignments::FILTER_ID.to_owned(), id.as_str().into());
            target.insert(assignments::FILTER_TYPE.to_owned(), (*mode).into());
        }
        (None, Filters::No) => {}
        // "No filter" has three spellings.
        (None, _) => match here.below("no-filter", 3) {
            0 => {
                target.insert(assignments::FILTER_ID.to_owned(), Value::Null);
                target.insert(assignments::FILTER_TYPE.to_owned(), "none".into());
            }
            1 => {
                target.insert(assignments::FILTER_ID.to_owned(), assignments::ZERO_ID.into());
                target.insert(assignments::FILTER_TYPE.to_owned(), "none".into());
            }
            _ => {}
        },
    }
    Value::Object(target)
}

/// The properties besides the target that the type has.
fn extras(row: &PolicyType, index: usize, position: usize, wish: &Wish) -> Map<String, Value> {
    let excluded = wish.kind == TargetKind::ExclusionGroup;
    let extras = match row.key {
        "mobileApp" => {
            let intents = ["required", "available", "uninstall", "availableWithoutEnrollment"];
            let settings =
                if excluded { Value::Null } else { app_settings(MOBILE_APPS[index % MOBILE_APPS.len()]) };
            json!({"intent": intents[(index + wish.intent) % intents.len()], "settings": settings})
        }
        "deviceConfiguration" | "windowsUpdateRing" | "resourceAccessProfile" => json!({"intent": "apply"}),
        "managedEBook" => {
            json!({"installIntent": if index.is_multiple_of(2) { "required" } else { "available" }})
        }
        "deviceHealthScript" => json!({
            "runRemediationScript": index.is_multiple_of(2),
            "runSchedule": schedule(index + position),
        }),
        "deviceComplianceScript" => json!({"runRemediationScript": false, "runSchedule": Value::Null}),
        _ => json!({}),
    };
    extras.as_object().cloned().unwrap_or_default()
}

fn app_settings(app: &str) -> Value {
    match app {
        "win32LobApp" => json!({
            "@odata.type": "#microsoft.graph.win32LobAppAssignmentSettings",
            "notifications": "showReboot",
            "restartSettings": null,
            "installTimeSettings": {
                "useLocalTime": true,
                "startDateTime": "2025-10-01T06:00:00Z",
                "deadlineDateTime": "2025-10-08T17:30:00.0000000Z",
            },
            "deliveryOptimizationPriority": "foreground",
            "autoUpdateSettings": null,
        }),
        "winGetApp" => json!({
            "@odata.type": "#microsoft.graph.winGetAppAssignmentSettings",
            "notifications": "hideAll",
            "restartSettings": {"gracePeriodInMinutes": 1440, "countdownDisplayBeforeRestartInMinutes": 15,
                                "restartNotificationSnoozeDurationInMinutes": 240},
            "installTimeSettings": null,
        }),
        "iosStoreApp" => json!({
            "@odata.type": "#microsoft.graph.iosStoreAppAssignmentSettings",
            "vpnConfigurationId": null,
            "uninstallOnDeviceRemoval": true,
            "isRemovable": null,
            "preventManagedAppBackup": false,
        }),
        "androidManagedStoreApp" => json!({
            "@odata.type": "#microsoft.graph.androidManagedStoreAppAssignmentSettings",
            "androidManagedStoreAppTrackIds": [],
            "autoUpdateMode": "default",
        }),
        _ => Value::Null,
    }
}

fn schedule(turn: usize) -> Value {
    match turn % 4 {
        0 => json!({"@odata.type": "#microsoft.graph.deviceHealthScriptDailySchedule", "interval": 1,
                    "useUtc": false, "time": "11:58:36.2550000"}),
        1 => json!({"@odata.type": "#microsoft.graph.deviceHealthScriptHourlySchedule", "interval": 4}),
        2 => json!({"@odata.type": "#microsoft.graph.deviceHealthScriptRunOnceSchedule", "interval": 1,
                    "useUtc": true, "time": "06:00:00.0000000", "date": "2025-12-01"}),
        _ => Value::Null,
    }
}
