//! The run registry: decides on every request, serially, in memory, and writes what is new in batches.
//!
//! Owned by the supervisor; asked by [`super::Handle`] only. When it panics the process ends ([`super::restart`]): a
//! memory that may be wrong is never used further.
//!
//! Group commit: while one transaction is under way, new requests gather for the next. A duplicate is answered in the
//! handler and touches no database; callers of an identity whose first write is in flight wait for that write.
//!
//! Memory learns of a run's end by message, but does not rely on it: news may be lost. Whatever it refused as `active` it
//! looks up when it writes the counts of those refusals.
//!
//! Where other instances share the ledger, a refusal rests on what the ledger showed within
//! [`RegistryLimits::memory_max`], or on an execution of this very process: any other waits for a look at the ledger, one
//! for all that wait (SPEC section 5). What is new needs no such care: the database judges it.

mod duplicates;
mod looks;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::board::Board;
use super::death_watch::DeathWatch;
use super::fleet::Fleet;
use super::handle::ActorReport;
use super::supervisor::{Parts, RunsAccepted, Supervisor};
use crate::clock::{Clock, Instant};
use crate::domain::admission::{Request, Verdict};
use crate::domain::identities::{Answer, Identities};
use crate::domain::identity::IdentityHash;
use crate::domain::operation::Operation;
use crate::domain::run::{Run, Status};
use crate::events::Events;
use crate::ids::{RunId, WorkspaceId};
use crate::metrics::{Answered, Metrics};
use crate::store::{Admitted, DuplicateCount, Hint, Store, StoreError};

/// How many expired identities one tick drops.
const EXPIRE_MAX: usize = 10_000;
/// How many runs that requests were refused for are looked up at once; more are at the next refusal.
const LOOKED_UP_MAX: usize = 1_000;
/// How often expired identities are dropped.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// The write of a request failed: nothing is known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFailed {
    /// The ledger cannot be reached.
    Unavailable,
    /// The workspace or tenant is gone.
    ScopeGone,
}

/// What a caller gets once the write that it waits for has been answered.
pub type Written = Result<Verdict, WriteFailed>;

/// The answer to one request: at once, or when a write has been answered.
pub enum Slot {
    /// The verdict.
    Ready(Verdict),
    /// It comes with a write.
    Waiting(oneshot::Receiver<Written>),
}

/// Asks for the verdict on a request that may well be a duplicate, without handing it over: `None` says that it needs
/// a write, and [`Admit`] is the way.
#[derive(Clone, Copy, Message)]
#[rtype(result = "Option<Verdict>")]
pub struct Ask {
    /// The identity.
    pub identity: IdentityHash,
    /// Its operation, for the metric.
    pub operation: Operation,
    /// Skip the cooldown.
    pub force: bool,
}

/// Asks for verdicts, in order.
#[derive(Message)]
#[rtype(result = "Vec<Slot>")]
pub struct Admit {
    /// The requests.
    pub requests: Vec<Request>,
}

/// A run has changed in the ledger.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunChanged {
    /// The run as it is now.
    pub run: Arc<Run>,
    /// When the ledger was asked; `None`: who says so does not know, and it counts as old news.
    pub as_of: Option<tokio::time::Instant>,
}

/// Another instance says that runs may have ended: a hint.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunsEndedElsewhere {
    /// The runs.
    pub runs: Vec<RunId>,
}

/// Ends: what waits is written, counts are flushed. Legal at any time, any number of times.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainRegistry;

/// How it is.
#[derive(Message)]
#[rtype(result = "ActorReport")]
pub struct RegistryReport;

/// Makes the registry panic, for the test of the restart table.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;

/// A caller that waits for a write.
struct Caller {
    reply: oneshot::Sender<Written>,
    operation: Operation,
    /// The trigger of a reconcile pass, in case that the write turns out to be another kind of pass.
    trigger: Option<Request>,
}

/// Refused requests by the run that answered them.
type Duplicates = HashMap<RunId, (IdentityHash, DuplicateCount)>;

/// A request on its way into the ledger, with its first caller.
struct Pending {
    request: Request,
    caller: Caller,
}

/// A request whose refusal would rest on too old a memory of `run`.
struct Doubt {
    run: RunId,
    request: Request,
    reply: oneshot::Sender<Written>,
    /// When it came: a look that began later is new enough for it, however long it took.
    since: Duration,
}

