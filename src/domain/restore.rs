//! A restore's words: what it plans, what it does to a policy, and how far it got with each (SPEC section 9).
//!
//! `/assign` replaces a policy's whole set and Graph has no ETag. A restore therefore compares before it writes, keeps
//! what it is about to replace, writes at most once, and reads back. All decisions are pure functions of what was read.
//! Every set and hash here is of a policy's direct assignments: inherited ones are neither compared nor written.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::assignment::{Assignment, AssignmentSet, AssignmentsHash, PolicyKey};
use super::failure::Failure;
use crate::clock::Instant;

pub mod mapping;
pub mod refusals;
pub mod widening;

pub mod difference;
pub mod plan;

pub mod journal;
mod words;
pub mod write;

#[cfg(test)]
mod samples;

/// How far a restore got with a policy: its journal. Only `Planned` and `Sent` are followed by another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// To be written; nothing was sent yet.
    Planned,
    /// A write was, or is about to be, sent; whether it was applied is not known yet.
    Sent,
    /// What was read back is what was wanted.
    Verified,
    /// Already as wanted: no write.
    Skipped,
    /// Not as wanted; its failure says why.
    Failed,
}

/// A way in which a change reaches more than the live set does. Named in every plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Widening {
    /// An exclusion would be lost while somebody is still included. Guarded.
    ExclusionLost,
    /// A target would lose its filter, or have another one. Guarded.
    FilterLost,
    /// Groups would become all users or all devices. Guarded.
    GroupBecomesEverybody,
    /// A target that the live set does not have; what a restore is for, so it is shown and not guarded.
    TargetAdded,
}

/// A policy as Graph has it now.
#[derive(Clone, Debug, PartialEq)]
pub struct LivePolicy {
    /// Its name, sanitised.
    pub name: String,
    /// All its assignments, inherited ones too.
    pub assignments: AssignmentSet,
    /// Each assignment with Graph's id for it, where Graph gave one: what single deletions name.
    pub ids: Vec<(Assignment, String)>,
    /// What decides whether it can be written.
    pub facts: PolicyFacts,
}

/// What besides its type decides whether a policy can be written; absent where Graph did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFacts {
    /// `@odata.type` of the object.
    pub odata_type: Option<String>,
    /// `publishingState` of an app.
    pub publishing_state: Option<String>,
    /// `priority` of an enrolment configuration; 0 is the default that is assigned to everybody.
    pub priority: Option<i64>,
    /// `isDefaultProfile` of a branding profile.
    pub is_default_profile: Option<bool>,
    /// `isGlobalScript` of a remediation: Microsoft's own.
    pub is_global_script: Option<bool>,
    /// `templateReference.templateFamily` of a settings catalog policy.
    pub template_family: Option<String>,
}

/// A filter that exists in the tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterFacts {
    /// Such as `windows10AndLater`.
    pub platform: Option<String>,
    /// `devices` or `apps`.
    pub management_type: Option<String>,
}

/// What the plan does about a policy.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Already as wanted.
    Unchanged,
    /// To be written: calls that change something, at the least.
    Write {
        /// 1 for `/assign`; one per added and deleted assignment for types without it.
        calls: u32,
    },
    /// Not to be touched.
    Refused(Failure),
}

/// One policy of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedItem {
    /// The policy.
    pub policy: PolicyKey,
    /// Its name: the live one, else the snapshot's.
    pub name: String,
    /// The live set when the plan was made; `None` when it was not read.
    pub base: Option<AssignmentSet>,
    /// What the policy is to have; `None` when that could not be worked out.
    pub wanted: Option<AssignmentSet>,
    /// In which ways it would widen.
    pub widens: Vec<Widening>,
    /// What is to be done.
    pub decision: Decision,
}

/// One policy of a restore, as the ledger has it: the adapter's record, item by item.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalItem {
    /// The policy.
    pub policy: PolicyKey,
    /// Its name.
    pub name: String,
    /// How far it got.
    pub state: ItemState,
    /// Hash of the live set that is (or would be) replaced; its content is in the ledger.
    pub base: Option<AssignmentsHash>,
    /// Hash of what the policy is to have; its content is in the ledger.
    pub wanted: Option<AssignmentsHash>,
    /// Hash of what was sent; absent before a write.
    pub sent: Option<AssignmentsHash>,
    /// Hash of what was read back; absent before that.
    pub verified: Option<AssignmentsHash>,
    /// In which ways it widens.
    pub widens: Vec<Widening>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The calls that the plan foresees.
    pub calls: u32,
    /// When the write was announced, by the database's clock.
    pub sent_at: Option<Instant>,
}
