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
//! | `GET /_sandbox/gates` | | [`GateView`]s |
//! | `POST /_sandbox/gates` | a [`Gate`] | `{"gate_id"}` |
//! | `GET /_sandbox/gates/{id}?wait_ms=N` | | `{"state"}`: as soon as the gate is reached, at the latest then |
//! | `POST /_sandbox/gates/{id}/release` | | 204; the held call goes on |
//! | `DELETE /_sandbox/gates/{id}` | | 204; the held call is forgotten |
//! | `GET /_sandbox/edits` | | the [`ScheduledEdit`](super::ScheduledEdit)s whose moment has not come |
//! | `POST /_sandbox/edits` | a [`ScheduledEdit`](super::ScheduledEdit) | 204 |
//! | `DELETE /_sandbox/edits` | | 204 |
//! | `PUT /_sandbox/read-delay` | a [`ReadDelay`]: `{"reads","millis"}` | 204 |
//! | `POST /_sandbox/expire-tokens` | none, or `{"tenant"}` | `{"expired": n}` |
//! | `GET /_sandbox/tenants/{id}/policies` | | `[{"policy_type","policy_id","assignments":[…]}]`, the truth |
//! | `POST /_sandbox/tenants/{id}/policies` | `{"policy_type","name"?,"assignments"?}` | `{"policy_id"}` |
//! | `GET /_sandbox/tenants/{id}/writes` | | [`WriteRecord`]s |
//! | `PUT /_sandbox/tenants/{id}/approval` | `{"required": bool}` | 204 |
//! | `PUT /_sandbox/tenants/{id}/roles` | `{"roles": [..] or null}` | 204; for tokens from now on |
//! | `POST /_sandbox/tenants/{id}/others-use` | `{"calls","writes"}` | 204; other applications use the tenant's budget |
//! | `POST …/policies/{type}/{policy}/edit` | an [`Edit`](super::Edit) | 204 |
//! | `POST …/policies/{type}/{policy}/assignments` | `[assignment]`: the new set, in Graph's form | 204 |
//! | `DELETE …/policies/{type}/{policy}` | | 204 |
//! | `POST /_sandbox/tenants/{id}/groups` | `{"name"}` | `{"group_id"}` |
//! | `DELETE /_sandbox/tenants/{id}/groups/{group}` | | 204; assignments to it stay, as in Intune |
//! | `POST /_sandbox/tenants/{id}/filters` | `{"name","platform","management"}` | `{"filter_id"}` |
//! | `DELETE /_sandbox/tenants/{id}/filters/{filter}` | | 204 |
//!
//! What does not exist is 404, a body of another shape 400.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::faults::Fault;
use super::gates::{Gate, GateState, GateView};
use super::log::{LogEntry, Stats, WriteRecord};
use super::state::{Policy, ReadDelay, Tenant, World};
use crate::domain::policy_types::Read;

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
    /// The filter.
    #[error("no such filter: {0}")]
    Filter(String),
    /// The gate.
    #[error("no such gate: {0}")]
    Gate(u64),
    /// The call that a gate waits for did not come in time.
    #[error("gate {0}: expected a call within {1:?}, none came")]
    NotReached(u64, std::time::Duration),
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

    /// Every call that wanted to change a tenant's assignments, oldest first, refused and throttled ones too.
    pub fn writes_of(&self, tenant: Uuid) -> Vec<WriteRecord> {
        self.world().log.writes_of(tenant)
    }

    /// Starts the counters and the log anew; budgets, gates and edits go on.
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

    /// How long reads still give what was before a write, from the next write on.
    pub fn set_read_delay(&self, delay: ReadDelay) {
        self.world().read_delay = delay;
    }

    /// Takes calls and writes of the budget that all applications of a tenant share, as another one would.
    pub fn others_use(&self, tenant: Uuid, calls: usize, writes: usize) {
        let mut world = self.world();
        let now = world.now();
        world.throttle.others_use(tenant, calls, writes, now);
    }

    /// Holds a call at a step of its course; gives the gate's number.
    pub fn place_gate(&self, gate: Gate) -> u64 {
        self.world().gates.add(gate)
    }

    /// All gates, oldest first.
    pub fn gates(&self) -> Vec<GateView> {
        self.world().gates.list()
    }

    /// Waits until the gate holds its call (or has let it go again). Needs a runtime with a timer.
    ///
    /// # Errors
    /// When there is no such gate, or its call has not come after `patience`.
    pub async fn gate_reached(&self, gate_id: u64, patience: Duration) -> Result<GateState, ControlError> {
        let watch = self.world().gates.watch(gate_id);
        let mut watch = watch.ok_or(ControlError::Gate(gate_id))?;
        let reached = tokio::time::timeout(patience, watch.wait_for(|state| *state != GateState::Waiting));
        match reached.await {
            Ok(Ok(state)) => Ok(*state),
            // A gate is forgotten with its sender only when there are too many.
            Ok(Err(_)) => Err(ControlError::Gate(gate_id)),
            Err(_) => Err(ControlError::NotReached(gate_id, patience)),
        }
    }

    /// Lets the held call go on, even when its client has gone. A call that has not come is not held any more.
    ///
    /// # Errors
    /// When there is no such gate.
    pub fn release_gate(&self, gate_id: u64) -> Result<(), ControlError> {
        let known = self.world().gates.release(gate_id);
        if known { Ok(()) } else { Err(ControlError::Gate(gate_id)) }
    }

    /// Forgets the held call: it is not answered, and at [`super::Step::WriteReceived`] it is never applied.
    ///
    /// # Errors
    /// When there is no such gate.
    pub fn discard_gate(&self, gate_id: u64) -> Result<(), ControlError> {
        let known = self.world().gates.discard(gate_id);
        if known { Ok(()) } else { Err(ControlError::Gate(gate_id)) }
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
}

fn truth_of(policy: &Policy) -> Vec<Value> {
    match policy.row.read {
        Read::Object => vec![Value::Object(policy.object())],
        Read::Navigation | Read::Nothing => policy.assignments.clone(),
    }
}
