//! Asking again for what failed: one request for each identity whose latest run failed in a given way, one verdict or
//! one problem each.

use std::time::Duration;

use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AdminState;
use super::audit;
use super::auth::{Operator, Principal};
use super::body::{self, Body};
use super::failures::since;
use super::problem::{Missing, Problem};
use super::verdict::VerdictBody;
use crate::actors::AdmitError;
use crate::clock::Instant;
use crate::domain::admission::{Request, Verdict};
use crate::domain::audit::Action;
use crate::domain::failure::Code;
use crate::domain::operation::Operation;
use crate::domain::run::Run;
use crate::ids::{RunId, TenantId, WorkspaceId};
use crate::intake::{self, IntakeError};
use crate::store::{FailedOf, FailedQuery};

/// LIMIT: how long looking up what the requests name may take together; what is left is told as `more`.
const PREPARING_MAX: Duration = Duration::from_secs(20);

/// Which failures to ask for again.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"code": "graph.throttled", "type": "assignments.fetch", "since": "24h"}))]
pub struct RetryFailures {
    /// Runs that failed with this code.
    #[schema(value_type = Code)]
    pub code: String,
    /// Of an operation.
    #[serde(rename = "type")]
    #[schema(value_type = Option<Operation>)]
    pub operation: Option<String>,
    /// Of a workspace and its tenants.
    pub workspace_id: Option<WorkspaceId>,
    /// Of a tenant.
    pub tenant_id: Option<TenantId>,
    /// Completed since: a time (RFC 3339) or a span such as `24h`, default `7days`. Counted exactly.
    pub since: Option<String>,
}

/// The answer to one request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Retried {
    /// As for `POST /runs`.
    Verdict {
        /// The run that failed.
        retry_of: RunId,
        /// The verdict.
        #[serde(flatten)]
        verdict: VerdictBody,
    },
    /// The request could not be made again, or got no verdict.
    Error {
        /// The run that failed.
        retry_of: RunId,
        /// Why.
        error: Problem,
    },
}

/// The answers, the newest failure first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetriedBody {
    /// One for each identity.
    pub verdicts: Vec<Retried>,
    /// There are more than `admission.bulk_max`: ask again.
    pub more: bool,
}

