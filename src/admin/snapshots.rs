//! What fetches have read: a tenant's policies and snapshots.

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Principal, Viewer};
use super::body::{PageQuery, Query};
use super::list::List;
use super::problem::{Missing, Problem};
use super::tenants::visible_tenant;
use crate::ids::{SnapshotId, TenantId};
use crate::store::{Policy, Snapshot, SnapshotItem};

/// Lists the policies of a tenant that still exist, as last read.
#[utoipa::path(
    operation_id = "list_policies",
    tag = "snapshots",
    params(("id" = i64, Path, description = "The tenant"), PageQuery),
    responses(
        (status = 200, body = List<Policy>, description = "A part of the list"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/tenants/{id}/policies")]
pub(super) async fn policies(
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<TenantId>,
    query: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let page = query.0.page(&state.config().http)?;
    let tenant = visible_tenant(&state, &caller.0, *id).await?;
    Ok(HttpResponse::Ok().json(List::from(state.store.policies(tenant.id, page).await?)))
}

/// Lists the snapshots of a tenant, newest first.
#[utoipa::path(
    operation_id = "list_snapshots",
    tag = "snapshots",
    params(("id" = i64, Path, description = "The tenant"), PageQuery),
    responses(
        (status = 200, body = List<Snapshot>, description = "A part of the list"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/tenants/{id}/snapshots")]
pub(super) async fn list(
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<TenantId>,
    query: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let page = query.0.page(&state.config().http)?;
    let tenant = visible_tenant(&state, &caller.0, *id).await?;
    Ok(HttpResponse::Ok().json(List::from(state.store.snapshots(tenant.id, page).await?)))
}

/// A snapshot and a part of its items.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotBody {
    #[serde(flatten)]
    snapshot: Snapshot,
    /// Policies, by type and id.
    items: Vec<SnapshotItem>,
    /// What to give as `cursor` for the next part; null at the end.
    next_cursor: Option<String>,
}

/// Shows a snapshot with a part of its items.
#[utoipa::path(
    operation_id = "show_snapshot",
    tag = "snapshots",
    params(("id" = i64, Path, description = "The snapshot"), PageQuery),
    responses(
        (status = 200, body = SnapshotBody, description = "The snapshot"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/snapshots/{id}")]
pub(super) async fn show(
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<SnapshotId>,
    query: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let page = query.0.page(&state.config().http)?;
    let snapshot = visible_snapshot(&state, &caller.0, *id).await?;
    let items = state.store.snapshot_items(snapshot.id, page).await?;
    Ok(HttpResponse::Ok().json(SnapshotBody { snapshot, items: items.items, next_cursor: items.next_cursor }))
}

/// A snapshot that the caller may see.
pub(super) async fn visible_snapshot(
    state: &AdminState,
    caller: &Principal,
    id: SnapshotId,
) -> Result<Snapshot, Problem> {
    caller.visible(state.store.snapshot(id).await?, |snapshot| snapshot.workspace_id, Missing::Snapshot)
}
