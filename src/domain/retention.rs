//! What of the past may go: decisions, no I/O. What must stay whatever its age (a row that holds an identity, the last
//! good snapshot, what something that stays refers to) is the ledger's knowledge, see `store::prune`.

use std::time::Duration;

use crate::clock::Instant;

/// How long, and how much of, the past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Completed runs older than this go.
    pub runs_max_age: Duration,
    /// Completed runs of one operation and tenant (or workspace) that are kept at the most.
    pub runs_keep: usize,
    /// Attempts of runs that completed longer ago than this go.
    pub attempts_max_age: Duration,
    /// Snapshots that ended longer ago than this go.
    pub snapshots_max_age: Duration,
    /// Snapshots of one tenant that are kept at the most.
    pub snapshots_keep: usize,
}

/// How long an import may take: what is older and has not ended was left behind by a crash.
const IMPORT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The rules as instants: what ended at or before one of them is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoffs {
    /// Of completed runs.
    pub runs: Instant,
    /// Of their attempts.
    pub attempts: Instant,
    /// Of snapshots.
    pub snapshots: Instant,
    /// Of imports that have not ended.
    pub imports: Instant,
}

/// LIMIT: an age that no calendar can subtract means never; a century is as good.
const CENTURY: chrono::Duration = chrono::Duration::days(36_525);

impl Rules {
    /// The rules at `now`.
    pub fn cutoffs(&self, now: Instant) -> Cutoffs {
        let before = |age: Duration| now - chrono::Duration::from_std(age).unwrap_or(CENTURY).min(CENTURY);
        Cutoffs {
            runs: before(self.runs_max_age),
            attempts: before(self.attempts_max_age),
            snapshots: before(self.snapshots_max_age),
            imports: before(IMPORT_MAX),
        }
    }
}

/// How many of the candidates, in order, one transaction removes: as many as have `rows_max` rows together, and always
/// the first, however many rows it has.
pub fn fitting(rows: impl IntoIterator<Item = usize>, rows_max: usize) -> usize {
    let mut sum = 0_usize;
    let fits = rows.into_iter().take_while(|rows| {
        let first = sum == 0;
        // A candidate is a row itself.
        sum = sum.saturating_add(rows.saturating_add(1));
        first || sum <= rows_max
    });
    fits.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            runs_max_age: Duration::from_secs(100),
            runs_keep: 1,
            attempts_max_age: Duration::from_secs(10),
            snapshots_max_age: Duration::MAX,
            snapshots_keep: 1,
        }
    }

    #[test]
    fn an_age_without_end_reaches_a_century_back() {
        let now = Instant::from_micros(1_800_000_000_000_000).expect("a date");
        let cutoffs = rules().cutoffs(now);
        assert_eq!(now - cutoffs.runs, chrono::Duration::seconds(100));
        assert_eq!(now - cutoffs.attempts, chrono::Duration::seconds(10));
        assert_eq!(now - cutoffs.snapshots, CENTURY);
        assert_eq!(now - cutoffs.imports, chrono::Duration::days(1));
    }

    #[test]
    fn one_transaction_takes_what_fits_and_always_one() {
        for (rows, rows_max, taken) in [
            (vec![], 5, 0),
            (vec![0, 0, 0], 2, 2),
            (vec![0, 0, 0], 3, 3),
            (vec![9, 0], 5, 1),
            (vec![1, 9, 0], 5, 1),
            (vec![usize::MAX, 0], 5, 1),
            (vec![0], 0, 1),
        ] {
            assert_eq!(fitting(rows.clone(), rows_max), taken, "{rows:?} {rows_max}");
        }
    }
}
