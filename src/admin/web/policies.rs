//! A tenant's policies as last read, and whom they are assigned to.

use actix_web::{get, web};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Tab};
use super::parts::assignments::Names;
use super::parts::{assignments, figures, forms, links, notes, snapshots, times};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::auth::Viewer;
use crate::admin::body::Query;
use crate::admin::problem::Problem;
use crate::admin::tenants::visible_tenant;
use crate::clock::Instant;
use crate::ids::TenantId;
use crate::store::{AssignedPolicy, Page, PageRequest, PolicySearch, Tenant};

/// Which policies.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PoliciesQuery {
    r#type: Option<String>,
    name: Option<String>,
    pub(super) cursor: Option<String>,
}

impl PoliciesQuery {
    /// What to look for; an empty field asks for nothing.
    pub fn search(&self) -> PolicySearch {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        PolicySearch { policy_type: given(&self.r#type), name: given(&self.name) }
    }

    /// Where the next part begins.
    pub fn page(&self, limit: usize) -> PageRequest {
        PageRequest { limit, cursor: self.cursor.clone() }
    }
}

/// What the page shows.
struct View {
    now: Instant,
    tenant: Tenant,
    types: Vec<String>,
    /// Policies of the whole list, where that is known.
    total: Option<u64>,
    search: PolicySearch,
    is_first: bool,
    page: Page<AssignedPolicy>,
    names: Names,
}

/// Lists them, by type and id.
#[get("/tenants/{id}/policies")]
pub(super) async fn list(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    id: web::Path<TenantId>,
    query: Query<PoliciesQuery>,
) -> Result<Html, Problem> {
    let tenant = visible_tenant(&state, &caller.0, *id).await?;
    let request = query.0.page(state.config().http.page_default);
    let page = state.store.assigned_policies(tenant.id, query.0.search(), request).await?;
    let named = page.items.iter().flat_map(|policy| policy.assignments.iter());
    let counts = state.store.policy_counts(tenant.id).await?;
    let view = View {
        total: total(&counts, &query.0.search()),
        now: state.store.now().await?,
        names: Names::load(&state, tenant.id, named).await?,
        types: counts.into_iter().map(|(key, _)| key).collect(),
        search: query.0.search(),
        is_first: query.0.cursor.is_none(),
        page,
        tenant,
    };
    let title = format!("Policies of {}", view.tenant.name);
    Ok(Html(layout::page(visit.shell(&title, Tab::Tenants), content(&view))))
}

/// How many policies are of what is looked for; a name's are not counted.
fn total(counts: &[(String, i64)], search: &PolicySearch) -> Option<u64> {
    let of_type = |key: &String| search.policy_type.as_ref().is_none_or(|wanted| wanted == key);
    let all: i64 = counts.iter().filter(|(key, _)| of_type(key)).map(|(_, count)| count).sum();
    search.name.is_none().then(|| all.unsigned_abs())
}

fn content(view: &View) -> Markup {
    let tenant = &view.tenant;
    html! {
        div.head {
            p.crumbs { a href="/tenants" { "Tenants" } " / " a href={ "/tenants/" (tenant.id) } { (tenant.name) } }
            h1 { "Policies" }
        }
        section.panel aria-label="Policies" {
            (filters(&format!("/tenants/{}/policies", tenant.id), &view.types, &view.search))
            @if view.page.items.is_empty() {
                (notes::empty("No such policies", html! { p { "Nothing that was read is so; a fetch reads anew." } }))
            } @else {
                (table(&view.page.items, &view.names, Some(view.now)))
                (pager(&format!("/tenants/{}/policies", tenant.id), &view.search, &view.page, view.is_first, view.total))
            }
        }
    }
}

/// What to look for, by type and name.
pub(super) fn filters(path: &str, types: &[String], search: &PolicySearch) -> Markup {
    let options: Vec<_> = types.iter().map(|key| (key.clone(), snapshots::label(key).to_owned())).collect();
    html! {
        form.filters method="get" action=(path) data-filter role="search" {
            (forms::select("type", "Type", "All types", &options, search.policy_type.as_deref()))
            (forms::text("name", "Name", search.name.as_deref(), "part of the name"))
            div.actions {
                button { "Filter" }
                @if search.name.is_some() || search.policy_type.is_some() { a.button.quiet href=(path) { "All" } }
            }
        }
    }
}

/// Policies with their assignments; with `now`, when each was read.
pub(super) fn table(policies: &[AssignedPolicy], names: &Names, now: Option<Instant>) -> Markup {
    html! {
        table.table.cards {
            caption.hidden-visually { "Policies and whom they are assigned to" }
            thead { tr { th scope="col" { "Policy" } th scope="col" { "Type" } th scope="col" { "Assigned to" } @if now.is_some() { th scope="col" { "Read" } } } }
            tbody {
                @for policy in policies {
                    tr {
                        th scope="row" title=(policy.policy_id) { (name(&policy.name, &policy.policy_id)) }
                        td data-label="Type" { (snapshots::label(&policy.policy_type)) }
                        td data-label="Assigned to" { div { (assignments::set(&policy.assignments, names)) } }
                        @if let Some(now) = now {
                            td.nowrap data-label="Read" {
                                a href={ "/snapshots/" (policy.snapshot_id) } { (times::relative(policy.read_at, now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A policy's name, or its id where it has none.
pub(super) fn name(name: &str, id: &str) -> Markup {
    html! { @if name.is_empty() { code { (id) } } @else { (name) } }
}

/// The way on in a list of policies; `total` is how many the whole list has, where that is known.
pub(super) fn pager(
    path: &str,
    search: &PolicySearch,
    page: &Page<AssignedPolicy>,
    is_first: bool,
    total: Option<u64>,
) -> Markup {
    let to = |cursor| {
        let (of_type, name) = (search.policy_type.as_deref(), search.name.as_deref());
        links::address(path, &[("type", of_type), ("name", name), ("cursor", cursor)])
    };
    html! {
        @if !is_first || page.next_cursor.is_some() {
            nav.pager aria-label="Parts of the list" {
                span.where {
                    @match total {
                        Some(total) => { (page.items.len()) " of " (figures::counted(total, "policy", "policies")) },
                        None => (figures::counted(page.items.len() as u64, "policy", "policies")),
                    }
                    ", by type"
                }
                @if !is_first { a.button.small href=(to(None)) { "From the start" } }
                @if let Some(next) = page.next_cursor.as_deref() {
                    a.button.small rel="next" href=(to(Some(next))) { "Next →" }
                }
            }
        }
    }
}
