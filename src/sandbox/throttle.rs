//! The throttle: so many calls and writes in a sliding window, per tenant and application, per tenant over all its
//! applications, and over all tenants. Requests made while throttled count too, and a call that is repeated before the
//! time that it was told is counted as early.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Instant;

/// How much earlier than told a repetition may come before it counts as early: clocks differ.
const EARLY_TOLERANCE: Duration = Duration::from_millis(10);

/// Calls that are remembered for being told to wait, at the most.
const TOLD_MAX: usize = 100_000;

/// The limits.
#[derive(Clone, Debug)]
pub struct ThrottleConfig {
    /// Calls of any method in a window, per tenant and application.
    pub calls_max: usize,
    /// Writes in a window, per tenant and application.
    pub writes_max: usize,
    /// Calls of any method in a window, per tenant, of all its applications together.
    pub tenant_calls_max: usize,
    /// Writes in a window, per tenant, of all its applications together.
    pub tenant_writes_max: usize,
    /// The window.
    pub window: Duration,
    /// Calls of all tenants in one second.
    pub global_calls_per_second_max: usize,
    /// How a 429 says how long to wait; used in turn. Empty: as if it were only [`RetryAfterForm::Integer`].
    pub forms: Vec<RetryAfterForm>,
}

impl Default for ThrottleConfig {
    /// Intune's documented limits.
    fn default() -> Self {
        use RetryAfterForm::{Absent, Fraction, HttpDate, InMessage, Integer};
        let forms = vec![Integer, Fraction, HttpDate, InMessage, Absent];
        Self {
            calls_max: 1000,
            writes_max: 100,
            tenant_calls_max: 2000,
            tenant_writes_max: 200,
            window: Duration::from_secs(20),
            global_calls_per_second_max: 2000,
            forms,
        }
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

/// A limit of the throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Calls of one application in a tenant.
    AppCalls,
    /// Writes of one application in a tenant.
    AppWrites,
    /// Calls of all applications of a tenant.
    TenantCalls,
    /// Writes of all applications of a tenant.
    TenantWrites,
    /// Calls of all tenants.
    GlobalCalls,
}

/// What the throttle makes of a call.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The limits that it is over, each with the wait.
    pub over: Vec<(Limit, Duration)>,
    /// The tenant's calls of this application in the window that ends with it, itself included.
    pub calls: usize,
    /// The same of writes; 0 for a call that is none.
    pub writes: usize,
}

/// The state of the throttle.
#[derive(Debug)]
pub struct Throttle {
    config: ThrottleConfig,
    buckets: BTreeMap<Uuid, Bucket>,
    global: VecDeque<Instant>,
    /// Per call that was told to wait: until when.
    told: BTreeMap<String, Instant>,
    answers: usize,
}

/// The calls of a tenant in the window: this application's, and everybody's.
#[derive(Debug, Default)]
struct Bucket {
    calls: VecDeque<Instant>,
    writes: VecDeque<Instant>,
    shared_calls: VecDeque<Instant>,
    shared_writes: VecDeque<Instant>,
}

impl Throttle {
    /// Empty buckets.
    pub fn new(config: ThrottleConfig) -> Self {
        let (buckets, global, told) = (BTreeMap::new(), VecDeque::new(), BTreeMap::new());
        Self { config, buckets, global, told, answers: 0 }
    }

    /// Whether the call repeats one that was told to wait longer.
    pub fn is_early(&mut self, key: &str, now: Instant) -> bool {
        self.told.remove(key).is_some_and(|until| now + EARLY_TOLERANCE < until)
    }

    /// Counts a call against every limit.
    pub(super) fn count(&mut self, tenant: Uuid, write: bool, now: Instant) -> Counted {
        let ThrottleConfig { window, .. } = self.config;
        let limits = &self.config;
        let bucket = self.buckets.entry(tenant).or_default();
        let mut counted = Counted::default();
        let mut count = |limit, stamps: &mut VecDeque<Instant>, max, window| {
            let wait = count_in(stamps, max, window, now);
            counted.over.extend(wait.map(|wait| (limit, wait)));
            stamps.len()
        };
        let calls = count(Limit::AppCalls, &mut bucket.calls, limits.calls_max, window);
        count(Limit::TenantCalls, &mut bucket.shared_calls, limits.tenant_calls_max, window);
        let second = Duration::from_secs(1);
        count(Limit::GlobalCalls, &mut self.global, limits.global_calls_per_second_max, second);
        let mut writes = 0;
        if write {
            writes = count(Limit::AppWrites, &mut bucket.writes, limits.writes_max, window);
            count(Limit::TenantWrites, &mut bucket.shared_writes, limits.tenant_writes_max, window);
        }
        Counted { calls, writes, ..counted }
    }

    /// Counts calls of other applications of the tenant.
    pub(super) fn others_use(&mut self, tenant: Uuid, calls: usize, writes: usize, now: Instant) {
        let bucket = self.buckets.entry(tenant).or_default();
        bucket.shared_calls.extend(std::iter::repeat_n(now, calls));
        bucket.shared_writes.extend(std::iter::repeat_n(now, writes));
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
    fn each_limit_counts_what_it_is_for() {
        let mut throttle = Throttle::new(ThrottleConfig {
            calls_max: 2,
            writes_max: 1,
            tenant_calls_max: 3,
            tenant_writes_max: 2,
            global_calls_per_second_max: 4,
            ..ThrottleConfig::default()
        });
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut over = |tenant, write| {
            let counted = throttle.count(tenant, write, at(0));
            counted.over.into_iter().map(|(limit, _)| limit).collect::<Vec<_>>()
        };
        assert_eq!(over(one, true), []);
        assert_eq!(over(one, true), [Limit::AppWrites]);
        assert_eq!(over(one, false), [Limit::AppCalls]);
        assert_eq!(over(two, false), [], "another tenant's");
        assert_eq!(over(two, false), [Limit::GlobalCalls], "the fifth of all");
        assert_eq!(
            over(one, true),
            [Limit::AppCalls, Limit::TenantCalls, Limit::GlobalCalls, Limit::AppWrites, Limit::TenantWrites]
        );
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