/// What to do about a request, in full.
enum Judged {
    Refuse(Verdict),
    Doubt(RunId),
    Wait,
    Write,
}

/// A pass that was asked for again, and when.
struct Again {
    request: Request,
    asked_at: Instant,
}

/// Limits, from the configuration.
#[derive(Clone, Copy)]
pub struct RegistryLimits {
    /// `admission.batch_max`.
    pub batch_max: usize,
    /// `admission.duplicates_flush`.
    pub duplicates_flush: Duration,
    /// `admission.memory_max`; `None` where no other process writes to the ledger.
    pub memory_max: Option<Duration>,
    /// Transactions under way at the same time: where the database has one writer, one.
    pub writes_max: usize,
}

/// The actor.
pub struct RunRegistry {
    store: Store,
    clock: Clock,
    metrics: Metrics,
    events: Events,
    limits: RegistryLimits,
    supervisor: Addr<Supervisor>,
    board: Board,
    fleet: Fleet,
    /// When memory began: the zero of all its ages.
    began: tokio::time::Instant,
    identities: Identities<Caller>,
    /// Requests for the next transactions. LIMIT: the gate in front of the registry.
    pending: VecDeque<Pending>,
    /// Transactions under way.
    writing: usize,
    /// A transaction is about to begin.
    write_due: bool,
    /// Requests that wait for a look at the ledger. LIMIT: the gate in front of the registry.
    doubts: Vec<Doubt>,
    /// A look is under way, or about to begin.
    looking: bool,
    /// Runs of other instances that requests were refused for. LIMIT: one entry per identity held.
    foreign: HashMap<RunId, IdentityHash>,
    /// Refused requests that the ledger does not count yet. LIMIT: one entry per identity held.
    duplicates: Duplicates,
    /// Workspaces whose running reconcile pass was asked for again. LIMIT: one entry per workspace.
    again: HashMap<WorkspaceId, Again>,
    last_batch: Option<(Instant, usize)>,
    /// Callers of [`DrainRegistry`] that wait for the last transaction.
    draining: Vec<oneshot::Sender<()>>,
    _watch: DeathWatch,
}

impl RunRegistry {
    /// A registry that starts warm from what the ledger holds.
    pub fn new(parts: &Parts, supervisor: Addr<Supervisor>, holders: Vec<Run>, watch: DeathWatch) -> Self {
        Self {
            store: parts.store.clone(),
            clock: parts.clock.clone(),
            metrics: parts.metrics.clone(),
            events: parts.executor_parts.events.clone(),
            limits: parts.registry_limits,
            supervisor,
            board: parts.board.clone(),
            fleet: parts.fleet.clone(),
            began: tokio::time::Instant::now(),
            identities: Identities::warm(holders),
            pending: VecDeque::new(),
            writing: 0,
            write_due: false,
            doubts: Vec::new(),
            looking: false,
            foreign: HashMap::new(),
            duplicates: HashMap::new(),
            again: HashMap::new(),
            last_batch: None,
            draining: Vec::new(),
            _watch: watch,
        }
    }
}

impl Actor for RunRegistry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_later(EXPIRE_EVERY, Self::expire);
        ctx.run_later(self.limits.duplicates_flush, Self::flush_duplicates_and_rearm);
    }
}

impl Handler<Ask> for RunRegistry {
    type Result = MessageResult<Ask>;

    fn handle(&mut self, ask: Ask, _: &mut Self::Context) -> Self::Result {
        let now = self.clock.now();
        MessageResult(match self.identities.ask(&ask.identity, ask.force, now) {
            // A reconcile pass that is asked for again needs the whole request (see `refused`), and so does a look.
            Answer::Refuse(verdict)
                if ask.operation != Operation::Reconcile && !self.is_doubtful(&verdict, self.age()) =>
            {
                self.count_refused(&verdict, now);
                Some(verdict)
            }
            _ => None,
        })
    }
}

impl Handler<Admit> for RunRegistry {
    type Result = MessageResult<Admit>;

    fn handle(&mut self, admit: Admit, ctx: &mut Self::Context) -> Self::Result {
        let now = self.clock.now();
        let slots = admit.requests.into_iter().map(|request| self.admit(request, now, ctx)).collect();
        MessageResult(slots)
    }
}

impl Handler<RunChanged> for RunRegistry {
    type Result = ();

