//! Policies as they are now: the object's facts and its whole set of assignments, one policy or many.
//!
//! Invariant: a policy is `None` only when Graph said that the object does not exist, or that it is of another type;
//! it has a set only when that set was read to its end. Whatever else happens is an error of that policy alone.
//! Of an object nothing but its name and the facts is kept: script bodies, OMA values and codes end at the parser.

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::client::GraphClient;
use super::cloud::segment;
use super::error::GraphError;
use super::kind::{assignments_path, claims, kind_of};
use crate::domain::assignment::{Assignment, AssignmentSet, PolicyKey};
use crate::domain::failure::{Code, sanitise};
use crate::domain::policy_types::{Discriminator, PolicyType, Read, find};
use crate::domain::restore::{LivePolicy, PolicyFacts};

/// A policy's assignments, read to their end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveAssignments {
    /// All of them, inherited ones too.
    pub set: AssignmentSet,
    /// Each with Graph's id for it, where Graph gave one.
    pub ids: Vec<(Assignment, String)>,
}

/// What is kept of a policy's object.
#[derive(Deserialize)]
struct Object {
    /// Every policy has one: what has none is something else.
    #[serde(rename = "id")]
    _id: String,
    #[serde(rename = "@odata.type")]
    odata_type: Option<String>,
    #[serde(rename = "displayName")]
    display_name: Option<String>,
    name: Option<String>,
    #[serde(rename = "profileName")]
    profile_name: Option<String>,
    #[serde(rename = "publishingState")]
    publishing_state: Option<String>,
    priority: Option<i64>,
    #[serde(rename = "isDefaultProfile")]
    is_default_profile: Option<bool>,
    #[serde(rename = "isGlobalScript")]
    is_global_script: Option<bool>,
    #[serde(rename = "templateReference")]
    template: Option<Template>,
}

#[derive(Deserialize)]
struct Template {
    #[serde(rename = "templateFamily")]
    family: Option<String>,
}

/// A policy to read: its row, its id, its place among the results.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    row: &'static PolicyType,
    id: &'a str,
    place: usize,
}

/// What a policy was read as; `None` for one that does not exist.
type Existing<T> = Result<Option<T>, GraphError>;

impl GraphClient {
    /// Reads one policy; `None` when it does not exist, or is of another type than `row`.
    ///
    /// # Errors
    /// [`GraphError`] when the object or its assignments could not be read; `assignments.read_incomplete` when they
    /// were, and are not as the schema has them.
    pub async fn read_policy(
        &self,
        row: &'static PolicyType,
        policy_id: &str,
        cancel: &CancellationToken,
    ) -> Result<Option<LivePolicy>, GraphError> {
        let wanted = [Wanted { row, id: policy_id, place: 0 }];
        self.read_part(&wanted, cancel).await.remove(0).1
    }

