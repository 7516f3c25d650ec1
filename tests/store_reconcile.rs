//! What reconcile sees and repairs, on both engines.

#[path = "support/store.rs"]
mod support;

use std::time::Duration;

use atlasd::domain::assignment::PolicyChanges;
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::reconcile::{AdapterId, Limits, Observation, Repair, decide};
use atlasd::domain::run::{AttemptOutcome, Outcome, Run, Status};
use atlasd::ids::{InstanceId, RunId, SnapshotId};
use atlasd::store::{CandidateFilter, RestoreEnd, SnapshotEnd};
use support::*;

const FILTER: CandidateFilter =
    CandidateFilter { queued_max: Duration::from_secs(600), adapter_grace: Duration::from_secs(60) };
const LIMITS: Limits =
    Limits { attempts_max: 3, queued_max: FILTER.queued_max, adapter_grace: FILTER.adapter_grace };

async fn observed(lab: &Lab) -> Vec<Observation> {
    let seen = lab.store.observe(lab.workspace, FILTER, RunId(0), 100).await.unwrap();
    let workspaces = lab.store.workspaces_with_candidates(FILTER).await.unwrap();
    assert_eq!(workspaces.is_empty(), seen.is_empty(), "the two see the same");
    seen
}

/// The one candidate, and what the domain decides about it.
async fn candidate(lab: &Lab) -> (Observation, Repair) {
    let mut seen = observed(lab).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    let seen = seen.remove(0);
    let repair = decide(&seen, &LIMITS, lab.store.now().await.unwrap()).expect("every candidate is acted on");
    (seen, repair)
}

async fn repaired(lab: &Lab, seen: &Observation, repair: Repair) -> Run {
    lab.store.repair(seen, repair, COOLDOWN).await.unwrap().expect("it is still as seen")
}

/// As an earlier version left them behind.
fn reopen_snapshots(lab: &Lab) {
    let text = "UPDATE snapshots SET state = 'building', outcome = 'pending', completed_at = NULL";
    lab.database.execute(text).unwrap();
}

async fn lose_lease(lab: &Lab) {
    lab.advance(LEASE + Duration::from_secs(1));
}

async fn finish(lab: &Lab, run: &Run, outcome: Outcome, failures: Vec<Failure>) -> SnapshotId {
    let snapshot = lab.store.begin_snapshot(lease(run)).await.unwrap().expect("the lease is good");
    let end = SnapshotEnd { outcome, counts: counts(8), failures, coverage: Default::default() };
    assert!(lab.store.finish_snapshot(lease(run), snapshot, end, PolicyChanges::default()).await.unwrap());
    snapshot
}

