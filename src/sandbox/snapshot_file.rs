//! A tenant out of an exported snapshot, so that its restore can be rehearsed: the policies of the file under their ids
//! and names, with the assignments of the file, and the groups and filters that these name.
//!
//! The file holds what a snapshot holds and no more. A policy's other properties are made up: apps are published, and a
//! policy whose id says that it is an enrolment default is one. What the snapshot did not read is not there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::assignments::{self, ALL_USERS_PSEUDO_GROUP, FILTER_ID, FILTER_TYPE};
use super::config::TenantSpec;
use super::policies;
use super::rules;
use super::seed::{self, Origin};
use super::state::{Filter, Group, Policy, Tenant};
use crate::domain::assignment::{Assignment, AssignmentSet, FilterMode, Target};
use crate::domain::policy_types::{self, PolicyType, Read, TargetKind};

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
const FORMAT: &str = "atlasd.snapshot";
const VERSION: u64 = 1;

/// A snapshot file, read and checked.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    /// The directory that it was taken of.
    pub external_id: Uuid,
    /// Its name.
    pub name: String,
    items: Vec<Item>,
}

/// A policy of the file.
#[derive(Clone, Debug)]
struct Item {
    row: &'static PolicyType,
    policy_id: String,
    name: String,
    assignments: AssignmentSet,
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct BadSnapshotFile {
    /// Such as `items[3].assignments[0]`.
    pub place: String,
    /// What was expected and what was found.
    pub problem: String,
}

impl BadSnapshotFile {
    fn at(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

impl SnapshotFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// With the first thing that is wrong, and its place.
    pub fn parse(text: &str) -> Result<Self, BadSnapshotFile> {
        let file: Value = serde_json::from_str(text)
            .map_err(|error| BadSnapshotFile::at("the file", format!("expected JSON: {error}")))?;
        if file["format"] != FORMAT {
            return Err(BadSnapshotFile::at(
                "format",
                format!("expected \"{FORMAT}\", found {}", file["format"]),
            ));
        }
        if file["version"] != VERSION {
            let problem = format!("expected {VERSION}, found {}", file["version"]);
            return Err(BadSnapshotFile::at("version", problem));
        }
        let external_id = text_at(&file["tenant"], "tenant", "external_id")?;
        let external_id = Uuid::try_parse(external_id).map_err(|_| {
            BadSnapshotFile::at("tenant.external_id", format!("expected a UUID, found {external_id:?}"))
        })?;
        let name = text_at(&file["tenant"], "tenant", "name")?.to_owned();
        let items = file["items"]
            .as_array()
            .ok_or_else(|| BadSnapshotFile::at("items", "expected a list, found something else"))?;
        let mut known = BTreeMap::new();
        let items = items.iter().enumerate().map(|(index, item)| {
            let item = Item::parse(index, item)?;
            match known.insert((item.row.list_path, item.policy_id.clone()), index) {
                None => Ok(item),
                Some(first) => {
                    let problem = format!("expected a policy once, found that of items[{first}] again");
                    Err(BadSnapshotFile::at(format!("items[{index}].policy_id"), problem))
                }
            }
        });
        Ok(Self { external_id, name, items: items.collect::<Result<_, _>>()? })
    }

    /// The number of policies per readable type, in the catalogue's order.
    pub(super) fn per_type(&self) -> Vec<(&'static PolicyType, usize)> {
        let count = |row: &PolicyType| self.items.iter().filter(|item| item.row.key == row.key).count();
        policy_types::readable().map(|row| (row, count(row))).collect()
    }

    /// The tenant of the file.
    pub(super) fn tenant(&self, seed: u64, spec: &TenantSpec) -> Tenant {
        let origin = Origin::root(seed).at(spec.external_id);
        let mut policies: BTreeMap<&'static str, Vec<Policy>> = BTreeMap::new();
        let mut indexes: BTreeMap<&str, usize> = BTreeMap::new();
        for item in &self.items {
            let index = indexes.entry(item.row.key).or_default();
            policies.entry(item.row.list_path).or_default().push(item.policy(&origin, *index));
            *index += 1;
        }
        let groups = self.group_ids().into_iter().map(|id| {
            let name = format!("Group {}", id.chars().take(8).collect::<String>());
            (id.clone(), Group { id, name })
        });
        Tenant {
            spec: spec.clone(),
            policies,
            groups: groups.collect(),
            filters: self.filters(),
            needs_approval: false,
        }
    }

    fn group_ids(&self) -> BTreeSet<String> {
        let targets = self.items.iter().flat_map(|item| item.assignments.iter()).map(|it| &it.target);
        let ids = targets.flat_map(|target| match target {
            Target::Group { group_id }
            | Target::ExclusionGroup { group_id }
            | Target::CloudPcGroup { group_id, .. }
            | Target::OfficeGroup { group_id } => vec![group_id.clone()],
            Target::RoleScope { members, resource_scopes, .. } => {
                members.iter().chain(resource_scopes).cloned().collect()
            }
            Target::AllUsers | Target::AllDevices | Target::ConfigurationManagerCollection { .. } => {
                Vec::new()
            }
        });
        ids.filter(|id| id != ALL_USERS_PSEUDO_GROUP).collect()
    }

    fn filters(&self) -> Vec<Filter> {
        let used = self.items.iter().flat_map(|item| {
            let managed_by = rules::managed_by(item.row);
            item.assignments.iter().filter_map(move |it| Some((it.filter.as_ref()?.id.clone(), managed_by)))
        });
        let managed: BTreeMap<String, &str> = used.collect();
        let filter = |(id, managed): (String, &str)| {
            let name = format!("Filter {}", id.chars().take(8).collect::<String>());
            let platform =
                if managed == "apps" { "iOSMobileApplicationManagement" } else { "windows10AndLater" };
            seed::filter(id, &name, platform, managed, "")
        };
        managed.into_iter().map(filter).collect()
    }
}

impl Item {
    fn parse(index: usize, item: &Value) -> Result<Self, BadSnapshotFile> {
        let place = format!("items[{index}]");
        let key = text_at(item, &place, "policy_type")?;
        let row = policy_types::find(key).filter(|row| row.read != Read::Nothing).ok_or_else(|| {
            let problem = format!("expected a type with assignments that this version knows, found {key:?}");
            BadSnapshotFile::at(format!("{place}.policy_type"), problem)
        })?;
        let policy_id = text_at(item, &place, "policy_id")?.to_owned();
        let name = text_at(item, &place, "name")?.to_owned();
        let assignments = item["assignments"].as_array().ok_or_else(|| {
            BadSnapshotFile::at(format!("{place}.assignments"), "expected a list, found something else")
        })?;
        let assignments = assignments.iter().enumerate().map(|(at, assignment)| {
            let place = format!("{place}.assignments[{at}]");
            let read = Assignment::deserialize(assignment)
                .map_err(|error| BadSnapshotFile::at(place.clone(), error.to_string()))?;
            let is_scope = matches!(read.target, Target::RoleScope { .. });
            if is_scope == (row.read == Read::Object) {
                Ok(read)
            } else {
                let problem = format!("expected a target that {key} can have, found another");
                Err(BadSnapshotFile::at(format!("{place}.target"), problem))
            }
        });
        let assignments = AssignmentSet::new(assignments.collect::<Result<_, _>>()?);
        let hash = text_at(item, &place, "assignments_hash")?;
        let own = assignments.hash().to_string();
        if hash != own {
            let problem = format!("expected {own}, the hash of the assignments, found {hash:?}");
            return Err(BadSnapshotFile::at(format!("{place}.assignments_hash"), problem));
        }
        Ok(Self { row, policy_id, name, assignments })
    }

