//! Restores: restore runs and their journal, fenced by leases and shared by the claims of a run; and what they replaced.

#[path = "support/store.rs"]
mod support;

use std::collections::BTreeMap;

use atlasd::domain::assignment::{Assignment, AssignmentSet, PolicyKey, Target};
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::restore::{Decision, ItemState, JournalItem, PlannedItem, Widening};
use atlasd::domain::run::{Outcome, Run};
use atlasd::ids::{RestoreId, RunId};
use atlasd::store::{ItemEnd, PageRequest, RestoreEnd, RestoreItem, SnapshotKind};
use support::*;

fn set_of(groups: &[&str]) -> AssignmentSet {
    let assignment = |group: &&str| Assignment {
        target: Target::Group { group_id: (*group).into() },
        filter: None,
        intent: None,
        extras: BTreeMap::new(),
        inherited_from: None,
    };
    AssignmentSet::new(groups.iter().map(assignment).collect())
}

fn key(id: &str) -> PolicyKey {
    PolicyKey { policy_type: "x".into(), policy_id: id.into() }
}

fn planned(id: &str, base: &[&str], wanted: &[&str], decision: Decision) -> PlannedItem {
    PlannedItem {
        policy: key(id),
        name: format!("Policy {id}"),
        base: Some(set_of(base)),
        wanted: Some(set_of(wanted)),
        widens: vec![Widening::TargetAdded],
        decision,
    }
}

fn write(id: &str) -> PlannedItem {
    planned(id, &["old"], &["new"], Decision::Write { calls: 2 })
}

fn refused() -> Decision {
    Decision::Refused(Failure::new(Code::AssignmentsGroupUnmapped, "no group for g"))
}

fn ended(state: ItemState) -> ItemEnd {
    let failure = (state == ItemState::Failed).then(|| Failure::new(Code::GraphForbidden, "forbidden"));
    ItemEnd { state, verified: (state == ItemState::Verified).then(|| set_of(&["new"])), failure }
}

fn end(outcome: Outcome) -> RestoreEnd {
    RestoreEnd { outcome, counts: counts(4), failures: Vec::new() }
}

async fn begun(lab: &Lab, run: &Run) -> RestoreId {
    lab.store.begin_restore(lease(run), false).await.unwrap().expect("the lease is good")
}

async fn journal(lab: &Lab, run: &Run) -> BTreeMap<String, JournalItem> {
    let items = lab.store.journal(run.id).await.unwrap();
    items.into_iter().map(|item| (item.policy.policy_id.clone(), item)).collect()
}

async fn plan(lab: &Lab, run: &Run, items: Vec<PlannedItem>) {
    assert!(lab.store.plan_items(lease(run), items).await.unwrap());
}

async fn sent(lab: &Lab, run: &Run, id: &str) -> bool {
    let at = lab.store.mark_sent(lease(run), &key(id), &set_of(&["old"]), &set_of(&["new"])).await.unwrap();
    at.is_some()
}

async fn marked(lab: &Lab, run: &Run, id: &str, state: ItemState) -> bool {
    lab.store.mark_item(lease(run), &key(id), ended(state)).await.unwrap()
}

/// A restore that wrote the policies `ids`, and has completed.
async fn restored(lab: &Lab, ids: &[&str]) -> Run {
    let run = lab.restoring().await;
    let restore = begun(lab, &run).await;
    plan(lab, &run, ids.iter().map(|id| write(id)).collect()).await;
    for id in ids {
        assert!(sent(lab, &run, id).await && marked(lab, &run, id, ItemState::Verified).await);
    }
    assert!(lab.store.finish_restore(lease(&run), restore, end(Outcome::Succeeded)).await.unwrap());
    lab.settled(lease(&run), succeeded()).await
}

fn page(limit: usize, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}

