//! The verdict on a request (SPEC section 4): a function of what holds the identity, the request and now.

use std::sync::Arc;

use super::counts::Counts;
use super::identity::IdentityHash;
use super::operation::Operation;
use super::run::{Outcome, Run, Status};
use crate::clock::Instant;
use crate::ids::{LeaseToken, RunId, TenantId, UserId, WorkspaceId};

/// A request that has passed all checks of its form and only needs a verdict.
#[derive(Clone, Debug)]
pub struct Request {
    /// The owner.
    pub workspace_id: WorkspaceId,
    /// Set exactly for tenant-scoped operations.
    pub tenant_id: Option<TenantId>,
    /// The asking user, when there is one.
    pub user_id: Option<UserId>,
    /// Who asked.
    pub initiator_name: String,
    /// The operation.
    pub operation: Operation,
    /// Its identity.
    pub identity: IdentityHash,
    /// The context of the run that it may become.
    pub context: serde_json::Map<String, serde_json::Value>,
    /// Skip the cooldown, never the active rule.
    pub force: bool,
}

impl Request {
    /// The run that it becomes when it is accepted: queued, and the holder of its identity.
    pub fn into_run(self, id: RunId, at: Instant) -> Run {
        Run {
            id,
            workspace_id: self.workspace_id,
            tenant_id: self.tenant_id,
            user_id: self.user_id,
            initiator_name: self.initiator_name,
            operation: self.operation,
            status: Status::Queued,
            outcome: Outcome::Pending,
            identity: self.identity,
            summary_counts: Counts::default(),
            failure_summary: Vec::new(),
            context: self.context,
            started_at: None,
            completed_at: None,
            created_at: at,
            updated_at: at,
            attempt: 0,
            next_attempt_at: None,
            cancel_requested_at: None,
            cooldown_until: None,
            duplicate_count: 0,
            last_duplicate_at: None,
            holds_identity: true,
            lease_token: LeaseToken(0),
            lease_owner: None,
        }
    }
}

/// The one answer to a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// A new run, durable.
    Accepted(Arc<Run>),
    /// An active run holds the identity.
    Active(Arc<Run>),
    /// A completed run holds it, in cooldown.
    Cooldown {
        /// The run.
        run: Arc<Run>,
        /// When the same request would be accepted.
        retry_at: Instant,
        /// Whole seconds until then, at least 1.
        retry_after_s: u64,
    },
}

/// What to do about a request whose identity is known to be held by `holder`.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Answer now; nothing is written.
    Refuse(Verdict),
    /// Nobody holds it (any more, or by force): write a new run.
    Insert,
}

/// Decides on a request whose identity `holder` holds (SPEC section 4).
pub fn decide(holder: &Arc<Run>, force: bool, now: Instant) -> Decision {
    if holder.is_active() {
        return Decision::Refuse(Verdict::Active(holder.clone()));
    }
    match holder.cooldown_until {
        Some(retry_at) if holder.holds_identity && now < retry_at && !force => {
            Decision::Refuse(Verdict::cooldown(holder.clone(), retry_at, now))
        }
        _ => Decision::Insert,
    }
}

impl Verdict {
    /// The cooldown verdict, with `retry_after_s` rounded up so that a client that waits it is not refused again.
    pub fn cooldown(run: Arc<Run>, retry_at: Instant, now: Instant) -> Self {
        let wait_us = u64::try_from(retry_at.micros().saturating_sub(now.micros())).unwrap_or(0);
        Self::Cooldown { run, retry_at, retry_after_s: wait_us.div_ceil(1_000_000).max(1) }
    }

    /// The run that the verdict is about.
    pub fn run(&self) -> &Arc<Run> {
        match self {
            Self::Accepted(run) | Self::Active(run) | Self::Cooldown { run, .. } => run,
        }
    }

    /// `accepted`, `active` or `cooldown`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Active(_) => "active",
            Self::Cooldown { .. } => "cooldown",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::run::Status;
    use crate::domain::run::fixture;

    fn at(micros: i64) -> Instant {
        Instant::from_micros(micros).expect("within the calendar")
    }

    fn holder(status: Status, cooldown_until: Option<Instant>, holds_identity: bool) -> Arc<Run> {
        Arc::new(Run { cooldown_until, holds_identity, ..fixture(status) })
    }

    #[test]
    fn a_run_in_cooldown_says_when_to_come_again() {
        let run = holder(Status::Completed, Some(at(10_000_000)), true);
        for (now, wait) in [(0, 10), (8_999_999, 2), (9_000_000, 1), (9_999_999, 1)] {
            let Decision::Refuse(Verdict::Cooldown { retry_at, retry_after_s, .. }) =
                decide(&run, false, at(now))
            else {
                panic!("expected a cooldown at {now}")
            };
            assert_eq!((retry_at, retry_after_s), (at(10_000_000), wait));
        }
        assert!(matches!(decide(&run, false, at(10_000_000)), Decision::Insert), "over at its very end");
    }

    #[test]
    fn what_holds_nothing_refuses_nothing() {
        for run in [
            holder(Status::Completed, None, true),
            holder(Status::Completed, Some(at(10)), false),
            holder(Status::Completed, None, false),
        ] {
            assert!(matches!(decide(&run, false, at(0)), Decision::Insert));
        }
    }

    #[test]
    fn verdicts_have_the_words_of_the_spec() {
        let run = holder(Status::Completed, None, true);
        let words = [Verdict::Accepted(run.clone()), Verdict::Active(run.clone())].map(|it| it.as_str());
        assert_eq!(words, ["accepted", "active"]);
        assert_eq!(Verdict::cooldown(run, at(0), at(0)).as_str(), "cooldown");
    }

    proptest! {
        #[test]
        fn nothing_is_accepted_while_a_run_is_active(
            running: bool, until in proptest::option::of(0..1_i64 << 50), holds: bool, force: bool, now in 0..1_i64 << 50,
        ) {
            let status = if running { Status::Running } else { Status::Queued };
            let run = holder(status, until.map(at), holds);
            let refused = matches!(decide(&run, force, at(now)), Decision::Refuse(Verdict::Active(_)));
            prop_assert!(refused);
        }

        #[test]
        fn force_skips_every_cooldown(until in proptest::option::of(0..1_i64 << 50), holds: bool, now in 0..1_i64 << 50) {
            let run = holder(Status::Completed, until.map(at), holds);
            prop_assert!(matches!(decide(&run, true, at(now)), Decision::Insert));
        }

        #[test]
        fn waiting_as_told_suffices(until in 0..1_i64 << 50, now in 0..1_i64 << 50) {
            let run = holder(Status::Completed, Some(at(until)), true);
            match decide(&run, false, at(now)) {
                Decision::Refuse(Verdict::Cooldown { retry_after_s, .. }) => {
                    prop_assert!(now < until && retry_after_s >= 1);
                    let later = at(now) + std::time::Duration::from_secs(retry_after_s);
                    prop_assert!(matches!(decide(&run, false, later), Decision::Insert));
                }
                Decision::Insert => prop_assert!(now >= until),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
