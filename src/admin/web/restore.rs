//! The restore, step by step: choose a snapshot and policies, see the plan, look again and confirm, follow it, undo it.
//!
//! Every step that asks for a run asks as a client of the API does: the same intake, the same verdict, the same checks.
//! Nothing is kept between the steps but runs of the ledger: a plan is a dry run, and what carries it out names it.

use actix_web::{get, web};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Tab};
use super::parts::badges::{self, Tone};
use super::parts::snapshots::Scopes;
use super::parts::{figures, notes, snapshots, times};
use super::runs::{self, Row, rows_of};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::auth::Viewer;
use crate::admin::body::{self, Query};
use crate::admin::problem::Problem;
use crate::admin::tenants::visible_tenant;
use crate::clock::Instant;
use crate::domain::identity::{Inputs, RestoreInputs};
use crate::domain::operation::Operation;
use crate::domain::run::Run;
use crate::ids::TenantId;
use crate::store::{PageRequest, RunQuery, Snapshot, Tenant, TenantHealth, TenantSearch};

pub(super) mod choose;
pub(super) mod confirm;
pub(super) mod follow;
pub(super) mod items;

/// LIMIT: tenants, snapshots and restores that the first step lists.
const LISTED_MAX: usize = 50;

/// The steps, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Choose,
    Plan,
    Confirm,
    Follow,
}

/// Where somebody is in the restore.
fn steps(current: Step) -> Markup {
    let all = [
        (Step::Choose, "Choose"),
        (Step::Plan, "Plan"),
        (Step::Confirm, "Confirm"),
        (Step::Follow, "Follow"),
    ];
    html! {
        ol.stages aria-label="Steps of a restore" {
            @for (step, label) in all { li aria-current=[(step == current).then_some("step")] { (label) } }
        }
    }
}

/// The normalised inputs of a restore; `None` where its context cannot be read any more.
fn inputs(run: &Run) -> Option<RestoreInputs> {
    match Inputs::normalise(run.operation, run.context.get("inputs")?) {
        Ok(Inputs::Restore(inputs)) => Some(inputs),
        _ => None,
    }
}

/// Whose restore to begin.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StartQuery {
    tenant: Option<String>,
}

/// What the page shows.
struct View {
    now: Instant,
    tenant: Option<(Tenant, Vec<Snapshot>, Scopes)>,
    tenants: Vec<TenantHealth>,
    restores: Vec<Row>,
}

/// The first step: whose policies, and from which snapshot; and what was restored of late.
#[get("/restore")]
pub(super) async fn start(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    query: Query<StartQuery>,
) -> Result<Html, Problem> {
    let asked: Option<TenantId> =
        body::parameter("tenant", query.0.tenant.as_deref(), "the number of an id")?;
    let page = || PageRequest { limit: LISTED_MAX, cursor: None };
    let tenant = match asked {
        Some(id) => {
            let tenant = visible_tenant(&state, &caller.0, id).await?;
            let snapshots = state.store.snapshots(tenant.id, page()).await?.items;
            let scopes = Scopes::load(&state, &snapshots).await?;
            Some((tenant, snapshots, scopes))
        }
        None => None,
    };
    let search = TenantSearch { workspace: caller.0.workspace, ..TenantSearch::default() };
    let tenants = match tenant {
        Some(_) => Vec::new(),
        None => state.store.tenant_health(search, page()).await?.items,
    };
    let restores = RunQuery {
        workspace_id: caller.0.workspace,
        tenant_id: asked,
        operation: Some(Operation::Restore),
        page: page(),
        ..RunQuery::default()
    };
    let restores = rows_of(&state, state.store.runs(restores).await?.items).await?;
    let view = View { now: state.store.now().await?, tenant, tenants, restores };
    let shell = visit.shell("Restore", Tab::Restore).following(view.now, "?type=assignments.restore");
    Ok(Html(layout::page(shell, content(&view))))
}

fn content(view: &View) -> Markup {
    html! {
        div.head {
            h1 { "Restore" }
            p.lead {
                "Puts the assignments of policies back to what a snapshot holds. First comes a plan, which writes nothing; then a last look; then the writes."
            }
        }
        (steps(Step::Choose))
        div.columns {
            section.panel aria-labelledby="from" {
                @match &view.tenant {
                    Some((tenant, list, scopes)) => {
                        header {
                            h2 #from { "Which snapshot of " (tenant.name) "?" }
                            div.actions { a href="/restore" { "Another tenant" } }
                        }
                        (choose_snapshot(list, scopes, view.now))
                    },
                    None => {
                        header { h2 #from { "Which tenant?" } }
                        (choose_tenant(&view.tenants, view.now))
                    },
                }
            }
            section.panel #restores data-part aria-labelledby="lately" {
                header { h2 #lately { "Plans and restores" } }
                (lately(&view.restores, view.now))
            }
        }
    }
}

fn choose_tenant(tenants: &[TenantHealth], now: Instant) -> Markup {
    html! {
        @if tenants.is_empty() {
            (notes::no_tenants())
        } @else {
            ul.rows {
                @for tenant in tenants {
                    li {
                        div.line {
                            a href={ "/restore?tenant=" (tenant.id) } { (tenant.name) }
                            span.muted.end {
                                @match tenant.fetched {
                                    Some((_, at)) => { "fetched " (times::relative(at, now)) },
                                    None => "never fetched",
                                }
                            }
                        }
                    }
                }
            }
            @if tenants.len() == LISTED_MAX {
                footer { "The first by name. Of any other, begin at its " a href="/tenants" { "own page" } "." }
            }
        }
    }
}

fn choose_snapshot(list: &[Snapshot], scopes: &Scopes, now: Instant) -> Markup {
    html! {
        @if list.is_empty() {
            (notes::empty("No snapshots", html! { p { "Fetch the tenant first, or import a snapshot." } }))
        } @else {
            ul.rows {
                @for snapshot in list {
                    li {
                        div.line {
                            a href={ "/restore/new?snapshot=" (snapshot.id) } { "snapshot " (snapshot.id) }
                            span { (snapshots::kind(snapshot)) " " (times::dated(snapshot.created_at, now)) }
                            span.muted { (figures::counted(snapshots::read(snapshot), "policy", "policies")) }
                            span.end { (snapshots::whole(snapshot, scopes)) }
                        }
                    }
                }
            }
        }
    }
}

fn lately(restores: &[Row], now: Instant) -> Markup {
    html! {
        @if restores.is_empty() {
            div.body { p.muted { "Nothing was planned or restored yet." } }
        } @else {
            ul.rows {
                @for row in restores {
                    @let run = &row.run;
                    li #{ "run-" (run.id) } {
                        div.line {
                            (badges::run(run))
                            a.id href={ "/restore/" (run.id) } { "#" (run.id) }
                            (kind(run))
                            span { (runs::tenant(row)) }
                            span.muted.end { (times::relative(run.created_at, now)) }
                        }
                    }
                }
            }
        }
    }
}

/// Whether a run of a restore writes, and what it undoes.
fn kind(run: &Run) -> Markup {
    let is_plan = inputs(run).is_some_and(|inputs| inputs.dry_run);
    html! {
        @if is_plan { (badges::badge(Tone::Calm, "plan")) } @else { (badges::badge(Tone::Busy, "writes")) }
        @if let Some(undone) = run.context.get("undo_of").and_then(serde_json::Value::as_i64) {
            span.muted { "undo of #" (undone) }
        }
    }
}
