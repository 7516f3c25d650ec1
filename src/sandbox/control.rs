//! The control of a sandbox, in process and over HTTP: faults, counters, tokens, and edits as an administrator makes
//! them in the portal.
//!
//! | call | body | answer |
//! | --- | --- | --- |
//! | `GET /_sandbox/tenants` | | `[{"external_id","name","policies","groups","filters"}]` |
//! | `GET /_sandbox/stats` | | [`Stats`] |
//! | `DELETE /_sandbox/stats` | | 204; the counters and the log start anew |
//! | `GET /_sandbox/requests` | | the latest [`LogEntry`]s |
//! | `GET /_sandbox/faults` | | `[Fault]` |
//! | `POST /_sandbox/faults` | a [`Fault`] or an array of them | 204 |
//! | `DELETE /_sandbox/faults` | | 204 |
//! | `POST /_sandbox/expire-tokens` | none, or `{"tenant"}` | `{"expired": n}` |
//! | `GET /_sandbox/tenants/{id}/policies` | | `[{"policy_type","policy_id","assignments":[…]}]`, the truth |
//! | `POST /_sandbox/tenants/{id}/policies` | `{"policy_type","name"?,"assignments"?}` | `{"policy_id"}` |
//! | `POST …/policies/{type}/{policy}/assignments` | `[assignment]`: the new set, in Graph's form | 204 |
//! | `DELETE …/policies/{type}/{policy}` | | 204 |
//! | `POST /_sandbox/tenants/{id}/groups` | `{"name"}` | `{"group_id"}` |
//! | `DELETE /_sandbox/tenants/{id}/groups/{group}` | | 204; assignments to it stay, as in Intune |
//!
//! What does not exist is 404, a body of another shape 400.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::assignments;
use super::faults::Fault;
use super::log::{LogEntry, Stats};
use super::policies;
use super::seed::Origin;
use super::state::{Group, Policy, Tenant, World};
use crate::domain::policy_types::{self, Read};

/// A handle on a running sandbox's world; clones share it.
#[derive(Clone, Debug)]
pub struct SandboxControl {
    world: Arc<Mutex<World>>,
}

/// What an edit named does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The tenant.
    #[error("no such tenant: {0}")]
    Tenant(Uuid),
    /// The type, or a type without assignments.
    #[error("no such policy type with assignments: {0}")]
    PolicyType(String),
    /// The policy.
    #[error("no such policy of type {policy_type}: {policy_id}")]
    Policy {
        /// Its type.
        policy_type: String,
        /// Its id.
        policy_id: String,
    },
    /// The group.
    #[error("no such group: {0}")]
    Group(String),
}

/// A tenant in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantSummary {
    /// The directory id.
    pub external_id: Uuid,
    /// Its name.
    pub name: String,
    /// Policies of types whose assignments can be read.
    pub policies: usize,
    /// Groups that exist.
    pub groups: usize,
    /// Assignment filters.
    pub filters: usize,
}

/// The truth about a tenant: for every policy (type, id) its assignments as `{policy}/assignments` gives them,
/// inherited ones included; for a role assignment the object itself.
pub type Truth = BTreeMap<(String, String), Vec<Value>>;

