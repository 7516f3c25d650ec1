//! A tenant's actor: executes the tenant's runs one at a time, restores before fetches, oldest first.
//!
//! Created by the supervisor when the tenant has work, gone when it has had none for `execution.idle_after`. Its death
//! stops its execution (which hands the run back) and touches no neighbour.
//!
//! Its first claim takes the tenant's lease; it gives the lease back before it goes, when it has to wait for a place
//! while other instances may have one, and when this instance has more than its part. An actor that dies leaves the
//! lease with this instance, and its successor finds it there.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::board::{StopCause, StopSignal};
use super::death_watch::DeathWatch;
use super::fleet::Fleet;
use super::handle::ActorReport;
use crate::clock::{Clock, Instant};
use crate::domain::run::Run;
use crate::execution::Executor;
use crate::ids::{InstanceId, RunId, TenantId};
use crate::metrics::{Metrics, Reason};
use crate::store::{Claim, Hint, Store, StoreError};

/// The wait after a claim that failed, before the next.
const CLAIM_RETRY: Duration = Duration::from_secs(1);

/// There may be work.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake {
    /// It came through this instance: where another one has the tenant, nobody else tells it.
    pub accepted_here: bool,
}

/// Claim nothing more; answered when the current execution has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainTenant;

/// How it is.
#[derive(Message)]
#[rtype(result = "ActorReport")]
pub struct TenantReport;

/// Panics, for the test of the restart table.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;

/// What it does at the moment.
enum State {
    /// Nothing; woken by a message or a timer.
    Idle,
    /// Waits for a place or for the answer to a claim.
    Claiming,
    /// Executes; dropping the guard stops the execution.
    Executing { run: RunId, _guard: StopOnDrop },
    /// Gives the tenant's lease back.
    Releasing,
}

/// What follows when the lease has been given back.
#[derive(Clone, Copy)]
enum Afterwards {
    /// Wait for a place, and claim again.
    Wait,
    /// Go, unless there is work again.
    Go,
}

/// How instances and tenants share what there is.
#[derive(Clone)]
pub struct Sharing {
    /// LIMIT: executions at the same time (`execution.tenants_max`).
    pub places: Arc<Semaphore>,
    /// The other instances.
    pub fleet: Fleet,
    /// Metrics.
    pub metrics: Metrics,
}

/// Stops an execution whose actor has died.
struct StopOnDrop(StopSignal);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // After a normal end nobody listens any more.
        self.0.stop(StopCause::Fenced);
    }
}

/// The actor.
pub struct TenantAssignments {
    tenant: TenantId,
    store: Store,
    instance: InstanceId,
    executor: Executor,
    sharing: Sharing,
    idle_after: Duration,
    clock: Clock,
    state: State,
    /// The tenant's lease was taken and not given back.
    leased: bool,
    /// Somebody woke it while it was busy: look again before going idle.
    woken: bool,
    /// Work came through this instance since the last claim that showed whose the tenant is.
    accepted_here: bool,
    draining: Vec<oneshot::Sender<()>>,
    timer: Option<SpawnHandle>,
    last_pass: Option<(Instant, RunId)>,
    _watch: DeathWatch,
}

