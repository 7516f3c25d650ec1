//! Schedules: list, look at, add, change, remove. An operator may: a schedule asks for what its author may ask for by hand,
//! and a restore that writes is refused in one. A schedule of the configuration is shown and changed nowhere but there.

use std::time::Duration;

use actix_web::{HttpResponse, delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::AdminState;
use super::audit;
use super::auth::{Operator, Principal, Viewer};
use super::body::{self, Body, Query};
use super::list::List;
use super::problem::{Missing, Problem};
use crate::clock::Instant;
use crate::domain::audit::{Action, Change, Object};
use crate::domain::identity::InputError;
use crate::domain::operation::Operation;
use crate::domain::schedule::{self, Timetable};
use crate::ids::{ScheduleId, TenantId, WorkspaceId};
use crate::intake::{IntakeError, scheduled};
use crate::store::{NewSchedule, Schedule, ScheduleAdded, ScheduleChange, ScheduleSource};

/// Times shown of a schedule.
const UPCOMING: usize = 5;

/// Which schedules.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SchedulesQuery {
    /// Of a workspace.
    #[param(value_type = Option<i64>)]
    workspace_id: Option<String>,
    /// Items at the most; 1 to `http.page_max`, default `http.page_default`.
    #[param(value_type = Option<usize>)]
    limit: Option<String>,
    /// The `next_cursor` of the part before.
    cursor: Option<String>,
}

/// A schedule, and the next times that it names.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownSchedule {
    #[serde(flatten)]
    schedule: Schedule,
    /// The next times, without jitter; empty while it is paused.
    upcoming: Vec<Instant>,
}

impl From<Schedule> for ShownSchedule {
    fn from(schedule: Schedule) -> Self {
        let mut upcoming: Vec<Instant> = schedule.next_at.into_iter().collect();
        if let (Some(next), Ok(table)) =
            (schedule.next_at, Timetable::parse(&schedule.cron, &schedule.timezone))
        {
            upcoming.extend(table.upcoming(next, UPCOMING - 1));
        }
        Self { schedule, upcoming }
    }
}

/// Lists the schedules that the caller sees, oldest first.
#[utoipa::path(
    operation_id = "list_schedules",
    tag = "schedules",
    params(SchedulesQuery),
    responses(
        (status = 200, body = List<Schedule>, description = "A part of the list"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/schedules")]
pub(super) async fn list(
    caller: Viewer,
    state: web::Data<AdminState>,
    query: Query<SchedulesQuery>,
) -> Result<HttpResponse, Problem> {
    let SchedulesQuery { workspace_id, limit, cursor } = query.0;
    let page = body::page(limit.as_deref(), cursor, &state.config().http)?;
    let asked: Option<WorkspaceId> =
        body::parameter("workspace_id", workspace_id.as_deref(), "the number of an id")?;
    let workspace = caller.0.narrow(asked)?;
    Ok(HttpResponse::Ok().json(List::from(state.store.schedules(workspace, page).await?)))
}

/// A schedule to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "workspace_id": 1, "name": "nightly", "type": "assignments.fetch",
    "cron": "0 3 * * *", "timezone": "Europe/Berlin", "jitter_s": 600
}))]
pub(super) struct AddSchedule {
    /// The workspace; may be left out where a tenant is named by its id.
    pub workspace_id: Option<WorkspaceId>,
    /// The tenant; without one every tenant of the workspace, or the workspace itself.
    pub tenant_id: Option<TenantId>,
    /// The tenant's directory id, instead.
    pub tenant_external_id: Option<Uuid>,
    /// Unique in its workspace: letters, digits, hyphens, underscores and dots.
    pub name: String,
    /// What to ask for, such as `assignments.fetch`.
    #[serde(rename = "type")]
    #[schema(value_type = Operation)]
    pub operation: String,
    /// With which inputs, as of a run.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub inputs: Value,
    /// Minute, hour, day of month, month and day of week; or a nickname such as `@daily`.
    pub cron: String,
    /// The IANA time zone of `cron`; default `UTC`.
    pub timezone: Option<String>,
    /// Each request is made up to this many seconds after its time; default 0, at most a day.
    #[schema(value_type = Option<u32>, maximum = 86400)]
    pub jitter_s: Option<u64>,
    /// Default true.
    pub enabled: Option<bool>,
}

