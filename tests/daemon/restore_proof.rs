//! Attempts to prove a restore wrong: whatever a tenant holds, whatever Graph does, and whoever edits meanwhile.

use std::collections::BTreeMap;

use atlasd::domain::assignment::AssignmentSet;
use atlasd::domain::policy_types::{self, PolicyType, Read, Write};
use atlasd::sandbox::config::SINGLE_TENANT;
use atlasd::sandbox::control::Truth;
use atlasd::sandbox::{Policies, SandboxConfig, TenantSpec};
use serde_json::{Value, json};

use crate::bed::{Bed, Client};
use crate::restore::{items, restored, snapshot};

mod budget;
mod chance;
mod edits;
mod faults;
mod guards;
mod refusals;

/// A policy: its type and its id.
type Key = (String, String);

/// A quick bed for many writes: a short wait for what was written (longer than the pauses that a 429 makes), and budgets
/// that hold nobody up.
const QUICK: &str = "[restore]\nparallel = 16\nverify_timeout = \"4s\"\nverify_wait = \"20ms\"\nverify_wait_max = \"200ms\"\n\
    policies_max = 1000\n[graph]\nbackoff_base = \"20ms\"\nbackoff_max = \"200ms\"\ncall_timeout = \"2s\"\n\
    calls_per_20s = 1000000\nwrites_per_20s = 100000\ncalls_per_second_global = 100000\n";

/// A sandbox with so many policies of every type, as seeded, that throttles nobody.
fn world(policies: Policies) -> SandboxConfig {
    let mut config = SandboxConfig::single(0);
    config.tenants = vec![TenantSpec::new(SINGLE_TENANT, "Contoso Test", policies)];
    for limit in [
        &mut config.throttle.calls_max,
        &mut config.throttle.writes_max,
        &mut config.throttle.tenant_calls_max,
        &mut config.throttle.tenant_writes_max,
        &mut config.throttle.global_calls_per_second_max,
    ] {
        *limit = 1_000_000;
    }
    config
}

/// So many policies of each of these types.
fn exactly(types: &[(&str, usize)]) -> SandboxConfig {
    world(Policies::Exactly(types.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect()))
}

fn row(key: &str) -> &'static PolicyType {
    policy_types::find(key).expect("a type of the catalogue")
}

/// The types that a restore can write.
fn writable() -> impl Iterator<Item = &'static PolicyType> {
    policy_types::readable().filter(|row| row.write != Write::Nothing)
}

fn truth(bed: &Bed) -> Truth {
    bed.sandbox.state().expected(SINGLE_TENANT)
}

/// The direct assignments that Graph's items stand for.
fn direct(key: &Key, items: &[Value]) -> AssignmentSet {
    let row = row(&key.0);
    let set = match row.read {
        Read::Object => AssignmentSet::from_role_assignment(&items[0]),
        _ => AssignmentSet::from_graph(row, items),
    };
    set.expect("the sandbox holds well-formed assignments").direct()
}

/// The direct assignments of every policy.
fn sets(bed: &Bed) -> BTreeMap<Key, AssignmentSet> {
    truth(bed).into_iter().map(|(key, items)| (key.clone(), direct(&key, &items))).collect()
}

/// Edits a policy as the portal does.
fn set(bed: &Bed, key: &Key, items: Vec<Value>) {
    let edited = bed.sandbox.state().set_assignments(SINGLE_TENANT, &key.0, &key.1, items);
    edited.expect("the policy is there");
}

/// A new policy that can be written, with these assignments.
fn policy(bed: &Bed, policy_type: &str, items: Vec<Value>) -> Key {
    let id = bed.sandbox.state().add_policy(SINGLE_TENANT, policy_type, None, items);
    (policy_type.to_owned(), id.expect("the type is known"))
}

/// A new group; its id.
fn group(bed: &Bed) -> String {
    bed.sandbox.state().add_group(SINGLE_TENANT, "Proof").expect("the tenant is there")
}

/// An assignment to a kind of target.
fn to(kind: &str, group: Option<&str>) -> Value {
    let mut target = json!({"@odata.type": format!("#microsoft.graph.{kind}AssignmentTarget")});
    if let Some(group) = group {
        target["groupId"] = group.into();
    }
    json!({"target": target})
}

fn to_group(id: &str) -> Value {
    to("group", Some(id))
}

fn except(id: &str) -> Value {
    to("exclusionGroup", Some(id))
}

fn filtered(mut item: Value, filter: &str, mode: &str) -> Value {
    item["target"]["deviceAndAppManagementAssignmentFilterId"] = filter.into();
    item["target"]["deviceAndAppManagementAssignmentFilterType"] = mode.into();
    item
}

/// The code of an item's failure.
fn code(item: &Value) -> &str {
    item["failure"]["code"].as_str().unwrap_or_else(|| panic!("a failed item has a code: {item}"))
}

fn ids<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<&'a str> {
    keys.into_iter().map(|(_, id)| id.as_str()).collect()
}

/// A restore and its items.
async fn restore(client: &Client, tenant: i64, inputs: Value) -> (Value, BTreeMap<Key, Value>) {
    let run = restored(client, tenant, inputs).await;
    let items = items(client, &run).await;
    (run, items)
}
