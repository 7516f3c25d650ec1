//! The audit: who changed what, when, from where.

use std::collections::BTreeMap;

use actix_web::{get, web};
use maud::{Markup, html};
use serde_json::Value;

use super::layout::{self, Tab};
use super::parts::badges::{self, Tone};
use super::parts::{facts, figures, forms, links, notes, times, words};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::audit::AuditParameters;
use crate::admin::auth::Admin;
use crate::admin::body::Query;
use crate::admin::problem::Problem;
use crate::domain::operation::Operation;
use crate::ids::TenantId;
use crate::store::{AuditLine, AuditQuery, Page};

/// What the page shows.
struct View {
    tenants: BTreeMap<TenantId, String>,
    actor: Option<String>,
    action: Option<String>,
    is_first: bool,
    page: Page<AuditLine>,
}

/// Lists the lines, newest first.
#[get("/audit")]
pub(super) async fn list(
    caller: Admin,
    visit: Visit,
    state: web::Data<AdminState>,
    query: Query<AuditParameters>,
) -> Result<Html, Problem> {
    let now = state.store.now().await?;
    let query: AuditQuery =
        query.0.without_empty_fields().for_caller(&caller.0, &state.config().http, now)?;
    let (actor, action) = (query.actor.clone(), query.action.clone());
    let is_first = query.page.cursor.is_none();
    let page = state.store.audit(query).await?;
    let tenants = state.store.tenant_names(page.items.iter().filter_map(tenant_of).collect()).await?;
    let view = View { tenants, actor, action, is_first, page };
    Ok(Html(layout::page(visit.shell("Audit", Tab::Audit), content(&view))))
}

fn content(view: &View) -> Markup {
    html! {
        div.head {
            h1 { "Audit" }
            p.lead { "Every change: who made it, when, from where; and what was refused." }
        }
        section.panel aria-label="Audit" {
            form.filters method="get" action="/audit" data-filter role="search" {
                (forms::text("actor", "By", view.actor.as_deref(), "a token's name"))
                (forms::text("action", "Action", view.action.as_deref(), "run.submitted"))
                div.actions {
                    button { "Filter" }
                    @if view.actor.is_some() || view.action.is_some() { a.button.quiet href="/audit" { "All" } }
                }
            }
            @if view.page.items.is_empty() {
                (notes::empty("No such lines", html! { p { "Nothing was changed that is like that." } }))
            } @else {
                (table(view))
            }
        }
    }
}

fn table(view: &View) -> Markup {
    let to = |cursor| {
        let (actor, action) = (view.actor.as_deref(), view.action.as_deref());
        links::address("/audit", &[("actor", actor), ("action", action), ("cursor", cursor)])
    };
    let next = view.page.next_cursor.as_deref();
    html! {
        table.table.cards {
            caption.hidden-visually { "Changes, newest first" }
            thead {
                tr {
                    th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" }
                    th scope="col" { "About" } th scope="col" { "From" } th scope="col" { "Details" }
                }
            }
            tbody { @for line in &view.page.items { (row(line, &view.tenants)) } }
        }
        @if next.is_some() || !view.is_first {
            nav.pager aria-label="Parts of the list" {
                span.where { (figures::counted(view.page.items.len() as u64, "line", "lines")) }
                @if !view.is_first { a.button.small href=(to(None)) { "Newest" } }
                @if next.is_some() { a.button.small rel="next" href=(to(next)) { "Older →" } }
            }
        }
    }
}

/// The tenant that a line's details name.
fn tenant_of(line: &AuditLine) -> Option<TenantId> {
    line.detail.get("tenant_id").and_then(Value::as_i64).map(TenantId)
}

fn row(line: &AuditLine, tenants: &BTreeMap<TenantId, String>) -> Markup {
    let refused = line.outcome != "done";
    html! {
        tr {
            td data-label="When" { (times::at(line.at)) }
            td data-label="Who" { @if line.actor.is_empty() { span.muted { "unknown" } } @else { (line.actor) } }
            td data-label="What" {
                div.line { span.code { (line.action) } @if refused { (badges::badge(Tone::Bad, &line.outcome)) } }
            }
            td data-label="About" { (about(line)) }
            td data-label="From" { div { (line.peer.as_deref().unwrap_or("here")) " " span.muted.small { (line.via) } } }
            td data-label="Details" class=[line.detail.is_empty().then_some("none")] {
                div.small.wrap {
                    @for (index, (key, value)) in line.detail.iter().enumerate() {
                        @if index > 0 { ", " }
                        (detail(key, value, tenants))
                    }
                }
            }
        }
    }
}

/// A detail, in words where there are some.
fn detail(key: &str, value: &Value, tenants: &BTreeMap<TenantId, String>) -> Markup {
    let operation = value.as_str().filter(|_| key == "type").and_then(|word| word.parse::<Operation>().ok());
    let tenant = value.as_i64().filter(|_| key == "tenant_id").map(TenantId);
    html! {
        @if let Some(operation) = operation {
            span title=(operation) { (words::operation(operation)) }
        } @else if let Some(id) = tenant {
            a href={ "/tenants/" (id) } { @match tenants.get(&id) { Some(name) => (name), None => { "tenant " (id) } } }
        } @else {
            span.muted { (facts::label(key)) } " " (facts::value(value))
        }
    }
}

/// What a line is about, with a way there where it has a page.
fn about(line: &AuditLine) -> Markup {
    let (Some(kind), Some(id)) = (&line.object_kind, line.object_id) else { return html! {} };
    let page = match kind.as_str() {
        "run" => Some("runs"),
        "snapshot" => Some("snapshots"),
        "tenant" => Some("tenants"),
        _ => None,
    };
    html! {
        div {
            (kind) " "
            @match page {
                Some("runs") => a.id href={ "/runs/" (id) } { "#" (id) },
                Some(page) => a href={ "/" (page) "/" (id) } { (id) },
                None => (id),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn details_are_told_in_words_and_names() {
        let tenants = BTreeMap::from([(TenantId(4), "<Contoso>".to_owned())]);
        let told = |key, value| detail(key, &value, &tenants).into_string();
        assert_eq!(told("tenant_id", json!(4)), "<a href=\"/tenants/4\">&lt;Contoso&gt;</a>");
        assert!(told("tenant_id", json!(5)).contains(">tenant 5<"));
        assert!(told("type", json!("assignments.fetch")).contains(">Fetch<"));
        assert!(told("type", json!("odd")).contains("odd"));
    }
}
