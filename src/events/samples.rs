//! Runs for the tests of this room.

use crate::clock::Instant;
use crate::domain::admission::Request;
use crate::domain::failure::{Code, Failure};
use crate::domain::identity::IdentityHash;
use crate::domain::operation::Operation;
use crate::domain::run::{Outcome, Run, Status};
use crate::events::event::{Name, News, State, Subject, Told};
use crate::ids::{LeaseToken, RunId, TenantId, WorkspaceId};

/// A queued fetch of workspace 1 and tenant 2.
pub fn run(id: i64) -> Run {
    let request = Request {
        workspace_id: WorkspaceId(1),
        tenant_id: Some(TenantId(2)),
        user_id: None,
        initiator_name: "tester".to_owned(),
        operation: Operation::Fetch,
        identity: IdentityHash([7; 32]),
        context: serde_json::Map::new(),
        force: false,
    };
    request.into_run(RunId(id), Instant::from_micros(0).unwrap())
}

/// The same, executed under a lease.
pub fn running_run(id: i64, lease: i64) -> Run {
    Run { status: Status::Running, lease_token: LeaseToken(lease), attempt: 1, ..run(id) }
}

/// The same, failed.
pub fn failed_run(id: i64) -> Run {
    Run {
        status: Status::Completed,
        outcome: Outcome::Failed,
        lease_token: LeaseToken(1),
        failure_summary: vec![Failure::new(Code::GraphNetwork, "a message")],
        ..run(id)
    }
}

/// That a run waits.
pub fn news(id: i64) -> News {
    let run = run(id);
    News {
        name: Name::RunQueued,
        at: run.created_at,
        subject: Subject::from(&run),
        told: Told::State(State::from(&run)),
    }
}
