use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::assignment::{FilterMode::Include, Target};
use crate::domain::counts::CountKey;
use crate::domain::identity::RestoreMode;
use crate::domain::restore::samples::*;
use crate::domain::restore::{FilterFacts, ItemState, Widening};

/// What a plan is made for, with everything there and nothing allowed.
struct Case {
    inputs: RestoreInputs,
    policies_max: usize,
    complete: BTreeSet<String>,
    directory: Directory,
    expected: Option<BTreeMap<PolicyKey, AssignmentsHash>>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            inputs: RestoreInputs {
                snapshot_id: 1,
                policy_ids: None,
                group_map: BTreeMap::new(),
                mode: RestoreMode::Exact,
                dry_run: false,
                plan_run_id: None,
                allow_widening: false,
            },
            policies_max: 100,
            complete: policy_types::TABLE.iter().map(|row| row.key.to_owned()).collect(),
            directory: Directory {
                groups: GROUPS.iter().map(|id| (*id).to_owned()).collect(),
                filters: FILTERS.iter().map(|id| ((*id).to_owned(), FilterFacts::default())).collect(),
                same_directory: true,
            },
            expected: None,
        }
    }
}

impl Case {
    fn plan(&self, policies: Vec<PolicyInput>) -> Plan {
        let request = PlanRequest {
            inputs: &self.inputs,
            policies_max: self.policies_max,
            complete_types: &self.complete,
            directory: &self.directory,
            replaced: false,
            expected: self.expected.as_ref(),
        };
        plan(&request, policies)
    }

    /// The decision on one policy.
    fn decide(&self, input: PolicyInput) -> Decision {
        let plan = self.plan(vec![input]);
        assert_eq!(plan.items.len(), 1);
        plan.items.into_iter().next().expect("one").decision
    }

    fn code(&self, input: PolicyInput) -> Option<Code> {
        match self.decide(input) {
            Decision::Refused(failure) => Some(failure.code),
            Decision::Unchanged | Decision::Write { .. } => None,
        }
    }
}

fn key(policy_type: &str, policy_id: &str) -> PolicyKey {
    PolicyKey { policy_type: policy_type.to_owned(), policy_id: policy_id.to_owned() }
}

fn input(policy_type: &str, policy_id: &str, snapshot: AssignmentSet, had: AssignmentSet) -> PolicyInput {
    PolicyInput {
        policy: key(policy_type, policy_id),
        name: "snapshot name".to_owned(),
        snapshot,
        live: Ok(Some(live(&had))),
    }
}

/// A policy whose groups differ.
fn differs(policy_id: &str) -> PolicyInput {
    input("compliancePolicy", policy_id, set([plain(group(0))]), set([plain(group(1))]))
}

fn same(policy_id: &str) -> PolicyInput {
    input("compliancePolicy", policy_id, set([plain(group(0))]), set([plain(group(0))]))
}

/// A policy that would lose its filter.
fn widens(policy_id: &str) -> PolicyInput {
    input("compliancePolicy", policy_id, set([plain(group(0))]), set([filtered(group(0), 0, Include)]))
}

const WRITE: Decision = Decision::Write { calls: 1 };

#[test]
fn a_policy_is_unchanged_or_written() {
    let case = Case::default();
    assert_eq!(case.decide(same("p")), Decision::Unchanged);
    assert_eq!(case.decide(differs("p")), WRITE);
    let plan = case.plan(vec![differs("p")]);
    let item = &plan.items[0];
    assert_eq!(
        (item.name.as_str(), &item.base, &item.wanted),
        ("live name", &Some(set([plain(group(1))])), &Some(set([plain(group(0))])))
    );
    assert_eq!(item.widens, [Widening::TargetAdded]);
}

#[test]
fn calls_of_types_without_an_action_are_counted_one_by_one() {
    let case = Case::default();
    let (snapshot, had) = (set([plain(group(0)), plain(group(1))]), set([plain(group(2))]));
    assert_eq!(case.decide(input("autopilotProfile", "p", snapshot, had)), Decision::Write { calls: 3 });
}

