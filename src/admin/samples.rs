//! Values for tests.

use serde_json::{Map, Value};

use crate::clock::Instant;
use crate::domain::admission::Request;
use crate::domain::identity::IdentityHash;
use crate::domain::operation::Operation;
use crate::domain::run::Run;
use crate::ids::{RunId, TenantId, WorkspaceId};

/// A queued fetch.
pub fn run(id: RunId, context: Map<String, Value>) -> Run {
    let request = Request {
        workspace_id: WorkspaceId(1),
        tenant_id: Some(TenantId(3)),
        user_id: None,
        initiator_name: "ci".to_owned(),
        operation: Operation::Fetch,
        identity: IdentityHash([7; 32]),
        context,
        force: false,
    };
    let at = Instant::from_micros(1_700_000_000_000_000).expect("within the calendar");
    request.into_run(id, at)
}
