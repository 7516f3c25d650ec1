//! What a target is made of: its kind, its groups, its place among the assignments of a policy.

use super::{Assignment, Target};
use crate::domain::policy_types::TargetKind;

/// "All users" where the service takes no broad targets: a group id that is no directory group's.
pub const ALL_USERS_GROUP: &str = "acacacac-9df4-4c7d-9d50-4ef0226f57a9";
/// "All devices", likewise.
pub const ALL_DEVICES_GROUP: &str = "adadadad-808e-44e2-905a-0b7873a8a531";

/// Whether the id stands for everybody and is no directory group's.
pub fn is_pseudo_group(id: &str) -> bool {
    [ALL_USERS_GROUP, ALL_DEVICES_GROUP].contains(&id)
}

impl Target {
    /// The catalogue's word for it; `None` for collections and role scopes, which no type lists.
    pub fn kind(&self) -> Option<TargetKind> {
        match self {
            Self::Group { .. } => Some(TargetKind::Group),
            Self::ExclusionGroup { .. } => Some(TargetKind::ExclusionGroup),
            Self::AllUsers => Some(TargetKind::AllUsers),
            Self::AllDevices => Some(TargetKind::AllDevices),
            Self::CloudPcGroup { .. } => Some(TargetKind::CloudPcGroup),
            Self::OfficeGroup { .. } => Some(TargetKind::OfficeGroup),
            Self::ConfigurationManagerCollection { .. } | Self::RoleScope { .. } => None,
        }
    }

    /// It takes its members out of the reach of the others.
    pub fn is_exclusion(&self) -> bool {
        matches!(self, Self::ExclusionGroup { .. })
    }

    /// The one group that it is; `None` for targets that are no group, or several.
    pub fn group_id(&self) -> Option<&str> {
        match self {
            Self::Group { group_id }
            | Self::ExclusionGroup { group_id }
            | Self::CloudPcGroup { group_id, .. }
            | Self::OfficeGroup { group_id } => Some(group_id),
            Self::AllUsers
            | Self::AllDevices
            | Self::ConfigurationManagerCollection { .. }
            | Self::RoleScope { .. } => None,
        }
    }

    /// Every group id in it, pseudo groups too.
    pub fn group_ids(&self) -> Vec<&str> {
        match self {
            Self::RoleScope { members, resource_scopes, .. } => {
                members.iter().chain(resource_scopes).map(String::as_str).collect()
            }
            other => other.group_id().into_iter().collect(),
        }
    }

    /// The same target with other groups.
    pub fn with_groups(&self, other: impl Fn(&str) -> String) -> Self {
        let mut target = self.clone();
        match &mut target {
            Self::Group { group_id }
            | Self::ExclusionGroup { group_id }
            | Self::CloudPcGroup { group_id, .. }
            | Self::OfficeGroup { group_id } => *group_id = other(group_id),
            Self::RoleScope { members, resource_scopes, .. } => {
                *members = members.iter().map(|id| other(id)).collect();
                *resource_scopes = resource_scopes.iter().map(|id| other(id)).collect();
            }
            Self::AllUsers | Self::AllDevices | Self::ConfigurationManagerCollection { .. } => {}
        }
        target
    }
}

impl Assignment {
    /// Whether the service keeps only one of both: it ignores a second assignment of one target and intent. A Cloud PC
    /// group has one, whatever its plan; a role assignment has one in all.
    pub fn same_place(&self, other: &Self) -> bool {
        let same_target = match (&self.target, &other.target) {
            (Target::CloudPcGroup { group_id, .. }, Target::CloudPcGroup { group_id: id, .. }) => {
                group_id == id
            }
            (Target::RoleScope { .. }, Target::RoleScope { .. }) => true,
            (target, second) => target == second,
        };
        same_target && self.intent == other.intent
    }
}
