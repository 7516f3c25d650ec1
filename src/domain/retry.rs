//! When a failed attempt is tried again (SPEC section 5): a pure function of the policy, the attempt and chance.

use std::time::Duration;

use serde::Deserialize;

/// The retry policy of executions; every field is a key of `[execution]`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct RetryPolicy {
    /// Tries before a transient failure is final.
    pub attempts_max: u32,
    /// The wait before the second try.
    pub backoff_base: Duration,
    /// The longest wait that the backoff itself asks for.
    pub backoff_max: Duration,
    /// The longest wait that a `Retry-After` may ask for.
    pub retry_after_max: Duration,
}

/// LIMIT: doublings after which the step grows no more, so that the shift cannot overflow.
const DOUBLINGS_MAX: u32 = 16;

/// The wait before the try after `attempt` (counted from 1): exponential with full jitter between half and the whole
/// of the step, never shorter than what the service asked for (`retry_after`, capped), `None` when no try is left.
pub fn backoff(
    policy: &RetryPolicy,
    attempt: u32,
    retry_after: Option<Duration>,
    jitter: f64,
) -> Option<Duration> {
    if attempt >= policy.attempts_max {
        return None;
    }
    let doublings = attempt.saturating_sub(1).min(DOUBLINGS_MAX);
    let step = policy.backoff_base.saturating_mul(1 << doublings).min(policy.backoff_max);
    let half = step / 2;
    // Neither a jitter out of range nor a huge step may panic: `mul_f64` does on both.
    let chance = if jitter.is_nan() { 1.0 } else { jitter.clamp(0.0, 1.0) };
    let jittered = half.saturating_add(half.mul_f64(chance));
    let asked = retry_after.unwrap_or_default().min(policy.retry_after_max);
    Some(jittered.max(asked))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts_max: 5,
        backoff_base: Duration::from_secs(10),
        backoff_max: Duration::from_secs(60),
        retry_after_max: Duration::from_secs(300),
    };

    #[test]
    fn each_wait_is_twice_the_one_before_up_to_the_longest() {
        let waits =
            |jitter| (1..=5).map(|attempt| backoff(&POLICY, attempt, None, jitter)).collect::<Vec<_>>();
        let seconds = |all: [u64; 4]| all.map(|s| Some(Duration::from_secs(s))).into_iter().chain([None]);
        assert_eq!(waits(1.0), seconds([10, 20, 40, 60]).collect::<Vec<_>>());
        assert_eq!(waits(0.0), seconds([5, 10, 20, 30]).collect::<Vec<_>>());
    }

    #[test]
    fn a_service_that_asks_for_more_gets_it_up_to_a_limit() {
        let asked = |s| backoff(&POLICY, 1, Some(Duration::from_secs(s)), 1.0);
        assert_eq!(asked(1), Some(Duration::from_secs(10)));
        assert_eq!(asked(120), Some(Duration::from_secs(120)));
        assert_eq!(asked(100_000), Some(Duration::from_secs(300)));
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(
            attempts_max in 0..40_u32, base in any::<u64>(), longest in any::<u64>(), after_max in any::<u64>(),
            attempt in 0..50_u32, asked in proptest::option::of(any::<u64>()), jitter in any::<f64>(),
        ) {
            let policy = RetryPolicy {
                attempts_max,
                backoff_base: Duration::from_millis(base),
                backoff_max: Duration::from_millis(longest),
                retry_after_max: Duration::from_millis(after_max),
            };
            let asked = asked.map(Duration::from_millis);
            match backoff(&policy, attempt, asked, jitter) {
                None => prop_assert!(attempt >= attempts_max),
                Some(wait) => {
                    prop_assert!(attempt < attempts_max);
                    let owed = asked.unwrap_or_default().min(policy.retry_after_max);
                    let step = policy.backoff_base.min(policy.backoff_max) / 2;
                    // A float of 53 bits rounds what is longer than some months to the next few nanoseconds.
                    let slack = policy.backoff_max.mul_f64(1e-9) + Duration::from_nanos(1);
                    prop_assert!(wait >= owed && wait >= step, "{wait:?}");
                    prop_assert!(wait <= policy.backoff_max.max(owed) + slack, "{wait:?}");
                }
            }
        }
    }
}
