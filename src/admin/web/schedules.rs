//! Schedules: what is asked for by the clock, when next, and what became of it the last time.

use actix_web::{HttpResponse, get, post, web};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::layout::{self, Tab};
use super::parts::badges::{self, Tone};
use super::parts::flash::Flash;
use super::parts::{figures, forms, links, notes, times, words};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::audit;
use crate::admin::auth::{Operator, Viewer};
use crate::admin::body::{self, PageQuery, Query};
use crate::admin::problem::{Missing, Problem};
use crate::admin::schedules::{AddSchedule, add_checked, change_of, changeable};
use crate::admin::session::Posted;
use crate::clock::Instant;
use crate::domain::audit::Action;
use crate::domain::operation::Operation;
use crate::ids::ScheduleId;
use crate::store::{
    AskVerdict, Page, PageRequest, Role, Schedule, ScheduleChange, ScheduleSource, TenantHealth, TenantSearch,
};

/// LIMIT: tenants, and workspaces, that the form lets choose from.
const TENANTS_MAX: usize = 500;

/// What the page shows.
struct View {
    now: Instant,
    page: Page<Schedule>,
    is_first: bool,
    tenants: Vec<TenantHealth>,
    /// To choose from; empty where the caller is of one.
    workspaces: Vec<(String, String)>,
}

/// Lists them.
#[get("/schedules")]
pub(super) async fn list(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    query: Query<PageQuery>,
) -> Result<Html, Problem> {
    let workspace = caller.0.workspace;
    let is_first = query.0.cursor.is_none();
    let page = state.store.schedules(workspace, query.0.page(&state.config().http)?).await?;
    let request = PageRequest { limit: TENANTS_MAX, cursor: None };
    let search = TenantSearch { workspace, ..TenantSearch::default() };
    let tenants = state.store.tenant_health(search, request).await?.items;
    let workspaces = match workspace {
        Some(_) => Vec::new(),
        None => {
            let request = PageRequest { limit: TENANTS_MAX, cursor: None };
            state.store.workspaces(None, request).await?.items
        }
    };
    let workspaces =
        workspaces.into_iter().map(|workspace| (workspace.id.to_string(), workspace.name)).collect();
    let view = View { now: state.store.now().await?, page, is_first, tenants, workspaces };
    let shell = visit.shell("Schedules", Tab::Schedules).following(view.now, "").every(30);
    Ok(Html(layout::page(shell, content(&view, &visit))))
}

fn content(view: &View, visit: &Visit) -> Markup {
    html! {
        div.head {
            h1 { "Schedules" }
            p.lead { "What is asked for by the clock. A request that comes while its run is active or in cooldown is refused, as any other." }
        }
        section.panel #schedules data-part aria-label="Schedules" {
            @if view.page.items.is_empty() {
                (notes::empty("No schedules", html! {
                    p {
                        @if visit.may(Role::Operator) { "Add one below, or in the configuration under " }
                        @else { "What is in the configuration is shown here, too: " }
                        code { "[schedules.NAME]" } "."
                    }
                }))
            } @else {
                (table(view, visit))
            }
        }
        @if visit.may(Role::Operator) { (form(view, visit)) }
    }
}

fn table(view: &View, visit: &Visit) -> Markup {
    let next = view.page.next_cursor.as_deref();
    html! {
        table.table.cards {
            caption.hidden-visually { "Schedules" }
            thead { tr { th scope="col" { "Schedule" } th scope="col" { "Asks for" } th scope="col" { "When" } th scope="col" { "Next" } th scope="col" { "Last" } @if visit.may(Role::Operator) { th scope="col" { "Change" } } } }
            tbody { @for schedule in &view.page.items { (row(schedule, view.now, visit)) } }
        }
        @if next.is_some() || !view.is_first {
            nav.pager aria-label="Parts of the list" {
                span.where { (figures::counted(view.page.items.len() as u64, "schedule", "schedules")) }
                @if !view.is_first { a.button.small href="/schedules" { "From the start" } }
                @if next.is_some() {
                    a.button.small rel="next" href=(links::address("/schedules", &[("cursor", next)])) { "Next →" }
                }
            }
        }
    }
}

