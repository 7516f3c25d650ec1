//! What lies between two snapshots of one tenant.
//!
//! A policy that only one snapshot has is `added` or `removed` only where the other one read its type completely:
//! a read that failed, or that was asked for something else, says nothing about it (SPEC section 9).

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpResponse, get, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Principal, Viewer};
use super::body::{PageQuery, Query};
use super::problem::Problem;
use super::snapshots::visible_snapshot;
use crate::domain::assignment::{self, AssignmentSet, AssignmentsHash, PolicyKey, SetDiff};
use crate::domain::restore::Widening;
use crate::domain::restore::widening::widening;
use crate::domain::run::Run;
use crate::ids::SnapshotId;
use crate::store::{Coverage, PageRequest, PolicyOutline, Snapshot, SnapshotKind, Store};

/// How a policy's assignments differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// The second snapshot has the policy, the first read its type completely and does not.
    Added,
    /// The first snapshot has the policy, the second read its type completely and does not.
    Removed,
    /// Both have it, with other assignments.
    Changed,
}

/// One policy that differs.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct PolicyDiff {
    /// The catalogue's key.
    pub policy_type: String,
    /// As Graph gives it.
    pub policy_id: String,
    /// Its name in the later of the snapshots that have it.
    pub name: String,
    /// How.
    pub change: Change,
    /// Its assignments: added, removed, and changed as pairs of before and after.
    pub assignments: SetDiff,
    /// In which ways it reaches more than before, where both have it; for people alone.
    #[serde(skip)]
    pub widens: Vec<Widening>,
}

/// What lies between two snapshots.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DiffBody {
    /// The first.
    a: SnapshotId,
    /// The second.
    b: SnapshotId,
    /// Policies that differ, by type and id; the same in both are left out.
    items: Vec<PolicyDiff>,
    /// What to give as `cursor` for the next part; null at the end.
    next_cursor: Option<String>,
    /// Types of which policies that only one snapshot has are left out, since the other did not read them all.
    not_compared: BTreeSet<String>,
}

