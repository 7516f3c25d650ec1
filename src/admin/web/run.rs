//! One run: how it stands, what it came to, what failed and what to do about it, its attempts, the requests that it
//! absorbed, what makes a request the same, and what can be done with it.

mod attempts;
mod identity;
mod items;

use actix_web::{HttpResponse, get, post, web};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Tab};
use super::parts::flash::Flash;
use super::parts::{badges, facts, figures, forms, progress, times, verdicts, words};
use super::runs::{Row, rows_of, took};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::auth::{Operator, Viewer};
use crate::admin::body::Query;
use crate::admin::problem::{Missing, Problem};
use crate::admin::runs::{cancel_run, retry_run, visible_run};
use crate::clock::Instant;
use crate::domain::counts::CountKey;
use crate::domain::failure::Failure;
use crate::domain::operation::Operation;
use crate::domain::run::{Attempt, Run, Status};
use crate::events::event::{Event, Told};
use crate::ids::RunId;
use crate::store::{Cancel, Role};
use identity::Explained;
use items::Items;

/// LIMIT: refused requests that are listed one by one; all are counted.
const REFUSALS_MAX: usize = 12;

/// What the page shows.
struct RunView {
    row: Row,
    attempts: Vec<Attempt>,
    refusals: Vec<Refused>,
    explained: Explained,
    items: Option<Items>,
    now: Instant,
}

/// Requests that one asker made within one window of the stream of events.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    at: Instant,
    verdict: &'static str,
    by: Option<String>,
    count: u64,
}

impl Refused {
    fn of(event: &Event) -> Option<Self> {
        let Told::Refusal(refusal) = &event.news.told else { return None };
        Some(Self {
            at: event.news.at,
            verdict: refusal.verdict,
            by: refusal.initiator_name.clone(),
            count: refusal.count,
        })
    }
}

/// Which part of a restore's items.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    items: Option<String>,
}

/// Shows a run.
#[get("/runs/{id}")]
pub async fn page(
    visit: Visit,
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<RunId>,
    part: Query<Part>,
) -> Result<Html, Problem> {
    let run = visible_run(&state, &caller.0, *id).await?;
    let now = state.store.now().await?;
    let attempts = state.store.attempts(run.id).await?;
    let explained = Explained::of(&state, &caller.0, &run, now).await?;
    let items = Items::load(&state, &run, part.0.items).await?;
    let refusals = state.handle.events().refusals_of(run.id, REFUSALS_MAX);
    let refusals = refusals.iter().filter_map(|event| Refused::of(event)).collect();
    let mut rows = rows_of(&state, vec![run]).await?;
    let row =
        rows.pop().ok_or_else(|| Problem::broken_invariant("expected one row for one run, found none"))?;
    let title = format!("Run {}", row.run.id);
    let view = RunView { row, attempts, refusals, explained, items, now };
    let shell = visit.shell(&title, Tab::Runs).following(now, format!("?run_id={}", view.row.run.id));
    Ok(Html(layout::page(shell, content(&view, &visit))))
}

/// Cancels a run.
#[post("/runs/{id}/cancel")]
pub async fn cancel(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<RunId>,
) -> Result<HttpResponse, Problem> {
    let flash = match cancel_run(&state, &caller.0, *id).await? {
        Cancel::Completed(_) => Flash::good("The run was queued and is cancelled now."),
        Cancel::Requested(_) => Flash::good("The run stops at its next safe point, within 5 seconds."),
        Cancel::AlreadyCompleted(_) => {
            Flash::warn("There was nothing to cancel: the run had completed before.")
        }
        Cancel::NotFound => return Err(Problem::not_found(Missing::Run)),
    };
    Ok(flash.redirect(&format!("/runs/{id}")))
}

/// Asks for the same run again, whatever its cooldown. A restore that writes is planned again first: the page writes
/// nothing that nobody has looked at.
#[post("/runs/{id}/retry")]
pub async fn retry(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<RunId>,
) -> Result<HttpResponse, Problem> {
    let run = visible_run(&state, &caller.0, *id).await?;
    if words::writes(&run) {
        let words = "Nothing was started: a restore is planned again first, then looked at and confirmed.";
        return Ok(Flash::warn(words).redirect(&format!("/runs/{id}")));
    }
    Ok(verdicts::to_run(&retry_run(&state, &caller.0, run.id).await?, "The same"))
}

fn content(view: &RunView, visit: &Visit) -> Markup {
    let run = &view.row.run;
    html! {
        // One part: everything in it follows the run.
        div.stack data-part id={ "run-" (run.id) } {
            (head(view, visit))
            div.columns {
                div.stack {
                    @if !run.failure_summary.is_empty() { (failures(&run.failure_summary)) }
                    (outcome(view))
                    @if let Some(items) = &view.items { (items.panel(run)) }
                    (attempts::panel(run, &view.attempts, view.now))
                    (context(run))
                }
                div.stack {
                    (view.explained.panel(run, view.now))
                    (refused(view))
                }
            }
        }
    }
}

