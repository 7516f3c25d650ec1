//! Retention: what is old or too much goes in small steps, and what is needed stays whatever its age.

#[path = "support/store.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atlasd::domain::assignment::{Assignment, AssignmentSet, PolicyChanges, PolicyKey, Target};
use atlasd::domain::failure::Code;
use atlasd::domain::restore::{Decision, ItemState, PlannedItem};
use atlasd::domain::retention::Rules;
use atlasd::domain::run::{Completion, Outcome, Run, Settlement};
use atlasd::ids::{RunId, SnapshotId};
use atlasd::store::{
    Coverage, ImportedPolicy, ItemEnd, NewImport, PageRequest, PruneRequest, PruneStep, Pruned, RestoreEnd,
    SnapshotEnd, StoredPolicy, StoredType,
};
use serde_json::json;
use support::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn rules() -> Rules {
    Rules {
        runs_max_age: DAY * 30,
        runs_keep: 1_000,
        attempts_max_age: DAY * 30,
        snapshots_max_age: DAY * 30,
        snapshots_keep: 1_000,
    }
}

/// A whole pass; what it did in sum, and in how many steps.
async fn pass(lab: &Lab, rules: Rules, batch_max: usize) -> (Pruned, usize) {
    let mut sum = Pruned::default();
    let mut step = Some(PruneStep::default());
    let mut steps = 0;
    while let Some(next) = step {
        let done = lab.store.prune(PruneRequest { rules, batch_max, step: next }).await.unwrap();
        assert!(done.snapshot_items <= batch_max && done.sets <= batch_max && done.runs <= batch_max);
        sum.released += done.released;
        sum.runs += done.runs;
        sum.attempts += done.attempts;
        sum.snapshots += done.snapshots;
        sum.snapshot_items += done.snapshot_items;
        sum.policies += done.policies;
        sum.sets += done.sets;
        step = done.next;
        steps += 1;
        assert!(steps < 1_000, "a pass ends");
    }
    (sum, steps)
}

async fn pruned(lab: &Lab) -> Pruned {
    pass(lab, rules(), 500).await.0
}

/// Time passes; the instance goes on living.
async fn later(lab: &Lab, by: Duration) {
    lab.advance(by);
    lab.store.heartbeat(lab.instance, DAY * 10_000).await.unwrap();
}

fn count(lab: &Lab, table: &str) -> i64 {
    lab.database.number(&format!("SELECT count(*) AS n FROM {table}"))
}

