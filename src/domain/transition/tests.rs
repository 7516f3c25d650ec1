use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const COOLDOWN: Duration = Duration::from_mins(15);

fn at(micros: i64) -> Instant {
    Instant::from_micros(micros).expect("within the calendar")
}

fn now() -> Instant {
    at(1_000_000)
}

fn owner() -> InstanceId {
    InstanceId(Uuid::from_u128(1))
}

fn succeeded() -> End {
    End { outcome: Outcome::Succeeded, code: None, at: now(), cooldown_until: Some(now() + COOLDOWN) }
}

fn state(kind: StateKind) -> State {
    let running = |cancel_requested_at| State::Running {
        attempt: 2,
        token: LeaseToken(7),
        owner: owner(),
        cancel_requested_at,
    };
    let queued = |next_attempt_at| State::Queued { attempt: 2, next_attempt_at, last_token: LeaseToken(7) };
    match kind {
        StateKind::Queued => queued(Some(now())),
        StateKind::Waiting => queued(Some(at(1_000_001))),
        StateKind::Running => running(None),
        StateKind::Cancelling => running(Some(now())),
        StateKind::Completed => State::Completed(succeeded()),
    }
}

fn event(kind: EventKind) -> Event {
    let now = now();
    let settle = |token, how| Event::Settle { token: LeaseToken(token), how };
    let repair = |seen_status, how| Event::Repair { seen_status, seen_token: LeaseToken(7), how };
    match kind {
        EventKind::Claim => Event::Claim { owner: owner(), now },
        EventKind::Complete => settle(7, Settle::Complete(succeeded())),
        EventKind::Retry => settle(7, Settle::Retry { next_attempt_at: now + COOLDOWN, now }),
        EventKind::HandBack => settle(7, Settle::HandBack { now }),
        EventKind::LateSettle => settle(6, Settle::Complete(succeeded())),
        EventKind::RequestCancel => Event::RequestCancel { now },
        EventKind::Requeue => repair(Status::Running, Mend::Requeue { now }),
        EventKind::CompleteLeaseExpired => {
            repair(Status::Running, Mend::CompleteLeaseExpired { now, cooldown: COOLDOWN })
        }
        EventKind::CompleteCancelled => repair(Status::Running, Mend::CompleteCancelled { now }),
        EventKind::CompleteFromAdapter => repair(Status::Running, Mend::CompleteFromAdapter(succeeded())),
        EventKind::CompleteStaleQueued => {
            repair(Status::Queued, Mend::CompleteStaleQueued { now, cooldown: COOLDOWN })
        }
        EventKind::LateRepair => Event::Repair {
            seen_status: Status::Running,
            seen_token: LeaseToken(6),
            how: Mend::Requeue { now },
        },
    }
}

fn seen(transition: &Transition) -> Expected {
    match transition {
        Transition::Apply(state) => Expected::Becomes(state.kind(now())),
        Transition::Ignore(_) => Expected::Ignored,
        Transition::Stale => Expected::Stale,
    }
}

#[test]
fn the_machine_does_what_the_matrix_says() {
    for from in StateKind::ALL {
        assert_eq!(state(from).kind(now()), from);
        for kind in EventKind::ALL {
            let result = transition(state(from), event(kind));
            println!("{from:?} + {kind:?} = {:?}", seen(&result));
            assert_eq!(seen(&result), expected(from, kind), "{from:?} + {kind:?}");
        }
    }
}

#[test]
fn the_lists_of_kinds_have_each_kind_once() {
    let states: std::collections::HashSet<_> = StateKind::ALL.into_iter().collect();
    let events: std::collections::HashSet<_> = EventKind::ALL.into_iter().collect();
    assert_eq!((states.len(), events.len()), (5, 12));
    let late = |kind: &EventKind| matches!(kind, EventKind::LateSettle | EventKind::LateRepair);
    for kind in EventKind::ALL.into_iter().filter(|kind| !late(kind)) {
        assert_eq!(EventKind::of(&event(kind)), kind);
    }
}

