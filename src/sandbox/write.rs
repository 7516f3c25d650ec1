//! Changes of assignments: `/assign` and `/update` replace a policy's whole set; Autopilot, Apple enrolment and terms
//! take one assignment at a time; role assignments are patched. What the service refuses is refused.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::{self, Answer};
use super::assignments::{self, FILTER_ID, FILTER_TYPE, ZERO_ID};
use super::call::Call;
use super::state::{Policy, World};
use crate::domain::policy_types::{Filters, PolicyType, TargetKind, Write};

/// Carries out an action on a policy: `assign` or `update`.
pub fn action(world: &mut World, call: &Call, list_path: &'static str, id: &str, action: &str) -> Answer {
    let Some(policy) = find(world, call, list_path, id) else { return answer::not_found(call) };
    let row = policy.row;
    let Write::Replace { action: own, body_property, success, .. } = row.write else {
        return match (row.key, action) {
            ("autopilotProfile", "assign") => {
                answer::bad_request(call, "The property 'deviceIds' is required")
            }
            _ => answer::no_route(call),
        };
    };
    if call.method != "POST" || own.rsplit('/').next() != Some(action) {
        return answer::no_route(call);
    }
    if policy.body.get("priority").is_some_and(|priority| priority == 0) {
        return answer::bad_request(call, "The default configuration cannot be assigned");
    }
    let wanted = match wanted_set(world, call, row, body_property) {
        Ok(wanted) => wanted,
        Err(refusal) => return *refusal,
    };
    let Some(policy) = find(world, call, list_path, id) else { return answer::not_found(call) };
    if policy.body.get("publishingState").is_some_and(|state| state != "published") {
        return answer::bad_request(call, "The app must be published before it is assigned");
    }
    // What a policy set brought stays: it is not this policy's to take away.
    let inherited = policy.assignments.iter().filter(|item| item["source"] != "direct").cloned();
    let direct = wanted.into_iter().enumerate().map(|(at, item)| assignments::stored(row, id, item, at));
    let new: Vec<Value> = direct.chain(inherited).collect();
    policy.set_assignments(new.clone());
    written(world, call, row, id);
    match success {
        Some(204) => Answer::no_content(),
        _ => {
            let context = format!("{}/beta/$metadata#{}('{id}')/assignments", call.base, &list_path[1..]);
            Answer::json(200, json!({"@odata.context": context, "value": new}))
        }
    }
}

/// `POST {policy}/assignments`: one more.
pub fn add(world: &mut World, call: &Call, list_path: &'static str, id: &str) -> Answer {
    let Some(policy) = find(world, call, list_path, id) else { return answer::not_found(call) };
    let row = policy.row;
    if !(matches!(row.write, Write::OneByOne { .. }) || row.key == "mobileApp") {
        return answer::no_route(call);
    }
    let Some(Ok(Value::Object(item))) = &call.body else {
        return answer::bad_request(call, "Expected an object");
    };
    let item = match accepted(world, call, row, item) {
        Ok(item) => item,
        Err(refusal) => return *refusal,
    };
    let Some(policy) = find(world, call, list_path, id) else { return answer::not_found(call) };
    let new = assignments::stored(row, id, item, policy.assignments.len());
    if policy.assignments.iter().any(|known| known["id"] == new["id"]) {
        return answer::intune(call, 409, "Conflict", "The assignment already exists");
    }
    let mut all = policy.assignments.clone();
    all.push(new.clone());
    policy.set_assignments(all);
    written(world, call, row, id);
    Answer::json(201, new)
}

/// `DELETE {policy}/assignments/{assignment}`: one less.
pub fn remove(world: &mut World, call: &Call, list_path: &'static str, id: &str, assignment: &str) -> Answer {
    let Some(policy) = find(world, call, list_path, id) else { return answer::not_found(call) };
    let row = policy.row;
    if !(matches!(row.write, Write::OneByOne { .. }) || row.key == "mobileApp") {
        return answer::no_route(call);
    }
    let mut left = policy.assignments.clone();
    left.retain(|item| item["id"] != assignment);
    if left.len() == policy.assignments.len() {
        return answer::not_found(call);
    }
    policy.set_assignments(left);
    written(world, call, row, id);
    Answer::no_content()
}

/// `PATCH {roleAssignment}`: the groups are properties of the object.
pub fn patch(world: &mut World, call: &Call, list_path: &'static str, id: &str) -> Answer {
    const PATCHABLE: [&str; 5] =
        ["members", "scopeMembers", "resourceScopes", "scopeType", "roleScopeTagIds"];
    let Some(policy) = find(world, call, list_path, id) else { return answer::not_found(call) };
    let row = policy.row;
    if row.write != Write::Patch {
        return answer::no_route(call);
    }
    let Some(Ok(Value::Object(changes))) = &call.body else {
        return answer::bad_request(call, "Expected an object");
    };
    if changes.keys().any(|name| !PATCHABLE.contains(&name.as_str()) && name != "@odata.type") {
        return answer::bad_request(call, "A property cannot be changed");
    }
    policy.body.extend(changes.clone());
    let object = Value::Object(policy.object());
    written(world, call, row, id);
    Answer::json(200, object)
}

fn find<'a>(world: &'a mut World, call: &Call, list_path: &str, id: &str) -> Option<&'a mut Policy> {
    world.tenants.get_mut(&call.tenant)?.policy_mut(list_path, id)
}

