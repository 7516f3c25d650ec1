//! Runs: ask for one, look at them, cancel, retry.

use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AdminState;
use super::audit;
use super::auth::{Operator, Principal, Viewer};
use super::body::{self, Body, Query};
use super::list::List;
use super::problem::{Missing, Problem};
use super::verdict::{self, VerdictBody};
use crate::actors::Progress;
use crate::config::HttpConfig;
use crate::domain::admission::Verdict;
use crate::domain::audit::Action;
use crate::domain::run::{Attempt, Run, Status};
use crate::ids::{RunId, WorkspaceId};
use crate::intake::{self, RunRequest};
use crate::store::{Cancel, RunQuery};

/// Asks for a run.
#[utoipa::path(
    operation_id = "submit_run",
    tag = "runs",
    request_body = RunRequest,
    responses(
        (status = 202, body = VerdictBody, description = "Accepted: the new run, durable"),
        (status = 200, body = VerdictBody, description = "Active or in cooldown: the run that holds the identity",
         headers(("Retry-After" = u64, description = "Seconds, with a cooldown"))),
        (status = 503, body = super::problem::Problem, content_type = "application/problem+json",
         description = "No verdict: draining, gate full, or ledger unavailable",
         headers(("Retry-After" = u64, description = "Seconds"))),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/runs")]
pub(super) async fn submit(
    caller: Operator,
    state: web::Data<AdminState>,
    request: Body<RunRequest>,
) -> Result<HttpResponse, Problem> {
    let context_bytes_max = state.config().admission.context_bytes_max;
    let by = caller.0.initiator();
    let prepared = intake::prepare(&state.directory, &by, request.0, context_bytes_max).await?;
    // Most requests are duplicates: their verdict needs no more than the identity.
    let known =
        state.handle.ask(prepared.identity(), prepared.operation(), prepared.force(), &by.name).await?;
    let verdict = match known {
        Some(verdict) => verdict,
        None => {
            prepared.check_named(&state.store).await?;
            verdict::ask(&state, prepared.into_request(&by)).await?
        }
    };
    Ok(verdict::reply(verdict))
}

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunsQuery {
    /// Of a workspace.
    #[param(value_type = Option<i64>)]
    pub(super) workspace_id: Option<String>,
    /// Of a tenant.
    #[param(value_type = Option<i64>)]
    pub(super) tenant_id: Option<String>,
    /// Of an operation.
    #[param(value_type = Option<crate::domain::operation::Operation>)]
    pub(super) r#type: Option<String>,
    /// In a status.
    #[param(value_type = Option<crate::domain::run::Status>)]
    pub(super) status: Option<String>,
    /// With an outcome.
    #[param(value_type = Option<crate::domain::run::Outcome>)]
    pub(super) outcome: Option<String>,
    /// With an identity.
    #[param(value_type = Option<crate::domain::identity::IdentityHash>)]
    pub(super) run_identity_hash: Option<String>,
    /// Items at the most; 1 to `http.page_max`, default `http.page_default`.
    #[param(value_type = Option<usize>)]
    pub(super) limit: Option<String>,
    /// The `next_cursor` of the part before.
    pub(super) cursor: Option<String>,
}

impl RunsQuery {
    /// What to ask the ledger; never for more than the caller sees.
    pub(super) fn for_caller(self, caller: &Principal, limits: &HttpConfig) -> Result<RunQuery, Problem> {
        let number = "the number of an id";
        let asked: Option<WorkspaceId> =
            body::parameter("workspace_id", self.workspace_id.as_deref(), number)?;
        Ok(RunQuery {
            tenant_id: body::parameter("tenant_id", self.tenant_id.as_deref(), number)?,
            operation: body::parameter("type", self.r#type.as_deref(), "the name of an operation")?,
            status: body::word("status", self.status.as_deref(), "queued, running or completed")?,
            outcome: body::word("outcome", self.outcome.as_deref(), "pending, succeeded or failed")?,
            identity: body::parameter(
                "run_identity_hash",
                self.run_identity_hash.as_deref(),
                "64 lower-case hex characters",
            )?,
            page: body::page(self.limit.as_deref(), self.cursor, limits)?,
            workspace_id: caller.narrow(asked)?,
        })
    }
}

/// Lists runs, newest first.
#[utoipa::path(
    operation_id = "list_runs",
    tag = "runs",
    params(RunsQuery),
    responses(
        (status = 200, body = List<Run>, description = "A part of the list"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/runs")]
pub(super) async fn list(
    caller: Viewer,
    state: web::Data<AdminState>,
    query: Query<RunsQuery>,
) -> Result<HttpResponse, Problem> {
    let query = query.0.for_caller(&caller.0, &state.config().http)?;
    Ok(HttpResponse::Ok().json(List::from(state.store.runs(query).await?)))
}

/// A run, with how far it is while it executes here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunBody {
    #[serde(flatten)]
    run: Run,
    /// While it executes on the instance that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
}

/// Shows a run.
#[utoipa::path(
    operation_id = "show_run",
    tag = "runs",
    params(("id" = i64, Path, description = "The run")),
    responses(
        (status = 200, body = RunBody, description = "The run"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/runs/{id}")]
pub(super) async fn show(
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<RunId>,
) -> Result<HttpResponse, Problem> {
    let run = visible_run(&state, &caller.0, *id).await?;
    let progress = (run.status == Status::Running).then(|| state.handle.progress(run.id)).flatten();
    Ok(HttpResponse::Ok().json(RunBody { run, progress }))
}

/// Lists the attempts of a run, oldest first.
#[utoipa::path(
    operation_id = "list_attempts",
    tag = "runs",
    params(("id" = i64, Path, description = "The run")),
    responses(
        (status = 200, body = List<Attempt>, description = "All attempts"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/runs/{id}/attempts")]
pub(super) async fn attempts(
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<RunId>,
) -> Result<HttpResponse, Problem> {
    let run = visible_run(&state, &caller.0, *id).await?;
    Ok(HttpResponse::Ok().json(List::whole(state.store.attempts(run.id).await?)))
}

/// A run that is being cancelled.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CancelBody {
    /// As it is now: completed if it was queued, else still running until its next safe point.
    run: Run,
}

/// Cancels a run: a queued one at once, a running one at its next safe point.
#[utoipa::path(
    operation_id = "cancel_run",
    tag = "runs",
    params(("id" = i64, Path, description = "The run")),
    responses(
        (status = 202, body = CancelBody, description = "Cancelled, or asked to stop"),
        (status = 409, body = super::problem::Problem, content_type = "application/problem+json",
         description = "`run.already_completed`"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/runs/{id}/cancel")]
pub(super) async fn cancel(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<RunId>,
) -> Result<HttpResponse, Problem> {
    match cancel_run(&state, &caller.0, *id).await? {
        Cancel::Completed(run) | Cancel::Requested(run) => {
            Ok(HttpResponse::Accepted().json(CancelBody { run }))
        }
        Cancel::AlreadyCompleted(run) => Err(Problem::already_completed(&run)),
        Cancel::NotFound => Err(Problem::not_found(Missing::Run)),
    }
}

/// Cancels a run that the caller may see.
pub(super) async fn cancel_run(state: &AdminState, caller: &Principal, id: RunId) -> Result<Cancel, Problem> {
    let run = visible_run(state, caller, id).await?;
    let answer = state.handle.cancel(run.id, &caller.name).await?;
    if let Cancel::Completed(run) | Cancel::Requested(run) = &answer {
        tracing::info!(by = %caller.name, run.id = run.id.0, "run cancelled on request");
        audit::note(state, audit::of_run(Action::RunCancelled, run)).await;
    }
    Ok(answer)
}

/// Asks for the same run again; skips the cooldown, never the rule that one run is active.
#[utoipa::path(
    operation_id = "retry_run",
    tag = "runs",
    params(("id" = i64, Path, description = "The run to repeat")),
    responses(
        (status = 202, body = VerdictBody, description = "Accepted: the new run, durable"),
        (status = 200, body = VerdictBody, description = "Active: the run that holds the identity"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/runs/{id}/retry")]
pub(super) async fn retry(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<RunId>,
) -> Result<HttpResponse, Problem> {
    Ok(verdict::reply(retry_run(&state, &caller.0, *id).await?))
}

/// Asks for the same again as a run that the caller may see.
pub(super) async fn retry_run(state: &AdminState, caller: &Principal, id: RunId) -> Result<Verdict, Problem> {
    let run = visible_run(state, caller, id).await?;
    let request = intake::retry_of(&state.directory, &state.store, &run, &caller.initiator()).await?;
    verdict::ask_as(state, Action::RunRetried, request).await
}

/// A run that the caller may see.
pub(super) async fn visible_run(state: &AdminState, caller: &Principal, id: RunId) -> Result<Run, Problem> {
    caller.visible(state.store.run(id).await?, |run| run.workspace_id, Missing::Run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operation::Operation;
    use crate::store::Role;

    fn query(query: RunsQuery, workspace: Option<i64>) -> Result<RunQuery, &'static str> {
        let caller =
            Principal { name: "t".to_owned(), role: Role::Viewer, workspace: workspace.map(WorkspaceId) };
        query.for_caller(&caller, &HttpConfig::default()).map_err(|problem| problem.code())
    }

    #[test]
    fn a_bound_caller_lists_its_own_workspace_only() {
        assert_eq!(query(RunsQuery::default(), Some(4)).unwrap().workspace_id, Some(WorkspaceId(4)));
        assert_eq!(query(RunsQuery::default(), None).unwrap().workspace_id, None);
        let foreign = RunsQuery { workspace_id: Some("5".to_owned()), ..RunsQuery::default() };
        assert_eq!(query(foreign, Some(4)).unwrap_err(), "workspace.not_found");
    }

    #[test]
    fn filters_are_the_words_of_the_ledger() {
        let filters = RunsQuery {
            r#type: Some("assignments.fetch".to_owned()),
            status: Some("completed".to_owned()),
            outcome: Some("failed".to_owned()),
            run_identity_hash: Some("ab".repeat(32)),
            ..RunsQuery::default()
        };
        let parsed = query(filters, None).unwrap();
        assert_eq!((parsed.operation, parsed.status), (Some(Operation::Fetch), Some(Status::Completed)));
        assert_eq!(parsed.identity.unwrap().to_string(), "ab".repeat(32));
    }

    #[test]
    fn wrong_filters_are_refused() {
        let wrong = |change: fn(&mut RunsQuery)| {
            let mut filters = RunsQuery::default();
            change(&mut filters);
            query(filters, None).unwrap_err()
        };
        assert_eq!(wrong(|q| q.r#type = Some("fetch".to_owned())), "request.invalid");
        assert_eq!(wrong(|q| q.status = Some("Queued".to_owned())), "request.invalid");
        assert_eq!(wrong(|q| q.outcome = Some(String::new())), "request.invalid");
        assert_eq!(wrong(|q| q.tenant_id = Some("1e3".to_owned())), "request.invalid");
        assert_eq!(wrong(|q| q.run_identity_hash = Some("AB".repeat(32))), "request.invalid");
    }
}
