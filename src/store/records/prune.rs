//! What goes in and out for retention.

use crate::domain::assignment::AssignmentsHash;
use crate::domain::retention::Rules;
use crate::ids::{TenantId, WorkspaceId};

/// One bounded step of pruning.
#[derive(Clone, Debug)]
pub struct PruneRequest {
    /// What may go.
    pub rules: Rules,
    /// Rows that one transaction removes at the most (but for a run's own few attempts).
    pub batch_max: usize,
    /// Where to go on: the default at the beginning of a pass.
    pub step: PruneStep,
}

/// The steps of a pass, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PruneStep {
    /// Completed runs whose cooldown has passed let go of their identity.
    #[default]
    Holders,
    /// Snapshots, tenant by tenant: those after this one.
    Snapshots(TenantId),
    /// The rows of snapshots that nobody sees any more.
    Abandoned,
    /// Attempts of completed runs.
    Attempts,
    /// Runs, tenant by tenant: those after this one.
    Runs(TenantId),
    /// Runs of workspaces: those after this one.
    WorkspaceRuns(WorkspaceId),
    /// Assignment sets that nothing refers to: those after this one, in the order of hashes.
    Sets(Option<AssignmentsHash>),
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Runs that let go of their identity.
    pub released: usize,
    /// Runs removed, with their attempts and the items of restores.
    pub runs: usize,
    /// Attempts removed before their run.
    pub attempts: usize,
    /// Snapshots that nobody sees any more.
    pub snapshots: usize,
    /// Their items removed.
    pub snapshot_items: usize,
    /// Policies forgotten that were deleted long ago.
    pub policies: usize,
    /// Assignment sets removed.
    pub sets: usize,
    /// The next step; `None` at the end of the pass.
    pub next: Option<PruneStep>,
}