fn head(view: &RunView, visit: &Visit) -> Markup {
    let run = &view.row.run;
    html! {
        div.head {
            nav.crumbs aria-label="Where this is" { a href="/runs" { "Runs" } " / " span aria-current="page" { "#" (run.id) } }
            h1 { "Run #" (run.id) " · " (words::kind(run)) }
            (badges::run(run))
            @if visit.may(Role::Operator) { div.actions { (actions(run, visit)) } }
        }
    }
}

/// What can be done with a run.
fn actions(run: &Run, visit: &Visit) -> Markup {
    let address = |verb: &str| format!("/runs/{}/{verb}", run.id);
    html! {
        @if run.status != Status::Completed && run.cancel_requested_at.is_none() {
            (forms::button(visit, &address("cancel"), "Cancel run", "danger"))
        }
        @if run.status == Status::Completed {
            @match run.operation {
                Operation::Fetch => (forms::button(visit, &address("retry"), "Fetch again (skips the cooldown)", "primary")),
                Operation::Reconcile => (forms::button(visit, &address("retry"), "Reconcile again", "primary")),
                Operation::Restore => {
                    @if let Some(plan) = plan_again(run) { a.button href=(plan) { "Plan it again" } }
                    a.button.primary href={ "/restore/" (run.id) } {
                        @if words::writes(run) { "What it changed, and undo" } @else { "Open the plan" }
                    }
                },
            }
        }
    }
}

/// Where a restore is planned again with the same choice; an undo is planned from the restore that it undoes.
fn plan_again(run: &Run) -> Option<String> {
    let snapshot = run.context.get("inputs")?.get("snapshot_id")?.as_i64()?;
    (!run.context.contains_key("undo_of"))
        .then(|| format!("/restore/new?snapshot={snapshot}&plan={}", run.id))
}

/// How it stands, in facts.
fn outcome(view: &RunView) -> Markup {
    let run = &view.row.run;
    html! {
        section.panel aria-labelledby="outcome" {
            header { h2 #outcome { @if run.status == Status::Completed { "What it did" } @else { "What it does" } } }
            div.body.stack {
                @if run.status == Status::Running { (progress::bar(run, view.row.progress.as_ref())) }
                @if run.status == Status::Completed { (stats(run)) }
                dl.facts {
                    dt { "Tenant" } dd { (super::runs::tenant(&view.row)) }
                    dt { "Operation" } dd { code { (run.operation) } }
                    dt { "Asked by" } dd { (run.initiator_name) }
                    dt { "Asked" } dd { (times::at(run.created_at)) }
                    @if let Some(at) = run.started_at { dt { "Started" } dd { (times::at(at)) } }
                    @if let Some(at) = run.completed_at { dt { "Ended" } dd { (times::at(at)) } }
                    @if run.started_at.is_some() { dt { @if run.completed_at.is_some() { "Took" } @else { "So far" } } dd { (took(run, view.now)) } }
                    @if let Some(at) = run.next_attempt_at { dt { "Next attempt" } dd { (times::relative(at, view.now)) } }
                    @if let Some(at) = run.cancel_requested_at { dt { "Cancelled" } dd { "asked for " (times::relative(at, view.now)) } }
                    @if let Some(snapshot) = made(run) { dt { "Snapshot" } dd { a href={ "/snapshots/" (snapshot) } { "snapshot " (snapshot) } } }
                }
            }
        }
    }
}

/// The snapshot that a fetch has made.
fn made(run: &Run) -> Option<i64> {
    run.context.get("snapshot_id").and_then(serde_json::Value::as_i64)
}

fn stats(run: &Run) -> Markup {
    let counts = serde_json::to_value(&run.summary_counts).unwrap_or_default();
    let counts = counts.as_object().cloned().unwrap_or_default();
    let shown = CountKey::ALL.iter().filter(|key| **key != CountKey::Processed);
    html! {
        @if !counts.is_empty() {
            dl.stats {
                // In the order of the contract, not of the alphabet. What was processed is the sum of what follows.
                @for (key, value) in shown.filter_map(|key| counts.get_key_value(key.as_str())) {
                    div class=[(key == "failed" && value != 0).then_some("bad")] {
                        dt { (figure_of(run, key)) }
                        dd { (figures::count(value.as_u64().unwrap_or(0))) }
                    }
                }
            }
        }
    }
}

/// What a count of a run is called, by what its operation counts (section 6 of the contract).
fn figure_of<'a>(run: &Run, key: &'a str) -> &'a str {
    match (run.operation, key) {
        (Operation::Fetch | Operation::Restore, "total") => "policies",
        (Operation::Fetch, "succeeded") => "read",
        (Operation::Fetch, "failed") => "not read",
        (Operation::Fetch, "created") => "new",
        (Operation::Fetch, "updated") => "changed",
        (Operation::Fetch, "deleted") => "gone",
        (Operation::Fetch, "items") => "assignments",
        (Operation::Restore, "updated") => "written",
        (Operation::Restore, "skipped") => "as wanted",
        (Operation::Restore, "failed") if words::is_dry(run) => "left alone",
        (Operation::Reconcile, "total") => "candidates",
        (Operation::Reconcile, "updated") => "completed from their record",
        (Operation::Reconcile, "created") => "queued again",
        (Operation::Reconcile, "failed") => "closed as lost",
        (Operation::Reconcile, "skipped") => "left alone",
        _ => key,
    }
}

