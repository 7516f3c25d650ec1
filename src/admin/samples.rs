//! Values for tests.

use serde_json::{Map, Value};

use crate::clock::Instant;
use crate::domain::counts::Counts;
use crate::domain::identity::IdentityHash;
use crate::domain::operation::Operation;
use crate::domain::run::{Outcome, Run, Status};
use crate::ids::{LeaseToken, RunId, TenantId, WorkspaceId};

/// A queued fetch.
pub fn run(id: RunId, context: Map<String, Value>) -> Run {
    let created_at = Instant::from_micros(1_700_000_000_000_000).expect("within the calendar");
    Run {
        id,
        workspace_id: WorkspaceId(1),
        tenant_id: Some(TenantId(3)),
        user_id: None,
        initiator_name: "ci".to_owned(),
        operation: Operation::Fetch,
        status: Status::Queued,
        outcome: Outcome::Pending,
        identity: IdentityHash([7; 32]),
        summary_counts: Counts::default(),
        failure_summary: Vec::new(),
        context,
        started_at: None,
        completed_at: None,
        created_at,
        updated_at: created_at,
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
