//! What the rest of the program may ask of the actors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::Addr;
use serde::Serialize;
use tracing::Instrument as _;
use tracing::field::Empty;
use utoipa::ToSchema;

use super::board::{Board, StopCause};
use super::gate::Gate;
use super::registry::{Admit, Ask, RunChanged, RunRegistry, RunsEndedElsewhere, Slot, WriteFailed};
use super::supervisor::{PanicChild, Supervisor, Tree};
use crate::clock::Instant;
use crate::domain::admission::{Request, Verdict};
use crate::domain::identity::IdentityHash;
use crate::domain::operation::Operation;
use crate::domain::run::Run;
use crate::events::Events;
use crate::ids::{InstanceId, RunId};
use crate::metrics::{Metrics, Reason, State};
use crate::store::{Cancel, Hint, Store, StoreError};
use crate::telemetry::SPANS;

/// The way in. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Addr<RunRegistry>,
    supervisor: Addr<Supervisor>,
    gate: Gate,
    board: Board,
    store: Store,
    metrics: Metrics,
    events: Events,
    health: Health,
    instance: InstanceId,
    started_at: Instant,
}

/// Whether the ledger answers, as the heartbeat sees it. Clones share it.
#[derive(Clone, Default)]
pub struct Health {
    ledger: Arc<AtomicBool>,
}

impl Health {
    /// Says whether the ledger answers.
    pub fn set_ledger(&self, answers: bool) {
        self.ledger.store(answers, Ordering::Relaxed);
    }

    /// Whether it did the last time.
    pub fn ledger(&self) -> bool {
        self.ledger.load(Ordering::Relaxed)
    }
}

/// No verdict: answered 503 with `Retry-After`; nothing was written (or, after a lost connection, perhaps: asking
/// again is safe).
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// The daemon is stopping.
    #[error("the daemon is draining: it admits nothing any more")]
    Draining,
    /// Too many requests wait for a verdict.
    #[error("{waiting_max} requests wait for a verdict already (admission.waiting_max)")]
    Full {
        /// The gate's size.
        waiting_max: usize,
    },
    /// The ledger cannot be written.
    #[error("the ledger is unavailable")]
    Unavailable,
    /// The workspace or tenant is gone: the one case in which asking again does not help.
    #[error("the workspace or tenant does not exist any more")]
    ScopeGone,
}

/// How far an execution is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Progress {
    /// Policy types done, of `types_total`.
    pub types_done: usize,
    /// Policy types to do.
    pub types_total: usize,
    /// Policies listed so far.
    pub listed: u64,
    /// Policies read so far.
    pub read: u64,
    /// Calls to Graph so far.
    pub calls: u64,
    /// Waiting for a throttle until then.
    pub throttled_until: Option<Instant>,
    /// What a restore has done and has to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreProgress>,
}

/// How far a restore is; known once its plan is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct RestoreProgress {
    /// Policies to write.
    pub policies_total: u64,
    /// Of those: verified or failed.
    pub policies_done: u64,
    /// Calls that are still to come, at the least; writes are among them.
    pub calls_to_come: u64,
    /// Writes that are still to come, at the least.
    pub writes_to_come: u64,
    /// Seconds that the throttle budget needs for them, at the least.
    pub seconds_at_least: u64,
}

/// Whether the daemon admits work.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// It does.
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// The actor tree and its surroundings (SPEC section 10, `GET /system`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SystemReport {
    /// The program's version.
    pub version: String,
    /// This process.
    pub instance_id: InstanceId,
    /// When it started.
    pub started_at: Instant,
    /// Every actor, parents first.
    pub actors: Vec<ActorReport>,
}

/// One actor.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActorReport {
    /// Such as `registry` or `tenant:12`.
    pub name: String,
    /// Such as `serving`, `executing`, `idle`, `draining`, `restarting`.
    pub state: String,
    /// What waits for it.
    pub queue: usize,
    /// How often it was restarted.
    pub restarts: u32,
    /// When its last pass (execution, batch, reconcile) ended.
    pub last_pass_at: Option<Instant>,
    /// What that pass did, in a few words.
    pub last_pass: Option<String>,
}