#[test]
fn inherited_assignments_neither_differ_nor_are_planned() {
    let case = Case::default();
    let snapshot = set([plain(group(0)), inherited(group(1))]);
    let had = set([plain(group(0)), inherited(group(2))]);
    let plan = case.plan(vec![input("compliancePolicy", "p", snapshot, had)]);
    assert_eq!(plan.items[0].decision, Decision::Unchanged);
    assert_eq!(plan.items[0].base, Some(set([plain(group(0))])));
}

#[test]
fn a_restore_to_the_empty_set_is_a_write() {
    let case = Case::default();
    assert_eq!(case.decide(input("compliancePolicy", "p", set([]), set([plain(group(0))]))), WRITE);
    let calls =
        case.decide(input("termsAndConditions", "p", set([]), set([plain(group(0)), plain(group(1))])));
    assert_eq!(calls, Decision::Write { calls: 2 });
    let wiped = input("compliancePolicy", "p", set([plain(Target::AllUsers)]), set([]));
    assert_eq!(case.decide(wiped), WRITE, "a restore after a wipe is no widening");
}

#[test]
fn a_type_that_was_not_read_completely_restores_nothing_and_reads_nothing() {
    let mut case = Case::default();
    case.complete.remove("compliancePolicy");
    let incomplete = Some(Code::AssignmentsReadIncomplete);
    assert_eq!(case.code(same("p")), incomplete, "not even what seems to be the same");
    assert_eq!(case.code(PolicyInput { live: Ok(None), ..differs("p") }), incomplete);
    assert_eq!(case.code(input("intent", "p", set([]), set([plain(group(0))]))), None, "other types go on");
    let request = PlanRequest {
        inputs: &case.inputs,
        policies_max: 1,
        complete_types: &case.complete,
        directory: &case.directory,
        replaced: false,
        expected: None,
    };
    assert!(!request.reads(&key("compliancePolicy", "p")) && request.reads(&key("intent", "p")));
    assert!(!request.reads(&key("noSuchType", "p")));
}

#[test]
fn what_is_not_there_or_not_read_is_not_written() {
    let case = Case::default();
    let missing = PolicyInput { live: Ok(None), ..differs("p") };
    assert_eq!(case.code(missing), Some(Code::AssignmentsPolicyMissing));
    let failure = Failure::new(Code::GraphThrottled, "throttled");
    let unread = PolicyInput { live: Err(failure.clone()), ..differs("p") };
    let plan = case.plan(vec![unread]);
    assert_eq!(plan.items[0].decision, Decision::Refused(failure));
    assert_eq!((&plan.items[0].base, plan.items[0].name.as_str()), (&None, "snapshot name"));
    assert_eq!(
        case.code(input("noSuchType", "p", set([]), set([]))),
        Some(Code::AssignmentsTargetUnsupported)
    );
}

#[test]
fn groups_and_filters_that_do_not_exist_stop_the_policy_alone() {
    let mut case = Case::default();
    case.directory.groups.remove(GROUPS[0]);
    case.directory.filters.clear();
    assert_eq!(case.code(differs("p")), Some(Code::AssignmentsGroupDeleted));
    case.directory.same_directory = false;
    assert_eq!(case.code(differs("p")), Some(Code::AssignmentsGroupUnmapped));
    let filter = input("compliancePolicy", "p", set([filtered(group(1), 0, Include)]), set([]));
    assert_eq!(case.code(filter), Some(Code::AssignmentsFilterMissing));
    assert_eq!(case.decide(input("compliancePolicy", "p", set([plain(group(2))]), set([]))), WRITE);
}

#[test]
fn the_map_decides_which_group_is_meant() {
    let mut case = Case::default();
    let id = |at: usize| GROUPS[at].parse::<Uuid>().expect("a UUID");
    case.inputs.group_map = BTreeMap::from([(id(0), id(1))]);
    assert_eq!(case.decide(differs("p")), Decision::Unchanged, "mapped, it is what live has");
    case.inputs.group_map.insert(id(2), id(1));
    let both = set([plain(group(0)), filtered(group(2), 0, Include)]);
    let plan = case.plan(vec![input("compliancePolicy", "p", both, set([]))]);
    assert!(
        matches!(&plan.items[0].decision, Decision::Refused(failure) if failure.code == Code::AssignmentsGroupUnmapped)
    );
    assert_eq!((&plan.items[0].wanted, &plan.items[0].base), (&None, &Some(set([]))));
}

