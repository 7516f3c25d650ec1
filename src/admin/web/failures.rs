//! What failed, rolled up by code, operation and tenant: how often, since when, what to do next, and one button that asks
//! for all of it again.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, post, web};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Tab};
use super::parts::badges::{self, Tone};
use super::parts::flash::Flash;
use super::parts::links::address;
use super::parts::{figures, forms, notes, times, words};
use super::runs::{Options, operations};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::auth::{Operator, Principal, Viewer};
use crate::admin::body::{self, Query};
use crate::admin::failures::since;
use crate::admin::problem::Problem;
use crate::admin::retries::{self, RetryFailures};
use crate::admin::session::{Posted, is_local};
use crate::clock::Instant;
use crate::domain::failure::Code;
use crate::domain::operation::Operation;
use crate::ids::{TenantId, WorkspaceId};
use crate::store::{FailureGroup, FailureGroups, FailureQuery, Role};

/// LIMIT: groups on the page; the largest.
const GROUPS_MAX: usize = 100;

/// How far back one can look: value and label.
const SPANS: [(&str, &str); 4] =
    [("24h", "1 day"), ("7days", "7 days"), ("30days", "30 days"), ("90days", "90 days")];

/// What the page is filtered by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filters {
    code: Option<String>,
    r#type: Option<String>,
    tenant_id: Option<String>,
    workspace_id: Option<String>,
    since: Option<String>,
}

impl Filters {
    fn without_empty_ones(self) -> Self {
        let some = |field: Option<String>| field.filter(|value| !value.trim().is_empty());
        Self {
            code: some(self.code),
            r#type: some(self.r#type),
            tenant_id: some(self.tenant_id),
            workspace_id: some(self.workspace_id),
            since: some(self.since),
        }
    }