impl TenantAssignments {
    /// An actor without work yet; send it [`Wake`].
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one part of the tree; a struct would only rename them"
    )]
    pub fn new(
        tenant: TenantId,
        store: Store,
        instance: InstanceId,
        executor: Executor,
        sharing: Sharing,
        idle_after: Duration,
        clock: Clock,
        watch: DeathWatch,
    ) -> Self {
        Self {
            tenant,
            store,
            instance,
            executor,
            sharing,
            idle_after,
            clock,
            state: State::Idle,
            leased: false,
            woken: false,
            accepted_here: false,
            draining: Vec::new(),
            timer: None,
            last_pass: None,
            _watch: watch,
        }
    }

    fn look_for_work(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.state, State::Idle) {
            self.woken = true;
            return;
        }
        if !self.draining.is_empty() {
            return self.release(Afterwards::Go, ctx);
        }
        self.cancel_timer(ctx);
        self.woken = false;
        self.sharing.fleet.engage(self.tenant);
        let place = self.sharing.places.clone().try_acquire_owned().ok();
        if place.is_none() && self.leased && self.sharing.fleet.is_shared() {
            // Another instance may have a place for it.
            return self.release(Afterwards::Wait, ctx);
        }
        self.claim(place, ctx);
    }

    /// Claims the next run, when there is a place to execute it.
    fn claim(&mut self, place: Option<OwnedSemaphorePermit>, ctx: &mut Context<Self>) {
        self.state = State::Claiming;
        let (places, store, tenant, instance) =
            (self.sharing.places.clone(), self.store.clone(), self.tenant, self.instance);
        let board = self.executor.board().clone();
        let claim = async move {
            let place = match place {
                Some(place) => place,
                None => places.acquire_owned().await.expect("nobody closes the semaphore of places"),
            };
            // The wait for a place may have outlasted the daemon's own permission to execute.
            let claim = match board.is_closed() {
                true => Ok(Claim::Fenced),
                false => store.claim_next(tenant, instance).await,
            };
            (claim, place)
        };
        ctx.spawn(claim.into_actor(self).map(|(claim, place), actor, ctx| actor.claimed(claim, place, ctx)));
    }

    fn claimed(
        &mut self,
        claim: Result<Claim, StoreError>,
        place: OwnedSemaphorePermit,
        ctx: &mut Context<Self>,
    ) {
        self.state = State::Idle;
        if let Ok(claim) = &claim {
            self.note_lease(claim);
        }
        match claim {
            Ok(Claim::Claimed { run, more }) => self.execute(*run, more, place, ctx),
            Ok(Claim::Busy | Claim::Fenced) => self.rest(Some(CLAIM_RETRY), ctx),
            Ok(Claim::Elsewhere) => {
                // Only what came through here is told: two instances that pass a hint on would do so for ever.
                if std::mem::take(&mut self.accepted_here) {
                    self.store.tell(Hint::Work(self.tenant));
                }
                self.rest(None, ctx);
            }
            Ok(Claim::Idle { next }) => {
                let now = self.clock.now();
                let wait = next.map(|next| (next - now).to_std().unwrap_or(Duration::ZERO));
                self.rest(wait, ctx);
            }
            Err(error) => {
                tracing::warn!(
                    tenant.id = self.tenant.0,
                    error = &error as &dyn std::error::Error,
                    "a tenant's next run could not be claimed; tried again soon"
                );
                self.rest(Some(CLAIM_RETRY), ctx);
            }
        }
    }

    fn note_lease(&mut self, claim: &Claim) {
        let leased = !matches!(claim, Claim::Elsewhere | Claim::Fenced);
        self.accepted_here &= !leased;
        let change = match (self.leased, leased) {
            (false, true) => "taken",
            _ if matches!(claim, Claim::Elsewhere) => "elsewhere",
            _ => return,
        };
        self.leased = leased;
        self.sharing.metrics.tenant_leases.get_or_create(&Reason { reason: change }).inc();
    }

    /// Gives the lease back, in the ledger first: a wake-up meanwhile finds this actor still there.
    fn release(&mut self, afterwards: Afterwards, ctx: &mut Context<Self>) {
        self.state = State::Releasing;
        let (store, tenant, instance) = (self.store.clone(), self.tenant, self.instance);
        let is_leased = std::mem::take(&mut self.leased);
        let released =
            async move { if is_leased { store.release_tenant(tenant, instance).await } else { Ok(false) } };
        ctx.spawn(released.into_actor(self).map(move |released, actor, ctx| {
            actor.state = State::Idle;
            match released {
                Ok(true) => {
                    actor.sharing.metrics.tenant_leases.get_or_create(&Reason { reason: "released" }).inc();
                    if actor.sharing.fleet.is_shared() {
                        actor.store.tell(Hint::Released(tenant));
                    }
                }
                Ok(false) => {}
                // It is found again: by this instance at its next claim, by others when it has stopped.
                Err(error) => tracing::debug!(
                    tenant.id = tenant.0,
                    error = &error as &dyn std::error::Error,
                    "a tenant's lease could not be given back"
                ),
            }
            if !actor.draining.is_empty() {
                return actor.drained(ctx);
            }
            match afterwards {
                Afterwards::Wait => actor.claim(None, ctx),
                Afterwards::Go if actor.woken => actor.look_for_work(ctx),
                Afterwards::Go => ctx.stop(),
            }
        }));
    }

    /// Executes a run; `more`: the tenant had others when it was claimed.
    fn execute(&mut self, run: Run, more: bool, place: OwnedSemaphorePermit, ctx: &mut Context<Self>) {
        let stop = StopSignal::default();
        let id = run.id;
        self.state = State::Executing { run: id, _guard: StopOnDrop(stop.clone()) };
        let executor = self.executor.clone();
        // The execution settles its run itself, whatever becomes of this actor.
        let execution = tokio::spawn(async move {
            let over = executor.execute(run, stop).await;
            drop(place);
            over
        });
        ctx.spawn(execution.into_actor(self).map(move |joined, actor, ctx| {
            let over = joined.unwrap_or_else(|error| {
                tracing::error!(
                    run.id = id.0,
                    error = &error as &dyn std::error::Error,
                    "an execution died outside its attempt; its run is handed back by the heartbeat"
                );
                false
            });
            actor.last_pass = Some((actor.clock.now(), id));
            actor.state = State::Idle;
            if actor.draining.is_empty() && actor.sharing.fleet.is_over() {
                // What is left of its work goes to an instance with less.
                actor.sharing.fleet.disengage(actor.tenant);
                return actor.release(Afterwards::Go, ctx);
            }
            match over && !more {
                // Nothing was queued behind it. Of what has come since it has been told, or the watch finds it within
                // `execution.poll`.
                true => actor.rest(None, ctx),
                false => actor.look_for_work(ctx),
            }
        }));
    }

    /// Waits for work: at most `wait` when some is known to come, else until it is time to go.
    fn rest(&mut self, wait: Option<Duration>, ctx: &mut Context<Self>) {
        if self.woken || !self.draining.is_empty() {
            return self.look_for_work(ctx);
        }
        self.cancel_timer(ctx);
        if wait != Some(CLAIM_RETRY) {
            self.sharing.fleet.disengage(self.tenant);
        }
        self.timer = Some(match wait {
            Some(wait) => ctx.run_later(wait.max(Duration::from_millis(1)), |actor, ctx| {
                actor.timer = None;
                actor.look_for_work(ctx);
            }),
            None => {
                ctx.run_later(if self.leased { self.idle_after } else { Duration::ZERO }, |actor, ctx| {
                    actor.timer = None;
                    actor.release(Afterwards::Go, ctx);
                })
            }
        });
    }

    fn cancel_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
    }

    fn drained(&mut self, ctx: &mut Context<Self>) {
        for caller in self.draining.drain(..) {
            let _ = caller.send(());
        }
        ctx.stop();
    }
}

