//! Which application permissions an operation needs, and which of them an application does not have. Known before
//! the first call, so that nobody learns it from a 403 in the middle of a run.

use std::collections::BTreeSet;

use serde::Serialize;

use super::policy_types::{PolicyType, Read, Write};

/// Reads assignment filters: what a restore's targets refer to.
const FILTERS_READ: &str = "DeviceManagementConfiguration.Read.All";

/// The least permission to look up groups: named when none of [`GROUPS_READ`] is there.
const GROUPS_LEAST: &str = "GroupMember.Read.All";

/// Any of these is enough to look up groups.
const GROUPS_READ: [&str; 6] = [
    GROUPS_LEAST,
    "GroupMember.ReadWrite.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];

/// What one type needs and does not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TypePermissions {
    /// The key of the type.
    pub policy_type: &'static str,
    /// The permission without which its policies cannot be read; absent when it is there, or none is known.
    pub missing_to_read: Option<&'static str>,
    /// The permission without which its assignments cannot be written; absent when it is there, none is known, or
    /// there is nothing to write.
    pub missing_to_write: Option<&'static str>,
}

/// What is missing for the chosen types. Serves both operations: a fetch needs [`TypePermissions::missing_to_read`]
/// alone to be absent, a restore all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Permissions {
    /// One entry per chosen type, in the order given.
    pub types: Vec<TypePermissions>,
    /// The permission to look up groups, which a restore needs; absent when it is there.
    pub missing_for_groups: Option<&'static str>,
    /// The permission to look up assignment filters, which a restore needs; absent when it is there.
    pub missing_for_filters: Option<&'static str>,
}

impl Permissions {
    /// What `roles`, those of an application's token, do not allow for `types`.
    pub fn missing<'a>(roles: &BTreeSet<String>, types: impl IntoIterator<Item = &'a PolicyType>) -> Self {
        let of_type = |row: &PolicyType| TypePermissions {
            policy_type: row.key,
            missing_to_read: missing_to_read(roles, row),
            missing_to_write: missing_to_write(roles, row),
        };
        let groups = GROUPS_READ.iter().any(|permission| roles.contains(*permission));
        Self {
            types: types.into_iter().map(of_type).collect(),
            missing_for_groups: (!groups).then_some(GROUPS_LEAST),
            missing_for_filters: (!may_read(roles, FILTERS_READ)).then_some(FILTERS_READ),
        }
    }

    /// Every permission that is missing to read the chosen types.
    pub fn to_fetch(&self) -> BTreeSet<&'static str> {
        self.types.iter().filter_map(|gap| gap.missing_to_read).collect()
    }

    /// Every permission that is missing to restore the chosen types; one to write covers the one to read.
    pub fn to_restore(&self) -> BTreeSet<&'static str> {
        let of_types = self.types.iter().filter_map(|gap| gap.missing_to_write.or(gap.missing_to_read));
        let mut all: BTreeSet<_> =
            of_types.chain(self.missing_for_groups).chain(self.missing_for_filters).collect();
        if all.contains(write_form(FILTERS_READ).as_str()) {
            all.remove(FILTERS_READ);
        }
        all
    }
}

/// The permission that is missing to read a type's policies; `None` when it is there, or none is known.
pub fn missing_to_read(roles: &BTreeSet<String>, row: &PolicyType) -> Option<&'static str> {
    row.permission_read.filter(|needed| row.read != Read::Nothing && !may_read(roles, needed))
}

/// The permission that is missing to write a type's assignments; `None` when it is there, none is known, or there is
/// nothing to write.
pub fn missing_to_write(roles: &BTreeSet<String>, row: &PolicyType) -> Option<&'static str> {
    row.permission_write.filter(|needed| row.write != Write::Nothing && !roles.contains(*needed))
}

/// `ReadWrite.All` includes `Read.All`.
fn may_read(roles: &BTreeSet<String>, permission: &str) -> bool {
    roles.contains(permission) || roles.contains(&write_form(permission))
}

fn write_form(permission: &str) -> String {
    permission.replace(".Read.", ".ReadWrite.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy_types::{TABLE, find};

    fn roles(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn of(names: &[&str], keys: &[&str]) -> Permissions {
        Permissions::missing(&roles(names), keys.iter().map(|key| find(key).expect("a row")))
    }

    #[test]
    fn each_type_needs_its_own() {
        let gaps = of(
            &["DeviceManagementApps.ReadWrite.All", "DeviceManagementScripts.Read.All"],
            &["mobileApp", "deviceHealthScript", "compliancePolicy"],
        );
        let shown: Vec<_> =
            gaps.types.iter().map(|gap| (gap.missing_to_read, gap.missing_to_write)).collect();
        let (read, write) =
            ("DeviceManagementConfiguration.Read.All", "DeviceManagementConfiguration.ReadWrite.All");
        let scripts = "DeviceManagementScripts.ReadWrite.All";
        assert_eq!(shown, [(None, None), (None, Some(scripts)), (Some(read), Some(write))]);
        assert_eq!(gaps.to_fetch(), BTreeSet::from([read]));
        assert_eq!(gaps.to_restore(), BTreeSet::from([write, scripts, GROUPS_LEAST]));
    }

    #[test]
    fn to_write_includes_to_read_and_not_the_other_way() {
        for row in TABLE {
            let Some((read, write)) = row.permission_read.zip(row.permission_write) else { continue };
            assert_eq!(missing_to_read(&roles(&[write]), row), None, "{}", row.key);
            if row.write != Write::Nothing {
                assert_eq!(missing_to_write(&roles(&[read]), row), Some(write), "{}", row.key);
            }
        }
    }

    #[test]
    fn groups_may_be_looked_up_with_any_of_six() {
        for enough in GROUPS_READ {
            assert_eq!(of(&[enough], &[]).missing_for_groups, None, "{enough}");
        }
        assert_eq!(of(&["User.Read.All"], &[]).missing_for_groups, Some(GROUPS_LEAST));
    }

    #[test]
    fn nothing_is_missing_where_nothing_is_known_or_done() {
        let empty = BTreeSet::new();
        let without = TABLE.iter().filter(|row| row.permission_read.is_none());
        assert!(without.clone().all(|row| missing_to_read(&empty, row).is_none()));
        let reference = find("notificationMessageTemplate").expect("a row");
        assert_eq!((missing_to_read(&empty, reference), missing_to_write(&empty, reference)), (None, None));
    }

    #[test]
    fn everything_the_catalogue_names_is_enough() {
        let all = TABLE.iter().filter_map(|row| row.permission_write).chain([GROUPS_LEAST]);
        let all: Vec<_> = all.collect();
        let gaps = Permissions::missing(&roles(&all), TABLE);
        assert!(gaps.to_fetch().is_empty() && gaps.to_restore().is_empty(), "{gaps:?}");
    }
}
