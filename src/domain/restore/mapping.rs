//! From a snapshot's set to the set that a policy is to have: groups by id and by the request's map, never by name.
//!
//! Inherited assignments are left out on both sides. Pseudo groups (everybody) are in no directory: they are neither
//! mapped nor looked up.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::FilterFacts;
use crate::domain::assignment::{Assignment, AssignmentSet, Target, is_pseudo_group};
use crate::domain::failure::{Code, Failure};
use crate::domain::identity::RestoreMode;

#[cfg(test)]
mod tests;

/// What exists in the tenant, of all that [`Lookups`] asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Ids of groups that exist, lower case.
    pub groups: BTreeSet<String>,
    /// Filters that exist, by their id, lower case.
    pub filters: BTreeMap<String, FilterFacts>,
    /// Whether the snapshot was taken from this very directory, so that its ids mean the same here.
    pub same_directory: bool,
}

/// What must be looked up in the tenant before a plan can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Group ids, lower case; only what has the form of an id.
    pub group_ids: BTreeSet<String>,
    /// Filter ids, lower case.
    pub filter_ids: BTreeSet<String>,
}

impl Lookups {
    /// Adds what a snapshot's set refers to, after the map.
    pub fn add_snapshot(&mut self, snapshot: &AssignmentSet, group_map: &BTreeMap<Uuid, Uuid>) {
        for assignment in snapshot.direct().iter() {
            self.add(&assignment.target.with_groups(|id| mapped_id(id, group_map)), assignment);
        }
    }

    /// Adds what a live set refers to: with [`RestoreMode::Merge`] it stays.
    pub fn add_live(&mut self, live: &AssignmentSet) {
        for assignment in live.direct().iter() {
            self.add(&assignment.target, assignment);
        }
    }

    fn add(&mut self, target: &Target, assignment: &Assignment) {
        let ids = target.group_ids().into_iter().filter(|id| is_guid(id) && !is_pseudo_group(id));
        self.group_ids.extend(ids.map(str::to_owned));
        self.filter_ids.extend(assignment.filter.iter().map(|filter| filter.id.clone()));
    }
}

/// The set that the policy is to have: the snapshot's with its groups mapped; with [`RestoreMode::Merge`] the live set
/// and what the snapshot has besides it. Whether its groups and filters exist is [`missing`]'s to say.
///
/// # Errors
/// `assignments.group_unmapped` when the map makes one group of two that have different assignments: which of both the
/// group is to have, only somebody can say.
pub fn wanted(
    snapshot: &AssignmentSet,
    live: &AssignmentSet,
    group_map: &BTreeMap<Uuid, Uuid>,
    mode: RestoreMode,
) -> Result<AssignmentSet, Failure> {
    let mapped = mapped(snapshot, group_map)?;
    Ok(match mode {
        RestoreMode::Exact => AssignmentSet::new(mapped),
        RestoreMode::Merge => merged(live, mapped),
    })
}

/// The first group or filter of `wanted` that does not exist: `assignments.group_deleted` for one of this directory,
/// `assignments.group_unmapped` for one of another, `assignments.filter_missing`.
pub fn missing(
    wanted: &AssignmentSet,
    live: &AssignmentSet,
    group_map: &BTreeMap<Uuid, Uuid>,
    directory: &Directory,
) -> Option<Failure> {
    let here: BTreeSet<String> = group_map.values().map(Uuid::to_string).collect();
    let is_live = |id: &str| live.iter().any(|it| it.target.group_ids().contains(&id));
    let no_group = |id: &str| {
        if directory.same_directory || here.contains(id) || is_live(id) {
            let message = format!("group {id} does not exist: name another one in `group_map`");
            Failure::new(Code::AssignmentsGroupDeleted, &message)
        } else {
            let message = format!("group {id} is of another directory: name its counterpart in `group_map`");
            Failure::new(Code::AssignmentsGroupUnmapped, &message)
        }
    };
    let groups = wanted.iter().flat_map(|it| it.target.group_ids());
    // What is no id at all is not looked up: the refusals say so.
    let mut groups = groups.filter(|id| is_guid(id) && !is_pseudo_group(id));
    groups.find(|id| !directory.groups.contains(*id)).map(no_group).or_else(|| {
        let mut filters = wanted.iter().filter_map(|it| it.filter.as_ref());
        let gone = filters.find(|filter| !directory.filters.contains_key(&filter.id))?;
        let message = format!("filter {} does not exist in the tenant: without it more devices", gone.id);
        Some(Failure::new(Code::AssignmentsFilterMissing, &format!("{message} would be reached")))
    })
}

/// Whether the text is an id as Graph writes it: 36 characters, hyphens included.
pub fn is_guid(id: &str) -> bool {
    id.len() == 36 && Uuid::try_parse(id).is_ok()
}

fn mapped_id(id: &str, group_map: &BTreeMap<Uuid, Uuid>) -> String {
    let known = Uuid::try_parse(id).ok().filter(|_| !is_pseudo_group(id));
    known.and_then(|known| group_map.get(&known)).map_or_else(|| id.to_owned(), Uuid::to_string)
}

fn mapped(snapshot: &AssignmentSet, group_map: &BTreeMap<Uuid, Uuid>) -> Result<Vec<Assignment>, Failure> {
    let direct = snapshot.direct();
    let pairs: Vec<(&Assignment, Assignment)> = direct
        .iter()
        .map(|old| {
            let target = old.target.with_groups(|id| mapped_id(id, group_map));
            (old, Assignment { target, ..old.clone() })
        })
        .collect();
    for (at, (old, new)) in pairs.iter().enumerate() {
        let collides = |(other_old, other_new): &&(&Assignment, Assignment)| {
            new.target.group_id().is_some()
                && new.target.group_id() == other_new.target.group_id()
                && old.target.group_id() != other_old.target.group_id()
                && new.intent == other_new.intent
                && new != other_new
        };
        if pairs[..at].iter().any(|pair| collides(&pair)) {
            let group = new.target.group_id().unwrap_or_default();
            let message =
                format!("`group_map` is ambiguous: groups with different assignments become {group}");
            return Err(Failure::new(Code::AssignmentsGroupUnmapped, &message));
        }
    }
    Ok(pairs.into_iter().map(|(_, new)| new).collect())
}

/// What live has stays as it is; what it has nothing in the place of is added.
fn merged(live: &AssignmentSet, mapped: Vec<Assignment>) -> AssignmentSet {
    let mut all: Vec<Assignment> = live.direct().iter().cloned().collect();
    for new in mapped {
        match all.iter_mut().find(|old| old.same_place(&new)) {
            Some(old) => add_scopes(&mut old.target, &new.target),
            None => all.push(new),
        }
    }
    AssignmentSet::new(all)
}

/// A role assignment is one place with many groups.
fn add_scopes(live: &mut Target, new: &Target) {
    if let (
        Target::RoleScope { members, resource_scopes, .. },
        Target::RoleScope { members: more, resource_scopes: more_scopes, .. },
    ) = (live, new)
    {
        members.extend(more.iter().cloned());
        resource_scopes.extend(more_scopes.iter().cloned());
    }
}