#[test]
fn a_policy_that_is_unchanged_is_never_refused() {
    let case = Case {
        directory: Directory::default(),
        expected: Some(BTreeMap::new()),
        policies_max: 0,
        ..Case::default()
    };
    assert_eq!(
        case.decide(same("p")),
        Decision::Unchanged,
        "its group was deleted, and it has it all the same"
    );
    let role = set([plain(role(&[0], "allDevices"))]);
    assert_eq!(case.decide(input("roleAssignment", "p", role.clone(), role)), Decision::Unchanged);
    let everybody = set([plain(Target::AllUsers)]);
    assert_eq!(
        case.decide(input("autopilotProfile", "p", everybody.clone(), everybody)),
        Decision::Unchanged
    );
}

#[test]
fn rights_are_restored_where_the_request_names_them() {
    let mut case = Case::default();
    let input = || input("roleScopeTag", "p", set([plain(group(0))]), set([]));
    assert_eq!(case.code(input()), Some(Code::AssignmentsTargetUnsupported));
    case.inputs.policy_ids = Some(BTreeSet::from(["p".to_owned()]));
    assert_eq!(case.decide(input()), WRITE);
}

#[test]
fn what_widens_is_stopped_unless_it_is_allowed() {
    let mut case = Case::default();
    let plan = case.plan(vec![widens("p")]);
    let Decision::Refused(failure) = &plan.items[0].decision else { panic!("{plan:?}") };
    assert_eq!(failure.code, Code::AssignmentsGuardBlocked);
    assert!(
        failure.message().contains("filter") && failure.message().contains("allow_widening"),
        "{failure:?}"
    );
    assert_eq!(plan.items[0].widens, [Widening::FilterLost]);
    assert!(plan.items[0].wanted.is_some(), "the plan shows what it would be");
    case.inputs.allow_widening = true;
    assert_eq!(case.decide(widens("p")), WRITE);
    assert_eq!(case.plan(vec![widens("p")]).items[0].widens, [Widening::FilterLost], "named all the same");
}

#[test]
fn what_is_certain_is_said_before_what_may_be_allowed() {
    let mut case = Case::default();
    let widens_and_refused = || {
        input(
            "autopilotProfile",
            "p",
            set([plain(Target::AllUsers)]),
            set([plain(group(0)), plain(excluded(1))]),
        )
    };
    assert_eq!(case.code(widens_and_refused()), Some(Code::AssignmentsTargetUnsupported));
    case.expected = Some(BTreeMap::new());
    assert_eq!(case.code(widens("p")), Some(Code::AssignmentsDriftedSincePlan), "drift before guard");
    case.directory.groups.clear();
    assert_eq!(case.code(widens("p")), Some(Code::AssignmentsGroupDeleted), "resolution before drift");
}

#[test]
fn more_policies_than_may_be_written_stop_every_write() {
    let mut case = Case { policies_max: 2, ..Case::default() };
    let inputs = || {
        vec![
            differs("a"),
            differs("b"),
            differs("c"),
            same("d"),
            PolicyInput { live: Ok(None), ..differs("e") },
        ]
    };
    let plan = case.plan(inputs());
    let summary = plan.summary();
    assert_eq!((summary.to_write, summary.unchanged, summary.refused, summary.guarded), (0, 1, 4, 3));
    let codes: Vec<_> = plan.failures().iter().map(|failure| failure.code).collect();
    assert_eq!(codes[..3], [Code::AssignmentsGuardBlocked; 3]);
    assert_eq!(codes[3], Code::AssignmentsPolicyMissing, "its own reason stays");
    assert!(
        plan.failures()[0]
            .message()
            .starts_with("3 policies would be written, more than restore.policies_max (2)")
    );
    case.policies_max = 3;
    assert_eq!(case.plan(inputs()).summary().to_write, 3);
    (case.policies_max, case.inputs.allow_widening) = (0, true);
    assert_eq!(case.plan(inputs()).summary().to_write, 3);
}

