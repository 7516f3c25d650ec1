//! Counts what the ledger has to do, each `EVERY`, for the metrics: a scrape never asks the database.
//!
//! A task on the multi-thread runtime. It reads only, and nothing depends on it.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::metrics::{Metrics, State};
use crate::store::{Census, Store};

/// As often as monitors look.
const EVERY: Duration = Duration::from_secs(15);

/// Counts for as long as the process lives. What cannot be counted keeps its last numbers: that the ledger is away is told
/// by the heartbeat.
pub async fn keep(store: Store, metrics: Metrics) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.census().await {
            Ok(census) => tell(&metrics, census),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the active runs could not be counted; counted again later"
            ),
        }
    }
}

fn tell(metrics: &Metrics, census: Census) {
    for (state, runs) in [("queued", census.queued), ("running", census.running)] {
        metrics.runs_active.get_or_create(&State { state }).set(runs);
    }
    let waited = census.oldest_queued.map(|since| (census.now - since).to_std().unwrap_or_default());
    metrics.oldest_queued.set(waited.unwrap_or_default().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Instant;

    #[test]
    fn the_oldest_queued_run_is_told_by_its_age() {
        let metrics = Metrics::new();
        let now = Instant::from_micros(1_700_000_000_000_000).expect("within the calendar");
        let census = |oldest_queued| Census { queued: 2, running: 1, oldest_queued, now };
        tell(&metrics, census(Some(now - chrono::Duration::seconds(90))));
        assert_eq!(metrics.oldest_queued.get(), 90.0);
        assert_eq!(metrics.runs_active.get_or_create(&State { state: "queued" }).get(), 2);
        tell(&metrics, census(None));
        assert_eq!(metrics.oldest_queued.get(), 0.0);
    }
}