on_each_engine! {
    async fn a_plan_is_kept_item_by_item(lab: &Lab) {
        let run = lab.restoring().await;
        begun(lab, &run).await;
        let unread = PlannedItem { base: None, wanted: None, ..planned("d", &[], &[], refused()) };
        plan(lab, &run, vec![write("b"), planned("a", &["g"], &["g"], Decision::Unchanged), planned("c", &[], &["g"], refused()), unread]).await;
        let items = journal(lab, &run).await;
        let states: Vec<_> = items.values().map(|item| item.state).collect();
        assert_eq!(states, [ItemState::Skipped, ItemState::Planned, ItemState::Failed, ItemState::Failed]);
        let b = &items["b"];
        assert_eq!((b.base, b.wanted), (Some(set_of(&["old"]).hash()), Some(set_of(&["new"]).hash())));
        assert_eq!((b.calls, b.widens.as_slice(), b.name.as_str()), (2, &[Widening::TargetAdded][..], "Policy b"));
        assert_eq!((b.sent, b.verified, b.sent_at, &b.failure), (None, None, None, &None));
        assert_eq!(items["c"].failure, Some(Failure::new(Code::AssignmentsGroupUnmapped, "no group for g")));
        assert_eq!((items["d"].base, items["d"].wanted), (None, None));
        let sets = lab.store.assignment_sets(vec![set_of(&["old"]).hash(), set_of(&[]).hash(), set_of(&["nowhere"]).hash()]).await.unwrap();
        assert_eq!(sets, BTreeMap::from([(set_of(&["old"]).hash(), set_of(&["old"])), (set_of(&[]).hash(), set_of(&[]))]));
        assert!(lab.store.journal(RunId(999)).await.unwrap().is_empty());
    }

    async fn an_item_goes_from_planned_over_sent_to_verified(lab: &Lab) {
        let run = lab.restoring().await;
        let restore = begun(lab, &run).await;
        assert_eq!(begun(lab, &run).await, restore, "asked twice, the same one");
        plan(lab, &run, vec![write("a"), write("b"), write("c")]).await;
        assert!(!marked(lab, &run, "a", ItemState::Verified).await, "nothing was sent");
        let at = lab.store.mark_sent(lease(&run), &key("a"), &set_of(&["live"]), &set_of(&["new"])).await.unwrap().unwrap();
        let item = journal(lab, &run).await["a"].clone();
        assert_eq!((item.state, item.sent_at), (ItemState::Sent, Some(at)));
        assert_eq!((item.base, item.sent), (Some(set_of(&["live"]).hash()), Some(set_of(&["new"]).hash())), "what is replaced is what was read last");
        assert!(!marked(lab, &run, "a", ItemState::Skipped).await, "a write was announced");
        assert!(marked(lab, &run, "a", ItemState::Verified).await);
        assert!(marked(lab, &run, "a", ItemState::Verified).await, "told twice, as after a lost answer");
        assert!(!marked(lab, &run, "a", ItemState::Failed).await && !sent(lab, &run, "a").await, "it has ended");
        assert_eq!(journal(lab, &run).await["a"].verified, Some(set_of(&["new"]).hash()));
        assert!(marked(lab, &run, "b", ItemState::Skipped).await && marked(lab, &run, "b", ItemState::Skipped).await);
        assert!(!sent(lab, &run, "b").await);
        assert!(sent(lab, &run, "c").await && sent(lab, &run, "c").await, "a write that was not applied is sent again");
        assert!(marked(lab, &run, "c", ItemState::Failed).await && !sent(lab, &run, "c").await);
        assert!(!sent(lab, &run, "nowhere").await && !marked(lab, &run, "nowhere", ItemState::Failed).await);
        for state in [ItemState::Planned, ItemState::Sent] {
            let end = ItemEnd { state, verified: None, failure: None };
            assert!(!lab.store.mark_item(lease(&run), &key("c"), end).await.unwrap(), "no end");
        }
    }

    async fn an_old_lease_changes_nothing(lab: &Lab) {
        let old = lab.restoring().await;
        let abandoned = begun(lab, &old).await;
        plan(lab, &old, vec![write("a"), write("b")]).await;
        assert!(sent(lab, &old, "b").await);
        let new = lab.reclaimed(&old).await;
        let before = (lab.store.journal(old.id).await.unwrap(), lab.database.number("SELECT count(*) AS n FROM assignment_sets"));
        assert_eq!(lab.store.begin_restore(lease(&old), false).await.unwrap(), None);
        let late = planned("z", &["late"], &["later"], Decision::Unchanged);
        assert!(!lab.store.plan_items(lease(&old), vec![late, write("a")]).await.unwrap());
        assert_eq!(lab.store.mark_sent(lease(&old), &key("a"), &set_of(&["late"]), &set_of(&["later"])).await.unwrap(), None);
        for id in ["a", "b"] {
            for state in [ItemState::Verified, ItemState::Skipped, ItemState::Failed] {
                assert!(!marked(lab, &old, id, state).await, "{id} {state:?}");
            }
        }
        assert!(!lab.store.finish_restore(lease(&old), abandoned, end(Outcome::Succeeded)).await.unwrap());
        assert!(!lab.store.finish_restore(lease(&new), abandoned, end(Outcome::Succeeded)).await.unwrap(), "another claim's");
        let after = (lab.store.journal(old.id).await.unwrap(), lab.database.number("SELECT count(*) AS n FROM assignment_sets"));
        assert_eq!(after, before);
        let restore = begun(lab, &new).await;
        assert_eq!(lab.database.words("SELECT state AS word FROM restore_runs ORDER BY id"), ["abandoned", "building"]);
        assert!(lab.store.finish_restore(lease(&new), restore, end(Outcome::Succeeded)).await.unwrap());
        assert!(!lab.store.finish_restore(lease(&new), restore, end(Outcome::Failed)).await.unwrap(), "it has ended");
        // Nor does the good lease of a run that has ended.
        lab.settled(lease(&new), succeeded()).await;
        assert!(!sent(lab, &new, "a").await && !marked(lab, &new, "b", ItemState::Verified).await);
    }

    async fn two_claims_in_turn_share_one_journal(lab: &Lab) {
        let first = lab.restoring().await;
        begun(lab, &first).await;
        plan(lab, &first, ["a", "b", "c", "d", "e"].map(write).into()).await;
        for id in ["a", "b", "c"] {
            assert!(sent(lab, &first, id).await);
        }
        assert!(marked(lab, &first, "a", ItemState::Verified).await && marked(lab, &first, "c", ItemState::Failed).await);
        assert!(marked(lab, &first, "d", ItemState::Skipped).await);
        let second = lab.reclaimed(&first).await;
        begun(lab, &second).await;
        let kept = journal(lab, &second).await;
        plan(lab, &second, ["a", "b", "c", "d", "e"].map(|id| planned(id, &["live"], &["other"], Decision::Write { calls: 1 })).into()).await;
        let items = journal(lab, &second).await;
        for id in ["a", "b", "d"] {
            assert_eq!(items[id], kept[id], "what was sent, verified or skipped stays");
        }
        for id in ["c", "e"] {
            let item = &items[id];
            assert_eq!((item.state, item.base, item.wanted), (ItemState::Planned, Some(set_of(&["live"]).hash()), Some(set_of(&["other"]).hash())));
            assert_eq!((item.sent, item.sent_at, &item.failure), (None, None, &None));
        }
        assert!(marked(lab, &second, "b", ItemState::Verified).await, "the second claim ends what the first one sent");
    }

    async fn what_is_about_to_be_replaced_is_readable_after_a_crash(lab: &Lab) {
        let run = lab.restoring().await;
        begun(lab, &run).await;
        plan(lab, &run, vec![write("a")]).await;
        // Somebody changed it since the plan; then the process dies before it sends anything.
        let live = set_of(&["live", "edited"]);
        lab.store.mark_sent(lease(&run), &key("a"), &live, &set_of(&["new"])).await.unwrap().unwrap();
        let next = lab.reclaimed(&run).await;
        let item = journal(lab, &next).await["a"].clone();
        assert_eq!(item.state, ItemState::Sent);
        let sets = lab.store.assignment_sets(vec![item.base.unwrap(), item.wanted.unwrap()]).await.unwrap();
        assert_eq!(sets[&item.base.unwrap()], live);
        assert_eq!(sets[&item.wanted.unwrap()], set_of(&["new"]));
    }

    async fn a_run_that_ends_closes_its_restore_runs(lab: &Lab) {
        for settlement in [failed(Code::RunTimeout), succeeded()] {
            let run = lab.restoring().await;
            begun(lab, &run).await;
            lab.settled(lease(&run), settlement).await;
            let open = "SELECT count(*) AS n FROM restore_runs WHERE state <> 'abandoned' OR outcome <> 'failed'";
            assert_eq!(lab.database.number(open), 0);
        }
        let run = lab.restoring().await;
        begun(lab, &run).await;
        let again = lab.reclaimed(&run).await;
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM restore_runs WHERE state = 'building'"), 1, "as for snapshots: the next one closes it");
        begun(lab, &again).await;
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM restore_runs WHERE state = 'building'"), 1);
    }

    async fn items_are_listed_by_page_and_state_with_their_sets(lab: &Lab) {
        let run = lab.restoring().await;
        begun(lab, &run).await;
        let unread = PlannedItem { base: None, ..planned("e", &[], &["new"], refused()) };
        plan(lab, &run, vec![write("c"), write("a"), write("b"), planned("d", &["new"], &["new"], Decision::Unchanged), unread]).await;
        sent(lab, &run, "a").await;
        let first = lab.store.restore_items(run.id, None, page(3, None)).await.unwrap();
        let second = lab.store.restore_items(run.id, None, page(3, first.next_cursor)).await.unwrap();
        assert_eq!(second.next_cursor, None);
        let items: Vec<_> = first.items.into_iter().chain(second.items).collect();
        assert_eq!(items.iter().map(|item| item.policy_id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
        assert_eq!((items[0].state, items[0].sent_hash), (ItemState::Sent, Some(set_of(&["new"]).hash())));
        assert_eq!((&items[0].base, &items[0].wanted), (&Some(set_of(&["old"])), &Some(set_of(&["new"]))));
        assert_eq!((&items[4].base, items[4].failure.as_ref().map(|failure| failure.code)), (&None, Some(Code::AssignmentsGroupUnmapped)));
        let planned = lab.store.restore_items(run.id, Some(ItemState::Planned), page(1, None)).await.unwrap();
        assert_eq!(planned.items[0].policy_id, "b");
        let rest = lab.store.restore_items(run.id, Some(ItemState::Planned), page(9, planned.next_cursor)).await.unwrap();
        assert_eq!(rest.items.iter().map(|item| item.policy_id.as_str()).collect::<Vec<_>>(), ["c"]);
        let json = serde_json::to_value(&items[4]).unwrap();
        assert_eq!((&json["state"], &json["failure"]["code"], &json["widens"][0]), (&"failed".into(), &"assignments.group_unmapped".into(), &"target_added".into()));
    }

    async fn what_failed_and_what_widens_is_reviewed_first_and_all_is_counted(lab: &Lab) {
        let run = lab.restoring().await;
        begun(lab, &run).await;
        let widening = |id: &str| PlannedItem { widens: vec![Widening::ExclusionLost, Widening::TargetAdded], ..write(id) };
        let plan_of = vec![write("a"), planned("b", &["new"], &["new"], Decision::Unchanged), write("c"), widening("d"), planned("e", &[], &["new"], refused())];
        plan(lab, &run, plan_of).await;
        let ids = |items: &[RestoreItem]| items.iter().map(|item| item.policy_id.clone()).collect::<Vec<_>>();
        let (all, more) = lab.store.restore_items_to_review(run.id, None, 4).await.unwrap();
        assert_eq!((ids(&all), more), (vec!["e".into(), "d".into(), "a".into(), "c".into()], false));
        let (first, more) = lab.store.restore_items_to_review(run.id, Some(ItemState::Planned), 2).await.unwrap();
        assert_eq!((ids(&first), more), (vec!["d".into(), "a".into()], true));
        let tally = lab.store.restore_tally(run.id).await.unwrap();
        let of = |state| tally.iter().filter(|alike| alike.state == state).map(|alike| alike.count).sum::<u64>();
        assert_eq!([ItemState::Planned, ItemState::Skipped, ItemState::Failed, ItemState::Sent].map(of), [3, 1, 1, 0]);
        assert!(tally.iter().any(|alike| alike.widens == [Widening::ExclusionLost, Widening::TargetAdded] && alike.count == 1));
        assert!(tally.iter().any(|alike| alike.code == Some(Code::AssignmentsGroupUnmapped)));
    }

    async fn what_a_restore_replaced_is_a_snapshot(lab: &Lab) {
        let run = lab.restoring().await;
        let restore = begun(lab, &run).await;
        plan(lab, &run, vec![write("a"), write("b"), write("c"), planned("d", &["new"], &["new"], Decision::Unchanged)]).await;
        assert!(lab.store.mark_sent(lease(&run), &key("a"), &set_of(&[]), &set_of(&["new"])).await.unwrap().is_some());
        assert!(marked(lab, &run, "a", ItemState::Verified).await);
        assert!(sent(lab, &run, "b").await && marked(lab, &run, "b", ItemState::Failed).await, "whether it was applied is unknown");
        assert!(lab.store.replaced_snapshot(run.id).await.unwrap().is_none(), "not completed");
        assert!(lab.store.finish_restore(lease(&run), restore, end(Outcome::Failed)).await.unwrap());
        lab.settled(lease(&run), failed(Code::AssignmentsPartialFailure)).await;

        let snapshot = lab.store.replaced_snapshot(run.id).await.unwrap().expect("it wrote");
        assert_eq!((snapshot.kind, snapshot.operation_run_id, snapshot.tenant_id), (SnapshotKind::Replaced, Some(run.id), lab.tenant()));
        assert_eq!((snapshot.outcome, snapshot.source_tenant, &snapshot.label), (Outcome::Succeeded, None, &None));
        let coverage = &snapshot.coverage["x"];
        assert_eq!((coverage.listed, coverage.read, coverage.confirmed_empty, coverage.complete), (2, 2, 1, true));
        let items = lab.store.snapshot_items(snapshot.id, page(9, None)).await.unwrap().items;
        let sets: Vec<_> = items.iter().map(|item| (item.policy_id.as_str(), item.assignments.clone())).collect();
        assert_eq!(sets, [("a", set_of(&[])), ("b", set_of(&["old"]))]);
        assert_eq!(lab.store.replaced_snapshot(run.id).await.unwrap().unwrap().id, snapshot.id);
        assert_eq!(lab.store.snapshot(snapshot.id).await.unwrap().unwrap().kind, SnapshotKind::Replaced);
        assert!(lab.store.replaced_snapshot(RunId(999)).await.unwrap().is_none());
    }

    async fn undo_puts_back_what_was_there_before_the_run(lab: &Lab) {
        let first = lab.restoring().await;
        begun(lab, &first).await;
        plan(lab, &first, vec![write("a"), write("b")]).await;
        assert!(sent(lab, &first, "a").await && marked(lab, &first, "a", ItemState::Failed).await);
        assert!(sent(lab, &first, "b").await && marked(lab, &first, "b", ItemState::Failed).await);
        let second = lab.reclaimed(&first).await;
        begun(lab, &second).await;
        // The first attempt's write of `a` was applied after all, that of `b` in part.
        plan(lab, &second, vec![planned("a", &["new"], &["new"], Decision::Unchanged), planned("b", &["part"], &["new"], Decision::Write { calls: 1 })]).await;
        lab.store.mark_sent(lease(&second), &key("b"), &set_of(&["part"]), &set_of(&["new"])).await.unwrap().unwrap();
        assert!(marked(lab, &second, "b", ItemState::Verified).await);
        lab.settled(lease(&second), succeeded()).await;
        let snapshot = lab.store.replaced_snapshot(first.id).await.unwrap().unwrap();
        let items = lab.store.snapshot_items(snapshot.id, page(9, None)).await.unwrap().items;
        assert!(items.len() == 2 && items.iter().all(|item| item.assignments == set_of(&["old"])), "{items:?}");
        let new = set_of(&["new"]).hash();
        assert_eq!(lab.store.verified_hashes(first.id).await.unwrap(), BTreeMap::from([(key("a"), new), (key("b"), new)]));
    }

    async fn a_restore_that_wrote_nothing_has_nothing_to_undo(lab: &Lab) {
        let run = lab.restoring().await;
        begun(lab, &run).await;
        plan(lab, &run, vec![write("a"), planned("b", &["new"], &["new"], Decision::Unchanged)]).await;
        lab.settled(lease(&run), succeeded()).await;
        assert!(lab.store.replaced_snapshot(run.id).await.unwrap().is_none());
        assert!(lab.store.verified_hashes(run.id).await.unwrap().is_empty());
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM snapshots"), 0);
    }

    async fn many_that_ask_at_once_get_the_same_replaced_snapshot(lab: &Lab) {
        let run = restored(lab, &["a", "b", "c"]).await;
        let asking: Vec<_> = (0..16).map(|_| {
            let store = lab.store.clone();
            tokio::spawn(async move { store.replaced_snapshot(run.id).await.unwrap().unwrap().id })
        }).collect();
        let mut ids = std::collections::BTreeSet::new();
        for asked in asking {
            ids.insert(asked.await.unwrap());
        }
        assert_eq!(ids.len(), 1);
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM snapshot_items"), 3);
    }

    async fn only_a_completed_dry_run_has_a_plan_to_carry_out(lab: &Lab) {
        let run = lab.restoring().await;
        let restore = lab.store.begin_restore(lease(&run), true).await.unwrap().unwrap();
        let unread = PlannedItem { base: None, wanted: None, ..planned("c", &[], &[], refused()) };
        plan(lab, &run, vec![write("a"), planned("b", &["g"], &["g"], Decision::Unchanged), unread]).await;
        assert!(lab.store.planned_hashes(run.id).await.unwrap().is_empty(), "not ended");
        assert!(lab.store.finish_restore(lease(&run), restore, end(Outcome::Succeeded)).await.unwrap());
        assert!(lab.store.planned_hashes(run.id).await.unwrap().is_empty(), "not completed");
        lab.settled(lease(&run), succeeded()).await;
        let shown = BTreeMap::from([(key("a"), set_of(&["old"]).hash()), (key("b"), set_of(&["g"]).hash())]);
        assert_eq!(lab.store.planned_hashes(run.id).await.unwrap(), shown);
        assert!(lab.store.replaced_snapshot(run.id).await.unwrap().is_none());
        let carried_out = restored(lab, &["a"]).await;
        assert!(lab.store.planned_hashes(carried_out.id).await.unwrap().is_empty(), "no dry run");
        assert_eq!(lab.store.verified_hashes(carried_out.id).await.unwrap(), BTreeMap::from([(key("a"), set_of(&["new"]).hash())]));
    }

    async fn a_restore_run_names_what_its_inputs_name(lab: &Lab) {
        lab.accepted(lab.restore_request(serde_json::json!({"snapshot_id": 7, "plan_run_id": null}))).await;
        begun(lab, &lab.claimed().await).await;
        let word = "SELECT snapshot_id || ' ' || coalesce(plan_run_id, 0) AS word FROM restore_runs";
        assert_eq!(lab.database.words(word), ["7 0"]);
        // A number that no row can have.
        let run = lab.run(RunId(1)).await;
        lab.settled(lease(&run), succeeded()).await;
        lab.accepted(lab.restore_request(serde_json::json!({"snapshot_id": u64::MAX, "plan_run_id": 3}))).await;
        begun(lab, &lab.claimed().await).await;
        assert_eq!(lab.database.number("SELECT plan_run_id AS n FROM restore_runs WHERE snapshot_id IS NULL"), 3);
    }

    async fn a_plan_of_thousands_is_stored_at_once(lab: &Lab) {
        let run = lab.restoring().await;
        begun(lab, &run).await;
        let items = (0..5_000).map(|n| planned(&format!("p{n}"), &[&format!("g{n}")], &["new"], Decision::Write { calls: 1 }));
        plan(lab, &run, items.collect()).await;
        assert_eq!(lab.store.journal(run.id).await.unwrap().len(), 5_000);
        assert_eq!(lab.database.number("SELECT count(*) AS n FROM assignment_sets"), 5_001);
    }
}