/// Shows what changed from one snapshot of a tenant to another.
#[utoipa::path(
    operation_id = "compare_snapshots",
    tag = "snapshots",
    params(
        ("a" = i64, Path, description = "The first snapshot"),
        ("b" = i64, Path, description = "The second snapshot, of the same tenant"),
        PageQuery,
    ),
    responses(
        (status = 200, body = DiffBody, description = "A part of the differences"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/snapshots/{a}/diff/{b}")]
pub(super) async fn show(
    caller: Viewer,
    state: web::Data<AdminState>,
    ids: web::Path<(SnapshotId, SnapshotId)>,
    query: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let page = query.0.page(&state.config().http)?;
    let Between { a, b, items, next_cursor, not_compared, .. } =
        between(&state, &caller.0, ids.into_inner(), page).await?;
    Ok(HttpResponse::Ok().json(DiffBody { a: a.id, b: b.id, items, next_cursor, not_compared }))
}

/// A part of what lies between two snapshots.
pub(super) struct Between {
    /// The first.
    pub a: Snapshot,
    /// The second.
    pub b: Snapshot,
    /// The part, by type and id.
    pub items: Vec<PolicyDiff>,
    /// How many there are in all.
    pub total: usize,
    /// Where the next part begins.
    pub next_cursor: Option<String>,
    /// Types that could not be compared completely.
    pub not_compared: BTreeSet<String>,
}

/// Compares two snapshots of one tenant that the caller may see.
pub(super) async fn between(
    state: &AdminState,
    caller: &Principal,
    (a, b): (SnapshotId, SnapshotId),
    page: PageRequest,
) -> Result<Between, Problem> {
    let after = page.cursor.as_deref().map(decode_cursor).transpose()?;
    let a = visible_snapshot(state, caller, a).await?;
    let b = visible_snapshot(state, caller, b).await?;
    if a.tenant_id != b.tenant_id {
        return Err(Problem::invalid("b", "expected a snapshot of the same tenant as the first one"));
    }
    let first = Side::load(&state.store, &a).await?;
    let second = Side::load(&state.store, &b).await?;
    let Differences { policies, not_compared } = compare(first, second);
    let total = policies.len();
    let (part, next_cursor) = cut(policies, after, page.limit);
    // The assignments of the part alone: two large snapshots may differ in thousands of policies.
    let hashes = part.iter().flat_map(|(_, differing)| [differing.before, differing.after]).flatten();
    let sets = state.store.assignment_sets(hashes.collect()).await?;
    let items = part.into_iter().map(|(policy, differing)| differing.told(policy, &sets)).collect();
    Ok(Between { a, b, items, total, next_cursor, not_compared })
}

/// A snapshot as the comparison needs it. A tenant's policies are thousands at the most, so it is held as a whole.
struct Side {
    items: BTreeMap<PolicyKey, PolicyOutline>,
    coverage: BTreeMap<String, Coverage>,
    /// The policies that the fetch was asked for; `None` means all.
    asked: Option<BTreeSet<String>>,
}

impl Side {
    async fn load(store: &Store, snapshot: &Snapshot) -> Result<Self, Problem> {
        let run = match snapshot.operation_run_id {
            Some(run) => store.run(run).await?,
            None => None,
        };
        let items = store.snapshot_outline(snapshot.id).await?;
        let asked = match snapshot.kind {
            // It holds what a restore wrote: of the others of a type it says nothing.
            SnapshotKind::Replaced => Some(items.keys().map(|policy| policy.policy_id.clone()).collect()),
            SnapshotKind::Fetched | SnapshotKind::Imported => run.as_ref().and_then(asked_policies),
        };
        Ok(Self { items, coverage: snapshot.coverage.clone(), asked })
    }

    /// Whether the snapshot would have the policy if it had existed.
    fn covers(&self, policy: &PolicyKey) -> bool {
        let complete = self
            .coverage
            .get(&policy.policy_type)
            .is_some_and(|coverage| coverage.complete && coverage.refused.is_empty());
        complete && self.asked.as_ref().is_none_or(|asked| asked.contains(&policy.policy_id))
    }
}

/// The `policy_ids` of the fetch that made a snapshot.
fn asked_policies(run: &Run) -> Option<BTreeSet<String>> {
    let ids = run.context.get("inputs")?.get("policy_ids")?.as_array()?;
    Some(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
}

/// A policy that differs, before anybody has looked at how.
#[derive(Clone, Debug)]
struct Differing {
    name: String,
    change: Change,
    before: Option<AssignmentsHash>,
    after: Option<AssignmentsHash>,
}

impl Differing {
    /// How it differs, by its assignments. A set that retention has just removed tells no more than an empty one.
    fn told(self, policy: PolicyKey, sets: &BTreeMap<AssignmentsHash, AssignmentSet>) -> PolicyDiff {
        let absent = AssignmentSet::default();
        let set = |hash: Option<AssignmentsHash>| hash.and_then(|hash| sets.get(&hash)).unwrap_or(&absent);
        let (before, after) = (set(self.before), set(self.after));
        PolicyDiff {
            policy_type: policy.policy_type,
            policy_id: policy.policy_id,
            name: self.name,
            change: self.change,
            assignments: assignment::diff(before, after),
            widens: if self.change == Change::Changed { widening(before, after) } else { Vec::new() },
        }
    }
}

struct Differences {
    policies: BTreeMap<PolicyKey, Differing>,
    not_compared: BTreeSet<String>,
}

/// Compares by hash first: nearly every policy is the same in both.
fn compare(first: Side, mut second: Side) -> Differences {
    let mut policies = BTreeMap::new();
    let mut not_compared = BTreeSet::new();
    let differing =
        |name: &str, change, before, after| Differing { name: name.to_owned(), change, before, after };
    for (policy, before) in &first.items {
        match second.items.remove(policy) {
            Some(after) if after.hash == before.hash => {}
            Some(after) => {
                let changed = differing(&after.name, Change::Changed, Some(before.hash), Some(after.hash));
                policies.insert(policy.clone(), changed);
            }
            None if second.covers(policy) => {
                let removed = differing(&before.name, Change::Removed, Some(before.hash), None);
                policies.insert(policy.clone(), removed);
            }
            None => {
                not_compared.insert(policy.policy_type.clone());
            }
        }
    }
    // What the first one has was taken out above.
    for (policy, after) in &second.items {
        if first.covers(policy) {
            let added = differing(&after.name, Change::Added, None, Some(after.hash));
            policies.insert(policy.clone(), added);
        } else {
            not_compared.insert(policy.policy_type.clone());
        }
    }
    Differences { policies, not_compared }
}

/// The part after a key, at most `limit` policies, and the cursor of the next part.
fn cut(
    mut policies: BTreeMap<PolicyKey, Differing>,
    after: Option<PolicyKey>,
    limit: usize,
) -> (Vec<(PolicyKey, Differing)>, Option<String>) {
    if let Some(after) = after {
        policies = policies.split_off(&after);
        policies.remove(&after);
    }
    let more = policies.len() > limit;
    let part: Vec<_> = policies.into_iter().take(limit).collect();
    let next = part.last().filter(|_| more).map(|(policy, _)| encode_cursor(policy));
    (part, next)
}

fn encode_cursor(policy: &PolicyKey) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}\n{}", policy.policy_type, policy.policy_id))
}

fn decode_cursor(cursor: &str) -> Result<PolicyKey, Problem> {
    let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (policy_type, policy_id) =
        text.as_deref().and_then(|text| text.split_once('\n')).ok_or_else(Problem::bad_cursor)?;
    Ok(PolicyKey { policy_type: policy_type.to_owned(), policy_id: policy_id.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::admin::samples;
    use crate::domain::assignment::{Assignment, Target};
    use crate::domain::failure::Code;
    use crate::ids::RunId;

    fn set(groups: &[&str]) -> AssignmentSet {
        AssignmentSet::new(
            groups
                .iter()
                .map(|group| Assignment {
                    target: Target::Group { group_id: (*group).to_owned() },
                    filter: None,
                    intent: None,
                    extras: BTreeMap::new(),
                    inherited_from: None,
                })
                .collect(),
        )
    }

    fn item(id: &str, groups: &[&str]) -> (PolicyKey, PolicyOutline) {
        let key = PolicyKey { policy_type: "compliancePolicy".to_owned(), policy_id: id.to_owned() };
        (key, PolicyOutline { name: format!("policy {id}"), hash: set(groups).hash() })
    }

    fn side(items: Vec<(PolicyKey, PolicyOutline)>) -> Side {
        let coverage = Coverage { complete: true, ..Coverage::default() };
        Side {
            items: items.into_iter().collect(),
            coverage: BTreeMap::from([("compliancePolicy".to_owned(), coverage)]),
            asked: None,
        }
    }

    fn changes(differences: &Differences) -> Vec<(&str, Change)> {
        differences.policies.iter().map(|(key, one)| (key.policy_id.as_str(), one.change)).collect()
    }

    #[test]
    fn each_policy_is_the_same_changed_added_or_removed() {
        let first = side(vec![item("changed", &["g1"]), item("gone", &["g1"]), item("same", &["g1"])]);
        let second = side(vec![item("changed", &["g2"]), item("new", &["g1"]), item("same", &["g1"])]);
        let found = compare(first, second);
        assert_eq!(
            changes(&found),
            [("changed", Change::Changed), ("gone", Change::Removed), ("new", Change::Added)]
        );
        assert!(found.not_compared.is_empty());
        let sets = [set(&["g1"]), set(&["g2"])].map(|set| (set.hash(), set)).into();
        let told: Vec<_> = found.policies.into_iter().map(|(key, one)| one.told(key, &sets)).collect();
        let counts = |one: &PolicyDiff| (one.assignments.added.len(), one.assignments.removed.len());
        assert_eq!(told.iter().map(counts).collect::<Vec<_>>(), [(1, 1), (0, 1), (1, 0)]);
        assert!(told[0].widens == [Widening::TargetAdded] && told[2].widens.is_empty());
    }

    #[test]
    fn a_read_that_failed_removes_nothing() {
        let mut second = side(vec![]);
        let coverage = second.coverage.get_mut("compliancePolicy").unwrap();
        coverage.refused.insert(Code::GraphForbidden, 1);
        let found = compare(side(vec![item("a", &["g1"])]), second);
        assert!(found.policies.is_empty());
        assert_eq!(found.not_compared, BTreeSet::from(["compliancePolicy".to_owned()]));
    }

    #[test]
    fn a_type_that_was_not_in_scope_is_not_compared() {
        let mut first = side(vec![]);
        first.coverage.clear();
        let found = compare(first, side(vec![item("a", &[])]));
        assert!(found.policies.is_empty() && found.not_compared.len() == 1);
    }

    #[test]
    fn a_fetch_of_some_policies_says_nothing_about_the_others() {
        let mut second = side(vec![]);
        second.asked = Some(BTreeSet::from(["a".to_owned()]));
        let found = compare(side(vec![item("a", &[]), item("b", &[])]), second);
        assert_eq!(changes(&found), [("a", Change::Removed)]);
        assert_eq!(found.not_compared.len(), 1);
    }

    #[test]
    fn the_policies_that_were_asked_for_come_from_the_runs_context() {
        let mut context = Map::new();
        context.insert("inputs".to_owned(), json!({"policy_ids": ["a"], "policy_types": null}));
        assert_eq!(asked_policies(&samples::run(RunId(1), context)), Some(BTreeSet::from(["a".to_owned()])));
        let mut context = Map::new();
        context.insert("inputs".to_owned(), json!({"policy_ids": null, "policy_types": null}));
        assert_eq!(asked_policies(&samples::run(RunId(1), context)), None);
    }

    #[test]
    fn parts_follow_each_other_without_gap_or_repeat() {
        let all =
            || compare(side(vec![item("a", &[]), item("b", &[]), item("c", &[])]), side(vec![])).policies;
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let (items, next) = cut(all(), after, 2);
            seen.extend(items.into_iter().map(|(key, _)| key.policy_id));
            match next {
                None => break,
                Some(cursor) => after = Some(decode_cursor(&cursor).unwrap()),
            }
        }
        assert_eq!(seen, ["a", "b", "c"]);
        assert_eq!(cut(all(), None, 3).1, None, "a full part that ends the list has no next one");
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        for odd in ["x", "!!", &URL_SAFE_NO_PAD.encode("no line"), &URL_SAFE_NO_PAD.encode([0xff, 0x0a])] {
            assert_eq!(decode_cursor(odd).unwrap_err().code(), "request.bad_cursor", "{odd}");
        }
    }
}
