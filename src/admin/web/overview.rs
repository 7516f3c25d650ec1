//! The overview: which tenants are fresh, what runs, what failed and why; and what the ledger spared everybody.

use std::collections::BTreeMap;

use actix_web::{get, web};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Tab};
use super::parts::badges::{self, Tone};
use super::parts::chart::{Bucket, Chart};
use super::parts::{figures, health, links, notes, progress, times, words};
use super::{Html, Visit};
use crate::actors::Progress;
use crate::admin::AdminState;
use crate::admin::auth::Viewer;
use crate::admin::problem::Problem;
use crate::clock::Instant;
use crate::domain::counts::CountKey;
use crate::domain::health::Health;
use crate::domain::run::{Outcome, Run, Status};
use crate::ids::{RunId, TenantId, WorkspaceId};
use crate::store::{
    Ended, FailureGroup, FailureGroups, FailureQuery, OPEN_COUNTED_MAX, Open, Page, PageRequest, RunQuery,
    TenantHealth, TenantSearch,
};

/// LIMIT: squares of the map; what is more is said.
const TENANTS_MAX: usize = 2_000;
/// LIMIT: lines of each list.
const LINES_MAX: usize = 8;

/// Which time the chart shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Span {
    /// 24 hours.
    #[default]
    #[serde(rename = "24h")]
    Hours,
    /// 7 days.
    #[serde(rename = "7d")]
    Week,
    /// 30 days.
    #[serde(rename = "30d")]
    Month,
}

impl Span {
    const ALL: [Self; 3] = [Self::Hours, Self::Week, Self::Month];

    const fn word(self) -> &'static str {
        match self {
            Self::Hours => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    const fn buckets(self) -> (Bucket, i64) {
        match self {
            Self::Hours => (Bucket::Hour, 24),
            Self::Week => (Bucket::Day, 7),
            Self::Month => (Bucket::Day, 30),
        }
    }
}

/// How to look.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OverviewQuery {
    span: Span,
}

/// What the page shows.
struct Overview {
    now: Instant,
    span: Span,
    chart: Chart,
    tenants: Vec<TenantHealth>,
    more_tenants: bool,
    names: BTreeMap<TenantId, String>,
    open: Open,
    active: Vec<(Run, Option<Progress>)>,
    /// Runs of this process that wait for Graph, and until when.
    throttled: Vec<(Run, Instant)>,
    failures: Vec<FailureGroup>,
    /// The newest run of each of those groups.
    last_failed: BTreeMap<RunId, Run>,
    /// Runs that failed, each once.
    failed: i64,
    refused: i64,
    absorbing: Vec<Run>,
    repairs: Vec<Run>,
}

/// Shows it.
#[get("/")]
pub(super) async fn show(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    query: crate::admin::body::Query<OverviewQuery>,
) -> Result<Html, Problem> {
    let view = Overview::load(&state, caller.0.workspace, query.0.span).await?;
    let shell = visit.shell("Overview", Tab::Overview).following(view.now, "").every(30);
    Ok(Html(layout::page(shell, page(&view))))
}

impl Overview {
    async fn load(state: &AdminState, workspace: Option<WorkspaceId>, span: Span) -> Result<Self, Problem> {
        let store = &state.store;
        let now = store.now().await?;
        let day = now - chrono::Duration::hours(24);
        let (bucket, count) = span.buckets();
        let lines = |limit| PageRequest { limit, cursor: None };
        let pending = RunQuery {
            workspace_id: workspace,
            outcome: Some(Outcome::Pending),
            page: lines(LINES_MAX),
            ..RunQuery::default()
        };
        let failures = |code| FailureQuery {
            groups: FailureGroups { code, operation: true, tenant: false },
            code: None,
            workspace_id: workspace,
            tenant_id: None,
            operation: None,
            since: day,
            limit: LINES_MAX,
        };
        let search = TenantSearch { workspace, ..TenantSearch::default() };
        let (counted, tenants, open, active, throttled, failures, failed, refused, absorbing, repairs) = tokio::try_join!(
            counted(state, workspace, now, bucket, count),
            store.tenant_health(search, lines(TENANTS_MAX)),
            store.open_runs(workspace),
            store.runs(pending),
            throttled(state, workspace, now),
            store.failures(failures(true)),
            store.failures(failures(false)),
            store.refused_since(workspace, day),
            store.absorbing_runs(workspace, LINES_MAX / 2),
            store.repairing_passes(workspace, day, LINES_MAX),
        )?;
        let Page { items: tenants, next_cursor } = tenants;
        let active = active.items.into_iter().map(|run| {
            let progress = (run.status == Status::Running).then(|| state.handle.progress(run.id)).flatten();
            (run, progress)
        });
        let mut active: Vec<_> = active.collect();
        let last = failures.groups.iter().map(|group| group.last_run).collect();
        let last_failed = store.runs_by_id(last).await?;
        // What executes before what waits.
        active.sort_by_key(|(run, _)| run.status != Status::Running);
        Ok(Self {
            now,
            span,
            chart: Chart::until(now, bucket, count, &counted),
            names: tenants.iter().map(|tenant| (tenant.id, tenant.name.clone())).collect(),
            tenants,
            more_tenants: next_cursor.is_some(),
            open,
            active,
            throttled,
            failures: failures.groups,
            last_failed: last_failed.into_iter().map(|run| (run.id, run)).collect(),
            failed: failed.groups.iter().map(|group| group.runs).sum(),
            refused,
            absorbing,
            repairs,
        })
    }

