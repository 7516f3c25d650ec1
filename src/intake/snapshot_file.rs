//! The file that a snapshot is exported to and imported from (docs/snapshots.md): its form, and the checks that make a
//! file's content a snapshot of this ledger.
//!
//! A file is foreign: every hash is computed again, every name sanitised, and what a fetch would not have stored
//! (unknown types, other properties, ids in another form) is refused with its place. Nothing is written here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::IntakeError;
use super::{context, is_no_id};
use crate::clock::Instant;
use crate::domain::assignment::{Assignment, AssignmentSet, AssignmentsHash, Target};
use crate::domain::failure::sanitise;
use crate::domain::policy_types;
use crate::store::{Coverage, ImportedPolicy, NewImport, Snapshot, Tenant};

/// What `format` says.
pub const FORMAT: &str = "atlasd.snapshot";
/// The version that this program writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// The longest id of a policy, group or filter, in characters: that of the inputs of a run.
const ID_CHARS_MAX: usize = 200;
/// The largest count that every reader of JSON has exactly.
const COUNT_MAX: u64 = (1 << 53) - 1;

/// A snapshot as a file, as it is read.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({
    "format": "atlasd.snapshot", "version": 1, "exported_at": "2026-11-24T08:15:00.000000Z",
    "tenant": {"external_id": "3f2b8c1e-9d47-4a5b-8e21-0c6d7f8a9b10", "name": "Contoso", "cloud": "global"},
    "snapshot": {
        "id": 41, "created_at": "2026-11-24T06:00:00.000000Z",
        "coverage": {"compliancePolicy": {"listed": 1, "read": 1, "confirmed_empty": 1, "complete": true}}
    },
    "items": [{
        "policy_type": "compliancePolicy", "policy_id": "5b1f0c52-7a31-4a0e-8d5c-2f6a1c9e4b70", "name": "Baseline",
        "assignments": [],
        "assignments_hash": "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
    }]
}))]
pub struct SnapshotFile {
    /// `atlasd.snapshot`.
    format: String,
    /// 1.
    version: u32,
    /// When the file was written, RFC 3339.
    #[expect(dead_code, reason = "it tells people how old a file is; its form is checked by reading it")]
    exported_at: FileTime,
    /// Whose it was; it may be imported for another tenant.
    tenant: FileTenant,
    /// What the snapshot says about itself.
    snapshot: FileSnapshot,
    /// Policies, each once.
    items: Vec<FileItem>,
}

/// The tenant that a file is from.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct FileTenant {
    /// The directory id.
    external_id: Uuid,
    /// For people.
    name: String,
    /// Such as `global`.
    cloud: String,
}

/// The snapshot's own part of a file, as it is read.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct FileSnapshot {
    /// Its id in the ledger that it is from.
    #[expect(dead_code, reason = "it means something in its own ledger only")]
    id: i64,
    /// When its fetch began, RFC 3339.
    created_at: FileTime,
    /// Per policy type: how far the read got.
    coverage: BTreeMap<String, Coverage>,
}

/// One policy of a file, as it is read.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct FileItem {
    /// The catalogue's key.
    policy_type: String,
    /// As Graph gives it.
    policy_id: String,
    /// Its name then.
    name: String,
    /// In normal form.
    assignments: AssignmentSet,
    /// SHA-256 of the set's canonical JSON, 64 lower-case hex characters.
    assignments_hash: String,
}

/// A time as files have it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct FileTime(Instant);

impl TryFrom<String> for FileTime {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let time = DateTime::parse_from_rfc3339(&text).map_err(|_| "expected a time as RFC 3339 has it")?;
        Ok(Self(Instant::from(time.to_utc())))
    }
}

impl utoipa::PartialSchema for FileTime {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        Instant::schema()
    }
}

impl ToSchema for FileTime {}

impl SnapshotFile {
    /// Checks all that the form alone does not say. `label` is what somebody calls the snapshot.
    ///
    /// # Errors
    /// [`IntakeError::Field`], naming the place of the mistake, such as `items[3].assignments_hash`.
    pub fn check(self, label: Option<&str>) -> Result<NewImport, IntakeError> {
        if self.format != FORMAT {
            return Err(wrong("format", format!("expected `{FORMAT}`, found another format")));
        }
        if self.version != VERSION {
            return Err(wrong("version", format!("expected {VERSION}, found {}", self.version)));
        }
        let coverage = self.snapshot.coverage;
        coverage.iter().try_for_each(|(policy_type, of_type)| check_coverage(policy_type, of_type))?;
        let mut seen = BTreeSet::new();
        let mut read: BTreeMap<&str, u64> =
            coverage.iter().map(|(key, of)| (key.as_str(), of.read)).collect();
        let mut items = Vec::with_capacity(self.items.len());
        for (index, item) in self.items.into_iter().enumerate() {
            let place = format!("items[{index}]");
            let left = read.get_mut(item.policy_type.as_str()).filter(|left| **left > 0);
            let Some(left) = left else {
                let problem = "expected no more policies of a type than `snapshot.coverage` says were read";
                return Err(wrong(&format!("{place}.policy_type"), problem));
            };
            *left -= 1;
            if !seen.insert((item.policy_type.clone(), item.policy_id.clone())) {
                return Err(wrong(&place, "expected each policy once, found one again"));
            }
            items.push(check_item(&place, item)?);
        }
        Ok(NewImport {
            source_tenant: self.tenant.external_id,
            label: label.map(sanitise),
            created_at: self.snapshot.created_at.0,
            coverage,
            items,
        })
    }
}

