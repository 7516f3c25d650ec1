//! Edits as an administrator makes them in the portal: at once, or at a step of the client's own work, so that a test
//! can place one between a plan and its write, or between a write and its reading back.
//!
//! As JSON (`POST /_sandbox/edits`):
//!
//! ```json
//! {"tenant": "7c1f…", "policy_type": "compliancePolicy", "policy_id": "…", "when": {"after_read": 2},
//!  "edit": {"set_assignments": [{"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}]}}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::assignments;
use super::control::{ControlError, SandboxControl};
use super::gates::{Passing, Step};
use super::policies;
use super::seed::{self, Origin};
use super::state::{Group, Policy, World};
use crate::clock::Instant;
use crate::domain::policy_types::{self, Read};

/// The edits that wait at the most.
const SCHEDULED_MAX: usize = 10_000;

/// A change of a policy, or of what it refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// The policy's assignments become these, in Graph's form; see [`SandboxControl::set_assignments`].
    SetAssignments(Vec<Value>),
    /// The policy gets this name; another one may have it too.
    Rename(String),
    /// Properties of the policy's object are set, such as `publishingState`.
    SetProperties(Map<String, Value>),
    /// The policy is deleted.
    DeletePolicy,
    /// This group is deleted; assignments to it stay, as in Intune.
    DeleteGroup(String),
    /// Whether writing the policy needs an approval.
    Approval(bool),
}

/// When an edit happens; counted from its making on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Right after the n-th complete read of the policy's assignments: that read does not see it, the next does.
    AfterRead(u32),
    /// Right before the n-th write of the policy is carried out; throttled and faulted ones do not count.
    BeforeWrite(u32),
}

/// An edit that waits for its moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledEdit {
    /// Whose policy.
    pub tenant: Uuid,
    /// Its type.
    pub policy_type: String,
    /// Its id.
    pub policy_id: String,
    /// When.
    pub when: When,
    /// What.
    pub edit: Edit,
}

/// The edits that wait.
#[derive(Debug, Default)]
pub(super) struct Schedule(Vec<(ScheduledEdit, u32)>);

impl Schedule {
    /// Adds an edit.
    pub fn add(&mut self, edit: ScheduledEdit) {
        // LIMIT: edits whose moment never comes would pile up.
        if self.0.len() < SCHEDULED_MAX {
            self.0.push((edit, 0));
        }
    }

    /// Those that still wait.
    pub fn list(&self) -> Vec<ScheduledEdit> {
        self.0.iter().map(|(edit, _)| edit.clone()).collect()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes those out whose moment this is.
    fn due(&mut self, passing: &Passing) -> Vec<ScheduledEdit> {
        let mut due = Vec::new();
        self.0.retain_mut(|(scheduled, matched)| {
            let wanted = match (scheduled.when, passing.step) {
                (When::AfterRead(nth), Step::Read) | (When::BeforeWrite(nth), Step::WriteReceived) => nth,
                _ => return true,
            };
            let own = scheduled.tenant == passing.tenant
                && scheduled.policy_type == passing.policy_type
                && scheduled.policy_id == passing.policy_id;
            *matched += u32::from(own);
            let now = own && *matched >= wanted.max(1);
            if now {
                due.push(scheduled.clone());
            }
            !now
        });
        due
    }
}

impl World {
    /// Makes the edits whose moment this is.
    pub(super) fn make_due_edits(&mut self, passing: &Passing) {
        for ScheduledEdit { tenant, policy_type, policy_id, edit, .. } in self.schedule.due(passing) {
            let made = self.edit(tenant, &policy_type, &policy_id, edit);
            if let Err(error) = made {
                tracing::warn!(error = &error as &dyn std::error::Error, "a scheduled edit came too late");
            }
        }
    }

    fn edit(
        &mut self,
        tenant: Uuid,
        policy_type: &str,
        policy_id: &str,
        edit: Edit,
    ) -> Result<(), ControlError> {
        let now = self.now();
        let policy = self.find(tenant, policy_type, policy_id)?;
        match edit {
            Edit::SetAssignments(items) => set_assignments(policy, items, now),
            Edit::Rename(name) => {
                policy.body.insert(policy.row.name_property.to_owned(), name.into());
            }
            Edit::SetProperties(properties) => policy.body.extend(properties),
            Edit::DeletePolicy => {
                let list_path = policy.row.list_path;
                let held = self.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
                held.policies.entry(list_path).or_default().retain(|policy| policy.id != policy_id);
            }
            Edit::DeleteGroup(group_id) => return self.delete_group(tenant, &group_id),
            Edit::Approval(needed) => policy.needs_approval = needed,
        }
        Ok(())
    }

    fn delete_group(&mut self, tenant: Uuid, group_id: &str) -> Result<(), ControlError> {
        let held = self.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        let gone = held.groups.remove(&group_id.to_lowercase());
        gone.map(drop).ok_or_else(|| ControlError::Group(group_id.to_owned()))
    }