#[test]
fn a_claim_uses_a_try_and_a_larger_token() {
    let claimed = transition(state(StateKind::Queued), event(EventKind::Claim));
    let running =
        State::Running { attempt: 3, token: LeaseToken(8), owner: owner(), cancel_requested_at: None };
    assert_eq!(claimed, Transition::Apply(running));
    assert_eq!(
        transition(state(StateKind::Waiting), event(EventKind::Claim)),
        Transition::Ignore(Ignored::NotDue)
    );
}

#[test]
fn a_hand_back_gives_the_try_back_and_a_requeue_does_not() {
    let queued = |attempt, next_attempt_at| {
        Transition::Apply(State::Queued { attempt, next_attempt_at, last_token: LeaseToken(7) })
    };
    let running = || state(StateKind::Running);
    assert_eq!(transition(running(), event(EventKind::HandBack)), queued(1, None));
    assert_eq!(transition(running(), event(EventKind::Requeue)), queued(2, None));
    assert_eq!(transition(running(), event(EventKind::Retry)), queued(2, Some(now() + COOLDOWN)));
}

#[test]
fn only_a_cancelled_run_leaves_no_cooldown() {
    let ended = |from, kind| match transition(state(from), event(kind)) {
        Transition::Apply(State::Completed(end)) => (end.outcome, end.code, end.cooldown_until),
        other => panic!("expected an end, got {other:?}"),
    };
    let cancelled = (Outcome::Failed, Some(Code::RunCancelled), None);
    assert_eq!(ended(StateKind::Queued, EventKind::RequestCancel), cancelled);
    for kind in [EventKind::Retry, EventKind::HandBack, EventKind::Requeue, EventKind::CompleteCancelled] {
        assert_eq!(ended(StateKind::Cancelling, kind), cancelled, "{kind:?}");
    }
    let until = Some(now() + COOLDOWN);
    let expired = (Outcome::Failed, Some(Code::RunLeaseExpired), until);
    assert_eq!(ended(StateKind::Running, EventKind::CompleteLeaseExpired), expired);
    let stale = (Outcome::Failed, Some(Code::RunStaleQueued), until);
    assert_eq!(ended(StateKind::Queued, EventKind::CompleteStaleQueued), stale);
    // An execution that finished in spite of the request did its work: that is the result.
    assert_eq!(ended(StateKind::Cancelling, EventKind::Complete), (Outcome::Succeeded, None, until));
}

proptest! {
    #[test]
    fn no_history_breaks_an_invariant(events in proptest::collection::vec((0..12_usize, 0..4_i64), 1..40)) {
        let mut state = State::Queued { attempt: 0, next_attempt_at: None, last_token: LeaseToken(0) };
        let mut last_token = LeaseToken(0);
        for (kind, age) in events {
            // Somebody who knows a claim that is `age` claims old, or who exists only later (negative tokens).
            let known = LeaseToken(last_token.0 - age);
            let event = match event(EventKind::ALL[kind]) {
                Event::Settle { how, .. } => Event::Settle { token: known, how },
                Event::Repair { seen_status, how, .. } => Event::Repair { seen_status, seen_token: known, how },
                // Long after, so that a waiting run is due.
                Event::Claim { owner, .. } => Event::Claim { owner, now: now() + 2 * COOLDOWN },
                event => event,
            };
            let cancelling = matches!(state, State::Running { cancel_requested_at: Some(_), .. });
            let before = state.clone();
            if let Transition::Apply(next) = transition(state.clone(), event.clone()) {
                prop_assert_ne!(before.status(), Status::Completed, "completed is never left");
                prop_assert!(!(cancelling && next.status() == Status::Queued), "a cancellation is never forgotten");
                match event {
                    Event::Settle { token, .. } => prop_assert_eq!(token, last_token),
                    Event::Repair { seen_token, .. } => prop_assert_eq!(seen_token, last_token),
                    _ => {}
                }
                if let Some(token) = next.token() {
                    prop_assert!(token >= last_token);
                    prop_assert_eq!(token > last_token, before.status() == Status::Queued && next.status() == Status::Running);
                    last_token = token;
                }
                if let State::Queued { attempt, .. } | State::Running { attempt, .. } = &next {
                    prop_assert!((0..=last_token.0).contains(&i64::from(*attempt)), "a try needs a claim");
                }
                state = next;
            }
        }
    }
}
