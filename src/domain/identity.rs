//! Identity: what makes two requests the same (SPEC section 3).

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::operation::Operation;

/// The version of the rule, stored on each run.
pub const IDENTITY_VERSION: u32 = 1;

/// `lower_hex(SHA-256(JCS(identity)))`, as its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityHash(pub [u8; 32]);

impl std::fmt::Display for IdentityHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for IdentityHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 lower-case hex characters.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 lower-case hex characters")]
pub struct MalformedHash;

impl std::str::FromStr for IdentityHash {
    type Err = MalformedHash;
    fn from_str(text: &str) -> Result<Self, MalformedHash> {
        let mut bytes = [0; 32];
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(MalformedHash);
        }
        hex::decode_to_slice(text, &mut bytes).map_err(|_| MalformedHash)?;
        Ok(Self(bytes))
    }
}

impl serde::Serialize for IdentityHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).expect("64 is twice 32");
        serializer.serialize_str(std::str::from_utf8(&text).expect("hex is ASCII"))
    }
}

impl utoipa::PartialSchema for IdentityHash {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[0-9a-f]{64}$"))
            .into()
    }
}
impl utoipa::ToSchema for IdentityHash {}

/// The scope part of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeIds {
    /// The workspace's immutable slug.
    pub workspace: String,
    /// The tenant's directory id; `None` for workspace-scoped operations.
    pub tenant: Option<Uuid>,
}

/// Normalised inputs: every input that the operation knows is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Of `assignments.fetch`.
    Fetch(FetchInputs),
    /// Of `assignments.restore`.
    Restore(RestoreInputs),
    /// Of `ops.reconcile_adapter_runs`: none.
    Reconcile,
}

/// Inputs of `assignments.fetch`; `None` means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchInputs {
    /// Keys of [`super::policy_types`].
    pub policy_types: Option<BTreeSet<String>>,
    /// Ids as given.
    pub policy_ids: Option<BTreeSet<String>>,
}

/// How a restore treats assignments that the snapshot does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreMode {
    /// Removes them.
    Exact,
    /// Keeps them.
    Merge,
}

/// Inputs of `assignments.restore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreInputs {
    /// The snapshot.
    pub snapshot_id: u64,
    /// `None` means all in the snapshot.
    pub policy_ids: Option<BTreeSet<String>>,
    /// Group ids of the snapshot to group ids of the tenant, lower case.
    pub group_map: BTreeMap<Uuid, Uuid>,
    /// How to treat others.
    pub mode: RestoreMode,
    /// Plan only.
    pub dry_run: bool,
    /// The dry run whose plan is to be carried out.
    pub plan_run_id: Option<u64>,
    /// Do what widens.
    pub allow_widening: bool,
}

/// An input that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct InputError {
    /// The field's path, such as `inputs.policy_types[2]`.
    pub field: String,
    /// What was expected and what was found.
    pub problem: String,
}

impl Inputs {
    /// Checks and normalises the `inputs` of a request; `null` and an absent object mean all defaults.
    ///
    /// # Errors
    /// An unknown field, a wrong type, an empty list, an unknown policy type: naming the field.
    pub fn normalise(_operation: Operation, _raw: &serde_json::Value) -> Result<Self, InputError> {
        todo!()
    }

    /// The normalised inputs as JSON, every field present.
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
}

/// The canonical JSON (RFC 8785) that is hashed.
pub fn canonical(_operation: Operation, _scope: &ScopeIds, _inputs: &Inputs) -> Vec<u8> {
    todo!()
}

/// The identity of a request.
pub fn hash(_operation: Operation, _scope: &ScopeIds, _inputs: &Inputs) -> IdentityHash {
    todo!()
}

/// One way in which two identities differ.
#[derive(Clone, Debug, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Difference {
    /// A JSON pointer into the identity, such as `/inputs/policy_types`.
    pub path: String,
    /// The value in the request; null where it has none.
    pub request: serde_json::Value,
    /// The value in the other; null where it has none.
    pub against: serde_json::Value,
}

/// Where two identities (parsed canonical JSON) differ, in the order of their paths; empty when they are the same.
pub fn differences(_request: &serde_json::Value, _against: &serde_json::Value) -> Vec<Difference> {
    todo!()
}
