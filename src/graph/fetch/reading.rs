//! The assignments of a type's policies: from the list where they can be trusted, else in batches.
//!
//! Invariant: a policy is in the reading with a set only when that set was read to its end; an empty one only when a
//! read of its own, or the policy's `isAssigned`, says so.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::listing::ListedItem;
use super::progress::Tracker;
use super::{ItemFailure, TypeReading};
use crate::domain::assignment::{AssignmentSet, Malformed};
use crate::domain::failure::{Code, sanitise};
use crate::domain::policy_types::{PolicyType, Read};
use crate::graph::client::GraphClient;
use crate::graph::error::GraphError;
use crate::graph::kind::assignments_path;
use crate::graph::paging::Page;
use crate::store::records::{Coverage, StoredPolicy};

/// Why a policy has no set.
enum Unread {
    Graph(GraphError),
    Malformed(Malformed),
}

/// One policy's end.
struct Outcome {
    item: ListedItem,
    /// The set, and whether its emptiness was confirmed.
    result: Result<AssignmentSet, Unread>,
}

/// Where a policy's assignments come from.
enum Source {
    /// The list: a first page and the link to the next.
    Listed(Page<Value>),
    /// The policy says itself that it has none.
    NotAssigned,
    /// A read of its own.
    OwnRead,
}

/// Reads the assignments of `items`, all of type `row`; `None` when cancelled.
pub(super) async fn read(
    client: &GraphClient,
    row: &'static PolicyType,
    items: Vec<ListedItem>,
    expanded: bool,
    cancel: &CancellationToken,
    tracker: &Tracker<'_>,
) -> Option<TypeReading> {
    let mut reading = TypeReading {
        policy_type: row,
        coverage: Coverage { listed: items.len() as u64, complete: true, ..Coverage::default() },
        policies: Vec::with_capacity(items.len()),
        listed: items.iter().map(|item| item.id.clone()).collect(),
        failures: Vec::new(),
    };
    let mut own_reads = Vec::new();
    for mut item in items {
        let result = match source(&mut item, row, expanded) {
            Source::OwnRead => {
                own_reads.push(item);
                continue;
            }
            Source::NotAssigned => Ok(AssignmentSet::default()),
            Source::Listed(page) => normalised(row, client.follow(page, cancel).await),
        };
        file(&mut reading, Outcome { item, result });
    }
    let read_so_far = reading.coverage.read;
    tracker.step(|progress| progress.read += read_so_far);

    let chunks = chunks(own_reads, client.wire.limits.batch_max);
    let batches = stream::iter(chunks).map(|chunk| batch(client, row, chunk, cancel));
    let mut batches = batches.buffer_unordered(client.wire.limits.parallel);
    while let Some(outcomes) = batches.next().await {
        let before = reading.coverage.read;
        for outcome in outcomes {
            file(&mut reading, outcome);
        }
        tracker.step(|progress| progress.read += reading.coverage.read - before);
    }
    (!cancel.is_cancelled()).then_some(reading)
}

/// Never trusts an empty `$expand` alone.
fn source(item: &mut ListedItem, row: &PolicyType, expanded: bool) -> Source {
    if !expanded || row.read == Read::Object {
        return Source::OwnRead;
    }
    let page =
        Page { value: item.assignments.take().unwrap_or_default(), next: item.assignments_next.take() };
    match item.is_assigned {
        _ if !page.value.is_empty() || page.next.is_some() => Source::Listed(page),
        Some(false) => Source::NotAssigned,
        Some(true) | None => Source::OwnRead,
    }
}

fn chunks(mut items: Vec<ListedItem>, size: usize) -> Vec<Vec<ListedItem>> {
    let mut chunks = Vec::with_capacity(items.len().div_ceil(size));
    while !items.is_empty() {
        let rest = items.split_off(items.len().min(size));
        chunks.push(std::mem::replace(&mut items, rest));
    }
    chunks
}

/// Reads the policies of one batch, each to its end. Boxed: within a stream the compiler cannot prove that this is
/// `Send` for every lifetime.
fn batch<'a>(
    client: &'a GraphClient,
    row: &'static PolicyType,
    items: Vec<ListedItem>,
    cancel: &'a CancellationToken,
) -> BoxFuture<'a, Vec<Outcome>> {
    Box::pin(async move { read_batch(client, row, items, cancel).await })
}

