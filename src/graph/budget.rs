//! How fast a tenant may be called: the service's limits, kept ahead of time, and its pauses, obeyed by every call.
//!
//! Limits (SPEC section 9): `graph.calls_per_20s` and, of these, `graph.writes_per_20s` per tenant and app,
//! `graph.calls_per_second_global` over all, each in any window wherever it begins, and `graph.parallel` calls under
//! way at the same time. The items of a batch count one by one. After a 429 all calls of the tenant wait, not only the
//! one that was answered: requests made while throttled count against the limit too.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::GraphError;
use super::window::{Spent, Window};
use crate::config::GraphConfig;
use crate::domain::failure::Code;

/// The window of the service's limits per tenant and app.
const TENANT_WINDOW: Duration = Duration::from_secs(20);

/// The window of the service's limit over all tenants.
const GLOBAL_WINDOW: Duration = Duration::from_secs(1);

/// The least time in which the budget lets so many calls through, `writes` of them writes, when nothing else spends
/// it: what is left to wait for at the best, whatever the service's own speed.
pub fn forecast(calls: u64, writes: u64, limits: &GraphConfig) -> Duration {
    let least = |count: u64, limit: u32, window: Duration| {
        let windows = count.saturating_sub(1) / u64::from(limit.max(1));
        window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX))
    };
    let calls = calls.max(writes);
    least(calls, limits.calls_per_20s, TENANT_WINDOW)
        .max(least(writes, limits.writes_per_20s, TENANT_WINDOW))
        .max(least(calls, limits.calls_per_second_global, GLOBAL_WINDOW))
}

/// The budget of all tenants together.
pub(super) fn global(limits: &GraphConfig) -> Window {
    Window::new(limits.calls_per_second_global, GLOBAL_WINDOW)
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
    calls: Window,
    writes: Window,
    global: Arc<Window>,
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

/// A request that may be sent now. Held until it is over: its places in the windows are free one window after that.
pub(super) struct Admission<'a> {
    _spent: [Option<Spent<'a>>; 3],
    _permit: SemaphorePermit<'a>,
}

/// What a request counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Calls: the items of a batch one by one.
    pub(super) calls: u32,
    /// Those of them that change something.
    pub(super) writes: u32,
}

impl Cost {
    /// So many reads.
    pub(super) fn reads(calls: u32) -> Self {
        Self { calls, writes: 0 }
    }

    /// One write.
    pub(super) const WRITE: Self = Self { calls: 1, writes: 1 };
}

impl TenantBudget {
    /// Full.
    pub(super) fn new(limits: &GraphConfig, global: Arc<Window>) -> Self {
        let (paused, _) = watch::channel(None);
        let pauses = Pauses { waited_max: *limits.retry_after_max, kept_max: *limits.pause_max };
        Self {
            calls: Window::new(limits.calls_per_20s, TENANT_WINDOW),
            writes: Window::new(limits.writes_per_20s, TENANT_WINDOW),
            global,
            parallel: Semaphore::new(limits.parallel.max(1)),
            paused,
            pauses,
        }
    }

