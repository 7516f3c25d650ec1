use proptest::prelude::*;

use super::*;
use crate::domain::assignment::FilterMode::{Exclude, Include};
use crate::domain::restore::Widening::{ExclusionLost, FilterLost, GroupBecomesEverybody, TargetAdded};
use crate::domain::restore::samples::*;

#[test]
fn each_way_of_widening_is_named() {
    let everybody = || plain(named_group(ALL_USERS_GROUP));
    let cases: Vec<(&str, AssignmentSet, AssignmentSet, Vec<Widening>)> = vec![
        ("nothing", set([]), set([]), vec![]),
        ("the same", set([plain(group(0))]), set([plain(group(0))]), vec![]),
        ("restore after a wipe", set([]), set([plain(Target::AllUsers)]), vec![TargetAdded]),
        (
            "after a wipe, exclusions left",
            set([plain(excluded(0))]),
            set([plain(excluded(0)), plain(Target::AllUsers)]),
            vec![TargetAdded],
        ),
        ("a group more", set([plain(group(0))]), set([plain(group(0)), plain(group(1))]), vec![TargetAdded]),
        ("a group less", set([plain(group(0)), plain(group(1))]), set([plain(group(0))]), vec![]),
        (
            "an exclusion lost",
            set([plain(group(0)), plain(excluded(1))]),
            set([plain(group(0))]),
            vec![ExclusionLost],
        ),
        (
            "an exclusion lost with everybody else",
            set([plain(group(0)), plain(excluded(1))]),
            set([]),
            vec![],
        ),
        (
            "an exclusion becomes an inclusion",
            set([plain(group(0)), plain(excluded(1))]),
            set([plain(group(0)), plain(group(1))]),
            vec![ExclusionLost, TargetAdded],
        ),
        (
            "an exclusion of another group",
            set([plain(group(0)), plain(excluded(1))]),
            set([plain(group(0)), plain(excluded(2))]),
            vec![ExclusionLost],
        ),
        (
            "an exclusion for another intent",
            set([intended(group(0), "required"), intended(excluded(1), "required")]),
            set([intended(group(0), "required"), intended(excluded(1), "available")]),
            vec![ExclusionLost],
        ),
        ("a filter lost", set([filtered(group(0), 0, Include)]), set([plain(group(0))]), vec![FilterLost]),
        (
            "another filter",
            set([filtered(group(0), 0, Include)]),
            set([filtered(group(0), 1, Include)]),
            vec![FilterLost],
        ),
        (
            "include becomes exclude",
            set([filtered(group(0), 0, Include)]),
            set([filtered(group(0), 0, Exclude)]),
            vec![FilterLost],
        ),
        ("a filter more", set([plain(group(0))]), set([filtered(group(0), 0, Include)]), vec![]),
        (
            "a filter lost by another intent",
            set([Assignment { intent: Some("required".to_owned()), ..filtered(group(0), 0, Include) }]),
            set([intended(group(0), "available")]),
            vec![FilterLost, TargetAdded],
        ),
        (
            "groups become all users",
            set([plain(group(0))]),
            set([plain(Target::AllUsers)]),
            vec![GroupBecomesEverybody, TargetAdded],
        ),
        (
            "all devices become all users",
            set([plain(Target::AllDevices)]),
            set([plain(Target::AllUsers)]),
            vec![GroupBecomesEverybody, TargetAdded],
        ),
        (
            "all users besides all devices",
            set([plain(Target::AllDevices), plain(Target::AllUsers)]),
            set([plain(Target::AllUsers)]),
            vec![],
        ),
        (
            "everybody by a pseudo group",
            set([plain(group(0))]),
            set([everybody()]),
            vec![GroupBecomesEverybody, TargetAdded],
        ),
        ("everybody already", set([everybody(), plain(group(0))]), set([everybody()]), vec![]),
        (
            "available to all becomes required for all",
            set([intended(Target::AllUsers, "available"), intended(group(0), "required")]),
            set([intended(Target::AllUsers, "required")]),
            vec![GroupBecomesEverybody, TargetAdded],
        ),
        (
            "a role gets members",
            set([plain(role(&[0], "resourceScope"))]),
            set([plain(role(&[0, 1], "resourceScope"))]),
            vec![TargetAdded],
        ),
        (
            "a role loses members",
            set([plain(role(&[0, 1], "resourceScope"))]),
            set([plain(role(&[0], "resourceScope"))]),
            vec![],
        ),
        (
            "a role gets all devices",
            set([plain(role(&[0], "resourceScope"))]),
            set([plain(role(&[0], "allDevices"))]),
            vec![GroupBecomesEverybody],
        ),
        (
            "a role gets users too",
            set([plain(role(&[0], "allDevices"))]),
            set([plain(role(&[0], "allDevicesAndLicensedUsers"))]),
            vec![GroupBecomesEverybody],
        ),
        (
            "inherited ones do not count",
            set([plain(group(0)), inherited(excluded(1))]),
            set([plain(group(0)), inherited(Target::AllUsers)]),
            vec![],
        ),
    ];
    for (name, live, wanted, expected) in cases {
        assert_eq!(widening(&live, &wanted), expected, "{name}");
        assert_eq!(guarded(&expected), expected.iter().any(|way| *way != TargetAdded), "{name}");
    }
}

