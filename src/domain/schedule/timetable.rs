//! A cron expression in a time zone, and what becomes of it where clocks are changed.
//!
//! The expression is read as wall-clock times without a zone; only this file maps them to instants:
//!
//! | the wall clock | an expression that names its hours | one with `*` as its hour |
//! | --- | --- | --- |
//! | skips the time (a gap) | once, at the first instant after the gap | not at all: there was no such hour |
//! | shows the time twice | once, the first time | both times: the hours went by |
//!
//! So a nightly request is made exactly once a night, and an hourly one each hour, whatever the clocks do.

use chrono::{Duration, LocalResult, NaiveDateTime, TimeZone, Timelike};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};

use super::expression::Expression;
use crate::clock::Instant;
use crate::domain::identity::InputError;

/// LIMIT: wall-clock times looked at for one answer; an hour that is shown twice has 60.
const TIMES_MAX: usize = 5000;
/// How far back a time may lie that the wall clock shows again: the longest known is an hour or two.
const FOLD_MAX: Duration = Duration::hours(3);

/// When a schedule is due.
#[derive(Clone, Debug)]
pub struct Timetable {
    expression: Expression,
    zone: Tz,
}

impl Timetable {
    /// Reads an expression and an IANA time zone.
    ///
    /// # Errors
    /// [`InputError`], naming `cron` or `timezone`.
    pub fn parse(cron: &str, timezone: &str) -> Result<Self, InputError> {
        Ok(Self { expression: Expression::parse(cron)?, zone: zone(timezone)? })
    }

    /// The expression as it was given.
    pub fn cron(&self) -> &str {
        self.expression.as_str()
    }

    /// The zone.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first time after `after`; `None` beyond the calendar.
    pub fn next_after(&self, after: Instant) -> Option<Instant> {
        let local = after.to_utc().with_timezone(&self.zone).naive_local().with_nanosecond(0)?;
        let ahead = self.walls(local).find_map(|wall| self.shown_first(wall).filter(|at| *at > after));
        if !self.expression.is_every_hour() {
            return ahead;
        }
        // What the wall clock shows a second time lies ahead even where it has shown it before.
        let near = self.walls(local - FOLD_MAX).take_while(|wall| *wall <= local + FOLD_MAX);
        let again = near.filter_map(|wall| self.shown_again(wall)).find(|at| *at > after);
        ahead.into_iter().chain(again).min()
    }

    /// The next times after `after`, at most `count`.
    pub fn upcoming(&self, after: Instant, count: usize) -> Vec<Instant> {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last)).take(count).collect()
    }

    /// The wall-clock times from `from` on.
    fn walls(&self, from: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
        let following = |wall: &NaiveDateTime| self.expression.next_from(*wall + Duration::minutes(1));
        std::iter::successors(self.expression.next_from(from), following).take(TIMES_MAX)
    }

    /// When the clock shows a time first; the end of the gap where it skips it and the expression names its hour.
    fn shown_first(&self, wall: NaiveDateTime) -> Option<Instant> {
        match self.zone.from_local_datetime(&wall) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc().into()),
            LocalResult::None if self.expression.is_every_hour() => None,
            LocalResult::None => {
                let end = GapInfo::new(&wall, &self.zone)?.end?;
                Some(end.to_utc().into())
            }
        }
    }

    /// When it shows the time a second time.
    fn shown_again(&self, wall: NaiveDateTime) -> Option<Instant> {
        match self.zone.from_local_datetime(&wall) {
            LocalResult::Ambiguous(_, at) => Some(at.to_utc().into()),
            LocalResult::Single(_) | LocalResult::None => None,
        }
    }
}

/// An IANA time zone by its name.
///
/// # Errors
/// [`InputError`], with the zone that was perhaps meant.
fn zone(name: &str) -> Result<Tz, InputError> {
    name.parse().map_err(|_| {
        let meant = TZ_VARIANTS.iter().map(|zone| zone.name()).find(|known| {
            let city = known.rsplit('/').next().unwrap_or(known);
            known.eq_ignore_ascii_case(name) || city.eq_ignore_ascii_case(&name.replace(' ', "_"))
        });
        let shown: String = name.chars().take(60).collect();
        let problem = match meant {
            Some(meant) => format!("expected an IANA time zone, found `{shown}`: did you mean {meant}?"),
            None => format!("expected an IANA time zone such as Europe/Berlin or UTC, found `{shown}`"),
        };
        InputError { field: "timezone".to_owned(), problem }
    })
}
