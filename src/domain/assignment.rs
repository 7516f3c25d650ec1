//! Assignments in normal form, their sets, hashes and differences (SPEC section 9).
//!
//! The normal form keeps what an assignment means (target, filter, intent, settings, schedule) and drops what only
//! names it (`id`, `sourceId`, time stamps, `@odata.context`). "No filter" is one form, whether Graph said null,
//! nothing, or the all-zero id. Ids of groups and filters are lower case.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod diff;
mod from_graph;
mod target;
#[cfg(test)]
mod tests;
pub mod to_graph;

pub use diff::{PolicyChanges, PolicyKey, SetDiff, diff, policy_changes};
pub use target::{ALL_DEVICES_GROUP, ALL_USERS_GROUP, is_pseudo_group};

/// Whom an assignment reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Target {
    /// The members of a group.
    Group {
        /// Lower case.
        group_id: String,
    },
    /// Everyone of the other targets but the members of a group.
    ExclusionGroup {
        /// Lower case.
        group_id: String,
    },
    /// All licensed users.
    AllUsers,
    /// All devices.
    AllDevices,
    /// A Configuration Manager collection; tenant-attached, not portable.
    ConfigurationManagerCollection {
        /// As given.
        collection_id: String,
    },
    /// A Windows 365 group.
    CloudPcGroup {
        /// Lower case.
        group_id: String,
        /// The service plan of a frontline policy.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        service_plan_id: Option<String>,
        /// The allotment's name.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        allotment_display_name: Option<String>,
        /// The allotment's size.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        allotment_licenses_count: Option<i64>,
    },
    /// A group of the Office cloud policy.
    OfficeGroup {
        /// Lower case.
        group_id: String,
    },
    /// The groups and scopes of a role assignment.
    RoleScope {
        /// Group ids, lower case.
        members: BTreeSet<String>,
        /// Group ids, lower case.
        resource_scopes: BTreeSet<String>,
        /// `resourceScope`, `allDevices`, `allLicensedUsers` or `allDevicesAndLicensedUsers`.
        scope_type: Option<String>,
    },
}

/// A filter on a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Filter {
    /// Lower case.
    pub id: String,
    /// `include` or `exclude`.
    pub mode: FilterMode,
}

/// What a filter does with the devices that match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterMode {
    /// Only they.
    Include,
    /// All but they.
    Exclude,
}

/// One assignment in normal form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Assignment {
    /// Whom it reaches.
    pub target: Target,
    /// The filter, if any.
    pub filter: Option<Filter>,
    /// `required`, `available`, `apply`, `remove` and so on, where the type has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub intent: Option<String>,
    /// Other properties that must survive, byte for byte (`settings`, `runSchedule`, `installIntent` …): those that
    /// the type's row of the catalogue names in `kept`, but for `intent`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    #[schema(value_type = Object)]
    pub extras: BTreeMap<String, serde_json::Value>,
    /// Where it comes from when it is not the policy itself, such as `policySets`; such a one is never written back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inherited_from: Option<String>,
}

/// A policy's assignments: a set in a fixed order without repeats. Two sets are equal exactly when their hashes are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(from = "Vec<Assignment>")]
pub struct AssignmentSet(Vec<Assignment>);

/// SHA-256 of the RFC 8785 form of a set.
pub type AssignmentsHash = super::identity::IdentityHash;

/// An item that is not an assignment as the schema has it: the read is incomplete, never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("assignment {index}: {problem}")]
pub struct Malformed {
    /// Its place in the answer.
    pub index: usize,
    /// What was expected and what was found; no foreign text.
    pub problem: &'static str,
}

impl AssignmentSet {
    /// Normalises the `value` array of an `assignments` answer of `policy_type`.
    ///
    /// # Errors
    /// When an item has no target, an unknown target type, or an id that is no text.
    pub fn from_graph(
        policy_type: &super::policy_types::PolicyType,
        items: &[serde_json::Value],
    ) -> Result<Self, Malformed> {
        from_graph::assignments(policy_type, items).map(Self::new)
    }

    /// Normalises a role assignment's own object ([`super::policy_types::Read::Object`]). It is one assignment.
    ///
    /// # Errors
    /// When it has no `members` (a list may leave them out), or when a member or scope is no text.
    pub fn from_role_assignment(object: &serde_json::Value) -> Result<Self, Malformed> {
        from_graph::role_assignment(object).map(|assignment| Self::new(vec![assignment]))
    }

    /// A set of assignments already in normal form: sorts, drops repeats.
    pub fn new(mut assignments: Vec<Assignment>) -> Self {
        for assignment in &mut assignments {
            assignment.extras.values_mut().for_each(plain_numbers);
        }
        let mut keyed: Vec<_> = assignments.into_iter().map(|it| (canonical_json(&it), it)).collect();
        keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
        keyed.dedup_by(|(a, _), (b, _)| a == b);
        Self(keyed.into_iter().map(|(_, assignment)| assignment).collect())
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Assignment> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has this very assignment.
    pub fn contains(&self, assignment: &Assignment) -> bool {
        self.0.contains(assignment)
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that the policy itself carries: what a restore compares and writes.
    pub fn direct(&self) -> Self {
        Self(self.0.iter().filter(|assignment| assignment.inherited_from.is_none()).cloned().collect())
    }

    /// The canonical JSON (RFC 8785): what is stored and hashed.
    pub fn canonical(&self) -> Vec<u8> {
        canonical_json(&self.0)
    }

    /// The content hash, over direct and inherited assignments.
    pub fn hash(&self) -> AssignmentsHash {
        AssignmentsHash::of(&self.canonical())
    }
}

impl From<Vec<Assignment>> for AssignmentSet {
    fn from(assignments: Vec<Assignment>) -> Self {
        Self::new(assignments)
    }
}

fn canonical_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).expect("assignments have neither NaN nor keys that are not text")
}

/// Gives each number the form that it has after its canonical JSON is read back. RFC 8785 writes `1.0` as `1`;
/// without this a set would equal its stored self by hash and differ from it by value.
fn plain_numbers(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) => {
            let float = number.as_f64().unwrap_or_default();
            // The conversion is exact: whole and within the integers that a float can count.
            let whole = (float.fract() == 0.0 && float.abs() <= INTEGER_MAX as f64).then_some(float as i64);
            let plain = whole.map(Into::into).or_else(|| serde_json::Number::from_f64(float));
            *number = plain.unwrap_or_else(|| number.clone());
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(plain_numbers),
        serde_json::Value::Object(entries) => entries.values_mut().for_each(plain_numbers),
        _ => {}
    }
}

/// The largest integer that RFC 8785 keeps exactly: 2^53 - 1.
const INTEGER_MAX: i64 = (1 << 53) - 1;
