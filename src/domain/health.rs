//! How a tenant is, in one word: how old its newest complete fetch is, and whether its runs fail since.

use crate::clock::Instant;

/// How long a fetch counts as fresh.
const FRESH: chrono::Duration = chrono::Duration::hours(24);
/// How long it counts for anything.
const STALE: chrono::Duration = chrono::Duration::days(7);

/// How a tenant is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// A run of its failed, and nothing has made up for it since: no complete fetch, and not the same once more.
    Failing,
    /// It was not fetched completely for a week.
    Stale,
    /// It was never fetched completely.
    Never,
    /// Fetched within the week, not within the day.
    Ageing,
    /// Fetched within the day.
    Fresh,
}

impl Health {
    /// All, the worst first.
    pub const ALL: [Self; 5] = [Self::Failing, Self::Stale, Self::Never, Self::Ageing, Self::Fresh];

    /// What follows from the newest complete fetch that succeeded, and from whether runs fail since.
    pub fn of(fetched_at: Option<Instant>, fails_since: bool, now: Instant) -> Self {
        let age = fetched_at.map(|at| now - at);
        match age {
            _ if fails_since => Self::Failing,
            None => Self::Never,
            Some(age) if age < FRESH => Self::Fresh,
            Some(age) if age < STALE => Self::Ageing,
            Some(_) => Self::Stale,
        }
    }

    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Stale => "stale",
            Self::Never => "never fetched",
            Self::Ageing => "ageing",
            Self::Fresh => "fresh",
        }
    }

    /// What the word means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Failing => "a run failed, and nothing has made up for it",
            Self::Stale => "not fetched for a week",
            Self::Never => "not fetched completely yet",
            Self::Ageing => "not fetched for a day",
            Self::Fresh => "fetched within the last day",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_and_failures_decide() {
        let now = Instant::from_micros(1_700_000_000_000_000).expect("within the calendar");
        let hours = |hours| Some(now - chrono::Duration::hours(hours));
        assert_eq!(Health::of(None, false, now), Health::Never);
        assert_eq!(Health::of(None, true, now), Health::Failing);
        assert_eq!(Health::of(hours(1), true, now), Health::Failing);
        assert_eq!(Health::of(hours(23), false, now), Health::Fresh);
        assert_eq!(Health::of(hours(24), false, now), Health::Ageing);
        assert_eq!(Health::of(hours(7 * 24), false, now), Health::Stale);
        assert_eq!(Health::of(hours(-1), false, now), Health::Fresh, "clocks differ a little");
    }

    #[test]
    fn the_worst_stands_first() {
        assert!(Health::ALL.is_sorted());
    }
}