impl Handle {
    /// Built once, by the daemon.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one part of the daemon; a struct would only rename them"
    )]
    pub fn new(
        registry: Addr<RunRegistry>,
        supervisor: Addr<Supervisor>,
        gate: Gate,
        board: Board,
        store: Store,
        metrics: Metrics,
        events: Events,
        health: Health,
        instance: InstanceId,
        started_at: Instant,
    ) -> Self {
        let inner =
            Inner { registry, supervisor, gate, board, store, metrics, events, health, instance, started_at };
        Self { inner: Arc::new(inner) }
    }

    /// The verdict on a request that may well be a duplicate, from memory; `None` says that [`Handle::admit`] has to
    /// decide. Saves a refused duplicate everything that only a new run needs. `by` is the asker's label.
    ///
    /// # Errors
    /// [`AdmitError`] when the gate is closed or full.
    pub async fn ask(
        &self,
        identity: IdentityHash,
        operation: Operation,
        force: bool,
        by: &str,
    ) -> Result<Option<Verdict>, AdmitError> {
        let _place = self.enter(1)?;
        let answer = self.inner.registry.send(Ask { identity, operation, force }).await;
        let verdict = answer.map_err(|_| self.without_verdict(AdmitError::Unavailable))?;
        if let Some(verdict) = &verdict {
            self.inner.events.refused(verdict, by);
        }
        Ok(verdict)
    }

    /// A verdict for each request, in order. Runs that are accepted are durable before this answers.
    ///
    /// # Errors
    /// [`AdmitError`] when the gate is closed or full: nothing was written.
    pub async fn admit(
        &self,
        requests: Vec<Request>,
    ) -> Result<Vec<Result<Verdict, AdmitError>>, AdmitError> {
        let _places = self.enter(requests.len())?;
        self.admit_entered(requests).await
    }

    /// The same for what the daemon asks of itself: it takes no place of the gate, so that clients who fill that keep
    /// no rescue waiting. LIMIT: one per workspace and trigger.
    ///
    /// # Errors
    /// [`AdmitError::Draining`]: nothing was written.
    pub async fn admit_own(
        &self,
        requests: Vec<Request>,
    ) -> Result<Vec<Result<Verdict, AdmitError>>, AdmitError> {
        if self.inner.gate.is_closed() {
            return Err(self.without_verdict(AdmitError::Draining));
        }
        self.admit_entered(requests).await
    }

    async fn admit_entered(
        &self,
        requests: Vec<Request>,
    ) -> Result<Vec<Result<Verdict, AdmitError>>, AdmitError> {
        let span = tracing::info_span!(
            target: SPANS,
            "admission",
            requests = requests.len(),
            tenant.id = requests.first().and_then(|request| request.tenant_id).map(|tenant| tenant.0),
            verdict = Empty,
            run.id = Empty,
        );
        let began = tokio::time::Instant::now();
        let verdicts = self.admit_in_span(requests).instrument(span.clone()).await?;
        self.inner.metrics.admission_duration.observe(began.elapsed().as_secs_f64());
        // Of many, the first stands for all.
        if let Some(Ok(verdict)) = verdicts.first() {
            span.record("verdict", verdict.as_str());
            span.record("run.id", verdict.run().id.0);
        }
        Ok(verdicts)
    }

    async fn admit_in_span(
        &self,
        requests: Vec<Request>,
    ) -> Result<Vec<Result<Verdict, AdmitError>>, AdmitError> {
        // Names are only kept where somebody listens.
        let askers: Vec<String> = match self.inner.events.is_attended() {
            true => requests.iter().map(|request| request.initiator_name.clone()).collect(),
            false => Vec::new(),
        };
        let slots = self.inner.registry.send(Admit { requests }).await;
        let slots = slots.map_err(|_| self.without_verdict(AdmitError::Unavailable))?;
        let mut verdicts = Vec::with_capacity(slots.len());
        for slot in slots {
            verdicts.push(match slot {
                Slot::Ready(verdict) => Ok(verdict),
                Slot::Waiting(written) => match written.await {
                    Ok(Ok(verdict)) => Ok(verdict),
                    Ok(Err(WriteFailed::ScopeGone)) => Err(AdmitError::ScopeGone),
                    Ok(Err(WriteFailed::Unavailable)) | Err(_) => {
                        Err(self.without_verdict(AdmitError::Unavailable))
                    }
                },
            });
        }
        for (verdict, by) in verdicts.iter().zip(&askers) {
            if let Ok(verdict) = verdict {
                self.inner.events.refused(verdict, by);
            }
        }
        Ok(verdicts)
    }

    fn enter(&self, requests: usize) -> Result<tokio::sync::SemaphorePermit<'_>, AdmitError> {
        self.inner.gate.enter(requests).map_err(|error| self.without_verdict(error))
    }

    fn without_verdict(&self, error: AdmitError) -> AdmitError {
        let reason = match error {
            AdmitError::Draining => "draining",
            AdmitError::Full { .. } => "gate_full",
            AdmitError::Unavailable => "store_unavailable",
            AdmitError::ScopeGone => "scope_gone",
        };
        self.inner.metrics.requests_without_verdict.get_or_create(&Reason { reason }).inc();
        error
    }

    /// Asks for a cancellation; a running execution in this process is told at once.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be written.
    pub async fn cancel(&self, run: RunId, by: &str) -> Result<Cancel, StoreError> {
        let (handle, by) = (self.clone(), by.to_owned());
        // A task of its own: a client that hangs up drops its request's future, and the news would be lost between the
        // ledger and the registry, which would answer `active` from then on.
        let cancelling = tokio::spawn(async move {
            let cancel = handle.inner.store.request_cancel(run, &by).await?;
            match &cancel {
                Cancel::Requested(_) => {
                    if !handle.inner.board.stop(run, StopCause::Cancelled) {
                        // It executes elsewhere: the hint saves the wait for that instance's next heartbeat.
                        handle.inner.store.tell(Hint::Cancel(run));
                    }
                }
                Cancel::Completed(run) => handle.changed(run.clone()).await,
                Cancel::AlreadyCompleted(_) | Cancel::NotFound => {}
            }
            Ok(cancel)
        });
        cancelling.await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable { operation: "cancelling a run", source: Box::new(error) })
        })
    }

    /// Tells the registry that a run has changed.
    pub async fn changed(&self, run: Run) {
        // A closed registry needs no news: the process ends.
        let _ = self.inner.registry.send(RunChanged { run: Arc::new(run), as_of: None }).await;
    }

    /// Tells the registry that runs may have ended on another instance.
    pub async fn ended_elsewhere(&self, runs: Vec<RunId>) {
        let _ = self.inner.registry.send(RunsEndedElsewhere { runs }).await;
    }

    /// The actor tree.
    pub async fn system(&self) -> SystemReport {
        SystemReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.inner.instance,
            started_at: self.inner.started_at,
            actors: self.inner.supervisor.send(Tree).await.unwrap_or_default(),
        }
    }

    /// Whether the supervisor answers, and with it the thread that all actors live on.
    pub async fn actors_answer(&self) -> bool {
        self.inner.registry.connected() && self.inner.supervisor.send(Tree).await.is_ok()
    }

    /// Whether the daemon admits work.
    pub fn readiness(&self) -> Readiness {
        let reason = if self.inner.gate.is_closed() {
            Some("draining: the daemon is stopping")
        } else if !self.inner.registry.connected() {
            Some("the run registry is gone: the process ends")
        } else if !self.inner.health.ledger() {
            Some("the ledger does not answer")
        } else {
            None
        };
        Readiness { ready: reason.is_none(), reason: reason.map(str::to_owned) }
    }

    /// What Prometheus reads, with what is only known when somebody looks.
    pub fn scrape(&self) -> String {
        let Inner { metrics, gate, health, store, .. } = &*self.inner;
        metrics.ledger_up.set(i64::from(health.ledger()));
        metrics.admission_waiting.set(count(gate.waiting()));
        let (in_use, idle, awaited) = store.connections();
        for (state, connections) in [("in_use", in_use), ("idle", idle), ("awaited", awaited)] {
            metrics.database_connections.get_or_create(&State { state }).set(count(connections));
        }
        metrics.encode()
    }

    /// How far a run that executes in this process is.
    pub fn progress(&self, run: RunId) -> Option<Progress> {
        self.inner.board.progress(run)
    }

    /// How far everything is that executes in this process.
    pub fn progresses(&self) -> Vec<(RunId, Progress)> {
        self.inner.board.progresses()
    }

    /// The ledger, for reading.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// This process.
    pub fn instance(&self) -> InstanceId {
        self.inner.instance
    }

    /// The stream of events.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Takes one place of the gate until dropped, for tests of a full gate.
    ///
    /// # Errors
    /// [`AdmitError`] when the gate is closed or full.
    pub fn take_place(&self) -> Result<impl Drop + use<'_>, AdmitError> {
        self.inner.gate.enter(1)
    }

    /// Closes the gate, as draining does first.
    pub fn close_gate(&self) {
        self.inner.gate.close();
    }

    /// Makes an actor panic, for tests of the restart rules; false when there is no such actor.
    pub async fn panic_child(&self, panic: PanicChild) -> bool {
        self.inner.supervisor.send(panic).await.unwrap_or(false)
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
