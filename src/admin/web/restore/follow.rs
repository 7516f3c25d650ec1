//! A plan or a restore, live: how far it is, policy by policy, and what can be done next.

use actix_web::{get, web};
use maud::{Markup, html};

use super::items::Items;
use super::{Step, inputs, kind, steps};
use crate::actors::Progress;
use crate::admin::AdminState;
use crate::admin::auth::Viewer;
use crate::admin::problem::{Missing, Problem};
use crate::admin::runs::visible_run;
use crate::admin::tenants::visible_tenant;
use crate::admin::web::layout::{self, Tab};
use crate::admin::web::parts::badges::{self, Tone};
use crate::admin::web::parts::{figures, forms, notes, progress, times, words};
use crate::admin::web::{Html, Visit};
use crate::clock::Instant;
use crate::domain::failure::Code;
use crate::domain::identity::RestoreInputs;
use crate::domain::operation::Operation;
use crate::domain::restore::ItemState;
use crate::domain::run::{Outcome, Run, Status};
use crate::ids::RunId;
use crate::store::{Role, Tenant};

/// What the page shows.
struct View {
    now: Instant,
    run: Run,
    tenant: Tenant,
    inputs: Option<RestoreInputs>,
    progress: Option<Progress>,
    items: Items,
}

/// Shows it.
#[get("/restore/{run}")]
pub(in crate::admin::web) async fn show(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    run: web::Path<RunId>,
) -> Result<Html, Problem> {
    let run = visible_run(&state, &caller.0, *run).await?;
    let tenant = run.tenant_id.filter(|_| run.operation == Operation::Restore);
    let tenant = tenant.ok_or_else(|| Problem::not_found(Missing::Run))?;
    let tenant = visible_tenant(&state, &caller.0, tenant).await?;
    let items = Items::load(&state, tenant.id, run.id, None).await?;
    let progress = (run.status == Status::Running).then(|| state.handle.progress(run.id)).flatten();
    let view = View { now: state.store.now().await?, inputs: inputs(&run), run, tenant, progress, items };
    let kind = if view.is_plan() { "Plan" } else { "Restore" };
    let title = format!("{kind} {} of {}", view.run.id, view.tenant.name);
    let events = format!("?run_id={}", view.run.id);
    let shell = visit.shell(&title, Tab::Restore).following(view.now, events);
    Ok(Html(layout::page(shell, content(&view, &visit))))
}

impl View {
    fn is_plan(&self) -> bool {
        self.inputs.as_ref().is_some_and(|inputs| inputs.dry_run)
    }

    fn has_succeeded(&self) -> bool {
        self.run.outcome == Outcome::Succeeded
    }
}

fn content(view: &View, visit: &Visit) -> Markup {
    let View { run, tenant, .. } = view;
    let step = if view.is_plan() { Step::Plan } else { Step::Follow };
    html! {
        div #restore data-part .stack {
            div.head {
                p.crumbs { a href="/restore" { "Restore" } " / " a href={ "/restore?tenant=" (tenant.id) } { (tenant.name) } }
                h1 { @if view.is_plan() { "Plan " } @else { "Restore " } (run.id) }
                (badges::run(run)) (kind(run))
                div.actions { (next(view, visit)) }
                p.lead { (about(view)) }
            }
            (steps(step))
            @if run.is_active() { (working(view)) } @else { (ended(view)) }
            (items(view))
        }
    }
}

fn about(view: &View) -> Markup {
    html! {
        "To " a href={ "/tenants/" (view.tenant.id) } { (view.tenant.name) }
        @if let Some(inputs) = &view.inputs {
            ", from " a href={ "/snapshots/" (inputs.snapshot_id) } { "snapshot " (inputs.snapshot_id) }
            @match &inputs.policy_ids {
                Some(ids) => { ", " (figures::counted(ids.len() as u64, "chosen policy", "chosen policies")) },
                None => ", all its policies",
            }
            @if !inputs.group_map.is_empty() {
                ", " (figures::counted(inputs.group_map.len() as u64, "group", "groups")) " mapped"
            }
            @if let Some(plan) = inputs.plan_run_id { ", by the plan of " a href={ "/restore/" (plan) } { "#" (plan) } }
        }
        ", asked for by " (view.run.initiator_name) " " (times::relative(view.run.created_at, view.now))
        ". " a href={ "/runs/" (view.run.id) } { "All about the run" }
    }
}

