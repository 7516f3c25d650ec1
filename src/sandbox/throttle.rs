//! The throttle: so many calls and writes per tenant and application in a sliding window. Requests made while
//! throttled count too, and a call that is repeated before the time that it was told is counted as early.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Instant;

/// How much earlier than told a repetition may come before it counts as early: clocks differ.
const EARLY_TOLERANCE: Duration = Duration::from_millis(10);

/// Calls that are remembered for being told to wait, at the most.
const TOLD_MAX: usize = 100_000;

/// The limits, per tenant and application.
#[derive(Clone, Debug)]
pub struct ThrottleConfig {
    /// Calls of any method in a window.
    pub calls_max: usize,
    /// Writes in a window.
    pub writes_max: usize,
    /// The window.
    pub window: Duration,
    /// How a 429 says how long to wait; used in turn. Empty: as if it were only [`RetryAfterForm::Integer`].
    pub forms: Vec<RetryAfterForm>,
}

impl Default for ThrottleConfig {
    /// Intune's documented limits.
    fn default() -> Self {
        use RetryAfterForm::{Absent, Fraction, HttpDate, InMessage, Integer};
        let forms = vec![Integer, Fraction, HttpDate, InMessage, Absent];
        Self { calls_max: 1000, writes_max: 100, window: Duration::from_secs(20), forms }
    }
}

/// How an answer says how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfterForm {
    /// `Retry-After: 3`.
    Integer,
    /// `Retry-After: 2.128`.
    Fraction,
    /// `Retry-After: Fri, 31 Dec 1999 23:59:59 GMT`.
    HttpDate,
    /// No header; `RetryAfter` inside the JSON text of Intune's message.
    InMessage,
    /// Nowhere.
    Absent,
}

impl RetryAfterForm {
    /// The time that a client was told not to come back before; `now` for one that was told nothing.
    pub fn tells(self, now: Instant, wait: Duration) -> chrono::DateTime<chrono::Utc> {
        let wait = match self {
            Self::Absent => Duration::ZERO,
            Self::Fraction => wait,
            Self::Integer | Self::InMessage => Duration::from_secs(wait.as_secs_f64().ceil().max(1.0) as u64),
            Self::HttpDate => {
                let until = SystemTime::from((now + wait).to_utc());
                let since_epoch = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let whole = Duration::from_secs(since_epoch.as_secs_f64().ceil() as u64);
                return (SystemTime::UNIX_EPOCH + whole).into();
            }
        };
        (now + wait).to_utc()
    }
}

/// The state of the throttle.
#[derive(Debug)]
pub struct Throttle {
    config: ThrottleConfig,
    buckets: BTreeMap<Uuid, Bucket>,
    /// Per call that was told to wait: until when.
    told: BTreeMap<String, Instant>,
    answers: usize,
}

#[derive(Debug, Default)]
struct Bucket {
    calls: VecDeque<Instant>,
    writes: VecDeque<Instant>,
}

impl Throttle {
    /// Empty buckets.
    pub fn new(config: ThrottleConfig) -> Self {
        Self { config, buckets: BTreeMap::new(), told: BTreeMap::new(), answers: 0 }
    }

    /// Whether the call repeats one that was told to wait longer.
    pub fn is_early(&mut self, key: &str, now: Instant) -> bool {
        self.told.remove(key).is_some_and(|until| now + EARLY_TOLERANCE < until)
    }

    /// Counts a call; `Some` with the wait when it is over a limit.
    pub fn count(&mut self, tenant: Uuid, write: bool, now: Instant) -> Option<Duration> {
        let bucket = self.buckets.entry(tenant).or_default();
        let calls = count_in(&mut bucket.calls, self.config.calls_max, self.config.window, now);
        let writes = if write {
            count_in(&mut bucket.writes, self.config.writes_max, self.config.window, now)
        } else {
            None
        };
        calls.max(writes)
    }

    /// The next form of a 429; remembers what the client is told.
    pub fn tell(&mut self, key: String, now: Instant, wait: Duration) -> RetryAfterForm {
        let forms = &self.config.forms;
        let form = forms.get(self.answers % forms.len().max(1)).copied().unwrap_or(RetryAfterForm::Integer);
        self.answers += 1;
        self.tell_until(key, Instant::from(form.tells(now, wait)));
        form
    }

    /// Remembers until when the client was told to wait.
    pub fn tell_until(&mut self, key: String, until: Instant) {
        // LIMIT: calls that are never repeated would pile up.
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        self.told.insert(key, until);
    }
}

/// Adds `now` to the window; the time until a place is free when there are more than `max` in it.
fn count_in(stamps: &mut VecDeque<Instant>, max: usize, window: Duration, now: Instant) -> Option<Duration> {
    while stamps.front().is_some_and(|oldest| *oldest + window <= now) {
        stamps.pop_front();
    }
    stamps.push_back(now);
    let over = stamps.len().checked_sub(max).filter(|over| *over > 0)?;
    // A call made at `free_at` finds `max - 1` others in its window.
    let free_at = stamps.get(over).copied().unwrap_or(now) + window;
    Some((free_at - now).to_std().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Instant {
        Instant::from_micros(millis * 1000).expect("a small time is a time")
    }

    #[test]
    fn a_full_window_frees_a_place_when_its_oldest_call_leaves() {
        let mut stamps = VecDeque::new();
        let window = Duration::from_millis(100);
        assert_eq!(count_in(&mut stamps, 2, window, at(0)), None);
        assert_eq!(count_in(&mut stamps, 2, window, at(10)), None);
        let wait = count_in(&mut stamps, 2, window, at(20)).expect("the third call is one too many");
        let retry = 20 + i64::try_from(wait.as_millis()).expect("a small wait");
        assert_eq!(count_in(&mut stamps, 2, window, at(retry)), None, "the time told is enough");
    }

    #[test]
    fn calls_while_throttled_prolong_the_wait() {
        let mut stamps = VecDeque::new();
        let window = Duration::from_millis(100);
        let waits: Vec<_> = (0..4).map(|n| count_in(&mut stamps, 1, window, at(n * 10))).collect();
        assert_eq!(waits[0], None);
        assert!(waits[1..].iter().all(|wait| *wait == Some(window)));
    }

    #[test]
    fn every_form_tells_a_time_that_is_long_enough() {
        let now = at(1_700_000_000_123);
        let wait = Duration::from_millis(1500);
        use RetryAfterForm::{Absent, Fraction, HttpDate, InMessage, Integer};
        for form in [Integer, Fraction, HttpDate, InMessage] {
            assert!(form.tells(now, wait) >= (now + wait).to_utc(), "{form:?}");
        }
        assert_eq!(Absent.tells(now, wait), now.to_utc());
    }
}
