//! Claims, settlements, cancellation and instances on both engines.

#[path = "support/store.rs"]
mod support;

use std::time::Duration;

use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::operation::Operation;
use atlasd::domain::run::{AttemptOutcome, HandBackReason, Lease, Outcome, Run, Settlement, Status};
use atlasd::ids::{InstanceId, LeaseToken, RunId};
use atlasd::store::{Cancel, Claim, Settled};
use support::*;

fn retry(next_attempt_at: atlasd::clock::Instant) -> Settlement {
    Settlement::Retry {
        next_attempt_at,
        counts: counts(1),
        failures: vec![Failure::new(Code::GraphThrottled, "throttled")],
    }
}

const HAND_BACK: Settlement = Settlement::HandBack { reason: HandBackReason::Draining };

async fn is_stale(lab: &Lab, lease: Lease, settlement: Settlement) -> bool {
    matches!(lab.store.settle(lease, settlement).await.unwrap(), Settled::Stale)
}

async fn claim(lab: &Lab) -> Claim {
    lab.store.claim_next(lab.tenant(), lab.instance).await.unwrap()
}

async fn last_attempt(lab: &Lab, run: &Run) -> atlasd::domain::run::Attempt {
    lab.store.attempts(run.id).await.unwrap().pop().expect("an attempt")
}

