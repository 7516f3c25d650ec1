//! One tenant: health, permissions as far as runs have learnt them, the last snapshot, policies, what changed since.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, post, web};
use maud::{Markup, html};
use serde_json::Value;

use super::layout::{self, Tab};
use super::parts::badges::{self, Tone};
use super::parts::chart::{Bucket, Chart};
use super::parts::snapshots::Scopes;
use super::parts::{figures, forms, health, notes, snapshots, times, verdicts, words};
use super::{Html, Visit};
use crate::admin::AdminState;
use crate::admin::auth::{Operator, Principal, Viewer};
use crate::admin::problem::{Missing, Problem};
use crate::admin::tenants::visible_tenant;
use crate::admin::verdict;
use crate::clock::Instant;
use crate::domain::failure::Code;
use crate::domain::operation::Operation;
use crate::domain::policy_types;
use crate::domain::run::Run;
use crate::ids::{SnapshotId, TenantId};
use crate::intake::{self, RunRequest};
use crate::store::{PageRequest, Role, RunQuery, Snapshot, Tenant, TenantHealth, TenantSearch};

/// LIMIT: snapshots and runs that are listed here; the whole lists are a page each.
const LISTED_MAX: usize = 8;
/// Days of the chart.
const DAYS: i64 = 30;

/// What the page shows.
struct View {
    now: Instant,
    tenant: Tenant,
    health: TenantHealth,
    /// The newest of everything.
    last: Option<Snapshot>,
    /// The newest of all kinds.
    snapshots: Vec<Snapshot>,
    scopes: Scopes,
    policies: Vec<(String, i64)>,
    runs: Vec<Run>,
    chart: Chart,
    permissions: Permissions,
}

/// Shows a tenant.
#[get("/tenants/{id}")]
pub(super) async fn show(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    id: web::Path<TenantId>,
) -> Result<Html, Problem> {
    let view = load(&state, &caller.0, *id).await?;
    let name = view.tenant.name.clone();
    let events = format!("?tenant_id={}", view.tenant.id);
    let shell = visit.shell(&name, Tab::Tenants).following(view.now, events).every(60);
    Ok(Html(layout::page(shell, content(&view, &visit))))
}

/// Asks for a fetch of everything.
#[post("/tenants/{id}/fetch")]
pub(super) async fn fetch(
    caller: Operator,
    state: web::Data<AdminState>,
    id: web::Path<TenantId>,
) -> Result<HttpResponse, Problem> {
    let tenant = visible_tenant(&state, &caller.0, *id).await?;
    let request = RunRequest {
        operation: Operation::Fetch.as_str().to_owned(),
        tenant_id: Some(tenant.id),
        ..RunRequest::default()
    };
    let by = caller.0.initiator();
    let limit = state.config().admission.context_bytes_max;
    let request = intake::run_request(&state.directory, &state.store, &by, request, limit).await?;
    Ok(verdicts::to_run(&verdict::ask(&state, request).await?, "A fetch"))
}

async fn load(state: &AdminState, caller: &Principal, id: TenantId) -> Result<View, Problem> {
    let store = &state.store;
    let tenant = visible_tenant(state, caller, id).await?;
    let now = store.now().await?;
    let page = |limit| PageRequest { limit, cursor: None };
    let runs = |operation| RunQuery {
        tenant_id: Some(tenant.id),
        operation,
        page: page(LISTED_MAX),
        ..RunQuery::default()
    };
    let search = TenantSearch { tenant: Some(tenant.id), ..TenantSearch::default() };
    let since = now - chrono::Duration::days(DAYS - 1);
    let (found, snapshots, policies, newest, restores, days) = tokio::try_join!(
        store.tenant_health(search, page(1)),
        store.snapshots(tenant.id, page(LISTED_MAX)),
        store.policy_counts(tenant.id),
        store.runs(runs(None)),
        store.runs(runs(Some(Operation::Restore))),
        store.ended_by_day(Some(tenant.workspace_id), Some(tenant.id), since),
    )?;
    let health = found.items.into_iter().next().ok_or_else(|| Problem::not_found(Missing::Tenant))?;
    let scopes = Scopes::load(state, &snapshots.items).await?;
    Ok(View {
        now,
        last: last(state, &snapshots.items, &scopes, &health).await?,
        health,
        scopes,
        permissions: Permissions::learnt(&snapshots.items, &restores.items),
        snapshots: snapshots.items,
        policies,
        runs: newest.items,
        chart: Chart::until(now, Bucket::Day, DAYS, &days),
        tenant,
    })
}

