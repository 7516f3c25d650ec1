//! Assignments and their differences as people read them: whom, with which filter, for what.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::badges::{self, Tone};
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::domain::assignment::{
    ALL_DEVICES_GROUP, ALL_USERS_GROUP, Assignment, AssignmentSet, Filter, FilterMode, SetDiff, Target,
    is_pseudo_group,
};
use crate::domain::restore::Widening;
use crate::ids::TenantId;
use crate::store::Named;

/// LIMIT: assignments of one policy that are written out; more are counted.
const SHOWN_MAX: usize = 12;

/// What groups and filters are called, as far as that is known.
#[derive(Clone, Debug, Default)]
pub struct Names {
    groups: BTreeMap<String, String>,
    filters: BTreeMap<String, String>,
}

impl Names {
    /// The names of what `sets` and `more` refer to in a tenant.
    pub async fn load<'a>(
        state: &AdminState,
        tenant: TenantId,
        assignments: impl IntoIterator<Item = &'a Assignment>,
    ) -> Result<Self, Problem> {
        let (mut groups, mut filters) = (BTreeSet::new(), BTreeSet::new());
        for assignment in assignments {
            groups.extend(assignment.target.group_ids().into_iter().map(str::to_owned));
            filters.extend(assignment.filter.as_ref().map(|filter| filter.id.clone()));
        }
        let groups = state.store.names_of(tenant, Named::Group, groups.into_iter().collect()).await?;
        let filters = state.store.names_of(tenant, Named::Filter, filters.into_iter().collect()).await?;
        Ok(Self { groups, filters })
    }

    /// A group by its name; by its id where no name is known.
    pub fn group(&self, id: &str) -> Markup {
        match id {
            ALL_USERS_GROUP => html! { "all users" },
            ALL_DEVICES_GROUP => html! { "all devices" },
            _ => named(self.groups.get(id), id),
        }
    }

    fn filter(&self, id: &str) -> Markup {
        named(self.filters.get(id), id)
    }
}

fn named(name: Option<&String>, id: &str) -> Markup {
    html! {
        @match name {
            Some(name) => span.name title=(id) { (name) },
            None => code title="no name is known" { (id) },
        }
    }
}

/// A set, a line per assignment.
pub fn set(set: &AssignmentSet, names: &Names) -> Markup {
    html! {
        @if set.is_empty() {
            span.muted { "nobody" }
        } @else {
            ul.assignments {
                @for assignment in set.iter().take(SHOWN_MAX) { li { (one(assignment, names)) } }
                @if set.len() > SHOWN_MAX { li.muted { "and " (set.len() - SHOWN_MAX) " more" } }
            }
        }
    }
}

/// One assignment.
pub fn one(assignment: &Assignment, names: &Names) -> Markup {
    html! {
        (whom(assignment, names))
        @if let Some(filter) = &assignment.filter { ", " (filtered(filter, names)) }
        (rest(assignment))
    }
}

/// Whom it reaches, and for what.
fn whom(assignment: &Assignment, names: &Names) -> Markup {
    let list = |ids: &BTreeSet<String>| {
        html! { @for (index, id) in ids.iter().enumerate() { @if index > 0 { ", " } (names.group(id)) } }
    };
    html! {
        @match &assignment.target {
            // All users and all devices can be named as groups, too: they reach as many.
            Target::Group { group_id } if is_pseudo_group(group_id) => span.kind.all { (names.group(group_id)) },
            Target::Group { group_id } => { span.kind { "group" } " " (names.group(group_id)) },
            Target::ExclusionGroup { group_id } => { span.kind.not { "not group" } " " (names.group(group_id)) },
            Target::AllUsers => span.kind.all { "all users" },
            Target::AllDevices => span.kind.all { "all devices" },
            Target::ConfigurationManagerCollection { collection_id } => {
                span.kind { "collection" } " " code { (collection_id) }
            },
            Target::CloudPcGroup { group_id, .. } => { span.kind { "Cloud PC group" } " " (names.group(group_id)) },
            Target::OfficeGroup { group_id } => { span.kind { "Office group" } " " (names.group(group_id)) },
            Target::RoleScope { members, resource_scopes, scope_type } => {
                span.kind { "members" } " " (list(members)) "; " span.kind { "scopes" } " "
                @if resource_scopes.is_empty() { (scope_type.as_deref().unwrap_or("none")) }
                @else { (list(resource_scopes)) }
            },
        }
        @if let Some(intent) = &assignment.intent { " (" (intent) ")" }
    }
}

fn filtered(filter: &Filter, names: &Names) -> Markup {
    let words = match filter.mode {
        FilterMode::Include => "only what filter ",
        FilterMode::Exclude => "without what filter ",
    };
    html! { (words) (names.filter(&filter.id)) " matches" }
}

/// Settings that it has of its own, and where it comes from.
fn rest(assignment: &Assignment) -> Markup {
    let extras: Vec<&str> = assignment.extras.keys().map(String::as_str).collect();
    html! {
        @if !extras.is_empty() { span.muted { ", with " (extras.join(", ")) } }
        @if let Some(from) = &assignment.inherited_from { span.muted { ", from " (origin(from)) } }
    }
}

/// Where an assignment comes from, as Graph names it, in words.
fn origin(source: &str) -> &str {
    match source {
        "policySets" => "a policy set",
        other => other,
    }
}

