//! The verdict on a request (SPEC section 4): a function of what holds the identity, the request and now.

use std::sync::Arc;

use super::identity::IdentityHash;
use super::operation::Operation;
use super::run::Run;
use crate::clock::Instant;
use crate::ids::{TenantId, UserId, WorkspaceId};

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
        let wait_ms = (retry_at - now).num_milliseconds().max(0) as u64 + 1;
        Self::Cooldown { run, retry_at, retry_after_s: wait_ms.div_ceil(1000) }
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