#[test]
fn narrowing_is_widening_on_the_way_back() {
    assert!(narrows(&set([plain(group(0))]), &set([])));
    assert!(narrows(&set([plain(group(0))]), &set([plain(group(0)), plain(excluded(1))])));
    assert!(narrows(&set([plain(group(0))]), &set([filtered(group(0), 0, Include)])));
    assert!(!narrows(&set([plain(group(0))]), &set([plain(group(0)), plain(group(1))])));
    assert!(!narrows(&set([]), &set([plain(Target::AllUsers)])));
}

/// Somebody: which of the groups it is a member of, which filters it passes, and whether it is a user or a device.
#[derive(Clone, Copy, Debug)]
struct Somebody {
    groups: u8,
    filters: u8,
    user: bool,
}

impl Somebody {
    fn is_in(self, target: &Target) -> bool {
        match target {
            Target::AllUsers => self.user,
            Target::AllDevices => !self.user,
            Target::Group { group_id } if group_id == ALL_USERS_GROUP => self.user,
            target => {
                let at = GROUPS.iter().position(|id| target.group_id() == Some(*id));
                at.is_some_and(|at| self.groups & 1 << at != 0)
            }
        }
    }

    fn passes(self, assignment: &Assignment) -> bool {
        let Some(filter) = &assignment.filter else { return true };
        let at = FILTERS.iter().position(|id| *id == filter.id).expect("a known filter");
        (self.filters & 1 << at != 0) == (filter.mode == Include)
    }

    fn is_reached(self, set: &AssignmentSet, intent: Option<&String>) -> bool {
        let mine =
            |it: &&Assignment| it.intent.as_ref() == intent && self.is_in(&it.target) && self.passes(it);
        let of_kind = |exclusion| set.iter().filter(mine).any(|it| it.target.is_exclusion() == exclusion);
        of_kind(false) && !of_kind(true)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn whoever_is_newly_reached_is_named(live in any_set(), wanted in any_set()) {
        let (live, wanted) = (live.direct(), wanted.direct());
        let widens = widening(&live, &wanted);
        let intents: Vec<_> = wanted.iter().map(|it| it.intent.clone()).collect();
        let somebody = (0..16_u8).flat_map(|groups| (0..4_u8).flat_map(move |filters| {
            [true, false].map(|user| Somebody { groups, filters, user })
        }));
        for somebody in somebody {
            for intent in &intents {
                let newly = somebody.is_reached(&wanted, intent.as_ref()) && !somebody.is_reached(&live, intent.as_ref());
                prop_assert!(!newly || !widens.is_empty(), "{somebody:?}");
            }
        }
    }

    #[test]
    fn nothing_and_less_widen_nothing(live in any_set(), keep in any::<u8>()) {
        prop_assert_eq!(widening(&live, &live), vec![]);
        prop_assert_eq!(widening(&live, &AssignmentSet::default()), vec![]);
        let fewer = live.iter().enumerate().filter(|(at, it)| it.target.is_exclusion() || keep & 1 << at != 0);
        let fewer = AssignmentSet::new(fewer.map(|(_, it)| it.clone()).collect());
        let role = live.iter().any(|it| matches!(it.target, Target::RoleScope { .. }));
        prop_assert!(role || widening(&live, &fewer).is_empty(), "{:?}", widening(&live, &fewer));
    }

    #[test]
    fn a_restore_after_a_wipe_is_not_stopped(wanted in any_set()) {
        prop_assert!(!guarded(&widening(&AssignmentSet::default(), &wanted)));
    }
}