on_each_engine! {
    async fn a_healthy_ledger_has_no_candidates(lab: &Lab) {
        let run = lab.running().await;
        lab.accepted(lab.request()).await;
        lab.store.begin_snapshot(lease(&run)).await.unwrap();
        assert!(observed(lab).await.is_empty());
        lab.store.heartbeat(lab.instance, Duration::from_secs(3_600)).await.unwrap();
        lab.advance(Duration::from_secs(900));
        assert!(observed(lab).await.is_empty(), "a run that waits for a busy tenant is not neglected");
    }

    async fn a_lost_lease_puts_the_run_back_while_tries_are_left(lab: &Lab) {
        let run = lab.running().await;
        lose_lease(lab).await;
        let (seen, repair) = candidate(lab).await;
        assert!(seen.lease_gone && seen.run == run && seen.adapter.is_none());
        assert_eq!(repair, Repair::Requeue);
        let queued = repaired(lab, &seen, repair).await;
        assert_eq!((queued.status, queued.attempt), (Status::Queued, 1));
        assert_eq!(lab.run(run.id).await, queued);
        let attempt = lab.store.attempts(run.id).await.unwrap().remove(0);
        assert_eq!((attempt.outcome, attempt.code), (AttemptOutcome::LeaseExpired, Some(Code::RunLeaseExpired)));
        assert_eq!(lab.store.repair(&seen, repair, COOLDOWN).await.unwrap(), None, "once");
        let other = InstanceId::fresh();
        lab.register(other, false).await;
        let again = lab.claimed_by(other).await;
        assert!(again.lease_token > run.lease_token && again.attempt == 2);
    }

    async fn a_lost_lease_without_tries_fails_the_run(lab: &Lab) {
        let run = lab.running().await;
        lab.database.execute("UPDATE operation_runs SET attempt = 3").unwrap();
        lose_lease(lab).await;
        let (seen, repair) = candidate(lab).await;
        assert_eq!(repair, Repair::CompleteLeaseExpired);
        let done = repaired(lab, &seen, repair).await;
        assert_eq!((done.outcome, done.failure_summary[0].code), (Outcome::Failed, Code::RunLeaseExpired));
        assert!(done.holds_identity && done.cooldown_until.is_some());
        assert_eq!(lab.run(run.id).await, done);
    }

    async fn a_cancelled_run_with_a_lost_lease_ends_as_cancelled(lab: &Lab) {
        let run = lab.running().await;
        lose_lease(lab).await;
        let (before_cancel, _) = candidate(lab).await;
        lab.store.request_cancel(run.id, "ada").await.unwrap();
        let (_, repair) = candidate(lab).await;
        assert_eq!(repair, Repair::CompleteCancelled);
        // A requeue that was decided before the request came must not forget it.
        let done = repaired(lab, &before_cancel, Repair::Requeue).await;
        assert_eq!((done.status, done.failure_summary[0].code), (Status::Completed, Code::RunCancelled));
        assert!(!done.holds_identity);
    }

    async fn an_owner_that_renewed_in_time_keeps_its_run(lab: &Lab) {
        let run = lab.running().await;
        lose_lease(lab).await;
        let (seen, repair) = candidate(lab).await;
        lab.store.heartbeat(lab.instance, LEASE).await.unwrap();
        assert_eq!(lab.store.repair(&seen, repair, COOLDOWN).await.unwrap(), None);
        assert_eq!(lab.run(run.id).await, run);
    }

    async fn a_run_whose_adapter_run_ended_is_completed_from_it(lab: &Lab) {
        let run = lab.running().await;
        let snapshot = finish(lab, &run, Outcome::Succeeded, Vec::new()).await;
        assert!(observed(lab).await.is_empty(), "its execution has time to complete it");
        lab.store.heartbeat(lab.instance, Duration::from_secs(3_600)).await.unwrap();
        lab.advance(Duration::from_secs(61));
        let (seen, repair) = candidate(lab).await;
        assert_eq!(repair, Repair::CompleteFromAdapter);
        let adapter = seen.adapter.as_ref().unwrap();
        assert!(adapter.of_latest_claim && adapter.id == AdapterId::Snapshot(snapshot) && !seen.lease_gone);
        let done = repaired(lab, &seen, repair).await;
        assert_eq!((done.outcome, &done.summary_counts), (Outcome::Succeeded, &counts(8)));
        assert!(done.cooldown_until.is_some());
        assert_eq!(done.context["snapshot_id"], snapshot.0, "as its execution would have completed it");
        let attempt = lab.store.attempts(run.id).await.unwrap().remove(0);
        assert_eq!((attempt.outcome, attempt.summary_counts), (AttemptOutcome::Succeeded, counts(8)));
    }

    async fn a_failed_adapter_run_fails_its_run_with_its_failures(lab: &Lab) {
        let run = lab.running().await;
        let failures = vec![Failure::new(Code::GraphForbidden, "forbidden")];
        finish(lab, &run, Outcome::Failed, failures.clone()).await;
        lose_lease(lab).await;
        let (seen, repair) = candidate(lab).await;
        assert_eq!(repair, Repair::CompleteFromAdapter);
        let done = repaired(lab, &seen, repair).await;
        assert_eq!((done.outcome, done.failure_summary), (Outcome::Failed, failures));
        assert_eq!(lab.store.attempts(run.id).await.unwrap()[0].outcome, AttemptOutcome::Failed);
    }

    async fn a_restore_whose_adapter_run_ended_is_completed_from_it(lab: &Lab) {
        for outcome in [Outcome::Succeeded, Outcome::Failed] {
            let run = lab.restoring().await;
            let restore = lab.store.begin_restore(lease(&run), false).await.unwrap().unwrap();
            let failures = match outcome {
                Outcome::Failed => vec![Failure::new(Code::AssignmentsVerifyMismatch, "not as wanted")],
                _ => Vec::new(),
            };
            let end = RestoreEnd { outcome, counts: counts(8), failures: failures.clone() };
            assert!(lab.store.finish_restore(lease(&run), restore, end).await.unwrap());
            lab.store.heartbeat(lab.instance, Duration::from_secs(3_600)).await.unwrap();
            assert!(observed(lab).await.is_empty(), "its execution has time to complete it");
            lab.advance(Duration::from_secs(61));
            let (seen, repair) = candidate(lab).await;
            assert_eq!(repair, Repair::CompleteFromAdapter);
            let adapter = seen.adapter.as_ref().unwrap();
            assert!(adapter.of_latest_claim && adapter.id == AdapterId::Restore(restore) && !seen.lease_gone);
            let done = repaired(lab, &seen, repair).await;
            assert_eq!((done.outcome, &done.summary_counts, &done.failure_summary), (outcome, &counts(8), &failures));
            assert_eq!(done.context["restore_id"], restore.0);
            assert!(done.cooldown_until.is_some() && observed(lab).await.is_empty());
        }
    }

    async fn a_restore_that_died_in_the_middle_goes_back_to_the_queue(lab: &Lab) {
        let run = lab.restoring().await;
        lab.store.begin_restore(lease(&run), false).await.unwrap().unwrap();
        lose_lease(lab).await;
        let (seen, repair) = candidate(lab).await;
        assert!(seen.adapter.as_ref().is_some_and(|adapter| adapter.of_latest_claim && adapter.terminal.is_none()));
        assert_eq!(repair, Repair::Requeue);
        assert_eq!(repaired(lab, &seen, repair).await.status, Status::Queued);
    }

    async fn a_restore_run_of_a_completed_run_is_closed(lab: &Lab) {
        let run = lab.restoring().await;
        let restore = lab.store.begin_restore(lease(&run), false).await.unwrap().unwrap();
        let done = lab.settled(lease(&run), failed(Code::RunTimeout)).await;
        assert!(observed(lab).await.is_empty(), "a run that ends closes its adapter runs itself");
        lab.database.execute("UPDATE restore_runs SET state = 'building', outcome = 'pending', completed_at = NULL").unwrap();
        let (seen, repair) = candidate(lab).await;
        assert!(repair == Repair::CloseAdapter && seen.adapter.as_ref().is_some_and(|adapter| adapter.id == AdapterId::Restore(restore)));
        assert_eq!(repaired(lab, &seen, repair).await, done);
        assert_eq!(lab.database.words("SELECT state AS word FROM restore_runs"), ["abandoned"]);
        assert!(observed(lab).await.is_empty());
    }

    async fn what_a_restore_replaced_is_no_adapter_run(lab: &Lab) {
        let run = lab.restoring().await;
        lab.store.begin_restore(lease(&run), false).await.unwrap().unwrap();
        // As if it were made while the run is active.
        let text = format!("INSERT INTO snapshots (operation_run_id, tenant_id, lease_token, kind, state, outcome, created_at, \
            completed_at) SELECT id, tenant_id, 0, 'replaced', 'finished', 'succeeded', created_at, created_at \
            FROM operation_runs WHERE id = {}", run.id);
        lab.database.execute(&text).unwrap();
        lose_lease(lab).await;
        let (seen, repair) = candidate(lab).await;
        assert!(repair == Repair::Requeue && matches!(seen.adapter.unwrap().id, AdapterId::Restore(_)));
    }

    async fn a_queued_run_that_nobody_picks_up_fails(lab: &Lab) {
        let run = lab.accepted(lab.request()).await;
        lab.advance(Duration::from_secs(601));
        assert!(observed(lab).await.is_empty(), "no instance lives that could serve it");
        lab.register(InstanceId::fresh(), false).await;
        assert!(observed(lab).await.is_empty(), "the instance has only just come");
        lab.store.heartbeat(lab.instance, Duration::from_secs(3_600)).await.unwrap();
        let (seen, repair) = candidate(lab).await;
        assert_eq!(repair, Repair::CompleteStaleQueued);
        assert!(seen.served_since.is_some() && !seen.tenant_busy);
        let done = repaired(lab, &seen, repair).await;
        assert_eq!((done.id, done.failure_summary[0].code), (run.id, Code::RunStaleQueued));
        assert!(lab.store.attempts(run.id).await.unwrap().is_empty());
    }

    async fn a_queue_that_moves_is_not_neglected(lab: &Lab) {
        lab.accepted(lab.request()).await;
        lab.accepted(lab.request()).await;
        lab.store.heartbeat(lab.instance, Duration::from_secs(3_600)).await.unwrap();
        lab.advance(Duration::from_secs(601));
        let first = lab.claimed().await;
        lab.settled(lease(&first), succeeded()).await;
        assert!(observed(lab).await.is_empty());
        lab.advance(Duration::from_secs(601));
        assert_eq!(candidate(lab).await.1, Repair::CompleteStaleQueued);
    }

    async fn an_adapter_run_of_a_completed_run_is_closed(lab: &Lab) {
        let run = lab.running().await;
        let snapshot = lab.store.begin_snapshot(lease(&run)).await.unwrap().unwrap();
        let done = lab.settled(lease(&run), failed(Code::RunTimeout)).await;
        assert!(observed(lab).await.is_empty(), "a run that ends closes its adapter runs itself");
        reopen_snapshots(lab);
        let (seen, repair) = candidate(lab).await;
        assert_eq!(repair, Repair::CloseAdapter);
        assert_eq!(repaired(lab, &seen, repair).await, done);
        assert_eq!(lab.store.snapshot(snapshot).await.unwrap().unwrap().outcome, Outcome::Failed);
        assert!(observed(lab).await.is_empty());
        assert_eq!(lab.store.repair(&seen, repair, COOLDOWN).await.unwrap(), None);
    }

    async fn the_pass_itself_and_other_workspaces_are_not_seen(lab: &Lab) {
        let run = lab.running().await;
        lose_lease(lab).await;
        let other = lab.store.add_workspace("fabrikam", "Fabrikam").await.unwrap().id;
        assert!(lab.store.observe(other, FILTER, RunId(0), 10).await.unwrap().is_empty());
        assert!(lab.store.observe(lab.workspace, FILTER, run.id, 10).await.unwrap().is_empty());
        assert!(lab.store.observe(lab.workspace, FILTER, RunId(0), 0).await.unwrap().is_empty());
        assert_eq!(lab.store.workspaces_with_candidates(FILTER).await.unwrap(), [lab.workspace]);
    }
}

/// SQLite has one writer, so that the two cannot meet.
#[test]
fn a_repair_waits_for_a_beat_that_is_just_being_written() {
    support::run(Engine::Postgres, |lab| {
        Box::pin(async move {
            let run = lab.running().await;
            lose_lease(lab).await;
            let (seen, repair) = candidate(lab).await;
            let database = lab.database.clone();
            let beat = std::thread::spawn(move || {
                database.execute(
                    "BEGIN; UPDATE instances SET lease_until = lease_until + interval '1 hour'; \
                     SELECT pg_sleep(1); COMMIT",
                )
            });
            let beating = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                 AND datname = current_database()";
            while lab.database.number(beating) == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(lab.store.repair(&seen, repair, COOLDOWN).await.unwrap(), None);
            assert!(beat.join().unwrap().is_ok());
            assert_eq!(lab.run(run.id).await, run, "its owner has it still");
        })
    });
}
