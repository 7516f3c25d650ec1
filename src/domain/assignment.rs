//! Assignments in normal form, their sets, hashes and differences (SPEC section 9).
//!
//! The normal form keeps what an assignment means (target, filter, intent, settings, schedule) and drops what only
//! names it (`id`, `sourceId`, time stamps, `@odata.context`). "No filter" is one form, whether Graph said null,
//! nothing, or the all-zero id. Ids of groups and filters are lower case.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

/// A policy's assignments: a set in a fixed order without repeats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
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
        _policy_type: &super::policy_types::PolicyType,
        _items: &[serde_json::Value],
    ) -> Result<Self, Malformed> {
        todo!()
    }

    /// Normalises a role assignment's own object ([`super::policy_types::Read::Object`]).
    ///
    /// # Errors
    /// When a member or scope is no text.
    pub fn from_role_assignment(_object: &serde_json::Value) -> Result<Self, Malformed> {
        todo!()
    }

    /// A set of assignments already in normal form: sorts, drops repeats.
    pub fn new(_assignments: Vec<Assignment>) -> Self {
        todo!()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Assignment> {
        self.0.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that the policy itself carries: what a restore compares and writes.
    pub fn direct(&self) -> Self {
        todo!()
    }

    /// The canonical JSON (RFC 8785): what is stored and hashed.
    pub fn canonical(&self) -> Vec<u8> {
        todo!()
    }

    /// The content hash, over direct and inherited assignments.
    pub fn hash(&self) -> AssignmentsHash {
        todo!()
    }
}

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

/// The difference from `before` to `after`.
pub fn diff(_before: &AssignmentSet, _after: &AssignmentSet) -> SetDiff {
    todo!()
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
pub fn policy_changes(
    _known: &BTreeMap<PolicyKey, AssignmentsHash>,
    _listed: &BTreeSet<PolicyKey>,
    _read: &BTreeMap<PolicyKey, AssignmentsHash>,
    _listed_completely: &BTreeSet<String>,
) -> PolicyChanges {
    todo!()
}
