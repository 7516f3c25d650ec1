//! The supervisor: owns the tree. It starts the registry and the reconcile actor, creates tenant actors on demand,
//! learns of deaths through [`super::death_watch`], and restarts by the table in [`super::restart`].
//!
//! It decides nothing about runs. Only it holds the addresses of children.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::board::{Board, StopCause};
use super::death_watch::DeathWatch;
use super::handle::ActorReport;
use super::reconcile::{ReconcileReport, WakeReconcile, WorkspaceReconcile};
use super::registry::{DrainRegistry, RegistryLimits, RegistryReport, RunRegistry};
use super::restart::{self, LastResort, Restart, RestartLog};
use super::tenant::{DrainTenant, TenantAssignments, TenantReport, Wake};
use crate::clock::Clock;
use crate::domain::run::Run;
use crate::execution::{Executor, ExecutorParts};
use crate::ids::{InstanceId, TenantId};
use crate::metrics::{Metrics, Reason};
use crate::store::Store;

/// Messages that may wait for the supervisor before senders fall back on the poll of the ledger.
const MAILBOX: usize = 1024;

/// A child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildKey {
    /// The run registry.
    Registry,
    /// The workspace reconcile actor.
    Reconcile,
    /// A tenant's actor.
    Tenant(TenantId),
}

/// A child has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ChildExited {
    /// Which.
    pub child: ChildKey,
    /// By a panic, not by itself.
    pub panicked: bool,
}

/// Runs have been accepted: wake whoever executes them.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RunsAccepted {
    /// The runs.
    pub runs: Vec<Arc<Run>>,
}

/// The ledger has due work: the poll that makes every other announcement a mere hint.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DueWork {
    /// Tenants with a due run.
    pub tenants: Vec<TenantId>,
    /// A workspace-scoped run is due.
    pub workspace_runs: bool,
}

/// Asks for the registry's address; answered once it has started.
#[derive(Message)]
#[rtype(result = "Option<Addr<RunRegistry>>")]
pub struct RegistryAddress;

/// Asks for the tree.
#[derive(Message)]
#[rtype(result = "Vec<ActorReport>")]
pub struct Tree;

/// Stop: executions get `budget` to end by themselves, then hand back; then reconcile and registry end. Legal at any
/// time, any number of times.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// `shutdown.drain`.
    pub budget: Duration,
}

/// Makes a child panic, for the tests of the restart table.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct PanicChild(pub ChildKey);

/// What the supervisor needs to make children.
#[derive(Clone)]
pub struct Parts {
    /// The ledger.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Metrics.
    pub metrics: Metrics,
    /// This process.
    pub instance: InstanceId,
    /// What executes here.
    pub board: Board,
    /// `admission.*`.
    pub registry_limits: RegistryLimits,
    /// `execution.tenants_max`.
    pub tenants_max: usize,
    /// `execution.idle_after`.
    pub idle_after: Duration,
    /// What the executor needs.
    pub executor_parts: Arc<ExecutorParts>,
}

/// The process has to end: the restart rules say so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {child} died and its restart rule ends the process")]
pub struct Fatal {
    /// Which child.
    pub child: &'static str,
}

/// A tenant's place in the tree.
#[derive(Default)]
struct TenantChild {
    address: Option<Addr<TenantAssignments>>,
    log: RestartLog,
    /// A restart is due; until then nothing wakes the tenant.
    resting: bool,
}

/// The actor.
pub struct Supervisor {
    parts: Parts,
    holders: Vec<Run>,
    fatal: mpsc::Sender<Fatal>,
    registry: Option<Addr<RunRegistry>>,
    reconcile: Option<Addr<WorkspaceReconcile>>,
    reconcile_log: RestartLog,
    executor: Option<Executor>,
    tenants: HashMap<TenantId, TenantChild>,
    /// LIMIT: executions at the same time (`execution.tenants_max`).
    places: Arc<Semaphore>,
    started_at: tokio::time::Instant,
    draining: bool,
}

impl Supervisor {
    /// A supervisor that starts its tree with a registry that knows `holders`; `fatal` learns when the process has to
    /// end.
    pub fn new(parts: Parts, holders: Vec<Run>, fatal: mpsc::Sender<Fatal>) -> Self {
        let places = Arc::new(Semaphore::new(parts.tenants_max));
        Self {
            parts,
            holders,
            fatal,
            registry: None,
            reconcile: None,
            reconcile_log: RestartLog::default(),
            executor: None,
            tenants: HashMap::new(),
            places,
            started_at: tokio::time::Instant::now(),
            draining: false,
        }
    }

    fn start_registry(&mut self, ctx: &mut Context<Self>) {
        let registry = RunRegistry::new(
            self.parts.store.clone(),
            self.parts.clock.clone(),
            self.parts.metrics.clone(),
            self.parts.executor_parts.events.clone(),
            self.parts.registry_limits,
            ctx.address(),
            std::mem::take(&mut self.holders),
            DeathWatch::new(ctx.address(), ChildKey::Registry),
        )
        .start();
        let executor_parts = self.parts.executor_parts.clone();
        self.executor = Some(Executor::new(executor_parts, registry.clone().recipient()));
        self.registry = Some(registry);
    }

