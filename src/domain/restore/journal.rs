//! What is to be done next about a policy of a restore: decided from its journal and from what was just read, so that
//! a process that knows nothing else goes on where another one died.
//!
//! Graph has no ETag, and what it reads may be older than what was written. Hence the rules:
//!
//! - nothing is sent unless the policy was read, and is as the plan showed it;
//! - `Sent` is written before the first byte is sent, so that a policy in doubt is always known to be in doubt;
//! - a policy in doubt that shows its old set may just be read too early: it is read again until `verify_timeout` has
//!   passed since the announcement, and only then written again;
//! - what is neither the old set, nor the wanted one, nor on the way between them, is somebody else's: it stays.

use std::time::Duration;

use super::{ItemState, JournalItem};
use crate::clock::Instant;
use crate::domain::assignment::AssignmentSet;
use crate::domain::failure::{Code, Failure};
use crate::domain::policy_types::{PolicyType, Write};

#[cfg(test)]
mod tests;

/// What is certain about the latest write of an item in state `Sent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// It may have been applied, in full, in part or not at all: the process died, or the answer did not come.
    InDoubt,
    /// Graph answered every call of it with success.
    Applied,
}

/// What was found when the policy was read.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The policy's row of the catalogue.
    pub row: &'a PolicyType,
    /// The set that is replaced, as the journal has it; its direct assignments count.
    pub base: &'a AssignmentSet,
    /// What the policy is to have.
    pub wanted: &'a AssignmentSet,
    /// What it has now; `None` when it does not exist any more. A read that failed is not an observation: it is tried
    /// again, and the journal stays as it is.
    pub live: Option<&'a AssignmentSet>,
    /// What is known of the write; of no meaning before `Sent`.
    pub sending: Sending,
    /// The clock by which `sent_at` was taken.
    pub now: Instant,
    /// How long Graph may go on reading the old set after a write.
    pub verify_timeout: Duration,
    /// Whether the policy may be written once more when the write before did nothing. The caller counts, so that a
    /// policy is not written for ever.
    pub may_write_again: bool,
}

/// The one thing to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Mark the item `Sent` with the live set as its base, then send [`super::write::writes`] from the live set.
    WriteNow,
    /// End it as `Skipped`: somebody made it as wanted, and nothing was sent.
    MarkSkipped,
    /// End it as `Verified`, with what was read.
    MarkVerified,
    /// Read again a little later: it may be too early to see the write.
    WaitAndReadAgain,
    /// End it as `Failed`.
    Fail(Failure),
    /// It has ended already.
    Nothing,
}

/// The next step for an item of the journal.
pub fn next_step(entry: &JournalItem, seen: &Seen<'_>) -> Step {
    if entry.state.is_end() {
        return Step::Nothing;
    }
    let Some(live) = seen.live else { return fail(Code::AssignmentsPolicyMissing, MISSING) };
    let place = Place::of(seen.row, seen.base, seen.wanted, live);
    match (entry.state, seen.sending) {
        (ItemState::Planned, _) => planned(place),
        (_, Sending::InDoubt) => in_doubt(place, is_late(entry, seen), seen.may_write_again),
        (_, Sending::Applied) => applied(place, is_late(entry, seen)),
    }
}

const MISSING: &str = "the policy does not exist any more: somebody deleted it";
const DRIFTED: &str =
    "somebody changed the policy since the plan: its assignments are left as they are; make a new plan";
const DOUBTFUL: &str = "the policy has neither its old assignments nor the ones that were sent: somebody \
    changed it meanwhile, and they are left as they are; make a new plan";
const NOT_APPLIED: &str = "the policy still has its old assignments after the write; restore it again";
const MISMATCH: &str = "the policy was written and has other assignments than the ones that were sent: somebody \
    changed it at the same time, or Graph took them otherwise";
const TOO_OFTEN: &str =
    "the write did not take effect: Graph neither answered nor applied it; restore it again";

/// Where a live set stands between base and wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    AtBase,
    /// For types that are written one by one: some of the calls have been applied.
    OnTheWay,
    AtWanted,
    Elsewhere,
}

impl Place {
    fn of(row: &PolicyType, base: &AssignmentSet, wanted: &AssignmentSet, live: &AssignmentSet) -> Self {
        let (base, wanted, live) = (base.direct(), wanted.direct(), live.direct());
        if live == wanted {
            return Self::AtWanted;
        }
        if live == base {
            return Self::AtBase;
        }
        // Whatever stays is there, and whatever is there was there or is to come.
        let kept = base.iter().filter(|it| wanted.contains(it)).all(|it| live.contains(it));
        let known = live.iter().all(|it| base.contains(it) || wanted.contains(it));
        let one_by_one = matches!(row.write, Write::OneByOne { .. });
        if one_by_one && kept && known { Self::OnTheWay } else { Self::Elsewhere }
    }
}

/// Nothing was sent: a set on the way is not ours.
fn planned(place: Place) -> Step {
    match place {
        Place::AtWanted => Step::MarkSkipped,
        Place::AtBase => Step::WriteNow,
        Place::OnTheWay | Place::Elsewhere => fail(Code::AssignmentsDriftedSincePlan, DRIFTED),
    }
}

fn in_doubt(place: Place, late: bool, may_write_again: bool) -> Step {
    match place {
        Place::AtWanted => Step::MarkVerified,
        Place::AtBase | Place::OnTheWay if !late => Step::WaitAndReadAgain,
        Place::AtBase | Place::OnTheWay if may_write_again => Step::WriteNow,
        Place::AtBase | Place::OnTheWay => fail(Code::AssignmentsVerifyMismatch, TOO_OFTEN),
        Place::Elsewhere => fail(Code::AssignmentsDriftedSincePlan, DOUBTFUL),
    }
}

/// Never written again: Graph said that it did it.
fn applied(place: Place, late: bool) -> Step {
    match place {
        Place::AtWanted => Step::MarkVerified,
        Place::AtBase | Place::OnTheWay if !late => Step::WaitAndReadAgain,
        Place::AtBase => fail(Code::AssignmentsVerifyMismatch, NOT_APPLIED),
        Place::OnTheWay | Place::Elsewhere => fail(Code::AssignmentsVerifyMismatch, MISMATCH),
    }
}

/// Whether a read of now would show the write. An item without the time of its announcement was announced long ago.
fn is_late(entry: &JournalItem, seen: &Seen<'_>) -> bool {
    entry.sent_at.is_none_or(|sent_at| seen.now >= sent_at + seen.verify_timeout)
}

fn fail(code: Code, message: &str) -> Step {
    Step::Fail(Failure::new(code, message))
}