async fn read_batch(
    client: &GraphClient,
    row: &'static PolicyType,
    items: Vec<ListedItem>,
    cancel: &CancellationToken,
) -> Vec<Outcome> {
    let paths: Vec<String> = items.iter().map(|item| assignments_path(row, &item.id)).collect();
    let bodies = client.get_batch(&paths, cancel).await;
    let mut outcomes = Vec::with_capacity(items.len());
    for (item, body) in items.into_iter().zip(bodies) {
        let result = match body {
            Err(error) => Err(Unread::Graph(error)),
            Ok(object) if row.read == Read::Object => {
                AssignmentSet::from_role_assignment(&object).map_err(Unread::Malformed)
            }
            Ok(page) => normalised(row, client.rest_of(page, cancel).await),
        };
        outcomes.push(Outcome { item, result });
    }
    outcomes
}

fn normalised(row: &PolicyType, items: Result<Vec<Value>, GraphError>) -> Result<AssignmentSet, Unread> {
    let items = items.map_err(Unread::Graph)?;
    AssignmentSet::from_graph(row, &items).map_err(Unread::Malformed)
}

fn file(reading: &mut TypeReading, Outcome { item, result }: Outcome) {
    let row = reading.policy_type;
    match result {
        Ok(assignments) => {
            reading.coverage.read += 1;
            // Both ways to an empty set are confirmations, see `source`.
            reading.coverage.confirmed_empty += u64::from(assignments.is_empty());
            reading.policies.push(StoredPolicy {
                name: sanitise(item.name(row)),
                hash: assignments.hash(),
                assignments,
                policy_id: item.id,
            });
        }
        Err(Unread::Graph(error)) if error.is_cancelled() => {}
        Err(unread) => {
            let failure = unread.failure(row, &item.id);
            *reading.coverage.refused.entry(failure.failure.code).or_default() += 1;
            reading.failures.push(failure);
        }
    }
}

impl Unread {
    fn failure(&self, row: &PolicyType, id: &str) -> ItemFailure {
        let subject = format!("assignments of {} {id}", row.key);
        match self {
            // The policy was listed a moment ago: it was deleted meanwhile, and the next attempt will not list it.
            Self::Graph(error) if error.code == Code::GraphNotFound => {
                ItemFailure { transient: true, ..ItemFailure::of(error, &subject) }
            }
            Self::Graph(error) => ItemFailure::of(error, &subject),
            Self::Malformed(malformed) => {
                ItemFailure::lasting(Code::AssignmentsReadIncomplete, &format!("{subject}: {malformed}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::policy_types::find;

    fn item(value: Value) -> ListedItem {
        serde_json::from_value(value).expect("an item")
    }

    fn came_from(value: Value, expanded: bool) -> &'static str {
        let row = find("compliancePolicy").expect("a row");
        match source(&mut item(value), row, expanded) {
            Source::Listed(_) => "list",
            Source::NotAssigned => "flag",
            Source::OwnRead => "own read",
        }
    }

    #[test]
    fn an_empty_expand_is_never_trusted_alone() {
        let some = json!([{"id": "x"}]);
        for (value, expanded, expected) in [
            (json!({"id": "a", "assignments": some}), true, "list"),
            (
                json!({"id": "a", "assignments": [], "assignments@odata.nextLink": "https://g/x"}),
                true,
                "list",
            ),
            (json!({"id": "a", "assignments": []}), true, "own read"),
            (json!({"id": "a"}), true, "own read"),
            (json!({"id": "a", "assignments": null}), true, "own read"),
            (json!({"id": "a", "assignments": [], "isAssigned": true}), true, "own read"),
            (json!({"id": "a", "assignments": [], "isAssigned": false}), true, "flag"),
            (json!({"id": "a", "assignments": some}), false, "own read"),
            (json!({"id": "a", "isAssigned": false}), false, "own read"),
        ] {
            let shown = value.to_string();
            assert_eq!(came_from(value, expanded), expected, "{shown} {expanded}");
        }
    }

    #[test]
    fn chunks_hold_every_item_once() {
        let items = (0..45).map(|n| item(json!({"id": n.to_string()}))).collect();
        let sizes: Vec<_> = chunks(items, 20).iter().map(Vec::len).collect();
        assert_eq!(sizes, [20, 20, 5]);
        assert!(chunks(Vec::new(), 20).is_empty());
    }

    #[test]
    fn a_path_is_made_from_the_id_alone() {
        let path = |key, id| assignments_path(find(key).expect("a row"), id);
        assert_eq!(
            path("iosManagedAppProtection", "T_1"),
            "/deviceAppManagement/iosManagedAppProtections/T_1/assignments"
        );
        assert_eq!(path("roleAssignment", "a/b?c"), "/deviceManagement/roleAssignments/a%2Fb%3Fc");
    }
}
