use proptest::prelude::*;

use super::*;
use crate::domain::assignment::FilterMode::Include;
use crate::domain::restore::samples::*;

fn map<const N: usize>(pairs: [(usize, usize); N]) -> BTreeMap<Uuid, Uuid> {
    let id = |at: usize| GROUPS[at].parse::<Uuid>().expect("a UUID");
    pairs.into_iter().map(|(from, to)| (id(from), id(to))).collect()
}

fn tenant(groups: &[usize], same_directory: bool) -> Directory {
    Directory {
        groups: groups.iter().map(|at| GROUPS[*at].to_owned()).collect(),
        filters: BTreeMap::from([(FILTERS[0].to_owned(), FilterFacts::default())]),
        same_directory,
    }
}

fn exact<const N: usize, const M: usize>(
    snapshot: [Assignment; N],
    pairs: [(usize, usize); M],
) -> Result<AssignmentSet, Code> {
    let live = AssignmentSet::default();
    wanted(&set(snapshot), &live, &map(pairs), RestoreMode::Exact).map_err(|failure| failure.code)
}

fn code_of<const N: usize>(
    wanted: [Assignment; N],
    pairs: &BTreeMap<Uuid, Uuid>,
    directory: &Directory,
) -> Option<Code> {
    missing(&set(wanted), &AssignmentSet::default(), pairs, directory).map(|failure| failure.code)
}

#[test]
fn groups_are_mapped_by_id_and_others_stay() {
    let found = exact([plain(group(0)), plain(excluded(1)), plain(Target::AllUsers)], [(0, 2)]);
    assert_eq!(found, Ok(set([plain(group(2)), plain(excluded(1)), plain(Target::AllUsers)])));
    let found = exact([plain(cloud_pc(0, Some("Plan-1")))], [(0, 2)]);
    assert_eq!(found, Ok(set([plain(cloud_pc(2, Some("Plan-1")))])));
    let found = exact([plain(role(&[0, 1], "resourceScope"))], [(0, 2), (1, 2)]);
    assert_eq!(found, Ok(set([plain(role(&[2], "resourceScope"))])), "the members are a set");
}

#[test]
fn two_groups_may_swap_and_none_is_mapped_twice() {
    let swapped = exact([intended(group(0), "required"), intended(group(1), "available")], [(0, 1), (1, 0)]);
    assert_eq!(swapped, Ok(set([intended(group(1), "required"), intended(group(0), "available")])));
}

#[test]
fn inherited_assignments_are_left_out_on_both_sides() {
    assert_eq!(exact([inherited(group(0)), plain(group(1))], []), Ok(set([plain(group(1))])));
    let live = set([plain(group(0)), inherited(group(2))]);
    let merged = wanted(&set([inherited(group(3))]), &live, &map([]), RestoreMode::Merge);
    assert_eq!(merged, Ok(set([plain(group(0))])));
}

#[test]
fn a_map_that_makes_one_group_of_two_different_assignments_is_ambiguous() {
    let unmapped = Err(Code::AssignmentsGroupUnmapped);
    let differs = filtered(group(1), 0, Include);
    assert_eq!(exact([plain(group(0)), differs.clone()], [(0, 2), (1, 2)]), unmapped);
    assert_eq!(exact([plain(group(0)), differs], [(0, 1)]), unmapped, "one of both was there already");
    assert_eq!(
        exact([plain(group(0)), plain(excluded(1))], [(0, 2), (1, 2)]),
        unmapped,
        "in and out at once"
    );
    assert_eq!(
        exact([plain(group(0)), plain(group(1))], [(0, 2), (1, 2)]),
        Ok(set([plain(group(2))])),
        "the same for both"
    );
    let intents = [intended(group(0), "required"), intended(group(1), "available")];
    assert_eq!(
        exact(intents.clone(), [(0, 2), (1, 2)]).map(|it| it.len()),
        Ok(2),
        "one assignment for each intent"
    );
}

#[test]
fn what_was_ambiguous_without_the_map_is_not_the_maps_fault() {
    let both = [plain(group(0)), filtered(group(0), 0, Include)];
    assert_eq!(exact(both, [(0, 2)]).map(|it| it.len()), Ok(2), "the refusals speak of it");
}

#[test]
fn merging_only_adds_and_keeps_what_live_has() {
    let live = set([filtered(group(0), 0, Include), intended(group(1), "required")]);
    let snapshot = set([plain(group(0)), intended(group(1), "available"), plain(group(2))]);
    let merged = wanted(&snapshot, &live, &map([]), RestoreMode::Merge);
    let expected = set([
        filtered(group(0), 0, Include),
        intended(group(1), "required"),
        intended(group(1), "available"),
        plain(group(2)),
    ]);
    assert_eq!(merged, Ok(expected));
    let roles = wanted(
        &set([plain(role(&[1], "allDevices"))]),
        &set([plain(role(&[0], "resourceScope"))]),
        &map([]),
        RestoreMode::Merge,
    );
    assert_eq!(roles, Ok(set([plain(role(&[0, 1], "resourceScope"))])));
}

