//! Schedules: requests that come by the clock. When they are due, what they may ask for, and when each of their requests
//! is made; pure, with `now` as an argument.
//!
//! An *occurrence* is a point in time that the timetable names. It becomes one request per tenant (or one for the
//! workspace), each moved by its own jitter. What was missed while nobody looked comes to one occurrence, the
//! catch-up, whatever the number of times that passed: see [`occurrence`].

mod expression;
mod timetable;

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

pub use expression::Expression;
pub use timetable::Timetable;

use super::identity::{InputError, Inputs};
use super::operation::{Operation, Scope};
use crate::clock::Instant;
use crate::ids::{ScheduleId, TenantId};

/// LIMIT: the longest jitter.
pub const JITTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// LIMIT: characters of a schedule's name.
pub const NAME_CHARS_MAX: usize = 100;
/// How late an occurrence may be begun and still count as on time; beyond, its requests are spread from now on.
pub const LATE_MAX: Duration = Duration::from_secs(60);

/// An occurrence that is due, and what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The time that the timetable names; of several that were missed, the first.
    pub at: Instant,
    /// It comes late: nobody looked when it was time.
    pub catch_up: bool,
    /// The next one, always after now; `None` when the timetable names no further time.
    pub next: Option<Instant>,
}

/// The occurrence to begin `now` of a schedule whose next one is `next_at`; `None` when it is not time yet. However many
/// times have passed, it is one, and the next lies ahead.
pub fn occurrence(timetable: &Timetable, next_at: Instant, now: Instant) -> Option<Occurrence> {
    (next_at <= now).then(|| Occurrence {
        at: next_at,
        catch_up: now - next_at > chrono::Duration::seconds(LATE_MAX.as_secs().cast_signed()),
        next: timetable.next_after(now),
    })
}

/// When the request for `tenant` (`None`: the workspace) is made: at most `jitter` after the occurrence, or after now
/// when that comes late. The same schedule, tenant and occurrence always give the same place within the jitter.
pub fn ask_at(
    schedule: ScheduleId,
    tenant: Option<TenantId>,
    occurrence: &Occurrence,
    jitter: Duration,
    now: Instant,
) -> Instant {
    let from = if occurrence.catch_up { now } else { occurrence.at };
    from + jitter_of(schedule, tenant, occurrence.at, jitter)
}

/// A place in `0..=jitter`, whole milliseconds, that looks like chance and is none.
fn jitter_of(
    schedule: ScheduleId,
    tenant: Option<TenantId>,
    occurrence: Instant,
    jitter: Duration,
) -> Duration {
    let text = format!("{schedule}/{}/{}", tenant.map_or(0, |tenant| tenant.0), occurrence.micros());
    let digest = Sha256::digest(text);
    let (head, _) = digest.split_first_chunk::<8>().expect("a SHA-256 has 32 bytes");
    let places = u64::try_from(jitter.min(JITTER_MAX).as_millis()).expect("a day is few milliseconds") + 1;
    Duration::from_millis(u64::from_be_bytes(*head) % places)
}

/// Checks what a schedule asks for: inputs as of any request, and what only a person may ask for is refused.
///
/// # Errors
/// [`InputError`]: `tenant` where the operation's scope does not fit, an input, or a restore that would write.
pub fn inputs(operation: Operation, has_tenant: bool, raw: &Value) -> Result<Inputs, InputError> {
    let wrong = |field: &str, problem: String| InputError { field: field.to_owned(), problem };
    match operation.scope() {
        Scope::Workspace if has_tenant => {
            return Err(wrong("tenant", format!("{operation} works on a workspace: expected no tenant")));
        }
        Scope::Workspace | Scope::Tenant => {}
    }
    let inputs = Inputs::normalise(operation, raw)?;
    if let Inputs::Restore(restore) = &inputs {
        if !restore.dry_run {
            return Err(wrong(
                "inputs.dry_run",
                "a schedule writes no assignments: expected true (a plan to look at), found false".to_owned(),
            ));
        }
        if !has_tenant {
            return Err(wrong(
                "tenant",
                "a snapshot is of one tenant: expected that tenant, found none".to_owned(),
            ));
        }
    }
    Ok(inputs)
}

/// Checks a jitter.
///
/// # Errors
/// [`InputError`] when it is longer than [`JITTER_MAX`].
pub fn check_jitter(field: &str, jitter: Duration) -> Result<(), InputError> {
    if jitter <= JITTER_MAX {
        return Ok(());
    }
    let problem = format!("expected at most 24h, found {}s", jitter.as_secs());
    Err(InputError { field: field.to_owned(), problem })
}

/// Checks a schedule's name: one or more of letters, digits, `-`, `_` and `.`, as a key of the configuration is written.
///
/// # Errors
/// [`InputError`]; the field is `name`.
pub fn check_name(name: &str) -> Result<(), InputError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    let problem = format!("expected 1 to {NAME_CHARS_MAX} letters, digits, hyphens, underscores and dots");
    Err(InputError { field: "name".to_owned(), problem })
}