/// What can be done now.
fn next(view: &View, visit: &Visit) -> Markup {
    let id = view.run.id;
    let again =
        view.inputs.as_ref().map(|inputs| format!("/restore/new?snapshot={}&plan={id}", inputs.snapshot_id));
    let is_undo = view.run.context.contains_key("undo_of");
    html! {
        @if visit.may(Role::Operator) {
            @if view.run.is_active() {
                @if view.run.cancel_requested_at.is_none() {
                    (forms::button(visit, &format!("/runs/{id}/cancel"), "Cancel run", "danger"))
                }
            } @else if view.is_plan() {
                @if let Some(again) = again.filter(|_| !is_undo) { (plan_again(view, &again)) }
                @if view.has_succeeded() && view.items.count(ItemState::Planned) > 0 {
                    a.button.primary href={ "/restore/" (id) "/confirm" } { "Review and confirm" }
                }
            } @else if view.items.count(ItemState::Verified) > 0 || view.items.count(ItemState::Failed) > 0 {
                (forms::button(visit, &format!("/restore/{id}/undo"), "Plan the undo", ""))
            }
        }
    }
}

/// The way back to the choice; the way on, where the plan was made without what widens.
fn plan_again(view: &View, to: &str) -> Markup {
    let guarded = view.items.are_guarded();
    let is_the_way_on = guarded && view.items.count(ItemState::Planned) == 0;
    html! {
        a.button.primary[is_the_way_on] href=(to) {
            @if guarded { "Plan again, with what widens" } @else { "Change the choice" }
        }
    }
}

fn working(view: &View) -> Markup {
    html! {
        section.panel aria-label="How far it is" {
            div.body {
                @if view.run.status == Status::Running {
                    (progress::bar(&view.run, view.progress.as_ref()))
                } @else {
                    p.muted { "It waits for its turn: a tenant's runs execute one at a time." }
                }
            }
        }
    }
}

fn ended(view: &View) -> Markup {
    let count = |state| view.items.count(state);
    let stat = |label: &str, count: usize, bad: bool| html! { div.bad[bad && count > 0] { dt { (label) } dd { (count) } } };
    html! {
        section.panel aria-label="What came of it" {
            div.body.stack {
                dl.stats {
                    @if view.is_plan() {
                        (stat("to be written", count(ItemState::Planned), false))
                    } @else {
                        (stat("written", count(ItemState::Verified), false))
                    }
                    (stat("as wanted already", count(ItemState::Skipped), false))
                    (stat(if view.is_plan() { "left alone" } else { "failed or left alone" }, count(ItemState::Failed), true))
                }
                (verdict(view))
            }
        }
    }
}

/// The one sentence that matters.
fn verdict(view: &View) -> Markup {
    let in_summary = |code| view.run.failure_summary.iter().any(|failure| failure.code == code);
    // A plan succeeds whatever the guard stops: then the code stands with the policies alone.
    let guarded = view.items.are_guarded() || in_summary(Code::AssignmentsGuardBlocked);
    html! {
        @if view.items.lacks_groups() {
            (notes::note(Tone::Bad, html! {
                strong { "Groups are missing." }
                p.why { "Choose anew, map them to groups of the tenant, and make another plan." }
            }))
        }
        @if view.is_plan() && view.items.widens() {
            (notes::note(Tone::Warn, html! {
                strong { "Part of it widens." }
                @if guarded {
                    p.why { "Policies would reach more than they do now. This plan was made without allowing that, and leaves them alone. Plan again to have them in it: nothing is written before you have confirmed it." }
                } @else {
                    p.why { "Policies would reach more than they do now. It is marked below, and has to be allowed when you confirm." }
                }
            }))
        }
        @if guarded && !view.is_plan() {
            (notes::note(Tone::Warn, html! { strong { "What widens was left alone." } p.why { "It was not allowed." } }))
        }
        @if view.is_plan() && view.has_succeeded() && view.items.count(ItemState::Planned) == 0 {
            @if view.items.count(ItemState::Failed) == 0 {
                (notes::note(Tone::Good, html! { strong { "Nothing to write:" } " everything is as the snapshot has it." }))
            } @else {
                (notes::note(Tone::Warn, html! { strong { "This plan writes nothing:" } " what stands in the way is said policy by policy." }))
            }
        }
        @for failure in &view.run.failure_summary {
            p.wrap { span.code { (failure.code) } " " (words::message(failure)) }
        }
    }
}

