//! The verdict as JSON (SPEC sections 4 and 10), the same for every call that asks for a run.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::audit;
use super::problem::Problem;
use crate::clock::Instant;
use crate::domain::admission::{Request, Verdict};
use crate::domain::audit::Action;
use crate::domain::run::Run;

/// The one answer to a request for a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerdictBody {
    /// `accepted`, `active` or `cooldown`.
    #[schema(value_type = String, example = "accepted")]
    verdict: &'static str,
    /// When the same request would be accepted; with `cooldown` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<Instant>,
    /// Whole seconds until then; with `cooldown` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    /// The new run, or the one that holds the identity.
    #[schema(value_type = Run)]
    run: Arc<Run>,
}

impl VerdictBody {
    /// `accepted`, `active` or `cooldown`.
    pub fn word(&self) -> &'static str {
        self.verdict
    }
}

impl From<Verdict> for VerdictBody {
    fn from(verdict: Verdict) -> Self {
        let word = verdict.as_str();
        match verdict {
            Verdict::Accepted(run) | Verdict::Active(run) => {
                Self { verdict: word, retry_at: None, retry_after_s: None, run }
            }
            Verdict::Cooldown { run, retry_at, retry_after_s } => {
                Self { verdict: word, retry_at: Some(retry_at), retry_after_s: Some(retry_after_s), run }
            }
        }
    }
}

/// Asks the registry for one verdict. An accepted run is a change, and goes into the audit.
pub async fn ask(state: &AdminState, request: Request) -> Result<Verdict, Problem> {
    let action = audit::action_of(request.operation);
    ask_as(state, action, request).await
}

/// The same, where the change has a name of its own.
pub async fn ask_as(state: &AdminState, action: Action, request: Request) -> Result<Verdict, Problem> {
    let mut verdicts = state.handle.admit(vec![request]).await?;
    let verdict = verdicts
        .pop()
        .ok_or_else(|| Problem::broken_invariant("expected one verdict for one request, found none"))?;
    let verdict = verdict?;
    if let Verdict::Accepted(run) = &verdict {
        audit::note(state, audit::of_run(action, run)).await;
    }
    Ok(verdict)
}

/// 202 for a new run, 200 for the one that there is already; `Retry-After` with a cooldown. An accepted run is a
/// change and is logged with who asked.
pub fn reply(verdict: Verdict) -> HttpResponse {
    let mut response = match &verdict {
        Verdict::Accepted(run) => {
            tracing::info!(
                by = %run.initiator_name, run.id = run.id.0, run.type = run.operation.as_str(), "run accepted"
            );
            HttpResponse::Accepted()
        }
        Verdict::Active(_) | Verdict::Cooldown { .. } => HttpResponse::Ok(),
    };
    if let Verdict::Cooldown { retry_after_s, .. } = &verdict {
        response.insert_header((header::RETRY_AFTER, *retry_after_s));
    }
    response.json(VerdictBody::from(verdict))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::admin::samples;
    use crate::ids::RunId;

    fn run() -> Arc<Run> {
        Arc::new(samples::run(RunId(7), Map::new()))
    }

    fn json_of(verdict: Verdict) -> Value {
        serde_json::to_value(VerdictBody::from(verdict)).unwrap()
    }

    #[test]
    fn accepted_is_202_with_the_run() {
        let response = reply(Verdict::Accepted(run()));
        assert_eq!(response.status(), 202);
        let body = json_of(Verdict::Accepted(run()));
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["run", "verdict"]);
        assert_eq!((body["verdict"].as_str(), body["run"]["id"].as_i64()), (Some("accepted"), Some(7)));
    }

    #[test]
    fn active_is_200_and_asks_for_no_wait() {
        let response = reply(Verdict::Active(run()));
        assert_eq!(response.status(), 200);
        assert!(response.headers().get("retry-after").is_none());
        assert_eq!(json_of(Verdict::Active(run()))["verdict"], "active");
    }

    #[test]
    fn cooldown_says_when_to_come_back_in_body_and_header() {
        let now = Instant::from_micros(1_700_000_000_000_000).unwrap();
        let retry_at = now + std::time::Duration::from_millis(61_500);
        let response = reply(Verdict::cooldown(run(), retry_at, now));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().get("retry-after").unwrap(), "62");
        let body = json_of(Verdict::cooldown(run(), retry_at, now));
        assert_eq!(body["retry_at"], json!(retry_at));
        assert_eq!(body["retry_after_s"], 62);
    }

    #[test]
    fn the_run_has_every_column_of_the_contract_and_no_more() {
        let body = json_of(Verdict::Active(run()));
        let mut keys: Vec<_> = body["run"].as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let mut expected = vec![
            "id",
            "workspace_id",
            "tenant_id",
            "user_id",
            "initiator_name",
            "type",
            "status",
            "outcome",
            "run_identity_hash",
            "summary_counts",
            "failure_summary",
            "context",
            "started_at",
            "completed_at",
            "created_at",
            "updated_at",
            "attempt",
            "next_attempt_at",
            "cancel_requested_at",
            "cooldown_until",
            "duplicate_count",
            "last_duplicate_at",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
    }
}