    fn start_reconcile(&mut self, ctx: &mut Context<Self>) {
        let Some(executor) = self.executor.clone() else { return };
        let watch = DeathWatch::new(ctx.address(), ChildKey::Reconcile);
        let actor = WorkspaceReconcile::new(self.parts.store.clone(), self.parts.instance, executor, watch);
        self.reconcile = Some(actor.start());
    }

    fn wake_tenant(&mut self, tenant: TenantId, ctx: &mut Context<Self>) {
        if self.draining {
            return;
        }
        let Some(executor) = self.executor.clone() else { return };
        let child = self.tenants.entry(tenant).or_default();
        if child.resting {
            return;
        }
        let parts = &self.parts;
        let address = child.address.get_or_insert_with(|| {
            TenantAssignments::new(
                tenant,
                parts.store.clone(),
                parts.instance,
                executor,
                self.places.clone(),
                parts.idle_after,
                parts.clock.clone(),
                DeathWatch::new(ctx.address(), ChildKey::Tenant(tenant)),
            )
            .start()
        });
        // A full mailbox already holds a wake-up.
        let _ = address.try_send(Wake);
    }

    fn tenant_exited(&mut self, tenant: TenantId, panicked: bool, ctx: &mut Context<Self>) {
        let Some(child) = self.tenants.get_mut(&tenant) else { return };
        child.address = None;
        if !panicked {
            self.tenants.remove(&tenant);
            return;
        }
        let rest = match child.log.panicked(&restart::TENANT, self.started_at.elapsed()) {
            Restart::After(wait) => wait,
            Restart::GiveUp(_) => restart::TENANT.window,
        };
        child.resting = true;
        let restarts = child.log.total;
        self.count_restart("tenant");
        tracing::error!(
            tenant.id = tenant.0,
            restarts,
            wait_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX),
            "a tenant's actor panicked; it is started again after a wait, its neighbours go on"
        );
        ctx.run_later(rest, move |actor, ctx| {
            if let Some(child) = actor.tenants.get_mut(&tenant) {
                child.resting = false;
            }
            actor.wake_tenant(tenant, ctx);
        });
    }

    fn reconcile_exited(&mut self, panicked: bool, ctx: &mut Context<Self>) {
        self.reconcile = None;
        if !panicked {
            return;
        }
        match self.reconcile_log.panicked(&restart::RECONCILE, self.started_at.elapsed()) {
            Restart::After(wait) => {
                self.count_restart("reconcile");
                tracing::error!(
                    restarts = self.reconcile_log.total,
                    "the reconcile actor panicked; it is started again"
                );
                ctx.run_later(wait, Self::start_reconcile);
            }
            Restart::GiveUp(LastResort::ExitProcess | LastResort::LeaveAlone) => self.die("reconcile actor"),
        }
    }

    fn count_restart(&self, kind: &'static str) {
        self.parts.metrics.actor_restarts.get_or_create(&Reason { reason: kind }).inc();
    }

    fn die(&self, child: &'static str) {
        tracing::error!(actor = child, "an actor died that the process cannot do without; the process ends");
        // Full means that the process is ending already.
        let _ = self.fatal.try_send(Fatal { child });
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.start_registry(ctx);
        self.start_reconcile(ctx);
    }
}

impl Handler<ChildExited> for Supervisor {
    type Result = ();

    fn handle(&mut self, exit: ChildExited, ctx: &mut Self::Context) {
        if self.draining {
            return;
        }
        match exit.child {
            ChildKey::Registry => self.die("run registry"),
            ChildKey::Reconcile => self.reconcile_exited(exit.panicked, ctx),
            ChildKey::Tenant(tenant) => self.tenant_exited(tenant, exit.panicked, ctx),
        }
    }
}

impl Handler<RunsAccepted> for Supervisor {
    type Result = ();

    fn handle(&mut self, accepted: RunsAccepted, ctx: &mut Self::Context) {
        let tenants: std::collections::BTreeSet<_> =
            accepted.runs.iter().filter_map(|run| run.tenant_id).collect();
        let workspace_runs = accepted.runs.iter().any(|run| run.tenant_id.is_none());
        self.handle(DueWork { tenants: tenants.into_iter().collect(), workspace_runs }, ctx);
    }
}

impl Handler<DueWork> for Supervisor {
    type Result = ();

    fn handle(&mut self, due: DueWork, ctx: &mut Self::Context) {
        for tenant in due.tenants {
            self.wake_tenant(tenant, ctx);
        }
        if due.workspace_runs
            && !self.draining
            && let Some(reconcile) = &self.reconcile
        {
            let _ = reconcile.try_send(WakeReconcile);
        }
    }
}

impl Handler<RegistryAddress> for Supervisor {
    type Result = Option<Addr<RunRegistry>>;

    fn handle(&mut self, _: RegistryAddress, _: &mut Self::Context) -> Self::Result {
        self.registry.clone()
    }
}

impl Handler<PanicChild> for Supervisor {
    type Result = bool;