/// Counts a change; the reads that follow may still give the old set.
fn written(world: &mut World, call: &Call, row: &PolicyType, id: &str) {
    *world.log.stats.writes_per_policy.entry(format!("{}/{id}", row.key)).or_default() += 1;
    let stale_reads = world.config.stale_reads;
    if let Some(policy) = find(world, call, row.list_path, id) {
        policy.stale_reads = stale_reads;
    }
}

/// The set that a body asks for. Of two entries for one target and intent the second is ignored.
fn wanted_set(
    world: &World,
    call: &Call,
    row: &PolicyType,
    body_property: &str,
) -> Result<Vec<Map<String, Value>>, Box<Answer>> {
    let refuse = |sentence: &str| Err(Box::new(answer::bad_request(call, sentence)));
    let Some(Ok(Value::Object(body))) = &call.body else { return refuse("Expected an object") };
    if let Some(unknown) = body.keys().find(|name| *name != body_property) {
        return refuse(&format!("The property '{unknown}' does not exist on the action"));
    }
    let Some(items) = body.get(body_property).and_then(Value::as_array) else {
        return refuse(&format!("The parameter '{body_property}' is required"));
    };
    let mut seen: Vec<Value> = Vec::new();
    let mut wanted = Vec::new();
    for item in items {
        let Value::Object(item) = item else { return refuse("Expected an assignment") };
        let item = accepted(world, call, row, item)?;
        let target = &item["target"];
        let identity =
            json!([target["@odata.type"], target["groupId"], target["collectionId"], item.get("intent")]);
        if !seen.contains(&identity) {
            seen.push(identity);
            wanted.push(item);
        }
    }
    Ok(wanted)
}

/// An item as it is kept: its target and the properties that the type has; ids and sources are the service's.
fn accepted(
    world: &World,
    call: &Call,
    row: &PolicyType,
    item: &Map<String, Value>,
) -> Result<Map<String, Value>, Box<Answer>> {
    const READ_ONLY: [&str; 6] =
        ["@odata.type", "id", "source", "sourceId", "lastModifiedDateTime", "createdDateTime"];
    let refuse = |sentence: String| Box::new(answer::bad_request(call, &sentence));
    let target = item.get("target").and_then(Value::as_object);
    let target = target.ok_or_else(|| refuse("The property 'target' is required".to_owned()))?;
    check_target(world, call.tenant, row, target).map_err(&refuse)?;
    let kind = assignments::target_kind(row, target);
    let has_settings = item.get("settings").is_some_and(|settings| !settings.is_null());
    if kind == Some(TargetKind::ExclusionGroup) && has_settings {
        let sentence = "Exclusion assignment does not support MobileAppAssignment Settings.";
        return Err(Box::new(answer::plain(call, 400, "BadRequest", sentence)));
    }
    let mut kept = item.clone();
    kept.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    match kept.keys().find(|name| *name != "target" && !row.kept.contains(&name.as_str())) {
        Some(unknown) => Err(refuse(format!("The property '{unknown}' does not exist on the type"))),
        None => Ok(kept),
    }
}

fn check_target(
    world: &World,
    tenant: Uuid,
    row: &PolicyType,
    target: &Map<String, Value>,
) -> Result<(), String> {
    if target.get("@odata.type").is_some_and(|name| name == assignments::COLLECTION_TARGET) {
        let taken = row.targets.contains(&TargetKind::AllDevices) && target.get("collectionId").is_some();
        return if taken { Ok(()) } else { Err("The target is not supported for this policy".to_owned()) };
    }
    let kind = assignments::target_kind(row, target).ok_or("The target has an unknown type")?;
    if !row.targets.contains(&kind) {
        return Err("The target is not supported for this policy".to_owned());
    }
    if !matches!(kind, TargetKind::AllUsers | TargetKind::AllDevices) {
        let group = target.get("groupId").and_then(Value::as_str).unwrap_or_default();
        if Uuid::try_parse(group).is_err() {
            return Err(format!("Invalid GroupId : {group} provided, a valid AADGroupId is expected."));
        }
    }
    if row.key == "termsAndConditions" && target.keys().any(|name| name != "@odata.type" && name != "groupId")
    {
        return Err("The target may carry a group only".to_owned());
    }
    let filter = target.get(FILTER_ID).and_then(Value::as_str).filter(|id| *id != ZERO_ID && !id.is_empty());
    let mode = target.get(FILTER_TYPE).and_then(Value::as_str).unwrap_or("none");
    match (filter, mode) {
        (None, "none") => Ok(()),
        (Some(_), "include" | "exclude") if row.filters == Filters::No => {
            Err("Assignment filters are not supported for this policy".to_owned())
        }
        (Some(_), "include" | "exclude") if kind == TargetKind::ExclusionGroup => {
            Err("Assignment filters are not supported on exclusions".to_owned())
        }
        (Some(id), "include" | "exclude") => {
            let filters =
                world.tenants.get(&tenant).map(|tenant| tenant.filters.as_slice()).unwrap_or_default();
            let known = filters.iter().any(|filter| filter.id == id);
            if known { Ok(()) } else { Err(format!("Assignment filter {id} was not found")) }
        }
        _ => Err("The filter and its type do not fit together".to_owned()),
    }
}