/// A difference, a line per assignment: what comes, what goes, what becomes another.
pub fn difference(diff: &SetDiff, names: &Names) -> Markup {
    html! {
        @if diff.added.is_empty() && diff.removed.is_empty() && diff.changed.is_empty() {
            span.muted { "no difference" }
        } @else {
            ul.difference {
                @for assignment in &diff.added {
                    li.added { span.sign { span aria-hidden="true" { "+" } span.hidden-visually { "added:" } }
                        span { (one(assignment, names)) } }
                }
                @for assignment in &diff.removed {
                    li.removed { span.sign { span aria-hidden="true" { "−" } span.hidden-visually { "removed:" } }
                        span { (one(assignment, names)) } }
                }
                @for (before, after) in &diff.changed {
                    li.changed { span.sign { span aria-hidden="true" { "~" } span.hidden-visually { "changed:" } }
                        span { (changed(before, after, names)) } }
                }
            }
        }
    }
}

fn changed(before: &Assignment, after: &Assignment, names: &Names) -> Markup {
    let terms = |one: &Assignment| {
        html! {
            @match &one.filter { None => "no filter", Some(filter) => (filtered(filter, names)) }
            (rest(one))
        }
    };
    html! {
        (whom(before, names)) ": "
        @if before.filter == after.filter && before.inherited_from == after.inherited_from { "other settings" }
        @else { (terms(before)) span.muted { " → " } (terms(after)) }
    }
}

/// Every assignment that a difference names.
pub fn named_in(diff: &SetDiff) -> impl Iterator<Item = &Assignment> {
    diff.added
        .iter()
        .chain(&diff.removed)
        .chain(diff.changed.iter().flat_map(|(before, after)| [before, after]))
}

/// The ways in which a change would widen, called out; what is only added stands in the difference already.
pub fn widening(widens: &[Widening]) -> Markup {
    called_out(widens, "widens", widening_words)
}

/// [`widening`] of a change that has been made.
pub fn widened(widens: &[Widening]) -> Markup {
    called_out(widens, "widened", widened_words)
}

fn called_out(widens: &[Widening], word: &str, words: fn(Widening) -> &'static str) -> Markup {
    html! {
        @for way in widens.iter().filter(|way| **way != Widening::TargetAdded) {
            p.widens { (badges::badge(Tone::Warn, word)) " " (words(*way)) }
        }
    }
}

const fn widening_words(way: Widening) -> &'static str {
    match way {
        Widening::ExclusionLost => "A group that is excluded now would be reached.",
        Widening::FilterLost => "A filter would be lost, or be another one: more devices would be reached.",
        Widening::GroupBecomesEverybody => "Groups would become everybody.",
        Widening::TargetAdded => "A target would be added.",
    }
}

const fn widened_words(way: Widening) -> &'static str {
    match way {
        Widening::ExclusionLost => "A group that was excluded is reached.",
        Widening::FilterLost => "A filter was lost, or is another one: more devices are reached.",
        Widening::GroupBecomesEverybody => "Groups became everybody.",
        Widening::TargetAdded => "A target was added.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_group(id: &str) -> Assignment {
        Assignment {
            target: Target::Group { group_id: id.to_owned() },
            filter: None,
            intent: None,
            extras: BTreeMap::new(),
            inherited_from: None,
        }
    }

    fn names() -> Names {
        Names {
            groups: BTreeMap::from([("g1".to_owned(), "<Sales>".to_owned())]),
            filters: BTreeMap::from([("f1".to_owned(), "Laptops".to_owned())]),
        }
    }

    /// A template's text, without its elements.
    fn words(markup: Markup) -> String {
        let mut text = String::new();
        let mut within = false;
        for character in markup.into_string().chars() {
            match character {
                '<' => within = true,
                '>' => within = false,
                other if !within => text.push(other),
                _ => {}
            }
        }
        text
    }

    #[test]
    fn groups_and_filters_have_their_names_where_they_are_known() {
        let filter = Some(Filter { id: "f1".to_owned(), mode: FilterMode::Exclude });
        let known = Assignment { filter, intent: Some("required".to_owned()), ..to_group("g1") };
        assert_eq!(
            words(one(&known, &names())),
            "group &lt;Sales&gt; (required), without what filter Laptops matches"
        );
        assert_eq!(words(one(&to_group("g2"), &names())), "group g2");
        assert_eq!(words(one(&to_group(ALL_USERS_GROUP), &names())), "all users");
    }

    #[test]
    fn nobody_is_said_and_many_are_counted() {
        assert_eq!(words(set(&AssignmentSet::default(), &names())), "nobody");
        let many: Vec<_> = (0..20).map(|n| to_group(&format!("g{n:02}"))).collect();
        assert!(words(set(&AssignmentSet::new(many), &names())).ends_with("and 8 more"));
    }

    #[test]
    fn a_difference_says_what_comes_goes_and_changes() {
        let filter = Some(Filter { id: "f1".to_owned(), mode: FilterMode::Include });
        let diff = SetDiff {
            added: vec![to_group("g1")],
            removed: vec![to_group("g2")],
            changed: vec![(Assignment { filter, ..to_group("g3") }, to_group("g3"))],
        };
        let text = words(difference(&diff, &names()));
        assert!(text.contains("+added:group &lt;Sales&gt;") && text.contains("−removed:group g2"), "{text}");
        assert!(text.contains("group g3: only what filter Laptops matches → no filter"), "{text}");
        assert_eq!(words(difference(&SetDiff::default(), &names())), "no difference");
    }

    #[test]
    fn what_is_only_added_is_not_called_widening() {
        assert_eq!(words(widening(&[Widening::TargetAdded])), "");
        assert!(words(widening(&[Widening::FilterLost])).starts_with("widens"));
    }
}
