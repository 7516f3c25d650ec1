//! The workspace reconcile actor: executes queued `ops.reconcile_adapter_runs`, one pass at a time.
//!
//! Triggers do not come here: whoever wants a pass asks the registry for a run, like every request; this actor only
//! finds and executes such runs. Passes never overlap because a wake-up is handled atomically: the next message waits
//! until the passes at hand have ended. Across processes the unique index over active workspace runs does the same.

use actix::prelude::*;

use super::board::StopSignal;
use super::death_watch::DeathWatch;
use super::handle::ActorReport;
use crate::clock::Instant;
use crate::execution::Executor;
use crate::ids::InstanceId;
use crate::store::{Store, StoreError};

/// Runs looked up at once.
const RUNS_MAX: usize = 100;

/// There may be a due reconcile run.
#[derive(Message)]
#[rtype(result = "()")]
pub struct WakeReconcile;

/// Answered when no pass is under way any more; nothing is begun afterwards.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainReconcile;

/// How it is.
#[derive(Message)]
#[rtype(result = "ActorReport")]
pub struct ReconcileReport;

/// Panics, for the test of the restart table.
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicNow;

/// The actor.
pub struct WorkspaceReconcile {
    store: Store,
    instance: InstanceId,
    executor: Executor,
    draining: bool,
    last_pass: Option<(Instant, usize)>,
    _watch: DeathWatch,
}

impl WorkspaceReconcile {
    /// An actor without work yet; send it [`WakeReconcile`].
    pub fn new(store: Store, instance: InstanceId, executor: Executor, watch: DeathWatch) -> Self {
        Self { store, instance, executor, draining: false, last_pass: None, _watch: watch }
    }
}

/// Executes every due reconcile run, one after the other; how many.
async fn passes(store: Store, instance: InstanceId, executor: Executor) -> Result<usize, StoreError> {
    let mut executed = 0;
    for due in store.due_workspace_runs(RUNS_MAX).await? {
        if executor.board().is_closed() {
            break;
        }
        if let Some(run) = store.claim_run(due.id, instance).await? {
            executor.execute(run, StopSignal::default()).await;
            executed += 1;
        }
    }
    Ok(executed)
}

impl Actor for WorkspaceReconcile {
    type Context = Context<Self>;
}

impl Handler<WakeReconcile> for WorkspaceReconcile {
    // "One at a time" is the feature: messages and timers of this actor wait until the passes have ended.
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: WakeReconcile, _: &mut Self::Context) -> Self::Result {
        let work = (!self.draining).then(|| {
            // Its own task: were this actor to die, the pass would end and settle its run all the same.
            tokio::spawn(passes(self.store.clone(), self.instance, self.executor.clone()))
        });
        AtomicResponse::new(Box::pin(
            async move {
                match work {
                    Some(work) => work.await.ok(),
                    None => None,
                }
            }
            .into_actor(self)
            .map(|ended, actor, _| match ended {
                Some(Ok(0)) | None => {}
                Some(Ok(executed)) => {
                    actor.last_pass = Some((actor.executor.now(), executed));
                }
                Some(Err(error)) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "due reconcile runs could not be looked up or claimed; tried again at the next wake-up"
                ),
            }),
        ))
    }
}

impl Handler<DrainReconcile> for WorkspaceReconcile {
    type Result = ();

    fn handle(&mut self, _: DrainReconcile, _: &mut Self::Context) {
        // Being handled at all means that no pass is under way.
        self.draining = true;
    }
}

impl Handler<ReconcileReport> for WorkspaceReconcile {
    type Result = MessageResult<ReconcileReport>;

    fn handle(&mut self, _: ReconcileReport, _: &mut Self::Context) -> Self::Result {
        MessageResult(ActorReport {
            name: "reconcile".to_owned(),
            state: if self.draining { "draining" } else { "idle" }.to_owned(),
            queue: 0,
            restarts: 0,
            last_pass_at: self.last_pass.map(|(at, _)| at),
            last_pass: self.last_pass.map(|(_, executed)| format!("executed {executed} passes")),
        })
    }
}

impl Handler<PanicNow> for WorkspaceReconcile {
    type Result = ();

    fn handle(&mut self, _: PanicNow, _: &mut Self::Context) {
        panic!("told to panic");
    }
}
