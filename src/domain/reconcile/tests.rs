use proptest::prelude::*;

use super::*;
use crate::domain::run::fixture;

const LIMITS: Limits =
    Limits { attempts_max: 3, queued_max: Duration::from_mins(10), adapter_grace: Duration::from_secs(60) };

fn at(seconds: i64) -> Instant {
    Instant::from_micros(seconds * 1_000_000).expect("within the calendar")
}

fn seen(status: Status) -> Observation {
    Observation {
        run: fixture(status),
        lease_gone: false,
        tenant_busy: false,
        served_since: Some(at(0)),
        adapter: None,
    }
}

fn adapter(terminal: Option<(i64, Outcome)>, of_latest_claim: bool) -> Option<AdapterRun> {
    let terminal = terminal.map(|(seconds, outcome)| AdapterEnd { at: at(seconds), outcome });
    Some(AdapterRun { id: AdapterId::Snapshot(SnapshotId(1)), of_latest_claim, terminal })
}

fn after(observation: &Observation, seconds: i64) -> Option<Repair> {
    decide(observation, &LIMITS, at(seconds))
}

#[test]
fn a_healthy_run_is_left_alone() {
    assert_eq!(after(&seen(Status::Queued), 599), None);
    assert_eq!(after(&seen(Status::Running), 100_000), None);
    assert_eq!(after(&seen(Status::Completed), 100_000), None);
    let working = Observation { adapter: adapter(None, true), ..seen(Status::Running) };
    assert_eq!(after(&working, 100_000), None);
}

#[test]
fn a_run_without_lease_is_requeued_while_tries_are_left() {
    let mut orphan = Observation { lease_gone: true, ..seen(Status::Running) };
    for (attempt, repair) in [
        (1, Repair::Requeue),
        (2, Repair::Requeue),
        (3, Repair::CompleteLeaseExpired),
        (4, Repair::CompleteLeaseExpired),
    ] {
        orphan.run.attempt = attempt;
        assert_eq!(after(&orphan, 1), Some(repair), "attempt {attempt}");
    }
}

#[test]
fn a_run_that_was_to_be_cancelled_is_not_requeued() {
    let mut orphan = Observation { lease_gone: true, ..seen(Status::Running) };
    orphan.run.cancel_requested_at = Some(at(0));
    assert_eq!(after(&orphan, 1), Some(Repair::CompleteCancelled));
    orphan.lease_gone = false;
    assert_eq!(after(&orphan, 100_000), None, "its own execution cancels it");
}

#[test]
fn the_end_of_the_adapter_run_decides_over_all_else() {
    for outcome in [Outcome::Succeeded, Outcome::Failed] {
        let mut orphan = Observation {
            lease_gone: true,
            adapter: adapter(Some((0, outcome)), true),
            ..seen(Status::Running)
        };
        orphan.run.cancel_requested_at = Some(at(0));
        assert_eq!(after(&orphan, 0), Some(Repair::CompleteFromAdapter));
    }
}

#[test]
fn an_execution_has_a_grace_to_complete_its_run() {
    let seen = Observation { adapter: adapter(Some((0, Outcome::Succeeded)), true), ..seen(Status::Running) };
    assert_eq!(after(&seen, 59), None);
    assert_eq!(after(&seen, 60), Some(Repair::CompleteFromAdapter));
}

#[test]
fn the_adapter_run_of_an_older_claim_decides_nothing() {
    let ended = adapter(Some((0, Outcome::Succeeded)), false);
    let running = Observation { adapter: ended.clone(), ..seen(Status::Running) };
    assert_eq!(after(&running, 100_000), None);
    let orphan = Observation { lease_gone: true, ..running };
    assert_eq!(after(&orphan, 100_000), Some(Repair::Requeue));
    let queued = Observation { adapter: ended, ..seen(Status::Queued) };
    assert_eq!(after(&queued, 1), None);
}

