use proptest::prelude::*;

use super::*;
use crate::domain::assignment::{AssignmentSet, PolicyKey};
use crate::domain::policy_types::PolicyType;
use crate::domain::restore::samples::*;
use crate::domain::restore::write::{GraphWrite, WriteMethod, writes};

const TIMEOUT: Duration = Duration::from_secs(30);

fn at(secs: i64) -> Instant {
    Instant::from_micros(secs * 1_000_000).expect("within the calendar")
}

fn entry(
    state: ItemState,
    base: &AssignmentSet,
    wanted: &AssignmentSet,
    sent_at: Option<Instant>,
) -> JournalItem {
    JournalItem {
        policy: PolicyKey { policy_type: "x".to_owned(), policy_id: "p".to_owned() },
        name: "name".to_owned(),
        state,
        base: Some(base.hash()),
        wanted: Some(wanted.hash()),
        sent: sent_at.map(|_| wanted.hash()),
        verified: None,
        widens: Vec::new(),
        failure: None,
        calls: 1,
        sent_at,
    }
}

/// What a step is, without the text of a failure.
#[derive(Debug, PartialEq)]
enum Does {
    Write,
    Skip,
    Verify,
    Wait,
    Fail(Code),
    Nothing,
}

fn does(step: Step) -> Does {
    match step {
        Step::WriteNow => Does::Write,
        Step::MarkSkipped => Does::Skip,
        Step::MarkVerified => Does::Verify,
        Step::WaitAndReadAgain => Does::Wait,
        Step::Fail(failure) => Does::Fail(failure.code),
        Step::Nothing => Does::Nothing,
    }
}

/// What a read finds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Base,
    /// Some of what is to be added, and what is to be deleted still.
    Halfway,
    Wanted,
    /// Somebody else's set.
    Foreign,
    /// What stays, and what comes, but not what stays: somebody took something that nobody asked for.
    Robbed,
    Gone,
}

const FOUND: [Found; 6] =
    [Found::Base, Found::Halfway, Found::Wanted, Found::Foreign, Found::Robbed, Found::Gone];

/// Base: 0, 1. Wanted: 0, 2, 3.
fn found(found: Found) -> Option<AssignmentSet> {
    let of = |groups: &[usize]| AssignmentSet::new(groups.iter().map(|at| plain(group(*at))).collect());
    match found {
        Found::Base => Some(of(&[0, 1])),
        Found::Halfway => Some(of(&[0, 1, 2])),
        Found::Wanted => Some(of(&[0, 2, 3])),
        Found::Foreign => Some(AssignmentSet::new(vec![plain(group(0)), plain(excluded(1))])),
        Found::Robbed => Some(of(&[1, 2])),
        Found::Gone => None,
    }
}

/// The rules once more, as a table: state, what is certain, whether it is late, whether it may be written again.
fn expected(
    state: ItemState,
    sending: Sending,
    seen: Found,
    late: bool,
    again: bool,
    one_by_one: bool,
) -> Does {
    use ItemState::{Planned, Sent};
    use Sending::{Applied, InDoubt};
    let drifted = Does::Fail(Code::AssignmentsDriftedSincePlan);
    let mismatch = Does::Fail(Code::AssignmentsVerifyMismatch);
    let on_the_way = seen == Found::Base || (seen == Found::Halfway && one_by_one);
    match (state, sending, seen) {
        (ItemState::Verified | ItemState::Skipped | ItemState::Failed, _, _) => Does::Nothing,
        (_, _, Found::Gone) => Does::Fail(Code::AssignmentsPolicyMissing),
        (Planned, _, Found::Wanted) => Does::Skip,
        (Planned, _, Found::Base) => Does::Write,
        (Planned, _, _) => drifted,
        (Sent, _, Found::Wanted) => Does::Verify,
        (Sent, _, _) if on_the_way && !late => Does::Wait,
        (Sent, InDoubt, _) if on_the_way => {
            if again {
                Does::Write
            } else {
                mismatch
            }
        }
        (Sent, InDoubt, _) => drifted,
        (Sent, Applied, _) => mismatch,
    }
}

