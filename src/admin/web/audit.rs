//! The audit: who changed what, when, from where.

use actix_web::{get, web};
use maud::{Markup, html};

use super::layout::{self, Tab};
use super::parts::badges::{self, Tone};
use super::parts::{forms, links, notes, times};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::audit::AuditParameters;
use crate::admin::auth::Admin;
use crate::admin::body::Query;
use crate::admin::problem::Problem;
use crate::clock::Instant;
use crate::store::{AuditLine, AuditQuery, Page};

/// What the page shows.
struct View {
    now: Instant,
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
    let view = View { now, actor, action, is_first, page: state.store.audit(query).await? };
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
                    th scope="col" { "About" } th scope="col" { "From" } th scope="col" { "Else" }
                }
            }
            tbody { @for line in &view.page.items { (row(line, view.now)) } }
        }
        @if next.is_some() || !view.is_first {
            nav.pager aria-label="Parts of the list" {
                span.where { (view.page.items.len()) " lines" }
                @if !view.is_first { a.button.small href=(to(None)) { "Newest" } }
                @if next.is_some() { a.button.small rel="next" href=(to(next)) { "Older →" } }
            }
        }
    }
}

fn row(line: &AuditLine, now: Instant) -> Markup {
    let refused = line.outcome != "done";
    html! {
        tr {
            td data-label="When" { (times::relative(line.at, now)) }
            td data-label="Who" { @if line.actor.is_empty() { span.muted { "unknown" } } @else { (line.actor) } }
            td data-label="What" {
                div.line { span.code { (line.action) } @if refused { (badges::badge(Tone::Bad, &line.outcome)) } }
            }
            td data-label="About" { (about(line)) }
            td data-label="From" { div { (line.peer.as_deref().unwrap_or("here")) " " span.muted.small { (line.via) } } }
            td data-label="Else" class=[line.detail.is_empty().then_some("none")] {
                div.small.wrap {
                    @for (key, value) in &line.detail {
                        span.muted { (key) } " "
                        @match value.as_str() { Some(text) => (text), None => (value.to_string()) }
                        " "
                    }
                }
            }
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
            @match page { Some(page) => a.id href={ "/" (page) "/" (id) } { "#" (id) }, None => { "#" (id) } }
        }
    }
}
