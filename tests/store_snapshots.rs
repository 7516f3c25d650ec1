//! Snapshots, their items and the tenant's policies, on both engines.

#[path = "support/store.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use atlasd::domain::assignment::{Assignment, AssignmentSet, PolicyChanges, PolicyKey, Target};
use atlasd::domain::failure::Code;
use atlasd::domain::run::{HandBackReason, Outcome, Run, Settlement};
use atlasd::ids::SnapshotId;
use atlasd::store::{Coverage, PageRequest, SnapshotEnd, StoreError, StoredPolicy, StoredType};
use support::*;

fn set_of(groups: &[&str]) -> AssignmentSet {
    let assignment = |group: &&str| Assignment {
        target: Target::Group { group_id: (*group).into() },
        filter: None,
        intent: None,
        extras: BTreeMap::from([("settings".into(), serde_json::json!({"b": 1.50, "a": "nul \u{0}"}))]),
        inherited_from: None,
    };
    AssignmentSet::new(groups.iter().map(assignment).collect())
}

fn policy(id: &str, groups: &[&str]) -> StoredPolicy {
    let assignments = set_of(groups);
    StoredPolicy { policy_id: id.into(), name: format!("Policy {id}"), hash: assignments.hash(), assignments }
}

fn reading(policy_type: &str, policies: Vec<StoredPolicy>) -> StoredType {
    let read = policies.len() as u64;
    let coverage = Coverage { listed: read, read, complete: true, ..Coverage::default() };
    StoredType { policy_type: policy_type.into(), coverage, policies }
}

fn end() -> SnapshotEnd {
    let coverage = BTreeMap::from([(
        "configurationPolicy".to_owned(),
        Coverage {
            listed: 3,
            read: 2,
            refused: BTreeMap::from([(Code::GraphForbidden, 1)]),
            ..Coverage::default()
        },
    )]);
    SnapshotEnd { outcome: Outcome::Succeeded, counts: counts(3), failures: Vec::new(), coverage }
}

fn key(policy_type: &str, policy_id: &str) -> PolicyKey {
    PolicyKey { policy_type: policy_type.into(), policy_id: policy_id.into() }
}

async fn begun(lab: &Lab, run: &Run) -> SnapshotId {
    lab.store.begin_snapshot(lease(run)).await.unwrap().expect("the lease is good")
}

fn page(limit: usize, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}

