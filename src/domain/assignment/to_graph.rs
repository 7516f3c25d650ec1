//! From the normal form to Graph's JSON: the inverse of `from_graph`.
//!
//! An item has its target, its intent and what else must survive, verbatim. Read-only fields (`source`, `sourceId`,
//! time stamps) are not sent; an `id` is the caller's to add where a type wants it.

use serde_json::{Map, Value, json};

use super::{Assignment, Filter, FilterMode, Target};

/// One assignment as an item of a body. `no_filter`: say "no filter" in words where it has none, as the service does
/// where filters work.
pub fn item(item_type: Option<&str>, assignment: &Assignment, no_filter: bool) -> Map<String, Value> {
    let mut item = Map::new();
    if let Some(item_type) = item_type {
        item.insert("@odata.type".to_owned(), item_type.into());
    }
    if let Some(intent) = &assignment.intent {
        item.insert("intent".to_owned(), intent.as_str().into());
    }
    item.extend(assignment.extras.clone());
    let mut target = target(&assignment.target);
    match &assignment.filter {
        Some(filter) => target.extend(filter_fields(Some(filter))),
        // An exclusion takes no filter, not even none.
        None if no_filter && !assignment.target.is_exclusion() => target.extend(filter_fields(None)),
        None => {}
    }
    item.insert("target".to_owned(), target.into());
    item
}

/// The properties of a role assignment's object; `None` for any other target.
pub fn role_assignment(target: &Target) -> Option<Value> {
    let Target::RoleScope { members, resource_scopes, scope_type } = target else { return None };
    let mut properties = json!({
        // `members` belongs to this type and not to the one that the collection is of.
        "@odata.type": "#microsoft.graph.deviceAndAppManagementRoleAssignment",
        "members": members,
        "resourceScopes": resource_scopes,
    });
    if let Some(scope_type) = scope_type {
        properties["scopeType"] = scope_type.as_str().into();
    }
    Some(properties)
}

fn target(target: &Target) -> Map<String, Value> {
    let (name, own) = match target {
        Target::Group { group_id } => ("groupAssignmentTarget", json!({"groupId": group_id})),
        Target::ExclusionGroup { group_id } => {
            ("exclusionGroupAssignmentTarget", json!({"groupId": group_id}))
        }
        Target::AllUsers => ("allLicensedUsersAssignmentTarget", json!({})),
        Target::AllDevices => ("allDevicesAssignmentTarget", json!({})),
        Target::ConfigurationManagerCollection { collection_id } => {
            ("configurationManagerCollectionAssignmentTarget", json!({"collectionId": collection_id}))
        }
        Target::CloudPcGroup {
            group_id,
            service_plan_id,
            allotment_display_name,
            allotment_licenses_count,
        } => (
            "cloudPcManagementGroupAssignmentTarget",
            json!({
                "groupId": group_id, "servicePlanId": service_plan_id,
                "allotmentDisplayName": allotment_display_name,
                "allotmentLicensesCount": allotment_licenses_count,
            }),
        ),
        Target::OfficeGroup { group_id } => {
            ("officeConfigurationGroupAssignmentTarget", json!({"groupId": group_id}))
        }
        Target::RoleScope { .. } => unreachable!("a role assignment has no items: its object is patched"),
    };
    let mut fields = Map::from_iter([("@odata.type".to_owned(), format!("#microsoft.graph.{name}").into())]);
    let Value::Object(own) = own else { unreachable!("each arm makes an object") };
    fields.extend(own.into_iter().filter(|(_, value)| !value.is_null()));
    fields
}

fn filter_fields(filter: Option<&Filter>) -> [(String, Value); 2] {
    let mode = match filter.map(|filter| filter.mode) {
        None => "none",
        Some(FilterMode::Include) => "include",
        Some(FilterMode::Exclude) => "exclude",
    };
    [
        ("deviceAndAppManagementAssignmentFilterId".to_owned(), json!(filter.map(|filter| &filter.id))),
        ("deviceAndAppManagementAssignmentFilterType".to_owned(), mode.into()),
    ]
}