fn row(schedule: &Schedule, now: Instant, visit: &Visit) -> Markup {
    html! {
        tr #{ "schedule-" (schedule.id) } {
            th scope="row" {
                div {
                    (schedule.name) " "
                    @if !schedule.enabled { (badges::badge(Tone::Warn, "paused")) }
                    div.muted.small {
                        @match schedule.source {
                            ScheduleSource::Api => { "by " (schedule.created_by) },
                            ScheduleSource::Config => "in the configuration",
                        }
                    }
                }
            }
            td data-label="Asks for" {
                div {
                    span title=(schedule.operation) { (words::operation(schedule.operation)) }
                    div.muted.small {
                        @match (schedule.tenant_id, &schedule.tenant_name) {
                            (Some(id), name) => {
                                a href={ "/tenants/" (id) } { @match name { Some(name) => (name), None => { "tenant " (id) } } }
                            },
                            (None, _) => { "all of workspace " (schedule.workspace_slug) },
                        }
                    }
                }
            }
            td data-label="When" { div { code { (schedule.cron) } div.muted.small { (schedule.timezone) } } }
            td data-label="Next" {
                @match schedule.next_at { Some(at) => div { (times::dated(at, now)) }, None => span.muted { "not while paused" } }
            }
            td data-label="Last" { (last(schedule, now)) }
            @if visit.may(Role::Operator) { td data-label="Change" { (change(schedule, visit)) } }
        }
    }
}

/// What the last time came to.
fn last(schedule: &Schedule, now: Instant) -> Markup {
    let last = &schedule.last;
    html! {
        div {
            @match (last.asked_at, last.verdict) {
                (Some(at), Some(verdict)) => {
                    (badges::badge(tone(verdict), verdict.as_str())) " " (times::relative(at, now))
                    @if let Some(run) = last.run_id { " " a.id href={ "/runs/" (run) } { "#" (run) } }
                    @if last.accepted + last.active + last.cooldown + last.failed > 1 {
                        div.muted.small {
                            (last.accepted) " accepted, " (last.active + last.cooldown) " refused, " (last.failed) " failed"
                        }
                    }
                    @if let Some(problem) = &last.problem { div.small.wrap { (problem) } }
                },
                _ => span.muted { "not yet" },
            }
        }
    }
}

const fn tone(verdict: AskVerdict) -> Tone {
    match verdict {
        AskVerdict::Accepted => Tone::Good,
        AskVerdict::Active | AskVerdict::Cooldown => Tone::Calm,
        AskVerdict::Failed => Tone::Bad,
    }
}

fn change(schedule: &Schedule, visit: &Visit) -> Markup {
    let path = |what: &str| format!("/schedules/{}/{what}", schedule.id);
    html! {
        @if schedule.source == ScheduleSource::Config {
            span.muted.small { "only in the configuration" }
        } @else {
            div.line {
                @if schedule.enabled { (forms::button(visit, &path("pause"), "Pause", "small")) }
                @else { (forms::button(visit, &path("resume"), "Resume", "small")) }
                details.sure {
                    summary.button.small.danger { "Remove…" }
                    (forms::button(visit, &path("remove"), "Yes, remove it", "small danger"))
                }
            }
        }
    }
}

fn form(view: &View, visit: &Visit) -> Markup {
    let tenants: Vec<_> =
        view.tenants.iter().map(|tenant| (tenant.id.to_string(), tenant.name.clone())).collect();
    let operations: Vec<_> = [Operation::Fetch, Operation::Reconcile]
        .iter()
        .map(|operation| (operation.as_str().to_owned(), words::operation(*operation).to_owned()))
        .collect();
    html! {
        section.panel aria-labelledby="add" {
            header { h2 #add { "Add a schedule" } }
            form.filters method="post" action="/schedules" {
                (forms::csrf(visit))
                (forms::text("name", "Name", None, "nightly"))
                (forms::select("type", "Asks for", words::operation(Operation::Fetch), &operations[1..], None))
                (forms::select("tenant_id", "Tenant", "All tenants", &tenants, None))
                @match &view.workspaces[..] {
                    [] => {}
                    [(only, _)] => { input type="hidden" name="workspace_id" value=(only); }
                    several => (forms::select("workspace_id", "Workspace", "The tenant's", several, None)),
                }
                (forms::text("cron", "Cron expression", None, "0 3 * * *"))
                (forms::text("timezone", "Time zone", None, "UTC"))
                div.actions { button.primary { "Add" } }
            }
        }
    }
}

/// What the form says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AddForm {
    name: String,
    r#type: String,
    tenant_id: String,
    workspace_id: String,
    cron: String,
    timezone: String,
}