#[test]
fn every_state_and_observation_has_its_step() {
    let mut cases = 0;
    for state in ItemState::ALL {
        for sending in [Sending::InDoubt, Sending::Applied] {
            for seen in FOUND {
                for late in [false, true] {
                    for again in [false, true] {
                        for key in ["compliancePolicy", "autopilotProfile", "policySet", "roleAssignment"] {
                            let (base, wanted) =
                                (found(Found::Base).expect("a set"), found(Found::Wanted).expect("a set"));
                            let live = found(seen);
                            let step = next_step(
                                &entry(*state, &base, &wanted, Some(at(100))),
                                &Seen {
                                    row: row(key),
                                    base: &base,
                                    wanted: &wanted,
                                    live: live.as_ref(),
                                    sending,
                                    quiet_since: at(110),
                                    now: at(if late { 140 } else { 139 }),
                                    verify_timeout: TIMEOUT,
                                    may_write_again: again,
                                },
                            );
                            let expected =
                                expected(*state, sending, seen, late, again, key == "autopilotProfile");
                            assert_eq!(
                                does(step),
                                expected,
                                "{state} {sending:?} {seen:?} {late} {again} {key}"
                            );
                            cases += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(cases, 5 * 2 * 6 * 2 * 2 * 4);
}

#[test]
fn inherited_assignments_come_and_go_unnoticed() {
    let (base, wanted) = (set([plain(group(0))]), set([plain(group(1))]));
    let live = set([plain(group(1)), inherited(group(2))]);
    let base = set([plain(group(0)), inherited(group(3))])
        .direct()
        .iter()
        .cloned()
        .chain(base.iter().cloned())
        .collect();
    let base = AssignmentSet::new(base);
    let seen = Seen {
        row: row("compliancePolicy"),
        base: &base,
        wanted: &wanted,
        live: Some(&live),
        sending: Sending::InDoubt,
        quiet_since: at(0),
        now: at(0),
        verify_timeout: TIMEOUT,
        may_write_again: true,
    };
    assert_eq!(next_step(&entry(ItemState::Sent, &base, &wanted, Some(at(0))), &seen), Step::MarkVerified);
}

#[test]
fn time_counts_from_the_last_moment_at_which_a_call_was_under_way() {
    let (base, wanted) = (set([plain(group(0))]), set([plain(group(1))]));
    let step = |sent_at: Option<i64>, quiet_since: i64, now: i64| {
        let seen = Seen {
            row: row("compliancePolicy"),
            base: &base,
            wanted: &wanted,
            live: Some(&base),
            sending: Sending::InDoubt,
            quiet_since: at(quiet_since),
            now: at(now),
            verify_timeout: TIMEOUT,
            may_write_again: true,
        };
        does(next_step(&entry(ItemState::Sent, &base, &wanted, sent_at.map(at)), &seen))
    };
    assert_eq!(step(Some(0), 100, 129), Does::Wait, "it waited for its budget for 100 s");
    assert_eq!(step(Some(0), 100, 130), Does::Write);
    assert_eq!(step(Some(100), 0, 129), Does::Wait);
    assert_eq!(step(Some(100), 0, 130), Does::Write);
    assert_eq!((step(None, 100, 129), step(None, 100, 130)), (Does::Wait, Does::Write));
    assert_eq!(step(Some(50), 50, 0), Does::Wait, "a clock that stepped back");
}

/// What happens to a process at one of the moments when something can happen.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Fine,
    /// The process dies and another one starts.
    Crash,
    /// A call is applied and its answer is lost.
    Lost,
    /// A call is neither applied nor answered.
    Unsent,
}

/// A restore of one policy against a model of the service, whose reads are late.
struct World {
    row: &'static PolicyType,
    live: AssignmentSet,
    /// What reads give until `visible_at`.
    stale: AssignmentSet,
    visible_at: i64,
    delay: i64,
    /// How long each call waits before it is sent.
    pace: i64,
    now: i64,
    /// Calls that changed something, as they were sent.
    applied: Vec<String>,
}

impl World {
    fn read(&self) -> AssignmentSet {
        if self.now < self.visible_at { self.stale.clone() } else { self.live.clone() }
    }

    fn apply(&mut self, call: &GraphWrite) {
        let parse =
            |items: &[serde_json::Value]| AssignmentSet::from_graph(self.row, items).expect("well-formed");
        let left: Vec<_> = self.live.iter().cloned().collect();
        let new = match (call.method, &call.body) {
            (WriteMethod::Patch, Some(body)) => AssignmentSet::from_role_assignment(body).expect("a role"),
            (WriteMethod::Post, Some(body)) => match self.row.write {
                Write::Replace { body_property, .. } => {
                    parse(body[body_property].as_array().expect("a list"))
                }
                _ => {
                    let new = parse(std::slice::from_ref(body)).iter().next().cloned().expect("one");
                    assert!(!left.iter().any(|it| it.same_place(&new)), "409: it is there already");
                    AssignmentSet::new(left.into_iter().chain([new]).collect())
                }
            },
            (WriteMethod::Delete, _) => {
                let gone = |it: &crate::domain::assignment::Assignment| {
                    let (_, id) = call.path.rsplit_once('/').expect("a path");
                    id == escaped(&assigned_id(it))
                };
                let fewer = AssignmentSet::new(left.iter().filter(|it| !gone(it)).cloned().collect());
                assert_eq!(fewer.len() + 1, left.len(), "404: nothing to delete");
                fewer
            }
            (method, body) => panic!("no such call: {method:?} {body:?}"),
        };
        if self.now >= self.visible_at {
            self.stale = self.live.clone();
        }
        self.live = new;
        self.visible_at = self.now + self.delay;
        self.applied.push(format!("{call:?}"));
    }
}

fn escaped(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    id.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Runs the restore to its end with `events`, one for each moment; afterwards all is fine.
fn run(
    world: &mut World,
    base: &AssignmentSet,
    wanted: &AssignmentSet,
    events: &[Event],
) -> (ItemState, Option<Code>) {
    let mut events = events.iter().copied();
    let mut journal = entry(ItemState::Planned, base, wanted, None);
    let mut base = base.clone();
    // What only the process knows, and what a crash forgets.
    let mut sending = Sending::InDoubt;
    let mut quiet_since = 0;
    for _ in 0..2_000 {
        let seen = world.read();
        let step = next_step(
            &journal,
            &Seen {
                row: world.row,
                base: &base,
                wanted,
                live: Some(&seen),
                sending,
                quiet_since: at(quiet_since),
                now: at(world.now),
                verify_timeout: TIMEOUT,
                may_write_again: true,
            },
        );
        match step {
            Step::Nothing => return (journal.state, journal.failure.map(|failure| failure.code)),
            Step::MarkSkipped => journal.state = ItemState::Skipped,
            Step::MarkVerified => journal.state = ItemState::Verified,
            Step::Fail(failure) => (journal.state, journal.failure) = (ItemState::Failed, Some(failure)),
            Step::WaitAndReadAgain => world.now += 3,
            Step::WriteNow => {
                if events.next() == Some(Event::Crash) {
                    continue;
                }
                (journal.state, journal.sent_at) = (ItemState::Sent, Some(at(world.now)));
                base = seen.clone();
                let answered = send(world, &seen, wanted, &mut events);
                sending = if answered { Sending::Applied } else { Sending::InDoubt };
                quiet_since = world.now;
            }
        }
        if events.next() == Some(Event::Crash) {
            (sending, quiet_since) = (Sending::InDoubt, world.now);
        }
    }
    panic!("it does not end: {journal:?}");
}

/// Sends the calls one after the other; whether all were answered.
fn send(
    world: &mut World,
    seen: &AssignmentSet,
    wanted: &AssignmentSet,
    events: &mut impl Iterator<Item = Event>,
) -> bool {
    for call in writes(world.row, "p", &live(seen), wanted) {
        // Each waits for its budget.
        world.now += world.pace;
        match events.next().unwrap_or(Event::Fine) {
            Event::Fine => world.apply(&call),
            Event::Lost => {
                world.apply(&call);
                return false;
            }
            Event::Crash | Event::Unsent => return false,
        }
    }
    true
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => Just(Event::Fine),
        1 => Just(Event::Crash),
        1 => Just(Event::Lost),
        1 => Just(Event::Unsent),
    ];
    proptest::collection::vec(event, 0..24)
}

fn one_by_one_with_sets() -> impl Strategy<Value = (&'static PolicyType, [AssignmentSet; 2])> {
    let rows: Vec<_> = writable().filter(|row| matches!(row.write, Write::OneByOne { .. })).collect();
    assert_eq!(rows.len(), 3);
    proptest::sample::select(rows).prop_flat_map(|row| (Just(row), [fitting_set(row), fitting_set(row)]))
}

fn world(row: &'static PolicyType, base: &AssignmentSet, delay: i64, pace: i64) -> World {
    let (live, stale) = (base.clone(), base.clone());
    World { row, live, stale, visible_at: 0, delay, pace, now: 0, applied: Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_dies_between_single_calls_none_is_repeated(
        (row, [base, wanted]) in one_by_one_with_sets(),
        events in events(),
        delay in 0..=30_i64,
        pace in 0..40_i64,
    ) {
        let mut world = world(row, &base, delay, pace);
        let (state, code) = run(&mut world, &base, &wanted, &events);
        prop_assert_eq!((code, state.is_end()), (None, true));
        prop_assert_eq!(&world.live, &wanted);
        prop_assert_eq!(world.applied.len(), writes(row, "p", &live(&base), &wanted).len());
    }

    #[test]
    fn whatever_dies_the_policy_ends_as_wanted_and_no_call_is_applied_twice(
        (row, [base, wanted]) in row_with_sets::<2>(),
        events in events(),
        delay in 0..=30_i64,
        pace in 0..40_i64,
    ) {
        let mut world = world(row, &base, delay, pace);
        let (state, code) = run(&mut world, &base, &wanted, &events);
        prop_assert_eq!(code, None);
        prop_assert_eq!(&world.live, &wanted);
        prop_assert_eq!(state, if base == wanted { ItemState::Skipped } else { ItemState::Verified });
        let calls = writes(row, "p", &live(&base), &wanted);
        // Each call changed something once: a repeated one would be one too many.
        prop_assert_eq!(world.applied.len(), calls.len());
    }

    #[test]
    fn a_change_before_the_write_survives(
        (row, [base, wanted, foreign]) in row_with_sets::<3>(),
        events in events(),
    ) {
        let mut world = world(row, &base, 0, 0);
        (world.live, world.stale) = (foreign.clone(), foreign.clone());
        let (state, code) = run(&mut world, &base, &wanted, &events);
        if foreign != base && foreign != wanted {
            prop_assert_eq!((state, code), (ItemState::Failed, Some(Code::AssignmentsDriftedSincePlan)));
            prop_assert!(world.applied.is_empty());
        }
        prop_assert!(world.live == foreign || foreign == base);
    }

    #[test]
    fn a_change_after_the_write_survives(
        (row, [base, wanted, foreign]) in row_with_sets::<3>(),
        applied: bool,
        age in 0..90_i64,
    ) {
        let seen = Seen {
            row,
            base: &base,
            wanted: &wanted,
            live: Some(&foreign),
            sending: if applied { Sending::Applied } else { Sending::InDoubt },
            quiet_since: at(0),
            now: at(age),
            verify_timeout: TIMEOUT,
            may_write_again: true,
        };
        let step = next_step(&entry(ItemState::Sent, &base, &wanted, Some(at(0))), &seen);
        let ours = |it| base.contains(it) || wanted.contains(it);
        if foreign.iter().any(|it| !ours(it)) {
            prop_assert!(matches!(step, Step::Fail(_)), "{step:?}");
        }
        prop_assert!(step != Step::WriteNow || !applied, "what was answered is never sent again");
    }
}
