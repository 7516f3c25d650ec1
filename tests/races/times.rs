//! How long things took: percentiles of what was measured, not of buckets.

use std::fmt;
use std::time::Duration;

/// Times, in microseconds, in order.
pub struct Times(Vec<u64>);

impl Times {
    pub fn of(micros: impl IntoIterator<Item = u64>) -> Self {
        let mut micros: Vec<u64> = micros.into_iter().collect();
        micros.sort_unstable();
        Self(micros)
    }

    /// The time that `percent` of all stay within.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let at = (self.0.len() * percent).div_ceil(100).saturating_sub(1).min(last);
        Duration::from_micros(self.0.get(at).copied().unwrap_or(0))
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, max) = (self.percentile(50), self.percentile(99), self.percentile(100));
        write!(f, "{} requests, p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}", self.0.len())
    }
}

#[test]
fn percentiles_are_those_of_the_sorted_times() {
    let times = Times::of((1..=200).rev());
    let micros = |percent| times.percentile(percent).as_micros();
    assert_eq!((micros(50), micros(99), micros(100)), (100, 198, 200));
    assert_eq!(Times::of([]).percentile(99), Duration::ZERO);
}