    fn handle(&mut self, changed: RunChanged, ctx: &mut Self::Context) {
        let seen = changed.as_of.map_or(Duration::ZERO, |as_of| as_of.saturating_duration_since(self.began));
        let run = changed.run;
        if run.status == Status::Queued && run.next_attempt_at.is_none() {
            // It went back: whoever executes its tenant may not know.
            self.announce(vec![run.clone()]);
        }
        if run.status == Status::Completed && self.fleet.is_shared() {
            self.store.tell(Hint::Ended(run.id));
        }
        self.changed(run, seen, ctx);
    }
}

impl Handler<RunsEndedElsewhere> for RunRegistry {
    type Result = ();

    fn handle(&mut self, ended: RunsEndedElsewhere, ctx: &mut Self::Context) {
        let mut passes = Vec::new();
        for run in ended.runs {
            if let Some(identity) = self.foreign.remove(&run) {
                self.identities.doubt(&identity, run);
                passes.extend(self.again_of(&identity).map(|_| run));
            }
        }
        self.look_up(passes, ctx);
    }
}

impl Handler<DrainRegistry> for RunRegistry {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainRegistry, ctx: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.draining.push(done);
        self.finish_drain(ctx);
        Box::pin(async move {
            let _ = drained.await;
        })
    }
}

impl Handler<RegistryReport> for RunRegistry {
    type Result = MessageResult<RegistryReport>;

    fn handle(&mut self, _: RegistryReport, _: &mut Self::Context) -> Self::Result {
        MessageResult(ActorReport {
            name: "registry".to_owned(),
            state: if self.writing > 0 { "writing" } else { "serving" }.to_owned(),
            queue: self.pending.len(),
            restarts: 0,
            last_pass_at: self.last_batch.map(|(at, _)| at),
            last_pass: self.last_batch.map(|(_, runs)| told(runs, self.identities.len())),
        })
    }
}

/// What the last write came to.
fn told(runs: usize, identities: usize) -> String {
    let written = if runs == 1 { "run" } else { "runs" };
    let held = if identities == 1 { "identity" } else { "identities" };
    format!("wrote {runs} {written}; {identities} {held} held")
}

impl Handler<PanicNow> for RunRegistry {
    type Result = ();

    fn handle(&mut self, _: PanicNow, _: &mut Self::Context) {
        panic!("told to panic");
    }
}

impl RunRegistry {
    /// How long memory has lasted.
    fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// A run was as `run` shows it at `seen`.
    fn changed(&mut self, run: Arc<Run>, seen: Duration, ctx: &mut Context<Self>) {
        self.events.run(&run);
        self.identities.observe(run.clone(), seen);
        self.metrics.registry_identities.set(self.identities.len().try_into().unwrap_or(i64::MAX));
        if run.status != Status::Completed {
            return;
        }
        self.foreign.remove(&run.id);
        if run.operation == Operation::Reconcile
            && let Some(again) = self.again.remove(&run.workspace_id)
        {
            // The triggers that came while the pass ran become one more pass.
            drop(self.admit_since(again.request, again.asked_at, ctx));
        }
    }

    fn judge(&self, request: &Request, since: Duration, now: Instant) -> Judged {
        match self.identities.ask(&request.identity, request.force, now) {
            Answer::Refuse(verdict) if self.is_doubtful(&verdict, since) => Judged::Doubt(verdict.run().id),
            Answer::Refuse(verdict) => Judged::Refuse(verdict),
            Answer::Wait => Judged::Wait,
            Answer::Write => Judged::Write,
        }
    }

    /// Decides on one request: refuses it, lets it wait, or puts it into the next transaction.
    fn admit(&mut self, request: Request, now: Instant, ctx: &mut Context<Self>) -> Slot {
        self.admit_since(request, now, ctx)
    }

    /// The same for one that was asked at `asked_at`.
    fn admit_since(&mut self, request: Request, asked_at: Instant, ctx: &mut Context<Self>) -> Slot {
        let since = self.age();
        match self.judge(&request, since, self.clock.now()) {
            Judged::Refuse(verdict) => {
                self.refused(&verdict, request, asked_at);
                Slot::Ready(verdict)
            }
            judged => {
                let (reply, written) = oneshot::channel();
                self.defer(judged, request, reply, since, ctx);
                Slot::Waiting(written)
            }
        }
    }