    fn handle(&mut self, panic: PanicChild, _: &mut Self::Context) -> bool {
        match panic.0 {
            ChildKey::Registry => self
                .registry
                .as_ref()
                .is_some_and(|registry| registry.try_send(super::registry::PanicNow).is_ok()),
            ChildKey::Reconcile => self
                .reconcile
                .as_ref()
                .is_some_and(|reconcile| reconcile.try_send(super::reconcile::PanicNow).is_ok()),
            ChildKey::Tenant(tenant) => self
                .tenants
                .get(&tenant)
                .and_then(|child| child.address.as_ref())
                .is_some_and(|address| address.try_send(super::tenant::PanicNow).is_ok()),
        }
    }
}

impl Handler<Tree> for Supervisor {
    type Result = ResponseFuture<Vec<ActorReport>>;

    fn handle(&mut self, _: Tree, _: &mut Self::Context) -> Self::Result {
        let own = ActorReport {
            name: "supervisor".to_owned(),
            state: if self.draining { "draining" } else { "serving" }.to_owned(),
            queue: 0,
            restarts: 0,
            last_pass_at: None,
            last_pass: None,
        };
        let registry = self.registry.clone();
        let reconcile = self.reconcile.clone();
        let reconcile_restarts = self.reconcile_log.total;
        let mut tenants: Vec<_> = self
            .tenants
            .iter()
            .map(|(tenant, child)| (*tenant, child.address.clone(), child.log.total, child.resting))
            .collect();
        tenants.sort_by_key(|(tenant, ..)| *tenant);
        Box::pin(async move {
            let mut reports = vec![own];
            reports.push(ask(registry, RegistryReport, "registry".to_owned(), 0).await);
            reports.push(ask(reconcile, ReconcileReport, "reconcile".to_owned(), reconcile_restarts).await);
            for (tenant, address, restarts, resting) in tenants {
                let mut report = ask(address, TenantReport, format!("tenant:{tenant}"), restarts).await;
                if resting {
                    "restarting".clone_into(&mut report.state);
                }
                reports.push(report);
            }
            reports
        })
    }
}

/// How long a report waits for a busy actor.
const REPORT_TIMEOUT: Duration = Duration::from_millis(200);

/// Asks a child for its report; a busy or absent child gets one made for it.
async fn ask<A, M>(address: Option<Addr<A>>, message: M, name: String, restarts: u32) -> ActorReport
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message<Result = ActorReport> + Send + 'static,
{
    let without_answer = |state: &str| ActorReport {
        name: name.clone(),
        state: state.to_owned(),
        queue: 0,
        restarts,
        last_pass_at: None,
        last_pass: None,
    };
    let Some(address) = address else { return without_answer("absent") };
    match address.send(message).timeout(REPORT_TIMEOUT).await {
        Ok(report) => ActorReport { restarts, ..report },
        Err(MailboxError::Timeout) => without_answer("busy"),
        Err(MailboxError::Closed) => without_answer("gone"),
    }
}

impl Handler<Drain> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        self.draining = true;
        // Nothing new begins: a claim that is answered late goes back to the queue.
        self.parts.board.close(StopCause::Draining);
        let tenants: Vec<_> = self.tenants.values().filter_map(|child| child.address.clone()).collect();
        let (reconcile, registry) = (self.reconcile.clone(), self.registry.clone());
        let board = self.parts.board.clone();
        let (told, over) = oneshot::channel();
        // Not the supervisor's own future: a drain goes on even when nobody waits for it any more.
        tokio::spawn(async move {
            drain_tree(tenants, reconcile, registry, board, drain.budget).await;
            let _ = told.send(());
        });
        Box::pin(async move {
            let _ = over.await;
        })
    }
}

/// How long executions that were told to stop get to hand their runs back.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(5);

/// ORDER: tenants, reconcile, registry: each may still talk to the ones after it.
async fn drain_tree(
    tenants: Vec<Addr<TenantAssignments>>,
    reconcile: Option<Addr<WorkspaceReconcile>>,
    registry: Option<Addr<RunRegistry>>,
    board: Board,
    budget: Duration,
) {
    let drained = async {
        // All at once: one that is told later would claim its next run meanwhile. Closed is drained.
        futures_util::future::join_all(tenants.iter().map(|tenant| tenant.send(DrainTenant))).await;
        if let Some(reconcile) = &reconcile {
            let _ = reconcile.send(super::reconcile::DrainReconcile).await;
        }
    };
    tokio::pin!(drained);
    if tokio::time::timeout(budget, &mut drained).await.is_err() {
        let stopped = board.stop_all(StopCause::Draining);
        tracing::info!(executions = stopped, "the time to drain is over; executions hand their runs back");
        if tokio::time::timeout(HAND_BACK_TIMEOUT, &mut drained).await.is_err() {
            tracing::warn!(
                executions = board.len(),
                "some executions did not hand back in time; their leases will expire"
            );
        }
    }
    if let Some(registry) = &registry {
        let _ = tokio::time::timeout(HAND_BACK_TIMEOUT, registry.send(DrainRegistry)).await;
    }
}