#[test]
fn a_plan_that_is_carried_out_writes_what_it_showed() {
    let shown = |had: &AssignmentSet| Some(BTreeMap::from([(key("compliancePolicy", "p"), had.hash())]));
    let mut case = Case { expected: shown(&set([plain(group(1))])), ..Case::default() };
    assert_eq!(case.decide(differs("p")), WRITE);
    case.expected = shown(&set([plain(group(2))]));
    assert_eq!(case.code(differs("p")), Some(Code::AssignmentsDriftedSincePlan));
    assert_eq!(case.decide(same("p")), Decision::Unchanged, "somebody did it already");
    assert_eq!(
        case.code(differs("another")),
        Some(Code::AssignmentsDriftedSincePlan),
        "the plan did not list it"
    );
}

#[test]
fn policies_that_the_snapshot_does_not_hold_are_missing() {
    let mut case = Case::default();
    case.inputs.policy_ids = Some(["a", "x", "y"].map(str::to_owned).into());
    let plan = case.plan(vec![differs("a"), differs("b")]);
    assert_eq!(plan.items.len(), 1, "b is not asked for");
    assert_eq!(plan.not_held.keys().collect::<Vec<_>>(), ["x", "y"]);
    assert!(plan.failures().iter().all(|failure| failure.code == Code::AssignmentsPolicyMissing));
    let summary = plan.summary();
    assert_eq!((summary.total, summary.to_write, summary.refused), (3, 1, 2));
    assert_eq!(not_held(&case.inputs, [&key("intent", "x")]).len(), 2);
}

#[test]
fn merging_only_adds() {
    let mut case = Case::default();
    case.inputs.mode = RestoreMode::Merge;
    let had = set([plain(group(1)), plain(excluded(2))]);
    let plan = case.plan(vec![input("compliancePolicy", "p", set([plain(group(0))]), had)]);
    assert_eq!(plan.items[0].wanted, Some(set([plain(group(0)), plain(group(1)), plain(excluded(2))])));
    assert_eq!(plan.items[0].decision, WRITE);
}

#[test]
fn a_plan_in_numbers_adds_up() {
    let case = Case::default();
    let autopilot = input("autopilotProfile", "e", set([plain(group(0))]), set([plain(group(1))]));
    let plan = case.plan(vec![same("a"), differs("b"), widens("c"), autopilot]);
    let summary = plan.summary();
    let expected =
        PlanSummary { total: 4, to_write: 2, unchanged: 1, refused: 1, guarded: 1, calls: 7, writes: 3 };
    assert_eq!(summary, expected);
    let counts = plan.counts();
    let of = |key| counts.get(key);
    assert_eq!((of(CountKey::Total), of(CountKey::Processed), of(CountKey::Updated)), (4, 4, 0));
    assert_eq!((of(CountKey::Succeeded), of(CountKey::Skipped), of(CountKey::Failed)), (2, 1, 1));
}

#[test]
fn a_journal_is_counted_as_the_ledger_counts() {
    use ItemState::{Failed, Planned, Sent, Skipped, Verified};
    let counts = counts([Planned, Sent, Verified, Verified, Skipped, Failed], 1);
    let of = |key| counts.get(key);
    assert_eq!((of(CountKey::Total), of(CountKey::Processed)), (7, 5));
    assert_eq!(
        (of(CountKey::Updated), of(CountKey::Succeeded), of(CountKey::Skipped), of(CountKey::Failed)),
        (2, 2, 1, 2)
    );
}

