//! The adapter of `assignments.restore`: plans, then carries the plan out policy by policy (SPEC section 9).
//!
//! What is to be done is decided in [`crate::domain::restore`]; here it is read, written and recorded. The journal in
//! the ledger is ahead of Graph: a policy is marked as sent before its write leaves, together with the set that the
//! write replaces. Whatever dies, the next attempt finds out what became of a policy by reading it.
//!
//! Invariants: a dry run sends no write; a policy whose plan has ended in an earlier attempt is not touched again; no
//! write leaves without a look at the board and a mark under the run's lease.

mod carrying;
mod looking;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Attempt;
use super::breaks::{self, Break, client, end_of};
use super::conclude::{AttemptEnd, Work};
use crate::domain::assignment::{AssignmentsHash, PolicyKey};
use crate::domain::failure::{Code, Failure, summarise};
use crate::domain::identity::{Inputs, RestoreInputs};
use crate::domain::restore::plan::{self, Plan, PlanRequest, PolicyInput};
use crate::domain::restore::{Decision, ItemState, JournalItem};
use crate::domain::run::Outcome;
use crate::graph::{GraphClient, forecast};
use crate::ids::{RestoreId, RunId};
use crate::store::{RestoreEnd, Tenant};
use carrying::Todo;
use looking::Looked;
use source::Source;

/// Executes one attempt.
pub async fn run(attempt: &Attempt) -> AttemptEnd {
    end_of(attempt, "restore", restore(attempt).await).await
}

async fn restore(attempt: &Attempt) -> Result<Work, Break> {
    let store = &attempt.parts.store;
    let inputs = inputs(attempt)?;
    let tenant = breaks::tenant(attempt).await?;
    let client = client(attempt, &tenant)?;
    let begun = store.begin_restore(attempt.lease, inputs.dry_run).await?;
    let restore = begun.ok_or_else(Break::not_canonical)?;
    // The last look before the first call to the outside (SPEC section 5).
    if !store.is_canonical(attempt.lease).await? {
        return Err(Break::not_canonical());
    }
    let work = match planned_and_carried_out(attempt, &client, &tenant, &inputs).await {
        // What made it impossible ends the adapter run too; what was done before counts all the same.
        Err(Break::End(AttemptEnd::Done(work))) => {
            let journal = store.journal(attempt.run.id).await?;
            Work { counts: plan::counts(journal.iter().map(|item| item.state), 0), ..work }
        }
        worked => worked?,
    };
    if work.transient && attempt.tries_left() {
        return Ok(Work { context: Map::new(), ..work });
    }
    finish(attempt, restore, work).await
}

async fn finish(attempt: &Attempt, restore: RestoreId, mut work: Work) -> Result<Work, Break> {
    let end = RestoreEnd {
        outcome: if work.failures.is_empty() { Outcome::Succeeded } else { Outcome::Failed },
        counts: work.counts.clone(),
        failures: summarise(&work.failures),
    };
    work.context.insert("restore_id".to_owned(), json!(restore));
    if attempt.parts.store.finish_restore(attempt.lease, restore, end).await? {
        Ok(work)
    } else {
        Err(Break::not_canonical())
    }
}

/// The normalised inputs, as the ledger has them.
fn inputs(attempt: &Attempt) -> Result<RestoreInputs, Break> {
    let inputs = attempt.run.context.get("inputs").cloned().unwrap_or_default();
    match Inputs::normalise(attempt.run.operation, &inputs) {
        Ok(Inputs::Restore(inputs)) => Ok(inputs),
        _ => {
            Err(Break::End(AttemptEnd::unexpected("the run's context does not hold the inputs of a restore")))
        }
    }
}

