//! Targets that a policy does not take.

use super::{Subject, refuse};
use crate::domain::assignment::{ALL_USERS_GROUP, Assignment, Target, is_pseudo_group};
use crate::domain::policy_types::{TargetKind, Write};
use crate::domain::restore::mapping::is_guid;

pub(super) fn unsupported_kind(subject: &Subject<'_>, item: &Assignment) -> Option<String> {
    let row = subject.row;
    let supported = match (&item.target, item.target.kind()) {
        (_, Some(kind)) => row.targets.contains(&kind),
        (Target::RoleScope { .. }, None) => row.write == Write::Patch,
        // Nobody lists collections; the types that take all devices know them.
        (_, None) => row.targets.contains(&TargetKind::AllDevices),
    };
    refuse(!supported, || match &item.target {
        Target::AllUsers if row.is_managed_app() => {
            "app protection takes no all-users target: write it as its pseudo group, or name groups"
                .to_owned()
        }
        Target::AllDevices if row.is_managed_app() => {
            "app protection cannot be assigned to all devices: name groups".to_owned()
        }
        Target::AllUsers if row.key == "autopilotProfile" => {
            "Autopilot profiles cannot be assigned to all users: name groups, or all devices".to_owned()
        }
        target => {
            format!("{} cannot be assigned to {}: name groups that they take", row.label, named(target))
        }
    })
}

pub(super) fn groups_only_template(subject: &Subject<'_>, item: &Assignment) -> Option<String> {
    let plain = matches!(item.target, Target::Group { .. }) && item.filter.is_none();
    refuse(subject.live.facts.takes_groups_only() && !plain, || {
        "a device preparation policy takes groups only: no exclusion, no filter, not everybody".to_owned()
    })
}

/// A collection belongs to the site that one tenant is attached to.
pub(super) fn collection(subject: &Subject<'_>, item: &Assignment) -> Option<String> {
    let collection = matches!(item.target, Target::ConfigurationManagerCollection { .. });
    refuse(collection && !subject.same_directory, || {
        "a Configuration Manager collection of another directory means nothing here: use a group".to_owned()
    })
}

/// App protection alone writes all users as a group, and has no all devices.
pub(super) fn everybody_as_a_group(subject: &Subject<'_>, item: &Assignment) -> Option<String> {
    let taken = |id: &str| {
        subject.row.is_managed_app() && id == ALL_USERS_GROUP && matches!(item.target, Target::Group { .. })
    };
    let ids = item.target.group_ids();
    refuse(ids.into_iter().any(|id| is_pseudo_group(id) && !taken(id)), || {
        "the group id stands for everybody and is no group here: use all users or all devices".to_owned()
    })
}

pub(super) fn group_without_an_id(_: &Subject<'_>, item: &Assignment) -> Option<String> {
    let wrong = item.target.group_ids().into_iter().any(|id| !is_guid(id));
    refuse(wrong, || "a group id is no GUID, which Graph refuses: map it, or correct the snapshot".to_owned())
}

pub(super) fn exclusion_with_settings(_: &Subject<'_>, item: &Assignment) -> Option<String> {
    refuse(item.target.is_exclusion() && item.extras.contains_key("settings"), || {
        "an exclusion takes no app settings: remove them from it".to_owned()
    })
}

fn named(target: &Target) -> &'static str {
    match target {
        Target::Group { .. } => "groups",
        Target::ExclusionGroup { .. } => "all but a group",
        Target::AllUsers => "all users",
        Target::AllDevices => "all devices",
        Target::ConfigurationManagerCollection { .. } => "Configuration Manager collections",
        Target::CloudPcGroup { .. } => "Cloud PC groups",
        Target::OfficeGroup { .. } => "groups of the Office cloud policy",
        Target::RoleScope { .. } => "members and scopes of a role",
    }
}
