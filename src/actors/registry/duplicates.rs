//! The registry's counts of refused requests, on their way into the ledger.

use actix::prelude::*;

use super::{Duplicates, RunRegistry};
use crate::store::DuplicateCount;

impl RunRegistry {
    pub(super) fn flush_duplicates_and_rearm(&mut self, ctx: &mut Context<Self>) {
        self.flush_duplicates(ctx);
        ctx.run_later(self.limits.duplicates_flush, Self::flush_duplicates_and_rearm);
    }

    /// Writes the counts of refused requests; those that cannot be written are kept for the next time.
    pub(super) fn flush_duplicates(&mut self, ctx: &mut Context<Self>) {
        if self.duplicates.is_empty() {
            return;
        }
        let flushed = std::mem::take(&mut self.duplicates);
        let counts = flushed.values().map(|(_, count)| *count).collect();
        let store = self.store.clone();
        let written = async move { store.count_duplicates(counts).await };
        self.look_up_refused(&flushed, ctx);
        ctx.spawn(written.into_actor(self).map(move |result, actor, _| match result {
            Ok(()) => actor.duplicates_counted(flushed),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "counts of refused requests could not be written; they are kept for the next time"
                );
                actor.keep_duplicates(flushed);
            }
        }));
    }

    pub(super) fn duplicates_counted(&mut self, flushed: Duplicates) {
        for (identity, count) in flushed.into_values() {
            self.identities.touch(&identity, |run| {
                if run.id == count.run_id {
                    run.duplicate_count += count.count;
                    run.last_duplicate_at = Some(count.last_at);
                }
            });
        }
    }

    pub(super) fn keep_duplicates(&mut self, unwritten: Duplicates) {
        for (run_id, (identity, count)) in unwritten {
            let fresh = (identity, DuplicateCount { count: 0, ..count });
            let (_, kept) = self.duplicates.entry(run_id).or_insert(fresh);
            kept.count += count.count;
            kept.last_at = kept.last_at.max(count.last_at);
        }
    }
}