    fn about(&self, run: &Run) -> Markup {
        html! {
            @match run.tenant_id {
                Some(tenant) => a href={ "/tenants/" (tenant) } {
                    @match self.names.get(&tenant) { Some(name) => (name), None => { "tenant " (tenant) } }
                },
                None => span.muted { "workspace " (run.workspace_id) },
            }
        }
    }

    fn count(&self, wanted: Health) -> usize {
        self.tenants.iter().filter(|tenant| health::of(tenant, self.now) == wanted).count()
    }
}

/// Runs that execute here and wait for Graph, the longest wait first.
async fn throttled(
    state: &AdminState,
    workspace: Option<WorkspaceId>,
    now: Instant,
) -> Result<Vec<(Run, Instant)>, crate::store::StoreError> {
    let waits = state.handle.progresses().into_iter().filter_map(|(run, progress)| {
        progress.throttled_until.filter(|until| *until > now).map(|until| (run, until))
    });
    let waits: BTreeMap<RunId, Instant> = waits.collect();
    if waits.is_empty() {
        return Ok(Vec::new());
    }
    let runs = state.store.runs_by_id(waits.keys().copied().collect()).await?;
    let seen = runs.into_iter().filter(|run| workspace.is_none_or(|own| own == run.workspace_id));
    let mut waiting: Vec<_> = seen.filter_map(|run| waits.get(&run.id).map(|until| (run, *until))).collect();
    waiting.sort_by_key(|(_, until)| std::cmp::Reverse(*until));
    Ok(waiting)
}

async fn counted(
    state: &AdminState,
    workspace: Option<WorkspaceId>,
    now: Instant,
    bucket: Bucket,
    count: i64,
) -> Result<Vec<Ended>, crate::store::StoreError> {
    let count = count - 1;
    match bucket {
        Bucket::Hour => state.store.ended_by_hour(workspace, now - chrono::Duration::hours(count)).await,
        Bucket::Day => state.store.ended_by_day(workspace, None, now - chrono::Duration::days(count)).await,
    }
}

/// Runs that a pass of reconcile brought to an end or back into the queue.
fn repaired(pass: &Run) -> u64 {
    [CountKey::Updated, CountKey::Created, CountKey::Failed]
        .into_iter()
        .map(|key| pass.summary_counts.get(key))
        .sum()
}

fn page(view: &Overview) -> Markup {
    html! {
        div.head { h1 { "Overview" } }
        div #overview data-part .stack {
            (headline(view))
            div.columns {
                div.stack { (tenants(view)) (over_time(view)) }
                div.stack { (failures(view)) (running(view)) (throttle(view)) (spared(view)) (reconciled(view)) }
            }
        }
    }
}

/// The whole in one line of figures.
fn headline(view: &Overview) -> Markup {
    let failing = view.count(Health::Failing);
    let at_least = view.open.queued + view.open.running >= OPEN_COUNTED_MAX;
    let queued = format!("{}{}", if at_least { "at least " } else { "" }, figures::signed(view.open.queued));
    html! {
        section.panel aria-label="In figures" {
            div.body {
                dl.stats {
                    (stat("tenants fresh", "/tenants", &fresh(view), false))
                    (stat("tenants failing", "/tenants", &failing.to_string(), failing > 0))
                    (stat("running", "/runs?status=running", &figures::signed(view.open.running), false))
                    (stat("queued", "/runs?status=queued", &queued, false))
                    (stat("failed runs since yesterday 00:00 UTC", "/failures", &figures::signed(view.failed), view.failed > 0))
                    (stat("duplicate requests spared in 24 h", "#refused", &figures::signed(view.refused), false))
                }
            }
        }
    }
}