    /// Reads many policies, in batches; the results are in the order of `keys`, each a policy's own. `progress` is told
    /// how many have been read so far; it must not block.
    pub async fn read_policies(
        &self,
        keys: &[PolicyKey],
        cancel: &CancellationToken,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Vec<Result<Option<LivePolicy>, GraphError>> {
        let unknown = || Err(GraphError::local(Code::GraphTypeUnavailable, false));
        let mut results: Vec<Existing<LivePolicy>> = keys.iter().map(|_| unknown()).collect();
        let wanted: Vec<Wanted<'_>> = keys
            .iter()
            .enumerate()
            .filter_map(|(place, key)| {
                let row = find(&key.policy_type).filter(|row| row.read != Read::Nothing)?;
                Some(Wanted { row, id: &key.policy_id, place })
            })
            .collect();
        // As many at a time as fit into a batch with both their reads.
        let parts = wanted.chunks((self.wire.limits.batch_max / 2).max(1));
        let reads: Vec<_> = parts.map(|part| self.read_part_boxed(part, cancel)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(self.wire.limits.parallel);
        let mut read = 0;
        while let Some(part) = reads.next().await {
            read += part.len() as u64;
            for (place, result) in part {
                results[place] = result;
            }
            progress(read);
        }
        results
    }

    /// Reads a policy's assignments alone, in one call unless they fill several pages; `None` when the policy does
    /// not exist. A role assignment's are its object.
    ///
    /// # Errors
    /// As [`GraphClient::read_policy`].
    pub async fn read_assignments(
        &self,
        row: &'static PolicyType,
        policy_id: &str,
        cancel: &CancellationToken,
    ) -> Result<Option<LiveAssignments>, GraphError> {
        let body = found(self.get::<Value>(&assignments_path(row, policy_id), cancel).await)?;
        match body {
            Some(body) => self.assignments(row, body, cancel).await.map(Some),
            None => Ok(None),
        }
    }

    /// Boxed: within a stream the compiler cannot prove that this is `Send` for every lifetime.
    fn read_part_boxed<'a>(
        &'a self,
        part: &'a [Wanted<'a>],
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Vec<(usize, Existing<LivePolicy>)>> {
        Box::pin(self.read_part(part, cancel))
    }

    /// Reads what fits into one batch.
    async fn read_part(
        &self,
        part: &[Wanted<'_>],
        cancel: &CancellationToken,
    ) -> Vec<(usize, Existing<LivePolicy>)> {
        let paths: Vec<String> = part.iter().flat_map(|wanted| paths(wanted.row, wanted.id)).collect();
        let mut bodies = self.get_in_batches(&paths, cancel).await.into_iter();
        let mut results = Vec::with_capacity(part.len());
        for wanted in part {
            let mut next = || bodies.next().unwrap_or_else(|| Err(GraphError::garbled(200)));
            let object = next();
            let assignments = (wanted.row.read == Read::Navigation).then(next);
            results.push((wanted.place, self.policy(*wanted, object, assignments, cancel).await));
        }
        results
    }

    /// From the answers for the object and, where it is not the object itself, for its assignments.
    async fn policy(
        &self,
        wanted: Wanted<'_>,
        object: Result<Value, GraphError>,
        assignments: Option<Result<Value, GraphError>>,
        cancel: &CancellationToken,
    ) -> Existing<LivePolicy> {
        let Some(object) = found(object)? else { return Ok(None) };
        let kept = Object::deserialize(&object)
            .map_err(|_| GraphError { transient: false, ..GraphError::garbled(200) })?;
        if !is_of(wanted.row, &kept, wanted.id)? {
            return Ok(None);
        }
        let read = self.assignments(wanted.row, assignments.unwrap_or(Ok(object))?, cancel).await?;
        let name = sanitise(kept.name_of(wanted.row));
        Ok(Some(LivePolicy { name, assignments: read.set, ids: read.ids, facts: kept.facts() }))
    }

    /// The whole set that begins with `body`: a page, or a role assignment's object.
    async fn assignments(
        &self,
        row: &'static PolicyType,
        body: Value,
        cancel: &CancellationToken,
    ) -> Result<LiveAssignments, GraphError> {
        let malformed = |_| GraphError::local(Code::AssignmentsReadIncomplete, false);
        if row.read == Read::Object {
            let set = AssignmentSet::from_role_assignment(&body).map_err(malformed)?;
            return Ok(LiveAssignments { set, ids: Vec::new() });
        }
        let items: Vec<Value> = self.rest_of(body, cancel).await?;
        let (mut all, mut ids) = (Vec::with_capacity(items.len()), Vec::new());
        for item in &items {
            let one = AssignmentSet::from_graph(row, std::slice::from_ref(item)).map_err(malformed)?;
            let id = item.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
            for assignment in one.iter() {
                ids.extend(id.map(|id| (assignment.clone(), id.to_owned())));
                all.push(assignment.clone());
            }
        }
        Ok(LiveAssignments { set: AssignmentSet::new(all), ids })
    }
}

impl Object {
    fn name_of(&self, row: &PolicyType) -> &str {
        let name = match row.name_property {
            "name" => &self.name,
            "profileName" => &self.profile_name,
            _ => &self.display_name,
        };
        name.as_deref().unwrap_or_default()
    }

    fn facts(self) -> PolicyFacts {
        PolicyFacts {
            odata_type: self.odata_type,
            publishing_state: self.publishing_state,
            priority: self.priority,
            is_default_profile: self.is_default_profile,
            is_global_script: self.is_global_script,
            template_family: self.template.and_then(|template| template.family),
        }
    }
}

/// What was found; `None` for what Graph says does not exist.
fn found<T>(result: Result<T, GraphError>) -> Result<Option<T>, GraphError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code == Code::GraphNotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the object is of the type that is looked for. One that does not say what it is may be of it or not.
fn is_of(row: &PolicyType, object: &Object, id: &str) -> Result<bool, GraphError> {
    match kind_of(row.list_path, object.odata_type.as_deref(), id) {
        None if row.discriminator != Discriminator::Whole => {
            Err(GraphError::local(Code::GraphProtocol, false))
        }
        kind => Ok(claims(row.discriminator, kind)),
    }
}

/// The reads of one policy: its object, then its assignments unless the object holds them.
fn paths(row: &PolicyType, id: &str) -> impl Iterator<Item = String> {
    let object = format!("{}/{}{}", row.list_path, segment(id), select(row));
    let assignments = (row.read == Read::Navigation).then(|| assignments_path(row, id));
    std::iter::once(object).chain(assignments)
}

/// Keeps script bodies on the other side, where an item's read would bring them. Only for types without derived
/// ones: what a `$select` does to their `@odata.type` and their own properties is not known for every type.
fn select(row: &PolicyType) -> &'static str {
    match row.key {
        "deviceHealthScript" => "?$select=id,displayName,isGlobalScript",
        "deviceManagementScript"
        | "deviceShellScript"
        | "deviceCustomAttributeShellScript"
        | "deviceComplianceScript" => "?$select=id,displayName",
        _ => "",
    }
}
