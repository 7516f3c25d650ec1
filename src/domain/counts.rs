//! Summary counts, normalised (SPEC section 6).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    pub fn normalise(raw: &Value) -> Self {
        let Value::Object(entries) = raw else { return Self::default() };
        let kept = entries.iter().filter_map(|(key, value)| Some((CountKey::parse(key)?, count(value)?)));
        Self(kept.collect())
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
    /// least that. (Sums beyond [`COUNT_MAX`] are clamped to it.)
    pub fn balanced(self) -> Self {
        let parts = [CountKey::Succeeded, CountKey::Failed, CountKey::Skipped];
        let processed =
            parts.map(|key| self.get(key)).into_iter().fold(0, u64::saturating_add).min(COUNT_MAX);
        let total = self.get(CountKey::Total).max(processed);
        self.with(CountKey::Processed, processed).with(CountKey::Total, total)
    }
}

impl CountKey {
    /// Every key, in the order of the SPEC.
    pub const ALL: [Self; 10] = [
        Self::Total,
        Self::Processed,
        Self::Succeeded,
        Self::Failed,
        Self::Skipped,
        Self::Created,
        Self::Updated,
        Self::Deleted,
        Self::Items,
        Self::Tenants,
    ];

    /// The key as the ledger has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Processed => "processed",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Items => "items",
            Self::Tenants => "tenants",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str() == text)
    }
}

/// What a value counts, if it is a number or the text of one.
fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => {
            number.as_u64().map(|exact| exact.min(COUNT_MAX)).or(truncate(number.as_f64()?))
        }
        Value::String(text) => count_of_text(text.trim_ascii()),
        _ => None,
    }
}

fn count_of_text(text: &str) -> Option<u64> {
    if let Ok(exact) = text.parse::<u64>() {
        return Some(exact.min(COUNT_MAX));
    }
    // `f64` also reads words ("inf", "nan"), which are no numbers here.
    let numeric = text.bytes().any(|byte| byte.is_ascii_digit());
    truncate(text.parse().ok().filter(|_| numeric)?)
}

/// Toward zero; `None` for what is negative or not a number. Infinity is what a huge number reads as.
fn truncate(number: f64) -> Option<u64> {
    // The conversion saturates, and everything below 2^53 is exact.
    (number >= 0.0).then_some((number as u64).min(COUNT_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_written_as_the_spec_lists_them() {
        let keys = CountKey::ALL.map(CountKey::as_str).join(" ");
        assert_eq!(keys, "total processed succeeded failed skipped created updated deleted items tenants");
        for key in CountKey::ALL {
            assert_eq!(serde_json::to_value(key).expect("a text"), json!(key.as_str()));
        }
    }

    #[test]
    fn values_are_truncated_clamped_or_dropped() {
        let max = json!(COUNT_MAX);
        let cases = [
            (json!(0), json!(0)),
            (json!(7), json!(7)),
            (json!(7.9), json!(7)),
            (json!(-0.0), json!(0)),
            (json!("12"), json!(12)),
            (json!(" 12.9 "), json!(12)),
            (json!("1e3"), json!(1000)),
            (json!("9007199254740992"), max.clone()),
            (json!("9007199254740991"), max.clone()),
            (json!("99999999999999999999999999"), max.clone()),
            (json!("1e999"), max.clone()),
            (json!(u64::MAX), max.clone()),
            (json!(1e300), max),
        ];
        for (raw, expected) in cases {
            let counts = serde_json::to_value(Counts::normalise(&json!({"total": raw}))).expect("an object");
            assert_eq!(counts, json!({"total": expected}), "{raw}");
        }
        for raw in [
            json!(-1),
            json!(-0.5),
            json!("-1"),
            json!(""),
            json!("NaN"),
            json!("inf"),
            json!("-infinity"),
            json!("twelve"),
            json!("0x10"),
            json!("1 2"),
            json!(null),
            json!(true),
            json!([1]),
            json!({"total": 1}),
        ] {
            assert_eq!(Counts::normalise(&json!({"total": raw})), Counts::default(), "{raw}");
        }
    }

    #[test]
    fn unknown_keys_are_dropped() {
        let counts = Counts::normalise(&json!({"Total": 1, "policies": 2, "items": 3}));
        assert_eq!(counts, Counts::default().with(CountKey::Items, 3));
    }

    #[test]
    fn balanced_counts_add_up() {
        let counts = Counts::default().with(CountKey::Succeeded, 2).with(CountKey::Failed, 1).balanced();
        assert_eq!(counts.get(CountKey::Processed), 3);
        assert_eq!(counts.get(CountKey::Total), 3);
        let counts = Counts::default().with(CountKey::Total, 9).with(CountKey::Processed, 8).balanced();
        assert_eq!((counts.get(CountKey::Total), counts.get(CountKey::Processed)), (9, 0));
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<u64>().prop_map(|it| json!(it)),
            any::<i64>().prop_map(|it| json!(it)),
            any::<f64>().prop_map(|it| json!(it)),
            any::<f64>().prop_map(|it| json!(it.to_string())),
            any::<String>().prop_map(|it| json!(it)),
        ]
    }

    proptest! {
        #[test]
        fn normalising_is_idempotent_and_within_limits(
            values in proptest::collection::vec((0..12_usize, value()), 0..12),
        ) {
            let key = |at: usize| CountKey::ALL.get(at).map_or("other", |key| key.as_str()).to_owned();
            let raw = Value::Object(values.into_iter().map(|(at, value)| (key(at), value)).collect());
            let once = Counts::normalise(&raw);
            let json = serde_json::to_value(&once).expect("an object");
            prop_assert_eq!(&Counts::normalise(&json), &once);
            prop_assert_eq!(&serde_json::from_value::<Counts>(json).expect("counts"), &once);
            prop_assert!(CountKey::ALL.into_iter().all(|key| once.get(key) <= COUNT_MAX));
        }

        #[test]
        fn balanced_counts_hold_the_rule_of_items(total: u64, done in 0..1_u64 << 40, failed in 0..1_u64 << 40) {
            let counts = Counts::default().with(CountKey::Total, total).with(CountKey::Succeeded, done)
                .with(CountKey::Failed, failed).balanced();
            prop_assert_eq!(counts.get(CountKey::Processed), done + failed);
            prop_assert!(counts.get(CountKey::Processed) <= counts.get(CountKey::Total));
        }
    }
}