    fn defer(
        &mut self,
        judged: Judged,
        request: Request,
        reply: oneshot::Sender<Written>,
        since: Duration,
        ctx: &mut Context<Self>,
    ) {
        let identity = request.identity;
        let is_pass = request.operation == Operation::Reconcile;
        match judged {
            Judged::Refuse(_) => unreachable!("a refusal is answered at once"),
            Judged::Doubt(run) => {
                self.doubts.push(Doubt { run, request, reply, since });
                self.look_soon(ctx);
            }
            Judged::Wait => {
                let operation = request.operation;
                let caller = Caller { reply, operation, trigger: is_pass.then_some(request) };
                if self.identities.wait(&identity, caller).is_err() {
                    unreachable!("`ask` has just said that a write is in flight, and this handler is serial");
                }
            }
            Judged::Write => {
                self.identities.begin_write(identity);
                let trigger = is_pass.then(|| request.clone());
                let caller = Caller { reply, operation: request.operation, trigger };
                self.pending.push_back(Pending { request, caller });
                self.write_soon(ctx);
            }
        }
    }

    /// The pass of the identity's workspace that was asked for again.
    fn again_of(&self, identity: &IdentityHash) -> Option<&Again> {
        let holder = self.identities.holder(identity)?;
        (holder.operation == Operation::Reconcile).then(|| self.again.get(&holder.workspace_id)).flatten()
    }

    /// `asked_at`: when the request was made for the first time.
    fn refused(&mut self, verdict: &Verdict, request: Request, asked_at: Instant) {
        self.count_refused(verdict, self.clock.now());
        let run = verdict.run();
        let dry_run = |context: &serde_json::Map<String, serde_json::Value>| {
            context.get("dry_run").is_some_and(|value| value == true)
        };
        // A pass that has not begun, or began after it was asked for, sees all there was to see.
        let begun_before =
            run.status == Status::Running && run.started_at.is_none_or(|begun| begun < asked_at);
        let sees_all = !begun_before && !dry_run(&run.context);
        if request.operation == Operation::Reconcile && !dry_run(&request.context) && !sees_all {
            self.again.entry(request.workspace_id).or_insert(Again { request, asked_at });
        }
    }

    fn count_refused(&mut self, verdict: &Verdict, now: Instant) {
        let run = verdict.run();
        self.count_verdict(run.operation, verdict.as_str());
        let (_, count) = self
            .duplicates
            .entry(run.id)
            .or_insert_with(|| (run.identity, DuplicateCount { run_id: run.id, count: 0, last_at: now }));
        count.count += 1;
        count.last_at = now;
    }

    fn count_verdict(&self, operation: Operation, verdict: &'static str) {
        self.metrics.requests.get_or_create(&Answered { r#type: operation.as_str(), verdict }).inc();
    }

    /// Starts a transaction once the mailbox has been drained, so that all that came together goes together.
    fn write_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.write_due && self.writing < self.limits.writes_max {
            self.write_due = true;
            ctx.spawn(fut::ready(()).map(|(), actor: &mut Self, ctx| actor.write(ctx)));
        }
    }

    fn write(&mut self, ctx: &mut Context<Self>) {
        self.write_due = false;
        let size = self.pending.len().min(self.limits.batch_max);
        if size == 0 {
            return;
        }
        let (requests, callers): (Vec<Request>, Vec<(IdentityHash, Caller)>) = self
            .pending
            .drain(..size)
            .map(|pending| {
                let identity = pending.request.identity;
                (pending.request, (identity, pending.caller))
            })
            .unzip();
        self.writing += 1;
        self.metrics.admission_batch.observe(size as f64);
        let (store, seen) = (self.store.clone(), self.age());
        let written = async move { store.admit(requests).await };
        ctx.spawn(written.into_actor(self).map(move |result, actor, ctx| {
            actor.written(callers, result, seen);
            actor.last_batch = Some((actor.clock.now(), size));
            actor.writing -= 1;
            if actor.pending.is_empty() {
                actor.finish_drain(ctx);
            } else {
                actor.write_soon(ctx);
            }
        }));
        if !self.pending.is_empty() {
            self.write_soon(ctx);
        }
    }

    fn written(
        &mut self,
        callers: Vec<(IdentityHash, Caller)>,
        result: Result<Vec<Admitted>, StoreError>,
        seen: Duration,
    ) {
        match result {
            Ok(admitted) => {
                let mut accepted = Vec::new();
                for ((identity, caller), outcome) in callers.into_iter().zip(admitted) {
                    self.answer(identity, caller, outcome, seen, &mut accepted);
                }
                if !accepted.is_empty() {
                    self.announce(accepted);
                }
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    requests = callers.len() + self.pending.len(),
                    "requests could not be written to the ledger; their callers are told to try again"
                );
                for (identity, caller) in callers {
                    self.fail(&identity, caller, WriteFailed::Unavailable);
                }
                // Those that gathered meanwhile would only find out later, one time-out each.
                for pending in std::mem::take(&mut self.pending) {
                    self.fail(&pending.request.identity, pending.caller, WriteFailed::Unavailable);
                }
            }
        }
        self.metrics.registry_identities.set(self.identities.len().try_into().unwrap_or(i64::MAX));
    }

