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
    let doublings = attempt.saturating_sub(1).min(16);
    let step = policy.backoff_base.saturating_mul(1 << doublings).min(policy.backoff_max);
    let jittered = step.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    let asked = retry_after.unwrap_or_default().min(policy.retry_after_max);
    Some(jittered.max(asked))
}
