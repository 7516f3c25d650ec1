//! The audit: who changed what, from where. Notes what the handlers behind the doors tell, and lists it.
//!
//! Who asks is known to the doors and needed wherever something is changed: it goes along with the request's task
//! (`ASKER`), so that whatever a handler calls can tell of a change without being handed the asker.

use actix_web::{HttpResponse, get, web};
use serde::Deserialize;
use utoipa::IntoParams;

use super::AdminState;
use super::auth::{Admin, Principal};
use super::body::{self, Query};
use super::failures;
use super::list::List;
use super::problem::Problem;
use crate::clock::Instant;
use crate::config::HttpConfig;
use crate::domain::audit::{Action, Asker, Change, Object};
use crate::domain::operation::Operation;
use crate::domain::run::Run;
use crate::ids::WorkspaceId;
use crate::store::{AuditLine, AuditQuery};

tokio::task_local! {
    /// Who asks: set by the doors around what changes something.
    pub(super) static ASKER: Asker;
}

/// Keeps a change of this request's.
pub async fn note(state: &AdminState, change: Change) {
    let asker = ASKER.try_with(Clone::clone).unwrap_or_default();
    state.audit.note(change, asker).await;
}

/// A change that is about a run.
pub fn of_run(action: Action, run: &Run) -> Change {
    let change = Change::new(action).of(Object::Run, run.id.0).in_workspace(Some(run.workspace_id));
    let change = change.with("type", run.operation.as_str());
    match run.tenant_id {
        Some(tenant) => change.with("tenant_id", tenant.0),
        None => change,
    }
}

/// What an accepted request is called where its caller does not say.
pub fn action_of(operation: Operation) -> Action {
    match operation {
        Operation::Reconcile => Action::ReconcileAsked,
        _ => Action::RunSubmitted,
    }
}

/// Which lines.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditParameters {
    /// Of a workspace.
    #[param(value_type = Option<i64>)]
    workspace_id: Option<String>,
    /// By somebody: a token's name.
    actor: Option<String>,
    /// Of an action, such as `run.submitted`.
    action: Option<String>,
    /// About a thing of this kind; with `object_id`.
    #[param(example = "tenant")]
    object_kind: Option<String>,
    /// About the thing with this id; with `object_kind`.
    #[param(value_type = Option<i64>)]
    object_id: Option<String>,
    /// Since: a time (RFC 3339) or a span such as `24h`.
    #[param(example = "24h")]
    since: Option<String>,
    /// Lines at the most; 1 to `http.page_max`, default `http.page_default`.
    #[param(value_type = Option<usize>)]
    limit: Option<String>,
    /// The `next_cursor` of the part before.
    cursor: Option<String>,
}

impl AuditParameters {
    /// Without the fields that a form left empty.
    pub(super) fn without_empty_fields(self) -> Self {
        let given = |field: Option<String>| field.filter(|text| !text.is_empty());
        Self { actor: given(self.actor), action: given(self.action), ..self }
    }

    /// What to ask the ledger; never for more than the caller sees.
    pub(super) fn for_caller(
        self,
        caller: &Principal,
        limits: &HttpConfig,
        now: Instant,
    ) -> Result<AuditQuery, Problem> {
        let number = "the number of an id";
        let asked: Option<WorkspaceId> =
            body::parameter("workspace_id", self.workspace_id.as_deref(), number)?;
        let kind: Option<Object> = body::parameter(
            "object_kind",
            self.object_kind.as_deref(),
            "one of run, snapshot, workspace, tenant, token, schedule",
        )?;
        let id: Option<i64> = body::parameter("object_id", self.object_id.as_deref(), number)?;
        let object = match (kind, id) {
            (Some(kind), Some(id)) => Some((kind.as_str().to_owned(), id)),
            (None, None) => None,
            (Some(_), None) => return Err(Problem::invalid("object_id", "expected it beside object_kind")),
            (None, Some(_)) => return Err(Problem::invalid("object_kind", "expected it beside object_id")),
        };
        Ok(AuditQuery {
            workspace_id: caller.narrow(asked)?,
            actor: self.actor,
            action: self.action,
            object,
            since: self.since.as_deref().map(|text| failures::since(Some(text), now)).transpose()?,
            page: body::page(self.limit.as_deref(), self.cursor, limits)?,
        })
    }
}

/// Lists who changed what, newest first. A token that is bound to a workspace sees that workspace's lines alone.
#[utoipa::path(
    operation_id = "list_audit",
    tag = "audit",
    params(AuditParameters),
    responses(
        (status = 200, body = List<AuditLine>, description = "A part of the audit"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/audit")]
pub(super) async fn list(
    caller: Admin,
    state: web::Data<AdminState>,
    query: Query<AuditParameters>,
) -> Result<HttpResponse, Problem> {
    let now = state.store.now().await?;
    let query = query.0.for_caller(&caller.0, &state.config().http, now)?;
    Ok(HttpResponse::Ok().json(List::from(state.store.audit(query).await?)))
}
