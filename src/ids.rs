//! Identifiers, each a type of its own, and the only place that makes random ones.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Declares a database-assigned 64-bit id.
macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_i64(Whole).map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

/// Reads a whole number however JSON writes it: to JSON Schema `7.0` is an integer, too.
struct Whole;

impl serde::de::Visitor<'_> for Whole {
    type Value = i64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("i64")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<i64, E> {
        i64::try_from(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<i64, E> {
        // Beyond 2^53 a float does not say which number is meant.
        let exact = number.fract() == 0.0 && number.abs() <= (1_u64 << 53) as f64;
        if exact {
            Ok(number as i64)
        } else {
            Err(E::invalid_type(serde::de::Unexpected::Float(number), &self))
        }
    }
}

row_id!(
    /// A workspace.
    WorkspaceId
);
row_id!(
    /// A tenant of a workspace.
    TenantId
);
row_id!(
    /// A user of a workspace.
    UserId
);
row_id!(
    /// A row of the ledger `operation_runs`.
    RunId
);
row_id!(
    /// A snapshot: the adapter run of a fetch.
    SnapshotId
);
row_id!(
    /// A restore run: the adapter run of a restore.
    RestoreId
);
row_id!(
    /// An API token's row (never the token).
    TokenId
);
row_id!(
    /// A schedule.
    ScheduleId
);
row_id!(
    /// A request that a schedule is about to make.
    AskId
);

/// One daemon process: fresh at every start, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

impl InstanceId {
    /// A fresh id.
    pub fn fresh() -> Self {
        Self(fresh_uuid())
    }
}

impl std::fmt::Display for InstanceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The fencing token of a run: every claim of the run gets a larger one (SPEC section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct LeaseToken(pub i64);

impl LeaseToken {
    /// The token of a run's first claim.
    pub const FIRST: Self = Self(1);
}

/// A random UUID, version 4.
#[expect(clippy::disallowed_methods, reason = "this is the one door to random ids")]
pub fn fresh_uuid() -> Uuid {
    Uuid::new_v4()
}

/// `N` random bytes from the operating system's generator, for secrets.
#[expect(clippy::disallowed_methods, reason = "this is the one door to random bytes")]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    rand::random()
}

/// A random fraction in `0.0..1.0`, for jitter.
#[expect(clippy::disallowed_methods, reason = "this is the one door to jitter")]
pub fn random_fraction() -> f64 {
    rand::random()
}