    fn find(
        &mut self,
        tenant: Uuid,
        policy_type: &str,
        policy_id: &str,
    ) -> Result<&mut Policy, ControlError> {
        let row = policy_types::find(policy_type).filter(|row| row.read != Read::Nothing);
        let row = row.ok_or_else(|| ControlError::PolicyType(policy_type.to_owned()))?;
        let held = self.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        let policy = held.policy_mut(row.list_path, policy_id).filter(|policy| policy.row.key == policy_type);
        policy.ok_or_else(|| ControlError::Policy {
            policy_type: policy_type.to_owned(),
            policy_id: policy_id.to_owned(),
        })
    }
}

impl SandboxControl {
    /// Makes an edit at once.
    ///
    /// # Errors
    /// When what it names does not exist.
    pub fn edit(
        &self,
        tenant: Uuid,
        policy_type: &str,
        policy_id: &str,
        edit: Edit,
    ) -> Result<(), ControlError> {
        self.world().edit(tenant, policy_type, policy_id, edit)
    }

    /// Replaces a policy's assignments, as an administrator would: `items` in Graph's form, each with its `target`.
    /// An item that brings an `id` or a `source` keeps it; what is missing is filled in. For a role assignment the one
    /// item is (a part of) its object: `members`, `resourceScopes`, `scopeType`.
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
        self.edit(tenant, policy_type, policy_id, Edit::SetAssignments(items))
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
        self.edit(tenant, policy_type, policy_id, Edit::DeletePolicy)
    }

    /// Makes an edit at its moment. Nothing happens when its policy is gone by then.
    ///
    /// # Errors
    /// When there is no such policy.
    pub fn schedule_edit(&self, scheduled: ScheduledEdit) -> Result<(), ControlError> {
        let mut world = self.world();
        world.find(scheduled.tenant, &scheduled.policy_type, &scheduled.policy_id)?;
        world.schedule.add(scheduled);
        Ok(())
    }

    /// The edits whose moment has not come.
    pub fn scheduled_edits(&self) -> Vec<ScheduledEdit> {
        self.world().schedule.list()
    }

    /// Forgets the edits whose moment has not come.
    pub fn clear_scheduled_edits(&self) {
        self.world().schedule.clear();
    }

    /// Switches Multi Admin Approval for a whole tenant: every write without a justification is 400.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub fn require_approval(&self, tenant: Uuid, needed: bool) -> Result<(), ControlError> {
        let mut world = self.world();
        let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        held.needs_approval = needed;
        Ok(())
    }

    /// Sets the application permissions of a tenant; `None` for all that the catalogue asks for. Tokens that were
    /// handed out keep theirs.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub fn set_roles(&self, tenant: Uuid, roles: Option<Vec<String>>) -> Result<(), ControlError> {
        let mut world = self.world();
        let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        held.spec.roles = roles;
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
        let now = world.now();
        let origin = Origin::root(world.config.seed).at(tenant).at(world.serial);
        let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        let list = held.policies.entry(row.list_path).or_default();
        let mut policy = policies::made_by_hand(&origin, row, list.len(), name);
        set_assignments(&mut policy, items, now);
        policy.previous = None;
        let id = policy.id.clone();
        list.push(policy);
        Ok(id)
    }

    /// Adds a group; gives its id. Its name may be another group's too.
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
        self.world().delete_group(tenant, group_id)
    }

    /// Adds an assignment filter (`management` is `devices` or `apps`); gives its id.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub fn add_filter(
        &self,
        tenant: Uuid,
        name: &str,
        platform: &str,
        management: &str,
    ) -> Result<String, ControlError> {
        let mut world = self.world();
        let id = world.next_request_id().to_string();
        let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        held.filters.push(seed::filter(id.clone(), name, platform, management, ""));
        Ok(id)
    }

    /// Deletes an assignment filter.
    ///
    /// # Errors
    /// When there is no such tenant or filter.
    pub fn delete_filter(&self, tenant: Uuid, filter_id: &str) -> Result<(), ControlError> {
        let mut world = self.world();
        let held = world.tenants.get_mut(&tenant).ok_or(ControlError::Tenant(tenant))?;
        let before = held.filters.len();
        held.filters.retain(|filter| filter.id != filter_id);
        if held.filters.len() < before { Ok(()) } else { Err(ControlError::Filter(filter_id.to_owned())) }
    }
}

fn set_assignments(policy: &mut Policy, items: Vec<Value>, now: Instant) {
    if policy.row.read == Read::Object {
        let mut body = policy.body.clone();
        body.extend(items.into_iter().filter_map(|item| item.as_object().cloned()).flatten());
        policy.set_body(body, now);
    } else {
        let items = filled_in(policy, items);
        policy.set_assignments(items, now);
    }
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
