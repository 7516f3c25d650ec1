//! Snapshots: what was read of each policy type, whether that is all of a tenant, and lists of them.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::badges::{self, Tone};
use super::{figures, times};
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::clock::Instant;
use crate::domain::counts::CountKey;
use crate::domain::policy_types;
use crate::domain::run::{Outcome, Run};
use crate::ids::RunId;
use crate::store::{Coverage, Snapshot, SnapshotKind};

/// What an administrator calls a policy type.
pub fn label(key: &str) -> &str {
    policy_types::find(key).map_or(key, |row| row.label)
}

/// Where a snapshot comes from.
pub fn kind(snapshot: &Snapshot) -> Markup {
    html! {
        @match snapshot.kind {
            SnapshotKind::Fetched => "fetched",
            SnapshotKind::Imported => "imported",
            SnapshotKind::Replaced => "what a restore replaced",
        }
        @if let Some(label) = &snapshot.label { ": " (label) }
    }
}

/// Which fetches were asked for some policies or types alone. What they read is complete, and yet no picture of the
/// tenant.
#[derive(Clone, Debug, Default)]
pub struct Scopes(BTreeSet<RunId>);

impl Scopes {
    /// Looks up what the snapshots were asked for.
    ///
    /// # Errors
    /// What the ledger answers.
    pub async fn load(state: &AdminState, snapshots: &[Snapshot]) -> Result<Self, Problem> {
        let ids = snapshots.iter().filter(|snapshot| snapshot.kind == SnapshotKind::Fetched);
        let ids = ids.filter_map(|snapshot| snapshot.operation_run_id).collect();
        Ok(Self::of(&state.store.runs_by_id(ids).await?))
    }

    fn of(runs: &[Run]) -> Self {
        Self(runs.iter().filter(|run| asks_for_some(run)).map(|run| run.id).collect())
    }

    /// Whether a snapshot was asked for a part of its tenant.
    pub fn is_part(&self, snapshot: &Snapshot) -> bool {
        snapshot.operation_run_id.is_some_and(|run| self.0.contains(&run))
    }

    /// Whether a snapshot is a fetch of everything.
    pub fn is_everything(&self, snapshot: &Snapshot) -> bool {
        snapshot.kind == SnapshotKind::Fetched && !self.is_part(snapshot)
    }
}

fn asks_for_some(run: &Run) -> bool {
    let given = |key| {
        run.context.get("inputs").and_then(|inputs| inputs.get(key)).is_some_and(|value| !value.is_null())
    };
    given("policy_ids") || given("policy_types")
}

/// Whether all of its scope was read, and whether that scope is all of the tenant.
pub fn whole(snapshot: &Snapshot, scopes: &Scopes) -> Markup {
    match (snapshot.finished, snapshot.outcome) {
        (false, _) => badges::badge(Tone::Warn, "not ended"),
        (true, Outcome::Failed) => badges::badge(Tone::Warn, "in parts"),
        (true, _) if scopes.is_part(snapshot) => badges::badge(Tone::Calm, "only a part"),
        (true, _) => badges::badge(Tone::Good, "complete"),
    }
}

/// What a snapshot has read, in a line; the types one by one for who wants them, at once where one was not read.
pub fn covered(snapshot: &Snapshot, scopes: &Scopes, now: Instant) -> Markup {
    let not_read = snapshot.coverage.values().filter(|coverage| !is_whole(coverage)).count();
    html! {
        div.body {
            p {
                (whole(snapshot, scopes)) " " (figures::counted(read(snapshot), "policy", "policies"))
                @if !scopes.is_part(snapshot) {
                    " of " (figures::counted(snapshot.coverage.len() as u64, "type", "types"))
                }
                ", " (times::dated(snapshot.created_at, now)) ". "
                @if not_read > 0 { strong { (figures::counted(not_read as u64, "type", "types")) " not read completely." } }
            }
        }
        details.more open[not_read > 0] {
            summary { "Type by type" }
            (coverage(&snapshot.coverage))
        }
    }
}

/// What was read of each type; what was not read first.
fn coverage(types: &BTreeMap<String, Coverage>) -> Markup {
    let mut sorted: Vec<_> = types.iter().collect();
    sorted.sort_by_key(|(key, coverage)| (is_whole(coverage), label(key).to_owned()));
    let all = types.values().all(is_whole);
    html! {
        table.table.cards {
            caption.hidden-visually { "What was read of each policy type" }
            thead { tr { th scope="col" { "Type" } th.num scope="col" { "Listed" } th.num scope="col" { "Read" } th.num scope="col" { "Assigned to nobody" } @if !all { th scope="col" { "Not read" } } } }
            tbody {
                @for (key, coverage) in sorted {
                    tr {
                        th scope="row" title=(key) { (label(key)) }
                        td.num data-label="Listed" { (figures::count(coverage.listed)) }
                        td.num data-label="Read" { (figures::count(coverage.read)) }
                        td.num data-label="To nobody" title="a read of its own confirmed it" {
                            (figures::count(coverage.confirmed_empty))
                        }
                        @if !all {
                            td data-label="Not read" class=[is_whole(coverage).then_some("none")] { (not_read(coverage)) }
                        }
                    }
                }
            }
        }
    }
}

