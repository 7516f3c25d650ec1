//! Why a request never got as far as a verdict.

use crate::domain::identity::InputError;
use crate::domain::operation::UnknownOperation;
use crate::ids::{RunId, SnapshotId};
use crate::store::StoreError;

/// A request that is not one: nothing was written. The admin endpoint gives each its status.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// `type` names no operation.
    #[error(transparent)]
    UnknownOperation(UnknownOperation),
    /// No such tenant, or none that the caller may see: the two are told apart by nobody.
    #[error("no such tenant")]
    TenantNotFound,
    /// No such workspace, or none that the caller may see.
    #[error("no such workspace")]
    WorkspaceNotFound,
    /// The run is in a workspace that the caller may not see, or what it was about is gone.
    #[error("no run {0}")]
    RunNotFound(RunId),
    /// Several workspaces have a tenant with the directory id.
    #[error(
        "several workspaces have a tenant with this directory id: expected `workspace_id` or `tenant_id` too"
    )]
    TenantAmbiguous,
    /// A field of the request is wrong.
    #[error("`{field}`: {problem}")]
    Field {
        /// Its path.
        field: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// An input is wrong.
    #[error(transparent)]
    Input(InputError),
    /// The inputs in a run's context do not pass today's checks.
    #[error("run {run} cannot be repeated: its inputs are not valid any more")]
    InputsUnreadable {
        /// The run.
        run: RunId,
        /// Which input.
        #[source]
        source: InputError,
    },
    /// What a restore replaced can be put back once it writes no more.
    #[error("run {0} has not completed: wait for its end, or cancel it")]
    RunNotCompleted(RunId),
    /// There is nothing that an undo could put back.
    #[error("run {run} cannot be undone: {why}")]
    NothingToUndo {
        /// The run.
        run: RunId,
        /// Such as "it was a dry run".
        why: &'static str,
    },
    /// A snapshot that has read no type can be compared with nothing.
    #[error("snapshot {0} has read no policy type: there is nothing to compare")]
    NothingToCompare(SnapshotId),
    /// The ledger could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IntakeError {
    /// A wrong field.
    pub(super) fn field(field: &str, problem: String) -> Self {
        Self::Field { field: field.to_owned(), problem }
    }

    /// The stable code of the answer.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownOperation(_) => "operation.unknown",
            Self::TenantNotFound => "tenant.not_found",
            Self::WorkspaceNotFound => "workspace.not_found",
            Self::RunNotFound(_) => "run.not_found",
            Self::TenantAmbiguous => "tenant.ambiguous",
            Self::Field { .. } | Self::Input(_) => "request.invalid",
            Self::InputsUnreadable { .. } => "run.inputs_unreadable",
            Self::RunNotCompleted(_) => "run.not_completed",
            Self::NothingToUndo { .. } => "run.nothing_to_undo",
            Self::NothingToCompare(_) => "snapshot.empty",
            Self::Store(StoreError::Unavailable { .. }) => "ledger.unavailable",
            Self::Store(_) => "internal.unexpected",
        }
    }

    /// The field to look at, where one is to blame.
    pub fn field_name(&self) -> Option<&str> {
        match self {
            Self::UnknownOperation(_) => Some("type"),
            Self::TenantAmbiguous => Some("tenant_external_id"),
            Self::Field { field, .. } | Self::Input(InputError { field, .. }) => Some(field),
            Self::TenantNotFound
            | Self::WorkspaceNotFound
            | Self::RunNotFound(_)
            | Self::InputsUnreadable { .. }
            | Self::RunNotCompleted(_)
            | Self::NothingToUndo { .. }
            | Self::NothingToCompare(_)
            | Self::Store(_) => None,
        }
    }
}