#[test]
fn a_queued_run_is_stale_only_when_somebody_could_have_taken_it() {
    let queued = seen(Status::Queued);
    assert_eq!(after(&queued, 600), Some(Repair::CompleteStaleQueued));
    let busy = Observation { tenant_busy: true, ..queued.clone() };
    assert_eq!(after(&busy, 100_000), None);
    let unserved = Observation { served_since: None, ..queued.clone() };
    assert_eq!(after(&unserved, 100_000), None);
    let late = Observation { served_since: Some(at(300)), ..queued };
    assert_eq!(after(&late, 899), None);
    assert_eq!(after(&late, 900), Some(Repair::CompleteStaleQueued));
}

#[test]
fn a_wait_for_a_retry_is_no_neglect() {
    let mut queued = seen(Status::Queued);
    queued.run.next_attempt_at = Some(at(1_000));
    assert_eq!(after(&queued, 1_599), None);
    assert_eq!(after(&queued, 1_600), Some(Repair::CompleteStaleQueued));
    queued.run.next_attempt_at = None;
    queued.run.updated_at = at(500);
    assert_eq!(after(&queued, 1_099), None, "it came back to the queue later than it was accepted");
}

#[test]
fn the_open_adapter_run_of_a_completed_run_is_closed() {
    let open = Observation { adapter: adapter(None, true), ..seen(Status::Completed) };
    assert_eq!(after(&open, 0), Some(Repair::CloseAdapter));
    let of_older = Observation { adapter: adapter(None, false), ..seen(Status::Completed) };
    assert_eq!(after(&of_older, 0), Some(Repair::CloseAdapter));
    let closed =
        Observation { adapter: adapter(Some((0, Outcome::Failed)), true), ..seen(Status::Completed) };
    assert_eq!(after(&closed, 100_000), None);
}

#[test]
fn a_repaired_attempt_ends_as_its_adapter_run_did() {
    let end = |outcome| AdapterEnd { at: at(0), outcome };
    let copy = |outcome| attempt_outcome(Repair::CompleteFromAdapter, Some(&end(outcome)));
    assert_eq!(copy(Outcome::Succeeded), Some(AttemptOutcome::Succeeded));
    assert_eq!(copy(Outcome::Failed), Some(AttemptOutcome::Failed));
    for repair in [Repair::Requeue, Repair::CompleteLeaseExpired, Repair::CompleteCancelled] {
        assert_eq!(attempt_outcome(repair, None), Some(AttemptOutcome::LeaseExpired));
    }
    assert_eq!(attempt_outcome(Repair::CompleteStaleQueued, None), None);
    assert_eq!(attempt_outcome(Repair::CloseAdapter, None), None);
}

proptest! {
    #[test]
    fn each_repair_fits_the_status_and_needs_its_reason(
        status in 0..3_usize, lease_gone: bool, tenant_busy: bool, attempt in 0..5_i32,
        served in proptest::option::of(0..2_000_i64), cancel: bool,
        ended in proptest::option::of(proptest::option::of(0..2_000_i64)), latest: bool, now in 0..4_000_i64,
    ) {
        let mut seen = seen(Status::ALL[status]);
        seen.lease_gone = lease_gone;
        seen.tenant_busy = tenant_busy;
        seen.served_since = served.map(at);
        seen.adapter = ended.and_then(|end| adapter(end.map(|seconds| (seconds, Outcome::Failed)), latest));
        seen.run.attempt = attempt;
        seen.run.cancel_requested_at = cancel.then(|| at(0));
        let terminal = latest && ended.flatten().is_some();
        match after(&seen, now) {
            None => prop_assert!(!(seen.run.status == Status::Running && lease_gone), "an orphan is never left alone"),
            Some(Repair::CompleteFromAdapter) => prop_assert!(seen.run.status == Status::Running && terminal),
            Some(Repair::Requeue) => prop_assert!(lease_gone && !cancel && !terminal && attempt < 3),
            Some(Repair::CompleteLeaseExpired) => prop_assert!(lease_gone && !cancel && !terminal && attempt >= 3),
            Some(Repair::CompleteCancelled) => prop_assert!(lease_gone && cancel && !terminal),
            Some(Repair::CompleteStaleQueued) => {
                prop_assert!(seen.run.status == Status::Queued && !tenant_busy && now >= 600 && served.is_some());
            }
            Some(Repair::CloseAdapter) => prop_assert!(seen.run.status == Status::Completed),
        }
    }
}