/// Whether all of a type was read.
fn is_whole(coverage: &Coverage) -> bool {
    coverage.complete && coverage.refused.is_empty()
}

fn not_read(coverage: &Coverage) -> Markup {
    html! {
        @for (code, count) in &coverage.refused {
            div title=(code.advice()) { (badges::badge(Tone::Bad, &figures::count(*count))) " " span.code { (code) } }
        }
        @if !coverage.complete && coverage.refused.is_empty() { (badges::badge(Tone::Warn, "the list was not read to its end")) }
    }
}

/// A list of snapshots, each beside the one before it.
pub fn table(snapshots: &[Snapshot], scopes: &Scopes, now: Instant) -> Markup {
    html! {
        table.table.cards {
            caption.hidden-visually { "Snapshots, newest first" }
            thead { tr { th scope="col" { "Snapshot" } th scope="col" { "Taken (UTC)" } th scope="col" { "State" } th.num scope="col" { "Policies" } th scope="col" { "Kind" } th scope="col" { "Compare" } } }
            tbody {
                @for (index, snapshot) in snapshots.iter().enumerate() {
                    @let before = snapshots.get(index + 1);
                    tr {
                        th scope="row" { a.id href={ "/snapshots/" (snapshot.id) } { (snapshot.id) } }
                        td data-label="Taken (UTC)" { (times::in_a_column(snapshot.created_at, now)) }
                        td data-label="State" { (whole(snapshot, scopes)) }
                        td.num data-label="Policies" { (figures::count(read(snapshot))) }
                        td data-label="Kind" { (kind(snapshot)) }
                        td.nowrap data-label="Compare" class=[before.is_none().then_some("none")] {
                            @if let Some(before) = before {
                                a href={ "/snapshots/" (before.id) "/diff/" (snapshot.id) } { "with " (before.id) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Policies that it has read.
pub fn read(snapshot: &Snapshot) -> u64 {
    let of_types: u64 = snapshot.coverage.values().map(|coverage| coverage.read).sum();
    of_types.max(snapshot.summary_counts.get(CountKey::Succeeded))
}

/// A fetched snapshot of nothing, for tests.
#[cfg(test)]
pub fn sample() -> Snapshot {
    use crate::ids::{RunId, SnapshotId, TenantId, WorkspaceId};
    let at = Instant::from_micros(1_700_000_000_000_000).expect("within the calendar");
    Snapshot {
        id: SnapshotId(5),
        kind: SnapshotKind::Fetched,
        operation_run_id: Some(RunId(1)),
        tenant_id: TenantId(3),
        workspace_id: WorkspaceId(1),
        outcome: Outcome::Succeeded,
        finished: true,
        source_tenant: None,
        label: None,
        created_at: at,
        completed_at: Some(at),
        summary_counts: crate::domain::counts::Counts::default(),
        coverage: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Code;

    fn asked_for(inputs: serde_json::Value) -> Scopes {
        let context = serde_json::Map::from_iter([("inputs".to_owned(), inputs)]);
        Scopes::of(&[crate::admin::samples::run(RunId(1), context)])
    }

    #[test]
    fn a_fetch_of_some_policies_is_no_picture_of_the_tenant() {
        let everything = asked_for(serde_json::json!({"policy_ids": null, "policy_types": null}));
        assert!(everything.is_everything(&sample()));
        assert!(whole(&sample(), &everything).into_string().contains("complete"));
        for some in
            [serde_json::json!({"policy_ids": ["a"]}), serde_json::json!({"policy_types": ["mobileApp"]})]
        {
            let scopes = asked_for(some);
            assert!(!scopes.is_everything(&sample()) && scopes.is_part(&sample()));
            let text = covered(&sample(), &scopes, sample().created_at).into_string();
            assert!(text.contains("only a part") && !text.contains("complete"), "{text}");
        }
        let replaced = Snapshot { kind: SnapshotKind::Replaced, ..sample() };
        assert!(!everything.is_everything(&replaced), "what a restore replaced is a part, too");
    }

    #[test]
    fn what_was_not_read_stands_first_with_its_code() {
        let whole = Coverage { listed: 4, read: 4, complete: true, ..Coverage::default() };
        let refused = BTreeMap::from([(Code::GraphForbidden, 2)]);
        let part = Coverage { listed: 9, read: 7, refused, complete: true, ..Coverage::default() };
        let types = BTreeMap::from([("compliancePolicy".to_owned(), whole), ("mobileApp".to_owned(), part)]);
        let text = coverage(&types).into_string();
        assert!(text.find(label("mobileApp")) < text.find(label("compliancePolicy")), "{text}");
        assert!(text.contains("graph.forbidden"), "{text}");
    }
}
