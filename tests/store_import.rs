//! Snapshots that come from a file: whole or not at all.

#[path = "support/store.rs"]
mod support;

use std::collections::BTreeMap;

use atlasd::clock::Instant;
use atlasd::domain::assignment::{Assignment, AssignmentSet, Target};
use atlasd::domain::counts::CountKey;
use atlasd::domain::run::Outcome;
use atlasd::ids::{SnapshotId, TenantId};
use atlasd::store::{Coverage, ImportedPolicy, NewImport, PageRequest, SnapshotKind, StoreError};
use support::*;

fn set_of(group: String) -> AssignmentSet {
    let target = Target::Group { group_id: group };
    let extras = BTreeMap::new();
    AssignmentSet::new(vec![Assignment { target, filter: None, intent: None, extras, inherited_from: None }])
}

fn policies(count: usize) -> Vec<ImportedPolicy> {
    let policy = |n: usize| ImportedPolicy {
        policy_type: if n.is_multiple_of(2) { "x" } else { "y" }.into(),
        policy_id: format!("p{n:05}"),
        name: format!("Policy {n}"),
        // Some sets are shared.
        assignments: if n.is_multiple_of(10) {
            AssignmentSet::default()
        } else {
            set_of(format!("g{}", n / 3))
        },
    };
    (0..count).map(policy).collect()
}

fn read_at() -> Instant {
    Instant::from_micros(1_700_000_000_000_001).expect("a date")
}

fn import(source_tenant: uuid::Uuid, items: Vec<ImportedPolicy>) -> NewImport {
    let coverage = Coverage { listed: 1, read: 1, complete: true, ..Coverage::default() };
    NewImport {
        source_tenant,
        label: Some("before the move".into()),
        created_at: read_at(),
        coverage: BTreeMap::from([("x".to_owned(), coverage)]),
        items,
    }
}

fn page(limit: usize, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}

on_each_engine! {
    async fn five_thousand_policies_are_imported(lab: &Lab) {
        let source = atlasd::ids::fresh_uuid();
        let snapshot = lab.store.import_snapshot(lab.tenant(), import(source, policies(5_000)), 500).await.unwrap();
        assert_eq!((snapshot.kind, snapshot.operation_run_id, snapshot.outcome), (SnapshotKind::Imported, None, Outcome::Succeeded));
        assert_eq!((snapshot.source_tenant, snapshot.label.as_deref()), (Some(source), Some("before the move")));
        assert_eq!((snapshot.tenant_id, snapshot.workspace_id, snapshot.created_at), (lab.tenant(), lab.workspace, read_at()));
        assert!(snapshot.completed_at.unwrap() > read_at());
        assert_eq!((snapshot.summary_counts.get(CountKey::Total), snapshot.summary_counts.get(CountKey::Items)), (5_000, 4_500));
        assert!(snapshot.coverage["x"].complete);
        let mut items = Vec::new();
        let mut next = page(2_000, None);
        loop {
            let part = lab.store.snapshot_items(snapshot.id, next).await.unwrap();
            items.extend(part.items);
            match part.next_cursor {
                None => break,
                cursor => next = page(2_000, cursor),
            }
        }
        let mut wanted = policies(5_000);
        wanted.sort_by(|a, b| (&a.policy_type, &a.policy_id).cmp(&(&b.policy_type, &b.policy_id)));
        assert_eq!(items.len(), wanted.len());
        for (item, policy) in items.iter().zip(&wanted) {
            assert_eq!((&item.policy_type, &item.policy_id, &item.name), (&policy.policy_type, &policy.policy_id, &policy.name));
            assert_eq!((&item.assignments, item.assignments_hash), (&policy.assignments, policy.assignments.hash()));
        }
        let listed = lab.store.snapshots(lab.tenant(), page(9, None)).await.unwrap().items;
        assert_eq!(listed.iter().map(|s| s.id).collect::<Vec<_>>(), [snapshot.id]);
    }

    async fn the_tenants_own_directory_is_kept_as_none(lab: &Lab) {
        let own = lab.store.tenant(lab.tenant()).await.unwrap().unwrap().external_id;
        let snapshot = lab.store.import_snapshot(lab.tenant(), import(own, Vec::new()), 500).await.unwrap();
        assert_eq!(snapshot.source_tenant, None);
        assert_eq!(snapshot.summary_counts.get(CountKey::Total), 0);
    }

    async fn of_two_items_for_a_policy_the_first_counts(lab: &Lab) {
        let mut items = policies(4);
        items.push(ImportedPolicy { name: "again".into(), ..items[1].clone() });
        let snapshot = lab.store.import_snapshot(lab.tenant(), import(atlasd::ids::fresh_uuid(), items), 2).await.unwrap();
        let items = lab.store.snapshot_items(snapshot.id, page(9, None)).await.unwrap().items;
        assert!(items.len() == 4 && items.iter().all(|item| item.name != "again"));
    }

    async fn a_half_import_is_never_seen(lab: &Lab) {
        // What a crash after the first part leaves behind.
        let snapshot = lab.store.import_snapshot(lab.tenant(), import(atlasd::ids::fresh_uuid(), policies(10)), 5).await.unwrap();
        let back = "UPDATE snapshots SET state = 'building', outcome = 'pending', completed_at = NULL";
        lab.database.execute(&format!("{back}; DELETE FROM snapshot_items WHERE policy_id > 'p00004'")).unwrap();
        assert!(lab.store.snapshot(snapshot.id).await.unwrap().is_none());
        assert!(lab.store.snapshots(lab.tenant(), page(9, None)).await.unwrap().items.is_empty());
    }

    async fn an_unknown_tenant_is_refused(lab: &Lab) {
        let refused = lab.store.import_snapshot(TenantId(999), import(atlasd::ids::fresh_uuid(), policies(1)), 5).await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
        assert!(lab.store.snapshot(SnapshotId(1)).await.unwrap().is_none());
        let healthy = lab.store.doctor().await.unwrap();
        assert!(healthy.iter().all(|finding| finding.broken == 0));
    }

    async fn the_doctor_does_not_miss_the_run_of_an_import(lab: &Lab) {
        lab.store.import_snapshot(lab.tenant(), import(atlasd::ids::fresh_uuid(), policies(1)), 5).await.unwrap();
        let broken: Vec<_> = lab.store.doctor().await.unwrap().into_iter().filter(|finding| finding.broken > 0).collect();
        assert!(broken.is_empty(), "{broken:?}");
    }
}
