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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::assignment::FilterMode::{Exclude, Include};
    use crate::domain::restore::samples::*;

    #[test]
    fn a_difference_says_what_changes_and_which_way() {
        let live = set([filtered(group(0), 0, Include), plain(group(1)), inherited(group(2))]);
        let wanted = set([filtered(group(0), 0, Exclude), plain(group(3))]);
        let found = ItemDiff::between(&live, &wanted);
        let change = Change { before: filtered(group(0), 0, Include), after: filtered(group(0), 0, Exclude) };
        let expected = ItemDiff {
            added: vec![plain(group(3))],
            removed: vec![plain(group(1))],
            changed: vec![change],
            widens: vec![Widening::FilterLost, Widening::TargetAdded],
            guarded: true,
            narrows: true,
        };
        assert_eq!(found, expected);
        let json = serde_json::to_value(&found).expect("JSON");
        assert_eq!(json["changed"][0]["after"]["filter"]["mode"], "exclude");
        assert_eq!(json["widens"], serde_json::json!(["filter_lost", "target_added"]));
        assert_eq!(serde_json::from_value::<ItemDiff>(json).expect("a difference"), expected);
    }

    proptest! {
        #[test]
        fn it_is_empty_exactly_when_the_direct_sets_are_the_same(live in any_set(), wanted in any_set()) {
            let same = live.direct() == wanted.direct();
            let found = ItemDiff::between(&live, &wanted);
            prop_assert_eq!(found.is_empty(), same);
            prop_assert!(!same || found == ItemDiff::default());
            prop_assert!(ItemDiff::between(&live, &live).is_empty());
        }
    }
}
