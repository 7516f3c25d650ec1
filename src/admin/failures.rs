//! Failures rolled up by code, operation and tenant (SPEC section 10), with what to do next.

use std::time::Duration;

use actix_web::{HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::AdminState;
use super::auth::{Principal, Viewer};
use super::body::{self, Query};
use super::problem::Problem;
use crate::clock::Instant;
use crate::config::HttpConfig;
use crate::domain::failure::Code;
use crate::domain::operation::Operation;
use crate::ids::{RunId, TenantId, WorkspaceId};
use crate::store::{FailureGroup, FailureGroups, FailureQuery};

/// How far back a request looks that does not say.
const SINCE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Which failures, and in which groups.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FailuresQuery {
    /// What makes a group: some of `code`, `type`, `tenant`, separated by commas; default `code`.
    #[param(example = "code,type,tenant", pattern = "^(code|type|tenant)(,(code|type|tenant))*$")]
    group_by: Option<String>,
    /// Of a workspace.
    #[param(value_type = Option<i64>)]
    workspace_id: Option<String>,
    /// Of a tenant.
    #[param(value_type = Option<i64>)]
    tenant_id: Option<String>,
    /// Of an operation.
    #[param(value_type = Option<crate::domain::operation::Operation>)]
    r#type: Option<String>,
    /// Of runs that completed since: a time (RFC 3339) or a span such as `24h`, default `7days`. Days are counted whole
    /// (UTC).
    #[param(example = "7days")]
    since: Option<String>,
    /// Groups at the most; 1 to `http.page_max`, default `http.page_default`.
    #[param(value_type = Option<usize>)]
    limit: Option<String>,
}

impl FailuresQuery {
    /// What to ask the ledger; never for more than the caller sees.
    fn for_caller(
        self,
        caller: &Principal,
        limits: &HttpConfig,
        now: Instant,
    ) -> Result<FailureQuery, Problem> {
        let number = "the number of an id";
        let asked: Option<WorkspaceId> =
            body::parameter("workspace_id", self.workspace_id.as_deref(), number)?;
        Ok(FailureQuery {
            groups: groups(self.group_by.as_deref().unwrap_or("code"))?,
            workspace_id: caller.narrow(asked)?,
            code: None,
            tenant_id: body::parameter("tenant_id", self.tenant_id.as_deref(), number)?,
            operation: body::parameter("type", self.r#type.as_deref(), "the name of an operation")?,
            since: since(self.since.as_deref(), now)?,
            limit: body::page(self.limit.as_deref(), None, limits)?.limit,
        })
    }
}

fn groups(list: &str) -> Result<FailureGroups, Problem> {
    let mut groups = FailureGroups::default();
    for word in list.split(',') {
        let chosen = match word {
            "code" => &mut groups.code,
            "type" => &mut groups.operation,
            "tenant" => &mut groups.tenant,
            other => {
                let problem = format!("expected some of code, type and tenant, found `{other}`");
                return Err(Problem::invalid("group_by", &problem));
            }
        };
        *chosen = true;
    }
    Ok(groups)
}

/// A time, or a span before `now`.
pub(super) fn since(text: Option<&str>, now: Instant) -> Result<Instant, Problem> {
    let Some(text) = text else {
        return Ok(now - chrono::Duration::from_std(SINCE_DEFAULT).expect("a week"));
    };
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(Instant::from(time.to_utc()));
    }
    let span = humantime::parse_duration(text).ok().and_then(|span| i64::try_from(span.as_micros()).ok());
    span.and_then(|span| Instant::from_micros(now.micros().checked_sub(span)?)).ok_or_else(|| {
        Problem::invalid(
            "since",
            &format!("expected a time (RFC 3339) or a span such as `24h`, found `{text}`"),
        )
    })
}

/// A group of failures; it has the members that make it a group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FailureGroupBody {
    /// The code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    /// What to do next; with a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_action: Option<&'static str>,
    /// The operation.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    operation: Option<Operation>,
    /// The tenant's workspace, or the one whose own runs these are.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<WorkspaceId>,
    /// The tenant; null for the workspace's own runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    tenant_id: Option<Option<TenantId>>,
    /// Runs that failed; with a code, runs that failed with it.
    runs: i64,
    /// Items that failed, as far as the runs tell; one for each code of a run that does not.
    items: i64,
    /// When the first of the runs ended.
    first_at: Instant,
    /// When the last of them ended.
    last_at: Instant,
    /// The newest of them.
    example_run_id: RunId,
}

impl From<FailureGroup> for FailureGroupBody {
    fn from(group: FailureGroup) -> Self {
        Self {
            code: group.code,
            next_action: group.code.map(Code::advice),
            operation: group.operation,
            workspace_id: group.scope.map(|(workspace, _)| workspace),
            tenant_id: group.scope.map(|(_, tenant)| tenant),
            runs: group.runs,
            items: group.items,
            first_at: group.first_at,
            last_at: group.last_at,
            example_run_id: group.last_run,
        }
    }
}

/// Failures rolled up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FailuresBody {
    /// Most runs first.
    items: Vec<FailureGroupBody>,
    /// From when on runs were counted: the beginning of a day, UTC.
    since: Instant,
    /// There are more groups than `limit`.
    truncated: bool,
}

/// Rolls the failures of completed runs up.
#[utoipa::path(
    operation_id = "roll_up_failures",
    tag = "failures",
    params(FailuresQuery),
    responses(
        (status = 200, body = FailuresBody, description = "The largest groups"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/failures")]
pub(super) async fn show(
    caller: Viewer,
    state: web::Data<AdminState>,
    query: Query<FailuresQuery>,
) -> Result<HttpResponse, Problem> {
    let now = state.store.now().await?;
    let query = query.0.for_caller(&caller.0, &state.config().http, now)?;
    let failures = state.store.failures(query).await?;
    Ok(HttpResponse::Ok().json(FailuresBody {
        items: failures.groups.into_iter().map(FailureGroupBody::from).collect(),
        since: query.counted_from(),
        truncated: failures.more,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        Instant::from_micros(1_700_000_000_000_000).unwrap()
    }

    #[test]
    fn groups_are_any_of_three_words() {
        let all = FailureGroups { code: true, operation: true, tenant: true };
        assert_eq!(groups("tenant,code,type").unwrap(), all);
        assert_eq!(groups("tenant").unwrap(), FailureGroups { tenant: true, ..FailureGroups::default() });
        for wrong in ["", "code,", "workspace", "code, type"] {
            assert_eq!(groups(wrong).unwrap_err().code(), "request.invalid", "{wrong}");
        }
    }

    #[test]
    fn since_is_a_time_or_a_span() {
        assert_eq!(since(None, now()).unwrap(), since(Some("7days"), now()).unwrap());
        assert_eq!(since(Some("1h"), now()).unwrap(), now() - chrono::Duration::hours(1));
        let time = since(Some("2023-11-14T23:13:20+01:00"), now()).unwrap();
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.000000Z");
        for wrong in ["", "yesterday", "-1h", "2023-11-14", "99999999999999years", "9999999years"] {
            assert_eq!(since(Some(wrong), now()).unwrap_err().code(), "request.invalid", "{wrong}");
        }
    }
}
