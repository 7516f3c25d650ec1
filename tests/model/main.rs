//! A model of admission, lease and takeover, checked in every order in which things can happen.
//!
//! The world is a ledger and two or three instances. Every transaction of the store is one step, an admission four,
//! because it locks; what is sent arrives after any delay, or never. Instances are killed, stopped and continued, put to
//! sleep with their machine; their clocks run behind. A tick is time on the database's clock, which alone decides
//! between instances. [`steps::Action`] names for each step the code that it stands for, [`rules::Rules`] the rules.
//! What holds is in [`properties`]. Then each rule that matters is taken away, and the checker must find that guilty:
//! a model in which nothing can go wrong proves nothing.
//!
//! Worlds are small and checked to the end: admission and leases apart, each with all that can go wrong with it, and both
//! together where everything that is due is done before time goes on, which is also where every run has to end.
//!
//! Not in the model: retries, cancellation, more than one tenant, forced requests, and answers that get lost (they are
//! late for ever). A process that runs stops its executions on time; one whose timers are late is one whose clock is
//! slow. A call that was begun before its execution was stopped is over when it was begun: whatever Graph gets later
//! of it is the one call (or batch) that each of an execution's `graph.parallel` workers has under way.

mod properties;
mod rules;
mod steps;
mod world;

use std::collections::BTreeSet;

use properties::*;
use rules::{Rules, Size};
use stateright::{Checker, HasDiscoveries, Model};
use steps::House;

const ADMISSION: Size = Size {
    instances: 3,
    requests: 4,
    accepted: 0,
    leases: false,
    ticks: 4,
    cooldown: 1,
    calls: 0,
    ..Size::SMALL
};
const LEASES: Size = Size { ticks: 3, ..Size::SMALL };
const TOGETHER: Size = Size {
    ticks: 7,
    requests: 2,
    requests_until: 1,
    faults_until: 3,
    accepted: 0,
    prompt: true,
    ..Size::SMALL
};

/// Goes through the whole world: what must hold does, and what is named in `reached` happens in it.
fn holds(rules: Rules, size: Size, but_for: &[&str], reached: &[&str]) {
    let began = std::time::Instant::now();
    let checker = House { rules, size }.checker().threads(2).spawn_bfs().join();
    let found = checker.discoveries();
    println!("{} states in {:.1} s", checker.unique_state_count(), began.elapsed().as_secs_f64());
    for name in ALWAYS.iter().filter(|name| !but_for.contains(name)) {
        let path = found.get(name).map(|path| path.clone().into_actions());
        assert!(path.is_none(), "{name} is broken by {path:?}");
    }
    for name in reached.iter().chain(but_for) {
        assert!(found.contains_key(name), "not reached: {name}");
    }
}

/// Looks for a way to break `guarantee`.
fn guilty(rules: Rules, size: Size, guarantee: &'static str) {
    let size = Size { alike: false, ..size };
    let wanted = HasDiscoveries::AnyOf(BTreeSet::from([guarantee]));
    let checker = House { rules, size }.checker().finish_when(wanted).spawn_bfs().join();
    let path = checker.discovery(guarantee).map(|path| path.into_actions());
    let path = path.unwrap_or_else(|| panic!("{guarantee} holds without the rule: {rules:?}"));
    println!("{guarantee}: after {} states, by {path:?}", checker.unique_state_count());
}

// --- the rules of the house ----------------------------------------------------------------------------------------

#[test]
fn admissions_of_three_instances_in_every_order() {
    let size = Size { crashes: 1, prunes: 1, ..ADMISSION };
    holds(Rules::HOUSE, size, &[], &[COMPLETES, MEETS_HOLDER, ACCEPTED_AGAIN]);
    let size = Size { identities: 2, requests: 3, ticks: 3, ..ADMISSION };
    holds(Rules::HOUSE, size, &[], &[COMPLETES, MEETS_HOLDER, ACCEPTED_AGAIN]);
}

#[test]
fn leases_with_any_delay_and_a_crash() {
    let size = Size { crashes: 1, ..LEASES };
    holds(Rules::HOUSE, size, &[], &[COMPLETES, CLAIMED_AGAIN, FENCED]);
}

#[test]
fn a_process_that_slept_calls_at_most_before_it_comes_to_its_fence() {
    let size = Size { pauses: 1, attempts: 1, ..LEASES };
    holds(Rules::HOUSE, size, &[NO_LATE_CALL], &[FENCED, GOES_ON]);
}

#[test]
fn a_call_that_looked_at_the_clock_itself_would_not_be_late() {
    let rules = Rules { calls_look_at_the_clock: true, ..Rules::HOUSE };
    holds(rules, Size { pauses: 1, attempts: 1, ..LEASES }, &[], &[GOES_ON]);
}