/// Asks again for what failed: for each identity whose latest run failed with the code, as `POST /runs/{id}/retry` does.
/// An identity that has succeeded since is left alone. At most `admission.bulk_max` at a time.
#[utoipa::path(
    operation_id = "retry_failures",
    tag = "failures",
    request_body = RetryFailures,
    responses(
        (status = 200, body = RetriedBody, description = "One answer for each identity"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/failures/retry")]
pub(super) async fn submit(
    caller: Operator,
    state: web::Data<AdminState>,
    asked: Body<RetryFailures>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(retry(&state, &caller.0, asked.0, false).await?))
}

/// Asks again. `itself` leaves the tenants of a workspace out.
pub(super) async fn retry(
    state: &AdminState,
    caller: &Principal,
    asked: RetryFailures,
    itself: bool,
) -> Result<RetriedBody, Problem> {
    let now = state.store.now().await?;
    let limit = state.config().admission.bulk_max;
    let query = query(state, caller, asked, itself, now, limit).await?;
    let failed = state.store.failed_runs(query).await?;
    let (wanted, requests, more) = prepare(state, caller, failed.runs).await?;
    let verdicts = if requests.is_empty() { Vec::new() } else { state.handle.admit(requests).await? };
    for verdict in &verdicts {
        if let Ok(Verdict::Accepted(run)) = verdict {
            audit::note(state, audit::of_run(Action::RunRetried, run)).await;
        }
    }
    let verdicts = zip(wanted, verdicts)?;
    tracing::info!(by = %caller.name, code = query.code.as_str(), requests = verdicts.len(), "failed runs retried");
    Ok(RetriedBody { verdicts, more: failed.more || more })
}

/// What to ask the ledger; never for more than the caller sees.
async fn query(
    state: &AdminState,
    caller: &Principal,
    asked: RetryFailures,
    itself: bool,
    now: Instant,
    limit: usize,
) -> Result<FailedQuery, Problem> {
    let code = body::parameter_of("code", &asked.code, "a reason code")?;
    let operation = body::parameter("type", asked.operation.as_deref(), "the name of an operation")?;
    let workspace = caller.narrow(asked.workspace_id)?;
    let of = match (asked.tenant_id, workspace) {
        (Some(tenant), workspace) => {
            let known = state.directory.tenant(tenant).await?;
            let seen = known.filter(|facts| workspace.is_none_or(|own| own == facts.workspace_id));
            FailedOf::Tenant(seen.ok_or_else(|| Problem::not_found(Missing::Tenant))?.id)
        }
        (None, Some(workspace)) if itself => FailedOf::WorkspaceItself(workspace),
        (None, Some(workspace)) => FailedOf::Workspace(workspace),
        (None, None) => FailedOf::All,
    };
    Ok(FailedQuery { code, operation, of, since: since(asked.since.as_deref(), now)?, limit })
}

/// A run that failed, and whether a request was made of it again.
type Wanted = (RunId, Result<(), Problem>);

/// Makes a request of each run. One that cannot be made any more is its own problem; a ledger that cannot be asked is
/// everybody's.
async fn prepare(
    state: &AdminState,
    caller: &Principal,
    runs: Vec<Run>,
) -> Result<(Vec<Wanted>, Vec<Request>, bool), Problem> {
    let by = caller.initiator();
    let deadline = std::time::Instant::now() + PREPARING_MAX;
    let (mut wanted, mut requests) = (Vec::with_capacity(runs.len()), Vec::with_capacity(runs.len()));
    for run in runs {
        if std::time::Instant::now() >= deadline {
            return Ok((wanted, requests, true));
        }
        match intake::retry_of(&state.directory, &state.store, &run, &by).await {
            Ok(request) => {
                requests.push(request);
                wanted.push((run.id, Ok(())));
            }
            Err(IntakeError::Store(error)) => return Err(error.into()),
            Err(error) => wanted.push((run.id, Err(error.into()))),
        }
    }
    Ok((wanted, requests, false))
}

fn zip(wanted: Vec<Wanted>, verdicts: Vec<Result<Verdict, AdmitError>>) -> Result<Vec<Retried>, Problem> {
    let mut verdicts = verdicts.into_iter();
    wanted
        .into_iter()
        .map(|(retry_of, made)| match made {
            Err(error) => Ok(Retried::Error { retry_of, error }),
            Ok(()) => match verdicts.next() {
                Some(Ok(verdict)) => Ok(Retried::Verdict { retry_of, verdict: verdict.into() }),
                Some(Err(error)) => Ok(Retried::Error { retry_of, error: error.into() }),
                None => Err(Problem::broken_invariant("expected a verdict for each request, found fewer")),
            },
        })
        .collect()
}

impl RetriedBody {
    /// What became of it, in a sentence or two.
    pub fn in_words(&self) -> String {
        let count = |word: &str| {
            let is = |answer: &&Retried| matches!(answer, Retried::Verdict { verdict, .. } if verdict.word() == word);
            self.verdicts.iter().filter(is).count()
        };
        let (accepted, active, cooldown) = (count("accepted"), count("active"), count("cooldown"));
        let errors = self.verdicts.len() - accepted - active - cooldown;
        if self.verdicts.is_empty() {
            return "Nothing to retry: what failed so has been done since, or failed otherwise.".to_owned();
        }
        let parts = [
            (accepted, "accepted"),
            (active, "under way already"),
            (cooldown, "in cooldown"),
            (errors, "that cannot be asked for again"),
        ];
        let told: Vec<_> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, words)| format!("{n} {words}")).collect();
        let more = if self.more { " There are more: retry once more for the rest." } else { "" };
        format!("Asked for {} again: {}.{more}", self.verdicts.len(), told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Map;

    use super::*;
    use crate::admin::samples;

    fn run(id: i64) -> Arc<Run> {
        Arc::new(samples::run(RunId(id), Map::new()))
    }

    #[test]
    fn each_failed_run_has_its_own_answer() {
        let wanted = vec![
            (RunId(1), Ok(())),
            (RunId(2), Err(Problem::not_found(Missing::Snapshot))),
            (RunId(3), Ok(())),
        ];
        let verdicts = vec![Ok(Verdict::Accepted(run(7))), Ok(Verdict::Active(run(8)))];
        let body = RetriedBody { verdicts: zip(wanted, verdicts).unwrap(), more: true };
        let json = serde_json::to_value(&body).unwrap();
        assert_eq!(
            (json["verdicts"][0]["retry_of"].as_i64(), json["verdicts"][0]["run"]["id"].as_i64()),
            (Some(1), Some(7))
        );
        assert_eq!(json["verdicts"][1]["error"]["code"], "snapshot.not_found");
        assert_eq!(json["verdicts"][2]["verdict"], "active");
        assert_eq!(
            body.in_words(),
            "Asked for 3 again: 1 accepted, 1 under way already, 1 that cannot be asked for again. \
             There are more: retry once more for the rest."
        );
    }

    #[test]
    fn nothing_is_told_as_nothing() {
        let body = RetriedBody { verdicts: vec![], more: false };
        assert!(body.in_words().starts_with("Nothing to retry"));
    }
}
