//! What was told of which run, so that nothing is told twice and nothing after what came later.
//!
//! News of a run comes from several sides (its execution, a repair, a look at the ledger) and may overtake each other.

use std::collections::{HashMap, VecDeque};

use super::event::Subject;
use crate::domain::run::{Run, Status};
use crate::ids::{LeaseToken, RunId};

/// LIMIT: runs in memory; the one that was first told of is forgotten first. What is told of a forgotten run may be told
/// again, and its progress is not.
const RUNS_MAX: usize = 16_384;

/// How far a run is: an end is later than everything, a claim later than the claims before it, going back to the queue
/// later than the claim that did.
type Stage = (bool, LeaseToken, bool);

/// The memory.
#[derive(Debug, Default)]
pub struct Known {
    runs: HashMap<RunId, (Stage, Subject)>,
    order: VecDeque<RunId>,
}

impl Known {
    /// Whether the run is further than what was told of it; from now on that was told.
    pub fn advance(&mut self, run: &Run) -> bool {
        let stage = (run.status == Status::Completed, run.lease_token, run.status == Status::Queued);
        let entry = (stage, Subject::from(run));
        match self.runs.get_mut(&run.id) {
            Some(known) if stage <= known.0 => return false,
            Some(known) => *known = entry,
            None => {
                if self.order.len() == RUNS_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.runs.remove(&oldest);
                }
                self.order.push_back(run.id);
                self.runs.insert(run.id, entry);
            }
        }
        true
    }

    /// Whose a run is that was told of as running.
    pub fn running(&self, run: RunId) -> Option<Subject> {
        let ((completed, _, queued), subject) = self.runs.get(&run)?;
        (!completed && !queued).then_some(*subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::samples;

    #[test]
    fn news_that_was_overtaken_is_none() {
        let mut known = Known::default();
        let queued = samples::run(1);
        let running = samples::running_run(1, 1);
        let requeued = Run { lease_token: LeaseToken(1), ..samples::run(1) };
        let again = samples::running_run(1, 2);
        let ended = Run { lease_token: LeaseToken(2), ..samples::failed_run(1) };
        for step in [&queued, &running, &requeued, &again, &ended] {
            assert!(known.advance(step), "{step:?}");
            assert!(!known.advance(step), "{step:?}");
        }
        for late in [&queued, &running, &requeued, &again] {
            assert!(!known.advance(late), "{late:?}");
        }
    }

    #[test]
    fn only_a_running_run_makes_progress() {
        let mut known = Known::default();
        known.advance(&samples::run(1));
        assert_eq!(known.running(RunId(1)), None);
        known.advance(&samples::running_run(1, 1));
        assert_eq!(known.running(RunId(1)), Some(Subject::from(&samples::run(1))));
        known.advance(&samples::failed_run(1));
        assert_eq!(known.running(RunId(1)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = Known::default();
        for id in 0..=RUNS_MAX as i64 {
            known.advance(&samples::run(id));
        }
        assert_eq!((known.runs.len(), known.order.len()), (RUNS_MAX, RUNS_MAX));
        assert!(!known.runs.contains_key(&RunId(0)));
    }
}