    /// Waits until a request of this cost may be sent; what it gives is held while the request is under way.
    ///
    /// # Errors
    /// Cancelled; or throttled, without a call, when the service's pause is longer than is waited for.
    pub(super) async fn admit(
        &self,
        cost: Cost,
        cancel: &CancellationToken,
    ) -> Result<Admission<'_>, GraphError> {
        // ORDER: what all tenants share comes last, so that nothing of it is held while this tenant waits for itself.
        let writes = match cost.writes {
            0 => None,
            writes => Some(self.writes.take(writes, cancel).await?),
        };
        let calls = self.calls.take(cost.calls, cancel).await?;
        loop {
            self.outwait_pause(cancel).await?;
            let permit = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(GraphError::cancelled()),
                permit = self.parallel.acquire() => permit.expect("the semaphore is never closed"),
            };
            let global = self.global.take(cost.calls, cancel).await?;
            // RACE: another call may have been throttled while this one waited for its permit.
            if self.remaining().is_none() {
                let mut spent = [writes, Some(calls), Some(global)];
                spent.iter_mut().flatten().for_each(Spent::sent);
                return Ok(Admission { _spent: spent, _permit: permit });
            }
        }
    }

    /// A write's place alone: what may take long is waited for before the last look at what the write replaces.
    ///
    /// # Errors
    /// As [`TenantBudget::admit`].
    pub(super) async fn write_place(&self, cancel: &CancellationToken) -> Result<Spent<'_>, GraphError> {
        let place = self.writes.take(1, cancel).await?;
        self.outwait_pause(cancel).await?;
        Ok(place)
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
    use crate::config::Span;

    fn budget(limit: u32, parallel: usize) -> TenantBudget {
        let limits = GraphConfig {
            calls_per_20s: limit,
            retry_after_max: Span(Duration::from_secs(60)),
            parallel,
            ..GraphConfig::default()
        };
        TenantBudget::new(&limits, Arc::new(global(&limits)))
    }

    async fn waits(budget: &TenantBudget, cost: Cost) -> bool {
        let cancel = CancellationToken::new();
        let admitted = tokio::time::timeout(Duration::from_millis(20), budget.admit(cost, &cancel)).await;
        admitted.is_err()
    }

    #[tokio::test]
    async fn a_pause_of_a_day_is_kept_for_a_quarter_of_an_hour() {
        let budget = budget(1000, 4);
        budget.pause_for(Duration::from_secs(86_400));
        assert!(budget.remaining().expect("a pause") <= Duration::from_secs(900));
    }

    #[tokio::test]
    async fn batch_items_count_one_by_one() {
        let budget = budget(100, 4);
        let cancel = CancellationToken::new();
        for _ in 0..5 {
            drop(budget.admit(Cost::reads(20), &cancel).await.expect("within the limit"));
        }
        assert!(waits(&budget, Cost::reads(1)).await, "the next call waits for the window");
    }

    #[tokio::test]
    async fn writes_count_as_writes_and_as_calls() {
        let cancel = CancellationToken::new();
        let roomy = budget(1000, 4);
        for _ in 0..100 {
            drop(roomy.admit(Cost::WRITE, &cancel).await.expect("within the limit"));
        }
        assert!(waits(&roomy, Cost::WRITE).await, "the next write waits");
        assert!(!waits(&roomy, Cost::reads(20)).await, "reads do not");

        let tight = budget(20, 4);
        for _ in 0..20 {
            drop(tight.admit(Cost::WRITE, &cancel).await.expect("within the limit"));
        }
        assert!(waits(&tight, Cost::reads(1)).await, "writes were calls");
    }

    #[tokio::test]
    async fn a_tenant_that_waits_for_itself_holds_nothing_of_the_others() {
        let limits = GraphConfig { calls_per_second_global: 1, ..GraphConfig::default() };
        let shared = Arc::new(global(&limits));
        let [paused, other] = [(), ()].map(|()| TenantBudget::new(&limits, shared.clone()));
        paused.pause_for(Duration::from_secs(100));
        assert!(waits(&paused, Cost::reads(1)).await);
        assert!(!waits(&other, Cost::reads(1)).await);
    }

    #[test]
    fn a_forecast_is_what_the_tightest_limit_lets_through() {
        let limits = GraphConfig::default();
        for (calls, writes, seconds) in [
            (0, 0, 0),
            (1000, 100, 0),
            (1001, 0, 20),
            (1100, 101, 20),
            (5000, 0, 80),
            // A thousand policies: nine windows after the first hundred writes.
            (3000, 1000, 180),
            (0, 1000, 180),
        ] {
            assert_eq!(forecast(calls, writes, &limits), Duration::from_secs(seconds), "{calls} {writes}");
        }
        let narrow = GraphConfig { calls_per_second_global: 10, ..limits };
        assert_eq!(forecast(101, 0, &narrow), Duration::from_secs(10));
        assert!(forecast(u64::MAX, u64::MAX, &narrow) > Duration::from_secs(1 << 30));
    }

    #[tokio::test]
    async fn a_throttled_tenant_makes_no_call_until_its_pause_is_over() {
        let budget = budget(1000, 4);
        let cancel = CancellationToken::new();
        budget.pause_for(Duration::from_millis(70));
        budget.pause_for(Duration::from_millis(30));
        let begun = Instant::now();
        drop(budget.admit(Cost::reads(1), &cancel).await.expect("not cancelled"));
        assert!(begun.elapsed() >= Duration::from_millis(70));
        assert_eq!(budget.remaining(), None);
    }

    #[tokio::test]
    async fn a_pause_that_is_too_long_fails_without_a_call() {
        let budget = budget(1000, 4);
        budget.pause_for(Duration::from_secs(600));
        let error = budget.admit(Cost::reads(1), &CancellationToken::new()).await.err().expect("too long");
        assert_eq!((error.code, error.transient), (Code::GraphThrottled, true));
        assert!(error.retry_after.expect("the rest of the pause") > Duration::from_secs(590));
    }

    #[tokio::test]
    async fn only_so_many_calls_are_under_way() {
        let budget = budget(1000, 1);
        let cancel = CancellationToken::new();
        let held = budget.admit(Cost::reads(1), &cancel).await.expect("free");
        let second =
            tokio::time::timeout(Duration::from_millis(20), budget.admit(Cost::reads(1), &cancel)).await;
        assert!(second.is_err());
        drop(held);
        drop(budget.admit(Cost::reads(1), &cancel).await.expect("free again"));
    }
}