async fn planned_and_carried_out(
    attempt: &Attempt,
    client: &GraphClient,
    tenant: &Tenant,
    inputs: &RestoreInputs,
) -> Result<Work, Break> {
    let store = &attempt.parts.store;
    let source = source::load(attempt, tenant, inputs).await?;
    // A dry run begins anew: nothing that it planned was sent.
    let earlier = match inputs.dry_run {
        true => Earlier::default(),
        false => Earlier::of(store.journal(attempt.run.id).await?),
    };
    let looked = looking::look(attempt, client, inputs, &source, &earlier).await?;
    if attempt.tries_left() && !looked.transient.is_empty() {
        // A plan of a part could not be held against `restore.policies_max`: nothing is written before all is read.
        return Ok(looked.come_again());
    }
    let expected = expected(attempt, inputs).await?;
    let plan = make_plan(attempt, inputs, &source, &earlier, &looked, expected.as_ref());
    let summary = plan.summary();
    let least = forecast(summary.calls, summary.writes, &attempt.config.graph);
    let mut context = Map::new();
    let mut shown = json!(summary);
    shown["seconds_at_least"] = json!(least.as_secs());
    context.insert("plan".to_owned(), shown);
    if !looked.permissions_missing.is_empty() {
        context.insert("permissions_missing".to_owned(), json!(looked.permissions_missing));
    }
    if !store.plan_items(attempt.lease, plan.items.clone()).await? {
        return Err(Break::not_canonical());
    }
    if inputs.dry_run {
        return Ok(dry_run_end(&plan, looked, context));
    }
    let todo = todo(attempt, &plan, &earlier, looked).await?;
    let left = carrying::carry_out(attempt, client, todo).await?;
    let journal = store.journal(attempt.run.id).await?;
    let mut failures: Vec<Failure> = journal.iter().filter_map(|item| item.failure.clone()).collect();
    failures.extend(plan.not_held.values().cloned());
    failures.extend(left.failures);
    let states = journal.iter().map(|item| item.state);
    Ok(Work {
        counts: plan::counts(states, plan.not_held.len()),
        failures,
        transient: left.transient,
        retry_after: left.retry_after,
        context,
    })
}

/// What earlier attempts of the run left in the journal.
#[derive(Default)]
struct Earlier {
    /// Every policy that is not to be planned again.
    known: BTreeSet<PolicyKey>,
    /// Of those, planned or sent: to be gone on with, by the journal.
    open: Vec<JournalItem>,
    /// Policies that were written, may have been, or are about to be.
    writes: usize,
}

impl Earlier {
    /// A failure that another try may mend is planned again; nothing else that has ended is.
    fn of(journal: Vec<JournalItem>) -> Self {
        let is_again = |item: &JournalItem| {
            item.sent.is_none() && item.failure.as_ref().is_some_and(|failure| may_mend(failure.code))
        };
        let journal: Vec<_> = journal.into_iter().filter(|item| !is_again(item)).collect();
        let is_write = |item: &&JournalItem| item.sent.is_some() || !item.state.is_end();
        Self {
            known: journal.iter().map(|item| item.policy.clone()).collect(),
            writes: journal.iter().filter(is_write).count(),
            open: journal.into_iter().filter(|item| !item.state.is_end()).collect(),
        }
    }
}

/// Codes of failures that were not the policy's.
fn may_mend(code: Code) -> bool {
    use Code::{GraphNetwork, GraphProtocol, GraphThrottled, GraphTimeout, GraphUnavailable};
    matches!(code, GraphThrottled | GraphUnavailable | GraphTimeout | GraphNetwork | GraphProtocol)
}

/// What each policy had in the plan that is carried out: a dry run's, or, for an undo, what the restore left.
async fn expected(
    attempt: &Attempt,
    inputs: &RestoreInputs,
) -> Result<Option<BTreeMap<PolicyKey, AssignmentsHash>>, Break> {
    let store = &attempt.parts.store;
    let Some(run) = inputs.plan_run_id.and_then(|id| i64::try_from(id).ok()).map(RunId) else {
        return Ok(None);
    };
    let planned = store.planned_hashes(run).await?;
    // A dry run verifies nothing, and a restore that wrote has no plan to carry out.
    Ok(Some(if planned.is_empty() { store.verified_hashes(run).await? } else { planned }))
}

