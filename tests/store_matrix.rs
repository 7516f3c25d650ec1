//! The store does what the state machine says: every kind of state meets every kind of event, on both engines, and no
//! statement is refused on the way. `docs/transitions.md` prints the same table; `ATLASD_TEST_REWRITE=1` writes it anew.

#[path = "support/store.rs"]
mod support;
#[path = "support/transitions_page.rs"]
mod transitions_page;

use std::time::Duration;

use atlasd::domain::assignment::PolicyChanges;
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::reconcile::{Observation, Repair};
use atlasd::domain::run::{AttemptOutcome, HandBackReason, Lease, Outcome, Run, Settlement, Status};
use atlasd::domain::transition::{EventKind, Expected, State, StateKind, expected};
use atlasd::ids::LeaseToken;
use atlasd::store::{Admitted, Cancel, Settled, SnapshotEnd};
use support::*;

/// Longer than all the leases that the walk loses.
const LONG: Duration = Duration::from_secs(100_000);
const HAND_BACK: Settlement = Settlement::HandBack { reason: HandBackReason::Fenced };

/// A retry that no other settlement of this file equals.
fn retry(at: atlasd::clock::Instant, counted: u64) -> Settlement {
    let failures = vec![Failure::new(Code::GraphThrottled, "throttled")];
    Settlement::Retry { next_attempt_at: at, counts: counts(counted), failures }
}

async fn claim(lab: &Lab, run: &Run) -> Run {
    let run = lab.store.claim_run(run.id, lab.instance).await.unwrap().expect("it is due");
    lab.store.begin_snapshot(lease(&run)).await.unwrap().expect("the lease is good");
    run
}

/// A run in `state` whose latest claim is not its first; each of its claims has begun a snapshot.
async fn put(lab: &Lab, state: StateKind) -> Run {
    let queued = lab.accepted(lab.request()).await;
    let now = lab.store.now().await.unwrap();
    let first = claim(lab, &queued).await;
    lab.settled(lease(&first), retry(now, 8)).await;
    let second = claim(lab, &queued).await;
    let due = if state == StateKind::Waiting { now + LONG } else { now };
    let waiting = lab.settled(lease(&second), retry(due, 9)).await;
    if matches!(state, StateKind::Queued | StateKind::Waiting) {
        return waiting;
    }
    let running = claim(lab, &queued).await;
    match state {
        StateKind::Cancelling => match lab.store.request_cancel(running.id, "ada").await.unwrap() {
            Cancel::Requested(run) => run,
            other => panic!("expected Requested, got {other:?}"),
        },
        StateKind::Completed => lab.settled(lease(&running), succeeded()).await,
        _ => running,
    }
}

/// Whether the event did something. What it did is read from the ledger.
async fn apply(lab: &Lab, event: EventKind, run: &Run) -> bool {
    let latest = lease(run);
    let older = Lease { token: LeaseToken(latest.token.0 - 1), ..latest };
    let later = lab.store.now().await.unwrap() + LONG;
    match event {
        EventKind::Claim => lab.store.claim_run(run.id, lab.instance).await.unwrap().is_some(),
        EventKind::Complete => settle(lab, latest, failed(Code::GraphTimeout)).await,
        EventKind::Retry => settle(lab, latest, retry(later, 7)).await,
        EventKind::HandBack => settle(lab, latest, HAND_BACK).await,
        EventKind::LateSettle => {
            let mut done = false;
            for how in [succeeded(), failed(Code::GraphTimeout), retry(later, 7), HAND_BACK] {
                done |= settle(lab, older, how).await;
                let attempts = lab.store.attempts(run.id).await.unwrap();
                let late = attempts.iter().find(|attempt| attempt.lease_token == older.token).unwrap();
                assert_eq!(
                    (late.outcome, late.code),
                    (AttemptOutcome::Stale, Some(Code::RunStaleAttemptResult))
                );
            }
            done
        }
        EventKind::RequestCancel => match lab.store.request_cancel(run.id, "eve").await.unwrap() {
            Cancel::Completed(_) => true,
            Cancel::Requested(marked) => marked.cancel_requested_at != run.cancel_requested_at,
            Cancel::AlreadyCompleted(_) => false,
            Cancel::NotFound => panic!("run {} exists", run.id),
        },
        EventKind::Requeue => repair(lab, run, Status::Running, latest.token, Repair::Requeue).await,
        EventKind::CompleteLeaseExpired => {
            repair(lab, run, Status::Running, latest.token, Repair::CompleteLeaseExpired).await
        }
        EventKind::CompleteCancelled => {
            repair(lab, run, Status::Running, latest.token, Repair::CompleteCancelled).await
        }
        EventKind::CompleteFromAdapter => {
            finish_adapter_run(lab, run).await;
            repair(lab, run, Status::Running, latest.token, Repair::CompleteFromAdapter).await
        }
        EventKind::CompleteStaleQueued => {
            repair(lab, run, Status::Queued, latest.token, Repair::CompleteStaleQueued).await
        }
        EventKind::LateRepair => {
            let mut done = false;
            for how in [
                Repair::Requeue,
                Repair::CompleteLeaseExpired,
                Repair::CompleteCancelled,
                Repair::CompleteFromAdapter,
                Repair::CompleteStaleQueued,
            ] {
                done |= repair(lab, run, Status::Queued, older.token, how).await;
                done |= repair(lab, run, Status::Running, older.token, how).await;
            }
            done
        }
    }
}

