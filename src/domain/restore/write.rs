//! What a restore sends: calls that change a policy's assignments, as data.
//!
//! `writes` gives what is still to be sent from the live set to the wanted one, and nothing when they are the same. A
//! type with an action gets its whole set in one call. A type without one gets calls in an order that never leaves a
//! policy bare where that can be helped:
//!
//! 1. what is new on targets that the policy does not have, one POST each;
//! 2. what changes on a group or target that it has: a DELETE of the old one, then at once a POST of the new one. The
//!    id of an assignment is made of policy and group, included or excluded, so that a POST first would meet the old
//!    one (409), or take its place, and then the DELETE would remove the new one;
//! 3. what is not wanted any more, one DELETE each.
//!
//! After any number of these calls the same function gives the rest of them.

use serde_json::{Map, Value};

use super::LivePolicy;
use crate::domain::assignment::{Assignment, AssignmentSet, to_graph};
use crate::domain::policy_types::{Filters, PolicyType, TargetKind, Write};

#[cfg(test)]
mod tests;

/// The method of a [`GraphWrite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMethod {
    /// `/assign`, `/update`, or one more assignment.
    Post,
    /// Properties of the object.
    Patch,
    /// One assignment less.
    Delete,
}

/// A call that changes something.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphWrite {
    /// How.
    pub method: WriteMethod,
    /// Where, below the Graph version, with a slash at its beginning; ids are escaped already.
    pub path: String,
    /// The JSON body; `None` for a deletion.
    pub body: Option<Value>,
    /// The statuses that mean success; empty where none is documented, and any 2xx will do.
    pub success: &'static [u16],
}

/// The calls that take the policy from what it has to its `wanted` direct assignments, in their order; none when it
/// has them. Inherited ones are left alone on both sides.
pub fn writes(
    row: &PolicyType,
    policy_id: &str,
    live: &LivePolicy,
    wanted: &AssignmentSet,
) -> Vec<GraphWrite> {
    let (have, wanted) = (live.assignments.direct(), wanted.direct());
    if have == wanted {
        return Vec::new();
    }
    let policy = format!("{}/{}", row.list_path, segment(policy_id));
    match row.write {
        Write::Replace { action, body_property, item_type, success } => {
            let items = distinct(&wanted).into_iter().map(|assignment| {
                let mut item = item(row, item_type, live, assignment);
                if let Some(id) = kept_id(row, live, assignment) {
                    item.insert("id".to_owned(), id.into());
                }
                Value::Object(item)
            });
            let body = Map::from_iter([(body_property.to_owned(), items.collect())]);
            let success = documented(success);
            let path = format!("{policy}/{action}");
            vec![GraphWrite { method: WriteMethod::Post, path, body: Some(body.into()), success }]
        }
        Write::OneByOne { item_type } => one_by_one(row, &policy, item_type, live, &wanted),
        Write::Patch => {
            let scopes = wanted.iter().filter_map(|it| to_graph::role_assignment(&it.target));
            let patch = |body| GraphWrite {
                method: WriteMethod::Patch,
                path: policy.clone(),
                body: Some(body),
                success: &[200, 204],
            };
            scopes.take(1).map(patch).collect()
        }
        Write::Nothing => Vec::new(),
    }
}

/// An assignment that [`writes`] would have to delete, and for which Graph gave no id: the policy cannot be written.
pub fn undeletable<'a>(
    row: &PolicyType,
    live: &'a LivePolicy,
    wanted: &AssignmentSet,
) -> Option<&'a Assignment> {
    let one_by_one = matches!(row.write, Write::OneByOne { .. });
    let direct = live.assignments.iter().filter(|it| one_by_one && it.inherited_from.is_none());
    direct.filter(|it| !wanted.contains(it)).find(|it| id_of(live, it).is_none())
}

fn one_by_one(
    row: &PolicyType,
    policy: &str,
    item_type: &'static str,
    live: &LivePolicy,
    wanted: &AssignmentSet,
) -> Vec<GraphWrite> {
    let have = live.assignments.direct();
    let post = |assignment: &Assignment| GraphWrite {
        method: WriteMethod::Post,
        path: format!("{policy}/assignments"),
        body: Some(item(row, Some(item_type), live, assignment).into()),
        success: &[201],
    };
    let delete = |assignment: &Assignment| {
        let id = id_of(live, assignment)?;
        let path = format!("{policy}/assignments/{}", segment(id));
        Some(GraphWrite { method: WriteMethod::Delete, path, body: None, success: &[204] })
    };
    let mut surplus: Vec<_> = have.iter().filter(|it| !wanted.contains(it)).collect();
    let missing: Vec<_> = distinct(wanted).into_iter().filter(|it| !have.contains(it)).collect();
    let (mut additions, mut changes) = (Vec::new(), Vec::new());
    for new in missing {
        let in_its_place: Vec<_> = surplus.extract_if(.., |old| has_its_id(old, new)).collect();
        if in_its_place.is_empty() {
            additions.push(post(new));
        } else {
            changes.extend(in_its_place.into_iter().filter_map(delete));
            changes.push(post(new));
        }
    }
    // ORDER: new ones first and deletions last, so that the policy is never bare in between.
    additions.into_iter().chain(changes).chain(surplus.into_iter().filter_map(delete)).collect()
}

/// Whether the service would name both alike: its ids say which group is meant, not whether it is left out.
fn has_its_id(old: &Assignment, new: &Assignment) -> bool {
    let group = old.target.group_id();
    old.same_place(new) || (group.is_some() && group == new.target.group_id())
}

/// One for each target and intent: the service ignores a second one.
fn distinct(wanted: &AssignmentSet) -> Vec<&Assignment> {
    let mut distinct: Vec<&Assignment> = Vec::with_capacity(wanted.len());
    for assignment in wanted.iter() {
        if !distinct.iter().any(|it| it.same_place(assignment)) {
            distinct.push(assignment);
        }
    }
    distinct
}

fn item(
    row: &PolicyType,
    item_type: Option<&str>,
    live: &LivePolicy,
    assignment: &Assignment,
) -> Map<String, Value> {
    // Elsewhere nobody has seen the fields accepted, and leaving them out means the same.
    let no_filter = row.filters == Filters::Yes && !live.facts.refuses_filters();
    to_graph::item(item_type, assignment, no_filter)
}

/// Graph's id for what the policy has in the assignment's place, where a write names it: a Cloud PC group that came
/// without its id would be a new one, and its Cloud PCs would go.
fn kept_id<'a>(row: &PolicyType, live: &'a LivePolicy, assignment: &Assignment) -> Option<&'a str> {
    if !row.targets.contains(&TargetKind::CloudPcGroup) {
        return None;
    }
    id_of(live, assignment).or_else(|| {
        let same = live.ids.iter().find(|(known, _)| known.same_place(assignment));
        same.map(|(_, id)| id.as_str())
    })
}

fn id_of<'a>(live: &'a LivePolicy, assignment: &Assignment) -> Option<&'a str> {
    live.ids.iter().find(|(known, _)| known == assignment).map(|(_, id)| id.as_str())
}

fn documented(success: Option<u16>) -> &'static [u16] {
    match success {
        Some(200) => &[200],
        Some(204) => &[204],
        _ => &[],
    }
}

/// `id` as one segment of a path: everything but unreserved characters is escaped, so that an id can neither leave its
/// segment nor begin a query.
fn segment(id: &str) -> String {
    let mut escaped = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