/// The newest snapshot of everything: of those at hand, or what the newest complete fetch has made.
async fn last(
    state: &AdminState,
    newest: &[Snapshot],
    scopes: &Scopes,
    health: &TenantHealth,
) -> Result<Option<Snapshot>, Problem> {
    if let Some(found) = newest.iter().find(|snapshot| scopes.is_everything(snapshot)) {
        return Ok(Some(found.clone()));
    }
    let Some((run, _)) = health.fetched else { return Ok(None) };
    let run = state.store.run(run).await?;
    let made = run.and_then(|run| run.context.get("snapshot_id").and_then(Value::as_i64));
    match made {
        Some(id) => Ok(state.store.snapshot(SnapshotId(id)).await?),
        None => Ok(None),
    }
}

/// What runs have learnt of the application's permissions: nothing is asked here.
#[derive(Debug, Default, PartialEq)]
struct Permissions {
    /// Present when it was last needed, and when that was.
    present: BTreeMap<String, Instant>,
    /// Missing when it was last needed, and when that was.
    missing: BTreeMap<String, Instant>,
}

impl Permissions {
    /// Of several sayings about one permission the newest counts.
    fn learnt(snapshots: &[Snapshot], restores: &[Run]) -> Self {
        let mut said: BTreeMap<String, (Instant, bool)> = BTreeMap::new();
        let mut say = |permission: &str, at: Instant, there: bool| {
            let known = said.entry(permission.to_owned()).or_insert((at, there));
            // What is missing in one type of several is missing.
            if at > known.0 || (at == known.0 && !there) {
                *known = (at, there);
            }
        };
        for snapshot in snapshots.iter().filter(|snapshot| snapshot.operation_run_id.is_some()) {
            let at = snapshot.completed_at.unwrap_or(snapshot.created_at);
            for (key, coverage) in &snapshot.coverage {
                let Some(needed) = policy_types::find(key).and_then(|row| row.permission_read) else {
                    continue;
                };
                if coverage.refused.contains_key(&Code::GraphPermissionMissing) {
                    say(needed, at, false);
                } else if coverage.complete && coverage.refused.is_empty() {
                    say(needed, at, true);
                }
            }
        }
        for run in restores {
            let missing = run.context.get("permissions_missing").and_then(Value::as_array);
            for permission in missing.into_iter().flatten().filter_map(Value::as_str) {
                say(permission, run.completed_at.unwrap_or(run.updated_at), false);
            }
        }
        let of = |there| {
            said.iter().filter(move |(_, said)| said.1 == there).map(|(name, said)| (name.clone(), said.0))
        };
        Self { present: of(true).collect(), missing: of(false).collect() }
    }
}

fn content(view: &View, visit: &Visit) -> Markup {
    let tenant = &view.tenant;
    html! {
        div.head {
            p.crumbs { a href="/tenants" { "Tenants" } }
            h1 { (tenant.name) }
            (health::badge(health::of(&view.health, view.now)))
            div.actions {
                @if visit.may(Role::Operator) {
                    (forms::button(visit, &format!("/tenants/{}/fetch", tenant.id), "Fetch now", "primary"))
                    @if let Some(snapshot) = &view.last {
                        (forms::button(visit, &format!("/snapshots/{}/drift", snapshot.id), "Fetch and compare", ""))
                    }
                    a.button href={ "/restore?tenant=" (tenant.id) } { "Restore…" }
                }
            }
        }
        div #tenant data-part .columns {
            div.stack { (last_snapshot(view)) (history(view)) (over_time(view)) }
            div.stack { (facts(view)) (runs(view)) (permissions(&view.permissions, view.now)) (policies(view)) }
        }
    }
}

