//! A run: one row of the ledger, its states and the transitions between them (SPEC sections 2 and 5).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::counts::Counts;
use super::failure::{Code, Failure};
use super::identity::IdentityHash;
use super::operation::Operation;
use crate::clock::Instant;
use crate::ids::{InstanceId, LeaseToken, RunId, TenantId, UserId, WorkspaceId};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for its (next) attempt.
    Queued,
    /// An instance executes it under a lease.
    Running,
    /// Ended; never changes again.
    Completed,
}

/// How a run ended; `Pending` exactly while it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not completed.
    Pending,
    /// The final attempt did everything.
    Succeeded,
    /// The final attempt did not; `failure_summary` says why.
    Failed,
}

/// A run as the ledger holds it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Run {
    /// Assigned by the database, growing.
    pub id: RunId,
    /// The workspace that owns it.
    pub workspace_id: WorkspaceId,
    /// Set for tenant-scoped operations.
    pub tenant_id: Option<TenantId>,
    /// The initiating user, when there is one.
    pub user_id: Option<UserId>,
    /// Who asked: a user's or token's name, `schedule`, `signal:SIGUSR1`, `startup`, `system`.
    pub initiator_name: String,
    /// The operation.
    #[serde(rename = "type")]
    pub operation: Operation,
    /// Where it stands.
    pub status: Status,
    /// How it ended.
    pub outcome: Outcome,
    /// What makes two requests the same (SPEC section 3).
    #[serde(rename = "run_identity_hash")]
    pub identity: IdentityHash,
    /// Counts of the final attempt (SPEC section 6).
    pub summary_counts: Counts,
    /// Failures of the final attempt (SPEC section 7); empty when succeeded.
    pub failure_summary: Vec<Failure>,
    /// The normalised inputs, the identity version, and whatever explains the run.
    #[schema(value_type = Object)]
    pub context: serde_json::Map<String, serde_json::Value>,
    /// When the first attempt began.
    pub started_at: Option<Instant>,
    /// When it ended.
    pub completed_at: Option<Instant>,
    /// When it was accepted.
    pub created_at: Instant,
    /// When the row last changed in a way that matters to its execution.
    pub updated_at: Instant,
    /// How many attempts have used up a try; 0 before the first.
    pub attempt: i32,
    /// Not claimed before this time: the backoff of a retry.
    pub next_attempt_at: Option<Instant>,
    /// When somebody asked for its cancellation.
    pub cancel_requested_at: Option<Instant>,
    /// Until when its identity is not accepted again; absent where it leaves no cooldown.
    pub cooldown_until: Option<Instant>,
    /// Requests that this run answered instead of a run of their own.
    pub duplicate_count: i64,
    /// The latest of those.
    pub last_duplicate_at: Option<Instant>,
    /// True while it is the canonical run of its identity, until its cooldown has been taken over.
    #[serde(skip)]
    pub holds_identity: bool,
    /// The fencing token of its latest claim; 0 before the first.
    #[serde(skip)]
    pub lease_token: LeaseToken,
    /// The instance that executes it; set exactly while running.
    #[serde(skip)]
    pub lease_owner: Option<InstanceId>,
}

/// Gives an enum the words of the ledger: `as_str`, `Display` and `FromStr`, the same as its serde form.
macro_rules! ledger_words {
    ($name:ident: $($variant:ident = $word:literal,)*) => {
        impl $name {
            /// Every value, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The word in the ledger and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let known = Self::ALL.iter().copied().find(|value| value.as_str() == text);
                known.ok_or(UnknownWord { expected: concat!("one of", $(" ", $word),*) })
            }
        }
    };
}

pub(crate) use ledger_words;

/// The text is none of an enum's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found another word")]
pub struct UnknownWord {
    /// The words.
    pub expected: &'static str,
}

ledger_words!(Status: Queued = "queued", Running = "running", Completed = "completed",);
ledger_words!(Outcome: Pending = "pending", Succeeded = "succeeded", Failed = "failed",);
ledger_words!(
    AttemptOutcome: Running = "running",
    Succeeded = "succeeded",
    Failed = "failed",
    Retried = "retried",
    HandedBack = "handed_back",
    LeaseExpired = "lease_expired",
    Stale = "stale",
);

impl Run {
    /// Queued or running.
    pub fn is_active(&self) -> bool {
        self.status != Status::Completed
    }

    /// How far the run is, in the order in which the ledger went through it: an end is later than everything, a claim
    /// is later than the claims before it, and going back to the queue is later than the claim that did. Clocks have
    /// no part in it: they may step back, and news may overtake each other.
    pub fn stage(&self) -> impl Ord + use<> {
        let back_in_queue = self.status == Status::Queued;
        (self.status == Status::Completed, self.lease_token, back_in_queue, self.cancel_requested_at)
    }
}