on_each_engine! {
    async fn a_snapshot_gives_back_what_was_written(lab: &Lab) {
        let run = lab.running().await;
        let id = begun(lab, &run).await;
        assert_eq!(begun(lab, &run).await, id, "asked twice, the same one");
        let policies = vec![policy("b", &["g1"]), policy("a", &["g2", "g1"]), policy("c", &[])];
        assert!(lab.store.write_types(lease(&run), id, vec![reading("x", policies.clone())]).await.unwrap());
        assert!(lab.store.write_types(lease(&run), id, vec![reading("w", vec![policy("Z", &["g1"])])]).await.unwrap());
        assert!(lab.store.snapshots(lab.tenant(), page(10, None)).await.unwrap().items.is_empty(), "not ended yet");
        assert!(lab.store.finish_snapshot(lease(&run), id, end(), PolicyChanges::default()).await.unwrap());

        let snapshot = lab.store.snapshot(id).await.unwrap().unwrap();
        assert_eq!((snapshot.operation_run_id, snapshot.tenant_id, snapshot.workspace_id), (Some(run.id), lab.tenant(), lab.workspace));
        assert_eq!((snapshot.outcome, &snapshot.summary_counts, &snapshot.coverage), (Outcome::Succeeded, &end().counts, &end().coverage));
        assert!(snapshot.completed_at.is_some());
        let first = lab.store.snapshot_items(id, page(3, None)).await.unwrap();
        let second = lab.store.snapshot_items(id, page(3, first.next_cursor)).await.unwrap();
        assert_eq!(second.next_cursor, None);
        let items: Vec<_> = first.items.into_iter().chain(second.items).collect();
        let keys: Vec<_> = items.iter().map(|item| (item.policy_type.as_str(), item.policy_id.as_str())).collect();
        assert_eq!(keys, [("w", "Z"), ("x", "a"), ("x", "b"), ("x", "c")]);
        assert_eq!(items[1].assignments, policies[1].assignments, "settings survive as they are");
        assert!(items.iter().all(|item| item.assignments.hash() == item.assignments_hash));
        assert_eq!(lab.store.snapshot(SnapshotId(999)).await.unwrap().map(|s| s.id), None);
    }

    async fn an_assignment_set_is_stored_once(lab: &Lab) {
        for round in 0..2 {
            let run = lab.running().await;
            let id = begun(lab, &run).await;
            let policies = (0..20).map(|n| policy(&n.to_string(), &["g1"])).collect();
            assert!(lab.store.write_types(lease(&run), id, vec![reading("x", policies)]).await.unwrap());
            assert!(lab.store.finish_snapshot(lease(&run), id, end(), PolicyChanges::default()).await.unwrap());
            lab.settled(lease(&run), succeeded()).await;
            assert_eq!(lab.database.number("SELECT count(*) AS n FROM assignment_sets"), 1, "round {round}");
        }
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM snapshot_items"), 40);
        let page_of = lab.store.snapshots(lab.tenant(), page(10, None)).await.unwrap();
        assert!(page_of.items[0].id > page_of.items[1].id, "newest first");
    }

    async fn policies_follow_the_snapshots(lab: &Lab) {
        let run = lab.running().await;
        let id = begun(lab, &run).await;
        let first = vec![policy("a", &["g1"]), policy("b", &["g1"]), policy("c", &["g1"])];
        lab.store.write_types(lease(&run), id, vec![reading("x", first)]).await.unwrap();
        lab.store.write_types(lease(&run), id, vec![reading("y", vec![policy("d", &[])])]).await.unwrap();
        lab.store.finish_snapshot(lease(&run), id, end(), PolicyChanges::default()).await.unwrap();
        lab.settled(lease(&run), succeeded()).await;
        assert_eq!(lab.store.known_policies(lab.tenant(), None).await.unwrap().len(), 4);

        let run = lab.running().await;
        let second = begun(lab, &run).await;
        lab.store.write_types(lease(&run), second, vec![reading("x", vec![policy("a", &["g2"])])]).await.unwrap();
        let changes = PolicyChanges { deleted: BTreeSet::from([key("x", "b")]), ..PolicyChanges::default() };
        lab.store.finish_snapshot(lease(&run), second, end(), changes).await.unwrap();
        let known = lab.store.known_policies(lab.tenant(), Some(vec!["x".into()])).await.unwrap();
        let wanted = BTreeMap::from([(key("x", "a"), set_of(&["g2"]).hash()), (key("x", "c"), set_of(&["g1"]).hash())]);
        assert_eq!(known, wanted, "what was not read stays as known");
        let policies = lab.store.policies(lab.tenant(), page(10, None)).await.unwrap().items;
        let by: Vec<_> = policies.iter().map(|p| (p.policy_id.as_str(), p.snapshot_id)).collect();
        assert_eq!(by, [("a", second), ("c", id), ("d", id)]);
        assert!(lab.store.policies(lab.tenants[1], page(10, None)).await.unwrap().items.is_empty());
    }

    async fn an_old_lease_writes_nothing(lab: &Lab) {
        let old = lab.running().await;
        let abandoned = begun(lab, &old).await;
        lab.settled(lease(&old), Settlement::HandBack { reason: HandBackReason::Fenced }).await;
        let new = lab.claimed().await;
        assert!(!lab.store.write_types(lease(&old), abandoned, vec![reading("x", vec![policy("a", &[])])]).await.unwrap());
        assert!(!lab.store.finish_snapshot(lease(&old), abandoned, end(), PolicyChanges::default()).await.unwrap());
        assert_eq!(lab.store.begin_snapshot(lease(&old)).await.unwrap(), None);
        assert!(!lab.store.write_types(lease(&new), abandoned, vec![reading("x", Vec::new())]).await.unwrap(), "another claim's");
        let id = begun(lab, &new).await;
        assert_eq!(lab.store.snapshot(abandoned).await.unwrap().unwrap().outcome, Outcome::Failed);
        assert!(lab.store.finish_snapshot(lease(&new), id, end(), PolicyChanges::default()).await.unwrap());
        assert!(!lab.store.finish_snapshot(lease(&new), id, end(), PolicyChanges::default()).await.unwrap(), "it has ended");
        let listed = lab.store.snapshots(lab.tenant(), page(10, None)).await.unwrap().items;
        assert_eq!(listed.iter().map(|s| s.id).collect::<Vec<_>>(), [id]);
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM snapshot_items"), 0);
    }

    async fn a_type_written_twice_has_the_second_reading(lab: &Lab) {
        let run = lab.running().await;
        let id = begun(lab, &run).await;
        lab.store.write_types(lease(&run), id, vec![reading("x", vec![policy("a", &["g1"]), policy("b", &[])])]).await.unwrap();
        lab.store.write_types(lease(&run), id, vec![reading("x", vec![policy("a", &["g2"])])]).await.unwrap();
        let items = lab.store.snapshot_items(id, page(10, None)).await.unwrap().items;
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].assignments_hash, set_of(&["g2"]).hash());
    }

    async fn a_cursor_of_another_list_is_an_error(lab: &Lab) {
        for cursor in ["", "!!!", "bm90IGpzb24", "MTI", "e30"] {
            let answer = lab.store.snapshot_items(SnapshotId(1), page(1, Some(cursor.into()))).await;
            assert!(matches!(answer, Err(StoreError::Cursor)), "{cursor}: {answer:?}");
        }
    }
}
