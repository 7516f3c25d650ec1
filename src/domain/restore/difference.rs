//! What a restore changes about a policy, for people to look at before and after.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Widening;
use super::widening::{guarded, narrows, widening};
use crate::domain::assignment::{Assignment, AssignmentSet, diff};

/// The difference between what a policy has and what it is to have. Of direct assignments alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ItemDiff {
    /// It does not have them yet.
    pub added: Vec<Assignment>,
    /// It is not to have them any more.
    pub removed: Vec<Assignment>,
    /// The same target and intent, with another filter or other settings.
    pub changed: Vec<Change>,
    /// In which ways it reaches more; empty where it does not.
    pub widens: Vec<Widening>,
    /// It is done only with `allow_widening`.
    pub guarded: bool,
    /// It may take something from somebody.
    pub narrows: bool,
}

/// An assignment that changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// As it is.
    pub before: Assignment,
    /// As it is to be.
    pub after: Assignment,
}

impl ItemDiff {
    /// From `live` to `wanted`.
    pub fn between(live: &AssignmentSet, wanted: &AssignmentSet) -> Self {
        let found = diff(&live.direct(), &wanted.direct());
        let widens = widening(live, wanted);
        Self {
            added: found.added,
            removed: found.removed,
            changed: found.changed.into_iter().map(|(before, after)| Change { before, after }).collect(),
            guarded: guarded(&widens),
            widens,
            narrows: narrows(live, wanted),
        }
    }

    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}
