//! What a path means.

use super::faults::On;
use super::percent;
use super::state::rows_of;
use crate::domain::policy_types::{self, PolicyType};

/// A path, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `$batch`.
    Batch,
    /// A list of policies.
    List(&'static str),
    /// A policy.
    Policy(&'static str, String),
    /// The assignments of a policy; whether the policy was named in parentheses.
    Assignments(&'static str, String, bool),
    /// One assignment of a policy.
    Assignment(&'static str, String, String),
    /// An action on a policy.
    Action(&'static str, String, String),
    /// All assignment filters, or one.
    Filters(Option<String>),
    /// All groups, or one.
    Groups(Option<String>),
    /// `directoryObjects/getByIds`.
    GetByIds,
    /// `organization`.
    Organization,
    /// Nothing that is known here.
    Unknown,
}

/// A segment: `name` or `name('key')`.
struct Segment {
    name: String,
    key: Option<String>,
}

impl Route {
    /// Takes a path below the version apart.
    pub fn of(path: &str) -> Self {
        let segments: Option<Vec<Segment>> =
            path.split('/').filter(|part| !part.is_empty()).map(segment).collect();
        let Some(segments) = segments else { return Self::Unknown };
        Self::of_segments(&segments)
    }

    fn of_segments(segments: &[Segment]) -> Self {
        let names: Vec<&str> = segments.iter().map(|segment| segment.name.as_str()).collect();
        let key = |at: usize| segments.get(at).and_then(|segment| segment.key.clone());
        match names.as_slice() {
            ["$batch"] => return Self::Batch,
            ["organization"] => return Self::Organization,
            ["directoryObjects", "getByIds"] => return Self::GetByIds,
            ["groups"] => return Self::Groups(key(0)),
            ["groups", id] => return Self::Groups(Some((*id).to_owned())),
            ["deviceManagement", "assignmentFilters"] => return Self::Filters(key(1)),
            ["deviceManagement", "assignmentFilters", id] => return Self::Filters(Some((*id).to_owned())),
            _ => {}
        }
        let list = policy_types::TABLE.iter().map(|row| row.list_path).find(|path| {
            let wanted = path.split('/').skip(1);
            let length = wanted.clone().count();
            names.len() >= length && wanted.eq(names[..length].iter().copied())
        });
        match list {
            Some(list) => Self::below(list, &segments[list.split('/').count() - 2..]),
            None => Self::Unknown,
        }
    }

    /// `segments` starts with the last one of the list's path.
    fn below(list: &'static str, segments: &[Segment]) -> Self {
        let in_parentheses = segments[0].key.clone();
        let rest: Vec<&Segment> =
            segments[1..].iter().filter(|part| !part.name.starts_with("microsoft.graph.")).collect();
        let (id, rest) = match (&in_parentheses, rest.split_first()) {
            (Some(id), _) => (id.clone(), rest.as_slice()),
            (None, Some((first, rest))) => (first.name.clone(), rest),
            (None, None) => return Self::List(list),
        };
        match rest {
            [] => Self::Policy(list, id),
            [part] if part.name == "assignments" => match &part.key {
                Some(assignment) => Self::Assignment(list, id, assignment.clone()),
                None => Self::Assignments(list, id, in_parentheses.is_some()),
            },
            [part, key] if part.name == "assignments" => Self::Assignment(list, id, key.name.clone()),
            [action] => Self::Action(list, id, action.name.clone()),
            _ => Self::Unknown,
        }
    }

    /// Its list, if it concerns policies.
    pub fn list_path(&self) -> Option<&'static str> {
        match self {
            Self::List(list)
            | Self::Policy(list, _)
            | Self::Assignments(list, _, _)
            | Self::Assignment(list, _, _)
            | Self::Action(list, _, _) => Some(list),
            _ => None,
        }
    }

    /// Its policy, if it names one.
    pub fn policy_id(&self) -> Option<&str> {
        match self {
            Self::Policy(_, id)
            | Self::Assignments(_, id, _)
            | Self::Assignment(_, id, _)
            | Self::Action(_, id, _) => Some(id),
            _ => None,
        }
    }

    /// Its kind, for faults and counters.
    pub fn kind(&self, method: &str) -> Option<On> {
        let reads = method == "GET";
        Some(match self {
            Self::Batch => On::Batch,
            Self::GetByIds | Self::Groups(_) | Self::Organization => On::Directory,
            Self::Filters(_) => On::Filters,
            Self::Unknown => return None,
            _ if !reads => On::Write,
            Self::List(_) => On::List,
            Self::Policy(..) => On::Get,
            Self::Assignments(..) | Self::Assignment(..) | Self::Action(..) => On::Nav,
        })
    }

    /// The rows of the catalogue that its list holds.
    pub fn rows(&self) -> Vec<&'static PolicyType> {
        self.list_path().map(|list| rows_of(list).collect()).unwrap_or_default()
    }
}

/// The name of a kind in counters.
pub fn kind_name(kind: Option<On>) -> &'static str {
    match kind {
        Some(On::Token) => "token",
        Some(On::List) => "list",
        Some(On::Get) => "get",
        Some(On::Nav) => "nav",
        Some(On::Write) => "write",
        Some(On::Directory) => "directory",
        Some(On::Filters) => "filters",
        Some(On::Batch) => "batch",
        Some(On::Any | On::BatchItem) | None => "other",
    }
}

fn segment(part: &str) -> Option<Segment> {
    let part = percent::decode(part)?;
    match part.strip_suffix("')").and_then(|part| part.split_once("('")) {
        Some((name, key)) => Some(Segment { name: name.to_owned(), key: Some(key.to_owned()) }),
        None => Some(Segment { name: part, key: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_naming_a_policy_are_understood() {
        let list = "/deviceManagement/deviceConfigurations";
        assert_eq!(Route::of(list), Route::List(list));
        assert_eq!(Route::of(&format!("{list}/7/assignments")), Route::Assignments(list, "7".into(), false));
        assert_eq!(
            Route::of(&format!("{list}('7')/assignments")),
            Route::Assignments(list, "7".into(), true)
        );
        assert_eq!(Route::of(&format!("{list}('7')")), Route::Policy(list, "7".into()));
        assert_eq!(
            Route::of(&format!("{list}/7/assignments/a_b")),
            Route::Assignment(list, "7".into(), "a_b".into())
        );
    }

    #[test]
    fn a_cast_segment_is_passed_over() {
        let list = "/deviceAppManagement/mobileAppConfigurations";
        let path = format!("{list}/7/microsoft.graph.managedDeviceMobileAppConfiguration/assign");
        assert_eq!(Route::of(&path), Route::Action(list, "7".into(), "assign".into()));
    }

    #[test]
    fn a_list_that_no_type_has_is_unknown() {
        assert_eq!(Route::of("/deviceManagement/nothing"), Route::Unknown);
        assert_eq!(Route::of("/deviceManagement"), Route::Unknown);
    }
}
