//! Reconcile on request (SPEC section 8).

use actix_web::{HttpResponse, post, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::Operator;
use super::body::Body;
use super::problem::Problem;
use super::verdict::{self, VerdictBody};
use crate::ids::WorkspaceId;
use crate::intake;

/// Which workspace to reconcile.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReconcileRequest {
    /// The workspace.
    workspace_id: WorkspaceId,
    /// List the repairs without carrying them out.
    dry_run: Option<bool>,
}

/// Asks for a reconcile run of a workspace.
#[utoipa::path(
    operation_id = "reconcile_workspace",
    tag = "reconcile",
    request_body = ReconcileRequest,
    responses(
        (status = 202, body = VerdictBody, description = "Accepted: the new run, durable"),
        (status = 200, body = VerdictBody, description = "Active: the workspace's reconcile run"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/reconcile")]
pub(super) async fn submit(
    caller: Operator,
    state: web::Data<AdminState>,
    request: Body<ReconcileRequest>,
) -> Result<HttpResponse, Problem> {
    let ReconcileRequest { workspace_id, dry_run } = request.0;
    let by = caller.0.initiator();
    let request = intake::reconcile(&state.directory, workspace_id, dry_run.unwrap_or(false), &by).await?;
    Ok(verdict::reply(verdict::ask(&state, request).await?))
}
