//! The second step: which policies of a snapshot, and which groups stand for which. Its form asks for a plan, or for
//! another part of the list: then all that is chosen so far stays chosen.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpResponse, get, post, web};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Step, inputs, steps};
use crate::admin::AdminState;
use crate::admin::auth::{Operator, Principal, Viewer};
use crate::admin::body::{self, Query};
use crate::admin::problem::Problem;
use crate::admin::runs::visible_run;
use crate::admin::session::Posted;
use crate::admin::snapshots::visible_snapshot;
use crate::admin::tenants::visible_tenant;
use crate::admin::verdict;
use crate::admin::web::layout::{self, Tab};
use crate::admin::web::parts::assignments::Names;
use crate::admin::web::parts::{figures, forms, notes, snapshots, times, verdicts};
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

/// What is chosen so far.
#[derive(Debug, Default)]
struct Chosen {
    /// Those that are ticked count, not all of the snapshot.
    some: bool,
    policies: BTreeSet<String>,
    groups: BTreeMap<String, String>,
    merge: bool,
    /// It comes from a plan: the groups are what is looked for.
    planned: bool,
}

impl Chosen {
    /// What a plan chose.
    fn by(plan: RestoreInputs) -> Self {
        let groups = plan.group_map.iter().map(|(from, to)| (from.to_string(), to.to_string()));
        Self {
            some: plan.policy_ids.is_some(),
            groups: groups.collect(),
            policies: plan.policy_ids.unwrap_or_default(),
            merge: plan.mode == RestoreMode::Merge,
            planned: true,
        }
    }
}

/// What the page shows.
struct View {
    now: Instant,
    snapshot: Snapshot,
    tenant: Tenant,
    search: PolicySearch,
    page: Page<AssignedPolicy>,
    names: Names,
    chosen: Chosen,
}

impl View {
    async fn load(
        state: &AdminState,
        caller: &Principal,
        snapshot: SnapshotId,
        search: PolicySearch,
        chosen: Chosen,
    ) -> Result<Self, Problem> {
        let snapshot = visible_snapshot(state, caller, snapshot).await?;
        let tenant = visible_tenant(state, caller, snapshot.tenant_id).await?;
        let request = PageRequest { limit: state.config().http.page_max, cursor: None };
        let page = state.store.searched_items(snapshot.id, search.clone(), request).await?;
        let named = page.items.iter().flat_map(|policy| policy.assignments.iter());
        let names = Names::load(state, tenant.id, named).await?;
        Ok(Self { now: state.store.now().await?, snapshot, tenant, search, page, names, chosen })
    }

