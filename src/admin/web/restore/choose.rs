//! The second step: which policies of a snapshot, and which groups stand for which. Its form asks for a plan.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpResponse, get, post, web};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Step, inputs, steps};
use crate::admin::AdminState;
use crate::admin::auth::{Operator, Viewer};
use crate::admin::body::{self, Query};
use crate::admin::problem::Problem;
use crate::admin::runs::visible_run;
use crate::admin::session::Posted;
use crate::admin::snapshots::visible_snapshot;
use crate::admin::tenants::visible_tenant;
use crate::admin::verdict;
use crate::admin::web::layout::{self, Tab};
use crate::admin::web::parts::assignments::Names;
use crate::admin::web::parts::{forms, notes, snapshots, times, verdicts};
use crate::admin::web::policies::name;
use crate::admin::web::{Html, Visit};
use crate::clock::Instant;
use crate::domain::assignment::is_pseudo_group;
use crate::domain::identity::{RestoreInputs, RestoreMode};
use crate::domain::operation::Operation;
use crate::ids::{RunId, SnapshotId, TenantId};
use crate::intake::{self, RunRequest};
use crate::store::{AssignedPolicy, Page, PageRequest, PolicySearch, Role, Snapshot, Tenant};

/// LIMIT: groups with a field of their own.
const GROUPS_MAX: usize = 100;

/// Which snapshot, and what of it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::admin::web) struct ChooseQuery {
    snapshot: Option<String>,
    r#type: Option<String>,
    name: Option<String>,
    /// A plan to begin from.
    plan: Option<String>,
}

/// What the page shows.
struct View {
    now: Instant,
    snapshot: Snapshot,
    tenant: Tenant,
    search: PolicySearch,
    page: Page<AssignedPolicy>,
    names: Names,
    plan: Option<(RunId, RestoreInputs)>,
}

