//! From Graph's JSON to the normal form.
//!
//! Whatever is not as the schema has it is [`Malformed`], never guessed at: a target read as a wider one would be
//! restored as a wider one. In particular an exclusion carries the same `groupId` as an inclusion, so that nothing but
//! the target's type says which of both it is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Assignment, Filter, FilterMode, INTEGER_MAX, Malformed, Target};
use crate::domain::policy_types::{PolicyType, TargetKind};

type Checked<T> = Result<T, &'static str>;
type Object = Map<String, Value>;

/// See [`super::AssignmentSet::from_graph`].
pub(super) fn assignments(policy_type: &PolicyType, items: &[Value]) -> Result<Vec<Assignment>, Malformed> {
    let checked = items
        .iter()
        .enumerate()
        .map(|(index, item)| assignment(policy_type, item).map_err(|problem| Malformed { index, problem }));
    checked.collect()
}

/// See [`super::AssignmentSet::from_role_assignment`].
pub(super) fn role_assignment(object: &Value) -> Result<Assignment, Malformed> {
    let target = role_scope(object).map_err(|problem| Malformed { index: 0, problem })?;
    Ok(Assignment { target, filter: None, intent: None, extras: BTreeMap::new(), inherited_from: None })
}

fn assignment(policy_type: &PolicyType, item: &Value) -> Checked<Assignment> {
    let item = item.as_object().ok_or("expected an object, found another type")?;
    let target = present(item, "target").ok_or("expected a `target`, found none")?;
    let target = target.as_object().ok_or("expected `target` to be an object, found another type")?;
    let kept = |name: &str| policy_type.kept.contains(&name);
    Ok(Assignment {
        target: read_target(policy_type, target)?,
        filter: filter(target)?,
        intent: if kept("intent") { optional_text(item, "intent", NO_INTENT)? } else { None },
        extras: extras(policy_type, item)?,
        inherited_from: optional_text(item, "source", NO_SOURCE)?.filter(|source| source != "direct"),
    })
}

const NO_INTENT: &str = "expected `intent` to be a text or null, found another type";
const NO_SOURCE: &str = "expected `source` to be a text or null, found another type";
const NO_GROUP: &str = "expected `groupId` to be a text that is not empty";
const NO_TYPE: &str = "expected the target to have an `@odata.type`, found none";

fn read_target(policy_type: &PolicyType, target: &Object) -> Checked<Target> {
    let Some(odata_type) = present(target, "@odata.type") else {
        return untyped_target(policy_type, target);
    };
    let odata_type = odata_type.as_str().ok_or("expected `@odata.type` to be a text, found another type")?;
    // The reference writes it with and without `#`, and one name with `PC` and `Pc`.
    let name = odata_type.trim_start_matches('#').to_ascii_lowercase();
    let name = name.strip_prefix("microsoft.graph.").unwrap_or(&name);
    match name {
        "groupassignmenttarget" => group_target(TargetKind::Group, target),
        "exclusiongroupassignmenttarget" => group_target(TargetKind::ExclusionGroup, target),
        "cloudpcmanagementgroupassignmenttarget" => group_target(TargetKind::CloudPcGroup, target),
        "officeconfigurationgroupassignmenttarget" => group_target(TargetKind::OfficeGroup, target),
        "alllicensedusersassignmenttarget" => Ok(Target::AllUsers),
        "alldevicesassignmenttarget" => Ok(Target::AllDevices),
        "configurationmanagercollectionassignmenttarget" => {
            let id = optional_text(target, "collectionId", "expected `collectionId` to be a text")?;
            let collection_id =
                id.filter(|id| !id.is_empty()).ok_or("expected a `collectionId`, found none")?;
            Ok(Target::ConfigurationManagerCollection { collection_id })
        }
        _ => Err("expected a target type that the catalogue knows, found another"),
    }
}

/// A target without `@odata.type` is what its policy type leaves no choice about: a group, where the type takes groups
/// of one kind alone. Where it also takes exclusions, nothing says which of both it is.
fn untyped_target(policy_type: &PolicyType, target: &Object) -> Checked<Target> {
    use TargetKind::{AllDevices, AllUsers};
    if present(target, "groupId").is_none() {
        return Err(NO_TYPE);
    }
    let mut groups = policy_type.targets.iter().filter(|kind| !matches!(kind, AllUsers | AllDevices));
    match (groups.next(), groups.next()) {
        (Some(only), None) => group_target(*only, target),
        _ => Err(NO_TYPE),
    }
}

