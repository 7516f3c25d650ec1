//! The plan of a restore: per policy what is to be done, or why nothing is. A pure function of what was read.
//!
//! A policy goes through these questions, and the first one that has an answer decides:
//!
//! 1. Was its type read completely when the snapshot was taken? Is it there, and could it be read?
//! 2. Can the map say what it is to have?
//! 3. Does it have that already? Then nothing is asked any more.
//! 4. Do the groups and filters exist? Would the service take it?
//! 5. When a plan is carried out: is it as that plan showed it?
//! 6. Does it widen? Are there more to be written than a restore may write?

use std::collections::{BTreeMap, BTreeSet};

use super::mapping::{self, Directory};
use super::refusals::{self, Subject};
use super::widening::{guarded, widening};
use super::write::writes;
use super::{Decision, LivePolicy, PlannedItem};
use crate::domain::assignment::{AssignmentSet, AssignmentsHash, PolicyKey};
use crate::domain::failure::{Code, Failure};
use crate::domain::identity::RestoreInputs;
use crate::domain::policy_types;

mod tally;
#[cfg(test)]
mod tests;

pub use tally::{PlanSummary, counts};

/// What a plan is made for, besides its policies.
#[derive(Clone, Copy, Debug)]
pub struct PlanRequest<'a> {
    /// What was asked for.
    pub inputs: &'a RestoreInputs,
    /// `restore.policies_max`: the most policies that are written without `allow_widening`.
    pub policies_max: usize,
    /// The types that the snapshot read completely: their lists to the end, and nothing of them refused. All others
    /// restore nothing.
    pub complete_types: &'a BTreeSet<String>,
    /// What exists in the tenant.
    pub directory: &'a Directory,
    /// Whether the snapshot holds what a restore replaced: it names its policies, as `policy_ids` does.
    pub replaced: bool,
    /// When a plan is carried out: the hash of each policy's direct assignments that it showed.
    pub expected: Option<&'a BTreeMap<PolicyKey, AssignmentsHash>>,
}

/// A policy of the snapshot and what was read of it now.
#[derive(Clone, Debug)]
pub struct PolicyInput {
    /// The policy.
    pub policy: PolicyKey,
    /// Its name when the snapshot was taken.
    pub name: String,
    /// Its assignments in the snapshot.
    pub snapshot: AssignmentSet,
    /// The policy now; `None` when it does not exist. Of a policy that [`PlanRequest::reads`] does not want it is not
    /// looked at.
    pub live: Result<Option<LivePolicy>, Failure>,
}

/// A plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// By policy, each once.
    pub items: Vec<PlannedItem>,
    /// Policies that the request names and the snapshot does not hold, by id: `assignments.policy_missing`.
    pub not_held: BTreeMap<String, Failure>,
}

impl PlanRequest<'_> {
    /// Whether the request is about a policy of the snapshot.
    pub fn selects(&self, policy: &PolicyKey) -> bool {
        self.inputs.policy_ids.as_ref().is_none_or(|ids| ids.contains(&policy.policy_id))
    }

    /// Whether the plan looks at the policy as it is now: what need not be read costs no call.
    pub fn reads(&self, policy: &PolicyKey) -> bool {
        self.selects(policy) && self.before_reading(policy).is_none()
    }

    /// Why the policy is refused whatever it has.
    fn before_reading(&self, policy: &PolicyKey) -> Option<Failure> {
        if policy_types::find(&policy.policy_type).is_none() {
            let message = "this version knows no such policy type: leave it out";
            return Some(Failure::new(Code::AssignmentsTargetUnsupported, message));
        }
        let complete = self.complete_types.contains(&policy.policy_type);
        (!complete).then(|| {
            let message =
                "the snapshot did not read this type completely, so nothing of it is restored: use another";
            Failure::new(Code::AssignmentsReadIncomplete, message)
        })
    }
}

/// Plans a restore. Of two inputs for one policy the first counts.
pub fn plan(request: &PlanRequest<'_>, policies: Vec<PolicyInput>) -> Plan {
    let mut known = BTreeMap::new();
    for input in policies.into_iter().filter(|input| request.selects(&input.policy)) {
        known.entry(input.policy.clone()).or_insert(input);
    }
    let not_held = not_held(request.inputs, known.keys());
    let mut items: Vec<PlannedItem> = known.into_values().map(|input| planned(request, input)).collect();
    limit(request, &mut items);
    Plan { items, not_held }
}

/// The policies that the request names and that are not among `held`.
pub fn not_held<'a>(
    inputs: &RestoreInputs,
    held: impl IntoIterator<Item = &'a PolicyKey>,
) -> BTreeMap<String, Failure> {
    let held: BTreeSet<&str> = held.into_iter().map(|policy| policy.policy_id.as_str()).collect();
    let named = inputs.policy_ids.iter().flatten().filter(|id| !held.contains(id.as_str()));
    let message = "the snapshot does not hold a policy that the request names: correct `policy_ids`";
    let missing = || Failure::new(Code::AssignmentsPolicyMissing, message);
    named.map(|id| (id.clone(), missing())).collect()
}

