//! The catalogue of operations: their names, scope, order of execution and default cooldown.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A kind of work (SPEC section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum Operation {
    /// Reads the assignments of a tenant's policies into a snapshot.
    #[serde(rename = "assignments.fetch")]
    Fetch,
    /// Writes assignments back from a snapshot.
    #[serde(rename = "assignments.restore")]
    Restore,
    /// Repairs a workspace's part of the ledger.
    #[serde(rename = "ops.reconcile_adapter_runs")]
    Reconcile,
}

/// What an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One tenant; the run's `tenant_id` is set.
    Tenant,
    /// A whole workspace; the run's `tenant_id` is NULL.
    Workspace,
}

impl Operation {
    /// Every operation, in the order of the SPEC.
    pub const ALL: [Self; 3] = [Self::Fetch, Self::Restore, Self::Reconcile];

    /// The name in the ledger, in requests and in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "assignments.fetch",
            Self::Restore => "assignments.restore",
            Self::Reconcile => "ops.reconcile_adapter_runs",
        }
    }

    /// What it works on.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Fetch | Self::Restore => Scope::Tenant,
            Self::Reconcile => Scope::Workspace,
        }
    }

    /// Smaller goes first within a tenant: restores before fetches (SPEC section 5).
    pub const fn priority(self) -> i16 {
        match self {
            Self::Restore => 0,
            Self::Fetch | Self::Reconcile => 1,
        }
    }

    /// The cooldown where the configuration names none (SPEC section 4).
    pub const fn default_cooldown(self) -> Duration {
        match self {
            Self::Fetch | Self::Restore => Duration::from_mins(15),
            Self::Reconcile => Duration::ZERO,
        }
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no operation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown operation `{0}`: expected one of assignments.fetch, assignments.restore, ops.reconcile_adapter_runs"
)]
pub struct UnknownOperation(pub String);

impl std::str::FromStr for Operation {
    type Err = UnknownOperation;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == text)
            .ok_or_else(|| UnknownOperation(text.to_owned()))
    }
}
