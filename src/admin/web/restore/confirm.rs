//! The last look: exactly what will be written, and the one click that does it. What widens has to be allowed first.

use actix_web::{HttpResponse, get, post, web};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::items::Items;
use super::{Step, inputs, steps};
use crate::admin::AdminState;
use crate::admin::auth::{Operator, Principal};
use crate::admin::problem::{Missing, Problem};
use crate::admin::runs::visible_run;
use crate::admin::session::Posted;
use crate::admin::tenants::visible_tenant;
use crate::admin::verdict;
use crate::admin::web::layout::{self, Tab};
use crate::admin::web::parts::badges::Tone;
use crate::admin::web::parts::flash::Flash;
use crate::admin::web::parts::{figures, forms, notes, verdicts};
use crate::admin::web::{Html, Visit};
use crate::domain::admission::Request;
use crate::domain::audit::Action;
use crate::domain::identity::{Inputs, RestoreInputs};
use crate::domain::restore::ItemState;
use crate::domain::run::{Outcome, Run};
use crate::ids::{RunId, TenantId};
use crate::intake::{self, Undo};
use crate::store::Tenant;

/// A plan that can be carried out.
struct Plan {
    run: Run,
    tenant: Tenant,
    inputs: RestoreInputs,
    /// The restore that it puts back.
    undo_of: Option<RunId>,
}

impl Plan {
    async fn load(state: &AdminState, caller: &Principal, id: RunId) -> Result<Self, Problem> {
        let run = visible_run(state, caller, id).await?;
        let plan = inputs(&run).filter(|inputs| inputs.dry_run).zip(run.tenant_id);
        let (inputs, tenant): (_, TenantId) = plan.ok_or_else(|| Problem::not_found(Missing::Run))?;
        let tenant = visible_tenant(state, caller, tenant).await?;
        let undo_of = run.context.get("undo_of").and_then(Value::as_i64).map(RunId);
        Ok(Self { run, tenant, inputs, undo_of })
    }

    /// Whether it can be carried out as a whole: a plan that failed in part may still write the rest.
    fn has_ended_well(&self) -> bool {
        self.run.outcome == Outcome::Succeeded
    }

    /// The request that carries it out: as the API takes it, so that every check is made again.
    async fn request(
        &self,
        state: &AdminState,
        caller: &Principal,
        allow_widening: bool,
    ) -> Result<Request, Problem> {
        let by = caller.initiator();
        if let Some(undone) = self.undo_of {
            let undone = visible_run(state, caller, undone).await?;
            let undo = Undo { dry_run: false, allow_widening, force: false };
            return Ok(intake::undo_of(&state.directory, &state.store, &undone, undo, &by).await?);
        }
        let mut inputs = Inputs::Restore(self.inputs.clone()).to_json();
        inputs["dry_run"] = json!(false);
        inputs["plan_run_id"] = json!(self.run.id);
        inputs["allow_widening"] = json!(allow_widening);
        let request = super::choose::request(self.tenant.id, inputs);
        let limit = state.config().admission.context_bytes_max;
        Ok(intake::run_request(&state.directory, &state.store, &by, request, limit).await?)
    }
}

/// Shows what will be written.
#[get("/restore/{run}/confirm")]
pub(in crate::admin::web) async fn show(
    caller: Operator,
    visit: Visit,
    state: web::Data<AdminState>,
    run: web::Path<RunId>,
) -> Result<Html, Problem> {
    let plan = Plan::load(&state, &caller.0, *run).await?;
    let items = Items::load(&state, plan.tenant.id, plan.run.id, Some(ItemState::Planned)).await?;
    let guard = items.guard(state.config().restore.policies_max);
    let content = content(&plan, &items, guard, &visit);
    let title = format!("Confirm plan {} of {}", plan.run.id, plan.tenant.name);
    Ok(Html(layout::page(visit.shell(&title, Tab::Restore), content)))
}

