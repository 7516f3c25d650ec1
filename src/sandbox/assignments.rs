//! The assignment object, its ids, and `GET {policy}/assignments`.

use serde_json::{Map, Value, json};

use super::answer::{self, Answer};
use super::call::Call;
use super::faults::FaultKind;
use super::paging::{self, Paging};
use super::state::World;
use crate::domain::policy_types::{PolicyType, Read, TargetKind, Write};

/// "All users" as a group: in assignment ids, and as a target where broad targets are refused.
pub const ALL_USERS_PSEUDO_GROUP: &str = "acacacac-9df4-4c7d-9d50-4ef0226f57a9";
/// "All devices" in assignment ids.
const ALL_DEVICES_PSEUDO_GROUP: &str = "adadadad-808e-44e2-905a-0b7873a8a531";
/// The id that means none.
pub const ZERO_ID: &str = "00000000-0000-0000-0000-000000000000";
/// The property of a target that names its filter.
pub const FILTER_ID: &str = "deviceAndAppManagementAssignmentFilterId";
/// The property of a target that says what the filter does: `none`, `include`, `exclude`.
pub const FILTER_TYPE: &str = "deviceAndAppManagementAssignmentFilterType";

/// A Configuration Manager collection as a target: in tenants that are attached to one.
pub const COLLECTION_TARGET: &str = "#microsoft.graph.configurationManagerCollectionAssignmentTarget";

/// The kinds of targets and their `@odata.type`s.
const TARGET_TYPES: [(TargetKind, &str); 6] = [
    (TargetKind::Group, "#microsoft.graph.groupAssignmentTarget"),
    (TargetKind::ExclusionGroup, "#microsoft.graph.exclusionGroupAssignmentTarget"),
    (TargetKind::AllUsers, "#microsoft.graph.allLicensedUsersAssignmentTarget"),
    (TargetKind::AllDevices, "#microsoft.graph.allDevicesAssignmentTarget"),
    (TargetKind::CloudPcGroup, "#microsoft.graph.cloudPcManagementGroupAssignmentTarget"),
    (TargetKind::OfficeGroup, "#microsoft.graph.officeConfigurationGroupAssignmentTarget"),
];

/// The `@odata.type` of a kind of target.
pub fn target_type(kind: TargetKind) -> &'static str {
    TARGET_TYPES.iter().find(|(known, _)| *known == kind).expect("the table names every kind").1
}

/// The kind of a target: by its `@odata.type`, or, where the type takes one kind of group only, without it.
pub fn target_kind(row: &PolicyType, target: &Map<String, Value>) -> Option<TargetKind> {
    match target.get("@odata.type").and_then(Value::as_str) {
        Some(name) => {
            let name = name.trim_start_matches('#');
            TARGET_TYPES.iter().find(|(_, known)| &known[1..] == name).map(|(kind, _)| *kind)
        }
        None => match row.targets {
            [only] if target.contains_key("groupId") => Some(*only),
            _ => None,
        },
    }
}

/// Whether the policy belongs to app protection, which has rules of its own.
pub fn is_managed_app(row: &PolicyType) -> bool {
    matches!(
        row.write,
        Write::Replace { item_type: Some("#microsoft.graph.targetedManagedAppPolicyAssignment"), .. }
    )
}

