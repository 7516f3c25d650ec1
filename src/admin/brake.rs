//! Holds those up who try tokens: each unknown token (or session) costs a look at the ledger, so an address has only so
//! many in a minute (`http.failures_per_address`), and all that had some have only so many together
//! (`http.failures_total`).
//!
//! Whom it never holds up: a token or session that this instance has seen good, and an address that had no failure of
//! late. What remains: a token's first use on this instance, from an address that others fill with wrong ones, may have
//! to be tried again; a place comes free every few seconds.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::HttpConfig;

/// LIMIT: addresses with failures in memory; a further one takes the place of any.
const ADDRESSES_MAX: usize = 10_000;
/// What limits are counted in.
const MINUTE: Duration = Duration::from_secs(60);

/// Failures of late. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Brake(Arc<Mutex<Failures>>);

#[derive(Default)]
struct Failures {
    total: Level,
    by_address: HashMap<IpAddr, Level>,
}

/// Failures that have not been forgotten yet: their number falls evenly, by the limit in a minute.
#[derive(Clone, Copy, Default)]
struct Level {
    failures: f64,
    at: Option<Instant>,
}

impl Level {
    fn at(self, now: Instant, limit: f64) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let fallen = now.saturating_duration_since(at).as_secs_f64() * limit / MINUTE.as_secs_f64();
        (self.failures - fallen).max(0.0)
    }

    /// How long until there is room for one more; `None` when there is.
    fn wait(self, now: Instant, limit: f64) -> Option<Duration> {
        let over = self.at(now, limit) + 1.0 - limit;
        (over > 0.0).then(|| MINUTE.mul_f64(over / limit))
    }

    fn add(&mut self, now: Instant, limit: f64) {
        *self = Self { failures: self.at(now, limit) + 1.0, at: Some(now) };
    }
}

impl Brake {
    /// How long an address has to wait until another unknown token of its is looked for; `None` for not at all.
    pub fn wait(&self, address: IpAddr, limits: &HttpConfig, now: Instant) -> Option<Duration> {
        let failures = self.0.lock().expect("no code panics while it holds this lock");
        // An address without failures of its own is nobody's hostage.
        let own = failures.by_address.get(&network(address))?;
        let one = own.wait(now, f64::from(limits.failures_per_address));
        let fresh = own.at(now, f64::from(limits.failures_per_address)) == 0.0;
        one.or_else(|| failures.total.wait(now, f64::from(limits.failures_total)).filter(|_| !fresh))
    }

    /// Counts a token that was looked for and not found.
    pub fn failed(&self, address: IpAddr, limits: &HttpConfig, now: Instant) {
        let mut failures = self.0.lock().expect("no code panics while it holds this lock");
        let limit = f64::from(limits.failures_per_address);
        failures.total.add(now, f64::from(limits.failures_total));
        let address = network(address);
        if failures.by_address.len() >= ADDRESSES_MAX && !failures.by_address.contains_key(&address) {
            failures.by_address.retain(|_, level| level.at(now, limit) > 0.0);
            let any = failures.by_address.keys().next().copied();
            if let Some(any) = any.filter(|_| failures.by_address.len() >= ADDRESSES_MAX) {
                failures.by_address.remove(&any);
            }
        }
        failures.by_address.entry(address).or_default().add(now, limit);
    }
}

/// What counts as one address: of IPv6 a whole network, which one machine may have for itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_address: u32, total: u32) -> HttpConfig {
        HttpConfig { failures_per_address: per_address, failures_total: total, ..HttpConfig::default() }
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn an_address_is_held_up_after_its_failures_and_no_other_is() {
        let (brake, limits, now) = (Brake::default(), limits(3, 600), Instant::now());
        for _ in 0..3 {
            assert_eq!(brake.wait(address(1), &limits, now), None);
            brake.failed(address(1), &limits, now);
        }
        let wait = brake.wait(address(1), &limits, now).expect("held up");
        assert!(wait > Duration::from_secs(19) && wait <= Duration::from_secs(21), "{wait:?}");
        assert_eq!(brake.wait(address(2), &limits, now), None);
        assert_eq!(brake.wait(address(1), &limits, now + Duration::from_secs(21)), None);
    }

    #[test]
    fn all_that_failed_share_a_limit_and_the_others_do_not() {
        let (brake, limits, now) = (Brake::default(), limits(3, 4), Instant::now());
        for last in 1..=4 {
            brake.failed(address(last), &limits, now);
        }
        assert!(brake.wait(address(1), &limits, now).is_some());
        assert_eq!(brake.wait(address(9), &limits, now), None, "who has not failed is not held up");
    }

    #[test]
    fn memory_is_bounded_and_a_network_counts_once() {
        let (brake, limits, now) = (Brake::default(), limits(1, 1), Instant::now());
        for index in 0..=u32::try_from(ADDRESSES_MAX).unwrap() {
            brake.failed(IpAddr::V4(index.into()), &limits, now);
        }
        assert_eq!(brake.0.lock().unwrap().by_address.len(), ADDRESSES_MAX);
        let brake = Brake::default();
        brake.failed("2001:db8:1:2::1".parse().unwrap(), &limits, now);
        assert!(brake.wait("2001:db8:1:2:ffff::9".parse().unwrap(), &limits, now).is_some());
        assert!(brake.wait("2001:db8:1:3::1".parse().unwrap(), &limits, now).is_none());
    }
}
