//! What the service refuses, and what a restore refuses by itself: known from the plan, not from a 400.
//!
//! A table of rules for the policy and one for each assignment that it is to have. The first rule that speaks is the
//! reason; it says what, and what to do. Nothing here asks whether groups and filters exist ([`super::mapping`]), and
//! nothing is asked of a policy that is as wanted already.

use std::collections::BTreeMap;

use super::write::undeletable;
use super::{FilterFacts, LivePolicy, PolicyFacts};
use crate::domain::assignment::{Assignment, AssignmentSet, Target};
use crate::domain::failure::{Code, Failure};
use crate::domain::policy_types::{PolicyType, Write};

mod filters;
mod targets;
#[cfg(test)]
mod tests;

/// A policy that would be written.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its row of the catalogue.
    pub row: &'a PolicyType,
    /// The request names it by its id.
    pub named: bool,
    /// As it is.
    pub live: &'a LivePolicy,
    /// What it is to have: direct assignments.
    pub wanted: &'a AssignmentSet,
    /// The tenant's filters, by id.
    pub filters: &'a BTreeMap<String, FilterFacts>,
    /// The snapshot was taken from this very directory.
    pub same_directory: bool,
}

/// A rule: the reason for which it refuses, if it does.
type PolicyRule = fn(&Subject<'_>) -> Option<String>;
type ItemRule = fn(&Subject<'_>, &Assignment) -> Option<String>;

const POLICY_RULES: &[PolicyRule] = &[
    nothing_to_write,
    only_by_name,
    enrolment_default,
    default_branding,
    microsofts_own_script,
    unpublished_app,
    one_role_scope,
    one_assignment_in_each_place,
];

const ITEM_RULES: &[ItemRule] = &[
    targets::unsupported_kind,
    targets::groups_only_template,
    targets::collection,
    targets::everybody_as_a_group,
    targets::group_without_an_id,
    targets::exclusion_with_settings,
    unknown_property,
    filters::on_exclusion,
    filters::not_taken,
    filters::for_others,
];

/// Why the policy cannot have what it is to have: `assignments.target_unsupported`, or
/// `assignments.read_incomplete` where Graph named too little of what would have to be deleted.
pub fn refusal(subject: &Subject<'_>) -> Option<Failure> {
    let reason = POLICY_RULES.iter().find_map(|rule| rule(subject)).or_else(|| {
        let items = subject.wanted.iter().filter(|it| it.inherited_from.is_none());
        items
            .flat_map(|item| ITEM_RULES.iter().map(move |rule| (rule, item)))
            .find_map(|(rule, item)| rule(subject, item))
    });
    if let Some(reason) = reason {
        return Some(Failure::new(Code::AssignmentsTargetUnsupported, &reason));
    }
    undeletable(subject.row, subject.live, subject.wanted).map(|_| {
        let message = "an assignment is to be deleted and Graph gave no id for it: delete it in the portal";
        Failure::new(Code::AssignmentsReadIncomplete, message)
    })
}

impl PolicyFacts {
    /// Built-in apps that take no filter fields at all, not even "none".
    pub fn refuses_filters(&self) -> bool {
        self.odata_type.as_deref() == Some("#microsoft.graph.windowsMicrosoftEdgeApp")
    }

    /// Device preparation, a template of the settings catalogue, takes plain groups and nothing else.
    fn takes_groups_only(&self) -> bool {
        self.template_family.as_deref() == Some("enrollmentConfiguration")
    }
}

fn refuse(speaks: bool, reason: impl FnOnce() -> String) -> Option<String> {
    speaks.then(reason)
}

fn nothing_to_write(subject: &Subject<'_>) -> Option<String> {
    refuse(subject.row.write == Write::Nothing, || {
        format!("{} have no assignments that can be written: leave them out", subject.row.label)
    })
}

/// Rights and Cloud PCs are not restored in passing.
fn only_by_name(subject: &Subject<'_>) -> Option<String> {
    refuse(subject.row.named_only && !subject.named, || {
        format!("{} are restored one by one: name the policy in `policy_ids`", subject.row.label)
    })
}

fn enrolment_default(subject: &Subject<'_>) -> Option<String> {
    let enrolment = subject.row.list_path == "/deviceManagement/deviceEnrollmentConfigurations";
    refuse(enrolment && subject.live.facts.priority == Some(0), || {
        "the default enrolment configuration (priority 0) is everybody's and takes no assignments".to_owned()
    })
}

fn default_branding(subject: &Subject<'_>) -> Option<String> {
    refuse(subject.live.facts.is_default_profile == Some(true), || {
        "the default branding profile is everybody's and takes no assignments".to_owned()
    })
}

fn microsofts_own_script(subject: &Subject<'_>) -> Option<String> {
    refuse(subject.live.facts.is_global_script == Some(true), || {
        "the script is Microsoft's own (isGlobalScript): assign it in the portal".to_owned()
    })
}

fn unpublished_app(subject: &Subject<'_>) -> Option<String> {
    let state = subject.live.facts.publishing_state.as_deref();
    refuse(state.is_some_and(|state| state != "published"), || {
        "the app is not published yet: publish it, then restore its assignments".to_owned()
    })
}

fn one_role_scope(subject: &Subject<'_>) -> Option<String> {
    let scopes = subject.wanted.iter().filter(|it| matches!(it.target, Target::RoleScope { .. })).count();
    let (patched, others) = (subject.row.write == Write::Patch, subject.wanted.len() - scopes);
    refuse(patched && (scopes, others) != (1, 0), || {
        format!(
            "a role assignment has one set of members and scopes, the snapshot has {}",
            subject.wanted.len()
        )
    })
}

/// Graph ignores the second one, so that what is read back would never be what was sent.
fn one_assignment_in_each_place(subject: &Subject<'_>) -> Option<String> {
    let mut items = subject.wanted.iter().enumerate();
    let repeated = items.any(|(at, item)| subject.wanted.iter().take(at).any(|other| other.same_place(item)));
    refuse(repeated, || {
        "one target has two assignments of one intent, and Graph keeps one of them: remove one".to_owned()
    })
}

fn unknown_property(subject: &Subject<'_>, item: &Assignment) -> Option<String> {
    let kept = |name: &str| subject.row.kept.contains(&name);
    let intent = item.intent.as_ref().map(|_| "intent");
    let mut names = item.extras.keys().map(String::as_str).chain(intent);
    names.find(|name| !kept(name)).map(|name| {
        format!(
            "{} have no property `{name}` on an assignment: the snapshot is of another kind",
            subject.row.label
        )
    })
}
