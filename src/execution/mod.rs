//! Executing a claimed run: its adapter does the work, [`mod@conclude`] decides how the attempt ends, [`Executor`] stops it
//! in time and settles it (SPEC section 5).
//!
//! Every execution is a task of its own on the multi-thread runtime and settles its run itself, whatever becomes of
//! the actor that started it.

pub mod breaks;
pub mod conclude;
pub mod fetch;
pub mod names;
pub mod reconcile;
pub mod restore;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use actix::Recipient;
use tokio::task::JoinHandle;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::actors::board::{Board, StopCause, StopSignal};
use crate::actors::registry::RunChanged;
use crate::clock::{Clock, Instant};
use crate::config::Config;
use crate::domain::operation::Operation;
use crate::domain::run::{HandBackReason, Lease, Run, Settlement};
use crate::events::Events;
use crate::graph::GraphService;
use crate::ids::random_fraction;
use crate::metrics::{Ended, Metrics, Reason, Typed};
use crate::store::{Settled, Store, StoreError};
use crate::telemetry::SPANS;
use conclude::{AttemptEnd, Terms, conclude};

/// How long an execution that was told to stop gets to reach a safe point before it is dropped.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// The same for one that was fenced: when the lease ends, somebody else may begin.
const FENCE_GRACE: Duration = Duration::from_millis(100);
/// The first wait before a settlement that the ledger did not take is tried again.
const SETTLE_RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest such wait.
const SETTLE_RETRY_MAX: Duration = Duration::from_secs(2);

/// What executions need of the daemon.
pub struct ExecutorParts {
    /// The ledger.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Metrics.
    pub metrics: Metrics,
    /// Who hears of it.
    pub events: Events,
    /// Limits, cooldowns, and Microsoft Graph, as configured now.
    pub live: LiveConfig,
    /// What executes here.
    pub board: Board,
}

/// What a reload of the configuration replaces. Executions under way go on with what they began with.
pub struct LiveConfig(RwLock<(Arc<Config>, GraphService)>);

impl LiveConfig {
    /// As configured at the start.
    pub fn new(config: Arc<Config>, graph: GraphService) -> Self {
        Self(RwLock::new((config, graph)))
    }

    /// As configured now.
    pub fn get(&self) -> (Arc<Config>, GraphService) {
        self.0.read().expect("no code panics while it holds this lock").clone()
    }

    /// From now on.
    pub fn set(&self, config: Arc<Config>, graph: GraphService) {
        *self.0.write().expect("no code panics while it holds this lock") = (config, graph);
    }
}

/// Executes claimed runs. Clones share their parts.
#[derive(Clone)]
pub struct Executor {
    parts: Arc<ExecutorParts>,
    changed: Recipient<RunChanged>,
}

/// What an adapter works with: one attempt of one run.
#[derive(Clone)]
pub struct Attempt {
    /// The run, as claimed.
    pub run: Run,
    /// Its lease.
    pub lease: Lease,
    /// Stops the work.
    pub stop: StopSignal,
    /// The daemon.
    pub parts: Arc<ExecutorParts>,
    /// The configuration at the beginning of the attempt.
    pub config: Arc<Config>,
    /// Microsoft Graph, by that configuration.
    pub graph: GraphService,
    changed: Recipient<RunChanged>,
}

impl Attempt {
    /// Tells the registry about another run that this attempt has changed.
    pub async fn announce(&self, run: Run) {
        announce(&self.changed, run, None).await;
    }

    /// Waits before the run goes back to a queue where nothing would make it wait (`execution.backoff_base`): what is
    /// unavailable to the attempt may be there for its next claim, which would then go round as fast as that is written.
    /// Ends at once when the attempt is told to stop.
    pub async fn sit_out(&self) {
        let _ =
            tokio::time::timeout(*self.config.execution.backoff_base, self.stop.token().cancelled()).await;
    }

    /// Whether a transient failure of this attempt would be tried again.
    pub fn tries_left(&self) -> bool {
        let tried = u32::try_from(self.run.attempt).unwrap_or(u32::MAX);
        tried < self.config.execution.attempts_max
    }
}

impl Executor {
    /// An executor that tells `changed` about every run that it settles.
    pub fn new(parts: Arc<ExecutorParts>, changed: Recipient<RunChanged>) -> Self {
        Self { parts, changed }
    }

    /// Now.
    pub fn now(&self) -> Instant {
        self.parts.clock.now()
    }

    /// What executes here.
    pub fn board(&self) -> &Board {
        &self.parts.board
    }

