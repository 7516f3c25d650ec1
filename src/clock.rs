//! The only place that reads the wall clock. Everything else takes `now` as an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Duration, SecondsFormat, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

/// A point in time: UTC, whole microseconds (what both database engines store exactly). In JSON RFC 3339 with `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "DateTime<Utc>")]
pub struct Instant(DateTime<Utc>);

impl Instant {
    /// From microseconds since 1970; `None` beyond what a calendar can name.
    pub fn from_micros(micros: i64) -> Option<Self> {
        DateTime::from_timestamp_micros(micros).map(Self)
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// As a calendar time.
    pub fn to_utc(self) -> DateTime<Utc> {
        self.0
    }
}

impl From<DateTime<Utc>> for Instant {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.trunc_subsecs(6))
    }
}

impl std::fmt::Display for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
}

impl std::ops::Add<std::time::Duration> for Instant {
    type Output = Self;
    fn add(self, by: std::time::Duration) -> Self {
        Self(self.0 + Duration::microseconds(i64::try_from(by.as_micros()).unwrap_or(i64::MAX / 2)))
    }
}

impl std::ops::Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0 - by)
    }
}

impl std::ops::Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

impl utoipa::PartialSchema for Instant {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}
impl utoipa::ToSchema for Instant {}

/// Where time comes from. Clones share their offsets.
///
/// On PostgreSQL the database's clock decides between instances (SPEC section 2), so the daemon lets its
/// clock follow the database's: see [`Clock::follow`].
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// How far the database's clock is ahead of the machine's, in microseconds; written by `follow`.
    skew_us: Arc<AtomicI64>,
    /// How far tests have moved time, in microseconds; the store adds it to the database's clock too.
    shift_us: Arc<AtomicI64>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Now, in whole microseconds.
    pub fn now(&self) -> Instant {
        #[expect(clippy::disallowed_methods, reason = "this is the one door to the wall clock")]
        let machine = Instant::from(Utc::now());
        machine + Duration::microseconds(self.skew_us.load(Ordering::Relaxed)) + self.shift()
    }

    /// Makes `now` agree with what the database said its time was (its own time, without the shift).
    pub fn follow(&self, database_now: Instant) {
        let own = self.now() - self.shift() - Duration::microseconds(self.skew_us.load(Ordering::Relaxed));
        let skew = (database_now - own).num_microseconds().unwrap_or(0);
        self.skew_us.store(skew, Ordering::Relaxed);
    }

    /// How far [`Clock::advance`] has moved time.
    pub fn shift(&self) -> Duration {
        Duration::microseconds(self.shift_us.load(Ordering::Relaxed))
    }

    /// Moves time forward, for tests of cooldowns and leases.
    pub fn advance(&self, by: Duration) {
        let by = by.num_microseconds().expect("tests move time by less than 292,000 years");
        self.shift_us.fetch_add(by, Ordering::Relaxed);
    }
}