impl SandboxControl {
    pub(super) fn new(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)) }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        // A handler that panicked left the world between two calls at worst: it may be looked at.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenants.
    pub fn tenants(&self) -> Vec<TenantSummary> {
        let summary = |tenant: &Tenant| TenantSummary {
            external_id: tenant.spec.external_id,
            name: tenant.spec.name.clone(),
            policies: tenant.readable().count(),
            groups: tenant.groups.len(),
            filters: tenant.filters.len(),
        };
        self.world().tenants.values().map(summary).collect()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.world().log.stats.clone()
    }

    /// The latest requests and items of batches, oldest first.
    pub fn requests(&self) -> Vec<LogEntry> {
        self.world().log.entries()
    }

    /// Starts the counters and the log anew.
    pub fn reset_stats(&self) {
        self.world().log.reset();
    }

    /// Adds a rule, the last in order.
    pub fn add_fault(&self, fault: Fault) {
        self.world().faults.add(fault);
    }

    /// The rules.
    pub fn faults(&self) -> Vec<Fault> {
        self.world().faults.list()
    }

    /// Forgets all rules.
    pub fn clear_faults(&self) {
        self.world().faults.clear();
    }

    /// Expires the tokens of a tenant, or all; the number of those that were good until now.
    pub fn expire_tokens(&self, tenant: Option<Uuid>) -> usize {
        let mut world = self.world();
        let now = world.now();
        world.tokens.expire(tenant, now)
    }

    /// The truth about a tenant; empty for an unknown one.
    pub fn expected(&self, tenant: Uuid) -> Truth {
        let world = self.world();
        let policies = world.tenants.get(&tenant).into_iter().flat_map(Tenant::readable);
        policies.map(|policy| ((policy.row.key.to_owned(), policy.id.clone()), truth_of(policy))).collect()
    }

    /// The ids of a tenant's groups; empty for an unknown tenant.
    pub fn group_ids(&self, tenant: Uuid) -> Vec<String> {
        self.world()
            .tenants
            .get(&tenant)
            .map(|tenant| tenant.groups.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// The ids of a tenant's filters; empty for an unknown tenant.
    pub fn filter_ids(&self, tenant: Uuid) -> Vec<String> {
        let world = self.world();
        let filters = world.tenants.get(&tenant).map(|tenant| tenant.filters.as_slice()).unwrap_or_default();
        filters.iter().map(|filter| filter.id.clone()).collect()
    }

    /// Replaces a policy's assignments, as an administrator would: `items` in Graph's form, each with its `target`.
    /// An item that brings an `id` or a `source` keeps it; what is missing is filled in.
    ///
    /// # Errors
    /// When there is no such policy.
    pub fn set_assignments(
        &self,
        tenant: Uuid,
        policy_type: &str,
        policy_id: &str,
        items: Vec<Value>,
    ) -> Result<(), ControlError> {
        let mut world = self.world();
        let policy = find(&mut world, tenant, policy_type, policy_id)?;
        let items = filled_in(policy, items);
        policy.set_assignments(items);
        Ok(())
    }

    /// Adds a policy, the last of its list; gives its id.
    ///
    /// # Errors
    /// When there is no such tenant or type.
    pub fn add_policy(
        &self,
        tenant: Uuid,
        policy_type: &str,
        name: Option<&str>,
        items: Vec<Value>,
    ) -> Result<String, ControlError> {
        let row = policy_types::find(policy_type).filter(|row| row.read != Read::Nothing);
        let row = row.ok_or_else(|| ControlError::PolicyType(policy_type.to_owned()))?;
        let mut world = self.world();
        world.serial += 1;
        let origin = Origin::root(world.config.seed).at(tenant).at(world.serial);
        let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        let list = held.policies.entry(row.list_path).or_default();
        let mut policy = policies::made_by_hand(&origin, row, list.len(), name);
        policy.assignments = filled_in(&policy, items);
        let id = policy.id.clone();
        list.push(policy);
        Ok(id)
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// When there is no such policy.
    pub fn delete_policy(
        &self,
        tenant: Uuid,
        policy_type: &str,
        policy_id: &str,
    ) -> Result<(), ControlError> {
        let mut world = self.world();
        let list_path = find(&mut world, tenant, policy_type, policy_id)?.row.list_path;
        let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        held.policies.entry(list_path).or_default().retain(|policy| policy.id != policy_id);
        Ok(())
    }

    /// Adds a group; gives its id.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub fn add_group(&self, tenant: Uuid, name: &str) -> Result<String, ControlError> {
        let mut world = self.world();
        let id = world.next_request_id().to_string();
        let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        held.groups.insert(id.clone(), Group { id: id.clone(), name: name.to_owned() });
        Ok(id)
    }

    /// Deletes a group; assignments to it stay, as in Intune.
    ///
    /// # Errors
    /// When there is no such tenant or group.
    pub fn delete_group(&self, tenant: Uuid, group_id: &str) -> Result<(), ControlError> {
        let mut world = self.world();
        let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        let gone = held.groups.remove(&group_id.to_lowercase());
        gone.map(drop).ok_or_else(|| ControlError::Group(group_id.to_owned()))
    }
}

fn truth_of(policy: &Policy) -> Vec<Value> {
    match policy.row.read {
        Read::Object => vec![Value::Object(policy.object())],
        Read::Navigation | Read::Nothing => policy.assignments.clone(),
    }
}

fn find<'a>(
    world: &'a mut World,
    tenant: Uuid,
    policy_type: &str,
    policy_id: &str,
) -> Result<&'a mut Policy, ControlError> {
    let row = policy_types::find(policy_type).filter(|row| row.read != Read::Nothing);
    let row = row.ok_or_else(|| ControlError::PolicyType(policy_type.to_owned()))?;
    let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
    let policy = held.policy_mut(row.list_path, policy_id).filter(|policy| policy.row.key == policy_type);
    policy.ok_or_else(|| ControlError::Policy {
        policy_type: policy_type.to_owned(),
        policy_id: policy_id.to_owned(),
    })
}

/// Items as the service keeps them; what an item brings beats what is filled in.
fn filled_in(policy: &Policy, items: Vec<Value>) -> Vec<Value> {
    let objects = items.into_iter().map(|item| item.as_object().cloned().unwrap_or_default());
    objects
        .enumerate()
        .map(|(position, mut item): (usize, Map<String, Value>)| {
            item.entry("target").or_insert_with(|| Value::Object(Map::new()));
            let mut kept = assignments::stored(policy.row, &policy.id, item.clone(), position);
            for (name, value) in item {
                kept[name.as_str()] = value;
            }
            kept
        })
        .collect()
}
