//! Tenants: how each is, when it was last fetched, found by name.

use actix_web::{get, web};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Tab};
use super::parts::{figures, forms, health, links, notes, times};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::auth::Viewer;
use crate::admin::body::Query;
use crate::admin::problem::Problem;
use crate::clock::Instant;
use crate::ids::RunId;
use crate::store::{Page, PageRequest, TenantHealth, TenantSearch};

/// Which tenants.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TenantsQuery {
    name: Option<String>,
    cursor: Option<String>,
}

/// What the page shows.
struct Tenants {
    now: Instant,
    name: Option<String>,
    is_first: bool,
    page: Page<TenantHealth>,
}

/// Lists them, by name.
#[get("/tenants")]
pub(super) async fn list(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    query: Query<TenantsQuery>,
) -> Result<Html, Problem> {
    let TenantsQuery { name, cursor } = query.0;
    let name = name.filter(|name| !name.is_empty());
    let search = TenantSearch { workspace: caller.0.workspace, tenant: None, name: name.clone() };
    let is_first = cursor.is_none();
    let request = PageRequest { limit: state.config().http.page_default, cursor };
    let page = state.store.tenant_health(search, request).await?;
    let view = Tenants { now: state.store.now().await?, name, is_first, page };
    let shell = visit.shell("Tenants", Tab::Tenants).following(view.now, "").every(30);
    Ok(Html(layout::page(shell, content(&view))))
}

fn content(view: &Tenants) -> Markup {
    html! {
        div.head { h1 { "Tenants" } }
        section.panel aria-label="Tenants" {
            form.filters method="get" action="/tenants" data-filter role="search" {
                (forms::text("name", "Name", view.name.as_deref(), "part of the name"))
                div.actions {
                    button { "Search" }
                    @if view.name.is_some() { a.button.quiet href="/tenants" { "All" } }
                }
            }
            div #tenants data-part {
                @if view.page.items.is_empty() { (nothing(view)) } @else { (table(view)) }
            }
        }
    }
}

fn nothing(view: &Tenants) -> Markup {
    match view.name {
        Some(_) => {
            notes::empty("No tenant is called so", html! { p { "Look for another part of its name." } })
        }
        None => notes::no_tenants(),
    }
}

fn table(view: &Tenants) -> Markup {
    html! {
        table.table.cards {
            caption.hidden-visually { "Tenants by name" }
            thead { tr { th scope="col" { "Tenant" } th scope="col" { "Health" } th scope="col" { "Fetched" } th scope="col" { "Last failure" } th scope="col" { "Open run" } } }
            tbody { @for tenant in &view.page.items { (row(tenant, view.now)) } }
        }
        @let next = view.page.next_cursor.as_deref().map(|cursor| address(view, Some(cursor)));
        @if next.is_some() || !view.is_first {
            nav.pager aria-label="Parts of the list" {
                span.where { (figures::counted(view.page.items.len() as u64, "tenant", "tenants")) ", by name" }
                @if !view.is_first { a.button.small href=(address(view, None)) { "From the start" } }
                @if let Some(next) = next { a.button.small rel="next" href=(next) { "Next →" } }
            }
        }
    }
}

fn row(tenant: &TenantHealth, now: Instant) -> Markup {
    let run = |id: RunId| html! { a.id href={ "/runs/" (id) } { "#" (id) } };
    html! {
        tr #{ "tenant-" (tenant.id) } {
            th scope="row" { a href={ "/tenants/" (tenant.id) } { (tenant.name) } }
            td data-label="Health" { (health::badge(health::of(tenant, now))) }
            td data-label="Fetched" {
                @match tenant.fetched {
                    Some((id, at)) => a href={ "/runs/" (id) } { (times::relative(at, now)) },
                    None => span.muted { "never" },
                }
            }
            td data-label="Last failure" class=[tenant.failing.is_none().then_some("none")] {
                @if let Some((id, at, code)) = tenant.failing {
                    a href={ "/runs/" (id) } { (times::relative(at, now)) }
                    @if let Some(code) = code { " " span.code { (code) } }
                }
            }
            td data-label="Open run" class=[tenant.open.is_none().then_some("none")] {
                @if let Some(id) = tenant.open { (run(id)) }
            }
        }
    }
}

fn address(view: &Tenants, cursor: Option<&str>) -> String {
    links::address("/tenants", &[("name", view.name.as_deref()), ("cursor", cursor)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Code;
    use crate::ids::{TenantId, WorkspaceId};

    fn view(items: Vec<TenantHealth>, name: Option<&str>) -> Tenants {
        Tenants {
            now: Instant::from_micros(1_700_000_000_000_000).expect("within the calendar"),
            name: name.map(str::to_owned),
            is_first: true,
            page: Page { items, next_cursor: Some("c=1".to_owned()) },
        }
    }

    #[test]
    fn a_tenant_that_fails_says_when_and_why() {
        let view = view(Vec::new(), Some("a&b"));
        let tenant = TenantHealth {
            id: TenantId(4),
            workspace_id: WorkspaceId(1),
            name: "<Contoso>".to_owned(),
            fetched: None,
            failing: Some((RunId(9), view.now - chrono::Duration::hours(1), Some(Code::GraphAuthFailed))),
            open: Some(RunId(10)),
        };
        let view = Tenants { page: Page { items: vec![tenant], ..view.page }, ..view };
        let text = content(&view).into_string();
        for words in [
            "&lt;Contoso&gt;",
            "failing",
            "graph.auth_failed",
            "1 h ago",
            ">#10<",
            "/tenants?name=a%26b&amp;cursor=c%3D1",
        ] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }

    #[test]
    fn nothing_found_is_not_nothing_there() {
        assert!(content(&view(Vec::new(), None)).into_string().contains("atlasd tenants add"));
        assert!(content(&view(Vec::new(), Some("x"))).into_string().contains("another part"));
    }
}