/// An assignment as the service keeps it: `properties` (the target and what the type has beside it), an id of the
/// type's form, and where it comes from.
pub fn stored(row: &PolicyType, policy_id: &str, properties: Map<String, Value>, position: usize) -> Value {
    let mut item = properties;
    let id = assignment_id(row, policy_id, &item, position);
    item.insert("id".to_owned(), id.into());
    item.insert("source".to_owned(), "direct".into());
    let source_id = if is_managed_app(row) { ZERO_ID } else { policy_id };
    item.insert("sourceId".to_owned(), source_id.into());
    let item_type = match row.write {
        Write::Replace { item_type, .. } => item_type,
        Write::OneByOne { item_type } => Some(item_type),
        Write::Patch | Write::Nothing => None,
    };
    // Items of this type carry none, like the list that they belong to.
    if let Some(item_type) = item_type.filter(|_| row.key != "groupPolicyConfiguration") {
        item.insert("@odata.type".to_owned(), item_type.into());
    }
    match row.key {
        "groupPolicyConfiguration" | "policySet" => {
            item.insert("lastModifiedDateTime".to_owned(), "2025-09-01T10:11:12.1234567Z".into());
        }
        "cloudPcUserSetting" => {
            item.insert("createdDateTime".to_owned(), "2025-09-01T10:11:12.1234567Z".into());
        }
        _ => {}
    }
    Value::Object(item)
}

fn assignment_id(row: &PolicyType, policy_id: &str, item: &Map<String, Value>, position: usize) -> String {
    let target = &item["target"];
    let excluded = target["@odata.type"] == target_type(TargetKind::ExclusionGroup);
    let reached = match target["groupId"].as_str().or(target["collectionId"].as_str()) {
        Some(group) => group,
        None if target["@odata.type"] == target_type(TargetKind::AllUsers) => ALL_USERS_PSEUDO_GROUP,
        None => ALL_DEVICES_PSEUDO_GROUP,
    };
    match row.key {
        _ if is_managed_app(row) => format!("{reached}_{}", if excluded { "excl" } else { "incl" }),
        "mobileApp" => {
            let intents = ["available", "required", "uninstall", "availableWithoutEnrollment"];
            let ordinal =
                intents.iter().position(|intent| item.get("intent").is_some_and(|own| own == intent));
            format!("{reached}_{}_{position}", ordinal.unwrap_or_default())
        }
        key if key.ends_with("Script") => format!("{policy_id}:{reached}"),
        "cloudPcProvisioningPolicy" | "cloudPcUserSetting" => reached.to_owned(),
        _ => format!("{policy_id}_{reached}"),
    }
}

/// `GET {policy}/assignments`.
pub fn list(
    world: &mut World,
    call: &Call,
    list_path: &'static str,
    id: &str,
    in_parentheses: bool,
) -> Answer {
    if in_parentheses && list_path.contains("/virtualEndpoint/") {
        return answer::not_found(call);
    }
    let Some(policy) =
        world.tenants.get_mut(&call.tenant).and_then(|tenant| tenant.policy_mut(list_path, id))
    else {
        return answer::not_found(call);
    };
    if policy.row.read != Read::Navigation {
        return answer::no_route(call);
    }
    let items = policy.seen(call.now, call.modifier == Some(FaultKind::StaleRead)).assignments;
    let paging = Paging {
        size: world.config.assignments_page_size,
        size_max: world.config.assignments_page_size,
        empty_pages: world.config.empty_pages,
        twice: false,
    };
    match paging::page(call, paging, items, "id") {
        Ok(mut page) => {
            let context = format!("{}/beta/$metadata#{}('{id}')/assignments", call.base, &list_path[1..]);
            page.insert("@odata.context".to_owned(), context.into());
            if page.contains_key("@odata.nextLink") {
                let count = page["value"].as_array().map_or(0, Vec::len);
                page.insert("@odata.count".to_owned(), json!(count));
            } else {
                policy.was_read();
            }
            Answer::json(200, Value::Object(page))
        }
        Err(refusal) => *refusal,
    }
}

/// `GET {policy}/assignments/{assignment}`.
pub fn get(world: &World, call: &Call, list_path: &'static str, id: &str, assignment: &str) -> Answer {
    let policy = world.tenants.get(&call.tenant).and_then(|tenant| tenant.policy(list_path, id));
    let item = policy.and_then(|policy| policy.assignments.iter().find(|item| item["id"] == assignment));
    item.map_or_else(|| answer::not_found(call), |item| Answer::json(200, item.clone()))
}