fn content(plan: &Plan, items: &Items, guard: Option<&str>, visit: &Visit) -> Markup {
    let planned = items.count(ItemState::Planned);
    let is_empty = planned == 0 || !plan.has_ended_well();
    let count = figures::counted(planned as u64, "policy", "policies");
    html! {
        div.head {
            p.crumbs { a href="/restore" { "Restore" } " / " a href={ "/restore/" (plan.run.id) } { "Plan " (plan.run.id) } }
            @if is_empty {
                h1 { "Nothing to confirm" }
            } @else {
                h1 { "Write " (count) " to " (plan.tenant.name) "?" }
                p.lead {
                    "This is exactly what will be written. A policy that somebody has changed since the plan was made is left alone."
                }
            }
        }
        (steps(Step::Confirm))
        @if is_empty {
            section.panel aria-label="Nothing to confirm" {
                (notes::empty("Nothing would be written", html! {
                    p { "This plan writes nothing, has not ended, or has failed: its page says which." }
                    div.actions { a.button href={ "/restore/" (plan.run.id) } { "Back to the plan" } }
                }))
            }
        } @else {
            section.panel aria-labelledby="writes" {
                header { h2 #writes { "What will be written" } }
                (items.list())
            }
            @if !visit.read_only { (go(plan, &count, guard, visit)) }
        }
    }
}

/// The last click, and what has to be ticked before it.
fn go(plan: &Plan, count: &str, guard: Option<&str>, visit: &Visit) -> Markup {
    html! {
        section.panel aria-labelledby="go" {
            div.body {
                form.confirm method="post" action={ "/restore/" (plan.run.id) "/confirm" } {
                    (forms::csrf(visit))
                    h2 #go { "Do it" }
                    @if let Some(guard) = guard {
                        (notes::note(Tone::Warn, html! {
                            label.check {
                                input type="checkbox" name="allow_widening" value="yes" required;
                                span {
                                    strong { (guard) }
                                    " I have read what is above, and it is meant so."
                                }
                            }
                        }))
                    } @else {
                        p.muted { "Nothing of it widens: nobody is reached who is not meant to be." }
                    }
                    div.actions {
                        button.primary { "Write " (count) }
                        " " a.button href={ "/restore/" (plan.run.id) } { "Back to the plan" }
                    }
                }
            }
        }
    }
}

/// Asks for the run that writes.
#[post("/restore/{run}/confirm")]
pub(in crate::admin::web) async fn submit(
    caller: Operator,
    state: web::Data<AdminState>,
    run: web::Path<RunId>,
    form: Posted<Vec<(String, String)>>,
) -> Result<HttpResponse, Problem> {
    let plan = Plan::load(&state, &caller.0, *run).await?;
    let allowed = form.0.iter().any(|(field, value)| field == "allow_widening" && value == "yes");
    if !allowed {
        let items = Items::load(&state, plan.tenant.id, plan.run.id, Some(ItemState::Planned)).await?;
        if items.guard(state.config().restore.policies_max).is_some() {
            let back = format!("/restore/{}/confirm", plan.run.id);
            let words = "Nothing was started: what the guard stops has to be allowed first.";
            return Ok(Flash::warn(words).redirect(&back));
        }
    }
    let request = plan.request(&state, &caller.0, allowed).await?;
    let verdict = verdict::ask(&state, request).await?;
    let what = if plan.undo_of.is_some() { "The undo" } else { "The restore" };
    Ok(verdicts::told(&verdict, what).redirect(&format!("/restore/{}", verdicts::run_of(&verdict))))
}

/// Asks for the plan of an undo.
#[post("/restore/{run}/undo")]
pub(in crate::admin::web) async fn submit_undo(
    caller: Operator,
    state: web::Data<AdminState>,
    run: web::Path<RunId>,
) -> Result<HttpResponse, Problem> {
    let run = visible_run(&state, &caller.0, *run).await?;
    let undo = Undo { dry_run: true, allow_widening: true, force: false };
    let by = caller.0.initiator();
    let request = intake::undo_of(&state.directory, &state.store, &run, undo, &by).await?;
    let verdict = verdict::ask_as(&state, Action::RunUndone, request).await?;
    Ok(verdicts::told(&verdict, "The plan of an undo")
        .redirect(&format!("/restore/{}", verdicts::run_of(&verdict))))
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::super::items::tests::{item, items};
    use super::*;
    use crate::admin::samples;
    use crate::domain::operation::Operation;
    use crate::domain::restore::Widening;
    use crate::ids::WorkspaceId;

    fn plan(outcome: Outcome) -> Plan {
        let mut run = samples::run(RunId(9), Map::new());
        run.outcome = outcome;
        let raw = json!({"snapshot_id": 5, "dry_run": true});
        let Ok(Inputs::Restore(inputs)) = Inputs::normalise(Operation::Restore, &raw) else {
            panic!("inputs of a restore")
        };
        let tenant = Tenant {
            id: TenantId(3),
            workspace_id: WorkspaceId(1),
            workspace_slug: "w".into(),
            external_id: uuid::Uuid::nil(),
            name: "<Contoso>".into(),
            cloud: "global".into(),
            credential: "c".into(),
            created_at: run.created_at,
            updated_at: run.created_at,
        };
        Plan { run, tenant, inputs, undo_of: None }
    }

    fn shown(outcome: Outcome, list: Vec<crate::store::RestoreItem>) -> String {
        let items = items(list);
        content(&plan(outcome), &items, items.guard(1), &Visit::default()).into_string()
    }

    #[test]
    fn what_widens_cannot_be_confirmed_without_a_tick() {
        let text = shown(Outcome::Succeeded, vec![item(ItemState::Planned, vec![Widening::ExclusionLost])]);
        assert!(text.contains("name=\"allow_widening\"") && text.contains("required"), "{text}");
        assert!(text.contains("Write 1 policy to &lt;Contoso&gt;?"), "{text}");
    }

    #[test]
    fn what_does_not_widen_needs_no_tick() {
        let text = shown(Outcome::Succeeded, vec![item(ItemState::Planned, vec![Widening::TargetAdded])]);
        assert!(!text.contains("allow_widening") && text.contains("Write 1 policy</button>"), "{text}");
    }

    #[test]
    fn more_policies_than_are_written_at_once_need_a_tick() {
        let two = vec![item(ItemState::Planned, vec![]), item(ItemState::Planned, vec![])];
        let text = shown(Outcome::Succeeded, two);
        assert!(text.contains("name=\"allow_widening\"") && text.contains("restore.policies_max"), "{text}");
    }

    #[test]
    fn a_daemon_that_only_shows_offers_no_click() {
        let items = items(vec![item(ItemState::Planned, vec![])]);
        let visit = Visit { read_only: true, ..Visit::default() };
        let text = content(&plan(Outcome::Succeeded), &items, None, &visit).into_string();
        assert!(text.contains("What will be written") && !text.contains("<form"), "{text}");
    }

    #[test]
    fn a_plan_that_failed_or_writes_nothing_has_no_button() {
        for text in [
            shown(Outcome::Failed, vec![item(ItemState::Planned, vec![])]),
            shown(Outcome::Succeeded, vec![]),
        ] {
            assert!(text.contains("<h1>Nothing to confirm") && !text.contains("<form"), "{text}");
            assert!(!text.contains("exactly what will be written") && !text.contains("Write 0"), "{text}");
        }
    }
}
