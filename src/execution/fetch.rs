//! The adapter of `assignments.fetch`: reads a tenant's assignments through [`crate::graph`] and stores them as a
//! snapshot, type by type (SPEC section 9).
//!
//! Every write carries the run's lease. Nothing is called before the ledger has confirmed that the run is the canonical
//! one and its own. A snapshot is ended only by the attempt that ends the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::FutureExt;

use super::Attempt;
use super::breaks::{self, Break, client, end_of};
use super::conclude::{AttemptEnd, Work};
use super::names::Mentioned;
use crate::actors::Progress;
use crate::domain::assignment::{AssignmentsHash, PolicyKey, policy_changes};
use crate::domain::counts::{CountKey, Counts};
use crate::domain::failure::Failure;
use crate::domain::identity::{FetchInputs, Inputs};
use crate::domain::run::Outcome;
use crate::graph::GraphClient;
use crate::graph::fetch::{FetchEnd, FetchProgress, TypeReading, fetch};
use crate::ids::{SnapshotId, TenantId};
use crate::store::{Coverage, SnapshotEnd, StoredType};

/// Readings of types that may wait to be stored. LIMIT: memory.
const READINGS_WAITING_MAX: usize = 4;

/// What has been read, without the assignments themselves: those are in the ledger already.
#[derive(Default)]
struct Gathered {
    coverage: BTreeMap<String, Coverage>,
    listed: BTreeSet<PolicyKey>,
    read: BTreeMap<PolicyKey, AssignmentsHash>,
    listed_completely: BTreeSet<String>,
    items: u64,
    failures: Vec<Failure>,
    transient: bool,
    retry_after: Option<Duration>,
    /// Groups and filters, to learn what they are called.
    mentioned: Mentioned,
}

/// Executes one attempt.
pub async fn run(attempt: &Attempt) -> AttemptEnd {
    end_of(attempt, "fetch", fetch_into_snapshot(attempt).await).await
}

async fn fetch_into_snapshot(attempt: &Attempt) -> Result<Work, Break> {
    let store = &attempt.parts.store;
    let (tenant, inputs) = scope(attempt)?;
    let client = client(attempt, &breaks::tenant(attempt).await?)?;
    // Also the last look before the first call to the outside (SPEC section 5): only the canonical run begins a snapshot.
    let snapshot = store.begin_snapshot(attempt.lease).await?.ok_or_else(Break::not_canonical)?;
    let gathered = read(attempt, &client, &inputs, snapshot).await?;
    let known_types = inputs.policy_types.as_ref().map(|types| types.iter().cloned().collect());
    let mut known = store.known_policies(tenant, known_types).await?;
    if let Some(ids) = &inputs.policy_ids {
        known.retain(|key, _| ids.contains(&key.policy_id));
    }
    let changes = policy_changes(&known, &gathered.listed, &gathered.read, &gathered.listed_completely);
    let failed = gathered.listed.len() as u64 - gathered.read.len() as u64;
    let counts = Counts::default()
        .with(CountKey::Total, gathered.listed.len() as u64)
        .with(CountKey::Items, gathered.items)
        .with(CountKey::Succeeded, gathered.read.len() as u64)
        .with(CountKey::Failed, failed)
        .with(CountKey::Created, changes.created.len() as u64)
        .with(CountKey::Updated, changes.updated.len() as u64)
        .with(CountKey::Deleted, changes.deleted.len() as u64)
        .balanced();
    let work = Work {
        counts: counts.clone(),
        failures: gathered.failures,
        transient: gathered.transient,
        retry_after: gathered.retry_after,
        context: serde_json::Map::from_iter([("snapshot_id".to_owned(), snapshot.0.into())]),
    };
    if work.transient && attempt.tries_left() {
        return Ok(Work { context: serde_json::Map::new(), ..work });
    }
    let end = SnapshotEnd {
        outcome: if work.failures.is_empty() { Outcome::Succeeded } else { Outcome::Failed },
        counts,
        failures: crate::domain::failure::summarise(&work.failures),
        coverage: gathered.coverage,
    };
    if !store.finish_snapshot(attempt.lease, snapshot, end, changes).await? {
        return Err(Break::not_canonical());
    }
    gathered.mentioned.learn_names(attempt, &client, tenant).await;
    Ok(work)
}

