//! Why a request never got as far as a verdict.

use crate::domain::identity::InputError;
use crate::domain::operation::{Operation, UnknownOperation};
use crate::ids::RunId;
use crate::store::StoreError;

/// A request that is not one: nothing was written. The admin endpoint gives each its status.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// `type` names no operation.
    #[error(transparent)]
    UnknownOperation(UnknownOperation),
    /// An operation that this release does not run.
    #[error("{operation} cannot be run by this release: only its identity can be explained")]
    Unavailable {
        /// The operation.
        operation: Operation,
    },
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
            Self::Unavailable { .. } => "operation.unavailable",
            Self::TenantNotFound => "tenant.not_found",
            Self::WorkspaceNotFound => "workspace.not_found",
            Self::RunNotFound(_) => "run.not_found",
            Self::TenantAmbiguous => "tenant.ambiguous",
            Self::Field { .. } | Self::Input(_) => "request.invalid",
            Self::InputsUnreadable { .. } => "run.inputs_unreadable",
            Self::Store(StoreError::Unavailable { .. }) => "ledger.unavailable",
            Self::Store(_) => "internal.unexpected",
        }
    }

    /// The field to look at, where one is to blame.
    pub fn field_name(&self) -> Option<&str> {
        match self {
            Self::UnknownOperation(_) | Self::Unavailable { .. } => Some("type"),
            Self::TenantAmbiguous => Some("tenant_external_id"),
            Self::Field { field, .. } | Self::Input(InputError { field, .. }) => Some(field),
            Self::TenantNotFound
            | Self::WorkspaceNotFound
            | Self::RunNotFound(_)
            | Self::InputsUnreadable { .. }
            | Self::Store(_) => None,
        }
    }
}
