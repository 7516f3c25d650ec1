//! A plan and a journal in numbers (SPEC section 6).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Plan;
use crate::domain::counts::{CountKey, Counts};
use crate::domain::failure::Failure;
use crate::domain::restore::{Decision, ItemState};

/// What a plan comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanSummary {
    /// Policies in the plan, those that the snapshot does not hold too.
    pub total: u64,
    /// Policies to be written.
    pub to_write: u64,
    /// Policies that are as wanted already.
    pub unchanged: u64,
    /// Policies that are not to be touched.
    pub refused: u64,
    /// Of those: stopped by a guard alone, so that `allow_widening` would write them.
    pub guarded: u64,
    /// Calls to come, at the least: each write, and for each policy one read before and one read after.
    pub calls: u64,
    /// Of those: calls that change something, which have a budget of their own.
    pub writes: u64,
}

impl Plan {
    /// The plan in numbers.
    pub fn summary(&self) -> PlanSummary {
        use crate::domain::failure::Code::AssignmentsGuardBlocked;
        let mut summary = PlanSummary { refused: self.not_held.len() as u64, ..PlanSummary::default() };
        for item in &self.items {
            match &item.decision {
                Decision::Unchanged => summary.unchanged += 1,
                Decision::Write { calls } => {
                    summary.to_write += 1;
                    summary.writes += u64::from(*calls);
                    summary.calls += u64::from(*calls) + 2;
                }
                Decision::Refused(failure) => {
                    summary.refused += 1;
                    summary.guarded += u64::from(failure.code == AssignmentsGuardBlocked);
                }
            }
        }
        summary.total = summary.to_write + summary.unchanged + summary.refused;
        summary
    }

    /// The counts of a run that ends with the plan: what would be written has succeeded and is not updated.
    pub fn counts(&self) -> Counts {
        let summary = self.summary();
        Counts::default()
            .with(CountKey::Total, summary.total)
            .with(CountKey::Succeeded, summary.to_write)
            .with(CountKey::Skipped, summary.unchanged)
            .with(CountKey::Failed, summary.refused)
            .balanced()
    }

    /// Why policies are not to be touched.
    pub fn failures(&self) -> Vec<Failure> {
        let refused = self.items.iter().filter_map(|item| match &item.decision {
            Decision::Refused(failure) => Some(failure),
            Decision::Unchanged | Decision::Write { .. } => None,
        });
        refused.chain(self.not_held.values()).cloned().collect()
    }
}

/// The counts of a run that carried its plan out: `states` of its journal, and how many policies that the request
/// names the snapshot does not hold. What is still open counts as part of the total alone.
pub fn counts(states: impl IntoIterator<Item = ItemState>, not_held: usize) -> Counts {
    let (mut total, mut updated, mut skipped, mut failed) = (not_held as u64, 0, 0, not_held as u64);
    for state in states {
        total += 1;
        match state {
            ItemState::Planned | ItemState::Sent => {}
            ItemState::Verified => updated += 1,
            ItemState::Skipped => skipped += 1,
            ItemState::Failed => failed += 1,
        }
    }
    Counts::default()
        .with(CountKey::Total, total)
        .with(CountKey::Updated, updated)
        .with(CountKey::Succeeded, updated)
        .with(CountKey::Skipped, skipped)
        .with(CountKey::Failed, failed)
        .balanced()
}