on_each_engine! {
    async fn a_claim_takes_a_larger_token_and_leaves_an_attempt(lab: &Lab) {
        let queued = lab.accepted(lab.request()).await;
        let run = lab.claimed().await;
        assert_eq!((run.id, run.status, run.attempt), (queued.id, Status::Running, 1));
        assert!(run.lease_token > queued.lease_token && run.started_at.is_some());
        assert_eq!(run.lease_owner, Some(lab.instance));
        assert_eq!(lab.run(run.id).await, run);
        assert!(lab.store.is_canonical(lease(&run)).await.unwrap());
        let attempt = last_attempt(lab, &run).await;
        assert_eq!((attempt.attempt, attempt.outcome), (1, AttemptOutcome::Running));
        assert_eq!((attempt.lease_token, attempt.instance_id), (run.lease_token, lab.instance));
    }

    async fn a_tenant_runs_one_at_a_time_restores_first_then_oldest(lab: &Lab) {
        let fetch = lab.accepted(lab.request()).await;
        let later = lab.accepted(lab.request()).await;
        let mut restore = lab.request();
        restore.operation = Operation::Restore;
        let restore = lab.accepted(restore).await;
        let mut order = Vec::new();
        for _ in 0..3 {
            let run = lab.claimed().await;
            assert!(matches!(claim(lab).await, Claim::Busy));
            assert_eq!(lab.store.claim_run(later.id, lab.instance).await.unwrap(), None);
            assert!(lab.store.tenants_with_due_runs(10).await.unwrap().is_empty(), "a busy tenant is not due");
            order.push(run.id);
            lab.settled(lease(&run), succeeded()).await;
        }
        assert_eq!(order, [restore.id, fetch.id, later.id]);
        assert!(matches!(claim(lab).await, Claim::Idle { next: None }));
    }

    async fn a_claim_says_whether_others_of_the_tenant_are_queued(lab: &Lab) {
        let mut elsewhere = lab.request();
        elsewhere.tenant_id = Some(lab.tenants[1]);
        lab.accepted(elsewhere).await;
        lab.accepted(lab.request()).await;
        lab.accepted(lab.request()).await;
        let mut said = Vec::new();
        for _ in 0..2 {
            let Claim::Claimed { run, more } = claim(lab).await else { panic!("it is due") };
            said.push(more);
            lab.settled(lease(&run), succeeded()).await;
        }
        // One that waits for its next attempt is queued as well: what becomes due by time alone, nobody tells.
        lab.accepted(lab.request()).await;
        let waiting = lab.claimed().await;
        lab.settled(lease(&waiting), retry(lab.clock.now() + chrono::Duration::hours(1))).await;
        lab.accepted(lab.request()).await;
        let Claim::Claimed { more, .. } = claim(lab).await else { panic!("it is due") };
        said.push(more);
        assert_eq!(said, [true, false, true]);
    }

    async fn due_tenants_are_listed_oldest_first(lab: &Lab) {
        for tenant in [2, 0, 1, 2] {
            let mut request = lab.request();
            request.tenant_id = Some(lab.tenants[tenant]);
            lab.accepted(request).await;
        }
        let reconcile = lab.accepted(lab.reconcile_request()).await;
        let due = lab.store.tenants_with_due_runs(10).await.unwrap();
        assert_eq!(due, [lab.tenants[2], lab.tenants[0], lab.tenants[1]]);
        assert_eq!(lab.store.tenants_with_due_runs(1).await.unwrap(), [lab.tenants[2]]);
        assert_eq!(lab.store.due_workspace_runs(10).await.unwrap(), [reconcile]);
    }

    async fn racing_claims_of_a_tenant_have_one_winner(lab: &Lab) {
        for _ in 0..10 { lab.accepted(lab.request()).await; }
        for _ in 0..10 {
            let mut racing = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let (store, tenant, instance) = (lab.store.clone(), lab.tenant(), lab.instance);
                racing.spawn(async move { store.claim_next(tenant, instance).await.expect("never an index") });
            }
            let mut won = Vec::new();
            while let Some(claim) = racing.join_next().await {
                if let Claim::Claimed { run, .. } = claim.unwrap() { won.push(*run); }
            }
            assert_eq!(won.len(), 1);
            lab.settled(lease(&won[0]), succeeded()).await;
        }
    }

    async fn a_success_completes_the_run_with_the_counts_of_its_attempt(lab: &Lab) {
        let run = lab.running().await;
        let mut end = succeeded();
        if let Settlement::Complete(end) = &mut end { end.context.insert("repairs".into(), serde_json::json!([1])); }
        let done = lab.settled(lease(&run), end).await;
        assert_eq!((done.status, done.outcome), (Status::Completed, Outcome::Succeeded));
        assert_eq!(done.summary_counts, counts(3));
        assert_eq!(done.context["repairs"], serde_json::json!([1]));
        assert!(done.holds_identity && done.lease_owner.is_none());
        assert_eq!(lab.run(run.id).await, done);
        let attempt = last_attempt(lab, &run).await;
        assert_eq!((attempt.outcome, attempt.summary_counts), (AttemptOutcome::Succeeded, counts(3)));
        assert_eq!(attempt.ended_at, done.completed_at);
        assert!(!lab.store.is_canonical(lease(&run)).await.unwrap());
    }

    async fn settling_twice_in_the_same_way_is_done_twice(lab: &Lab) {
        let run = lab.running().await;
        let done = lab.settled(lease(&run), succeeded()).await;
        assert_eq!(lab.settled(lease(&run), succeeded()).await, done);
        assert!(is_stale(lab, lease(&run), failed(Code::GraphTimeout)).await);
        assert!(is_stale(lab, lease(&run), HAND_BACK).await);
        assert_eq!(lab.run(run.id).await, done);
        let attempt = last_attempt(lab, &run).await;
        assert_eq!((attempt.outcome, attempt.summary_counts), (AttemptOutcome::Succeeded, counts(3)), "the final attempt stays");
    }

    async fn a_retry_waits_and_uses_up_a_try(lab: &Lab) {
        let first = lab.running().await;
        let at = lab.store.now().await.unwrap() + Duration::from_secs(60);
        let waiting = lab.settled(lease(&first), retry(at)).await;
        assert_eq!((waiting.status, waiting.attempt, waiting.next_attempt_at), (Status::Queued, 1, Some(at)));
        assert_eq!(waiting.summary_counts, atlasd::domain::counts::Counts::default());
        assert!(waiting.holds_identity && waiting.failure_summary.is_empty());
        assert!(matches!(claim(lab).await, Claim::Idle { next: Some(next) } if next == at));
        assert_eq!(lab.store.claim_run(first.id, lab.instance).await.unwrap(), None, "it is not due");
        assert!(lab.store.tenants_with_due_runs(10).await.unwrap().is_empty());
        let attempt = last_attempt(lab, &first).await;
        assert_eq!((attempt.outcome, attempt.code), (AttemptOutcome::Retried, Some(Code::GraphThrottled)));
        lab.advance(Duration::from_secs(61));
        lab.store.heartbeat(lab.instance, LEASE).await.unwrap();
        let second = lab.claimed().await;
        assert_eq!((second.id, second.attempt), (first.id, 2));
        assert!(second.lease_token > first.lease_token);
        assert_eq!(second.started_at, first.started_at);
        let done = lab.settled(lease(&second), failed(Code::GraphThrottled)).await;
        assert_eq!(done.failure_summary.len(), 1);
        assert_eq!(done.summary_counts, counts(2));
    }

    async fn a_hand_back_gives_the_try_back(lab: &Lab) {
        let first = lab.running().await;
        let back = lab.settled(lease(&first), HAND_BACK).await;
        assert_eq!((back.status, back.attempt, back.next_attempt_at), (Status::Queued, 0, None));
        assert_eq!(lab.settled(lease(&first), HAND_BACK).await.id, first.id);
        let second = lab.claimed().await;
        assert_eq!((second.attempt, second.lease_token), (1, LeaseToken(first.lease_token.0 + 1)));
        let attempts = lab.store.attempts(first.id).await.unwrap();
        assert_eq!(attempts.iter().map(|a| a.outcome).collect::<Vec<_>>(), [AttemptOutcome::HandedBack, AttemptOutcome::Running]);
        assert_eq!(attempts[0].attempt, attempts[1].attempt);
    }

    async fn an_old_token_changes_nothing_and_is_kept_as_stale(lab: &Lab) {
        let old = lab.running().await;
        lab.settled(lease(&old), HAND_BACK).await;
        let new = lab.claimed().await;
        for late in [succeeded(), failed(Code::GraphTimeout), retry(lab.clock.now())] {
            assert!(is_stale(lab, lease(&old), late).await);
            assert_eq!(lab.run(new.id).await, new);
            assert!(!lab.store.is_canonical(lease(&old)).await.unwrap());
            let attempt = &lab.store.attempts(old.id).await.unwrap()[0];
            assert_eq!((attempt.outcome, attempt.code), (AttemptOutcome::Stale, Some(Code::RunStaleAttemptResult)));
        }
        assert_eq!(lab.store.attempts(old.id).await.unwrap()[1].outcome, AttemptOutcome::Running);
        assert!(is_stale(lab, Lease { run_id: RunId(9_999), token: LeaseToken(1) }, succeeded()).await);
    }

    async fn a_queued_run_is_cancelled_at_once_without_cooldown(lab: &Lab) {
        let request = lab.request();
        let run = lab.accepted(request.clone()).await;
        let Cancel::Completed(done) = lab.store.request_cancel(run.id, "ada").await.unwrap() else { panic!("completed") };
        assert_eq!((done.outcome, done.failure_summary[0].code), (Outcome::Failed, Code::RunCancelled));
        assert!(!done.holds_identity && done.cooldown_until.is_none() && done.cancel_requested_at.is_some());
        assert_eq!(lab.run(run.id).await, done);
        assert!(matches!(lab.store.request_cancel(run.id, "ada").await.unwrap(), Cancel::AlreadyCompleted(_)));
        assert!(matches!(lab.store.request_cancel(RunId(9_999), "ada").await.unwrap(), Cancel::NotFound));
        assert_ne!(lab.accepted(request).await.id, run.id);
    }

    async fn a_running_run_is_marked_and_its_instance_told(lab: &Lab) {
        let run = lab.running().await;
        let Cancel::Requested(marked) = lab.store.request_cancel(run.id, "ada").await.unwrap() else { panic!("requested") };
        let again = lab.store.request_cancel(run.id, "eve").await.unwrap();
        assert!(matches!(again, Cancel::Requested(again) if again.cancel_requested_at == marked.cancel_requested_at));
        assert_eq!(lab.database.words("SELECT cancel_requested_by AS word FROM operation_runs"), ["ada"]);
        let beat = lab.store.heartbeat(lab.instance, LEASE).await.unwrap();
        assert_eq!(beat.cancel_requested, [run.id]);
        // Back in the queue nobody would execute the request: a retry or hand-back ends the run.
        let done = lab.settled(lease(&run), retry(lab.clock.now())).await;
        assert_eq!((done.status, done.failure_summary[0].code), (Status::Completed, Code::RunCancelled));
        assert!(!done.holds_identity);
        assert_eq!(last_attempt(lab, &run).await.outcome, AttemptOutcome::Retried);
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().cancel_requested.is_empty());
    }

    async fn a_heartbeat_renews_until_the_instance_has_stopped(lab: &Lab) {
        let run = lab.running().await;
        let database = lab.store.now().await.unwrap();
        lab.advance(Duration::from_secs(8));
        let beat = lab.store.heartbeat(lab.instance, LEASE).await.unwrap();
        assert!(beat.renewed);
        assert!((beat.database_now - database) < chrono::Duration::seconds(5), "the shift is not part of it");
        lab.advance(Duration::from_secs(8));
        assert!(lab.store.orphans(10).await.unwrap().is_empty());
        lab.advance(Duration::from_secs(3));
        assert_eq!(lab.store.orphans(10).await.unwrap(), std::slice::from_ref(&run));
        assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        assert!(lab.store.orphans(10).await.unwrap().is_empty());
        lab.store.stop_instance(lab.instance).await.unwrap();
        assert_eq!(lab.store.orphans(10).await.unwrap(), [run]);
        assert!(!lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
        assert!(!lab.store.heartbeat(InstanceId::fresh(), LEASE).await.unwrap().renewed);
    }

    async fn an_instance_whose_lease_is_over_claims_nothing(lab: &Lab) {
        let run = lab.accepted(lab.request()).await;
        let reconcile = lab.accepted(lab.reconcile_request()).await;
        lab.advance(LEASE + Duration::from_secs(1));
        assert!(matches!(claim(lab).await, Claim::Fenced));
        assert_eq!(lab.store.claim_run(reconcile.id, lab.instance).await.unwrap(), None);
        assert_eq!(lab.run(run.id).await, run);
        lab.store.heartbeat(lab.instance, LEASE).await.unwrap();
        assert_eq!(lab.claimed().await.id, run.id);
        lab.store.stop_instance(lab.instance).await.unwrap();
        assert_eq!(lab.store.claim_run(reconcile.id, lab.instance).await.unwrap(), None);
    }

    async fn a_sole_instance_stops_the_others(lab: &Lab) {
        let run = lab.running().await;
        let sole = InstanceId::fresh();
        lab.register(sole, true).await;
        assert_eq!(lab.store.orphans(10).await.unwrap(), [run]);
        let instances = lab.store.instances().await.unwrap();
        assert_eq!(instances.iter().map(|i| (i.id, i.stopped_at.is_some())).collect::<Vec<_>>(), [(sole, false), (lab.instance, true)]);
    }

    async fn a_hard_deadline_is_an_outcome_like_any_other(lab: &Lab) {
        let run = lab.running().await;
        lab.advance(Duration::from_secs(1_800));
        let done = lab.settled(lease(&run), failed(Code::RunTimeout)).await;
        assert_eq!(done.failure_summary[0].code, Code::RunTimeout);
        assert_eq!(done.cooldown_until, done.completed_at.map(|at| at + COOLDOWN));
    }
}
