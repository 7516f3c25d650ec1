//! The checkup: `atlasd doctor` for a daemon at work, at its start and each `doctor.every`, as a metric and a log line
//! per check that is broken. Of history it looks at the newest `doctor.runs_max` runs alone.
//!
//! A task on the multi-thread runtime. It reads only, and nothing depends on it.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::metrics::{Checked, Metrics};
use crate::store::{Finding, Store};

/// The checkup.
pub struct Checkup {
    store: Store,
    metrics: Metrics,
    every: Duration,
    runs_max: u32,
}

impl Checkup {
    /// A checkup that has not begun.
    pub fn new(store: Store, metrics: Metrics, config: &Config) -> Self {
        Self { store, metrics, every: *config.doctor.every, runs_max: config.doctor.runs_max }
    }

    /// Looks for as long as the process lives.
    pub async fn keep(self) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.store.doctor_of_newest(self.runs_max).await {
                Ok(findings) => findings.iter().for_each(|finding| self.tell(finding)),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the ledger could not be examined; looked at again later"
                ),
            }
        }
    }

    fn tell(&self, finding: &Finding) {
        let check = Checked { check: finding.key.clone() };
        self.metrics.doctor_broken.get_or_create(&check).set(finding.broken);
        if finding.broken > 0 {
            tracing::error!(
                guarantee = finding.guarantee,
                check = finding.key,
                broken = finding.broken,
                "the ledger breaks a guarantee: `atlasd doctor` says what to do"
            );
        }
    }
}