fn group_target(kind: TargetKind, target: &Object) -> Checked<Target> {
    let group_id = lower_case_id(present(target, "groupId").ok_or(NO_GROUP)?).ok_or(NO_GROUP)?;
    match kind {
        TargetKind::Group => Ok(Target::Group { group_id }),
        TargetKind::ExclusionGroup => Ok(Target::ExclusionGroup { group_id }),
        TargetKind::OfficeGroup => Ok(Target::OfficeGroup { group_id }),
        TargetKind::CloudPcGroup => Ok(Target::CloudPcGroup {
            group_id,
            service_plan_id: optional_text(target, "servicePlanId", "expected `servicePlanId` to be a text")?,
            allotment_display_name: optional_text(
                target,
                "allotmentDisplayName",
                "expected `allotmentDisplayName` to be a text",
            )?,
            allotment_licenses_count: present(target, "allotmentLicensesCount").map(licenses).transpose()?,
        }),
        TargetKind::AllUsers | TargetKind::AllDevices => Err("expected a target of a group, found another"),
    }
}

fn licenses(value: &Value) -> Checked<i64> {
    let count = value.as_i64().filter(|count| (0..=INTEGER_MAX).contains(count));
    count.ok_or("expected `allotmentLicensesCount` to be an integer of at least 0")
}

/// "No filter" is null, nothing, type `none`, or the all-zero id. A filter without a mode, and a mode without a filter,
/// are neither: to read them as "no filter" would widen.
fn filter(target: &Object) -> Checked<Option<Filter>> {
    const ID: &str = "expected the filter id to be a text";
    const MODE: &str = "expected the filter type to be `none`, `include` or `exclude`";
    let id = optional_text(target, "deviceAndAppManagementAssignmentFilterId", ID)?;
    let id = id.map(|id| id.to_ascii_lowercase()).filter(|id| !id.is_empty());
    let mode = optional_text(target, "deviceAndAppManagementAssignmentFilterType", MODE)?;
    let mode = match mode.map(|mode| mode.to_ascii_lowercase()).as_deref() {
        None => None,
        Some("none") => return Ok(None),
        Some("include") => Some(FilterMode::Include),
        Some("exclude") => Some(FilterMode::Exclude),
        Some(_) => return Err(MODE),
    };
    if id.as_deref() == Some("00000000-0000-0000-0000-000000000000") {
        return Ok(None);
    }
    match (id, mode) {
        (None, None) => Ok(None),
        (Some(id), Some(mode)) => Ok(Some(Filter { id, mode })),
        (Some(_), None) => Err("expected a filter type beside the filter id, found none"),
        (None, Some(_)) => Err("expected a filter id beside the filter type, found none"),
    }
}

fn extras(policy_type: &PolicyType, item: &Object) -> Checked<BTreeMap<String, Value>> {
    let names = policy_type.kept.iter().filter(|name| !matches!(**name, "intent" | "target"));
    let kept: BTreeMap<_, _> =
        names.filter_map(|name| Some(((*name).to_owned(), present(item, name)?.clone()))).collect();
    if kept.values().all(is_exact) {
        Ok(kept)
    } else {
        Err("expected integers of at most 2^53 - 1, found a larger one")
    }
}

/// RFC 8785 knows floats alone: a larger integer would be stored as another one.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_f64() => true,
        Value::Number(number) => {
            number.as_i64().is_some_and(|int| (-INTEGER_MAX..=INTEGER_MAX).contains(&int))
        }
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(entries) => entries.values().all(is_exact),
        _ => true,
    }
}

fn role_scope(object: &Value) -> Checked<Target> {
    let object = object.as_object().ok_or("expected an object, found another type")?;
    let members = present(object, "members").ok_or("expected `members`, found none")?;
    // `scopeMembers` is an older name of `resourceScopes`.
    let scopes = present(object, "resourceScopes").or_else(|| present(object, "scopeMembers"));
    Ok(Target::RoleScope {
        members: id_set(members)?,
        resource_scopes: scopes.map(id_set).transpose()?.unwrap_or_default(),
        scope_type: optional_text(object, "scopeType", "expected `scopeType` to be a text or null")?,
    })
}

fn id_set(value: &Value) -> Checked<BTreeSet<String>> {
    const PROBLEM: &str = "expected a list of ids that are texts and not empty";
    let items = value.as_array().ok_or(PROBLEM)?;
    items.iter().map(|item| lower_case_id(item).ok_or(PROBLEM)).collect()
}

fn lower_case_id(value: &Value) -> Option<String> {
    value.as_str().filter(|id| !id.is_empty()).map(str::to_ascii_lowercase)
}

/// A property that is there and not null.
fn present<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn optional_text(object: &Object, name: &str, problem: &'static str) -> Checked<Option<String>> {
    present(object, name).map(|value| value.as_str().map(str::to_owned).ok_or(problem)).transpose()
}
