//! In which ways a change reaches more than the live set does, judged without knowing who is in a group.
//!
//! Everything here is about direct assignments. It errs on the side of naming: a change that is not named reaches
//! nobody whom the live set does not reach with the same intent.

use std::collections::BTreeSet;

use super::Widening;
use crate::domain::assignment::{ALL_DEVICES_GROUP, ALL_USERS_GROUP, Assignment, AssignmentSet, Target};

#[cfg(test)]
mod tests;

/// The ways in which going from `live` to `wanted` widens, in order, each once.
pub fn widening(live: &AssignmentSet, wanted: &AssignmentSet) -> Vec<Widening> {
    let (live, wanted) = (live.direct(), wanted.direct());
    let mut found = BTreeSet::new();
    let included: Vec<&Assignment> = wanted.iter().filter(|it| !it.target.is_exclusion()).collect();
    if !included.is_empty() && live.iter().any(|it| is_lost_exclusion(it, &wanted)) {
        found.insert(Widening::ExclusionLost);
    }
    for new in included {
        let compared = compared_with(new, &live);
        if !compared.is_empty() && compared.iter().all(|old| old.filter.is_some() && old.filter != new.filter)
        {
            found.insert(Widening::FilterLost);
        }
        if becomes_everybody(new, &live) {
            found.insert(Widening::GroupBecomesEverybody);
        }
        if is_added(new, &live) {
            found.insert(Widening::TargetAdded);
        }
    }
    found.into_iter().collect()
}

/// Whether one of them stops a restore that does not allow it (SPEC section 9). A target that is added is what a
/// restore is for.
pub fn guarded(widens: &[Widening]) -> bool {
    widens.iter().any(|way| match way {
        Widening::ExclusionLost | Widening::FilterLost | Widening::GroupBecomesEverybody => true,
        Widening::TargetAdded => false,
    })
}

/// Whether going from `live` to `wanted` may take something from somebody: the way back would widen.
pub fn narrows(live: &AssignmentSet, wanted: &AssignmentSet) -> bool {
    !widening(wanted, live).is_empty()
}

/// An exclusion counts for the assignments of its intent, so that another intent is another exclusion. With a filter
/// it would take out less.
fn is_lost_exclusion(old: &Assignment, wanted: &AssignmentSet) -> bool {
    let as_wide = |new: &Assignment| new.filter.is_none() || new.filter == old.filter;
    let stays = |new: &Assignment| old.target == new.target && old.intent == new.intent && as_wide(new);
    old.target.is_exclusion() && !wanted.iter().any(stays)
}

/// What the live set has on the target: with the same intent, else with others (an app that is required with a filter
/// and shall be available without it reaches more).
fn compared_with<'a>(new: &Assignment, live: &'a AssignmentSet) -> Vec<&'a Assignment> {
    let on_target: Vec<_> = live.iter().filter(|old| old.target == new.target).collect();
    let same_intent: Vec<_> = on_target.iter().copied().filter(|old| old.intent == new.intent).collect();
    if same_intent.is_empty() { on_target } else { same_intent }
}

/// Who has nothing assigned to anybody gets a new target. Who has groups, or everybody of the other kind, is widened.
fn becomes_everybody(new: &Assignment, live: &AssignmentSet) -> bool {
    let included: Vec<_> = live.iter().filter(|old| !old.target.is_exclusion()).collect();
    let reaches =
        |kind| included.iter().any(|old| old.intent == new.intent && is_everybody(&old.target, kind));
    let mut kinds = [Everybody::Users, Everybody::Devices].into_iter();
    !included.is_empty() && kinds.any(|kind| is_everybody(&new.target, kind) && !reaches(kind))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Everybody {
    Users,
    Devices,
}

fn is_everybody(target: &Target, kind: Everybody) -> bool {
    match target {
        Target::AllUsers => kind == Everybody::Users,
        Target::AllDevices => kind == Everybody::Devices,
        Target::Group { group_id } if group_id == ALL_USERS_GROUP => kind == Everybody::Users,
        Target::Group { group_id } if group_id == ALL_DEVICES_GROUP => kind == Everybody::Devices,
        Target::RoleScope { scope_type: Some(scope_type), .. } => match scope_type.as_str() {
            "allLicensedUsers" => kind == Everybody::Users,
            "allDevices" => kind == Everybody::Devices,
            "allDevicesAndLicensedUsers" => true,
            _ => false,
        },
        _ => false,
    }
}

fn is_added(new: &Assignment, live: &AssignmentSet) -> bool {
    if let Target::RoleScope { members, resource_scopes, .. } = &new.target {
        return !live.iter().any(|old| match &old.target {
            Target::RoleScope { members: had, resource_scopes: had_scopes, .. } => {
                members.is_subset(had) && resource_scopes.is_subset(had_scopes)
            }
            _ => false,
        });
    }
    !live.iter().any(|old| old.target == new.target && old.intent == new.intent)
}