fn facts(view: &View) -> Markup {
    let TenantHealth { fetched, failing, open, .. } = &view.health;
    html! {
        section.panel aria-labelledby="about" {
            header { h2 #about { "About" } }
            div.body {
                dl.facts {
                    dt { "Fetched" }
                    dd {
                        @match fetched {
                            Some((run, at)) => a href={ "/runs/" (run) } { (times::relative(*at, view.now)) },
                            None => "never",
                        }
                    }
                    @if let Some((run, at, code)) = failing {
                        dt { "Failed" }
                        dd {
                            a href={ "/runs/" (run) } { (times::relative(*at, view.now)) }
                            @if let Some(code) = code { " " span.code { (code) } p.small.muted { (code.advice()) } }
                        }
                    }
                    @if let Some(run) = open { dt { "Open run" } dd { a href={ "/runs/" (run) } { "#" (run) } } }
                    dt { "Directory id" } dd { code { (view.tenant.external_id) } }
                    dt { "Cloud" } dd { (view.tenant.cloud) }
                    dt { "Credential" } dd { (view.tenant.credential) }
                    dt { "Workspace" } dd { (view.tenant.workspace_slug) }
                }
            }
        }
    }
}

fn permissions(known: &Permissions, now: Instant) -> Markup {
    let line = |tone, word, name: &str, at: Instant| {
        html! {
            li { div.permission { (badges::badge(tone, word)) code.wrap { (name) } span.muted { (times::relative(at, now)) } } }
        }
    };
    html! {
        section.panel aria-labelledby="permissions" {
            header { h2 #permissions { "Permissions" } }
            @if *known == Permissions::default() {
                div.body { p.muted { "No run has shown yet what the application may do." } }
            } @else {
                ul.rows {
                    @for (name, at) in &known.missing { (line(Tone::Bad, "missing", name, *at)) }
                    @for (name, at) in &known.present { (line(Tone::Good, "present", name, *at)) }
                }
            }
            footer {
                "As the newest fetches and restores met them. " code { "atlasd tenants check" } " asks for all of them now."
            }
        }
    }
}

fn last_snapshot(view: &View) -> Markup {
    html! {
        section.panel aria-labelledby="last" {
            header {
                h2 #last { "Last snapshot" }
                @if let Some(snapshot) = &view.last {
                    div.actions { a href={ "/snapshots/" (snapshot.id) } { "Open snapshot " (snapshot.id) } }
                }
            }
            @match &view.last {
                Some(snapshot) => (snapshots::covered(snapshot, &view.scopes, view.now)),
                None => (notes::empty("Not read as a whole yet", html! { p { "A fetch reads the tenant's policies and whom they are assigned to." } })),
            }
        }
    }
}

fn history(view: &View) -> Markup {
    html! {
        @if view.snapshots.len() > 1 || view.last.is_none() && !view.snapshots.is_empty() {
            section.panel aria-labelledby="snapshots" {
                header {
                    h2 #snapshots { "Snapshots" }
                    div.actions { a href={ "/tenants/" (view.tenant.id) "/snapshots" } { "All snapshots" } }
                }
                (snapshots::table(&view.snapshots, &view.scopes, view.now))
            }
        }
    }
}

fn over_time(view: &View) -> Markup {
    html! {
        section.panel aria-labelledby="over-time" {
            header { h2 #over-time { "Runs of the last 30 days" } }
            div.body { (view.chart) }
        }
    }
}

fn policies(view: &View) -> Markup {
    let all: i64 = view.policies.iter().map(|(_, count)| count).sum();
    let mut types: Vec<_> =
        view.policies.iter().map(|(key, count)| (snapshots::label(key), key, *count)).collect();
    types.sort_unstable();
    html! {
        section.panel aria-labelledby="policies" {
            header {
                h2 #policies { "Policies" }
                @if all > 0 {
                    div.actions { a href={ "/tenants/" (view.tenant.id) "/policies" } { "All " (figures::signed(all)) } }
                }
            }
            @if types.is_empty() {
                div.body { p.muted { "None are known yet." } }
            } @else {
                details.more open[types.len() <= 12] {
                    summary { (figures::counted(types.len() as u64, "type", "types")) }
                    ul.rows {
                        @for (label, key, count) in types {
                            li {
                                div.line {
                                    a href={ "/tenants/" (view.tenant.id) "/policies?type=" (key) } { (label) }
                                    span.end { (figures::signed(count)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn runs(view: &View) -> Markup {
    html! {
        section.panel aria-labelledby="runs" {
            header { h2 #runs { "Runs" } div.actions { a href={ "/runs?tenant_id=" (view.tenant.id) } { "All runs" } } }
            @if view.runs.is_empty() {
                div.body { p.muted { "None yet." } }
            } @else {
                ul.rows {
                    @for run in &view.runs {
                        li #{ "run-" (run.id) } {
                            div.line {
                                (badges::run(run))
                                a.id href={ "/runs/" (run.id) } { "#" (run.id) }
                                span { (words::kind(run)) }
                                span.muted.end { (times::relative(run.created_at, view.now)) }
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
    use serde_json::{Map, json};

    use super::*;
    use crate::admin::samples;
    use crate::ids::RunId;
    use crate::store::Coverage;

    fn at(hours: i64) -> Instant {
        Instant::from_micros(1_700_000_000_000_000 + hours * 3_600_000_000).expect("within the calendar")
    }

    fn coverage(refused: &[Code]) -> Coverage {
        Coverage {
            complete: true,
            refused: refused.iter().map(|code| (*code, 1)).collect(),
            ..Coverage::default()
        }
    }

    fn read(hours: i64, types: &[(&str, Coverage)]) -> Snapshot {
        let coverage = types.iter().map(|(key, coverage)| ((*key).to_owned(), coverage.clone())).collect();
        Snapshot { coverage, created_at: at(hours), completed_at: Some(at(hours)), ..snapshots::sample() }
    }

    #[test]
    fn the_newest_run_that_needed_a_permission_says_whether_it_is_there() {
        let apps = "DeviceManagementApps.Read.All";
        let missing = coverage(&[Code::GraphPermissionMissing]);
        let before = read(1, &[("mobileApp", missing.clone())]);
        let after = read(2, &[("mobileApp", coverage(&[]))]);
        let granted = Permissions::learnt(&[after.clone(), before.clone()], &[]);
        assert_eq!((granted.present.get(apps), granted.missing.len()), (Some(&at(2)), 0));
        let taken = Permissions::learnt(&[read(3, &[("mobileApp", missing)]), after], &[]);
        assert_eq!((taken.present.len(), taken.missing.get(apps)), (0, Some(&at(3))));
    }

    #[test]
    fn what_failed_for_another_reason_says_nothing() {
        let snapshot = read(1, &[("mobileApp", coverage(&[Code::GraphUnavailable]))]);
        assert_eq!(Permissions::learnt(&[snapshot], &[]), Permissions::default());
    }

    #[test]
    fn a_restore_names_what_it_lacks_to_write() {
        let mut context = Map::new();
        context.insert("permissions_missing".to_owned(), json!(["GroupMember.Read.All"]));
        let mut run = samples::run(RunId(7), context);
        run.completed_at = Some(at(5));
        let known = Permissions::learnt(&[], &[run]);
        assert_eq!(known.missing.get("GroupMember.Read.All"), Some(&at(5)));
        let text = permissions(&known, at(6)).into_string();
        assert!(text.contains("missing") && text.contains("1 h ago"), "{text}");
    }
}
