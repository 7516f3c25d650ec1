//! What goes in and out for restores and for snapshots that come from elsewhere.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Coverage;
use crate::clock::Instant;
use crate::domain::assignment::{AssignmentSet, AssignmentsHash};
use crate::domain::counts::Counts;
use crate::domain::failure::{Code, Failure};
use crate::domain::restore::{ItemState, Widening};
use crate::domain::run::Outcome;

/// How an item of a restore ends.
#[derive(Clone, Debug)]
pub struct ItemEnd {
    /// `Verified` (after `Sent`), `Skipped` (instead of it) or `Failed`.
    pub state: ItemState,
    /// What was read back: always with `Verified`, with `Failed` where it was read.
    pub verified: Option<AssignmentSet>,
    /// Why, exactly with `Failed`.
    pub failure: Option<Failure>,
}

/// How a restore run ends.
#[derive(Clone, Debug)]
pub struct RestoreEnd {
    /// `Succeeded` or `Failed`.
    pub outcome: Outcome,
    /// As the run will have them.
    pub counts: Counts,
    /// As the run will have them.
    pub failures: Vec<Failure>,
}

/// One policy of a restore, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RestoreItem {
    /// The catalogue's key.
    pub policy_type: String,
    /// As Graph gives it.
    pub policy_id: String,
    /// Its name.
    pub name: String,
    /// How far the restore got with it.
    pub state: ItemState,
    /// Hash of `base`.
    pub base_hash: Option<AssignmentsHash>,
    /// Hash of `wanted`.
    pub wanted_hash: Option<AssignmentsHash>,
    /// Hash of what was sent; absent before a write.
    pub sent_hash: Option<AssignmentsHash>,
    /// Hash of what was read back; absent before that.
    pub verified_hash: Option<AssignmentsHash>,
    /// The live set that is, or would be, replaced; absent where it was not read.
    pub base: Option<AssignmentSet>,
    /// What the policy is to have; absent where that could not be worked out.
    pub wanted: Option<AssignmentSet>,
    /// In which ways it widens.
    pub widens: Vec<Widening>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The calls that the plan foresees.
    pub calls: u32,
    /// When its last write was announced.
    pub sent_at: Option<Instant>,
    /// When it last changed.
    pub updated_at: Instant,
}

/// How many items of a restore are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemTally {
    /// How far the restore got with them.
    pub state: ItemState,
    /// In which ways they widen.
    pub widens: Vec<Widening>,
    /// Why they failed.
    pub code: Option<Code>,
    /// How many.
    pub count: u64,
}

/// A snapshot to import.
#[derive(Clone, Debug)]
pub struct NewImport {
    /// The directory that it was read from; the tenant's own is kept as none.
    pub source_tenant: Uuid,
    /// What somebody calls it.
    pub label: Option<String>,
    /// When it was read.
    pub created_at: Instant,
    /// Per policy type.
    pub coverage: BTreeMap<String, Coverage>,
    /// At most one per policy; of several the first counts.
    pub items: Vec<ImportedPolicy>,
}

/// A policy of a snapshot to import.
#[derive(Clone, Debug)]
pub struct ImportedPolicy {
    /// The catalogue's key.
    pub policy_type: String,
    /// As Graph gives it.
    pub policy_id: String,
    /// Its name, sanitised.
    pub name: String,
    /// Its assignments.
    pub assignments: AssignmentSet,
}