#[test]
fn pseudo_groups_are_neither_mapped_nor_looked_up() {
    let everybody = plain(named_group("acacacac-9df4-4c7d-9d50-4ef0226f57a9"));
    let to = GROUPS[0].parse::<Uuid>().expect("a UUID");
    let pairs = BTreeMap::from([("acacacac-9df4-4c7d-9d50-4ef0226f57a9".parse().expect("a UUID"), to)]);
    let mapped = wanted(&set([everybody.clone()]), &set([]), &pairs, RestoreMode::Exact);
    assert_eq!(mapped, Ok(set([everybody.clone()])));
    let mut lookups = Lookups::default();
    lookups.add_snapshot(&set([everybody.clone()]), &pairs);
    assert_eq!(lookups, Lookups::default());
    assert_eq!(code_of([everybody], &pairs, &tenant(&[], false)), None);
}

#[test]
fn what_must_exist_is_looked_up_after_the_map() {
    let mut lookups = Lookups::default();
    let snapshot = set([
        filtered(group(0), 1, Include),
        plain(excluded(1)),
        plain(named_group("no id")),
        inherited(group(3)),
    ]);
    lookups.add_snapshot(&snapshot, &map([(0, 2)]));
    assert_eq!(lookups.group_ids, BTreeSet::from([GROUPS[2].to_owned(), GROUPS[1].to_owned()]));
    assert_eq!(lookups.filter_ids, BTreeSet::from([FILTERS[1].to_owned()]));
    lookups.add_live(&set([plain(role(&[0], "resourceScope"))]));
    assert_eq!(lookups.group_ids.len(), 4, "live ids are not mapped");
}

#[test]
fn a_group_that_does_not_exist_is_deleted_here_and_unmapped_from_elsewhere() {
    let (here, elsewhere) = (tenant(&[0], true), tenant(&[0], false));
    let none = map([]);
    assert_eq!(code_of([plain(group(0))], &none, &here), None);
    assert_eq!(code_of([plain(group(0))], &none, &elsewhere), None, "it exists");
    assert_eq!(code_of([plain(group(1))], &none, &here), Some(Code::AssignmentsGroupDeleted));
    assert_eq!(code_of([plain(excluded(1))], &none, &elsewhere), Some(Code::AssignmentsGroupUnmapped));
    assert_eq!(
        code_of([plain(group(1))], &map([(3, 1)]), &elsewhere),
        Some(Code::AssignmentsGroupDeleted),
        "mapped to it"
    );
    let live = set([plain(group(1))]);
    let kept = missing(&live, &live, &none, &elsewhere).map(|failure| failure.code);
    assert_eq!(kept, Some(Code::AssignmentsGroupDeleted), "a merge keeps what live has");
}

#[test]
fn a_filter_that_does_not_exist_is_missing() {
    let here = tenant(&[0], true);
    assert_eq!(code_of([filtered(group(0), 0, Include)], &map([]), &here), None);
    assert_eq!(
        code_of([filtered(Target::AllDevices, 1, Include)], &map([]), &here),
        Some(Code::AssignmentsFilterMissing)
    );
}

#[test]
fn only_what_graph_writes_is_an_id() {
    for wrong in ["", "no id", "0f0f0f0f00004000800000000000000a", "{0f0f0f0f-0000-4000-8000-00000000000a}"] {
        assert!(!is_guid(wrong), "{wrong}");
    }
    assert!(is_guid(GROUPS[0]));
}

proptest! {
    #[test]
    fn without_a_map_exact_is_the_snapshots_direct_set(snapshot in any_set(), live in any_set()) {
        let found = wanted(&snapshot, &live, &map([]), RestoreMode::Exact);
        prop_assert_eq!(found, Ok(snapshot.direct()));
    }

    #[test]
    fn merging_takes_nothing_away_and_is_idempotent(snapshot in any_set(), live in any_set()) {
        let merge = |live: &AssignmentSet| wanted(&snapshot, live, &map([]), RestoreMode::Merge).expect("no map, no doubt");
        let once = merge(&live);
        let is_role = |it: &Assignment| matches!(it.target, Target::RoleScope { .. });
        prop_assert!(live.direct().iter().filter(|it| !is_role(it)).all(|it| once.contains(it)));
        prop_assert!(snapshot.direct().iter().all(|new| once.iter().any(|it| it.same_place(new))));
        prop_assert_eq!(merge(&once), once);
    }

    #[test]
    fn what_is_wanted_is_what_was_looked_up(snapshot in any_set(), live in any_set(), from in 0..4_usize, to in 0..4_usize, merge: bool) {
        let (pairs, mode) = (map([(from, to)]), if merge { RestoreMode::Merge } else { RestoreMode::Exact });
        let mut lookups = Lookups::default();
        lookups.add_snapshot(&snapshot, &pairs);
        lookups.add_live(&live);
        let directory = Directory {
            groups: lookups.group_ids,
            filters: lookups.filter_ids.into_iter().map(|id| (id, FilterFacts::default())).collect(),
            same_directory: true,
        };
        if let Ok(wanted) = wanted(&snapshot, &live, &pairs, mode) {
            prop_assert_eq!(missing(&wanted, &live, &pairs, &directory), None);
        }
    }
}
