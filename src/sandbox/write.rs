//! Changes of assignments: `/assign` and `/update` replace a policy's whole set; Autopilot, Apple enrolment and terms
//! take one assignment at a time; role assignments are patched. What the service refuses is refused ([`super::rules`]).

use serde_json::{Map, Value, json};

use super::answer::{self, Answer};
use super::assignments;
use super::call::Call;
use super::rules::{self, Broken};
use super::state::{Policy, Tenant, World};
use crate::domain::policy_types::{PolicyType, Write};

/// Why a write is not carried out.
enum Refusal {
    /// A rule that the client could have known.
    Rule(Broken),
    /// An administrator has to approve it.
    Approval,
    /// Anything else.
    Answer(Box<Answer>),
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        Self::Rule(broken)
    }
}

impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

/// Carries out an action on a policy: `assign` or `update`.
pub fn action(world: &mut World, call: &Call, list_path: &'static str, id: &str, action: &str) -> Answer {
    let done = replaced(world, call, list_path, id, action);
    answered(world, call, list_path, id, done)
}

/// `POST {policy}/assignments`: one more.
pub fn add(world: &mut World, call: &Call, list_path: &'static str, id: &str) -> Answer {
    let done = added(world, call, list_path, id);
    answered(world, call, list_path, id, done)
}

/// `DELETE {policy}/assignments/{assignment}`: one less.
pub fn remove(world: &mut World, call: &Call, list_path: &'static str, id: &str, assignment: &str) -> Answer {
    let done = removed(world, call, list_path, id, assignment);
    answered(world, call, list_path, id, done)
}

/// `PATCH {roleAssignment}`: the groups are properties of the object.
pub fn patch(world: &mut World, call: &Call, list_path: &'static str, id: &str) -> Answer {
    let done = patched(world, call, list_path, id);
    answered(world, call, list_path, id, done)
}

/// The answer of a write; one that a rule refused is counted.
fn answered(
    world: &mut World,
    call: &Call,
    list_path: &str,
    id: &str,
    done: Result<Answer, Refusal>,
) -> Answer {
    match done {
        Ok(answer) => answer,
        Err(Refusal::Answer(answer)) => *answer,
        Err(Refusal::Approval) => {
            world.log.stats.approvals_asked += 1;
            answer::approval_required(call)
        }
        Err(Refusal::Rule(broken)) => {
            let tenant = world.tenants.get(&call.tenant);
            if let Some(policy) = tenant.and_then(|tenant| tenant.policy(list_path, id)) {
                let policy = format!("{}/{id}", policy.row.key);
                world.log.refused(policy, broken.rule);
            }
            answer::bad_request(call, &broken.sentence)
        }
    }
}

fn replaced(
    world: &mut World,
    call: &Call,
    list_path: &'static str,
    id: &str,
    action: &str,
) -> Result<Answer, Refusal> {
    let (tenant, policy) = find(world, call, list_path, id)?;
    let row = policy.row;
    let Write::Replace { action: own, body_property, success, .. } = row.write else {
        return Err(match (row.key, action) {
            ("autopilotProfile", "assign") => {
                Broken::new("assign_on_autopilot", "The property 'deviceIds' is required").into()
            }
            _ => answer::no_route(call).into(),
        });
    };
    if call.method != "POST" || own.rsplit('/').next() != Some(action) {
        return Err(answer::no_route(call).into());
    }
    needs_no_approval(call, tenant, policy)?;
    rules::check_policy(policy)?;
    let wanted = wanted_set(call, tenant, policy, body_property)?;
    // What a policy set brought stays: it is not this policy's to take away.
    let inherited = policy.assignments.iter().filter(|item| item["source"] != "direct").cloned();
    let direct = wanted.into_iter().enumerate().map(|(at, item)| kept_as(policy, item, at));
    let new: Vec<Value> = direct.chain(inherited).collect();
    change(world, call, row, id, |policy| policy.set_assignments(new.clone(), call.now));
    Ok(match success {
        Some(204) => Answer::no_content(),
        _ => {
            let context = format!("{}/beta/$metadata#{}('{id}')/assignments", call.base, &list_path[1..]);
            Answer::json(200, json!({"@odata.context": context, "value": new}))
        }
    })
}

fn added(world: &mut World, call: &Call, list_path: &'static str, id: &str) -> Result<Answer, Refusal> {
    let (tenant, policy) = find(world, call, list_path, id)?;
    let row = policy.row;
    takes_single_ones(call, row)?;
    needs_no_approval(call, tenant, policy)?;
    rules::check_policy(policy)?;
    let Some(Ok(Value::Object(item))) = &call.body else {
        return Err(answer::bad_request(call, "Expected an object").into());
    };
    let item = accepted(tenant, policy, item)?;
    let new = assignments::stored(row, id, item, policy.assignments.len());
    if policy.assignments.iter().any(|known| known["id"] == new["id"]) {
        return Err(answer::intune(call, 409, "Conflict", "The assignment already exists").into());
    }
    let mut all = policy.assignments.clone();
    all.push(new.clone());
    change(world, call, row, id, |policy| policy.set_assignments(all, call.now));
    Ok(Answer::json(201, new))
}

fn removed(
    world: &mut World,
    call: &Call,
    list_path: &'static str,
    id: &str,
    assignment: &str,
) -> Result<Answer, Refusal> {
    let (tenant, policy) = find(world, call, list_path, id)?;
    let row = policy.row;
    takes_single_ones(call, row)?;
    needs_no_approval(call, tenant, policy)?;
    let mut left = policy.assignments.clone();
    left.retain(|item| item["id"] != assignment);
    if left.len() == policy.assignments.len() {
        return Err(answer::not_found(call).into());
    }
    change(world, call, row, id, |policy| policy.set_assignments(left, call.now));
    Ok(Answer::no_content())
}

