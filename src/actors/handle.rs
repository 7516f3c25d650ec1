//! What the rest of the program may ask of the actors.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Instant;
use crate::domain::admission::{Request, Verdict};
use crate::ids::{InstanceId, RunId};
use crate::metrics::Metrics;
use crate::store::{Cancel, Store, StoreError};

/// The way in. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Handle {}

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
}

/// How far an execution is.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Progress {
    /// Policy types done, of `types_total`.
    pub types_done: u32,
    /// Policy types to do.
    pub types_total: u32,
    /// Policies listed so far.
    pub listed: u64,
    /// Policies read so far.
    pub read: u64,
    /// Calls to Graph so far.
    pub calls: u64,
    /// Waiting for a throttle until then.
    pub throttled_until: Option<Instant>,
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

#[expect(unused_variables, clippy::unused_async, reason = "skeleton")]
impl Handle {
    /// A verdict for each request, in order. Runs that are accepted are durable before this answers.
    pub async fn admit(&self, requests: Vec<Request>) -> Result<Vec<Verdict>, AdmitError> {
        todo!()
    }

    /// Asks for a cancellation; a running execution in this process is told at once.
    pub async fn cancel(&self, run: RunId, by: &str) -> Result<Cancel, StoreError> {
        todo!()
    }

    /// The actor tree.
    pub async fn system(&self) -> SystemReport {
        todo!()
    }

    /// Whether the daemon admits work.
    pub fn readiness(&self) -> Readiness {
        todo!()
    }

    /// How far a run that executes in this process is.
    pub fn progress(&self, run: RunId) -> Option<Progress> {
        todo!()
    }

    /// The ledger, for reading.
    pub fn store(&self) -> &Store {
        todo!()
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        todo!()
    }
}