fn make_plan(
    attempt: &Attempt,
    inputs: &RestoreInputs,
    source: &Source,
    earlier: &Earlier,
    looked: &Looked,
    expected: Option<&BTreeMap<PolicyKey, AssignmentsHash>>,
) -> Plan {
    let request = PlanRequest {
        inputs,
        policies_max: attempt.config.restore.policies_max.saturating_sub(earlier.writes),
        complete_types: &source.complete_types,
        directory: &looked.directory,
        replaced: source.replaced,
        expected,
    };
    let policies = source.items.iter().filter(|item| !earlier.known.contains(&item.policy));
    let policies = policies.map(|item| PolicyInput { live: looked.live(&item.policy), ..item.clone() });
    let mut plan = plan::plan(&request, policies.collect());
    plan.not_held = plan::not_held(inputs, source.items.iter().map(|item| &item.policy));
    plan
}

/// A plan that was made is a success, whatever it says; one that could not be made of everything is none.
fn dry_run_end(plan: &Plan, looked: Looked, context: Map<String, Value>) -> Work {
    Work { counts: plan.counts(), context, ..looked.come_again() }
}

/// What is to be carried out: what this plan writes, and what an earlier attempt of the run left open.
async fn todo(
    attempt: &Attempt,
    plan: &Plan,
    earlier: &Earlier,
    mut looked: Looked,
) -> Result<Vec<Todo>, Break> {
    let hashes = earlier.open.iter().flat_map(|item| [item.base, item.wanted]).flatten().collect();
    let sets = attempt.parts.store.assignment_sets(hashes).await?;
    let set = |hash: Option<AssignmentsHash>| hash.and_then(|hash| sets.get(&hash).cloned());
    let mut todo = Vec::new();
    for entry in &earlier.open {
        let (Some(base), Some(wanted)) = (set(entry.base), set(entry.wanted)) else {
            return Err(Break::End(AttemptEnd::unexpected("the journal does not hold a set of its own")));
        };
        let facts = looked.take(&entry.policy);
        todo.push(Todo { entry: entry.clone(), base, wanted, facts });
    }
    for item in &plan.items {
        let (Decision::Write { calls }, Some(base), Some(wanted)) =
            (&item.decision, item.base.clone(), item.wanted.clone())
        else {
            continue;
        };
        let entry = JournalItem {
            policy: item.policy.clone(),
            name: item.name.clone(),
            state: ItemState::Planned,
            base: Some(base.hash()),
            wanted: Some(wanted.hash()),
            sent: None,
            verified: None,
            widens: item.widens.clone(),
            failure: None,
            calls: *calls,
            sent_at: None,
        };
        let facts = looked.take(&item.policy);
        todo.push(Todo { entry, base, wanted, facts });
    }
    Ok(todo)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, state: ItemState, sent: bool, code: Option<Code>) -> JournalItem {
        let hash = crate::domain::assignment::AssignmentSet::default().hash();
        JournalItem {
            policy: PolicyKey { policy_type: "compliancePolicy".to_owned(), policy_id: id.to_owned() },
            name: id.to_owned(),
            state,
            base: Some(hash),
            wanted: Some(hash),
            sent: sent.then_some(hash),
            verified: None,
            widens: Vec::new(),
            failure: code.map(|code| Failure::new(code, "")),
            calls: 1,
            sent_at: None,
        }
    }

    #[test]
    fn the_next_attempt_goes_on_with_what_is_open_and_plans_only_what_another_try_may_mend() {
        let earlier = Earlier::of(vec![
            item("as wanted", ItemState::Skipped, false, None),
            item("written", ItemState::Verified, true, None),
            item("in doubt", ItemState::Sent, true, None),
            item("to do", ItemState::Planned, false, None),
            item("drifted", ItemState::Failed, false, Some(Code::AssignmentsDriftedSincePlan)),
            item("refused when written", ItemState::Failed, true, Some(Code::GraphUnavailable)),
            item("not read", ItemState::Failed, false, Some(Code::GraphUnavailable)),
        ]);
        let open: Vec<_> = earlier.open.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(open, ["in doubt", "to do"]);
        let known: Vec<_> = earlier.known.iter().map(|policy| policy.policy_id.as_str()).collect();
        assert_eq!(known.len(), 6, "{known:?}");
        assert!(!known.contains(&"not read"));
        assert_eq!(
            earlier.writes, 4,
            "what was as wanted or stopped takes no place of `restore.policies_max`"
        );
    }
}