impl Actor for TenantAssignments {
    type Context = Context<Self>;
}

impl Handler<Wake> for TenantAssignments {
    type Result = ();

    fn handle(&mut self, wake: Wake, ctx: &mut Self::Context) {
        self.accepted_here |= wake.accepted_here;
        self.look_for_work(ctx);
    }
}

impl Handler<DrainTenant> for TenantAssignments {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainTenant, ctx: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.draining.push(done);
        if matches!(self.state, State::Idle) {
            // The lease goes back at once: others take the tenant up while the rest of this instance drains.
            self.release(Afterwards::Go, ctx);
        }
        Box::pin(async move {
            let _ = drained.await;
        })
    }
}

impl Handler<TenantReport> for TenantAssignments {
    type Result = MessageResult<TenantReport>;

    fn handle(&mut self, _: TenantReport, _: &mut Self::Context) -> Self::Result {
        let state = match &self.state {
            State::Idle => "idle".to_owned(),
            State::Claiming => "claiming".to_owned(),
            State::Executing { run, .. } => format!("executing run {run}"),
            State::Releasing => "releasing".to_owned(),
        };
        MessageResult(ActorReport {
            name: format!("tenant:{}", self.tenant),
            state,
            queue: usize::from(self.woken),
            restarts: 0,
            last_pass_at: self.last_pass.map(|(at, _)| at),
            last_pass: self.last_pass.map(|(_, run)| format!("executed run {run}")),
        })
    }
}

impl Handler<PanicNow> for TenantAssignments {
    type Result = ();

    fn handle(&mut self, _: PanicNow, _: &mut Self::Context) {
        panic!("told to panic");
    }
}
