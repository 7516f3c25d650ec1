//! The checkup: `atlasd doctor` for a daemon at work, at its start and each `doctor.every`, as a metric and a log line
//! per check that is broken. Of history it looks at the newest `doctor.runs_max` runs alone.
//!
//! Whoever looks at the metric sees how old it is: `atlasd_doctor_last_success_timestamp_seconds` is the time of the last
//! look that left no check out.
//!
//! A task on the multi-thread runtime. It reads only, and nothing depends on it.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::metrics::{Checked, Metrics};
use crate::store::{Finding, Store, StoreError};

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
            if let Err(error) = self.look().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the ledger could not be examined; looked at again later"
                );
            }
        }
    }

    /// One look. The time of the last success moves on only when every check was made.
    async fn look(&self) -> Result<(), StoreError> {
        let findings = self.store.doctor_of_newest(self.runs_max).await?;
        findings.iter().for_each(|finding| self.tell(finding));
        if findings.iter().all(Finding::is_examined) {
            let now = self.store.now().await?;
            #[expect(
                clippy::cast_precision_loss,
                reason = "a microsecond more or less does not matter here"
            )]
            self.metrics.doctor_succeeded.set(now.micros() as f64 / 1e6);
        }
        Ok(())
    }

    /// What could not be examined keeps its last figure: a limit of time is no broken guarantee.
    fn tell(&self, finding: &Finding) {
        if !finding.is_examined() {
            tracing::warn!(
                guarantee = finding.guarantee,
                check = finding.key,
                why = finding.advice,
                "a check of the ledger could not be made; looked at again later"
            );
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::ids::RunId;
    use crate::store::{self, DatabaseUrl};

    async fn checkup(folder: &std::path::Path) -> Checkup {
        let url = DatabaseUrl::Sqlite(folder.join("ledger.db"));
        let migrated = url.clone();
        let applied = tokio::task::spawn_blocking(move || store::migrate(&migrated)).await;
        applied.expect("it ends").expect("the migrations apply");
        let config = Config::default();
        let runtime = tokio::runtime::Handle::current();
        let store = Store::open(&url, &config.database, Clock::system(), runtime).await.expect("it opens");
        Checkup::new(store, Metrics::new(), &config)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_look_that_fails_leaves_the_time_of_the_last_success() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let checkup = checkup(folder.path()).await;
        assert!(checkup.metrics.doctor_succeeded.get() < 1.0);
        checkup.look().await.expect("a fresh ledger can be examined");
        let first = checkup.metrics.doctor_succeeded.get();
        assert!(first > 1e9, "{first}");
        checkup.store.close().await;
        checkup.look().await.expect_err("the store is closed");
        assert!((checkup.metrics.doctor_succeeded.get() - first).abs() < f64::EPSILON);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_could_not_be_examined_keeps_its_figure() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let checkup = checkup(folder.path()).await;
        let finding = |looked_at, broken| Finding {
            guarantee: "G1".into(),
            key: "active_unique".into(),
            check: "one active run per identity".into(),
            looked_at,
            broken,
            examples: vec![RunId(3)],
            advice: "cancel it".into(),
        };
        let figure = || {
            let check = Checked { check: "active_unique".into() };
            checkup.metrics.doctor_broken.get_or_create(&check).get()
        };
        checkup.tell(&finding(7, 2));
        assert_eq!(figure(), 2);
        checkup.tell(&finding(0, 1));
        assert_eq!(figure(), 2);
        checkup.tell(&finding(7, 0));
        assert_eq!(figure(), 0);
    }
}