fn failures(failures: &[Failure]) -> Markup {
    html! {
        section.panel aria-labelledby="failures" {
            header { h2 #failures { "What failed, and what to do" } }
            div.body.stack {
                @for failure in failures {
                    div.note.bad {
                        strong.code { (failure.code) } " " span.wrap { (words::message(failure)) }
                        p.why { (failure.code.advice()) }
                    }
                }
            }
        }
    }
}

/// The requests that it answered instead of runs of their own.
fn refused(view: &RunView) -> Markup {
    let run = &view.row.run;
    html! {
        section.panel aria-labelledby="refused" {
            header {
                h2 #refused { "Refused requests" }
                span.badge.plain { (figures::signed(run.duplicate_count)) }
            }
            div.body {
                @match run.last_duplicate_at {
                    Some(at) => p {
                        "This run answered " (figures::counted(run.duplicate_count.unsigned_abs(), "request", "requests"))
                        " that asked for the same, the last of them " (times::relative(at, view.now)) "."
                    }
                    None => p.muted { "Nobody has asked for the same since." }
                }
                @if !view.refusals.is_empty() {
                    ul.steps {
                        @for refused in &view.refusals {
                            li.warn {
                                div.what {
                                    span { (figures::counted(refused.count, "request", "requests")) " by " strong { (refused.by.as_deref().unwrap_or("several others")) } }
                                    span.muted { "answered " code { (refused.verdict) } }
                                    (times::relative(refused.at, view.now))
                                }
                            }
                        }
                    }
                } @else if run.duplicate_count > 0 {
                    p.muted.small { "Who asked is told while somebody watches, and is not kept; the ledger keeps the count." }
                }
            }
        }
    }
}

fn context(run: &Run) -> Markup {
    html! {
        @if !run.context.is_empty() {
            section.panel aria-labelledby="context" {
                details.more {
                    summary { h2 #context { "Context" } span.muted { "what the ledger keeps with the run" } }
                    div.body { (facts::object(&run.context)) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::admin::auth::Principal;
    use crate::domain::failure::Code;
    use crate::domain::run::{Outcome, fixture};

    fn visit(role: Role) -> Visit {
        let caller = Principal { name: "t".to_owned(), role, workspace: None };
        Visit { caller: Some(Arc::new(caller)), ..Visit::default() }
    }

    fn shown(run: Run, role: Role) -> String {
        let now = Instant::from_micros(60_000_000).unwrap();
        let view = RunView {
            explained: Explained::sample(&run),
            row: Row { run, tenant: Some("Contoso".to_owned()), progress: None },
            attempts: vec![],
            refusals: vec![Refused { at: now, verdict: "cooldown", by: Some("<ci>".to_owned()), count: 2 }],
            items: None,
            now,
        };
        content(&view, &visit(role)).into_string()
    }

    #[test]
    fn what_can_be_done_depends_on_role_and_state() {
        let buttons = |status, role| {
            let text = shown(fixture(status), role);
            (text.contains("Cancel run"), text.contains("Fetch again"))
        };
        assert_eq!(buttons(Status::Queued, Role::Operator), (true, false));
        assert_eq!(buttons(Status::Running, Role::Operator), (true, false));
        assert_eq!(buttons(Status::Completed, Role::Operator), (false, true));
        for status in Status::ALL {
            assert_eq!(buttons(*status, Role::Viewer), (false, false));
        }
    }

    #[test]
    fn a_restore_that_wrote_can_be_undone_and_a_plan_cannot() {
        let mut run = fixture(Status::Completed);
        run.operation = Operation::Restore;
        assert!(shown(run.clone(), Role::Operator).contains("and undo"));
        run.context.insert("inputs".to_owned(), serde_json::json!({"dry_run": true}));
        assert!(!shown(run, Role::Operator).contains("and undo"));
    }

    #[test]
    fn a_restore_is_never_run_again_by_one_click() {
        let mut run = fixture(Status::Completed);
        run.operation = Operation::Restore;
        run.context.insert("inputs".to_owned(), serde_json::json!({"snapshot_id": 5}));
        let text = shown(run.clone(), Role::Operator);
        assert!(!text.contains("/retry"), "{text}");
        assert!(text.contains(&format!("/restore/new?snapshot=5&amp;plan={}", run.id)), "{text}");
        run.context.insert("undo_of".to_owned(), serde_json::json!(3));
        assert!(!shown(run, Role::Operator).contains("Plan it again"));
    }

    #[test]
    fn a_failure_says_what_to_do_next() {
        let mut run = fixture(Status::Completed);
        run.outcome = Outcome::Failed;
        run.failure_summary = vec![Failure::new(Code::RunCredentialsMissing, "no <credential>")];
        let text = shown(run, Role::Viewer);
        assert!(
            text.contains(Code::RunCredentialsMissing.advice()) && text.contains("no &lt;credential&gt;"),
            "{text}"
        );
        assert!(text.contains("&lt;ci&gt;"), "{text}");
    }
}
