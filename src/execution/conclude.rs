//! How an attempt ends, and with it perhaps its run: a pure function of what the adapter did.

use std::time::Duration;

use crate::clock::Instant;
use crate::domain::counts::Counts;
use crate::domain::failure::{Code, Failure, SUMMARY_ENTRIES_MAX, summarise};
use crate::domain::retry::{RetryPolicy, backoff};
use crate::domain::run::{Completion, HandBackReason, Outcome, Settlement};

/// What an adapter's work came to.
#[derive(Debug)]
pub enum AttemptEnd {
    /// It did what it could.
    Done(Work),
    /// The run was not the canonical one, or not its own: nothing was called.
    NotCanonical,
    /// Stopped because somebody cancelled the run.
    Cancelled,
    /// Stopped for a reason that is not the run's: it goes back to the queue and uses up no try.
    HandBack(HandBackReason),
    /// The hard deadline passed.
    TimedOut,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Work {
    /// Counts.
    pub counts: Counts,
    /// One per item that failed; none means success.
    pub failures: Vec<Failure>,
    /// Another try might succeed.
    pub transient: bool,
    /// The longest wait that the service asked for.
    pub retry_after: Option<Duration>,
    /// Keys for the run's context.
    pub context: serde_json::Map<String, serde_json::Value>,
}

impl AttemptEnd {
    /// A failure that is a bug of ours, or no better name is known for.
    pub fn unexpected(message: &str) -> Self {
        Self::failed(Code::InternalUnexpected, message)
    }

    /// A failure that no other try would mend.
    pub fn failed(code: Code, message: &str) -> Self {
        Self::Done(Work { failures: vec![Failure::new(code, message)], ..Work::default() })
    }
}

/// What the conclusion depends on besides the work.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The attempt's number, from 1.
    pub attempt: i32,
    /// `execution.*`.
    pub retry: RetryPolicy,
    /// The cooldown of the run's operation; zero for a dry run.
    pub cooldown: Duration,
    /// Now.
    pub now: Instant,
    /// A random fraction in `0.0..1.0`.
    pub jitter: f64,
}

/// Decides how the attempt is settled.
pub fn conclude(end: AttemptEnd, terms: &Terms) -> Settlement {
    let failed = |code, message: &str, cooldown| {
        Settlement::Complete(Completion {
            outcome: Outcome::Failed,
            counts: Counts::default(),
            failures: vec![Failure::new(code, message)],
            context: serde_json::Map::new(),
            cooldown,
        })
    };
    match end {
        AttemptEnd::Done(work) => conclude_work(work, terms),
        AttemptEnd::NotCanonical => Settlement::HandBack { reason: HandBackReason::Fenced },
        AttemptEnd::HandBack(reason) => Settlement::HandBack { reason },
        AttemptEnd::Cancelled => failed(Code::RunCancelled, "cancelled on request", Duration::ZERO),
        AttemptEnd::TimedOut => {
            failed(Code::RunTimeout, "the attempt took longer than execution.timeout allows", terms.cooldown)
        }
    }
}

fn conclude_work(work: Work, terms: &Terms) -> Settlement {
    if work.failures.is_empty() {
        return Settlement::Complete(Completion {
            outcome: Outcome::Succeeded,
            counts: work.counts,
            failures: Vec::new(),
            context: work.context,
            cooldown: terms.cooldown,
        });
    }
    let attempt = u32::try_from(terms.attempt).unwrap_or(0);
    let mut failures = summarise(&work.failures);
    if work.transient {
        if let Some(wait) = backoff(&terms.retry, attempt, work.retry_after, terms.jitter) {
            return Settlement::Retry { next_attempt_at: terms.now + wait, counts: work.counts, failures };
        }
        if terms.retry.attempts_max > 1 {
            failures.truncate(SUMMARY_ENTRIES_MAX - 1);
            let message = format!("attempt {attempt} of {} failed too", terms.retry.attempts_max);
            failures.push(Failure::new(Code::RunAttemptsExhausted, &message));
        }
    }
    Settlement::Complete(Completion {
        outcome: Outcome::Failed,
        counts: work.counts,
        failures,
        context: work.context,
        cooldown: terms.cooldown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(attempt: i32) -> Terms {
        Terms {
            attempt,
            retry: RetryPolicy {
                attempts_max: 3,
                backoff_base: Duration::from_secs(2),
                backoff_max: Duration::from_secs(60),
                retry_after_max: Duration::from_secs(300),
            },
            cooldown: Duration::from_secs(900),
            now: Instant::from_micros(0).expect("1970 is in the calendar"),
            jitter: 1.0,
        }
    }

    fn throttled() -> Work {
        Work {
            failures: vec![Failure::new(Code::GraphThrottled, "throttled")],
            transient: true,
            retry_after: Some(Duration::from_secs(30)),
            ..Work::default()
        }
    }

    #[test]
    fn a_transient_failure_waits_as_long_as_the_service_asked() {
        let settlement = conclude(AttemptEnd::Done(throttled()), &terms(1));
        let Settlement::Retry { next_attempt_at, .. } = settlement else {
            panic!("expected a retry: {settlement:?}")
        };
        assert_eq!(next_attempt_at - terms(1).now, chrono::Duration::seconds(30));
    }

    #[test]
    fn the_last_try_is_final_and_says_so() {
        let settlement = conclude(AttemptEnd::Done(throttled()), &terms(3));
        let Settlement::Complete(completion) = settlement else { panic!("expected an end: {settlement:?}") };
        let codes: Vec<_> = completion.failures.iter().map(|failure| failure.code).collect();
        assert_eq!(codes, [Code::GraphThrottled, Code::RunAttemptsExhausted]);
        assert_eq!(completion.cooldown, Duration::from_secs(900));
    }

    #[test]
    fn a_cancelled_run_leaves_no_cooldown_and_a_timed_out_one_does() {
        let cooldown = |end| match conclude(end, &terms(1)) {
            Settlement::Complete(completion) => completion.cooldown,
            other => panic!("expected an end: {other:?}"),
        };
        assert_eq!(cooldown(AttemptEnd::Cancelled), Duration::ZERO);
        assert_eq!(cooldown(AttemptEnd::TimedOut), Duration::from_secs(900));
    }

    #[test]
    fn no_failures_is_success() {
        let settlement = conclude(AttemptEnd::Done(Work::default()), &terms(1));
        assert!(matches!(settlement, Settlement::Complete(Completion { outcome: Outcome::Succeeded, .. })));
    }
}
