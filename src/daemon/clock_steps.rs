//! Notices that the ledger's clock was set back: between two heartbeats it told less time than has passed. What comes of
//! it is [`Store::clock_was_set_back`]'s.
//!
//! Set forwards it ends cooldowns and leases early, and nothing else: who lives renews its lease with the next beat, and
//! what was taken from it meanwhile the same beat tells (see [`super::pulse`]).

use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::config::Config;
use crate::store::{ClockStep, Store};

/// LIMIT: smaller steps are not told from a clock that is adjusted.
const TOLERANCE: Duration = Duration::from_millis(20);

/// What the ledger said its time was.
#[derive(Clone, Copy)]
struct Reading {
    asked: Instant,
    answered: Instant,
    told: clock::Instant,
}

/// The watch over the ledger's clock.
pub struct ClockSteps {
    store: Store,
    /// How far ahead a run's next try may lie.
    longest_wait: Duration,
    /// The pause before it is told again to a ledger that does not answer.
    again: Duration,
    last: Option<Reading>,
}

impl ClockSteps {
    /// A watch that has seen nothing yet.
    pub fn new(store: Store, config: &Config) -> Self {
        let longest_wait = (*config.execution.backoff_max).max(*config.execution.retry_after_max);
        Self { store, longest_wait, again: *config.execution.heartbeat, last: None }
    }

    /// The answer to a heartbeat that was sent at `asked` has come just now.
    pub fn observe(&mut self, asked: Instant, told: clock::Instant) {
        let reading = Reading { asked, answered: Instant::now(), told };
        if let Some(step) = self.last.and_then(|last| step_between(last, reading)) {
            self.noticed(step);
        }
        self.last = Some(reading);
    }

    /// A step that this process or its predecessor did not see happen.
    pub fn noticed(&self, step: ClockStep) {
        tracing::warn!(
            from = %step.high,
            to = %step.low,
            "the ledger's clock was set back: times in between are told twice"
        );
        // A task of its own: the heartbeat waits for nothing but itself.
        tokio::spawn(note(self.store.clone(), step, self.longest_wait, self.again));
    }
}

async fn note(store: Store, step: ClockStep, longest_wait: Duration, again: Duration) {
    while let Err(error) = store.clock_was_set_back(step, longest_wait).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "that the ledger's clock was set back could not be written; tried again"
        );
        tokio::time::sleep(again).await;
    }
}

/// The ledger read its clock at some moment between question and answer, both times.
fn step_between(last: Reading, now: Reading) -> Option<ClockStep> {
    let least = now.asked.saturating_duration_since(last.answered);
    let most = now.answered.saturating_duration_since(last.asked);
    let set_back = now.told + TOLERANCE < last.told + least;
    let most = chrono::Duration::from_std(most).unwrap_or(chrono::Duration::MAX);
    set_back.then(|| ClockStep { low: now.told - most, high: last.told + most })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked for after so many milliseconds, answered after so many, and what was told, in milliseconds.
    fn reading(start: Instant, asked: u64, answered: u64, told: i64) -> Reading {
        Reading {
            asked: start + Duration::from_millis(asked),
            answered: start + Duration::from_millis(answered),
            told: clock::Instant::from_micros(told * 1_000).unwrap(),
        }
    }

    #[test]
    fn a_clock_that_was_set_back_is_told_from_a_slow_answer() {
        let start = Instant::now();
        let first = reading(start, 0, 50, 100_000);
        for told in [101_930, 102_000, 102_100, 999_999] {
            assert_eq!(step_between(first, reading(start, 2_000, 2_100, told)), None, "{told}");
        }
        let step = step_between(first, reading(start, 2_000, 2_100, 101_000)).expect("950 ms are missing");
        assert_eq!((step.low.micros(), step.high.micros()), (98_900_000, 102_100_000));
    }
}
