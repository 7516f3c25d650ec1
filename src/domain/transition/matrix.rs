//! The state machine as a table: each kind of state against each kind of event.

use super::{Event, Mend, Settle, State};
use crate::clock::Instant;

/// A kind of state that events treat alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// Queued, due.
    Queued,
    /// Queued, waits for its next attempt.
    Waiting,
    /// Running.
    Running,
    /// Running, its cancellation was asked for.
    Cancelling,
    /// Completed.
    Completed,
}

/// A kind of event. Those whose name begins with `Late` come from somebody who knows an older claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// An instance claims the run.
    Claim,
    /// The latest claim's execution completes it.
    Complete,
    /// The latest claim's execution wants another try.
    Retry,
    /// The latest claim's execution hands it back.
    HandBack,
    /// An older claim's execution settles it, in whatever way.
    LateSettle,
    /// Somebody asks for its cancellation.
    RequestCancel,
    /// Reconcile saw it running and puts it back in the queue.
    Requeue,
    /// Reconcile saw it running and completes it: the lease is gone, no try is left.
    CompleteLeaseExpired,
    /// Reconcile saw it running and completes it: it was to be cancelled.
    CompleteCancelled,
    /// Reconcile saw it running and completes it as its adapter run ended.
    CompleteFromAdapter,
    /// Reconcile saw it queued and completes it: nobody picked it up.
    CompleteStaleQueued,
    /// A repair by what reconcile saw before the latest claim.
    LateRepair,
}

/// What becomes of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expected {
    /// It is in a state of this kind now.
    Becomes(StateKind),
    /// Nothing.
    Ignored,
    /// Nothing, and the attempt is stale.
    Stale,
}

impl StateKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Queued, Self::Waiting, Self::Running, Self::Cancelling, Self::Completed];
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Claim,
        Self::Complete,
        Self::Retry,
        Self::HandBack,
        Self::LateSettle,
        Self::RequestCancel,
        Self::Requeue,
        Self::CompleteLeaseExpired,
        Self::CompleteCancelled,
        Self::CompleteFromAdapter,
        Self::CompleteStaleQueued,
        Self::LateRepair,
    ];

    /// The kind of an event of somebody who knows the latest claim.
    pub fn of(event: &Event) -> Self {
        match event {
            Event::Claim { .. } => Self::Claim,
            Event::Settle { how: Settle::Complete(_), .. } => Self::Complete,
            Event::Settle { how: Settle::Retry { .. }, .. } => Self::Retry,
            Event::Settle { how: Settle::HandBack { .. }, .. } => Self::HandBack,
            Event::RequestCancel { .. } => Self::RequestCancel,
            Event::Repair { how: Mend::Requeue { .. }, .. } => Self::Requeue,
            Event::Repair { how: Mend::CompleteLeaseExpired { .. }, .. } => Self::CompleteLeaseExpired,
            Event::Repair { how: Mend::CompleteCancelled { .. }, .. } => Self::CompleteCancelled,
            Event::Repair { how: Mend::CompleteFromAdapter(_), .. } => Self::CompleteFromAdapter,
            Event::Repair { how: Mend::CompleteStaleQueued { .. }, .. } => Self::CompleteStaleQueued,
        }
    }
}

impl State {
    /// The kind of this state at `now`.
    pub fn kind(&self, now: Instant) -> StateKind {
        match self {
            Self::Queued { next_attempt_at: Some(due), .. } if now < *due => StateKind::Waiting,
            Self::Queued { .. } => StateKind::Queued,
            Self::Running { cancel_requested_at: None, .. } => StateKind::Running,
            Self::Running { .. } => StateKind::Cancelling,
            Self::Completed(_) => StateKind::Completed,
        }
    }
}

/// What each event does in each state: the law that `transition` and the store are tested against.
pub fn expected(state: StateKind, event: EventKind) -> Expected {
    use EventKind as E;
    use Expected::{Becomes, Ignored, Stale};
    use StateKind::{Cancelling, Completed, Queued, Running, Waiting};
    match (state, event) {
        (Queued, E::Claim) => Becomes(Running),
        (_, E::Claim) => Ignored,

        (Running | Cancelling, E::Complete) => Becomes(Completed),
        (Running, E::Retry) => Becomes(Waiting),
        (Running, E::HandBack) => Becomes(Queued),
        // What was to be cancelled never goes back to the queue.
        (Cancelling, E::Retry | E::HandBack | E::Requeue) => Becomes(Completed),
        (_, E::Complete | E::Retry | E::HandBack | E::LateSettle) => Stale,

        (Queued | Waiting, E::RequestCancel) => Becomes(Completed),
        (Running, E::RequestCancel) => Becomes(Cancelling),
        (_, E::RequestCancel) => Ignored,

        (Running, E::Requeue) => Becomes(Queued),
        (Running | Cancelling, E::CompleteLeaseExpired | E::CompleteCancelled | E::CompleteFromAdapter) => {
            Becomes(Completed)
        }
        (Queued | Waiting, E::CompleteStaleQueued) => Becomes(Completed),
        (
            _,
            E::Requeue
            | E::CompleteLeaseExpired
            | E::CompleteCancelled
            | E::CompleteFromAdapter
            | E::CompleteStaleQueued
            | E::LateRepair,
        ) => Ignored,
    }
}
