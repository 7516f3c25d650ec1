//! The words of the ledger for a restore's enums.

use super::super::run::{UnknownWord, ledger_words};
use super::{ItemState, Widening};

ledger_words!(
    ItemState: Planned = "planned",
    Sent = "sent",
    Verified = "verified",
    Skipped = "skipped",
    Failed = "failed",
);
ledger_words!(
    Widening: ExclusionLost = "exclusion_lost",
    FilterLost = "filter_lost",
    GroupBecomesEverybody = "group_becomes_everybody",
    TargetAdded = "target_added",
);

impl ItemState {
    /// Nothing follows: the item keeps this state.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Verified | Self::Skipped | Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_json() {
        for state in ItemState::ALL {
            assert_eq!(serde_json::to_value(state).expect("a text"), state.as_str());
            assert_eq!(state.to_string().parse(), Ok(*state));
        }
        for widening in Widening::ALL {
            assert_eq!(serde_json::to_value(widening).expect("a text"), widening.as_str());
            assert_eq!(widening.to_string().parse(), Ok(*widening));
        }
        assert!("Planned".parse::<ItemState>().is_err() && "".parse::<Widening>().is_err());
    }

    #[test]
    fn only_planned_and_sent_are_followed_by_another_state() {
        let open: Vec<_> = ItemState::ALL.iter().filter(|state| !state.is_end()).collect();
        assert_eq!(open, [&ItemState::Planned, &ItemState::Sent]);
    }
}