    /// Executes a run that has just been claimed, and settles it; whether that completed the run. Otherwise it waits for
    /// another attempt, somebody else has taken it over, or its end could not be written.
    pub async fn execute(&self, run: Run, stop: StopSignal) -> bool {
        let span = tracing::info_span!(
            target: SPANS,
            parent: None,
            "execution",
            otel.name = %format_args!("execute {}", run.operation.as_str()),
            otel.status_code = Empty,
            run.id = run.id.0,
            run.r#type = run.operation.as_str(),
            tenant.id = run.tenant_id.map(|tenant| tenant.0),
            workspace.id = run.workspace_id.0,
            attempt = run.attempt,
            attempt.outcome = Empty,
            failure.code = Empty,
        );
        self.execute_in_span(run, stop).instrument(span).await
    }

    async fn execute_in_span(&self, run: Run, stop: StopSignal) -> bool {
        let lease = Lease { run_id: run.id, token: run.lease_token };
        let _on_board = self.parts.board.enter(lease, stop.clone());
        let began = tokio::time::Instant::now();
        self.parts.metrics.executions_active.inc();
        tracing::info!(
            run.id = run.id.0,
            run.r#type = run.operation.as_str(),
            tenant.id = run.tenant_id.map(|tenant| tenant.0),
            attempt = run.attempt,
            "an execution begins"
        );
        if run.attempt == 1 {
            let waited = (self.now() - run.created_at).to_std().unwrap_or_default();
            let typed = Typed { r#type: run.operation.as_str() };
            self.parts.metrics.run_wait.get_or_create(&typed).observe(waited.as_secs_f64());
        }
        self.announce(run.clone(), began).await;
        let (config, graph) = self.parts.live.get();
        let attempt = Attempt {
            run: run.clone(),
            lease,
            stop: stop.clone(),
            parts: self.parts.clone(),
            config: config.clone(),
            graph,
            changed: self.changed.clone(),
        };
        let end = attempt_until_stopped(attempt, &stop, *config.execution.timeout).await;
        if matches!(end, AttemptEnd::NotCanonical) {
            self.parts.metrics.executions_skipped.get_or_create(&Reason { reason: "non_canonical" }).inc();
            tracing::warn!(run.id = run.id.0, "an execution was skipped: its run is no longer its own");
        }
        let terms = Terms {
            attempt: run.attempt,
            retry: config.retry_policy(),
            cooldown: cooldown_of(&config, &run),
            now: self.now(),
            jitter: random_fraction(),
        };
        let settlement = conclude(end, &terms);
        let refused =
            conclude(AttemptEnd::unexpected("the ledger refused the result of the attempt"), &terms);
        let over = self.settle(lease, settlement, refused, began.elapsed()).await;
        self.parts.metrics.executions_active.dec();
        over
    }

    /// Writes how the attempt ended, until the ledger takes it: the one wait without an end, because giving up would
    /// leave the run to its lease. What the ledger refuses is settled as `refused`: handed back instead, the run would
    /// be executed again and again, to the same end.
    async fn settle(
        &self,
        lease: Lease,
        mut settlement: Settlement,
        refused: Settlement,
        took: Duration,
    ) -> bool {
        let mut wait = SETTLE_RETRY_FIRST;
        loop {
            let as_of = tokio::time::Instant::now();
            match self.parts.store.settle(lease, settlement.clone()).await {
                Ok(settled) => return self.settled(lease, &settlement, settled, (took, as_of)).await,
                Err(error @ StoreError::Unavailable { .. }) => {
                    tracing::warn!(
                        run.id = lease.run_id.0,
                        error = &error as &dyn std::error::Error,
                        "the end of an attempt could not be written; tried again"
                    );
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(SETTLE_RETRY_MAX);
                }
                Err(error) => {
                    tracing::error!(
                        run.id = lease.run_id.0,
                        error = &error as &dyn std::error::Error,
                        "the end of an attempt was refused by the ledger"
                    );
                    if settlement == refused {
                        // The heartbeat hands the run back.
                        return false;
                    }
                    settlement = refused.clone();
                }
            }
        }
    }

    /// How long it took, and when the ledger was asked to settle it.
    async fn settled(
        &self,
        lease: Lease,
        settlement: &Settlement,
        settled: Settled,
        (took, as_of): (Duration, tokio::time::Instant),
    ) -> bool {
        let metrics = &self.parts.metrics;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let run = match settled {
            Settled::Done(run) => *run,
            Settled::Stale => {
                metrics.stale_results.inc();
                metrics.attempts.get_or_create(&Reason { reason: "stale" }).inc();
                tracing::warn!(
                    run.id = lease.run_id.0,
                    lease.token = lease.token.0,
                    duration_ms,
                    "an attempt ended after another had taken over; its result is kept as a stale attempt only"
                );
                return false;
            }
        };
        let reason = match settlement {
            Settlement::Complete(_) => run.outcome.as_str(),
            Settlement::Retry { .. } => "retried",
            Settlement::HandBack { .. } => "handed_back",
        };
        metrics.attempts.get_or_create(&Reason { reason }).inc();
        let typed = Typed { r#type: run.operation.as_str() };
        metrics.attempt_duration.get_or_create(&typed).observe(took.as_secs_f64());
        let failure = run.failure_summary.first();
        let span = tracing::Span::current();
        span.record("attempt.outcome", reason);
        if let Some(failure) = failure {
            span.record("failure.code", failure.code.as_str());
            span.record("otel.status_code", "error");
        }
        if let Settlement::Complete(_) = settlement {
            let ended = Ended { r#type: run.operation.as_str(), outcome: run.outcome.as_str() };
            metrics.runs_completed.get_or_create(&ended).inc();
            let whole = (self.now() - run.created_at).to_std().unwrap_or_default();
            metrics.run_duration.get_or_create(&ended).observe(whole.as_secs_f64());
        }
        tracing::info!(
            run.id = run.id.0,
            run.r#type = run.operation.as_str(),
            tenant.id = run.tenant_id.map(|tenant| tenant.0),
            attempt.outcome = reason,
            failure.code = failure.map(|failure| failure.code.as_str()),
            duration_ms,
            "an execution has ended"
        );
        let over = !run.is_active();
        self.announce(run, as_of).await;
        over
    }

    async fn announce(&self, run: Run, as_of: tokio::time::Instant) {
        announce(&self.changed, run, Some(as_of)).await;
    }
}

/// Lets the adapter work until it ends, is told to stop, or meets the hard deadline.
async fn attempt_until_stopped(attempt: Attempt, stop: &StopSignal, timeout: Duration) -> AttemptEnd {
    if let Some(cause) = stop.cause() {
        return ended_by(cause);
    }
    // A task of its own, so that a panic in an adapter is a coded failure and not the end of the execution.
    let work = async move {
        match attempt.run.operation {
            Operation::Fetch => fetch::run(&attempt).await,
            Operation::Reconcile => reconcile::run(&attempt).await,
            Operation::Restore => restore::run(&attempt).await,
        }
    };
    let mut work = tokio::spawn(work.in_current_span());
    tokio::select! {
        biased;
        ended = &mut work => joined(ended),
        () = stop.token().cancelled() => {
            let grace = if stop.cause() == Some(StopCause::Fenced) { FENCE_GRACE } else { STOP_GRACE };
            stopped(work, stop, grace).await
        }
        () = tokio::time::sleep(timeout) => {
            stop.stop(StopCause::Fenced);
            match stopped(work, stop, STOP_GRACE).await {
                // It was done at the last moment: its adapter run has ended, and its run has to say the same.
                end @ AttemptEnd::Done(_) => end,
                _ => AttemptEnd::TimedOut,
            }
        }
    }
}

async fn announce(changed: &Recipient<RunChanged>, run: Run, as_of: Option<tokio::time::Instant>) {
    // A closed registry needs no news: the process ends.
    let _ = changed.send(RunChanged { run: Arc::new(run), as_of }).await;
}

/// A dry run leaves no cooldown (SPEC section 4).
fn cooldown_of(config: &Config, run: &Run) -> Duration {
    let dry_run = run.context.get("dry_run").is_some_and(|value| value == true)
        || run
            .context
            .get("inputs")
            .and_then(|inputs| inputs.get("dry_run"))
            .is_some_and(|value| value == true);
    if dry_run { Duration::ZERO } else { config.cooldown(run.operation) }
}

fn joined(ended: Result<AttemptEnd, tokio::task::JoinError>) -> AttemptEnd {
    ended.unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an adapter panicked");
        AttemptEnd::unexpected("the adapter panicked")
    })
}

/// Waits for a safe point, at most `grace`, then drops the work: its store operations are tasks of their own
/// and end by themselves.
async fn stopped(mut work: JoinHandle<AttemptEnd>, stop: &StopSignal, grace: Duration) -> AttemptEnd {
    stop.token().cancel();
    let ended = tokio::time::timeout(grace, &mut work).await;
    if ended.is_err() {
        work.abort();
    }
    match (ended, stop.cause()) {
        // It was done already, or found out that it must not go on.
        (Ok(Ok(end @ (AttemptEnd::Done(_) | AttemptEnd::NotCanonical))), _) => end,
        (_, cause) => ended_by(cause.unwrap_or(StopCause::Fenced)),
    }
}

fn ended_by(cause: StopCause) -> AttemptEnd {
    match cause {
        StopCause::Cancelled => AttemptEnd::Cancelled,
        StopCause::Draining => AttemptEnd::HandBack(HandBackReason::Draining),
        StopCause::Fenced => AttemptEnd::HandBack(HandBackReason::Fenced),
    }
}
