//! Workspaces: list, add.

use actix_web::{HttpResponse, get, post, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::AdminState;
use super::audit;
use super::auth::{Admin, Viewer};
use super::body::{Body, PageQuery, Query};
use super::list::List;
use super::problem::Problem;
use crate::domain::audit::{Action, Change, Object};
use crate::domain::names;
use crate::store::Workspace;

/// Lists the workspaces that the caller sees, oldest first.
#[utoipa::path(
    operation_id = "list_workspaces",
    tag = "workspaces",
    params(PageQuery),
    responses(
        (status = 200, body = List<Workspace>, description = "A part of the list"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/workspaces")]
pub(super) async fn list(
    caller: Viewer,
    state: web::Data<AdminState>,
    query: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let page = query.0.page(&state.config().http)?;
    Ok(HttpResponse::Ok().json(List::from(state.store.workspaces(caller.0.workspace, page).await?)))
}

/// A workspace to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"slug": "contoso", "name": "Contoso Ltd"}))]
pub(super) struct NewWorkspace {
    /// Immutable: lower-case letters and digits, with single hyphens between them.
    #[schema(max_length = 63, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$")]
    slug: String,
    /// For people; the slug when left out.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    name: Option<String>,
}

/// Adds a workspace. A token that is bound to one workspace cannot add another.
#[utoipa::path(
    operation_id = "add_workspace",
    tag = "workspaces",
    request_body = NewWorkspace,
    responses(
        (status = 201, body = Workspace, description = "Added"),
        (status = 409, body = super::problem::Problem, content_type = "application/problem+json",
         description = "The slug is taken"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/workspaces")]
pub(super) async fn add(
    caller: Admin,
    state: web::Data<AdminState>,
    workspace: Body<NewWorkspace>,
) -> Result<HttpResponse, Problem> {
    if caller.0.workspace.is_some() {
        return Err(Problem::forbidden(
            "auth.workspace_bound",
            "a token that is bound to one workspace cannot add another",
        ));
    }
    let NewWorkspace { slug, name } = workspace.0;
    let name = name.unwrap_or_else(|| slug.clone());
    let (slug, name) = (names::slug(&slug)?, names::name(&name)?);
    let added = state.store.add_workspace(&slug, &name).await?;
    tracing::info!(by = %caller.0.name, workspace.id = added.id.0, "workspace added");
    let change = Change::new(Action::WorkspaceAdded).of(Object::Workspace, added.id.0);
    audit::note(&state, change.in_workspace(Some(added.id))).await;
    Ok(HttpResponse::Created().json(added))
}
