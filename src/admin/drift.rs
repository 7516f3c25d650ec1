//! What has changed in a tenant since a snapshot: a fetch of the same types, to be compared with it.

use actix_web::{HttpResponse, post, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::Operator;
use super::body::MaybeBody;
use super::problem::Problem;
use super::snapshots::visible_snapshot;
use super::verdict::{self, VerdictBody};
use crate::domain::audit::Action;
use crate::ids::SnapshotId;
use crate::intake;

/// How to look; every field may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"force": true}))]
pub(super) struct DriftRequest {
    /// Skip the cooldown (never the rule that one run is active).
    force: Option<bool>,
}

/// Asks for a fetch of the types that a snapshot has read. It writes nothing to the tenant. Once its run has completed,
/// `context.snapshot_id` of the run and `GET /snapshots/{id}/diff/{that}` are the answer.
#[utoipa::path(
    operation_id = "check_drift",
    tag = "snapshots",
    params(("id" = i64, Path, description = "The snapshot to compare with")),
    request_body(content = Option<DriftRequest>, description = "May be left out"),
    responses(
        (status = 202, body = VerdictBody, description = "Accepted: the new run, durable"),
        (status = 200, body = VerdictBody, description = "Active or in cooldown: the fetch that holds the identity",
         headers(("Retry-After" = u64, description = "Seconds, with a cooldown"))),
        (status = 422, body = super::problem::Problem, content_type = "application/problem+json",
         description = "`snapshot.empty`"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/snapshots/{id}/drift")]
pub(super) async fn submit(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<SnapshotId>,
    asked: MaybeBody<DriftRequest>,
) -> Result<HttpResponse, Problem> {
    let snapshot = visible_snapshot(&state, &caller.0, *id).await?;
    let force = asked.0.force.unwrap_or(false);
    let request = intake::drift_of(&state.directory, &snapshot, force, &caller.0.initiator()).await?;
    Ok(verdict::reply(verdict::ask_as(&state, Action::DriftAsked, request).await?))
}
