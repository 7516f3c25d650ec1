//! Chance that can be replayed.

#![allow(dead_code, reason = "every test binary includes this file and uses its own part of it")]

use std::time::Duration;

/// A small generator of our own, so that a seed means the same for ever (SplitMix64).
pub struct Moments(pub u64);

impl Moments {
    /// Of `ATLASD_TEST_SEED`, else of this process; the seed is printed.
    pub fn seeded() -> Self {
        let seed = from_env("ATLASD_TEST_SEED", u64::from(std::process::id()));
        println!("ATLASD_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, choice: &'a [T]) -> &'a T {
        &choice[usize::try_from(self.below(choice.len() as u64)).expect("an index")]
    }

    /// A time between these, in milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// A number that the environment may set.
pub fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}