fn items(view: &View) -> Markup {
    let shown = ItemState::ALL.iter().filter(|state| **state != ItemState::Skipped);
    let any = shown.map(|state| view.items.count(*state)).sum::<usize>() > 0;
    html! {
        @if any {
            section.panel aria-labelledby="policies" {
                header { h2 #policies { "Policy by policy" } }
                (view.items.list())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Map, json};

    use super::super::items::tests::{item, items as some, stopped_by_the_guard};
    use super::*;
    use crate::admin::auth::Principal;
    use crate::admin::samples;
    use crate::domain::restore::Widening;
    use crate::ids::{TenantId, WorkspaceId};

    fn visit(role: Role) -> Visit {
        let caller = Principal { name: "t".to_owned(), role, workspace: None };
        Visit { caller: Some(Arc::new(caller)), ..Visit::default() }
    }

    fn view(dry_run: bool, list: Vec<crate::store::RestoreItem>) -> View {
        let context = json!({"inputs": {"snapshot_id": 5, "dry_run": dry_run}});
        let Some(context) = context.as_object().cloned() else { panic!("an object") };
        let mut run = samples::run(RunId(9), Map::from_iter(context));
        run.operation = Operation::Restore;
        run.status = Status::Completed;
        run.outcome = Outcome::Succeeded;
        let at = run.created_at;
        let tenant = Tenant {
            id: TenantId(3),
            workspace_id: WorkspaceId(1),
            workspace_slug: "w".into(),
            external_id: uuid::Uuid::nil(),
            name: "Contoso".into(),
            cloud: "global".into(),
            credential: "c".into(),
            created_at: at,
            updated_at: at,
        };
        View { now: at, inputs: inputs(&run), run, tenant, progress: None, items: some(list) }
    }

    #[test]
    fn a_plan_leads_to_the_last_look_and_says_what_widens() {
        let view = view(true, vec![item(ItemState::Planned, vec![Widening::FilterLost])]);
        let text = content(&view, &visit(Role::Operator)).into_string();
        assert!(text.contains("/restore/9/confirm") && text.contains("Part of it widens"), "{text}");
        let looks = content(&view, &visit(Role::Viewer)).into_string();
        assert!(!looks.contains("/confirm") && !looks.contains("<form"), "{looks}");
    }

    #[test]
    fn a_plan_that_refused_all_of_it_does_not_say_that_all_is_well() {
        let refused = item(ItemState::Failed, vec![Widening::FilterLost]);
        let text = content(&view(true, vec![refused]), &visit(Role::Operator)).into_string();
        assert!(
            text.contains("This plan writes nothing") && !text.contains("as the snapshot has it"),
            "{text}"
        );
    }

    #[test]
    fn a_plan_that_the_guard_emptied_leads_to_one_that_shows_what_widens() {
        let stopped = stopped_by_the_guard(Widening::GroupBecomesEverybody);
        let text = content(&view(true, vec![stopped]), &visit(Role::Operator)).into_string();
        assert!(text.contains("Plan again, with what widens"), "{text}");
        assert!(!text.contains("allowed when you confirm") && !text.contains("/confirm"), "{text}");
    }

    #[test]
    fn a_restore_that_wrote_can_be_undone() {
        let text = content(&view(false, vec![item(ItemState::Verified, vec![])]), &visit(Role::Operator))
            .into_string();
        assert!(text.contains("/restore/9/undo") && !text.contains("/confirm"), "{text}");
    }

    #[test]
    fn a_restore_that_is_under_way_can_be_stopped() {
        let mut view = view(false, vec![item(ItemState::Sent, vec![])]);
        view.run.status = Status::Running;
        view.run.outcome = Outcome::Pending;
        let text = content(&view, &visit(Role::Operator)).into_string();
        assert!(text.contains("/runs/9/cancel") && text.contains("data-progress=\"9\""), "{text}");
        assert!(!content(&view, &visit(Role::Viewer)).into_string().contains("<form"), "a viewer only looks");
    }

    #[test]
    fn groups_that_are_missing_lead_back_to_the_map() {
        let text =
            content(&view(true, vec![item(ItemState::Failed, vec![])]), &visit(Role::Operator)).into_string();
        assert!(
            text.contains("Groups are missing") && text.contains("/restore/new?snapshot=5&amp;plan=9"),
            "{text}"
        );
    }
}