fn patched(world: &mut World, call: &Call, list_path: &'static str, id: &str) -> Result<Answer, Refusal> {
    const PATCHABLE: [&str; 5] =
        ["members", "scopeMembers", "resourceScopes", "scopeType", "roleScopeTagIds"];
    let (tenant, policy) = find(world, call, list_path, id)?;
    let row = policy.row;
    if row.write != Write::Patch {
        return Err(answer::no_route(call).into());
    }
    needs_no_approval(call, tenant, policy)?;
    let Some(Ok(Value::Object(changes))) = &call.body else {
        return Err(answer::bad_request(call, "Expected an object").into());
    };
    for (name, value) in changes {
        match name.as_str() {
            "members" | "scopeMembers" | "resourceScopes" => {
                for group in value.as_array().into_iter().flatten() {
                    rules::check_group(tenant, group.as_str().unwrap_or_default())?;
                }
            }
            "@odata.type" => {}
            name if PATCHABLE.contains(&name) => {}
            _ => return Err(Broken::new("shape", "A property cannot be changed").into()),
        }
    }
    let mut body = policy.body.clone();
    body.extend(changes.clone());
    change(world, call, row, id, |policy| policy.set_body(body, call.now));
    let (_, policy) = find(world, call, list_path, id)?;
    Ok(Answer::json(200, Value::Object(policy.object())))
}

fn takes_single_ones(call: &Call, row: &PolicyType) -> Result<(), Refusal> {
    // Enrolment configurations document it and refuse it; apps take it beside `/assign`.
    let takes = matches!(row.write, Write::OneByOne { .. }) || row.key == "mobileApp";
    if takes { Ok(()) } else { Err(answer::no_route(call).into()) }
}

fn needs_no_approval(call: &Call, tenant: &Tenant, policy: &Policy) -> Result<(), Refusal> {
    let needed = (tenant.needs_approval || policy.needs_approval) && !call.justified;
    if needed { Err(Refusal::Approval) } else { Ok(()) }
}

fn find<'a>(
    world: &'a World,
    call: &Call,
    list_path: &str,
    id: &str,
) -> Result<(&'a Tenant, &'a Policy), Refusal> {
    let tenant = world.tenants.get(&call.tenant);
    let policy = tenant.and_then(|tenant| Some((tenant, tenant.policy(list_path, id)?)));
    policy.ok_or_else(|| answer::not_found(call).into())
}

/// Makes a change and counts it; the reads that follow may still give what was before.
fn change(world: &mut World, call: &Call, row: &PolicyType, id: &str, by: impl FnOnce(&mut Policy)) {
    let delay = world.read_delay;
    let policy = world.tenants.get_mut(&call.tenant).and_then(|it| it.policy_mut(row.list_path, id));
    if let Some(policy) = policy {
        by(policy);
        policy.delay_reads(delay, call.now);
        *world.log.stats.writes_per_policy.entry(format!("{}/{id}", row.key)).or_default() += 1;
        world.log.changes += 1;
    }
}

/// An item of a replaced set as the service keeps it. A Cloud PC policy's write names the assignments that it has, so
/// their ids stay; all others get new ones.
fn kept_as(policy: &Policy, mut item: Map<String, Value>, at: usize) -> Value {
    let named = item.remove("id");
    let mut kept = assignments::stored(policy.row, &policy.id, item, at);
    if let Some(named) = named.filter(|id| policy.assignments.iter().any(|own| own["id"] == *id)) {
        kept["id"] = named;
    }
    kept
}

/// The set that a body asks for. Of two entries for one target and intent the second is ignored.
fn wanted_set(
    call: &Call,
    tenant: &Tenant,
    policy: &Policy,
    body_property: &str,
) -> Result<Vec<Map<String, Value>>, Refusal> {
    let shape = |sentence: &str| Err(Broken::new("shape", sentence).into());
    let Some(Ok(Value::Object(body))) = &call.body else { return shape("Expected an object") };
    if let Some(unknown) = body.keys().find(|name| *name != body_property) {
        let sentence = format!("The property '{unknown}' does not exist on the action");
        return Err(Broken::new("body_property", sentence).into());
    }
    let Some(items) = body.get(body_property).and_then(Value::as_array) else {
        let sentence = format!("The parameter '{body_property}' is required");
        return Err(Broken::new("body_property", sentence).into());
    };
    let mut seen: Vec<Value> = Vec::new();
    let mut wanted = Vec::new();
    for item in items {
        let Value::Object(item) = item else { return shape("Expected an assignment") };
        let item = accepted(tenant, policy, item)?;
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
    tenant: &Tenant,
    policy: &Policy,
    item: &Map<String, Value>,
) -> Result<Map<String, Value>, Broken> {
    const READ_ONLY: [&str; 5] =
        ["@odata.type", "source", "sourceId", "lastModifiedDateTime", "createdDateTime"];
    rules::check_item(tenant, policy, item)?;
    let keeps_ids = policy.row.key == "cloudPcProvisioningPolicy";
    let mut kept = item.clone();
    kept.retain(|name, _| !READ_ONLY.contains(&name.as_str()) && (keeps_ids || name != "id"));
    let own = |name: &str| name == "target" || name == "id" || policy.row.kept.contains(&name);
    match kept.keys().find(|name| !own(name)) {
        Some(unknown) => {
            Err(Broken::new("shape", format!("The property '{unknown}' does not exist on the type")))
        }
        None => Ok(kept),
    }
}