    fn answer(
        &mut self,
        identity: IdentityHash,
        caller: Caller,
        outcome: Admitted,
        seen: Duration,
        accepted: &mut Vec<Arc<Run>>,
    ) {
        let now = self.clock.now();
        let waiters = match outcome {
            Admitted::Accepted(run) => {
                self.count_verdict(caller.operation, "accepted");
                let written = Arc::new(run.clone());
                self.events.run(&written);
                let (_, waiters) = self.identities.end_write(run, seen);
                accepted.push(written.clone());
                let _ = caller.reply.send(Ok(Verdict::Accepted(written)));
                waiters
            }
            Admitted::Held(holder) => {
                let (holder, mut waiters) = self.identities.end_write(holder, seen);
                waiters.insert(0, caller);
                debug_assert_eq!(holder.identity, identity, "the store answers in the order of the requests");
                waiters
            }
            Admitted::Gone => {
                self.fail(&identity, caller, WriteFailed::ScopeGone);
                return;
            }
        };
        if waiters.is_empty() {
            return;
        }
        let Some(holder) = self.identities.holder(&identity).cloned() else {
            // The run has ended without a cooldown before its own write was answered; those who waited ask again.
            for waiter in waiters {
                let _ = waiter.reply.send(Err(WriteFailed::Unavailable));
            }
            return;
        };
        let verdict = match holder.cooldown_until {
            Some(retry_at) if !holder.is_active() => Verdict::cooldown(holder, retry_at, now),
            _ => Verdict::Active(holder),
        };
        for waiter in waiters {
            match waiter.trigger {
                Some(request) => self.refused(&verdict, request, now),
                None => self.count_refused(&verdict, now),
            }
            let _ = waiter.reply.send(Ok(verdict.clone()));
        }
    }

    fn fail(&mut self, identity: &IdentityHash, caller: Caller, why: WriteFailed) {
        let waiters = self.identities.fail_write(identity);
        for caller in std::iter::once(caller).chain(waiters) {
            let _ = caller.reply.send(Err(why));
        }
    }

    /// Wakes whoever executes the new runs.
    fn announce(&self, accepted: Vec<Arc<Run>>) {
        // A full mailbox would hold the registry up; the poll of the ledger finds what was not announced.
        let _ = self.supervisor.try_send(RunsAccepted { runs: accepted });
    }

    fn expire(&mut self, ctx: &mut Context<Self>) {
        self.identities.expire(self.clock.now(), EXPIRE_MAX);
        self.look_after_passes(ctx);
        self.metrics.registry_identities.set(self.identities.len().try_into().unwrap_or(i64::MAX));
        ctx.run_later(EXPIRE_EVERY, Self::expire);
    }

    /// Answers those who wait for the drain once nothing is under way any more and the counts are written.
    fn finish_drain(&mut self, ctx: &mut Context<Self>) {
        if self.draining.is_empty() || self.writing > 0 || !self.pending.is_empty() || self.looking {
            return;
        }
        let callers = std::mem::take(&mut self.draining);
        let counts: Vec<_> =
            std::mem::take(&mut self.duplicates).into_values().map(|(_, count)| count).collect();
        let store = self.store.clone();
        let flushed = async move {
            if !counts.is_empty()
                && let Err(error) = store.count_duplicates(counts).await
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the last counts of refused requests could not be written and are lost"
                );
            }
            for caller in callers {
                let _ = caller.send(());
            }
        };
        ctx.spawn(flushed.into_actor(self));
    }
}
