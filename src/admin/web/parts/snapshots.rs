//! Snapshots: what was read of each policy type, and lists of them.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::badges::{self, Tone};
use super::{figures, times};
use crate::clock::Instant;
use crate::domain::counts::CountKey;
use crate::domain::policy_types;
use crate::domain::run::Outcome;
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

/// Whether all of its scope was read.
pub fn whole(snapshot: &Snapshot) -> Markup {
    match (snapshot.finished, snapshot.outcome) {
        (false, _) => badges::badge(Tone::Warn, "not ended"),
        (true, Outcome::Failed) => badges::badge(Tone::Warn, "in parts"),
        (true, _) => badges::badge(Tone::Good, "complete"),
    }
}

/// What was read of each type; what was not read first.
pub fn coverage(types: &BTreeMap<String, Coverage>) -> Markup {
    let mut sorted: Vec<_> = types.iter().collect();
    sorted.sort_by_key(|(key, coverage)| (is_whole(coverage), label(key).to_owned()));
    html! {
        table.table.cards {
            caption.hidden-visually { "What was read of each policy type" }
            thead { tr { th scope="col" { "Type" } th.num scope="col" { "Listed" } th.num scope="col" { "Read" } th.num scope="col" { "Empty" } th scope="col" { "Not read" } } }
            tbody {
                @for (key, coverage) in sorted {
                    tr {
                        th scope="row" title=(key) { (label(key)) }
                        td.num data-label="Listed" { (figures::count(coverage.listed)) }
                        td.num data-label="Read" { (figures::count(coverage.read)) }
                        td.num data-label="Empty" title="assigned to nobody; a read of its own confirmed it" {
                            (figures::count(coverage.confirmed_empty))
                        }
                        td data-label="Not read" class=[is_whole(coverage).then_some("none")] { (not_read(coverage)) }
                    }
                }
            }
        }
    }
}

/// Whether all of a type was read.
pub fn is_whole(coverage: &Coverage) -> bool {
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
pub fn table(snapshots: &[Snapshot], now: Instant) -> Markup {
    html! {
        table.table.cards {
            caption.hidden-visually { "Snapshots, newest first" }
            thead { tr { th scope="col" { "Snapshot" } th scope="col" { "Taken" } th scope="col" { "State" } th.num scope="col" { "Policies" } th scope="col" { "Kind" } th scope="col" { "Compare" } } }
            tbody {
                @for (index, snapshot) in snapshots.iter().enumerate() {
                    @let before = snapshots.get(index + 1);
                    tr {
                        th scope="row" { a.id href={ "/snapshots/" (snapshot.id) } { "#" (snapshot.id) } }
                        td data-label="Taken" { (times::relative(snapshot.created_at, now)) }
                        td data-label="State" { (whole(snapshot)) }
                        td.num data-label="Policies" { (figures::count(read(snapshot))) }
                        td data-label="Kind" { (kind(snapshot)) }
                        td data-label="Compare" class=[before.is_none().then_some("none")] {
                            @if let Some(before) = before {
                                a href={ "/snapshots/" (before.id) "/diff/" (snapshot.id) } { "with #" (before.id) }
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
