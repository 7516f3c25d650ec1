//! Runs as rows of a table, on every page that lists some.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::actors::Progress;
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::admin::web::parts::{badges, figures, progress, times, words};
use crate::clock::Instant;
use crate::domain::run::{Run, Status};

/// A run, with what its row in the ledger does not say.
#[derive(Clone, Debug)]
pub struct Row {
    /// The run.
    pub run: Run,
    /// Its tenant's name.
    pub tenant: Option<String>,
    /// How far it is, while it executes here.
    pub progress: Option<Progress>,
}

/// Rows of runs, in their order.
///
/// # Errors
/// What the ledger answers.
pub async fn rows_of(state: &AdminState, runs: Vec<Run>) -> Result<Vec<Row>, Problem> {
    let ids: BTreeSet<_> = runs.iter().filter_map(|run| run.tenant_id).collect();
    let names = state.store.tenant_names(ids.into_iter().collect()).await?;
    let row = |run: Run| {
        let tenant = run.tenant_id.and_then(|id| names.get(&id).cloned());
        let progress = (run.status == Status::Running).then(|| state.handle.progress(run.id)).flatten();
        Row { run, tenant, progress }
    };
    Ok(runs.into_iter().map(row).collect())
}

/// The table.
pub fn table(caption: &str, rows: &[Row], now: Instant) -> Markup {
    html! {
        table.table.cards {
            caption.hidden-visually { (caption) }
            thead {
                tr {
                    th scope="col" { "Run" }
                    th scope="col" { "Tenant" }
                    th scope="col" { "State" }
                    th scope="col" { "Result" }
                    th scope="col" { "By" }
                    th scope="col" { "Asked" }
                    th scope="col" { "Took" }
                    th.num scope="col" title="Requests that the run answered instead of a run of their own" { "Refused" }
                }
            }
            tbody { @for row in rows { (line(row, now)) } }
        }
    }
}

fn line(row: &Row, now: Instant) -> Markup {
    let run = &row.run;
    html! {
        tr id={ "run-" (run.id) } {
            th.nowrap scope="row" {
                a.id href={ "/runs/" (run.id) } { "#" (run.id) } " "
                span title=(run.operation) { (words::kind(run)) }
            }
            td data-label="Tenant" { (tenant(row)) }
            td data-label="State" {
                (badges::run(run))
                @if let Some(failure) = run.failure_summary.first() { " " span.code.muted { (failure.code) } }
            }
            td data-label="Result" class=[is_silent(run).then_some("none")] { (progress::cell(run, row.progress.as_ref(), now)) }
            td.wrap data-label="By" { (run.initiator_name) }
            td.nowrap data-label="Asked" { (times::relative(run.created_at, now)) }
            td.nowrap data-label="Took" class=[run.started_at.is_none().then_some("none")] { (took(run, now)) }
            td.num data-label="Refused" class=[(run.duplicate_count == 0).then_some("none")] {
                @if run.duplicate_count > 0 { a href={ "/runs/" (run.id) "#refused" } { (figures::signed(run.duplicate_count)) } }
            }
        }
    }
}

fn is_silent(run: &Run) -> bool {
    run.status == Status::Completed && words::result(run).is_empty()
}

/// The tenant's name as a link; a workspace's own run has none.
pub fn tenant(row: &Row) -> Markup {
    match (row.run.tenant_id, &row.tenant) {
        (Some(id), Some(name)) => html! { a href={ "/tenants/" (id) } { (name) } },
        (Some(id), None) => html! { "tenant " (id) },
        (None, _) => html! { span.muted { "whole workspace" } },
    }
}

/// How long a run took, or has taken so far.
pub fn took(run: &Run, now: Instant) -> Markup {
    match (run.started_at, run.completed_at) {
        (Some(from), Some(to)) => html! { (times::took(to - from)) },
        (Some(from), None) => times::running_since(from, now),
        (None, _) => html! {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::{Code, Failure};
    use crate::domain::run::{Outcome, fixture};

    #[test]
    fn a_row_escapes_names_and_tells_the_first_code() {
        let mut run = fixture(Status::Completed);
        run.outcome = Outcome::Failed;
        run.initiator_name = "<img src=x>".to_owned();
        run.failure_summary = vec![Failure::new(Code::GraphThrottled, "throttled")];
        run.duplicate_count = 1234;
        let row = Row { tenant: Some("A <b>".to_owned()), progress: None, run };
        let text = table("Runs", &[row], Instant::from_micros(5_000_000).unwrap()).into_string();
        assert!(!text.contains("<img") && !text.contains("<b>"), "{text}");
        for shown in
            ["graph.throttled", "1\u{202f}234", "failed", "<caption", "scope=\"col\"", "scope=\"row\""]
        {
            assert!(text.contains(shown), "{shown} in {text}");
        }
    }
}