    fn shown(&self, visit: &Visit) -> Html {
        let title = format!("Restore snapshot {} of {}", self.snapshot.id, self.tenant.name);
        Html(layout::page(visit.shell(&title, Tab::Restore), content(self, visit)))
    }
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
    let plan: Option<RunId> = body::parameter("plan", query.plan.as_deref(), number)?;
    let chosen = match plan {
        Some(plan) => {
            inputs(&visible_run(&state, &caller.0, plan).await?).map(Chosen::by).unwrap_or_default()
        }
        None => Chosen::default(),
    };
    let given = |field: Option<String>| field.filter(|text| !text.is_empty());
    let search = PolicySearch { policy_type: given(query.r#type), name: given(query.name) };
    let view = View::load(&state, &caller.0, id, search, chosen).await?;
    Ok(view.shown(&visit))
}

/// Shows another part of the list, with all that the form says kept. It comes as a post because ticks of a whole
/// snapshot are longer than addresses may be; it changes nothing.
#[post("/restore/new")]
pub(in crate::admin::web) async fn narrow(
    caller: Operator,
    visit: Visit,
    state: web::Data<AdminState>,
    form: Posted<Vec<(String, String)>>,
) -> Result<Html, Problem> {
    let Choice { snapshot, some, policies, groups, mode, search } = Choice::read(form.0)?;
    let chosen =
        Chosen { some, policies, groups, merge: mode == RestoreMode::Merge.as_str(), planned: false };
    let view = View::load(&state, &caller.0, snapshot, search, chosen).await?;
    Ok(view.shown(&visit))
}

fn content(view: &View, visit: &Visit) -> Markup {
    let View { snapshot, tenant, .. } = view;
    html! {
        div.head {
            p.crumbs { a href="/restore" { "Restore" } " / " a href={ "/restore?tenant=" (tenant.id) } { (tenant.name) } }
            h1 { "What to restore" }
            p.lead {
                "To " strong { (tenant.name) } ", from " a href={ "/snapshots/" (snapshot.id) } { "snapshot " (snapshot.id) }
                ", " (snapshots::kind(snapshot)) " " (times::dated(snapshot.created_at, view.now)) "."
            }
        }
        (steps(Step::Choose))
        @if visit.may(Role::Operator) {
            (form(view, visit))
        } @else {
            section.panel aria-label="Only to look at" {
                (notes::empty("Only to look at", html! {
                    p {
                        @if visit.read_only { "This daemon takes no requests, and a plan is one." }
                        @else { "This token may not ask for runs: a plan needs the role operator." }
                    }
                }))
            }
        }
    }
}

/// Which part of the list is shown. Its button stands in the form, so that what is ticked goes along and comes back.
fn filters(view: &View) -> Markup {
    let types: Vec<_> =
        view.snapshot.coverage.keys().map(|key| (key.clone(), snapshots::label(key).to_owned())).collect();
    html! {
        div.filters role="search" aria-label="Search the snapshot" data-filter {
            (forms::select("type", "Type", "All types", &types, view.search.policy_type.as_deref()))
            (forms::text("name", "Name", view.search.name.as_deref(), "part of the name"))
            div.actions { button formaction={ "/restore/new?snapshot=" (view.snapshot.id) } { "Filter" } }
        }
    }
}

fn form(view: &View, visit: &Visit) -> Markup {
    let Chosen { some, merge, .. } = view.chosen;
    html! {
        form.choice method="post" action="/restore/plan" {
            (forms::csrf(visit))
            input type="hidden" name="snapshot" value=(view.snapshot.id);
            section.panel aria-labelledby="policies" {
                header { h2 #policies { "Policies" } }
                div.body.choice {
                    fieldset {
                        legend.hidden-visually { "How many" }
                        label.check {
                            input type="radio" name="scope" value="all" checked[!some];
                            (all_of(&view.snapshot))
                        }
                        label.check {
                            input type="radio" name="scope" value="some" checked[some];
                            "Those that I tick"
                        }
                    }
                    div.picking { (filters(view)) (picks(view)) }
                }
            }
            (groups(view))
            section.panel aria-labelledby="mode" {
                header { h2 #mode { "What was assigned since the snapshot" } }
                div.body.choice {
                    label.check {
                        input type="radio" name="mode" value="exact" checked[!merge];
                        "Remove it: exactly as in the snapshot"
                    }
                    label.check {
                        input type="radio" name="mode" value="merge" checked[merge];
                        "Keep it: merge"
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

fn all_of(snapshot: &Snapshot) -> String {
    match snapshots::read(snapshot) {
        0 => "All policies of the snapshot".to_owned(),
        1 => "The one policy of the snapshot".to_owned(),
        many => format!("All {} policies of the snapshot", figures::count(many)),
    }
}

fn picks(view: &View) -> Markup {
    let chosen = &view.chosen.policies;
    let shown: BTreeSet<&str> = view.page.items.iter().map(|policy| policy.policy_id.as_str()).collect();
    let hidden: Vec<_> = chosen.iter().filter(|id| !shown.contains(id.as_str())).collect();
    html! {
        // What was chosen before and does not stand in this part of the list stays chosen.
        @for id in &hidden { input type="hidden" name="policy" value=(id); }
        p.muted.small {
            (figures::counted(view.page.items.len() as u64, "policy", "policies")) " shown"
            @if !hidden.is_empty() { ", " (figures::count(hidden.len() as u64)) " ticked that are not shown" }
            "."
        }
        @if view.page.items.is_empty() {
            p.muted { "The snapshot has no policy of this type and name." }
        } @else {
            ul.pick aria-label="Policies of the snapshot" tabindex="0" {
                @for policy in &view.page.items {
                    li {
                        label.check {
                            input type="checkbox" name="policy" value=(policy.policy_id)
                                checked[chosen.contains(&policy.policy_id)];
                            span {
                                (name(&policy.name, &policy.policy_id)) " "
                                span.muted.small {
                                    (snapshots::label(&policy.policy_type)) ", "
                                    (figures::counted(policy.assignments.len() as u64, "assignment", "assignments"))
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
    let mapped = &view.chosen.groups;
    let of_policies = view.page.items.iter().flat_map(|policy| policy.assignments.iter());
    let others: BTreeSet<&str> = of_policies
        .flat_map(|assignment| assignment.target.group_ids())
        .filter(|id| !is_pseudo_group(id) && !mapped.contains_key(*id))
        .collect();
    // Those that are mapped first, and all of them: a field that is left out would undo its mapping.
    let ids: Vec<&str> = mapped.keys().map(String::as_str).chain(others).collect();
    let open = view.snapshot.source_tenant.is_some() || !mapped.is_empty() || view.chosen.planned;
    html! {
        details.panel open[open] {
            summary {
                h2 { "Groups" }
                span.muted { "map " (figures::counted(ids.len() as u64, "group", "groups")) " to others of the tenant" }
            }
            div.body.choice {
                p.muted {
                    "A field that is left empty keeps the group. A group that does not exist in the tenant stops its policies, and the plan says so."
                }
                @for id in ids.iter().take(GROUPS_MAX.max(mapped.len())) {
                    div.field {
                        label for={ "g-" (id) } { (view.names.group(id)) }
                        input type="text" id={ "g-" (id) } name={ "map:" (id) } value=[mapped.get(*id)]
                            placeholder="id of a group of this tenant" autocomplete="off" spellcheck="false";
                    }
                }
                @if ids.len() > GROUPS_MAX { p.muted { "Filter the policies to map further groups; what is mapped stays." } }
            }
        }
    }
}

/// What the form says.
#[derive(Debug)]
struct Choice {
    snapshot: SnapshotId,
    /// Those that are ticked count, not all of the snapshot.
    some: bool,
    policies: BTreeSet<String>,
    groups: BTreeMap<String, String>,
    mode: String,
    /// What of the list is to be shown; it chooses nothing.
    search: PolicySearch,
}

impl Choice {
    fn read(fields: Vec<(String, String)>) -> Result<Self, Problem> {
        let (mut snapshot, mut scope, mut mode) = (None, String::new(), String::new());
        let (mut policies, mut groups) = (BTreeSet::new(), BTreeMap::new());
        let mut search = PolicySearch::default();
        for (field, value) in fields {
            match field.as_str() {
                "snapshot" => snapshot = body::parameter("snapshot", Some(&value), "the number of an id")?,
                "scope" => scope = value,
                "mode" => mode = value,
                "policy" => drop(policies.insert(value)),
                "type" => search.policy_type = Some(value).filter(|text| !text.is_empty()),
                "name" => search.name = Some(value).filter(|text| !text.is_empty()),
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
        Ok(Self { snapshot, some: scope == "some", policies, groups, mode, search })
    }

    /// The inputs of a dry run.
    fn inputs(&self) -> Result<Value, Problem> {
        if self.some && self.policies.is_empty() {
            return Err(Problem::invalid(
                "policy",
                "expected at least one policy that is ticked, found none",
            ));
        }
        Ok(json!({
            "snapshot_id": self.snapshot,
            "policy_ids": self.some.then_some(&self.policies),
            "group_map": self.groups,
            "mode": self.mode,
            "dry_run": true,
            // A plan writes nothing, and a plan that refuses what widens could not show it: the tick that allows it
            // belongs to the last look.
            "allow_widening": true,
        }))
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
    let request = request(snapshot.tenant_id, choice.inputs()?);
    let request = intake::run_request(&state.directory, &state.store, &by, request, limit).await?;
    let verdict = verdict::ask(&state, request).await?;
    Ok(verdicts::told(&verdict, "A plan").redirect(&format!("/restore/{}", verdicts::run_of(&verdict))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::assignment::AssignmentSet;
    use crate::ids::WorkspaceId;

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
        assert_eq!(choice.expect("a form of ours").inputs().expect("some are ticked"), expected);
    }

    #[test]
    fn all_policies_are_no_list_whatever_is_ticked() {
        let all =
            Choice::read(fields(&[("snapshot", "5"), ("scope", "all"), ("policy", "a"), ("mode", "exact")]));
        let inputs = all.expect("a form of ours").inputs().expect("all of them");
        assert_eq!(inputs["policy_ids"], Value::Null);
    }

    #[test]
    fn a_form_that_is_not_ours_is_refused() {
        for odd in [
            fields(&[("scope", "all")]),
            fields(&[("snapshot", "x")]),
            fields(&[("snapshot", "5"), ("scope", "some")]),
            fields(&[("snapshot", "5"), ("force", "yes")]),
        ] {
            let refused = Choice::read(odd.clone()).and_then(|choice| choice.inputs());
            assert_eq!(refused.unwrap_err().code(), "request.invalid", "{odd:?}");
        }
    }

    fn view(chosen: Chosen, search: PolicySearch) -> View {
        let snapshot = snapshots::sample();
        let at = snapshot.created_at;
        let policy = AssignedPolicy {
            policy_type: "compliancePolicy".into(),
            policy_id: "shown".into(),
            name: "<Baseline>".into(),
            assignments: AssignmentSet::default(),
            snapshot_id: snapshot.id,
            read_at: at,
        };
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
        let page = Page { items: vec![policy], next_cursor: None };
        View { now: at, snapshot, tenant, search, page, names: Names::default(), chosen }
    }

    #[test]
    fn what_is_chosen_stays_chosen_when_another_part_is_shown() {
        let filtered = Choice::read(fields(&[
            ("snapshot", "5"),
            ("scope", "some"),
            ("policy", "shown"),
            ("policy", "elsewhere"),
            ("map:g1", "g2"),
            ("mode", "merge"),
            ("type", ""),
            ("name", "base"),
        ]));
        let Choice { some, policies, groups, search, .. } = filtered.expect("a form of ours");
        assert_eq!((search.policy_type.as_deref(), search.name.as_deref()), (None, Some("base")));
        let chosen = Chosen { some, policies, groups, merge: true, planned: false };
        let visit = Visit::default();
        let text = form(&view(chosen, search), &visit).into_string();
        for kept in [
            "type=\"hidden\" name=\"policy\" value=\"elsewhere\"",
            "value=\"shown\" checked",
            "name=\"map:g1\" value=\"g2\"",
            "value=\"some\" checked",
            "value=\"merge\" checked",
            "1 ticked that are not shown",
            "formaction=\"/restore/new?snapshot=5\"",
        ] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
    }
}