fn runs(lab: &Lab) -> Vec<i64> {
    let ids = lab.database.words("SELECT CAST(id AS text) AS word FROM operation_runs ORDER BY id");
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

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

/// A completed fetch of these policies, each with a group; `deleted` are those that are gone.
async fn fetch(
    lab: &Lab,
    policies: &[(&str, &str)],
    deleted: &[&str],
    outcome: Outcome,
) -> (Run, SnapshotId) {
    let run = lab.running().await;
    let id = lab.store.begin_snapshot(lease(&run)).await.unwrap().unwrap();
    let stored = policies.iter().map(|(policy, group)| {
        let assignments = set_of(&[group]);
        StoredPolicy { policy_id: (*policy).into(), name: "P".into(), hash: assignments.hash(), assignments }
    });
    let reading = StoredType {
        policy_type: "x".into(),
        coverage: Coverage { complete: true, ..Coverage::default() },
        policies: stored.collect(),
    };
    let coverage = BTreeMap::from([("x".to_owned(), reading.coverage.clone())]);
    assert!(lab.store.write_types(lease(&run), id, vec![reading]).await.unwrap());
    let changes = PolicyChanges {
        deleted: deleted.iter().map(|id| key(id)).collect::<BTreeSet<_>>(),
        ..PolicyChanges::default()
    };
    let end = SnapshotEnd { outcome, counts: counts(1), failures: Vec::new(), coverage };
    assert!(lab.store.finish_snapshot(lease(&run), id, end, changes).await.unwrap());
    let settlement = match outcome {
        Outcome::Succeeded => succeeded(),
        _ => failed(Code::GraphForbidden),
    };
    (lab.settled(lease(&run), settlement).await, id)
}

async fn fetched(lab: &Lab, policies: &[(&str, &str)]) -> (Run, SnapshotId) {
    fetch(lab, policies, &[], Outcome::Succeeded).await
}

/// A completed restore with these inputs that wrote the policies `ids`.
async fn restored(lab: &Lab, inputs: serde_json::Value, dry_run: bool, ids: &[&str]) -> Run {
    lab.accepted(lab.restore_request(inputs)).await;
    let run = lab.claimed().await;
    let restore = lab.store.begin_restore(lease(&run), dry_run).await.unwrap().unwrap();
    let items = ids.iter().map(|id| PlannedItem {
        policy: key(id),
        name: "P".into(),
        base: Some(set_of(&[&format!("base of {id}")])),
        wanted: Some(set_of(&["wanted"])),
        widens: Vec::new(),
        decision: Decision::Write { calls: 1 },
    });
    assert!(lab.store.plan_items(lease(&run), items.collect()).await.unwrap());
    for id in ids.iter().filter(|_| !dry_run) {
        let (base, wanted) = (set_of(&[&format!("base of {id}")]), set_of(&["wanted"]));
        lab.store.mark_sent(lease(&run), &key(id), &base, &wanted).await.unwrap().unwrap();
        let end = ItemEnd { state: ItemState::Verified, verified: Some(wanted), failure: None };
        assert!(lab.store.mark_item(lease(&run), &key(id), end).await.unwrap());
    }
    let end = RestoreEnd { outcome: Outcome::Succeeded, counts: counts(1), failures: Vec::new() };
    assert!(lab.store.finish_restore(lease(&run), restore, end).await.unwrap());
    lab.settled(lease(&run), succeeded()).await
}

on_each_engine! {
    async fn an_empty_ledger_has_nothing_to_prune(lab: &Lab) {
        assert_eq!(pruned(lab).await, Pruned::default());
    }

    async fn young_runs_stay_and_old_ones_go_with_what_is_theirs(lab: &Lab) {
        let old = lab.completed().await;
        let restored = restored(lab, json!({}), false, &["a", "b"]).await;
        lab.store.replaced_snapshot(restored.id).await.unwrap().unwrap();
        later(lab, DAY * 29).await;
        let young = lab.completed().await;
        let done = pruned(lab).await;
        assert_eq!(done, Pruned { released: 2, ..Pruned::default() }, "their cooldown is over");
        assert!(!lab.run(old.id).await.holds_identity && lab.run(young.id).await.holds_identity);
        later(lab, DAY * 2).await;
        let done = pruned(lab).await;
        assert_eq!((done.runs, done.released), (2, 1));
        assert_eq!(runs(lab), [young.id.0]);
        for table in ["restore_items", "restore_runs", "snapshots", "snapshot_items", "assignment_sets"] {
            assert_eq!(count(lab, table), 0, "{table}");
        }
        assert_eq!(done.sets, 3);
        assert_eq!(lab.store.attempts(young.id).await.unwrap().len(), 1);
        assert_eq!(pruned(lab).await, Pruned::default());
    }

    async fn a_run_that_is_active_or_holds_its_identity_stays(lab: &Lab) {
        let forever = Completion {
            outcome: Outcome::Succeeded, counts: counts(1), failures: Vec::new(),
            context: serde_json::Map::new(), cooldown: DAY * 1_000,
        };
        let held = lab.running().await;
        lab.settled(lease(&held), Settlement::Complete(forever)).await;
        let running = lab.running().await;
        let queued = lab.accepted(lab.request()).await;
        later(lab, DAY * 900).await;
        let none_kept = Rules { runs_keep: 0, ..rules() };
        assert_eq!(pass(lab, none_kept, 500).await.0.runs, 0);
        assert_eq!(runs(lab), [held.id.0, running.id.0, queued.id.0]);
        assert!(lab.run(held.id).await.holds_identity);
        later(lab, DAY * 200).await;
        assert_eq!(pruned(lab).await.runs, 1);
        assert_eq!(runs(lab), [running.id.0, queued.id.0]);
    }

    async fn of_too_many_runs_the_newest_stay_for_each_operation_and_tenant(lab: &Lab) {
        let mut fetches = Vec::new();
        for _ in 0..5 {
            fetches.push(lab.completed().await.id.0);
        }
        let restore = restored(lab, json!({}), true, &["a"]).await.id.0;
        let other = lab.accepted(lab.request_of(lab.tenants[1], identity(251))).await;
        lab.store.request_cancel(other.id, "ada").await.unwrap();
        let mut passes = Vec::new();
        for _ in 0..3 {
            let run = lab.accepted(lab.reconcile_request()).await;
            lab.store.request_cancel(run.id, "ada").await.unwrap();
            passes.push(run.id.0);
        }
        later(lab, DAY).await;
        let two = Rules { runs_keep: 2, ..rules() };
        assert_eq!(pass(lab, two, 500).await.0.runs, 4);
        assert_eq!(runs(lab), [fetches[3], fetches[4], restore, other.id.0, passes[1], passes[2]]);
    }

    async fn attempts_may_go_before_their_run(lab: &Lab) {
        let old = lab.completed().await;
        later(lab, DAY * 5).await;
        let young = lab.completed().await;
        let running = lab.running().await;
        let brief = Rules { attempts_max_age: DAY, ..rules() };
        assert_eq!(pass(lab, brief, 500).await.0.attempts, 1);
        assert!(lab.store.attempts(old.id).await.unwrap().is_empty());
        for run in [young, running] {
            assert_eq!(lab.store.attempts(run.id).await.unwrap().len(), 1);
        }
    }

    async fn an_old_snapshot_goes_and_then_its_run(lab: &Lab) {
        let (run, old) = fetched(lab, &[("a", "g1"), ("b", "g1"), ("c", "g2")]).await;
        later(lab, DAY).await;
        let (_, new) = fetched(lab, &[("a", "g3"), ("b", "g3"), ("c", "g3")]).await;
        later(lab, DAY * 30).await;
        let (done, _) = pass(lab, rules(), 2).await;
        assert_eq!((done.snapshots, done.snapshot_items, done.runs, done.sets), (1, 3, 1, 2));
        assert!(lab.store.snapshot(old).await.unwrap().is_none() && lab.store.run(run.id).await.unwrap().is_none());
        let items = lab.store.snapshot_items(new, PageRequest { limit: 9, cursor: None }).await.unwrap().items;
        assert_eq!(items.len(), 3);
        assert!(lab.store.doctor().await.unwrap().iter().all(|finding| finding.broken == 0));
    }

    async fn the_last_good_snapshot_of_a_tenant_stays(lab: &Lab) {
        let (_, older) = fetched(lab, &[]).await;
        let (good_run, good) = fetched(lab, &[]).await;
        let (_, bad) = fetch(lab, &[], &[], Outcome::Failed).await;
        later(lab, DAY * 1_000).await;
        let done = pass(lab, Rules { snapshots_keep: 0, ..rules() }, 500).await.0;
        assert_eq!((done.snapshots, done.runs), (2, 2));
        assert!(lab.store.snapshot(older).await.unwrap().is_none() && lab.store.snapshot(bad).await.unwrap().is_none());
        assert!(lab.store.snapshot(good).await.unwrap().is_some());
        assert_eq!(runs(lab), [good_run.id.0], "a run stays as long as its snapshot");
    }

    async fn a_snapshot_that_a_policy_was_last_read_in_stays(lab: &Lab) {
        let (_, first) = fetched(lab, &[("a", "g1"), ("b", "g2")]).await;
        later(lab, DAY).await;
        let (_, second) = fetch(lab, &[("a", "g1")], &[], Outcome::Succeeded).await;
        later(lab, DAY * 100).await;
        assert_eq!(pruned(lab).await.snapshots, 0, "b was not read since");
        assert!(lab.store.snapshot(first).await.unwrap().is_some());
        // Then it is found to be gone, and that is long ago.
        let (_, third) = fetch(lab, &[("a", "g1")], &["b"], Outcome::Succeeded).await;
        later(lab, DAY * 29).await;
        let done = pruned(lab).await;
        assert_eq!((done.policies, done.snapshots), (0, 1), "the second one is needed by nobody");
        assert!(lab.store.snapshot(second).await.unwrap().is_none());
        later(lab, DAY * 2).await;
        let done = pruned(lab).await;
        assert_eq!((done.policies, done.snapshots), (1, 1));
        assert!(lab.store.snapshot(first).await.unwrap().is_none() && lab.store.snapshot(third).await.unwrap().is_some());
        assert_eq!(lab.store.known_policies(lab.tenant(), None).await.unwrap().len(), 1);
    }

    async fn of_too_many_snapshots_the_newest_stay(lab: &Lab) {
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(fetched(lab, &[("a", "g1")]).await.1);
        }
        later(lab, DAY).await;
        let two = Rules { snapshots_keep: 2, ..rules() };
        assert_eq!(pass(lab, two, 1).await.0.snapshots, 3);
        let left = lab.store.snapshots(lab.tenant(), PageRequest { limit: 9, cursor: None }).await.unwrap().items;
        assert_eq!(left.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [ids[4], ids[3]]);
    }

    async fn what_an_active_run_names_stays(lab: &Lab) {
        let (_, named) = fetched(lab, &[]).await;
        let plan = restored(lab, json!({}), true, &["a"]).await;
        fetched(lab, &[]).await;
        later(lab, DAY * 100).await;
        let restore = lab.accepted(lab.restore_request(json!({"snapshot_id": named.0, "plan_run_id": plan.id.0}))).await;
        pruned(lab).await;
        assert!(lab.store.snapshot(named).await.unwrap().is_some());
        assert_eq!(lab.store.journal(plan.id).await.unwrap().len(), 1);
        lab.store.request_cancel(restore.id, "ada").await.unwrap();
        pruned(lab).await;
        assert!(lab.store.snapshot(named).await.unwrap().is_none());
        assert_eq!(lab.store.run(plan.id).await.unwrap(), None);
    }

    async fn what_a_kept_restore_refers_to_stays_as_long_as_it(lab: &Lab) {
        let (_, source) = fetched(lab, &[]).await;
        let plan = restored(lab, json!({"snapshot_id": source.0}), true, &["a"]).await;
        fetched(lab, &[]).await;
        later(lab, DAY * 25).await;
        let inputs = json!({"snapshot_id": source.0, "plan_run_id": plan.id.0});
        let restore = restored(lab, inputs, false, &["a"]).await;
        let replaced = lab.store.replaced_snapshot(restore.id).await.unwrap().unwrap().id;
        later(lab, DAY * 25).await;
        pruned(lab).await;
        assert!(lab.store.snapshot(source).await.unwrap().is_some() && lab.store.run(plan.id).await.unwrap().is_some());
        let undo = restored(lab, json!({"snapshot_id": replaced.0}), false, &["a"]).await;
        later(lab, DAY * 25).await;
        pruned(lab).await;
        assert!(lab.store.snapshot(replaced).await.unwrap().is_some(), "the undo was made from it");
        assert_eq!(lab.store.replaced_snapshot(restore.id).await.unwrap().unwrap().id, replaced);
        assert_eq!(lab.store.journal(restore.id).await.unwrap().len(), 1);
        later(lab, DAY * 10).await;
        for _ in 0..4 {
            pruned(lab).await;
        }
        for run in [plan.id, restore.id, undo.id] {
            assert_eq!(lab.store.run(run).await.unwrap(), None);
        }
        assert!(lab.store.snapshot(source).await.unwrap().is_none() && lab.store.snapshot(replaced).await.unwrap().is_none());
        assert_eq!(count(lab, "assignment_sets"), 0);
    }

    async fn what_a_restore_replaced_goes_with_its_run_and_not_before(lab: &Lab) {
        let restore = restored(lab, json!({}), false, &["a"]).await;
        lab.store.replaced_snapshot(restore.id).await.unwrap().unwrap();
        later(lab, DAY * 20).await;
        let eager = Rules { snapshots_max_age: DAY, snapshots_keep: 0, ..rules() };
        assert_eq!(pass(lab, eager, 500).await.0.snapshots, 0);
        assert!(lab.store.replaced_snapshot(restore.id).await.unwrap().is_some());
        later(lab, DAY * 20).await;
        pass(lab, eager, 500).await;
        assert!(lab.store.replaced_snapshot(restore.id).await.unwrap().is_none());
        assert_eq!((count(lab, "snapshots"), count(lab, "restore_items")), (0, 0));
    }

    async fn an_import_is_as_old_as_its_import_and_a_half_one_goes_after_a_day(lab: &Lab) {
        let now = lab.store.now().await.unwrap();
        let import = || NewImport {
            source_tenant: atlasd::ids::fresh_uuid(),
            label: None,
            created_at: now - chrono::Duration::days(1_000),
            coverage: BTreeMap::new(),
            items: vec![ImportedPolicy { policy_type: "x".into(), policy_id: "a".into(), name: "P".into(), assignments: set_of(&["g"]) }],
        };
        let whole = lab.store.import_snapshot(lab.tenant(), import(), 10).await.unwrap();
        let half = lab.store.import_snapshot(lab.tenant(), import(), 10).await.unwrap();
        let now = match lab.engine {
            Engine::Sqlite => now.micros().to_string(),
            Engine::Postgres => "now()".to_owned(),
        };
        lab.database.execute(&format!("UPDATE snapshots SET state = 'building', outcome = 'pending', completed_at = NULL, \
            created_at = {now} WHERE id = {}", half.id)).unwrap();
        later(lab, DAY / 2).await;
        pruned(lab).await;
        assert_eq!(count(lab, "snapshots"), 2, "it may be on its way");
        later(lab, DAY).await;
        pruned(lab).await;
        assert!(lab.store.snapshot(whole.id).await.unwrap().is_some());
        assert_eq!((count(lab, "snapshots"), count(lab, "snapshot_items")), (1, 1));
        later(lab, DAY * 30).await;
        pruned(lab).await;
        assert_eq!((count(lab, "snapshots"), count(lab, "assignment_sets")), (0, 0));
    }

    async fn a_set_that_anything_refers_to_stays(lab: &Lab) {
        let run = lab.restoring().await;
        lab.store.begin_restore(lease(&run), false).await.unwrap().unwrap();
        let item = |id: &str, decision| PlannedItem { policy: key(id), name: "P".into(), base: Some(set_of(&["base"])), wanted: Some(set_of(&["wanted"])), widens: Vec::new(), decision };
        lab.store.plan_items(lease(&run), vec![item("a", Decision::Write { calls: 1 })]).await.unwrap();
        lab.store.mark_sent(lease(&run), &key("a"), &set_of(&["first"]), &set_of(&["sent"])).await.unwrap().unwrap();
        lab.store.mark_sent(lease(&run), &key("a"), &set_of(&["second"]), &set_of(&["sent"])).await.unwrap().unwrap();
        let failure = Some(atlasd::domain::failure::Failure::new(Code::AssignmentsVerifyMismatch, "x"));
        let end = ItemEnd { state: ItemState::Failed, verified: Some(set_of(&["found"])), failure };
        assert!(lab.store.mark_item(lease(&run), &key("a"), end).await.unwrap());
        assert_eq!(count(lab, "assignment_sets"), 6);
        assert_eq!(pass(lab, rules(), 1).await.0.sets, 1, "the plan's base was replaced by what was read last");
        let hashes = ["wanted", "first", "second", "sent", "found"].map(|group| set_of(&[group]).hash());
        assert_eq!(lab.store.assignment_sets(hashes.into()).await.unwrap().len(), 5);
    }

    async fn a_large_snapshot_goes_in_small_steps_and_out_of_sight_first(lab: &Lab) {
        let names: Vec<String> = (0..50).map(|n| format!("p{n:02}")).collect();
        let policies: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        let (_, old) = fetched(lab, &policies).await;
        fetched(lab, &policies).await;
        later(lab, DAY * 40).await;
        let mut step = Some(PruneStep::default());
        let mut partly = 0;
        while let Some(next) = step {
            let left = lab.database.number(&format!("SELECT count(*) AS n FROM snapshot_items WHERE snapshot_id = {old}"));
            if (1..50).contains(&left) {
                partly += 1;
                let listed = lab.store.snapshots(lab.tenant(), PageRequest { limit: 9, cursor: None }).await.unwrap().items;
                assert!(listed.iter().all(|snapshot| snapshot.id != old));
                let seen = lab.store.snapshot(old).await.unwrap();
                assert!(seen.is_none_or(|seen| seen.coverage.is_empty() && seen.outcome == Outcome::Failed));
            }
            step = lab.store.prune(PruneRequest { rules: rules(), batch_max: 7, step: next }).await.unwrap().next;
        }
        assert!(partly >= 7, "{partly}");
        assert!(lab.store.snapshot(old).await.unwrap().is_none());
    }

    async fn two_that_prune_at_the_same_time_hurt_nobody(lab: &Lab) {
        let names: Vec<String> = (0..60).map(|n| format!("p{n:02}")).collect();
        let policies: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        for _ in 0..4 {
            fetched(lab, &policies).await;
        }
        later(lab, DAY * 40).await;
        let pruner = |store: atlasd::store::Store| async move {
            let mut step = Some(PruneStep::default());
            while let Some(next) = step {
                step = store.prune(PruneRequest { rules: rules(), batch_max: 7, step: next }).await.expect("no batch is aborted").next;
            }
        };
        let (one, other) = (tokio::spawn(pruner(lab.store.clone())), tokio::spawn(pruner(lab.store.clone())));
        one.await.unwrap();
        other.await.unwrap();
        pruned(lab).await;
        assert_eq!((count(lab, "snapshots"), count(lab, "snapshot_items")), (1, 60), "the last good one stays");
    }

    async fn pruning_and_fetching_at_the_same_time_hurt_nobody(lab: &Lab) {
        // The same sets become orphans and are written again, over and over.
        let store = lab.store.clone();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let pruner = tokio::spawn({
            let stop = stop.clone();
            async move {
                let mut removed = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let request = PruneRequest { rules: rules(), batch_max: 500, step: PruneStep::Sets(None) };
                    removed += store.prune(request).await.expect("it finds its way").sets;
                }
                removed
            }
        });
        let run = lab.running().await;
        let id = lab.store.begin_snapshot(lease(&run)).await.unwrap().unwrap();
        let policies = |groups: std::ops::Range<usize>| -> Vec<StoredPolicy> {
            groups.map(|n| {
                let assignments = set_of(&[&format!("g{n}")]);
                StoredPolicy { policy_id: format!("p{n}"), name: "P".into(), hash: assignments.hash(), assignments }
            }).collect()
        };
        for round in 0..60 {
            // A type that is written again lets go of what it had.
            let groups = if round % 2 == 0 { 0..20 } else { 20..40 };
            let reading = StoredType { policy_type: "x".into(), coverage: Coverage::default(), policies: policies(groups) };
            assert!(lab.store.write_types(lease(&run), id, vec![reading]).await.expect("no set vanishes under it"));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(pruner.await.unwrap() > 0, "it had something to do");
        let items = lab.store.snapshot_items(id, PageRequest { limit: 99, cursor: None }).await.unwrap().items;
        assert_eq!(items.len(), 20);
    }

    async fn a_step_of_another_pass_goes_on_from_where_it_is_told(lab: &Lab) {
        let request = |step| PruneRequest { rules: rules(), batch_max: 500, step };
        let done = lab.store.prune(request(PruneStep::Runs(lab.tenants[2]))).await.unwrap();
        assert!(matches!(done.next, Some(PruneStep::WorkspaceRuns(_))));
        let done = lab.store.prune(request(PruneStep::Snapshots(lab.tenants[0]))).await.unwrap();
        assert_eq!(done.next, Some(PruneStep::Snapshots(lab.tenants[1])));
        assert_eq!(lab.store.run(RunId(1)).await.unwrap(), None);
    }
}
