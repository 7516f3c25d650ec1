//! How fast a tenant may be called: the service's limits, kept ahead of time, and its pauses, obeyed by every call.
//!
//! Limits (SPEC section 9): `graph.calls_per_20s` per tenant and app, `graph.calls_per_second_global` over all, and
//! `graph.parallel` calls under way at the same time. The items of a batch count one by one. After a 429 all calls of
//! the tenant wait, not only the one that was answered: requests made while throttled count against the limit too.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::GraphError;
use crate::domain::failure::Code;

/// A bucket that lets no more than its limit through in any window: a fifth of it at once, the rest evenly.
pub(super) struct Bucket {
    limiter: DefaultDirectRateLimiter,
    burst: u32,
}

impl Bucket {
    /// At most `limit` calls in any `window`; both more than zero, which the configuration's validation checks.
    pub(super) fn new(limit: u32, window: Duration) -> Self {
        let burst = NonZeroU32::new(limit / 5).unwrap_or(NonZeroU32::MIN);
        let refilled = limit.saturating_sub(burst.get()).max(1);
        let quota = Quota::with_period(window / refilled)
            .expect("a window of seconds divided by a u32 is more than zero")
            .allow_burst(burst);
        Self { limiter: RateLimiter::direct(quota), burst: burst.get() }
    }

    /// Waits until `calls` more may be made.
    async fn take(&self, mut calls: u32, cancel: &CancellationToken) -> Result<(), GraphError> {
        while calls > 0 {
            let part = calls.min(self.burst);
            let cells = NonZeroU32::new(part).expect("part is at least 1: both operands are");
            match self.limiter.check_n(cells).expect("part is at most the burst") {
                Ok(()) => calls -= part,
                Err(early) => {
                    let wait = early.wait_time_from(DefaultClock::default().now());
                    pause(wait.max(Duration::from_millis(1)), cancel).await?;
                }
            }
        }
        Ok(())
    }
}

/// Waits, or fails as cancelled.
pub(super) async fn pause(wait: Duration, cancel: &CancellationToken) -> Result<(), GraphError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(GraphError::cancelled()),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

/// The budget of one tenant and app, shared by all its clients.
pub(super) struct TenantBudget {
    own: Bucket,
    global: Arc<Bucket>,
    parallel: Semaphore,
    /// Until when the service wants no calls; watched by whoever shows it.
    paused: watch::Sender<Option<Instant>>,
    pauses: Pauses,
}

/// How pauses that the service asks for are treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    /// The longest that is waited for (`graph.retry_after_max`): calls within a longer one fail without being sent.
    pub(super) waited_max: Duration,
    /// The longest that is kept (`graph.pause_max`): after that a call is tried, whatever was asked for.
    pub(super) kept_max: Duration,
}

impl TenantBudget {
    /// Full.
    pub(super) fn new(own: Bucket, global: Arc<Bucket>, parallel: usize, pauses: Pauses) -> Self {
        let (paused, _) = watch::channel(None);
        Self { own, global, parallel: Semaphore::new(parallel), paused, pauses }
    }