    fn query(&self, caller: &Principal, now: Instant) -> Result<FailureQuery, Problem> {
        let number = "the number of an id";
        let asked: Option<WorkspaceId> =
            body::parameter("workspace_id", self.workspace_id.as_deref(), number)?;
        Ok(FailureQuery {
            groups: FailureGroups { code: true, operation: true, tenant: true },
            code: body::parameter("code", self.code.as_deref(), "a reason code")?,
            workspace_id: caller.narrow(asked)?,
            tenant_id: body::parameter("tenant_id", self.tenant_id.as_deref(), number)?,
            operation: body::parameter("type", self.r#type.as_deref(), "the name of an operation")?,
            since: since(self.since.as_deref(), now)?,
            limit: GROUPS_MAX,
        })
    }

    fn is_any(&self) -> bool {
        self.named().iter().any(|(_, value)| value.is_some())
    }

    fn named(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("code", self.code.as_deref()),
            ("type", self.r#type.as_deref()),
            ("tenant_id", self.tenant_id.as_deref()),
            ("workspace_id", self.workspace_id.as_deref()),
            ("since", self.since.as_deref()),
        ]
    }

    fn form(&self, options: &Options) -> Markup {
        let same = |word: &str| (word.to_owned(), word.to_owned());
        let codes: Vec<_> = Code::ALL.iter().map(|code| same(code.as_str())).collect();
        let spans = SPANS.map(|(value, label)| (value.to_owned(), label.to_owned()));
        html! {
            form.filters role="search" aria-label="Filter failures" method="get" action="/failures" data-filter {
                (forms::select("code", "Code", "Any", &codes, self.code.as_deref()))
                (forms::select("type", "Operation", "Any", &operations(), self.r#type.as_deref()))
                (options.tenant_field(self.tenant_id.as_deref()))
                (forms::select("since", "Within", "7 days", &spans, self.since.as_deref()))
                div.actions {
                    button { "Filter" }
                    @if self.is_any() { a.button.quiet href="/failures" { "Clear" } }
                }
            }
        }
    }
}

/// What the page shows.
struct FailuresView {
    filters: Filters,
    options: Options,
    groups: Vec<FailureGroup>,
    more: bool,
    tenants: BTreeMap<TenantId, String>,
    counted_from: Instant,
    now: Instant,
}

/// Shows what failed.
#[get("/failures")]
pub async fn page(
    visit: Visit,
    caller: Viewer,
    state: web::Data<AdminState>,
    query: Query<Filters>,
) -> Result<Html, Problem> {
    let filters = query.0.without_empty_ones();
    let now = state.store.now().await?;
    let query = filters.query(&caller.0, now)?;
    let options = Options::load(&state, &caller.0).await?;
    let failures = state.store.failures(query).await?;
    let tenants = failures.groups.iter().filter_map(|group| group.scope.and_then(|(_, tenant)| tenant));
    let tenants = state.store.tenant_names(tenants.collect()).await?;
    let view = FailuresView {
        filters,
        options,
        groups: failures.groups,
        more: failures.more,
        tenants,
        counted_from: query.counted_from(),
        now,
    };
    let shell = visit.shell("Failures", Tab::Failures).following(now, "?event=run.completed");
    Ok(Html(layout::page(shell, content(&view, &visit))))
}

/// A group, as its button names it.
#[derive(Debug, Deserialize)]
pub struct Group {
    code: String,
    r#type: String,
    #[serde(default)]
    tenant_id: Option<TenantId>,
    workspace_id: WorkspaceId,
    #[serde(default)]
    since: Option<String>,
    /// The filters to come back to.
    #[serde(default)]
    back: String,
}

/// Asks again for what failed in a group. Restores are left out: each is planned again, and looked at, by itself.
#[post("/failures/retry")]
pub async fn retry(
    caller: Operator,
    state: web::Data<AdminState>,
    group: Posted<Group>,
) -> Result<HttpResponse, Problem> {
    let Group { code, r#type, tenant_id, workspace_id, since, back } = group.0;
    let is_ours = back.starts_with("/failures?") && is_local(&back);
    let to = if is_ours { back } else { "/failures".to_owned() };
    if r#type == Operation::Restore.as_str() {
        let words = "Nothing was started: a restore is planned again first, one at a time, on its own page.";
        return Ok(Flash::warn(words).redirect(&to));
    }
    let asked = RetryFailures {
        code,
        operation: Some(r#type),
        workspace_id: Some(workspace_id),
        tenant_id,
        since: since.filter(|since| !since.is_empty()),
    };
    let itself = tenant_id.is_none();
    let retried = retries::retry(&state, &caller.0, asked, itself).await?;
    let words = retried.in_words();
    let flash = if words.contains(" accepted") { Flash::good(words) } else { Flash::warn(words) };
    Ok(flash.redirect(&to))
}

fn content(view: &FailuresView, visit: &Visit) -> Markup {
    html! {
        div.head {
            h1 { "Failures" }
            p.lead { "What failed, by code, operation and tenant, with what to do next. A restore that failed is planned again on its own page. Counted since " (times::at(view.counted_from)) "." }
        }
        section.panel aria-label="Failures" {
            (view.filters.form(&view.options))
            div #groups data-part {
                @if view.groups.is_empty() {
                    (nothing(&view.filters))
                } @else {
                    (table(view, visit))
                    @if view.more { footer.hint { "There are more groups: filter to see them." } }
                }
            }
        }
    }
}

fn nothing(filters: &Filters) -> Markup {
    notes::empty(
        "Nothing failed",
        html! {
            @if filters.is_any() {
                p { "Nothing failed so in this time. Take a filter away, or look further back." }
                div.actions { a.button href="/failures" { "Clear the filters" } a.button href="/failures?since=90days" { "Look back 90 days" } }
            } @else {
                p { "No run has failed in the last 7 days." }
                div.actions { a.button href="/failures?since=90days" { "Look back 90 days" } }
            }
        },
    )
}

fn table(view: &FailuresView, visit: &Visit) -> Markup {
    html! {
        table.table.cards.failures {
            caption.hidden-visually { "Failures by code, operation and tenant, most runs first" }
            thead { tr {
                th scope="col" { "Code and next action" }
                th scope="col" { "Operation" }
                th scope="col" { "Tenant" }
                th.num scope="col" { "Runs" }
                th.num scope="col" { "Items" }
                th scope="col" { "First" }
                th scope="col" { "Last" }
                th scope="col" { span.hidden-visually { "What to do" } }
            } }
            tbody { @for group in &view.groups { (line(group, view, visit)) } }
        }
    }
}

fn line(group: &FailureGroup, view: &FailuresView, visit: &Visit) -> Markup {
    let tenant = group.scope.and_then(|(_, tenant)| tenant);
    let name = tenant.and_then(|id| view.tenants.get(&id));
    let operation = group.operation.map(words::operation).unwrap_or_default();
    html! {
        tr id={ "group-" (key(group)) } {
            th scope="row" {
                div {
                    @if let Some(code) = group.code {
                        (badges::badge(Tone::Bad, code.as_str()))
                        p.why.muted.small { (code.advice()) }
                    }
                }
            }
            td.nowrap data-label="Operation" { (operation) }
            td data-label="Tenant" {
                @match (tenant, name) {
                    (Some(id), Some(name)) => a href={ "/tenants/" (id) } { (name) },
                    (Some(id), None) => { "tenant " (id) }
                    (None, _) => span.muted { "whole workspace" },
                }
            }
            td.num data-label="Runs" { a href=(runs_of(group)) title="The runs of this tenant and operation that failed" { (figures::signed(group.runs)) } }
            td.num data-label="Items" { (figures::signed(group.items)) }
            td.nowrap data-label="First" { (times::relative(group.first_at, view.now)) }
            td.nowrap data-label="Last" {
                span { (times::relative(group.last_at, view.now)) " " a.small href={ "/runs/" (group.last_run) } { "#" (group.last_run) } }
            }
            td.right { @if visit.may(Role::Operator) { (next(group, view, visit)) } }
        }
    }
}

/// What tells one group from the others.
fn key(group: &FailureGroup) -> String {
    let code = group.code.map(Code::as_str).unwrap_or_default().replace('.', "-");
    let operation = group.operation.map(words::operation).unwrap_or_default();
    let (workspace, tenant) =
        group.scope.map_or((0, 0), |(workspace, tenant)| (workspace.0, tenant.map_or(0, |id| id.0)));
    format!("{code}-{operation}-{workspace}-{tenant}")
}

fn runs_of(group: &FailureGroup) -> String {
    let (workspace, tenant) = match group.scope {
        Some((workspace, tenant)) => (Some(workspace.to_string()), tenant.map(|id| id.to_string())),
        None => (None, None),
    };
    // A tenant is of one workspace: naming both would only make the address longer.
    let workspace = workspace.filter(|_| tenant.is_none());
    address(
        "/runs",
        &[
            ("workspace_id", workspace.as_deref()),
            ("tenant_id", tenant.as_deref()),
            ("type", group.operation.map(Operation::as_str)),
            ("outcome", Some("failed")),
        ],
    )
}

/// What can be done about a group at once. Restores are no part of a bulk retry: what writes is looked at first.
fn next(group: &FailureGroup, view: &FailuresView, visit: &Visit) -> Markup {
    if group.operation == Some(Operation::Restore) {
        return html! {
            a.button.small href={ "/restore/" (group.last_run) }
                title="Restores are not retried together: each is planned again and confirmed" { "Open the last" }
        };
    }
    button(group, view, visit)
}

fn button(group: &FailureGroup, view: &FailuresView, visit: &Visit) -> Markup {
    let (Some(code), Some(operation), Some((workspace, tenant))) = (group.code, group.operation, group.scope)
    else {
        return html! {};
    };
    let word = if group.runs == 1 { "Retry" } else { "Retry all" };
    let whose = tenant.map(|id| view.tenants.get(&id).cloned().unwrap_or_else(|| format!("tenant {id}")));
    let named = format!("{word}: {code} of {}", whose.as_deref().unwrap_or("the whole workspace"));
    html! {
        form.inline method="post" action="/failures/retry" {
            (forms::csrf(visit))
            input type="hidden" name="code" value=(code);
            input type="hidden" name="type" value=(operation);
            input type="hidden" name="workspace_id" value=(workspace);
            @if let Some(tenant) = tenant { input type="hidden" name="tenant_id" value=(tenant); }
            @if let Some(since) = &view.filters.since { input type="hidden" name="since" value=(since); }
            input type="hidden" name="back" value=(address("/failures", &view.filters.named()));
            button.small aria-label=(named) title="Asks again for every request whose latest run failed so" { (word) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::RunId;

    fn view() -> FailuresView {
        let at = Instant::from_micros(1_000_000).unwrap();
        FailuresView {
            filters: Filters { since: Some("24h".to_owned()), ..Filters::default() },
            options: Options::default(),
            groups: vec![FailureGroup {
                code: Some(Code::GraphThrottled),
                operation: Some(Operation::Fetch),
                scope: Some((WorkspaceId(2), Some(TenantId(5)))),
                runs: 3,
                items: 40,
                first_at: at,
                last_at: at,
                last_run: RunId(9),
            }],
            more: false,
            tenants: BTreeMap::from([(TenantId(5), "A <b>".to_owned())]),
            counted_from: at,
            now: at,
        }
    }

    fn shown(role: Role) -> String {
        shown_of(&view(), role)
    }

    fn shown_of(view: &FailuresView, role: Role) -> String {
        let caller = Principal { name: "t".to_owned(), role, workspace: None };
        let visit = Visit { caller: Some(Arc::new(caller)), csrf: "c5rf".to_owned(), ..Visit::default() };
        content(view, &visit).into_string()
    }

    #[test]
    fn a_group_says_what_to_do_and_leads_to_its_runs() {
        let text = shown(Role::Viewer);
        assert!(text.contains(Code::GraphThrottled.advice()) && text.contains("A &lt;b&gt;"), "{text}");
        assert!(text.contains("/runs?tenant_id=5&amp;type=assignments.fetch&amp;outcome=failed"), "{text}");
    }

    #[test]
    fn only_who_may_asks_again() {
        assert!(!shown(Role::Viewer).contains("Retry all"));
        let text = shown(Role::Operator);
        assert!(text.contains("Retry all") && text.contains("value=\"c5rf\""), "{text}");
        assert!(
            text.contains("name=\"tenant_id\" value=\"5\"") && text.contains("name=\"since\" value=\"24h\""),
            "{text}"
        );
        assert!(text.contains("Retry all: graph.throttled of A &lt;b&gt;"), "a button says whose: {text}");
    }

    #[test]
    fn one_run_is_not_called_all_and_restores_are_not_retried_together() {
        let mut view = view();
        view.groups[0].runs = 1;
        assert!(!shown_of(&view, Role::Operator).contains("Retry all"));
        view.groups[0].operation = Some(Operation::Restore);
        let text = shown_of(&view, Role::Operator);
        assert!(!text.contains("/failures/retry") && text.contains("href=\"/restore/9\""), "{text}");
    }
}
