//! The registry's looks at the ledger: whether a refusal may rest on memory, and what becomes of the requests that wait
//! until it may.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::{Doubt, Duplicates, Judged, LOOKED_UP_MAX, RunRegistry, WriteFailed};
use crate::domain::admission::Verdict;
use crate::domain::run::{Lease, Run, Status};
use crate::ids::RunId;
use crate::store::StoreError;

impl RunRegistry {
    /// Whether a refusal rests on too old a memory. `since`: when the request came.
    pub(super) fn is_doubtful(&self, verdict: &Verdict, since: Duration) -> bool {
        let Some(memory_max) = self.limits.memory_max else { return false };
        let run = verdict.run();
        let lease = Lease { run_id: run.id, token: run.lease_token };
        if run.status == Status::Running && self.board.holds(lease) && !self.board.is_closed() {
            // Nobody else may end it while it executes here.
            return false;
        }
        let new_enough = since.min(self.age().saturating_sub(memory_max));
        // What memory began with has no age: it is as old as the start took.
        !self.identities.seen(&run.identity).is_some_and(|seen| !seen.is_zero() && seen >= new_enough)
    }

    /// Decides once more, after a look at the ledger.
    pub(super) fn admit_again(&mut self, doubt: Doubt, ctx: &mut Context<Self>) {
        let Doubt { request, reply, since, .. } = doubt;
        let now = self.clock.now();
        match self.judge(&request, since, now) {
            Judged::Refuse(verdict) => {
                self.refused(&verdict, request, now);
                let _ = reply.send(Ok(verdict));
            }
            judged => self.defer(judged, request, reply, since, ctx),
        }
    }

    /// Starts a look once the mailbox has been drained: one for all that wait.
    pub(super) fn look_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.looking {
            self.looking = true;
            ctx.spawn(fut::ready(()).map(|(), actor: &mut Self, ctx| actor.look(ctx)));
        }
    }

    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        let doubts = std::mem::take(&mut self.doubts);
        self.metrics.registry_looks.inc();
        let runs: BTreeSet<RunId> = doubts.iter().map(|doubt| doubt.run).collect();
        let (store, seen) = (self.store.clone(), self.age());
        let found = async move { store.runs_by_id(runs.into_iter().collect()).await };
        ctx.spawn(found.into_actor(self).map(move |found, actor, ctx| {
            actor.looked(doubts, found, seen, ctx);
            actor.looking = false;
            if actor.doubts.is_empty() {
                actor.finish_drain(ctx);
            } else {
                actor.look_soon(ctx);
            }
        }));
    }

    /// `seen`: when the look began.
    pub(super) fn looked(
        &mut self,
        doubts: Vec<Doubt>,
        found: Result<Vec<Run>, StoreError>,
        seen: Duration,
        ctx: &mut Context<Self>,
    ) {
        let runs = match found {
            Ok(runs) => runs,
            Err(error) => {
                tracing::warn!(
                    requests = doubts.len(),
                    error = &error as &dyn std::error::Error,
                    "the ledger could not be asked whether runs are still active; their callers are told to try again"
                );
                for doubt in doubts {
                    let _ = doubt.reply.send(Err(WriteFailed::Unavailable));
                }
                return;
            }
        };
        let ids: BTreeSet<RunId> = runs.iter().map(|run| run.id).collect();
        for run in runs {
            if run.is_active() {
                self.foreign.insert(run.id, run.identity);
            }
            self.changed(Arc::new(run), seen, ctx);
        }
        for doubt in doubts {
            if !ids.contains(&doubt.run) {
                self.foreign.remove(&doubt.run);
                self.identities.gone(&doubt.request.identity, doubt.run);
            }
            self.admit_again(doubt, ctx);
        }
    }

    /// Looks up what became of the runs that requests were refused for and that are active as far as memory knows.
    pub(super) fn look_up_refused(&self, refused: &Duplicates, ctx: &mut Context<Self>) {
        let is_active = |identity| self.identities.holder(identity).is_some_and(|run| run.is_active());
        let active = refused.iter().filter(|(_, (identity, _))| is_active(identity));
        self.look_up(active.map(|(run, _)| *run).take(LOOKED_UP_MAX).collect(), ctx);
    }

    /// Looks up the passes that others wait for to end: those of another instance end without a word to this one.
    pub(super) fn look_after_passes(&self, ctx: &mut Context<Self>) {
        let passes = self.again.values().filter_map(|again| self.identities.holder(&again.request.identity));
        let ids = passes.map(|run| run.id).take(LOOKED_UP_MAX).collect();
        self.look_up(ids, ctx);
    }

    pub(super) fn look_up(&self, ids: Vec<RunId>, ctx: &mut Context<Self>) {
        if ids.is_empty() {
            return;
        }
        let (store, seen) = (self.store.clone(), self.age());
        let ended = async move { store.ended(ids).await };
        ctx.spawn(ended.into_actor(self).map(move |ended, actor, ctx| match ended {
            Ok(runs) => runs.into_iter().for_each(|run| actor.changed(Arc::new(run), seen, ctx)),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "runs that requests were refused for could not be looked up; they are at the next refusal"
            ),
        }));
    }
}
