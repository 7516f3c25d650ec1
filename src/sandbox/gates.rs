//! Gates: places where the sandbox holds a call until it is told to go on, so that a test can kill the daemon, look at
//! it, or edit the tenant at exactly that step.
//!
//! A gate holds one call, the n-th that matches from its making on, and no other. What it holds is held outside the
//! world's lock: everything else is served meanwhile. A held write is carried out after the release even when its
//! client has gone, as a request that was on its way would be; `Gates::discard` forgets it instead.
//!
//! As JSON (`POST /_sandbox/gates`), every field but `at` optional:
//!
//! ```json
//! {"tenant": "7c1f…", "policy_type": "compliancePolicy", "policy_id": "…", "at": "write_received", "nth": 1}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

/// The gates that are remembered at the most; the oldest are forgotten first.
const GATES_MAX: usize = 10_000;

/// A step at which a call can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A policy's assignments were read to the end, by themselves or in a list; the answer is held.
    Read,
    /// A write has come and nothing was done with it yet: no throttle has counted it, no fault has touched it.
    WriteReceived,
    /// A write was applied; its answer is held.
    WriteApplied,
    /// As [`Step::Read`], of a policy that a write has changed before.
    ReadBack,
}

/// Which call is held, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Only calls for this tenant.
    #[serde(default)]
    pub tenant: Option<Uuid>,
    /// Only calls that concern a policy of this type.
    #[serde(default)]
    pub policy_type: Option<String>,
    /// Only calls that concern this policy.
    #[serde(default)]
    pub policy_id: Option<String>,
    /// Where in its course.
    pub at: Step,
    /// The n-th call that matches; 0 and 1 mean the first.
    #[serde(default)]
    pub nth: u32,
}

impl Gate {
    /// Holds the first call that comes to this step.
    pub fn at(step: Step) -> Self {
        Self { tenant: None, policy_type: None, policy_id: None, at: step, nth: 1 }
    }

    /// Only for this tenant.
    pub fn tenant(mut self, tenant: Uuid) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Only for this policy.
    pub fn policy(mut self, policy_type: &str, policy_id: &str) -> Self {
        self.policy_type = Some(policy_type.to_owned());
        self.policy_id = Some(policy_id.to_owned());
        self
    }

    /// The n-th that matches.
    pub fn nth(mut self, nth: u32) -> Self {
        self.nth = nth;
        self
    }

    fn matches(&self, passing: &Passing) -> bool {
        self.at == passing.step
            && self.tenant.is_none_or(|tenant| tenant == passing.tenant)
            && self.policy_type.as_deref().is_none_or(|key| key == passing.policy_type)
            && self.policy_id.as_deref().is_none_or(|id| id == passing.policy_id)
    }
}

/// How far a gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateState {
    /// Its call has not come.
    Waiting,
    /// It holds its call.
    Holding,
    /// It lets its call go on.
    Released,
    /// It lets its call go nowhere: no answer, and nothing is done that was not done yet.
    Discarded,
}

/// A gate as the control API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GateView {
    /// Its number.
    pub gate_id: u64,
    /// How far it is.
    pub state: GateState,
    /// What it waits for.
    pub gate: Gate,
}

/// A call that comes to a step with a policy.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    pub step: Step,
    pub tenant: Uuid,
    pub policy_type: &'static str,
    pub policy_id: String,
}

/// A call that is held.
#[derive(Debug)]
pub(super) struct Hold(watch::Receiver<GateState>);

impl Hold {
    /// Waits until the call may go on; `false` when it is to be forgotten.
    pub async fn goes_on(mut self) -> bool {
        let decided = self.0.wait_for(|state| matches!(state, GateState::Released | GateState::Discarded));
        // A gate that was forgotten holds nothing back.
        decided.await.is_ok_and(|state| *state == GateState::Released)
    }
}

/// All gates, by number.
#[derive(Debug, Default)]
pub(super) struct Gates {
    serial: u64,
    gates: BTreeMap<u64, Placed>,
}

#[derive(Debug)]
struct Placed {
    gate: Gate,
    matched: u32,
    state: watch::Sender<GateState>,
}

impl Gates {
    /// Adds a gate; gives its number.
    pub fn add(&mut self, gate: Gate) -> u64 {
        // LIMIT: gates that are never taken away would pile up.
        while self.gates.len() >= GATES_MAX {
            self.gates.pop_first();
        }
        self.serial += 1;
        let state = watch::Sender::new(GateState::Waiting);
        self.gates.insert(self.serial, Placed { gate, matched: 0, state });
        self.serial
    }

    /// Whether none waits for a call.
    pub fn is_idle(&self) -> bool {
        self.gates.values().all(|placed| *placed.state.borrow() != GateState::Waiting)
    }

    /// Holds the call if it is one that a gate waits for. A call may come to several gates; each holds it.
    pub fn pass(&mut self, passing: &Passing) -> Vec<Hold> {
        let mut holds = Vec::new();
        for placed in self.gates.values_mut() {
            if *placed.state.borrow() != GateState::Waiting || !placed.gate.matches(passing) {
                continue;
            }
            placed.matched += 1;
            if placed.matched >= placed.gate.nth.max(1) {
                placed.state.send_replace(GateState::Holding);
                holds.push(Hold(placed.state.subscribe()));
            }
        }
        holds
    }

    /// Lets the call go on; one that has not come is not held any more.
    pub fn release(&mut self, gate_id: u64) -> bool {
        self.decide(gate_id, GateState::Released)
    }

    /// Forgets the call, as if the network had lost it; one that has not come is not held any more.
    pub fn discard(&mut self, gate_id: u64) -> bool {
        self.decide(gate_id, GateState::Discarded)
    }

    fn decide(&mut self, gate_id: u64, decision: GateState) -> bool {
        let placed = self.gates.get(&gate_id);
        placed.is_some_and(|placed| {
            placed.state.send_if_modified(|state| {
                let open = matches!(state, GateState::Waiting | GateState::Holding);
                if open {
                    *state = decision;
                }
                open
            });
            true
        })
    }

    /// The states of a gate, to wait on.
    pub fn watch(&self, gate_id: u64) -> Option<watch::Receiver<GateState>> {
        self.gates.get(&gate_id).map(|placed| placed.state.subscribe())
    }

    /// All gates, oldest first.
    pub fn list(&self) -> Vec<GateView> {
        let view = |(id, placed): (&u64, &Placed)| GateView {
            gate_id: *id,
            state: *placed.state.borrow(),
            gate: placed.gate.clone(),
        };
        self.gates.iter().map(view).collect()
    }
}