fn planned(request: &PlanRequest<'_>, input: PolicyInput) -> PlannedItem {
    let mut item = PlannedItem {
        policy: input.policy,
        name: input.name,
        base: None,
        wanted: None,
        widens: Vec::new(),
        decision: Decision::Unchanged,
    };
    if let Some(failure) = request.before_reading(&item.policy) {
        item.decision = Decision::Refused(failure);
        return item;
    }
    let live = match input.live {
        Ok(Some(live)) => live,
        Ok(None) => {
            let message = "the policy does not exist in the tenant: create it, or leave it out";
            item.decision = Decision::Refused(Failure::new(Code::AssignmentsPolicyMissing, message));
            return item;
        }
        Err(failure) => {
            item.decision = Decision::Refused(failure);
            return item;
        }
    };
    let base = live.assignments.direct();
    item.name.clone_from(&live.name);
    item.base = Some(base.clone());
    let wanted = mapping::wanted(&input.snapshot, &base, &request.inputs.group_map, request.inputs.mode);
    item.decision = match wanted {
        Err(failure) => Decision::Refused(failure),
        Ok(wanted) => {
            item.widens = widening(&base, &wanted);
            let decision = decide(request, &item, &live, &base, &wanted);
            item.wanted = Some(wanted);
            decision
        }
    };
    item
}

/// ORDER: what is certain (not there, not taken, not as shown) before what the request may allow.
fn decide(
    request: &PlanRequest<'_>,
    item: &PlannedItem,
    live: &LivePolicy,
    base: &AssignmentSet,
    wanted: &AssignmentSet,
) -> Decision {
    let (inputs, directory) = (request.inputs, request.directory);
    if base.hash() == wanted.hash() {
        return Decision::Unchanged;
    }
    let row = policy_types::find(&item.policy.policy_type).expect("an unknown type is refused before");
    let by_id = inputs.policy_ids.as_ref().is_some_and(|ids| ids.contains(&item.policy.policy_id));
    let named = request.replaced || by_id;
    let subject = Subject {
        row,
        named,
        live,
        wanted,
        filters: &directory.filters,
        same_directory: directory.same_directory,
    };
    let failure = mapping::missing(wanted, base, &inputs.group_map, directory)
        .or_else(|| refusals::refusal(&subject))
        .or_else(|| drifted(request, &item.policy, base))
        .or_else(|| (guarded(&item.widens) && !inputs.allow_widening).then(|| widened(item)));
    failure.map_or_else(
        || {
            let calls = writes(row, &item.policy.policy_id, live, wanted).len();
            Decision::Write { calls: u32::try_from(calls).unwrap_or(u32::MAX) }
        },
        Decision::Refused,
    )
}

/// A policy that the plan did not show is not touched either: nobody has seen what would become of it.
fn drifted(request: &PlanRequest<'_>, policy: &PolicyKey, base: &AssignmentSet) -> Option<Failure> {
    let message = match request.expected?.get(policy) {
        Some(shown) if *shown == base.hash() => return None,
        Some(_) => "somebody changed the policy since the plan: it is left as it is; make a new plan",
        None => "the plan does not show what the policy has: it is left as it is; make a new plan",
    };
    Some(Failure::new(Code::AssignmentsDriftedSincePlan, message))
}

fn widened(item: &PlannedItem) -> Failure {
    use super::Widening::{ExclusionLost, FilterLost, GroupBecomesEverybody, TargetAdded};
    let ways = item.widens.iter().filter_map(|way| match way {
        ExclusionLost => Some("an exclusion would be lost"),
        FilterLost => Some("a filter would be lost or replaced"),
        GroupBecomesEverybody => Some("groups would become everybody"),
        TargetAdded => None,
    });
    let ways: Vec<_> = ways.collect();
    let message = format!("{}: look at the plan, then say `allow_widening`", ways.join(" and "));
    Failure::new(Code::AssignmentsGuardBlocked, &message)
}

/// Too many writes stop them all: half of a restore that nobody meant is no better than the whole.
fn limit(request: &PlanRequest<'_>, items: &mut [PlannedItem]) {
    let is_write = |item: &&mut PlannedItem| matches!(item.decision, Decision::Write { .. });
    let to_write = items.iter_mut().filter(is_write).count();
    if request.inputs.allow_widening || to_write <= request.policies_max {
        return;
    }
    let message = format!(
        "{to_write} policies would be written, more than restore.policies_max ({}): name fewer, or say \
         `allow_widening`",
        request.policies_max
    );
    let failure = Failure::new(Code::AssignmentsGuardBlocked, &message);
    for item in items.iter_mut().filter(is_write) {
        item.decision = Decision::Refused(failure.clone());
    }
}