/// The right to write to a run: taken by a claim, checked by every write of the execution (SPEC section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The run.
    pub run_id: RunId,
    /// Larger than any token before it for this run.
    pub token: LeaseToken,
}

/// What an execution leaves behind: how its attempt, and perhaps its run, ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// The run ends with this attempt.
    Complete(Completion),
    /// A transient failure with tries left: back to the queue until `next_attempt_at`.
    Retry {
        /// When the next attempt may start.
        next_attempt_at: Instant,
        /// What this attempt counted; kept with the attempt, not the run.
        counts: Counts,
        /// Why; kept with the attempt, not the run.
        failures: Vec<Failure>,
    },
    /// Back to the queue without using up the try: graceful stop or self-fencing.
    HandBack {
        /// Why, for the attempt's row: `draining` or `fenced`.
        reason: HandBackReason,
    },
}

/// Why an instance returned a run unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandBackReason {
    /// The instance is stopping.
    Draining,
    /// The instance could not renew its lease and stopped by itself.
    Fenced,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// `Succeeded` or `Failed`.
    pub outcome: Outcome,
    /// Counts of the final attempt.
    pub counts: Counts,
    /// Failures of the final attempt; empty exactly when succeeded.
    pub failures: Vec<Failure>,
    /// Keys to set in the run's context, such as reconcile's repairs.
    pub context: serde_json::Map<String, serde_json::Value>,
    /// How long the identity is not accepted again; zero leaves no cooldown.
    pub cooldown: std::time::Duration,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Still executing (or its instance has died and nobody has noticed yet).
    Running,
    /// It completed the run successfully.
    Succeeded,
    /// It completed the run with a failure.
    Failed,
    /// It failed in passing; another attempt follows.
    Retried,
    /// Its instance stopped; it did not use up a try.
    HandedBack,
    /// Its lease ended before it did.
    LeaseExpired,
    /// It came too late: another attempt had taken over, nothing was written to the run.
    Stale,
}

/// One execution of a run by one instance.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Attempt {
    /// The run.
    pub run_id: RunId,
    /// Counts from 1; a hand-back's successor has the same number.
    pub attempt: i32,
    /// The claim's fencing token.
    pub lease_token: LeaseToken,
    /// The instance.
    pub instance_id: InstanceId,
    /// When it was claimed.
    pub started_at: Instant,
    /// When it ended.
    pub ended_at: Option<Instant>,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Its first failure's code, or `run.stale_attempt_result`.
    pub code: Option<Code>,
    /// What it counted.
    pub summary_counts: Counts,
    /// Why it failed.
    pub failure_summary: Vec<Failure>,
}

/// A run that is as the ledger would have it in `status`, for tests of the rules.
#[cfg(test)]
pub(crate) fn fixture(status: Status) -> Run {
    let at = Instant::from_micros(0).expect("1970 is within the calendar");
    let completed = status == Status::Completed;
    Run {
        id: RunId(1),
        workspace_id: WorkspaceId(1),
        tenant_id: Some(TenantId(1)),
        user_id: None,
        initiator_name: "system".to_owned(),
        operation: Operation::Fetch,
        status,
        outcome: if completed { Outcome::Succeeded } else { Outcome::Pending },
        identity: IdentityHash([0; 32]),
        summary_counts: Counts::default(),
        failure_summary: Vec::new(),
        context: serde_json::Map::new(),
        started_at: (status != Status::Queued).then_some(at),
        completed_at: completed.then_some(at),
        created_at: at,
        updated_at: at,
        attempt: i32::from(status != Status::Queued),
        next_attempt_at: None,
        cancel_requested_at: None,
        cooldown_until: None,
        duplicate_count: 0,
        last_duplicate_at: None,
        holds_identity: true,
        lease_token: LeaseToken(i64::from(status != Status::Queued)),
        lease_owner: (status == Status::Running).then_some(InstanceId(uuid::Uuid::nil())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(all: &[T])
    where
        T: Copy
            + std::fmt::Debug
            + std::fmt::Display
            + PartialEq
            + Serialize
            + std::str::FromStr<Err = UnknownWord>,
    {
        for value in all {
            assert_eq!(serde_json::to_value(value).expect("a text"), value.to_string());
            assert_eq!(value.to_string().parse(), Ok(*value));
            assert!(value.to_string().to_uppercase().parse::<T>().is_err());
        }
    }

    #[test]
    fn the_ledgers_words_are_those_of_json() {
        check(Status::ALL);
        check(Outcome::ALL);
        check(AttemptOutcome::ALL);
        let error = "done".parse::<Status>().expect_err("not a status");
        assert_eq!(error.to_string(), "expected one of queued running completed, found another word");
    }
}