/// The tenant and the normalised inputs, as the ledger has them.
fn scope(attempt: &Attempt) -> Result<(TenantId, FetchInputs), Break> {
    let inputs = attempt.run.context.get("inputs").cloned().unwrap_or_default();
    match (attempt.run.tenant_id, Inputs::normalise(attempt.run.operation, &inputs)) {
        (Some(tenant), Ok(Inputs::Fetch(inputs))) => Ok((tenant, inputs)),
        _ => Err(Break::End(AttemptEnd::unexpected("the run's context does not hold the inputs of a fetch"))),
    }
}

/// Reads and stores, type by type, until the fetch ends or is stopped.
async fn read(
    attempt: &Attempt,
    client: &GraphClient,
    inputs: &FetchInputs,
    snapshot: SnapshotId,
) -> Result<Gathered, Break> {
    let (sink, mut readings) = tokio::sync::mpsc::channel(READINGS_WAITING_MAX);
    let board = attempt.parts.board.clone();
    let run_id = attempt.run.id;
    let progress = move |progress: FetchProgress| {
        board.report(
            run_id,
            Progress {
                types_done: progress.types_done,
                types_total: progress.types_total,
                listed: progress.listed,
                read: progress.read,
                calls: progress.calls,
                throttled_until: progress.throttled_until,
                restore: None,
            },
        );
    };
    // Boxed: the compiler cannot prove that the nested futures are `Send` for every lifetime at once.
    let mut reading = fetch(client, inputs, attempt.stop.token(), &progress, sink).boxed();
    let mut storing = async move {
        let (mut gathered, mut came, mut unstored) = (Gathered::default(), Vec::new(), Vec::new());
        while readings.recv_many(&mut came, READINGS_WAITING_MAX).await > 0 {
            unstored.extend(came.drain(..).map(|reading| gathered.take(reading)));
            // A type without policies goes along with the next that has some; the end of the snapshot covers all.
            if unstored.iter().all(|reading| reading.policies.is_empty()) {
                continue;
            }
            let stored = std::mem::take(&mut unstored);
            if !attempt.parts.store.write_types(attempt.lease, snapshot, stored).await? {
                return Err(Break::not_canonical());
            }
        }
        Ok(gathered)
    }
    .boxed();
    // A ledger that fails, or a lease that is lost, ends the calls to the outside at once.
    let end = tokio::select! {
        end = &mut reading => end,
        stored = &mut storing => match stored {
            Err(stop) => return Err(stop),
            // The fetch drops its sink just before it ends.
            Ok(gathered) => return gathered.finish(reading.await),
        },
    };
    let gathered = storing.await?;
    gathered.finish(end)
}

impl Gathered {
    /// Notes a reading, and gives what is to be stored of it.
    fn take(&mut self, reading: TypeReading) -> StoredType {
        let policy_type = reading.policy_type.key.to_owned();
        let key =
            |policy_id: &str| PolicyKey { policy_type: policy_type.clone(), policy_id: policy_id.to_owned() };
        self.listed.extend(reading.listed.iter().map(|id| key(id)));
        for policy in &reading.policies {
            self.items += policy.assignments.len() as u64;
            self.mentioned.add(&policy.assignments);
            self.read.insert(key(&policy.policy_id), policy.hash);
        }
        if reading.coverage.complete {
            self.listed_completely.insert(policy_type.clone());
        }
        for item in reading.failures {
            self.fail(item.failure, item.transient, item.retry_after);
        }
        self.coverage.insert(policy_type.clone(), reading.coverage.clone());
        StoredType { policy_type, coverage: reading.coverage, policies: reading.policies }
    }

    fn fail(&mut self, failure: Failure, transient: bool, retry_after: Option<Duration>) {
        self.failures.push(failure);
        self.transient |= transient;
        self.retry_after = self.retry_after.max(retry_after);
    }

    /// Adds what concerns the fetch as a whole.
    fn finish(mut self, end: FetchEnd) -> Result<Self, Break> {
        if end.stopped.is_some() {
            return Err(Break::stopped());
        }
        for item in end.failures {
            self.fail(item.failure, item.transient, item.retry_after);
        }
        Ok(self)
    }
}
