//! The lists: which types share one, what is kept of an item, and whose an item is.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::domain::failure::Code;
use crate::domain::identity::FetchInputs;
use crate::domain::policy_types::{Expand, PolicyType, TABLE};
use crate::graph::client::GraphClient;
use crate::graph::error::GraphError;
use crate::graph::kind::{claims, kind_of};

/// The requested types that share one list; at least one.
pub(super) struct Group {
    pub(super) rows: Vec<&'static PolicyType>,
}

/// A list, read to its end.
pub(super) struct Listing {
    items: Vec<ListedItem>,
    /// The items carry their assignments.
    expanded: bool,
}

/// What is kept of a listed policy. Everything else (script bodies, OMA values, codes) is dropped by the parser.
#[derive(Debug, Deserialize)]
pub(super) struct ListedItem {
    pub(super) id: String,
    #[serde(rename = "@odata.type")]
    odata_type: Option<String>,
    #[serde(rename = "displayName")]
    display_name: Option<String>,
    name: Option<String>,
    #[serde(rename = "profileName")]
    profile_name: Option<String>,
    #[serde(rename = "isAssigned")]
    pub(super) is_assigned: Option<bool>,
    pub(super) assignments: Option<Vec<Value>>,
    #[serde(rename = "assignments@odata.nextLink")]
    pub(super) assignments_next: Option<String>,
}

/// A list's items by type.
pub(super) struct Split {
    /// In scope, by the key of a requested type.
    pub(super) by_row: BTreeMap<&'static str, Vec<ListedItem>>,
    /// Items that say a type of no row.
    pub(super) unclaimed: u64,
    /// Items that say no type at all, where several types share the list.
    pub(super) untyped: u64,
    pub(super) expanded: bool,
}

impl Group {
    pub(super) fn list_path(&self) -> &'static str {
        self.first().list_path
    }

    fn first(&self) -> &'static PolicyType {
        self.rows.first().expect("a group is made from its first row")
    }

    fn path(&self, expanded: bool) -> String {
        let row = self.first();
        let expand = if expanded { "$expand=assignments" } else { "" };
        let query: Vec<&str> = [row.list_query, expand].into_iter().filter(|part| !part.is_empty()).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", row.list_path, query.join("&"))
    }
}

impl ListedItem {
    /// The policy's name, not yet sanitised; empty when it has none.
    pub(super) fn name(&self, row: &PolicyType) -> &str {
        let name = match row.name_property {
            "name" => &self.name,
            "profileName" => &self.profile_name,
            _ => &self.display_name,
        };
        name.as_deref().unwrap_or_default()
    }
}

/// The requested rows by list, in the order of the request.
pub(super) fn groups(inputs: &FetchInputs) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in super::requested(inputs) {
        let same_list = |group: &&mut Group| group.list_path() == row.list_path;
        match groups.iter_mut().find(same_list) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { rows: vec![row] }),
        }
    }
    groups
}

/// Reads a group's list to its end, with assignments where the catalogue says that it works. A tenant that refuses
/// the `$expand` gets the plain list, and its policies are read one by one.
///
/// No `$select`: which properties a derived type's list takes is not known for every type, and an unknown one refuses
/// the whole list.
pub(super) async fn list(
    client: &GraphClient,
    group: &Group,
    cancel: &CancellationToken,
) -> Result<Listing, GraphError> {
    if !super::is_readable(group.first()) {
        return Ok(Listing { items: Vec::new(), expanded: false });
    }
    let expanded = group.first().expand == Expand::Works;
    let result = match read_list(client, group, expanded, cancel).await {
        Err(GraphError { code: Code::GraphBadRequest, .. }) if expanded => {
            read_list(client, group, false, cancel).await
        }
        result => result,
    };
    result.map_err(|error: GraphError| match error.code {
        // A collection is never missing by itself: the route is not there.
        Code::GraphNotFound => GraphError { code: Code::GraphTypeUnavailable, ..error },
        _ => error,
    })
}

async fn read_list(
    client: &GraphClient,
    group: &Group,
    expanded: bool,
    cancel: &CancellationToken,
) -> Result<Listing, GraphError> {
    let items = client.get_all(&group.path(expanded), cancel).await?;
    Ok(Listing { items, expanded })
}

