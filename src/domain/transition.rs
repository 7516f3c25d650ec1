//! The state machine of a run (SPEC sections 2, 5 and 8): what each event does in each state.
//!
//! It is the law for the store, which does the same with conditional updates; [`expected`] is the whole matrix as data,
//! so that a test can walk the store through it on each engine. It decides nothing that needs limits (whether a try is
//! left, whether a lease is gone): that is `retry`, `reconcile` and the execution.
//!
//! Invariants: `Completed` is never left. Only the latest lease token writes. A claim's token is larger than any before.
//! A run whose cancellation was asked for never goes back to the queue, where the request would be forgotten.

use std::time::Duration;

use super::failure::Code;
use super::run::{Outcome, Run, Status};
use crate::clock::Instant;
use crate::ids::{InstanceId, LeaseToken};

mod matrix;
#[cfg(test)]
mod tests;

pub use matrix::{EventKind, Expected, StateKind, expected};

/// Where a run stands, with exactly what each state knows.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Waits for its (next) attempt.
    Queued {
        /// Tries used up.
        attempt: i32,
        /// Not claimed before this time; `None` is at once.
        next_attempt_at: Option<Instant>,
        /// The token of its latest claim; 0 before the first. The next is larger.
        last_token: LeaseToken,
    },
    /// An instance executes it.
    Running {
        /// Tries used up, this one included.
        attempt: i32,
        /// The token of this claim.
        token: LeaseToken,
        /// The instance.
        owner: InstanceId,
        /// When somebody asked for its cancellation.
        cancel_requested_at: Option<Instant>,
    },
    /// Ended.
    Completed(End),
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// `Succeeded` or `Failed`.
    pub outcome: Outcome,
    /// The first failure's code; `None` when succeeded.
    pub code: Option<Code>,
    /// When.
    pub at: Instant,
    /// Until when its identity is not accepted again; `None` leaves no cooldown.
    pub cooldown_until: Option<Instant>,
}

/// What may happen to a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An instance takes it, at `now`, under a token that the store draws.
    Claim {
        /// The instance.
        owner: InstanceId,
        /// When.
        now: Instant,
    },
    /// An execution ends, under its token.
    Settle {
        /// The execution's token.
        token: LeaseToken,
        /// How.
        how: Settle,
    },
    /// Somebody asks for its cancellation.
    RequestCancel {
        /// When.
        now: Instant,
    },
    /// Reconcile repairs it as it saw it.
    Repair {
        /// The status that reconcile saw.
        seen_status: Status,
        /// The token that reconcile saw.
        seen_token: LeaseToken,
        /// What.
        how: Mend,
    },
}

/// How an execution ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Settle {
    /// The run ends.
    Complete(End),
    /// A try failed, another follows.
    Retry {
        /// When.
        next_attempt_at: Instant,
        /// Now.
        now: Instant,
    },
    /// The instance stops; the try is not used up.
    HandBack {
        /// Now.
        now: Instant,
    },
}

/// A repair of an active run.
#[derive(Clone, Debug, PartialEq)]
pub enum Mend {
    /// Back to the queue; the try stays used up.
    Requeue {
        /// Now.
        now: Instant,
    },
    /// Failed, `run.lease_expired`.
    CompleteLeaseExpired {
        /// Now.
        now: Instant,
        /// That of the operation.
        cooldown: Duration,
    },
    /// Failed, `run.cancelled`.
    CompleteCancelled {
        /// Now.
        now: Instant,
    },
    /// As its adapter run ended.
    CompleteFromAdapter(End),
    /// Failed, `run.stale_queued`.
    CompleteStaleQueued {
        /// Now.
        now: Instant,
        /// That of the operation.
        cooldown: Duration,
    },
}

/// What an event does.
#[derive(Clone, Debug, PartialEq)]
pub enum Transition {
    /// The run is in this state now.
    Apply(State),
    /// Nothing, and that is well.
    Ignore(Ignored),
    /// An execution came too late: the run is unchanged, the attempt is kept as stale. (The same settlement sent
    /// twice by one execution is told apart by its attempt's row and answered as done.)
    Stale,
}

/// Why an event did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A claim before the run's next attempt is due.
    NotDue,
    /// A claim of a run that is not queued.
    NotQueued,
    /// The run has completed.
    AlreadyCompleted,
    /// The cancellation was asked for before.
    AlreadyRequested,
    /// The run is no longer as reconcile saw it, or the repair is not one for its state.
    Changed,
}

/// What `event` does to a run in `state`.
pub fn transition(state: State, event: Event) -> Transition {
    match event {
        Event::Claim { owner, now } => claim(state, owner, now),
        Event::Settle { token, how } => settle(state, token, how),
        Event::RequestCancel { now } => request_cancel(state, now),
        Event::Repair { seen_status, seen_token, how } => {
            if state.status() != seen_status || state.token() != Some(seen_token) {
                return Transition::Ignore(Ignored::Changed);
            }
            repair(state, how)
        }
    }
}

