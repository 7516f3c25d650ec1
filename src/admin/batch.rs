//! Many requests in one call: one verdict or one problem each, in order (SPEC section 4).

use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::AdminState;
use super::audit;
use super::auth::Operator;
use super::body::{self, Body};
use super::problem::Problem;
use super::verdict::VerdictBody;
use crate::actors::AdmitError;
use crate::domain::admission::{Request, Verdict};
use crate::intake::{self, Initiator, IntakeError, RunRequest};

/// Requests, judged one by one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// At most `admission.bulk_max`.
    #[schema(value_type = Vec<RunRequest>, min_items = 1, max_items = 1000)]
    requests: Vec<Value>,
}

/// The answers, in the order of the requests.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchBody {
    /// One for each request.
    verdicts: Vec<BatchAnswer>,
}

/// The answer to one request of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchAnswer {
    /// As for `POST /runs`.
    Verdict(VerdictBody),
    /// The request was none.
    Error {
        /// What was wrong with it.
        error: Problem,
    },
}

/// Asks for many runs. A request that is wrong does not stop the others; without a verdict for those that are right,
/// none is answered.
#[utoipa::path(
    operation_id = "submit_batch",
    tag = "runs",
    request_body = BatchRequest,
    responses(
        (status = 200, body = BatchBody, description = "One answer for each request, in order"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/runs/batch")]
pub(super) async fn submit(
    caller: Operator,
    state: web::Data<AdminState>,
    batch: Body<BatchRequest>,
) -> Result<HttpResponse, Problem> {
    let limits = state.config().admission.clone();
    check_size(batch.0.requests.len(), limits.bulk_max)?;
    let by = caller.0.initiator();
    let mut wanted = Vec::with_capacity(batch.0.requests.len());
    let mut slots = Vec::with_capacity(batch.0.requests.len());
    for raw in batch.0.requests {
        slots.push(match judge(&state, &by, raw, limits.context_bytes_max).await? {
            Ok(request) => {
                wanted.push(request);
                Ok(())
            }
            Err(problem) => Err(problem),
        });
    }
    let verdicts = if wanted.is_empty() { Vec::new() } else { state.handle.admit(wanted).await? };
    refuse_without_verdicts(&verdicts)?;
    let mut accepted = 0;
    for verdict in &verdicts {
        let Ok(Verdict::Accepted(run)) = verdict else { continue };
        accepted += 1;
        audit::note(&state, audit::of_run(audit::action_of(run.operation), run)).await;
    }
    if accepted > 0 {
        tracing::info!(by = %by.name, accepted, requests = slots.len(), "runs accepted");
    }
    Ok(HttpResponse::Ok().json(BatchBody { verdicts: zip(slots, verdicts)? }))
}

fn check_size(requests: usize, bulk_max: usize) -> Result<(), Problem> {
    if (1..=bulk_max).contains(&requests) {
        return Ok(());
    }
    Err(Problem::invalid("requests", &format!("expected 1 to {bulk_max} requests, found {requests}")))
}

/// One request's own problem is its answer; a ledger that cannot be asked is everybody's.
async fn judge(
    state: &AdminState,
    by: &Initiator,
    raw: Value,
    context_bytes_max: usize,
) -> Result<Result<Request, Problem>, Problem> {
    let request: RunRequest = match body::convert(raw) {
        Ok(request) => request,
        Err(problem) => return Ok(Err(problem)),
    };
    match intake::run_request(&state.directory, &state.store, by, request, context_bytes_max).await {
        Ok(request) => Ok(Ok(request)),
        Err(IntakeError::Store(error)) => Err(error.into()),
        Err(error) => Ok(Err(error.into())),
    }
}

/// A registry's answer to one request.
type Answer = Result<Verdict, AdmitError>;

/// Where the ledger could write nothing at all, the call as a whole is to be tried again.
fn refuse_without_verdicts(verdicts: &[Answer]) -> Result<(), Problem> {
    let nothing = verdicts.iter().all(|verdict| matches!(verdict, Err(AdmitError::Unavailable)));
    if nothing && !verdicts.is_empty() { Err(AdmitError::Unavailable.into()) } else { Ok(()) }
}

/// Puts the verdicts where their requests were.
fn zip(slots: Vec<Result<(), Problem>>, verdicts: Vec<Answer>) -> Result<Vec<BatchAnswer>, Problem> {
    let mut verdicts = verdicts.into_iter();
    slots
        .into_iter()
        .map(|slot| match slot {
            Err(error) => Ok(BatchAnswer::Error { error }),
            Ok(()) => match verdicts.next() {
                Some(Ok(verdict)) => Ok(BatchAnswer::Verdict(verdict.into())),
                Some(Err(error)) => Ok(BatchAnswer::Error { error: error.into() }),
                None => Err(Problem::broken_invariant("expected a verdict for each request, found fewer")),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Map;

    use super::*;
    use crate::admin::samples;
    use crate::ids::RunId;

    fn active(id: i64) -> Answer {
        Ok(Verdict::Active(Arc::new(samples::run(RunId(id), Map::new()))))
    }

    #[test]
    fn answers_stand_where_their_requests_stood() {
        let slots = vec![Ok(()), Err(Problem::invalid("type", "expected an operation")), Ok(())];
        let answers = serde_json::to_value(zip(slots, vec![active(1), active(2)]).unwrap()).unwrap();
        assert_eq!(answers[0]["run"]["id"], 1);
        assert_eq!(answers[1]["error"]["code"], "request.invalid");
        assert_eq!(answers[1].as_object().unwrap().len(), 1);
        assert_eq!(answers[2]["run"]["id"], 2);
    }

    #[test]
    fn one_that_could_not_be_written_is_an_error_of_its_own() {
        let verdicts = vec![active(1), Err(AdmitError::Unavailable)];
        assert!(refuse_without_verdicts(&verdicts).is_ok());
        let answers = serde_json::to_value(zip(vec![Ok(()), Ok(())], verdicts).unwrap()).unwrap();
        assert_eq!(answers[0]["verdict"], "active");
        assert_eq!(answers[1]["error"]["status"], 503);
    }

    #[test]
    fn without_any_verdict_the_call_is_to_be_tried_again() {
        let nothing = refuse_without_verdicts(&[Err(AdmitError::Unavailable)]);
        assert_eq!(nothing.unwrap_err().code(), "ledger.unavailable");
        assert!(refuse_without_verdicts(&[]).is_ok());
    }

    #[test]
    fn too_few_verdicts_are_a_bug_and_not_an_answer() {
        assert_eq!(zip(vec![Ok(()), Ok(())], vec![active(1)]).unwrap_err().code(), "internal.unexpected");
    }

    #[test]
    fn a_batch_has_one_request_at_least_and_bulk_max_at_the_most() {
        assert!(check_size(1, 1000).is_ok() && check_size(1000, 1000).is_ok());
        assert!(check_size(0, 1000).is_err() && check_size(1001, 1000).is_err());
    }
}
