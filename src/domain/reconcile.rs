//! What reconcile does about what it sees (SPEC section 8): decisions, no I/O. The whole state is looked at, no
//! hints are taken.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::run::{AttemptOutcome, Outcome, Run, Status};
use crate::clock::Instant;
use crate::ids::{RestoreId, RunId, SnapshotId};

/// A candidate as the ledger shows it in one consistent read.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The run.
    pub run: Run,
    /// The lease of a running run is gone: its instance stopped or did not renew in time.
    pub lease_gone: bool,
    /// Another run of its tenant is running, or one ended within `queued_max`: the tenant's runs go one at a time, so
    /// that a long queue is no sign of neglect, also not in the moment between two of them.
    pub tenant_busy: bool,
    /// Since when a live instance has been there to serve it; `None` when there is none.
    pub served_since: Option<Instant>,
    /// The adapter run of its latest attempt, if one began.
    pub adapter: Option<AdapterRun>,
}

/// Which record of the adapter's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterId {
    /// The snapshot of a fetch.
    Snapshot(SnapshotId),
    /// The restore run of a restore.
    Restore(RestoreId),
}

/// The adapter's own record.
#[derive(Clone, Debug)]
pub struct AdapterRun {
    /// Which.
    pub id: AdapterId,
    /// It belongs to the run's latest claim.
    pub of_latest_claim: bool,
    /// Its end, when it has one.
    pub terminal: Option<AdapterEnd>,
}

/// How an adapter run ended.
#[derive(Clone, Debug)]
pub struct AdapterEnd {
    /// When.
    pub at: Instant,
    /// `Succeeded` or `Failed`.
    pub outcome: Outcome,
}

/// The limits that the decisions need.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `execution.attempts_max`.
    pub attempts_max: u32,
    /// `reconcile.queued_max`.
    pub queued_max: Duration,
    /// `reconcile.adapter_grace`: how long an execution may take to complete its run after its adapter run ended.
    pub adapter_grace: Duration,
}

/// What to do about a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// Complete the run with the outcome, counts and failures of its adapter run. Counts as `updated`.
    CompleteFromAdapter,
    /// Put the run back in the queue. Counts as `created`.
    Requeue,
    /// Complete it as failed: the lease is gone and no try is left (`run.lease_expired`). Counts as `failed`.
    CompleteLeaseExpired,
    /// Complete it as failed: somebody asked for its cancellation (`run.cancelled`). Counts as `failed`.
    CompleteCancelled,
    /// Complete it as failed: nobody picked it up (`run.stale_queued`). Counts as `failed`.
    CompleteStaleQueued,
    /// Close the adapter run of a completed run. Counts as `updated`.
    CloseAdapter,
}

/// A repair as the reconcile run's context lists it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RepairRecord {
    /// The repaired run.
    pub run_id: RunId,
    /// What was (or, in a dry run, would be) done; absent where the candidate was left alone.
    pub repair: Option<Repair>,
    /// Status and outcome before, such as `running/pending`.
    pub before: String,
    /// Status and outcome after.
    pub after: String,
    /// False when a repair failed or lost a race and changed nothing.
    pub applied: bool,
}

/// Decides on one candidate; `None` leaves it alone.
pub fn decide(seen: &Observation, limits: &Limits, now: Instant) -> Option<Repair> {
    match seen.run.status {
        Status::Completed => {
            let open = seen.adapter.as_ref().is_some_and(|adapter| adapter.terminal.is_none());
            open.then_some(Repair::CloseAdapter)
        }
        Status::Running => decide_running(seen, limits, now),
        Status::Queued => decide_queued(seen, limits, now),
    }
}

fn decide_running(seen: &Observation, limits: &Limits, now: Instant) -> Option<Repair> {
    let ended = seen.adapter.as_ref().filter(|adapter| adapter.of_latest_claim);
    let ended = ended.and_then(|adapter| adapter.terminal.as_ref());
    if let Some(end) = ended
        && (seen.lease_gone || now - end.at >= to_delta(limits.adapter_grace))
    {
        return Some(Repair::CompleteFromAdapter);
    }
    if !seen.lease_gone {
        return None;
    }
    if seen.run.cancel_requested_at.is_some() {
        return Some(Repair::CompleteCancelled);
    }
    let tries_left = seen.run.attempt < limits.attempts_max.try_into().unwrap_or(i32::MAX);
    Some(if tries_left { Repair::Requeue } else { Repair::CompleteLeaseExpired })
}

fn decide_queued(seen: &Observation, limits: &Limits, now: Instant) -> Option<Repair> {
    let served_since = seen.served_since?;
    if seen.tenant_busy {
        return None;
    }
    let due_since = seen.run.next_attempt_at.unwrap_or(seen.run.created_at).max(seen.run.updated_at);
    let waited = now - due_since.max(served_since);
    (waited >= to_delta(limits.queued_max)).then_some(Repair::CompleteStaleQueued)
}

fn to_delta(duration: Duration) -> chrono::Duration {
    chrono::Duration::from_std(duration).unwrap_or(chrono::Duration::MAX)
}

/// How a repair ends the attempt that was running; `None` where none was.
pub fn attempt_outcome(repair: Repair, adapter: Option<&AdapterEnd>) -> Option<AttemptOutcome> {
    match (repair, adapter.map(|end| end.outcome)) {
        (Repair::CompleteFromAdapter, Some(Outcome::Succeeded)) => Some(AttemptOutcome::Succeeded),
        (Repair::CompleteFromAdapter, _) => Some(AttemptOutcome::Failed),
        (Repair::Requeue | Repair::CompleteLeaseExpired | Repair::CompleteCancelled, _) => {
            Some(AttemptOutcome::LeaseExpired)
        }
        (Repair::CompleteStaleQueued | Repair::CloseAdapter, _) => None,
    }
}

#[cfg(test)]
mod tests;