/// Adds a schedule.
#[utoipa::path(
    operation_id = "add_schedule",
    tag = "schedules",
    request_body = AddSchedule,
    responses(
        (status = 201, body = ShownSchedule, description = "Added"),
        (status = 409, body = super::problem::Problem, content_type = "application/problem+json",
         description = "The workspace has a schedule with this name, or there are as many as there may be"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/schedules")]
pub(super) async fn add(
    caller: Operator,
    state: web::Data<AdminState>,
    asked: Body<AddSchedule>,
) -> Result<HttpResponse, Problem> {
    let added = add_checked(&state, &caller.0, asked.0).await?;
    Ok(HttpResponse::Created().json(ShownSchedule::from(added)))
}

/// Adds what is asked for, if it is right and there is room.
pub(super) async fn add_checked(
    state: &AdminState,
    caller: &Principal,
    asked: AddSchedule,
) -> Result<Schedule, Problem> {
    let new = checked(state, caller, asked).await?;
    let schedules_max = state.config().scheduler.schedules_max;
    match state.store.add_schedule(new, schedules_max).await? {
        ScheduleAdded::Added(schedule) => {
            tracing::info!(
                by = %caller.name, workspace.id = schedule.workspace_id.0, schedule.id = schedule.id.0,
                "schedule added"
            );
            audit::note(state, change_of(Action::ScheduleAdded, &schedule)).await;
            Ok(*schedule)
        }
        ScheduleAdded::Full => Err(Problem::conflict(
            "schedule.too_many",
            format!("there are {schedules_max} schedules already (scheduler.schedules_max)"),
        )),
    }
}

/// Shows a schedule, with its next times.
#[utoipa::path(
    operation_id = "show_schedule",
    tag = "schedules",
    params(("id" = i64, Path, description = "The schedule")),
    responses(
        (status = 200, body = ShownSchedule, description = "The schedule"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/schedules/{id}")]
pub(super) async fn show(
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<ScheduleId>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(ShownSchedule::from(visible(&state, &caller.0, *id).await?)))
}

/// What to change; what is left out stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": false}))]
pub(super) struct ChangeSchedule {
    /// Its name.
    name: Option<String>,
    /// The inputs, all of them.
    #[schema(value_type = Option<Object>)]
    inputs: Option<Value>,
    /// When.
    cron: Option<String>,
    /// The zone of `cron`.
    timezone: Option<String>,
    /// The jitter in seconds.
    #[schema(value_type = Option<u32>, maximum = 86400)]
    jitter_s: Option<u64>,
    /// False pauses it, true resumes it; what came in between is not made up for.
    enabled: Option<bool>,
}

/// Changes, pauses or resumes a schedule.
#[utoipa::path(
    operation_id = "change_schedule",
    tag = "schedules",
    params(("id" = i64, Path, description = "The schedule")),
    request_body = ChangeSchedule,
    responses(
        (status = 200, body = ShownSchedule, description = "As it is now"),
        (status = 409, body = super::problem::Problem, content_type = "application/problem+json",
         description = "It is defined in the configuration, or its new name is taken"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[patch("/schedules/{id}")]
pub(super) async fn update(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<ScheduleId>,
    change: Body<ChangeSchedule>,
) -> Result<HttpResponse, Problem> {
    let before = changeable(&state, &caller.0, *id).await?;
    let change = checked_change(&before, change.0)?;
    if let Some(inputs) = &change.inputs {
        scheduled::check_named(&state.store, before.tenant_id, before.operation, inputs).await?;
    }
    let now = state.store.change_schedule(before.id, change).await?;
    let now = now.ok_or_else(|| Problem::not_found(Missing::Schedule))?;
    tracing::info!(by = %caller.0.name, schedule.id = now.id.0, enabled = now.enabled, "schedule changed");
    audit::note(&state, change_of(Action::ScheduleChanged, &now).with("enabled", now.enabled)).await;
    Ok(HttpResponse::Ok().json(ShownSchedule::from(now)))
}

/// Removes a schedule; its runs stay.
#[utoipa::path(
    operation_id = "remove_schedule",
    tag = "schedules",
    params(("id" = i64, Path, description = "The schedule")),
    responses(
        (status = 204, description = "Removed"),
        (status = 409, body = super::problem::Problem, content_type = "application/problem+json",
         description = "It is defined in the configuration"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[delete("/schedules/{id}")]
pub(super) async fn remove(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<ScheduleId>,
) -> Result<HttpResponse, Problem> {
    let schedule = changeable(&state, &caller.0, *id).await?;
    if !state.store.remove_schedule(schedule.id).await? {
        return Err(Problem::not_found(Missing::Schedule));
    }
    tracing::info!(by = %caller.0.name, schedule.id = schedule.id.0, "schedule removed");
    audit::note(&state, change_of(Action::ScheduleRemoved, &schedule)).await;
    Ok(HttpResponse::NoContent().finish())
}

/// A change of a schedule.
pub(super) fn change_of(action: Action, schedule: &Schedule) -> Change {
    let change = Change::new(action).of(Object::Schedule, schedule.id.0);
    change.in_workspace(Some(schedule.workspace_id)).with("name", schedule.name.as_str())
}

/// A schedule that the caller may see.
async fn visible(state: &AdminState, caller: &Principal, id: ScheduleId) -> Result<Schedule, Problem> {
    caller.visible(state.store.schedule(id).await?, |schedule| schedule.workspace_id, Missing::Schedule)
}

/// A schedule that the caller may see and that is not the configuration's.
pub(super) async fn changeable(
    state: &AdminState,
    caller: &Principal,
    id: ScheduleId,
) -> Result<Schedule, Problem> {
    let schedule = visible(state, caller, id).await?;
    match schedule.source {
        ScheduleSource::Api => Ok(schedule),
        ScheduleSource::Config => Err(Problem::conflict(
            "schedule.read_only",
            format!(
                "this schedule is the configuration's [schedules.{}]: change it there and send the daemon SIGHUP",
                schedule.name
            ),
        )),
    }
}

/// A request to add a schedule, with its names looked up and everything checked.
async fn checked(state: &AdminState, caller: &Principal, asked: AddSchedule) -> Result<NewSchedule, Problem> {
    schedule::check_name(&asked.name)?;
    let operation: Operation = asked.operation.parse().map_err(IntakeError::UnknownOperation)?;
    let timezone = asked.timezone.unwrap_or_else(|| "UTC".to_owned());
    Timetable::parse(&asked.cron, &timezone)?;
    let jitter = jitter(asked.jitter_s.unwrap_or(0))?;
    let has_tenant = asked.tenant_id.is_some() || asked.tenant_external_id.is_some();
    let inputs = scheduled::inputs(operation, has_tenant, &asked.inputs)?;
    let (workspace_id, tenant_id) =
        scope(state, caller, asked.workspace_id, asked.tenant_id, asked.tenant_external_id).await?;
    scheduled::check_named(&state.store, tenant_id, operation, &inputs).await?;
    Ok(NewSchedule {
        workspace_id,
        tenant_id,
        name: asked.name,
        source: ScheduleSource::Api,
        operation,
        inputs,
        cron: asked.cron.trim().to_owned(),
        timezone,
        jitter,
        enabled: asked.enabled.unwrap_or(true),
        created_by: caller.name.clone(),
    })
}

/// The workspace and tenant that are named, if the caller may see them and they fit together.
async fn scope(
    state: &AdminState,
    caller: &Principal,
    workspace_id: Option<WorkspaceId>,
    tenant_id: Option<TenantId>,
    external_id: Option<Uuid>,
) -> Result<(WorkspaceId, Option<TenantId>), Problem> {
    let tenant = match (tenant_id, external_id) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("tenant_external_id", "expected `tenant_id` or this, found both"));
        }
        (Some(id), None) => state.directory.tenant(id).await?,
        (None, Some(external_id)) => {
            let within = caller.workspace.or(workspace_id);
            state.directory.tenant_by_external_id(external_id, within).await?
        }
        (None, None) => {
            let asked = workspace_id.or(caller.workspace).ok_or_else(|| {
                Problem::invalid("workspace_id", "expected the workspace or a tenant, found neither")
            })?;
            let known = if caller.sees(asked) { state.directory.workspace(asked).await? } else { None };
            let known = known.ok_or_else(|| Problem::not_found(Missing::Workspace))?;
            return Ok((known.id, None));
        }
    };
    let tenant = caller.visible(tenant, |tenant| tenant.workspace_id, Missing::Tenant)?;
    if workspace_id.is_some_and(|workspace| workspace != tenant.workspace_id) {
        return Err(Problem::invalid("workspace_id", "expected the workspace of the tenant, found another"));
    }
    Ok((tenant.workspace_id, Some(tenant.id)))
}

fn checked_change(before: &Schedule, change: ChangeSchedule) -> Result<ScheduleChange, Problem> {
    if let Some(name) = &change.name {
        schedule::check_name(name)?;
    }
    let cron = change.cron.map(|cron| cron.trim().to_owned());
    Timetable::parse(
        cron.as_deref().unwrap_or(&before.cron),
        change.timezone.as_deref().unwrap_or(&before.timezone),
    )?;
    let inputs = match change.inputs {
        Some(raw) => Some(scheduled::inputs(before.operation, before.tenant_id.is_some(), &raw)?),
        None => None,
    };
    let jitter = change.jitter_s.map(jitter).transpose()?;
    Ok(ScheduleChange {
        name: change.name,
        inputs,
        cron,
        timezone: change.timezone,
        jitter,
        enabled: change.enabled,
    })
}

fn jitter(seconds: u64) -> Result<Duration, InputError> {
    let jitter = Duration::from_secs(seconds);
    schedule::check_jitter("jitter_s", jitter)?;
    Ok(jitter)
}