impl AddForm {
    /// What a client of the API would send; an empty field is left out.
    fn asked(self) -> Result<AddSchedule, Problem> {
        let given = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let number = "the number of an id";
        let operation = given(self.r#type).unwrap_or_else(|| Operation::Fetch.as_str().to_owned());
        Ok(AddSchedule {
            workspace_id: body::parameter("workspace_id", given(self.workspace_id).as_deref(), number)?,
            tenant_id: body::parameter("tenant_id", given(self.tenant_id).as_deref(), number)?,
            tenant_external_id: None,
            name: self.name.trim().to_owned(),
            operation,
            inputs: Value::Null,
            cron: self.cron,
            timezone: given(self.timezone),
            jitter_s: None,
            enabled: None,
        })
    }
}

/// Adds one.
#[post("/schedules")]
pub(super) async fn add(
    caller: Operator,
    state: web::Data<AdminState>,
    form: Posted<AddForm>,
) -> Result<HttpResponse, Problem> {
    let added = add_checked(&state, &caller.0, form.0.asked()?).await?;
    Ok(Flash::good(format!("The schedule {} was added.", added.name)).redirect("/schedules"))
}

/// Pauses, resumes or removes one.
#[post("/schedules/{id}/{what}")]
pub(super) async fn update(
    caller: Operator,
    state: web::Data<AdminState>,
    path: web::Path<(ScheduleId, String)>,
) -> Result<HttpResponse, Problem> {
    let (id, what) = path.into_inner();
    let schedule = changeable(&state, &caller.0, id).await?;
    let done = match what.as_str() {
        "remove" => state.store.remove_schedule(schedule.id).await?.then_some("removed"),
        "pause" | "resume" => {
            let change = ScheduleChange { enabled: Some(what == "resume"), ..ScheduleChange::default() };
            let now = state.store.change_schedule(schedule.id, change).await?;
            now.map(|now| if now.enabled { "resumed" } else { "paused" })
        }
        _ => return Err(Problem::not_found(Missing::Route)),
    };
    let done = done.ok_or_else(|| Problem::not_found(Missing::Schedule))?;
    tracing::info!(by = %caller.0.name, schedule.id = schedule.id.0, change = done, "schedule changed");
    let action = if done == "removed" { Action::ScheduleRemoved } else { Action::ScheduleChanged };
    audit::note(&state, change_of(action, &schedule).with("change", done)).await;
    Ok(Flash::good(format!("The schedule {} was {done}.", schedule.name)).redirect("/schedules"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{TenantId, WorkspaceId};

    fn view(workspaces: &[(&str, &str)]) -> View {
        let pair = |(id, name): &(&str, &str)| ((*id).to_owned(), (*name).to_owned());
        View {
            now: Instant::from_micros(0).expect("within the calendar"),
            page: Page { items: Vec::new(), next_cursor: None },
            is_first: true,
            tenants: Vec::new(),
            workspaces: workspaces.iter().map(pair).collect(),
        }
    }

    #[test]
    fn a_workspace_is_chosen_by_its_name_where_there_are_several() {
        let shown = |workspaces: &[(&str, &str)]| form(&view(workspaces), &Visit::default()).into_string();
        assert!(!shown(&[]).contains("workspace_id"));
        assert!(shown(&[("1", "<One>")]).contains("type=\"hidden\" name=\"workspace_id\" value=\"1\""));
        let several = shown(&[("1", "<One>"), ("2", "Two")]);
        assert!(several.contains("<select") && several.contains("&lt;One&gt;"), "{several}");
    }

    #[test]
    fn a_form_is_what_a_client_would_send() {
        let form = AddForm {
            name: " nightly ".to_owned(),
            tenant_id: "3".to_owned(),
            cron: "@daily".to_owned(),
            ..AddForm::default()
        };
        let asked = form.asked().expect("a form of ours");
        assert_eq!((asked.name.as_str(), asked.operation.as_str()), ("nightly", "assignments.fetch"));
        assert_eq!((asked.tenant_id, asked.workspace_id, asked.timezone), (Some(TenantId(3)), None, None));
        let odd = AddForm { workspace_id: "one".to_owned(), ..AddForm::default() };
        assert_eq!(odd.asked().map(|_| WorkspaceId(0)).unwrap_err().code(), "request.invalid");
    }
}
