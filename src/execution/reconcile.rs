//! The adapter of `ops.reconcile_adapter_runs`: looks at the whole state of a workspace, decides
//! ([`crate::domain::reconcile`]), repairs one by one (SPEC section 8).
//!
//! A pass takes no hints and reads everything anew. A repair that fails is counted and does not stop the pass.

use super::conclude::{AttemptEnd, Work};
use super::{Attempt, breaks};
use crate::actors::board::StopCause;
use crate::domain::counts::{CountKey, Counts};
use crate::domain::failure::{Code, Failure};
use crate::domain::reconcile::{Observation, Repair, RepairRecord, decide};
use crate::domain::run::Run;
use crate::events::event::Repaired;
use crate::metrics::Reason;
use crate::store::{CandidateFilter, StoreError};

/// What a pass has done so far.
#[derive(Default)]
struct Tally {
    total: u64,
    updated: u64,
    created: u64,
    failed: u64,
    skipped: u64,
    errors: u64,
    records: Vec<RepairRecord>,
}

/// Executes one pass.
pub async fn run(attempt: &Attempt) -> AttemptEnd {
    match pass(attempt).await {
        Ok(tally) => AttemptEnd::Done(work(attempt, tally)),
        Err(error) => breaks::end_of(attempt, "reconcile pass", Err(error.into())).await,
    }
}

async fn pass(attempt: &Attempt) -> Result<Tally, StoreError> {
    let config = &attempt.config;
    let limits = config.reconcile_limits();
    let filter = CandidateFilter::from(&limits);
    let workspace = attempt.run.workspace_id;
    let store = &attempt.parts.store;
    let seen = store.observe(workspace, filter, attempt.run.id, config.reconcile.candidates_max).await?;
    let now = attempt.parts.clock.now();
    let mut tally = Tally { total: seen.len() as u64, ..Tally::default() };
    for observation in seen {
        if attempt.stop.cause().is_some() {
            break;
        }
        let repair = decide(&observation, &limits, now);
        let after = match repair {
            Some(repair) if !is_dry_run(&attempt.run) => {
                apply(attempt, &observation, repair, &mut tally).await
            }
            Some(repair) => {
                tally.count(repair);
                None
            }
            None => {
                tally.skipped += 1;
                None
            }
        };
        if tally.records.len() < config.reconcile.listed_max {
            tally.records.push(record(&observation, repair, after.as_ref()));
        }
    }
    Ok(tally)
}

/// Carries one repair out; `None` when it changed nothing.
async fn apply(attempt: &Attempt, seen: &Observation, repair: Repair, tally: &mut Tally) -> Option<Run> {
    let cooldown = super::cooldown_of(&attempt.config, &seen.run);
    match attempt.parts.store.repair(seen, repair, cooldown).await {
        Ok(Some(run)) => {
            tally.count(repair);
            let metrics = &attempt.parts.metrics;
            metrics.reconcile_repairs.get_or_create(&Reason { reason: repair.as_str() }).inc();
            tracing::info!(
                run.id = run.id.0,
                repair = repair.as_str(),
                before = %state_words(&seen.run),
                after = %state_words(&run),
                "reconcile repaired a run"
            );
            let repaired = Repaired {
                repair: repair.as_str(),
                before: state_words(&seen.run),
                after: state_words(&run),
                reconcile_run_id: Some(attempt.run.id),
            };
            attempt.parts.events.repaired(&run, repaired);
            attempt.announce(run.clone()).await;
            Some(run)
        }
        Ok(None) => {
            // Somebody else was faster: the run is no longer as it was seen.
            tally.skipped += 1;
            None
        }
        Err(error) => {
            tracing::warn!(
                run.id = seen.run.id.0,
                repair = repair.as_str(),
                error = &error as &dyn std::error::Error,
                "a repair failed; the pass goes on"
            );
            tally.errors += 1;
            None
        }
    }
}

fn record(seen: &Observation, repair: Option<Repair>, after: Option<&Run>) -> RepairRecord {
    let before = state_words(&seen.run);
    let planned = repair.map_or_else(|| before.clone(), |repair| repair.leads_to(&seen.run));
    RepairRecord {
        run_id: seen.run.id,
        repair,
        after: after.map_or(planned, state_words),
        before,
        applied: after.is_some(),
    }
}

fn work(attempt: &Attempt, tally: Tally) -> Work {
    let counts = Counts::default()
        .with(CountKey::Total, tally.total)
        .with(CountKey::Updated, tally.updated)
        .with(CountKey::Created, tally.created)
        .with(CountKey::Failed, tally.failed)
        .with(CountKey::Skipped, tally.skipped + tally.errors);
    let mut context = serde_json::Map::new();
    let repairs = serde_json::to_value(&tally.records).expect("a record holds numbers and words only");
    context.insert("repairs".to_owned(), repairs);
    context.insert("repairs_failed".to_owned(), tally.errors.into());
    if is_dry_run(&attempt.run) {
        context.insert("dry_run".to_owned(), true.into());
    }
    let mut failures = Vec::new();
    if attempt.stop.cause().is_some() {
        // What it has repaired until then is listed all the same.
        context.insert("stopped".to_owned(), true.into());
    }
    if attempt.stop.cause() == Some(StopCause::Cancelled) {
        failures.push(Failure::new(Code::RunCancelled, "cancelled on request"));
    }
    Work { counts, context, failures, ..Work::default() }
}

/// Status and outcome, such as `running/pending`.
pub fn state_words(run: &Run) -> String {
    format!("{}/{}", run.status, run.outcome)
}

fn is_dry_run(run: &Run) -> bool {
    run.context.get("dry_run").is_some_and(|value| value == true)
}

impl Tally {
    fn count(&mut self, repair: Repair) {
        match repair {
            Repair::CompleteFromAdapter | Repair::CloseAdapter => self.updated += 1,
            Repair::Requeue => self.created += 1,
            Repair::CompleteLeaseExpired | Repair::CompleteCancelled | Repair::CompleteStaleQueued => {
                self.failed += 1;
            }
        }
    }
}

impl Repair {
    /// The word in metrics, logs and contexts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CompleteFromAdapter => "complete_from_adapter",
            Self::Requeue => "requeue",
            Self::CompleteLeaseExpired => "complete_lease_expired",
            Self::CompleteCancelled => "complete_cancelled",
            Self::CompleteStaleQueued => "complete_stale_queued",
            Self::CloseAdapter => "close_adapter",
        }
    }

    /// Status and outcome that the repair gives the run.
    fn leads_to(self, run: &Run) -> String {
        match self {
            Self::Requeue => "queued/pending".to_owned(),
            Self::CompleteFromAdapter => "completed/as its adapter run".to_owned(),
            Self::CompleteLeaseExpired | Self::CompleteCancelled | Self::CompleteStaleQueued => {
                "completed/failed".to_owned()
            }
            Self::CloseAdapter => state_words(run),
        }
    }
}
