//! The restart rules: one table, and the arithmetic on it.
//!
//! | actor | when it panics | backoff | limit |
//! | --- | --- | --- | --- |
//! | run registry | the process ends: its memory may be wrong, a new process rebuilds it from the ledger | - | - |
//! | workspace reconcile | started again | 100 ms, doubling to 5 s | 5 in 60 s, then the process ends |
//! | tenant | started again; its neighbours go on | 100 ms, doubling to 5 s | 5 in 60 s, then left alone for 60 s |

use std::collections::VecDeque;
use std::time::Duration;

/// What to do when restarts do not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastResort {
    /// End the process; whoever runs it starts it anew.
    ExitProcess,
    /// Leave the child alone for [`RestartRule::window`]; its work waits in the ledger.
    LeaveAlone,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct RestartRule {
    /// The wait before the first restart; doubles with each one in the window.
    pub backoff_first: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// Restarts in [`RestartRule::window`] at the most.
    pub restarts_max: usize,
    /// How long a restart counts.
    pub window: Duration,
    /// What comes after the last one.
    pub last_resort: LastResort,
}

/// The run registry.
pub const REGISTRY: RestartRule = RestartRule {
    backoff_first: Duration::ZERO,
    backoff_max: Duration::ZERO,
    restarts_max: 0,
    window: Duration::from_secs(60),
    last_resort: LastResort::ExitProcess,
};
/// The workspace reconcile actor.
pub const RECONCILE: RestartRule = RestartRule {
    backoff_first: Duration::from_millis(100),
    backoff_max: Duration::from_secs(5),
    restarts_max: 5,
    window: Duration::from_secs(60),
    last_resort: LastResort::ExitProcess,
};
/// A tenant.
pub const TENANT: RestartRule = RestartRule { last_resort: LastResort::LeaveAlone, ..RECONCILE };

/// What to do about a child that panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Start it again after this wait.
    After(Duration),
    /// Too many: see the rule's last resort.
    GiveUp(LastResort),
}

/// The recent restarts of one child.
#[derive(Clone, Debug, Default)]
pub struct RestartLog {
    /// Times since an arbitrary start, oldest first; no more than the rule's `restarts_max`.
    recent: VecDeque<Duration>,
    /// All restarts ever.
    pub total: u32,
}

impl RestartLog {
    /// Records a panic at `now` (time since an arbitrary start) and says what to do.
    pub fn panicked(&mut self, rule: &RestartRule, now: Duration) -> Restart {
        while self.recent.front().is_some_and(|time| now.saturating_sub(*time) >= rule.window) {
            self.recent.pop_front();
        }
        if self.recent.len() >= rule.restarts_max {
            return Restart::GiveUp(rule.last_resort);
        }
        let doublings = u32::try_from(self.recent.len()).unwrap_or(u32::MAX).min(16);
        self.recent.push_back(now);
        self.total += 1;
        Restart::After(rule.backoff_first.saturating_mul(1 << doublings).min(rule.backoff_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_never_used_further() {
        let verdict = RestartLog::default().panicked(&REGISTRY, Duration::ZERO);
        assert_eq!(verdict, Restart::GiveUp(LastResort::ExitProcess));
    }

    #[test]
    fn a_tenant_backs_off_is_left_alone_and_comes_back() {
        let mut log = RestartLog::default();
        let waits: Vec<_> = (0..6).map(|second| log.panicked(&TENANT, Duration::from_secs(second))).collect();
        let millis = |ms| Restart::After(Duration::from_millis(ms));
        let expected = [
            millis(100),
            millis(200),
            millis(400),
            millis(800),
            millis(1600),
            Restart::GiveUp(LastResort::LeaveAlone),
        ];
        assert_eq!(waits, expected);
        assert_eq!(
            log.panicked(&TENANT, Duration::from_secs(60)),
            millis(1600),
            "the first has aged out of the window"
        );
    }
}
