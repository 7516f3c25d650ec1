//! What lies between two sets of assignments, and between two readings of a tenant's policies.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::{Assignment, AssignmentSet, AssignmentsHash};

/// What lies between two sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct SetDiff {
    /// In the second only.
    pub added: Vec<Assignment>,
    /// In the first only.
    pub removed: Vec<Assignment>,
    /// The same target and intent in both, with another filter or other settings: before and after.
    pub changed: Vec<(Assignment, Assignment)>,
}

/// The difference from `before` to `after`. One target may be there several times (with several filters, or directly
/// and from a policy set): each is in one pair at the most, with one of the same source where there is one.
pub fn diff(before: &AssignmentSet, after: &AssignmentSet) -> SetDiff {
    let mut removed: Vec<_> = before.iter().filter(|it| !after.0.contains(it)).cloned().collect();
    let mut added: Vec<_> = after.iter().filter(|it| !before.0.contains(it)).cloned().collect();
    let same_place = |a: &Assignment, b: &Assignment| a.target == b.target && a.intent == b.intent;
    let mut changed = Vec::new();
    pair_up(&mut removed, &mut added, &mut changed, |a, b| {
        same_place(a, b) && a.inherited_from == b.inherited_from
    });
    pair_up(&mut removed, &mut added, &mut changed, same_place);
    SetDiff { added, removed, changed }
}

/// Moves each of `removed` that matches one of `added` into `pairs`, together with it.
fn pair_up(
    removed: &mut Vec<Assignment>,
    added: &mut Vec<Assignment>,
    pairs: &mut Vec<(Assignment, Assignment)>,
    matches: impl Fn(&Assignment, &Assignment) -> bool,
) {
    let unmatched = std::mem::take(removed).into_iter().filter_map(|old| {
        let Some(at) = added.iter().position(|new| matches(&old, new)) else { return Some(old) };
        pairs.push((old, added.remove(at)));
        None
    });
    let unmatched = unmatched.collect();
    *removed = unmatched;
}

/// What a fetch found new, changed and gone, compared with what was known before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyChanges {
    /// Not known before.
    pub created: BTreeSet<PolicyKey>,
    /// Known with another hash.
    pub updated: BTreeSet<PolicyKey>,
    /// Known, not listed any more.
    pub deleted: BTreeSet<PolicyKey>,
}

/// A policy within a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    /// The catalogue's key.
    pub policy_type: String,
    /// As Graph gives it.
    pub policy_id: String,
}

/// Compares what is known with what was read. Nothing of a type is `deleted` unless the type is in
/// `listed_completely`; nothing that was not read (absent from `read`, yet in `listed`) counts as anything.
///
/// `known` and `listed` must have the same scope: where a request names policies, either both hold those alone, or
/// `listed` holds all that the lists named. Else the policies that nobody asked for would look deleted.
pub fn policy_changes(
    known: &BTreeMap<PolicyKey, AssignmentsHash>,
    listed: &BTreeSet<PolicyKey>,
    read: &BTreeMap<PolicyKey, AssignmentsHash>,
    listed_completely: &BTreeSet<String>,
) -> PolicyChanges {
    let mut changes = PolicyChanges::default();
    for (policy, hash) in read {
        match known.get(policy) {
            None => changes.created.insert(policy.clone()),
            Some(before) if before != hash => changes.updated.insert(policy.clone()),
            Some(_) => continue,
        };
    }
    let gone = |policy: &&PolicyKey| {
        listed_completely.contains(&policy.policy_type)
            && !listed.contains(*policy)
            && !read.contains_key(*policy)
    };
    changes.deleted = known.keys().filter(gone).cloned().collect();
    changes
}
