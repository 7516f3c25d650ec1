//! The task that prunes the ledger, each `retention.every`. What may go is decided in [`crate::domain::retention`] and
//! by the store; this only takes step after step. A task on the multi-thread runtime, one per instance: two that prune
//! at the same time find less each.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::config::Config;
use crate::domain::retention::Rules;
use crate::store::{PruneRequest, PruneStep, Pruned, Store, StoreError};

/// The rest between two steps, so that pruning never fills the queue of writes.
const REST: Duration = Duration::from_millis(5);

/// The task.
pub struct Retention {
    store: Store,
    every: Duration,
    batch_max: usize,
    rules: Rules,
    /// How long the lines of the audit are kept.
    audit: Duration,
}

impl Retention {
    /// A task that has not begun.
    pub fn new(store: Store, config: &Config) -> Self {
        Self {
            store,
            every: *config.retention.every,
            batch_max: config.retention.batch_max,
            rules: config.retention_rules(),
            audit: *config.retention.audit,
        }
    }

    /// Prunes for as long as the process lives, the first time one period after the start.
    pub async fn keep(self) {
        let mut period = tokio::time::interval_at(Instant::now() + self.every, self.every);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            period.tick().await;
            match self.pass().await {
                Ok(done) => done.report(),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the ledger could not be pruned to the end; the next pass goes on"
                ),
            }
        }
    }

    /// One pass over everything.
    async fn pass(&self) -> Result<Done, StoreError> {
        let began = Instant::now();
        let mut done = Done::default();
        let mut step = Some(PruneStep::default());
        while let Some(next) = step {
            let request = PruneRequest { rules: self.rules, batch_max: self.batch_max, step: next };
            let pruned = self.store.prune(request).await?;
            done.add(pruned);
            step = pruned.next;
            tokio::time::sleep(REST).await;
        }
        loop {
            let lines = self.store.prune_audit(self.audit, self.batch_max).await?;
            done.lines += lines;
            if lines < self.batch_max {
                break;
            }
            tokio::time::sleep(REST).await;
        }
        done.took = began.elapsed();
        Ok(done)
    }
}

/// What a pass did.
#[derive(Default)]
struct Done {
    runs: usize,
    attempts: usize,
    snapshots: usize,
    sets: usize,
    lines: usize,
    took: Duration,
}

impl Done {
    fn add(&mut self, pruned: Pruned) {
        self.runs += pruned.runs;
        self.attempts += pruned.attempts;
        self.snapshots += pruned.snapshots;
        self.sets += pruned.sets;
    }

    fn report(&self) {
        if self.runs + self.attempts + self.snapshots + self.sets + self.lines == 0 {
            return;
        }
        tracing::info!(
            runs = self.runs,
            attempts = self.attempts,
            snapshots = self.snapshots,
            sets = self.sets,
            audit_lines = self.lines,
            duration_ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "old rows of the ledger were removed"
        );
    }
}