fn inputs() -> impl Strategy<Value = Vec<PolicyInput>> {
    let fitting = (row_with_sets::<2>(), 0..4_u8)
        .prop_map(|((row, [snapshot, had]), id)| input(row.key, &id.to_string(), snapshot, had));
    let any = (proptest::sample::select(policy_types::TABLE), any_set(), any_set(), 0..4_u8, 0..6_u8)
        .prop_map(|(row, snapshot, had, id, fate)| PolicyInput {
            live: match fate {
                0 => Ok(None),
                1 => Err(Failure::new(Code::GraphForbidden, "forbidden")),
                _ => Ok(Some(live(&had))),
            },
            ..input(row.key, &id.to_string(), snapshot, AssignmentSet::default())
        });
    proptest::collection::vec(prop_oneof![2 => fitting, 1 => any], 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_plan_keeps_its_rules(
        inputs in inputs(),
        merge: bool,
        allow_widening: bool,
        policies_max in 0..6_usize,
        existing in 0..=4_usize,
        same_directory: bool,
    ) {
        let mut case = Case { policies_max, ..Case::default() };
        case.inputs.mode = if merge { RestoreMode::Merge } else { RestoreMode::Exact };
        case.inputs.allow_widening = allow_widening;
        case.directory.same_directory = same_directory;
        case.directory.groups = GROUPS[..existing].iter().map(|id| (*id).to_owned()).collect();
        let plan = case.plan(inputs.clone());

        let keys: Vec<_> = plan.items.iter().map(|item| item.policy.clone()).collect();
        let mut sorted: Vec<_> = inputs.iter().map(|input| input.policy.clone()).collect();
        sorted.sort();
        sorted.dedup();
        prop_assert_eq!(keys, sorted, "each policy once, in order");
        let summary = plan.summary();
        prop_assert!(allow_widening || summary.to_write as usize <= policies_max);
        prop_assert_eq!(summary.total as usize, plan.items.len());
        for item in &plan.items {
            let same = item.base.is_some() && item.base == item.wanted;
            prop_assert_eq!(item.decision == Decision::Unchanged, same, "unchanged exactly when it is the same");
            let Decision::Write { calls } = item.decision else { continue };
            let (base, wanted) = (item.base.as_ref().expect("read"), item.wanted.as_ref().expect("worked out"));
            prop_assert!(calls >= 1);
            prop_assert!(allow_widening || !guarded(&widening(base, wanted)));
            prop_assert!(wanted.iter().all(|it| it.inherited_from.is_none()));
            let known = |id: &&str| crate::domain::assignment::is_pseudo_group(id) || case.directory.groups.contains(*id);
            prop_assert!(wanted.iter().flat_map(|it| it.target.group_ids()).all(|id| known(&id)));
            let role = |it: &crate::domain::assignment::Assignment| matches!(it.target, Target::RoleScope { .. });
            prop_assert!(!merge || base.iter().filter(|it| !role(it)).all(|it| wanted.contains(it)));
        }
        prop_assert_eq!(case.plan(inputs), plan, "the same again");
    }

    #[test]
    fn a_plan_of_itself_changes_nothing(inputs in inputs()) {
        let inputs = inputs.into_iter().map(|mut input| {
            if let Ok(Some(live)) = &input.live {
                input.snapshot = live.assignments.clone();
            }
            input
        });
        let plan = Case::default().plan(inputs.collect());
        prop_assert_eq!(plan.summary().to_write, 0);
        prop_assert!(plan.items.iter().all(|item| item.base.is_none() || item.decision == Decision::Unchanged));
    }

    #[test]
    fn what_a_plan_showed_is_carried_out_and_what_it_did_not_show_is_not(inputs in inputs(), drifted in any::<u8>()) {
        let mut case = Case::default();
        case.inputs.allow_widening = true;
        let shown = case.plan(inputs.clone());
        let mut expected: BTreeMap<_, _> = shown.items.iter()
            .filter_map(|item| Some((item.policy.clone(), item.base.as_ref()?.hash())))
            .collect();
        for (at, hash) in expected.values_mut().enumerate() {
            if drifted & 1 << (at % 8) != 0 {
                *hash = AssignmentsHash::of(b"what somebody made of it");
            }
        }
        let as_shown: BTreeSet<_> = shown.items.iter()
            .filter(|item| item.base.as_ref().is_some_and(|base| expected[&item.policy] == base.hash()))
            .map(|item| item.policy.clone())
            .collect();
        case.expected = Some(expected);
        for (now, then) in case.plan(inputs).items.iter().zip(&shown.items) {
            match &now.decision {
                Decision::Refused(failure) if failure.code == Code::AssignmentsDriftedSincePlan => {
                    prop_assert!(!as_shown.contains(&now.policy));
                    let would_write = matches!(then.decision, Decision::Write { .. });
                    prop_assert!(would_write);
                }
                decision => prop_assert_eq!(decision, &then.decision),
            }
        }
    }
}
