//! The instance's heartbeat: renews its lease, one small write each `execution.heartbeat`, and stops all executions of
//! this process when it could not renew in time (self-fencing, SPEC section 5).
//!
//! It fences a fifth of the lease before the lease ends, counted by a clock that never steps from before the renewal was
//! sent: what executes has stopped when somebody else may begin, whatever the clocks of machine and database do.
//!
//! A task on the multi-thread runtime, not an actor: it must beat while actors are busy. It ends only when the ledger
//! says that this instance was declared dead.
//!
//! A lease that ran out is no death: whoever takes over takes the runs (under larger tokens), never the instance. Else
//! a ledger that was away for longer than a lease would end the daemon by the hand of its own reconcile. A process that
//! slept stops what executes, renews, and goes on; what was taken from it meanwhile is no longer among its own runs, and
//! the same beat stops that too.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock_steps::ClockSteps;
use super::manager::Rounds;
use crate::actors::board::{Board, StopCause};
use crate::actors::handle::Health;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::run::{HandBackReason, Lease, Settlement};
use crate::ids::InstanceId;
use crate::metrics::Metrics;
use crate::store::{ClockStep, Heartbeat, Store};

/// The part of the lease in which nothing executes any more: time to stop, and to be late.
const MARGIN: u32 = 5;
/// Hints do not make it beat more often than this.
const APART: Duration = Duration::from_millis(100);

/// The heartbeat.
pub struct Pulse {
    store: Store,
    instance: InstanceId,
    clock: Clock,
    board: Board,
    health: Health,
    rounds: Rounds,
    metrics: Metrics,
    every: Duration,
    lease: Duration,
    steps: ClockSteps,
    /// Somebody asks for a beat before its time.
    soon: Arc<Notify>,
    /// Leases of this instance that nothing here executes (a claim whose answer was lost), and the first beat that said so.
    unexecuted: HashMap<Lease, Instant>,
}

impl Pulse {
    /// A heartbeat that has not begun.
    pub fn new(
        store: Store,
        instance: InstanceId,
        clock: Clock,
        board: Board,
        health: Health,
        (rounds, metrics): (Rounds, Metrics),
        config: &Config,
    ) -> Self {
        let (every, lease) = (*config.execution.heartbeat, *config.execution.lease);
        let steps = ClockSteps::new(store.clone(), config);
        let soon = Arc::default();
        Self {
            store,
            instance,
            clock,
            board,
            health,
            rounds,
            metrics,
            every,
            lease,
            steps,
            soon,
            unexecuted: HashMap::new(),
        }
    }

    /// The ledger's clock was set back before this instance began.
    pub fn clock_was_set_back(&self, step: ClockStep) {
        self.steps.noticed(step);
    }

    /// The way to ask for a beat before its time: what a hint says, the ledger's answer to a beat confirms.
    pub fn soon(&self) -> Arc<Notify> {
        self.soon.clone()
    }

    /// When a lease that was asked for at `sent` is over for this process.
    fn fence_at(&self, sent: Instant) -> Instant {
        sent + self.lease - self.lease / MARGIN
    }