async fn settle(lab: &Lab, lease: Lease, how: Settlement) -> bool {
    matches!(lab.store.settle(lease, how).await.unwrap(), Settled::Done(_))
}

/// Repairs by what reconcile saw, after the instance has lost its lease; the instance comes back afterwards.
async fn repair(lab: &Lab, run: &Run, status: Status, token: LeaseToken, how: Repair) -> bool {
    let run = Run { status, lease_token: token, ..run.clone() };
    let seen = Observation { run, lease_gone: true, tenant_busy: false, served_since: None, adapter: None };
    lab.advance(LEASE + Duration::from_secs(1));
    let repaired = lab.store.repair(&seen, how, COOLDOWN).await.unwrap();
    assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
    repaired.is_some()
}

/// Only a run that is running has one that can end.
async fn finish_adapter_run(lab: &Lab, run: &Run) {
    let Some(snapshot) = lab.store.begin_snapshot(lease(run)).await.unwrap() else { return };
    let end = SnapshotEnd {
        outcome: Outcome::Succeeded,
        counts: counts(4),
        failures: Vec::new(),
        coverage: Default::default(),
    };
    assert!(lab.store.finish_snapshot(lease(run), snapshot, end, PolicyChanges::default()).await.unwrap());
}

async fn kind(lab: &Lab, run: &Run) -> StateKind {
    State::of(run)
        .expect("a row of the ledger contradicts itself nowhere")
        .kind(lab.store.now().await.unwrap())
}

/// Nothing of the pair is left that could be in the way of the next.
async fn clear(lab: &Lab, run: &Run) {
    if let Cancel::Requested(run) = lab.store.request_cancel(run.id, "ada").await.unwrap() {
        lab.settled(lease(&run), HAND_BACK).await;
    }
}

/// No constraint was hit and no transaction was aborted. Every answer of the store was unwrapped above, so a refusal
/// that it told of has failed the test; one that it got over by itself (a batch that it tried again) shows only here.
/// SQLite keeps no such count, and has nothing that is tried again.
fn refused_nothing(lab: &Lab) {
    if lab.engine == Engine::Postgres {
        assert_eq!(aborted(lab), 0, "transactions were aborted");
        lab.database.execute("SELECT 1 / 0").unwrap_err();
        assert_eq!(aborted(lab), 1, "the server counts what is aborted");
    }
}

/// What the server counted. A backend reports when it ends, so all others have to be gone.
fn aborted(lab: &Lab) -> i64 {
    let others = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid()";
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while lab.database.number(others) > 0 {
        assert!(std::time::Instant::now() < deadline, "connections of the store are still open");
        std::thread::yield_now();
    }
    lab.database.number("SELECT xact_rollback AS n FROM pg_stat_database WHERE datname = current_database()")
}

on_each_engine! {
    async fn every_event_does_in_every_state_what_the_matrix_says(lab: &Lab) {
        for state in StateKind::ALL {
            for event in EventKind::ALL {
                let before = put(lab, state).await;
                assert_eq!(kind(lab, &before).await, state);
                let done = apply(lab, event, &before).await;
                let after = lab.run(before.id).await;
                match expected(state, event) {
                    Expected::Becomes(next) => {
                        assert!(done, "{state:?} {event:?} is answered as done");
                        assert_eq!(kind(lab, &after).await, next, "{state:?} {event:?}");
                    }
                    Expected::Ignored | Expected::Stale => {
                        assert!(!done, "{state:?} {event:?} is answered as not done");
                        assert_eq!(after, before, "{state:?} {event:?}");
                    }
                }
                let open = "SELECT count(*) AS n FROM snapshots s JOIN operation_runs r ON r.id = s.operation_run_id \
                     WHERE s.state = 'building' AND r.status = 'completed'";
                assert_eq!(lab.database.number(open), 0, "{state:?} {event:?} leaves an adapter run open");
                if state == StateKind::Completed {
                    let attempt = lab.store.attempts(before.id).await.unwrap().pop().unwrap();
                    assert_eq!(attempt.outcome, AttemptOutcome::Succeeded, "{event:?} writes over the final attempt");
                }
                clear(lab, &after).await;
            }
        }
        let broken: Vec<_> = lab.store.doctor().await.unwrap().into_iter().filter(|found| found.broken > 0).collect();
        assert!(broken.is_empty(), "{broken:?}");
        lab.store.close().await;
        refused_nothing(lab);
    }

    async fn a_request_for_the_identity_of_a_run_meets_no_index_in_any_state(lab: &Lab) {
        for state in StateKind::ALL {
            for force in [false, true] {
                let held = put(lab, state).await;
                let mut request = lab.request_of(lab.tenant(), held.identity);
                request.force = force;
                let releases = state == StateKind::Completed && force;
                match lab.admit(request.clone()).await {
                    Admitted::Held(run) => assert!(!releases && run.id == held.id, "{state:?} {force}"),
                    Admitted::Accepted(run) => {
                        assert!(releases && run.id != held.id, "{state:?} {force}");
                        clear(lab, &run).await;
                    }
                    Admitted::Gone => panic!("nothing was removed"),
                }
                clear(lab, &lab.run(held.id).await).await;
                lab.advance(COOLDOWN);
                let after = lab.accepted(request).await;
                clear(lab, &after).await;
                assert!(lab.store.heartbeat(lab.instance, LEASE).await.unwrap().renewed);
            }
        }
        lab.store.close().await;
        refused_nothing(lab);
    }
}