fn claim(state: State, owner: InstanceId, now: Instant) -> Transition {
    let State::Queued { attempt, next_attempt_at, last_token } = state else {
        return Transition::Ignore(Ignored::NotQueued);
    };
    if next_attempt_at.is_some_and(|due| now < due) {
        return Transition::Ignore(Ignored::NotDue);
    }
    Transition::Apply(State::Running {
        attempt: attempt + 1,
        token: LeaseToken(last_token.0 + 1),
        owner,
        cancel_requested_at: None,
    })
}

fn settle(state: State, token: LeaseToken, how: Settle) -> Transition {
    let State::Running { attempt, token: latest, cancel_requested_at, .. } = state else {
        return Transition::Stale;
    };
    if token != latest {
        return Transition::Stale;
    }
    Transition::Apply(match how {
        Settle::Complete(end) => State::Completed(end),
        Settle::Retry { now, .. } | Settle::HandBack { now } if cancel_requested_at.is_some() => {
            cancelled(now)
        }
        Settle::Retry { next_attempt_at, .. } => {
            State::Queued { attempt, next_attempt_at: Some(next_attempt_at), last_token: latest }
        }
        Settle::HandBack { .. } => {
            State::Queued { attempt: attempt - 1, next_attempt_at: None, last_token: latest }
        }
    })
}

fn request_cancel(state: State, now: Instant) -> Transition {
    match state {
        State::Queued { .. } => Transition::Apply(cancelled(now)),
        State::Running { cancel_requested_at: Some(_), .. } => Transition::Ignore(Ignored::AlreadyRequested),
        State::Running { attempt, token, owner, .. } => {
            Transition::Apply(State::Running { attempt, token, owner, cancel_requested_at: Some(now) })
        }
        State::Completed(_) => Transition::Ignore(Ignored::AlreadyCompleted),
    }
}

fn repair(state: State, how: Mend) -> Transition {
    match (state, how) {
        (State::Running { cancel_requested_at: Some(_), .. }, Mend::Requeue { now }) => {
            Transition::Apply(cancelled(now))
        }
        (State::Running { attempt, token, .. }, Mend::Requeue { .. }) => {
            Transition::Apply(State::Queued { attempt, next_attempt_at: None, last_token: token })
        }
        (State::Running { .. }, Mend::CompleteLeaseExpired { now, cooldown }) => {
            Transition::Apply(failed(Code::RunLeaseExpired, now, cooldown))
        }
        (State::Running { .. }, Mend::CompleteCancelled { now }) => Transition::Apply(cancelled(now)),
        (State::Running { .. }, Mend::CompleteFromAdapter(end)) => Transition::Apply(State::Completed(end)),
        (State::Queued { .. }, Mend::CompleteStaleQueued { now, cooldown }) => {
            Transition::Apply(failed(Code::RunStaleQueued, now, cooldown))
        }
        _ => Transition::Ignore(Ignored::Changed),
    }
}

/// A cancelled run leaves no cooldown (SPEC section 4).
fn cancelled(now: Instant) -> State {
    failed(Code::RunCancelled, now, Duration::ZERO)
}

fn failed(code: Code, now: Instant, cooldown: Duration) -> State {
    let cooldown_until = (!cooldown.is_zero()).then(|| now + cooldown);
    State::Completed(End { outcome: Outcome::Failed, code: Some(code), at: now, cooldown_until })
}

impl State {
    /// The status that the ledger has for it.
    pub fn status(&self) -> Status {
        match self {
            Self::Queued { .. } => Status::Queued,
            Self::Running { .. } => Status::Running,
            Self::Completed(_) => Status::Completed,
        }
    }

    /// The token of the latest claim; a completed run has none that could write.
    pub fn token(&self) -> Option<LeaseToken> {
        match self {
            Self::Queued { last_token: token, .. } | Self::Running { token, .. } => Some(*token),
            Self::Completed(_) => None,
        }
    }

    /// The state of a row; `None` when the row contradicts itself (which the database's CHECKs prevent).
    pub fn of(run: &Run) -> Option<Self> {
        let pending = run.outcome == Outcome::Pending;
        match (run.status, run.lease_owner, run.completed_at) {
            (Status::Queued, None, None) if pending => Some(Self::Queued {
                attempt: run.attempt,
                next_attempt_at: run.next_attempt_at,
                last_token: run.lease_token,
            }),
            (Status::Running, Some(owner), None) if pending => Some(Self::Running {
                attempt: run.attempt,
                token: run.lease_token,
                owner,
                cancel_requested_at: run.cancel_requested_at,
            }),
            (Status::Completed, None, Some(at)) if !pending => Some(Self::Completed(End {
                outcome: run.outcome,
                code: run.failure_summary.first().map(|failure| failure.code),
                at,
                cooldown_until: run.cooldown_until,
            })),
            _ => None,
        }
    }
}