/// Sorts a list's items to the requested types, keeping those of `scope` (all when `None`), each once: a list that
/// changes while it is read may name a policy twice.
pub(super) fn split(group: &Group, listing: Listing, scope: Option<&BTreeSet<String>>) -> Split {
    let mut split = Split { by_row: BTreeMap::new(), unclaimed: 0, untyped: 0, expanded: listing.expanded };
    let sharing: Vec<_> = TABLE.iter().filter(|row| row.list_path == group.list_path()).collect();
    let mut seen = HashSet::new();
    for item in listing.items {
        if !seen.insert(item.id.clone()) {
            continue;
        }
        let kind = kind_of(group.list_path(), item.odata_type.as_deref(), &item.id);
        match sharing.iter().find(|row| claims(row.discriminator, kind)) {
            Some(row) if group.rows.iter().any(|asked| asked.key == row.key) => {
                if scope.is_none_or(|ids| ids.contains(&item.id)) {
                    split.by_row.entry(row.key).or_default().push(item);
                }
            }
            Some(_) => {}
            None if kind.is_some() => split.unclaimed += 1,
            None => split.untyped += 1,
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asking(keys: &[&str]) -> Vec<Group> {
        let policy_types = Some(keys.iter().map(|key| (*key).to_owned()).collect());
        groups(&FetchInputs { policy_types, policy_ids: None })
    }

    fn listing(items: Value) -> Listing {
        Listing { items: serde_json::from_value(items).expect("items"), expanded: true }
    }

    fn ids(split: &Split, key: &str) -> Vec<String> {
        split.by_row.get(key).into_iter().flatten().map(|item| item.id.clone()).collect()
    }

    #[test]
    fn a_shared_list_is_read_once() {
        let all = groups(&FetchInputs::default());
        let paths: BTreeSet<_> = all.iter().map(Group::list_path).collect();
        assert_eq!(paths.len(), all.len());
        assert!(all.iter().any(|group| group.rows.len() == 7), "enrolment configurations share one");
    }

    #[test]
    fn rows_of_one_list_agree_on_how_it_is_read() {
        for row in TABLE {
            let first = TABLE.iter().find(|other| other.list_path == row.list_path).expect("itself");
            assert_eq!((row.list_query, row.expand, row.read), (first.list_query, first.expand, first.read));
        }
    }

    #[test]
    fn queries_are_joined() {
        let path = |key, expanded| asking(&[key])[0].path(expanded);
        assert_eq!(path("policySet", false), "/deviceAppManagement/policySets");
        assert_eq!(
            path("compliancePolicy", true),
            "/deviceManagement/deviceCompliancePolicies?$top=1000&$expand=assignments"
        );
        assert_eq!(
            path("autopilotProfile", true),
            "/deviceManagement/windowsAutopilotDeploymentProfiles?$expand=assignments"
        );
    }

    #[test]
    fn an_item_belongs_to_the_type_that_it_says() {
        let groups = asking(&["deviceConfiguration", "windowsUpdateRing"]);
        let split = split(
            &groups[0],
            listing(json!([
                {"id": "a", "@odata.type": "#microsoft.graph.iosGeneralDeviceConfiguration"},
                {"id": "b", "@odata.type": "#microsoft.graph.windowsUpdateForBusinessConfiguration"},
                {"id": "b", "@odata.type": "#microsoft.graph.windowsUpdateForBusinessConfiguration"},
                {"id": "c"},
            ])),
            None,
        );
        assert_eq!(ids(&split, "deviceConfiguration"), ["a"]);
        assert_eq!(ids(&split, "windowsUpdateRing"), ["b"]);
        assert_eq!((split.unclaimed, split.untyped), (0, 1));
    }

    #[test]
    fn a_type_that_was_not_asked_for_is_left_out() {
        let groups = asking(&["windowsUpdateRing"]);
        let items = json!([{"id": "a", "@odata.type": "#microsoft.graph.iosGeneralDeviceConfiguration"}]);
        let split = split(&groups[0], listing(items), None);
        assert!(split.by_row.is_empty());
        assert_eq!((split.unclaimed, split.untyped), (0, 0));
    }

    #[test]
    fn an_enrolment_configuration_without_type_is_known_by_its_id() {
        let groups = asking(&["enrollmentLimit", "enrollmentStatusPage", "enrollmentPlatformRestriction"]);
        let split = split(
            &groups[0],
            listing(json!([
                {"id": "1_Limit"},
                {"id": "2_DefaultLimit"},
                {"id": "3_DefaultWindows10EnrollmentCompletionPageConfiguration"},
                {"id": "4_SinglePlatformRestriction"},
                {"id": "5_WindowsRestore"},
                {"id": "6_SomethingNew"},
                {"id": "7_x", "@odata.type": "#microsoft.graph.somethingNew"},
            ])),
            None,
        );
        assert_eq!(ids(&split, "enrollmentLimit"), ["1_Limit", "2_DefaultLimit"]);
        assert_eq!(ids(&split, "enrollmentStatusPage").len(), 1);
        assert_eq!(ids(&split, "enrollmentPlatformRestriction"), ["4_SinglePlatformRestriction"]);
        assert_eq!((split.unclaimed, split.untyped), (1, 1));
    }

    #[test]
    fn only_policies_in_scope_are_kept() {
        let groups = asking(&["compliancePolicy"]);
        let scope = BTreeSet::from(["b".to_owned()]);
        let split = split(&groups[0], listing(json!([{"id": "a"}, {"id": "b"}])), Some(&scope));
        assert_eq!(ids(&split, "compliancePolicy"), ["b"]);
    }

    #[test]
    fn a_name_is_read_from_the_types_own_property() {
        let item: ListedItem =
            serde_json::from_value(json!({"id": "a", "name": "n", "displayName": "d", "profileName": "p"}))
                .expect("an item");
        let row = |key| crate::domain::policy_types::find(key).expect("a row");
        assert_eq!(item.name(row("configurationPolicy")), "n");
        assert_eq!(item.name(row("compliancePolicy")), "d");
        assert_eq!(item.name(row("intuneBrandingProfile")), "p");
    }
}