#[test]
fn a_machine_that_slept_calls_at_most_until_its_next_beat_is_answered() {
    let size = Size { suspends: 1, attempts: 1, ..LEASES };
    holds(Rules::HOUSE, size, &[NO_LATE_CALL], &[FENCED, GOES_ON]);
}

#[test]
fn clocks_may_drift_by_as_much_as_the_fence_comes_early() {
    let size = Size { drifts: 1, lease: 3, ticks: 4, attempts: 1, ..LEASES };
    holds(Rules { fence_margin: 1, ..Rules::HOUSE }, size, &[], &[FENCED]);
    guilty(Rules { fence_margin: 0, ..Rules::HOUSE }, size, CANONICAL);
}

#[test]
fn every_accepted_run_ends_whoever_dies() {
    let size = Size { instances: 3, crashes: 1, pauses: 1, ..TOGETHER };
    holds(Rules::HOUSE, size, &[NO_LATE_CALL], &[COMPLETES, CLAIMED_AGAIN, MEETS_HOLDER]);
    holds(Rules::HOUSE, Size { crashes: 1, requests_until: 4, ..TOGETHER }, &[], &[ACCEPTED_AGAIN]);
}

// --- each rule taken away --------------------------------------------------------------------------------------------

#[test]
fn without_the_index_over_holders() {
    guilty(Rules { holder_index: false, ..Rules::HOUSE }, ADMISSION, UNIQUE);
    guilty(Rules { holder_index: false, ..Rules::HOUSE }, ADMISSION, COOLDOWN);
}

#[test]
fn without_the_release_before_the_insert() {
    guilty(Rules { release_first: false, ..Rules::HOUSE }, ADMISSION, VERDICT);
    guilty(Rules { release_first: false, on_conflict_nothing: false, ..Rules::HOUSE }, ADMISSION, NO_INDEX);
}

#[test]
fn with_an_insert_that_does_not_expect_a_conflict() {
    guilty(Rules { on_conflict_nothing: false, ..Rules::HOUSE }, ADMISSION, NO_INDEX);
}

#[test]
fn with_a_cooldown_by_the_clock_of_the_instance() {
    guilty(Rules { database_time: false, ..Rules::HOUSE }, Size { offset: 1, ..ADMISSION }, COOLDOWN);
}

#[test]
fn with_pruning_that_does_not_look_who_holds() {
    guilty(
        Rules { prune_spares_holders: false, ..Rules::HOUSE },
        Size { prunes: 1, ..ADMISSION },
        HOLDER_STAYS,
    );
    guilty(Rules { prune_spares_holders: false, ..Rules::HOUSE }, Size { prunes: 1, ..ADMISSION }, COOLDOWN);
}

#[test]
fn with_a_claim_that_does_not_look_first() {
    let size = Size { accepted: 2, leases: false, ..LEASES };
    guilty(Rules { claim_looks: false, ..Rules::HOUSE }, size, NO_INDEX);
}

#[test]
fn without_the_token_in_the_settlement() {
    guilty(Rules { settle_checks_token: false, ..Rules::HOUSE }, LEASES, CURRENT);
    let rules = Rules { settle_checks_token: false, completed_is_final: false, ..Rules::HOUSE };
    guilty(rules, LEASES, FINAL);
}

#[test]
fn with_a_token_that_starts_again() {
    guilty(Rules { token_grows: false, ..Rules::HOUSE }, LEASES, CURRENT);
}

#[test]
fn without_self_fencing() {
    guilty(Rules { fences: false, ..Rules::HOUSE }, LEASES, CANONICAL);
    guilty(Rules { fences: false, ..Rules::HOUSE }, LEASES, NO_OVERLAP);
}

#[test]
fn without_the_last_look_before_the_first_call() {
    guilty(Rules { checks_canonical: false, ..Rules::HOUSE }, LEASES, CANONICAL);
}

#[test]
fn with_a_repair_that_does_not_look_again() {
    guilty(Rules { repair_looks_again: false, ..Rules::HOUSE }, LEASES, CANONICAL);
}

#[test]
fn with_a_heartbeat_that_believes_before_it_stops() {
    let rules = Rules { stops_before_it_believes: false, ..Rules::HOUSE };
    guilty(rules, Size { pauses: 1, attempts: 1, ..LEASES }, CANONICAL);
}

#[test]
fn with_a_heartbeat_that_does_not_tell_what_was_lost() {
    let rules = Rules { beat_tells_losses: false, ..Rules::HOUSE };
    guilty(rules, Size { suspends: 1, attempts: 1, ..LEASES }, CANONICAL);
}
