//! Snapshots: a tenant's list of them, and one with what it holds.

use actix_web::{get, web};
use maud::{Markup, html};

use super::layout::{self, Tab};
use super::parts::assignments::Names;
use super::parts::snapshots::Scopes;
use super::parts::{figures, forms, links, notes, snapshots, times};
use super::policies::{self, PoliciesQuery};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::auth::Viewer;
use crate::admin::body::{PageQuery, Query};
use crate::admin::problem::Problem;
use crate::admin::snapshots::visible_snapshot;
use crate::admin::tenants::visible_tenant;
use crate::clock::Instant;
use crate::ids::{SnapshotId, TenantId};
use crate::store::{AssignedPolicy, Page, PageRequest, PolicySearch, Role, Snapshot, Tenant};

/// Lists a tenant's snapshots, newest first.
#[get("/tenants/{id}/snapshots")]
pub(super) async fn list(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    id: web::Path<TenantId>,
    query: Query<PageQuery>,
) -> Result<Html, Problem> {
    let tenant = visible_tenant(&state, &caller.0, *id).await?;
    let is_first = query.0.cursor.is_none();
    let page = state.store.snapshots(tenant.id, query.0.page(&state.config().http)?).await?;
    let scopes = Scopes::load(&state, &page.items).await?;
    let now = state.store.now().await?;
    let path = format!("/tenants/{}/snapshots", tenant.id);
    let content = html! {
        div.head {
            p.crumbs { a href="/tenants" { "Tenants" } " / " a href={ "/tenants/" (tenant.id) } { (tenant.name) } }
            h1 { "Snapshots" }
        }
        section.panel aria-label="Snapshots" {
            @if page.items.is_empty() {
                (notes::empty("No snapshots", html! { p { "A fetch makes one." } }))
            } @else {
                (snapshots::table(&page.items, &scopes, now))
                nav.pager aria-label="Parts of the list" {
                    span.where { (figures::counted(page.items.len() as u64, "snapshot", "snapshots")) }
                    @if !is_first { a.button.small href=(path) { "Newest" } }
                    @if let Some(next) = page.next_cursor.as_deref() {
                        a.button.small rel="next" href=(links::address(&path, &[("cursor", Some(next))])) { "Older →" }
                    }
                }
            }
        }
    };
    let title = format!("Snapshots of {}", tenant.name);
    Ok(Html(layout::page(visit.shell(&title, Tab::Tenants), content)))
}

/// What the page shows.
struct View {
    now: Instant,
    snapshot: Snapshot,
    scopes: Scopes,
    tenant: Tenant,
    before: Option<SnapshotId>,
    search: PolicySearch,
    is_first: bool,
    page: Page<AssignedPolicy>,
    names: Names,
}

/// Shows a snapshot with a part of its items.
#[get("/snapshots/{id}")]
pub(super) async fn show(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    id: web::Path<SnapshotId>,
    query: Query<PoliciesQuery>,
) -> Result<Html, Problem> {
    let snapshot = visible_snapshot(&state, &caller.0, *id).await?;
    let tenant = visible_tenant(&state, &caller.0, snapshot.tenant_id).await?;
    let request = query.0.page(state.config().http.page_default);
    let page = state.store.searched_items(snapshot.id, query.0.search(), request).await?;
    let named = page.items.iter().flat_map(|policy| policy.assignments.iter());
    let view = View {
        now: state.store.now().await?,
        names: Names::load(&state, tenant.id, named).await?,
        before: before(&state, &snapshot).await?,
        scopes: Scopes::load(&state, std::slice::from_ref(&snapshot)).await?,
        search: query.0.search(),
        is_first: query.0.cursor.is_none(),
        page,
        snapshot,
        tenant,
    };
    let title = format!("Snapshot {} of {}", view.snapshot.id, view.tenant.name);
    Ok(Html(layout::page(visit.shell(&title, Tab::Tenants), content(&view, &visit))))
}

/// The tenant's snapshot before this one. A cursor of the list is the id of the last one seen.
async fn before(state: &AdminState, snapshot: &Snapshot) -> Result<Option<SnapshotId>, Problem> {
    use base64::Engine as _;
    let cursor = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(snapshot.id.to_string());
    let page = PageRequest { limit: 1, cursor: Some(cursor) };
    let found = state.store.snapshots(snapshot.tenant_id, page).await?;
    Ok(found.items.first().map(|snapshot| snapshot.id))
}

/// How many policies the list has: by the types that were read, for what is looked for by name nobody has counted.
fn total(view: &View) -> Option<u64> {
    let coverage = &view.snapshot.coverage;
    match (&view.search.policy_type, &view.search.name) {
        (_, Some(_)) => None,
        (Some(key), None) => coverage.get(key).map(|coverage| coverage.read),
        (None, None) => Some(snapshots::read(&view.snapshot)),
    }
}

fn content(view: &View, visit: &Visit) -> Markup {
    let View { snapshot, tenant, .. } = view;
    let path = format!("/snapshots/{}", snapshot.id);
    let types: Vec<String> = snapshot.coverage.keys().cloned().collect();
    html! {
        div.head {
            p.crumbs {
                a href="/tenants" { "Tenants" } " / " a href={ "/tenants/" (tenant.id) } { (tenant.name) } " / "
                a href={ "/tenants/" (tenant.id) "/snapshots" } { "Snapshots" }
            }
            h1 { "Snapshot " (snapshot.id) }
            (snapshots::whole(snapshot, &view.scopes))
            div.actions {
                @if let Some(before) = view.before {
                    a.button href={ "/snapshots/" (before) "/diff/" (snapshot.id) } { "Compare with snapshot " (before) }
                }
                @if visit.may(Role::Operator) {
                    (forms::button(visit, &format!("/snapshots/{}/drift", snapshot.id), "Fetch and compare", ""))
                    a.button.primary href={ "/restore/new?snapshot=" (snapshot.id) } { "Restore…" }
                }
            }
            p.lead {
                (snapshots::kind(snapshot)) " " (times::dated(snapshot.created_at, view.now)) " from " (tenant.name)
                @if let Some(run) = snapshot.operation_run_id { ", run " a href={ "/runs/" (run) } { "#" (run) } }
                @if let Some(source) = snapshot.source_tenant { ", read from the directory " code { (source) } }
            }
        }
        section.panel aria-labelledby="coverage" {
            header { h2 #coverage { "What was read" } }
            (snapshots::covered(snapshot, &view.scopes, view.now))
        }
        section.panel aria-labelledby="items" {
            header {
                h2 #items { "Policies" }
                div.actions { a href={ "/api/v1/snapshots/" (snapshot.id) "/export" } download { "Export as a file" } }
            }
            (policies::filters(&path, &types, &view.search))
            @if view.page.items.is_empty() {
                (notes::empty("No such policies", html! { p { "The snapshot has none of this type and name." } }))
            } @else {
                (policies::table(&view.page.items, &view.names, None))
                (policies::pager(&path, &view.search, &view.page, view.is_first, total(view)))
            }
        }
    }
}