/// Shows the form.
#[get("/restore/new")]
pub(in crate::admin::web) async fn show(
    caller: Viewer,
    visit: Visit,
    state: web::Data<AdminState>,
    query: Query<ChooseQuery>,
) -> Result<Html, Problem> {
    let query = query.0;
    let number = "the number of an id";
    let id: Option<SnapshotId> = body::parameter("snapshot", query.snapshot.as_deref(), number)?;
    let id =
        id.ok_or_else(|| Problem::invalid("snapshot", "expected the number of a snapshot, found none"))?;
    let snapshot = visible_snapshot(&state, &caller.0, id).await?;
    let tenant = visible_tenant(&state, &caller.0, snapshot.tenant_id).await?;
    let plan: Option<RunId> = body::parameter("plan", query.plan.as_deref(), number)?;
    let plan = match plan {
        Some(id) => inputs(&visible_run(&state, &caller.0, id).await?).map(|inputs| (id, inputs)),
        None => None,
    };
    let given = |field: Option<String>| field.filter(|text| !text.is_empty());
    let search = PolicySearch { policy_type: given(query.r#type), name: given(query.name) };
    let request = PageRequest { limit: state.config().http.page_max, cursor: None };
    let page = state.store.searched_items(snapshot.id, search.clone(), request).await?;
    let named = page.items.iter().flat_map(|policy| policy.assignments.iter());
    let names = Names::load(&state, tenant.id, named).await?;
    let view = View { now: state.store.now().await?, snapshot, tenant, search, page, names, plan };
    Ok(Html(layout::page(visit.shell("Restore: choose", Tab::Restore), content(&view, &visit))))
}

fn content(view: &View, visit: &Visit) -> Markup {
    let View { snapshot, tenant, .. } = view;
    html! {
        div.head {
            p.crumbs { a href="/restore" { "Restore" } " / " a href={ "/restore?tenant=" (tenant.id) } { (tenant.name) } }
            h1 { "What to restore" }
            p.lead {
                "To " strong { (tenant.name) } ", from " a href={ "/snapshots/" (snapshot.id) } { "snapshot " (snapshot.id) }
                " (" (snapshots::kind(snapshot)) " " (times::relative(snapshot.created_at, view.now)) ")."
            }
        }
        (steps(Step::Choose))
        section.panel aria-label="Search the snapshot" { (filters(view)) }
        @if visit.may(Role::Operator) {
            (form(view, visit))
        } @else {
            (notes::empty("Only to look at", html! { p { "This token may not ask for runs: a plan needs the role operator." } }))
        }
    }
}

fn filters(view: &View) -> Markup {
    let types: Vec<_> =
        view.snapshot.coverage.keys().map(|key| (key.clone(), snapshots::label(key).to_owned())).collect();
    html! {
        form.filters method="get" action="/restore/new" data-filter role="search" {
            input type="hidden" name="snapshot" value=(view.snapshot.id);
            @if let Some((plan, _)) = &view.plan { input type="hidden" name="plan" value=(plan); }
            (forms::select("type", "Type", "All types", &types, view.search.policy_type.as_deref()))
            (forms::text("name", "Name", view.search.name.as_deref(), "part of the name"))
            div.actions { button { "Filter" } }
        }
    }
}

fn form(view: &View, visit: &Visit) -> Markup {
    let chosen = view.plan.as_ref().and_then(|(_, inputs)| inputs.policy_ids.as_ref());
    let merge = view.plan.as_ref().is_some_and(|(_, inputs)| inputs.mode == RestoreMode::Merge);
    html! {
        form.choice method="post" action="/restore/plan" {
            (forms::csrf(visit))
            input type="hidden" name="snapshot" value=(view.snapshot.id);
            section.panel aria-labelledby="policies" {
                header { h2 #policies { "Policies" } }
                div.body.choice {
                    fieldset {
                        legend { "How many" }
                        label.check {
                            input type="radio" name="scope" value="all" checked[chosen.is_none()];
                            "All policies of the snapshot"
                        }
                        label.check {
                            input type="radio" name="scope" value="some" checked[chosen.is_some()];
                            "Those that are ticked below"
                        }
                    }
                    (picks(view, chosen))
                }
            }
            (groups(view))
            section.panel aria-labelledby="mode" {
                header { h2 #mode { "What is there besides" } }
                div.body.choice {
                    label.check {
                        input type="radio" name="mode" value="exact" checked[!merge];
                        "Exactly as in the snapshot: what was assigned since goes"
                    }
                    label.check {
                        input type="radio" name="mode" value="merge" checked[merge];
                        "Merge: what was assigned since stays"
                    }
                }
            }
            div.actions {
                button.primary { "Make the plan" }
                span.muted { " Nothing is written yet." }
            }
        }
    }
}

fn picks(view: &View, chosen: Option<&BTreeSet<String>>) -> Markup {
    let is_chosen = |id: &str| chosen.is_some_and(|ids| ids.contains(id));
    let shown: BTreeSet<&str> = view.page.items.iter().map(|policy| policy.policy_id.as_str()).collect();
    html! {
        // What was chosen before and does not stand in this part of the list stays chosen.
        @for id in chosen.into_iter().flatten().filter(|id| !shown.contains(id.as_str())) {
            input type="hidden" name="policy" value=(id);
        }
        @if view.page.items.is_empty() {
            p.muted { "The snapshot has no policy of this type and name." }
        } @else {
            ul.pick aria-label="Policies of the snapshot" tabindex="0" {
                @for policy in &view.page.items {
                    li {
                        label.check {
                            input type="checkbox" name="policy" value=(policy.policy_id)
                                checked[is_chosen(&policy.policy_id)];
                            span {
                                (name(&policy.name, &policy.policy_id)) " "
                                span.muted.small {
                                    (snapshots::label(&policy.policy_type)) ", " (policy.assignments.len()) " assignments"
                                }
                            }
                        }
                    }
                }
            }
            @if view.page.next_cursor.is_some() {
                p.muted { "The first " (view.page.items.len()) " are shown: filter by type or name for others." }
            }
        }
    }
}

/// A field for each group that the shown policies are assigned to. Open where the groups are of another directory, or
/// where a plan has mapped some.
fn groups(view: &View) -> Markup {
    let mapped: BTreeMap<String, String> = view
        .plan
        .iter()
        .flat_map(|(_, inputs)| &inputs.group_map)
        .map(|(from, to)| (from.to_string(), to.to_string()))
        .collect();
    let of_policies = view.page.items.iter().flat_map(|policy| policy.assignments.iter());
    let mut ids: BTreeSet<String> = of_policies
        .flat_map(|assignment| assignment.target.group_ids())
        .filter(|id| !is_pseudo_group(id))
        .map(str::to_owned)
        .collect();
    ids.extend(mapped.keys().cloned());
    let open = view.snapshot.source_tenant.is_some() || !mapped.is_empty() || view.plan.is_some();
    html! {
        details.panel open[open] {
            summary { div.line { h2 { "Groups" } span.muted { "map " (ids.len()) " groups to others of the tenant" } } }
            div.body.choice {
                p.muted {
                    "A field that is left empty keeps the group. A group that does not exist in the tenant stops its policies, and the plan says so."
                }
                @for id in ids.iter().take(GROUPS_MAX) {
                    div.field {
                        label for={ "g-" (id) } { (view.names.group(id)) }
                        input type="text" id={ "g-" (id) } name={ "map:" (id) } value=[mapped.get(id)]
                            placeholder="id of a group of this tenant" autocomplete="off" spellcheck="false";
                    }
                }
                @if ids.len() > GROUPS_MAX { p.muted { "Filter the policies to map further groups." } }
            }
        }
    }
}

/// What the form says.
#[derive(Debug, PartialEq)]
struct Choice {
    snapshot: SnapshotId,
    policies: Option<BTreeSet<String>>,
    groups: BTreeMap<String, String>,
    mode: String,
}

impl Choice {
    fn read(fields: Vec<(String, String)>) -> Result<Self, Problem> {
        let (mut snapshot, mut scope, mut mode) = (None, String::new(), String::new());
        let (mut policies, mut groups) = (BTreeSet::new(), BTreeMap::new());
        for (field, value) in fields {
            match field.as_str() {
                "snapshot" => snapshot = body::parameter("snapshot", Some(&value), "the number of an id")?,
                "scope" => scope = value,
                "mode" => mode = value,
                "policy" => drop(policies.insert(value)),
                other => {
                    let Some(from) = other.strip_prefix("map:") else {
                        return Err(Problem::invalid(other, "expected a field of this form"));
                    };
                    let to = value.trim();
                    if !to.is_empty() {
                        groups.insert(from.to_owned(), to.to_owned());
                    }
                }
            }
        }
        let snapshot = snapshot
            .ok_or_else(|| Problem::invalid("snapshot", "expected the number of a snapshot, found none"))?;
        if scope == "some" && policies.is_empty() {
            return Err(Problem::invalid(
                "policy",
                "expected at least one policy that is ticked, found none",
            ));
        }
        Ok(Self { snapshot, policies: (scope == "some").then_some(policies), groups, mode })
    }

    /// The inputs of a dry run.
    fn inputs(&self) -> Value {
        json!({
            "snapshot_id": self.snapshot,
            "policy_ids": self.policies,
            "group_map": self.groups,
            "mode": self.mode,
            "dry_run": true,
            // A plan writes nothing, and a plan that refuses what widens could not show it: the tick that allows it
            // belongs to the last look.
            "allow_widening": true,
        })
    }
}

/// A request for a restore of a tenant.
pub(super) fn request(tenant: TenantId, inputs: Value) -> RunRequest {
    RunRequest {
        operation: Operation::Restore.as_str().to_owned(),
        tenant_id: Some(tenant),
        inputs,
        ..RunRequest::default()
    }
}

/// Asks for the plan.
#[post("/restore/plan")]
pub(in crate::admin::web) async fn submit(
    caller: Operator,
    state: web::Data<AdminState>,
    form: Posted<Vec<(String, String)>>,
) -> Result<HttpResponse, Problem> {
    let choice = Choice::read(form.0)?;
    let snapshot = visible_snapshot(&state, &caller.0, choice.snapshot).await?;
    let by = caller.0.initiator();
    let limit = state.config().admission.context_bytes_max;
    let request = request(snapshot.tenant_id, choice.inputs());
    let request = intake::run_request(&state.directory, &state.store, &by, request, limit).await?;
    let verdict = verdict::ask(&state, request).await?;
    Ok(verdicts::told(&verdict, "A plan").redirect(&format!("/restore/{}", verdicts::run_of(&verdict))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_becomes_the_inputs_of_a_dry_run() {
        let choice = Choice::read(fields(&[
            ("snapshot", "5"),
            ("scope", "some"),
            ("policy", "b"),
            ("policy", "a"),
            ("map:g1", " g2 "),
            ("map:g3", ""),
            ("mode", "merge"),
        ]));
        let expected = json!({"snapshot_id": 5, "policy_ids": ["a", "b"], "group_map": {"g1": "g2"}, "mode": "merge", "dry_run": true, "allow_widening": true});
        assert_eq!(choice.expect("a form of ours").inputs(), expected);
    }

    #[test]
    fn all_policies_are_no_list_whatever_is_ticked() {
        let all =
            Choice::read(fields(&[("snapshot", "5"), ("scope", "all"), ("policy", "a"), ("mode", "exact")]));
        assert_eq!(all.expect("a form of ours").policies, None);
    }

    #[test]
    fn a_form_that_is_not_ours_is_refused() {
        for odd in [
            fields(&[("scope", "all")]),
            fields(&[("snapshot", "x")]),
            fields(&[("snapshot", "5"), ("scope", "some")]),
            fields(&[("snapshot", "5"), ("force", "yes")]),
        ] {
            assert_eq!(Choice::read(odd.clone()).unwrap_err().code(), "request.invalid", "{odd:?}");
        }
    }
}
