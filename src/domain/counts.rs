//! Summary counts, normalised (SPEC section 6).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A key that a summary may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountKey {
    /// Policies in scope; candidates of a reconcile.
    Total,
    /// `succeeded + failed + skipped`.
    Processed,
    /// Items done.
    Succeeded,
    /// Items that failed.
    Failed,
    /// Items left alone.
    Skipped,
    /// New since the last snapshot; runs put back in the queue.
    Created,
    /// Changed since the last snapshot; policies written; runs completed from their adapter run.
    Updated,
    /// Gone since the last snapshot.
    Deleted,
    /// Assignments read.
    Items,
    /// Tenants touched.
    Tenants,
}

/// The largest value: 2^53 - 1, the largest integer that JSON readers agree on.
pub const COUNT_MAX: u64 = (1 << 53) - 1;

/// Normalised counts: only allowed keys, integers from 0 to [`COUNT_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = BTreeMap<String, u64>)]
pub struct Counts(BTreeMap<CountKey, u64>);

impl Counts {
    /// Keeps what SPEC section 6 allows of any JSON value: unknown keys dropped, numeric strings and floats
    /// truncated, negative and non-numeric dropped, large clamped.
    pub fn normalise(_raw: &serde_json::Value) -> Self {
        todo!()
    }

    /// Sets a count, clamped to [`COUNT_MAX`].
    pub fn with(mut self, key: CountKey, value: u64) -> Self {
        self.0.insert(key, value.min(COUNT_MAX));
        self
    }

    /// The value of `key`, 0 when absent.
    pub fn get(&self, key: CountKey) -> u64 {
        self.0.get(&key).copied().unwrap_or(0)
    }

    /// For items-based operations: sets `processed = succeeded + failed + skipped` and raises `total` to at
    /// least that.
    pub fn balanced(self) -> Self {
        todo!()
    }
}