/// How many tenants are fresh, of how many.
fn fresh(view: &Overview) -> String {
    let of = figures::count(view.tenants.len() as u64);
    let more = if view.more_tenants { "+" } else { "" };
    format!("{} of {of}{more}", figures::count(view.count(Health::Fresh) as u64))
}

/// A figure, and where it is told in full.
fn stat(label: &str, to: &str, figure: &str, bad: bool) -> Markup {
    html! { div.bad[bad] { dt { (label) } dd { a href=(to) { (figure) } } } }
}

fn tenants(view: &Overview) -> Markup {
    html! {
        section.panel aria-labelledby="tenants" {
            header { h2 #tenants { "Tenants" } div.actions { a href="/tenants" { "All tenants" } } }
            div.body {
                @if view.tenants.is_empty() {
                    (notes::no_tenants())
                } @else {
                    (health::map(&view.tenants, view.now))
                    @if view.more_tenants {
                        p.muted { "The first " (view.tenants.len()) " by name; the others are in the list." }
                    }
                }
            }
        }
    }
}

fn over_time(view: &Overview) -> Markup {
    html! {
        section.panel aria-labelledby="over-time" {
            header {
                h2 #over-time { "Runs over time" }
                nav.actions aria-label="How far back" {
                    @for span in Span::ALL {
                        a.button.small href={ "/?span=" (span.word()) }
                            aria-current=[(span == view.span).then_some("true")] { (span.word()) }
                    }
                }
            }
            div.body { (view.chart) }
        }
    }
}

fn running(view: &Overview) -> Markup {
    html! {
        section.panel aria-labelledby="running" {
            header { h2 #running { "What runs" } div.actions { a href="/runs?outcome=pending" { "All open runs" } } }
            @if view.active.is_empty() {
                (notes::empty("Nothing runs", html! { p { "No run is queued or executing." } }))
            } @else {
                ul.rows {
                    @for (run, progress) in &view.active {
                        li #{ "run-" (run.id) } {
                            div.line {
                                (badges::run(run))
                                a.id href={ "/runs/" (run.id) } { "#" (run.id) }
                                span.what { (words::kind(run)) " " (of(view, run)) }
                                span.muted.end { (times::running_since(run.started_at.unwrap_or(run.created_at), view.now)) }
                            }
                            @if let Some(progress) = progress { (progress::bar(run, Some(progress))) }
                        }
                    }
                }
            }
        }
    }
}

fn of(view: &Overview, run: &Run) -> Markup {
    html! { "of " (view.about(run)) }
}

/// Who waits for Graph, and until when; nothing where nobody does.
fn throttle(view: &Overview) -> Markup {
    html! {
        @if !view.throttled.is_empty() {
            section.panel aria-labelledby="throttled" {
                header { h2 #throttled { "Waiting for Graph" } }
                ul.rows {
                    @for (run, until) in view.throttled.iter().take(LINES_MAX) {
                        li {
                            div.line {
                                (badges::badge(Tone::Warn, "throttled"))
                                a.id href={ "/runs/" (run.id) } { "#" (run.id) }
                                span { (words::kind(run)) " " (of(view, run)) }
                                span.end { "until " (times::clock(*until)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn failures(view: &Overview) -> Markup {
    html! {
        section.panel aria-labelledby="failures" {
            header {
                h2 #failures { "What failed, and why" }
                div.actions { a href="/failures" { "All failures" } }
            }
            @if view.failures.is_empty() {
                (notes::empty("Nothing failed", html! { p { "No run has failed since yesterday, 00:00 UTC." } }))
            } @else {
                ul.rows {
                    @for group in &view.failures {
                        li { (failed(view, group)) }
                    }
                }
            }
        }
    }
}

/// What failed in one way: how often, whose was the last, and what to do.
fn failed(view: &Overview, group: &FailureGroup) -> Markup {
    html! {
        div.line {
            (badges::badge(Tone::Bad, &figures::counted(group.runs.unsigned_abs(), "run", "runs")))
            @if let Some(code) = group.code {
                a.code href=(links::address("/failures", &[("code", Some(code.as_str()))])) { (code) }
            }
            @if let Some(operation) = group.operation { span { (words::operation(operation)) } }
        }
        div.small {
            "last " a.id href={ "/runs/" (group.last_run) } { "#" (group.last_run) }
            @if let Some(run) = view.last_failed.get(&group.last_run) { " " (of(view, run)) }
            ", " (times::relative(group.last_at, view.now))
        }
        @if let Some(code) = group.code { p.small.muted { (code.advice()) } }
    }
}

/// What was refused: work that nobody had to do twice.
fn spared(view: &Overview) -> Markup {
    html! {
        section.panel aria-labelledby="refused" {
            header { h2 #refused { "Duplicate requests spared" } }
            div.body {
                @if view.refused == 0 {
                    p.muted { "No request of the last 24 hours asked for what ran already, or had just run." }
                } @else {
                    p {
                        strong { (figures::counted(view.refused.unsigned_abs(), "request", "requests")) }
                        " of the last 24 hours asked for what ran already, or had just run. Nothing was started for them: the answer was that run."
                    }
                }
            }
            @if !view.absorbing.is_empty() {
                ul.rows {
                    @for run in &view.absorbing {
                        li {
                            div.line {
                                (badges::run(run))
                                a.id href={ "/runs/" (run.id) } { "#" (run.id) }
                                span { (words::kind(run)) " " (of(view, run)) }
                                span.end { "absorbed " strong { (figures::signed(run.duplicate_count)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn reconciled(view: &Overview) -> Markup {
    html! {
        section.panel aria-labelledby="repairs" {
            header { h2 #repairs { "Repairs" } div.actions { a href="/runs?type=ops.reconcile_adapter_runs" { "All passes" } } }
            @if view.repairs.is_empty() {
                div.body { p.muted { "Reconcile found nothing to repair in the last 24 hours." } }
            } @else {
                ul.rows {
                    @for pass in &view.repairs {
                        li {
                            div.line {
                                (badges::badge(Tone::Warn, &figures::counted(repaired(pass), "run", "runs")))
                                a.id href={ "/runs/" (pass.id) } { "#" (pass.id) }
                                span { "brought in order in workspace " (pass.workspace_id) }
                                span.muted.end { (times::relative(pass.created_at, view.now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::admin::samples;
    use crate::domain::failure::Code;
    use crate::domain::operation::Operation;

    fn now() -> Instant {
        Instant::from_micros(1_700_000_000_000_000).expect("within the calendar")
    }

    fn view() -> Overview {
        Overview {
            now: now(),
            span: Span::Hours,
            chart: Chart::until(now(), Bucket::Hour, 24, &[]),
            tenants: Vec::new(),
            more_tenants: false,
            names: BTreeMap::from([(TenantId(3), "<Contoso>".to_owned())]),
            open: Open::default(),
            active: Vec::new(),
            throttled: Vec::new(),
            failures: Vec::new(),
            last_failed: BTreeMap::new(),
            failed: 0,
            refused: 0,
            absorbing: Vec::new(),
            repairs: Vec::new(),
        }
    }

    #[test]
    fn an_empty_ledger_says_what_to_do() {
        let text = page(&view()).into_string();
        for words in ["atlasd tenants add", "Nothing runs", "Nothing failed", "nothing to repair"] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }

    #[test]
    fn what_failed_says_whose_it_was_last() {
        let group = FailureGroup {
            code: Some(Code::GraphThrottled),
            operation: Some(Operation::Fetch),
            scope: None,
            runs: 2,
            items: 2,
            first_at: now(),
            last_at: now(),
            last_run: RunId(9),
        };
        let last_failed = BTreeMap::from([(RunId(9), samples::run(RunId(9), Map::new()))]);
        let text = page(&Overview { failures: vec![group], last_failed, failed: 2, ..view() }).into_string();
        for shown in ["&lt;Contoso&gt;", "/failures?code=graph.throttled", "href=\"/runs/9\""] {
            assert!(text.contains(shown), "{shown} in {text}");
        }
    }

    #[test]
    fn a_run_shows_its_tenant_its_progress_and_its_throttle() {
        let mut run = samples::run(RunId(9), Map::new());
        run.status = Status::Running;
        run.started_at = Some(now());
        let progress = Progress {
            types_done: 2,
            types_total: 8,
            throttled_until: Some(now() + chrono::Duration::seconds(30)),
            ..Progress::default()
        };
        let view = Overview { active: vec![(run, Some(progress))], ..view() };
        let text = page(&view).into_string();
        assert!(text.contains("data-progress=\"9\"") && text.contains("2 of 8 types"), "{text}");
        assert!(
            text.contains("&lt;Contoso&gt;") && text.contains("waiting for Graph until 22:13:50 UTC"),
            "{text}"
        );
    }
}