    /// Waits until a request that costs `calls` may be sent; the permit is held while it is under way.
    ///
    /// # Errors
    /// Cancelled; or throttled, without a call, when the service's pause is longer than is waited for.
    pub(super) async fn admit(
        &self,
        calls: u32,
        cancel: &CancellationToken,
    ) -> Result<SemaphorePermit<'_>, GraphError> {
        self.own.take(calls, cancel).await?;
        self.global.take(calls, cancel).await?;
        loop {
            self.outwait_pause(cancel).await?;
            let permit = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(GraphError::cancelled()),
                permit = self.parallel.acquire() => permit.expect("the semaphore is never closed"),
            };
            // RACE: another call may have been throttled while this one waited for its permit.
            if self.remaining().is_none() {
                return Ok(permit);
            }
        }
    }

    /// Stops all calls of the tenant for `wait`, at most for the longest pause that is kept.
    pub(super) fn pause_for(&self, wait: Duration) {
        let until = Instant::now() + wait.min(self.pauses.kept_max);
        self.paused.send_if_modified(|paused| {
            let later = paused.is_none_or(|known| known < until);
            if later {
                *paused = Some(until);
            }
            later
        });
    }

    /// Announces new pauses.
    pub(super) fn pauses(&self) -> watch::Receiver<Option<Instant>> {
        self.paused.subscribe()
    }

    /// What is left of the pause.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let until = (*self.paused.borrow())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    async fn outwait_pause(&self, cancel: &CancellationToken) -> Result<(), GraphError> {
        while let Some(left) = self.remaining() {
            if left > self.pauses.waited_max {
                let throttled = GraphError::local(Code::GraphThrottled, true);
                return Err(GraphError { retry_after: Some(left), ..throttled });
            }
            pause(left, cancel).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u32, parallel: usize) -> TenantBudget {
        let global = Arc::new(Bucket::new(1_000_000, Duration::from_secs(1)));
        let own = Bucket::new(limit, Duration::from_secs(20));
        let pauses = Pauses { waited_max: Duration::from_secs(60), kept_max: Duration::from_secs(900) };
        TenantBudget::new(own, global, parallel, pauses)
    }

    #[tokio::test]
    async fn a_pause_of_a_day_is_kept_for_a_quarter_of_an_hour() {
        let budget = budget(1000, 4);
        budget.pause_for(Duration::from_secs(86_400));
        assert!(budget.remaining().expect("a pause") <= Duration::from_secs(900));
    }

    #[tokio::test]
    async fn batch_items_count_one_by_one() {
        let bucket = Bucket::new(100, Duration::from_secs(3600));
        let cancel = CancellationToken::new();
        bucket.take(20, &cancel).await.expect("the burst is a fifth");
        let more = tokio::time::timeout(Duration::from_millis(20), bucket.take(1, &cancel)).await;
        assert!(more.is_err(), "the next call waits for the refill");
    }

    #[tokio::test]
    async fn a_cost_above_the_burst_is_taken_in_parts() {
        let bucket = Bucket::new(20, Duration::from_millis(40));
        bucket.take(20, &CancellationToken::new()).await.expect("not cancelled");
    }

    #[tokio::test]
    async fn no_window_holds_more_than_the_limit() {
        let (limit, window) = (50, Duration::from_millis(200));
        let bucket = Bucket::new(limit, window);
        let cancel = CancellationToken::new();
        let begun = Instant::now();
        bucket.take(limit * 2, &cancel).await.expect("not cancelled");
        assert!(begun.elapsed() >= window, "twice the limit needs more than one window");
    }

    #[tokio::test]
    async fn a_wait_for_the_budget_can_be_cancelled() {
        let bucket = Bucket::new(5, Duration::from_secs(3600));
        let cancel = CancellationToken::new();
        bucket.take(1, &cancel).await.expect("the burst is one");
        let (waiting, ()) = tokio::join!(bucket.take(5, &cancel), async { cancel.cancel() });
        assert!(waiting.expect_err("cancelled").is_cancelled());
    }

    #[tokio::test]
    async fn a_throttled_tenant_makes_no_call_until_its_pause_is_over() {
        let budget = budget(1000, 4);
        let cancel = CancellationToken::new();
        budget.pause_for(Duration::from_millis(70));
        budget.pause_for(Duration::from_millis(30));
        let begun = Instant::now();
        drop(budget.admit(1, &cancel).await.expect("not cancelled"));
        assert!(begun.elapsed() >= Duration::from_millis(70));
        assert_eq!(budget.remaining(), None);
    }

    #[tokio::test]
    async fn a_pause_that_is_too_long_fails_without_a_call() {
        let budget = budget(1000, 4);
        budget.pause_for(Duration::from_secs(600));
        let error = budget.admit(1, &CancellationToken::new()).await.expect_err("too long");
        assert_eq!((error.code, error.transient), (Code::GraphThrottled, true));
        assert!(error.retry_after.expect("the rest of the pause") > Duration::from_secs(590));
    }

    #[tokio::test]
    async fn only_so_many_calls_are_under_way() {
        let budget = budget(1000, 1);
        let cancel = CancellationToken::new();
        let held = budget.admit(1, &cancel).await.expect("free");
        let second = tokio::time::timeout(Duration::from_millis(20), budget.admit(1, &cancel)).await;
        assert!(second.is_err());
        drop(held);
        drop(budget.admit(1, &cancel).await.expect("free again"));
    }
}