fn check_coverage(policy_type: &str, coverage: &Coverage) -> Result<(), IntakeError> {
    let place = "snapshot.coverage";
    if policy_types::find(policy_type).is_none() {
        return Err(wrong(place, format!("expected policy types of the catalogue, found `{policy_type}`")));
    }
    let counts = [coverage.listed, coverage.read, coverage.confirmed_empty];
    if counts.iter().chain(coverage.refused.values()).any(|count| *count > COUNT_MAX) {
        return Err(wrong(&format!("{place}.{policy_type}"), format!("expected counts up to {COUNT_MAX}")));
    }
    Ok(())
}

fn check_item(place: &str, item: FileItem) -> Result<ImportedPolicy, IntakeError> {
    let field = |name: &str| format!("{place}.{name}");
    if !is_id(&item.policy_id) || is_no_id(&item.policy_id) {
        let problem = format!("expected the id of a policy, 1 to {ID_CHARS_MAX} characters");
        return Err(wrong(&field("policy_id"), problem));
    }
    check_assignments(&field("assignments"), &item.policy_type, &item.assignments)?;
    let hash: AssignmentsHash = item
        .assignments_hash
        .parse()
        .map_err(|_| wrong(&field("assignments_hash"), "expected 64 lower-case hex characters"))?;
    if hash != item.assignments.hash() {
        let problem = "expected the hash of `assignments`, found another: one of the two was changed";
        return Err(wrong(&field("assignments_hash"), problem));
    }
    Ok(ImportedPolicy {
        policy_type: item.policy_type,
        policy_id: item.policy_id,
        name: sanitise(&item.name),
        assignments: item.assignments,
    })
}

/// Whether a fetch could have stored the set: what it holds besides the hash, which anybody can compute.
fn check_assignments(place: &str, policy_type: &str, set: &AssignmentSet) -> Result<(), IntakeError> {
    let kept = policy_types::find(policy_type).map_or(&[][..], |row| row.kept);
    for (index, assignment) in set.iter().enumerate() {
        let place = format!("{place}[{index}]");
        if let Some(id) = ids(assignment).into_iter().find(|id| !is_id(id) || **id != id.to_lowercase()) {
            let problem = format!("expected ids in lower case, 1 to {ID_CHARS_MAX} characters, found `{id}`");
            return Err(wrong(&place, problem));
        }
        if let Some(name) = assignment.extras.keys().find(|name| !kept.contains(&name.as_str())) {
            let problem = format!("expected properties that {policy_type} keeps, found `{name}`");
            return Err(wrong(&format!("{place}.extras"), problem));
        }
        let value = serde_json::to_value(assignment).expect("an assignment is made of JSON");
        if let Some(place) = context::find_nul(&value, &place) {
            return Err(wrong(&place, "expected text without the character U+0000"));
        }
    }
    Ok(())
}

/// Every id in an assignment that the normal form writes in lower case.
fn ids(assignment: &Assignment) -> Vec<&String> {
    let mut ids: Vec<&String> = match &assignment.target {
        Target::Group { group_id }
        | Target::ExclusionGroup { group_id }
        | Target::CloudPcGroup { group_id, .. }
        | Target::OfficeGroup { group_id } => vec![group_id],
        Target::RoleScope { members, resource_scopes, .. } => members.iter().chain(resource_scopes).collect(),
        Target::AllUsers | Target::AllDevices | Target::ConfigurationManagerCollection { .. } => Vec::new(),
    };
    ids.extend(assignment.filter.as_ref().map(|filter| &filter.id));
    ids
}

fn is_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.chars().count()) && !text.contains('\0')
}

fn wrong(field: &str, problem: impl Into<String>) -> IntakeError {
    IntakeError::field(field, problem.into())
}

/// What stands in a file before its items.
#[derive(Serialize)]
struct Opening<'a> {
    format: &'static str,
    version: u32,
    exported_at: Instant,
    tenant: FileTenant,
    snapshot: OpeningSnapshot<'a>,
}

#[derive(Serialize)]
struct OpeningSnapshot<'a> {
    id: i64,
    created_at: Instant,
    coverage: &'a BTreeMap<String, Coverage>,
}

/// The beginning of a file, up to its first item. Items follow as JSON with commas between them, then [`CLOSING`].
pub fn opening(tenant: &Tenant, snapshot: &Snapshot, exported_at: Instant) -> String {
    let opening = Opening {
        format: FORMAT,
        version: VERSION,
        exported_at,
        tenant: FileTenant {
            external_id: tenant.external_id,
            name: tenant.name.clone(),
            cloud: tenant.cloud.clone(),
        },
        snapshot: OpeningSnapshot {
            id: snapshot.id.0,
            created_at: snapshot.created_at,
            coverage: &snapshot.coverage,
        },
    };
    let mut text = serde_json::to_string(&opening).expect("it is made of text, numbers and maps");
    text.pop();
    text.push_str(",\"items\":[");
    text
}

/// What ends a file after its last item.
pub const CLOSING: &str = "]}\n";

#[cfg(test)]
mod tests;