    fn policy(&self, origin: &Origin, index: usize) -> Policy {
        let mut policy = policies::exported(origin, self.row, index, &self.policy_id, &self.name);
        if let Some(app) = self.assignments.iter().find_map(app_kind) {
            policy.body.insert("@odata.type".to_owned(), app.into());
        }
        for (position, assignment) in self.assignments.iter().enumerate() {
            if let Target::RoleScope { members, resource_scopes, scope_type } = &assignment.target {
                let scope =
                    json!({"members": members, "resourceScopes": resource_scopes, "scopeType": scope_type});
                policy.body.extend(scope.as_object().cloned().unwrap_or_default());
            } else {
                let here = origin.at(self.row.key).at(&self.policy_id);
                policy.assignments.push(in_graph_form(&here, self, assignment, position));
            }
        }
        policy
    }
}

/// The kind of the app that settings belong to: they are named after it.
fn app_kind(assignment: &Assignment) -> Option<String> {
    let settings = assignment.extras.get("settings")?["@odata.type"].as_str()?;
    settings.strip_suffix("AssignmentSettings").map(str::to_owned)
}

fn in_graph_form(here: &Origin, item: &Item, assignment: &Assignment, position: usize) -> Value {
    let mut target = Map::new();
    let mut put = |name: &str, value: Value| target.insert(name.to_owned(), value);
    match &assignment.target {
        Target::Group { group_id } => {
            put("@odata.type", assignments::target_type(TargetKind::Group).into());
            put("groupId", group_id.as_str().into());
        }
        Target::ExclusionGroup { group_id } => {
            put("@odata.type", assignments::target_type(TargetKind::ExclusionGroup).into());
            put("groupId", group_id.as_str().into());
        }
        Target::AllUsers => {
            put("@odata.type", assignments::target_type(TargetKind::AllUsers).into());
        }
        Target::AllDevices => {
            put("@odata.type", assignments::target_type(TargetKind::AllDevices).into());
        }
        Target::ConfigurationManagerCollection { collection_id } => {
            put("@odata.type", assignments::COLLECTION_TARGET.into());
            put("collectionId", collection_id.as_str().into());
        }
        Target::CloudPcGroup {
            group_id,
            service_plan_id,
            allotment_display_name,
            allotment_licenses_count,
        } => {
            put("@odata.type", assignments::target_type(TargetKind::CloudPcGroup).into());
            put("groupId", group_id.as_str().into());
            put("servicePlanId", json!(service_plan_id));
            put("allotmentDisplayName", json!(allotment_display_name));
            put("allotmentLicensesCount", json!(allotment_licenses_count));
        }
        Target::OfficeGroup { group_id } => {
            put("@odata.type", assignments::target_type(TargetKind::OfficeGroup).into());
            put("groupId", group_id.as_str().into());
        }
        // A property of the object, never an assignment of its own.
        Target::RoleScope { .. } => {}
    }
    if let Some(filter) = &assignment.filter {
        let mode = match filter.mode {
            FilterMode::Include => "include",
            FilterMode::Exclude => "exclude",
        };
        put(FILTER_ID, filter.id.as_str().into());
        put(FILTER_TYPE, mode.into());
    }
    let mut properties: Map<String, Value> = assignment.extras.clone().into_iter().collect();
    properties.extend(assignment.intent.as_deref().map(|intent| ("intent".to_owned(), intent.into())));
    properties.insert("target".to_owned(), target.into());
    let mut stored = assignments::stored(item.row, &item.policy_id, properties, position);
    if let Some(source) = &assignment.inherited_from {
        stored["source"] = source.as_str().into();
        stored["sourceId"] = here.uuid("policy-set").to_string().into();
    }
    stored
}

fn text_at<'a>(object: &'a Value, place: &str, name: &str) -> Result<&'a str, BadSnapshotFile> {
    object[name]
        .as_str()
        .ok_or_else(|| BadSnapshotFile::at(format!("{place}.{name}"), "expected a text, found none"))
}
