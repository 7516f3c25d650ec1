//! The ledger as a list: filters, parts by key, rows that follow what happens.

mod filters;
mod rows;

use actix_web::{get, web};
use maud::{Markup, html};

use super::layout::{self, Shell, Tab};
use super::parts::figures::counted;
use super::parts::notes;
use super::parts::pager::Pager;
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::auth::Viewer;
use crate::admin::body::Query;
use crate::admin::problem::Problem;
use crate::clock::Instant;
use crate::store::Page;
pub use filters::{Filters, Options, operations};
pub use rows::{Row, rows_of, table, tenant, took};

/// What the page shows.
struct RunsView {
    filters: Filters,
    options: Options,
    rows: Vec<Row>,
    pager: Pager,
    now: Instant,
}

/// Lists runs, newest first.
#[get("/runs")]
pub async fn page(
    visit: Visit,
    caller: Viewer,
    state: web::Data<AdminState>,
    query: Query<Filters>,
) -> Result<Html, Problem> {
    let filters = query.0.without_empty_ones();
    let asked = filters.query(&caller.0, &state.config().http)?;
    let now = state.store.now().await?;
    let options = Options::load(&state, &caller.0).await?;
    let Page { items, next_cursor } = state.store.runs(asked).await?;
    let shown = counted(items.len() as u64, "run", "runs");
    let pager = filters.pager(shown, next_cursor);
    let rows = rows_of(&state, items).await?;
    let view = RunsView { filters, options, rows, pager, now };
    // Further parts of the list stand still: what is new stands in the first.
    let shell = match view.filters.is_first_part() {
        true => visit.shell("Runs", Tab::Runs).following(now, view.filters.events()),
        false => Shell { now: Some(now), ..visit.shell("Runs", Tab::Runs) },
    };
    Ok(Html(layout::page(shell, content(&view))))
}

fn content(view: &RunsView) -> Markup {
    html! {
        div.head {
            h1 { "Runs" }
            p.lead { "Every request that was accepted, newest first. What was refused is counted by the run that answered it." }
        }
        section.panel aria-label="Runs" {
            (view.filters.form(&view.options))
            div #runs data-part {
                @if view.rows.is_empty() {
                    (nothing(&view.filters))
                } @else {
                    (table("Runs, newest first", &view.rows, view.now))
                }
                // An empty first part has no ways on.
                @if !view.rows.is_empty() || view.pager.first.is_some() { (view.pager) }
            }
        }
    }
}

fn nothing(filters: &Filters) -> Markup {
    if filters.is_any() {
        return notes::empty(
            "No run matches",
            html! {
                p { "Take a filter away, or look at all of them. Old runs are removed after a while." }
                div.actions { a.button href="/runs" { "Show all runs" } }
            },
        );
    }
    notes::empty(
        "No runs yet",
        html! {
            p { "A run begins when somebody asks for one: open a tenant and fetch its assignments, or from the command line:" }
            p { code { "atlasd fetch \"TENANT\" --wait" } }
            div.actions { a.button.primary href="/tenants" { "To the tenants" } }
        },
    )
}
