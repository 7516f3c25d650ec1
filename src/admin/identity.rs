//! Why two requests are the same, or are not (SPEC section 3).

use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::Viewer;
use super::body::Body;
use super::problem::Problem;
use super::runs::visible_run;
use crate::domain::identity::{self, Difference, IdentityHash};
use crate::domain::run::Run;
use crate::ids::RunId;
use crate::intake::{self, Resolved, RunRequest};

/// A request to explain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainRequest {
    /// As for `POST /runs`; only the tenant or workspace that it names must exist.
    request: RunRequest,
    /// A run to compare it with.
    against: Option<RunId>,
}

/// What makes a request the same as another.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explanation {
    /// The canonical JSON (RFC 8785) that is hashed.
    canonical: String,
    /// Its SHA-256.
    run_identity_hash: IdentityHash,
    /// The run that holds the identity now: the active one, or the completed one in cooldown.
    held_by: Option<Run>,
    /// Where the request's identity differs from the run's in `against`; empty without one.
    differences: Vec<Difference>,
}

/// Explains the identity of a request.
#[utoipa::path(
    operation_id = "explain_identity",
    tag = "identity",
    request_body = ExplainRequest,
    responses(
        (status = 200, body = Explanation, description = "The identity, its holder, and the differences"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/identity/explain")]
pub(super) async fn explain(
    caller: Viewer,
    state: web::Data<AdminState>,
    asked: Body<ExplainRequest>,
) -> Result<HttpResponse, Problem> {
    let ExplainRequest { request, against } = asked.0;
    let by = caller.0.initiator();
    let resolved = intake::resolve(&state.directory, &by, &request).await?;
    let differences = match against {
        None => Vec::new(),
        Some(id) => {
            let run = visible_run(&state, &caller.0, id).await?;
            let other = intake::resolve_run(&state.directory, &run, &by).await?;
            identity::differences(&document(&resolved)?, &document(&other)?)
        }
    };
    let run_identity_hash = resolved.identity;
    let held_by = holder(&state, run_identity_hash).await?;
    let canonical = String::from_utf8(resolved.canonical())
        .map_err(|_| Problem::broken_invariant("expected canonical JSON to be UTF-8"))?;
    Ok(HttpResponse::Ok().json(Explanation { canonical, run_identity_hash, held_by, differences }))
}

/// The active run of an identity, or the completed one in cooldown. A completed one keeps its flag until somebody
/// takes over, so its cooldown is looked at, by the database's clock.
pub(super) async fn holder(state: &AdminState, identity: IdentityHash) -> Result<Option<Run>, Problem> {
    let Some(run) = state.store.holder(identity).await? else { return Ok(None) };
    if run.is_active() {
        return Ok(Some(run));
    }
    let now = state.store.now().await?;
    Ok(Some(run).filter(|run| run.cooldown_until.is_some_and(|until| now < until)))
}

/// The identity as JSON, to compare.
fn document(resolved: &Resolved) -> Result<Value, Problem> {
    serde_json::from_slice(&resolved.canonical())
        .map_err(|_| Problem::broken_invariant("expected canonical JSON to be JSON"))
}