    /// Beats until the instance is declared dead. `leased_at`: when the lease that it has was asked for.
    pub async fn beat(mut self, leased_at: Instant) {
        self.board.reopen(self.fence_at(leased_at));
        let mut renewed_at = leased_at;
        let mut fenced = false;
        let mut next = Instant::now();
        loop {
            // The lease in the ledger began no earlier than the beat was sent: stopping by then is in time.
            let fence_at = self.fence_at(renewed_at);
            tokio::select! {
                () = tokio::time::sleep_until(fence_at), if !fenced => {
                    fenced = true;
                    self.fence();
                    continue;
                }
                () = tokio::time::sleep_until(next) => {}
                () = self.soon.notified() => tokio::time::sleep(APART).await,
            }
            let sent = Instant::now();
            let executed = self.board.leases();
            if !fenced && sent >= fence_at {
                // The process was stopped for longer than its lease: first stop, then ask.
                fenced = true;
                self.fence();
            }
            let beat = tokio::time::timeout(self.lease, self.store.heartbeat(self.instance, self.lease));
            let beat = self.before(fence_at, fenced, beat).await;
            if !fenced && Instant::now() >= fence_at {
                // Also where the beat was answered, while the process slept past its fence: what executes may have been
                // taken over before the beat was written, and an answer does not tell of what began after it was sent.
                fenced = true;
                self.fence();
            }
            if let Some(Ok(Ok(heartbeat))) = &beat {
                self.steps.observe(sent, heartbeat.database_now);
            }
            match beat {
                // An answer that took longer than the lease renews nothing any more.
                Some(Ok(Ok(heartbeat))) if heartbeat.renewed && sent.elapsed() >= self.lease => {}
                Some(Ok(Ok(heartbeat))) if heartbeat.renewed => {
                    renewed_at = sent;
                    fenced = false;
                    self.board.reopen(self.fence_at(sent));
                    self.renewed(heartbeat, &executed);
                }
                Some(Ok(Ok(_))) => {
                    tracing::error!(instance.id = %self.instance, "this instance was declared dead by another");
                    self.board.stop_all(StopCause::Fenced);
                    return;
                }
                Some(Ok(Err(error))) => {
                    self.health.set_ledger(false);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the heartbeat could not be written; tried again"
                    );
                }
                Some(Err(_)) | None => self.health.set_ledger(false),
            }
            self.rounds.count();
            next = (sent + self.every).max(Instant::now());
        }
    }

    /// Awaits `beat`, but no longer than the fence allows; `None` when the fence came first.
    async fn before<T>(&self, fence_at: Instant, fenced: bool, beat: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = beat => Some(result),
            () = tokio::time::sleep_until(fence_at), if !fenced => None,
        }
    }

    fn fence(&self) {
        let stopped = self.board.stop_all(StopCause::Fenced);
        self.metrics.fences.inc();
        tracing::error!(
            executions = stopped,
            lease_s = self.lease.as_secs(),
            "the lease could not be renewed in time: this instance stops its executions by itself"
        );
    }

    /// `executed`: what was on the board before the beat was sent.
    fn renewed(&mut self, heartbeat: Heartbeat, executed: &[Lease]) {
        self.health.set_ledger(true);
        let owned: HashSet<Lease> = heartbeat.owned.iter().copied().collect();
        for lease in executed.iter().filter(|lease| !owned.contains(lease)) {
            // Settled just now, or taken from this instance while it slept (a suspended machine's clock stands still,
            // so the fence alone does not see that).
            if self.board.stop_lease(*lease, StopCause::Fenced) {
                tracing::debug!(
                    run.id = lease.run_id.0,
                    "an execution is told that its run is no longer its own"
                );
            }
        }
        if self.store.is_shared() {
            // Otherwise the answer tells this very clock's time of a moment ago: following that, it would fall behind
            // a little with every beat.
            self.clock.follow(heartbeat.database_now);
        }
        for run in heartbeat.cancel_requested {
            self.board.stop(run, StopCause::Cancelled);
        }
        let now = Instant::now();
        let since = |lease: &Lease| self.unexecuted.get(lease).copied().unwrap_or(now);
        let unexecuted: HashMap<Lease, Instant> = heartbeat
            .owned
            .into_iter()
            .filter(|lease| !self.board.holds(*lease))
            .map(|lease| (lease, since(&lease)))
            .collect();
        for (lease, since) in &unexecuted {
            // Beats that were asked for may come at any distance: a claim's answer gets a whole period to arrive. From
            // then on the board refuses it, so that no answer that comes later is executed beside the next claim.
            if now - *since >= self.every && self.board.refuse(*lease) {
                // A task of its own: the heartbeat waits for nothing but itself. Settling twice is settling once.
                tokio::spawn(hand_back(self.store.clone(), *lease));
            }
        }
        self.unexecuted = unexecuted;
    }
}

/// A run that this instance claimed, but that nothing here executes for a whole period: the claim's answer was lost.
async fn hand_back(store: Store, lease: Lease) {
    tracing::warn!(run.id = lease.run_id.0, "a claimed run that nobody executes goes back to the queue");
    let settlement = Settlement::HandBack { reason: HandBackReason::Fenced };
    if let Err(error) = store.settle(lease, settlement).await {
        tracing::warn!(
            run.id = lease.run_id.0,
            error = &error as &dyn std::error::Error,
            "the run could not be handed back; tried again at the next heartbeat"
        );
    }
}
