//! Identity: what makes two requests the same (SPEC section 3).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::operation::{Operation, Scope};

mod normalise;
#[cfg(test)]
mod tests;

pub use normalise::{GROUP_MAP_MAX, POLICY_ID_CHARS_MAX, POLICY_IDS_MAX, ROW_ID_MAX};

/// The version of the rule, stored on each run.
pub const IDENTITY_VERSION: u32 = 1;

/// `lower_hex(SHA-256(JCS(identity)))`, as its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityHash(pub [u8; 32]);

impl IdentityHash {
    /// The SHA-256 of canonical bytes.
    pub fn of(canonical: &[u8]) -> Self {
        Self(Sha256::digest(canonical).into())
    }
}

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
    pub fn normalise(operation: Operation, raw: &Value) -> Result<Self, InputError> {
        normalise::inputs(operation, raw)
    }

    /// The normalised inputs as JSON, every field present; normalising it again gives the same inputs.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Fetch(inputs) => json!({
                "policy_types": inputs.policy_types,
                "policy_ids": inputs.policy_ids,
            }),
            Self::Restore(inputs) => json!({
                "snapshot_id": inputs.snapshot_id,
                "policy_ids": inputs.policy_ids,
                "group_map": inputs.group_map,
                "mode": inputs.mode.as_str(),
                "dry_run": inputs.dry_run,
                "plan_run_id": inputs.plan_run_id,
                "allow_widening": inputs.allow_widening,
            }),
            Self::Reconcile => json!({}),
        }
    }
}

impl RestoreMode {
    /// The word in requests and identities.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Merge => "merge",
        }
    }
}

/// The longest slug, in characters.
pub const SLUG_CHARS_MAX: usize = 63;

/// Checks a workspace's slug: 1 to [`SLUG_CHARS_MAX`] of `a-z`, `0-9` and, not at either end, `-`. A slug is part of
/// every identity, so what two programs could write in two ways is refused.
///
/// # Errors
/// When it has another form; the field is `slug`.
pub fn validate_slug(slug: &str) -> Result<(), InputError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=SLUG_CHARS_MAX).contains(&slug.len()) && slug.bytes().all(inner);
    if fits && !slug.starts_with('-') && !slug.ends_with('-') {
        return Ok(());
    }
    Err(InputError {
        field: "slug".to_owned(),
        problem: format!("expected 1 to {SLUG_CHARS_MAX} lower-case letters, digits and inner hyphens"),
    })
}

/// The canonical JSON (RFC 8785) that is hashed.
pub fn canonical(operation: Operation, scope: &ScopeIds, inputs: &Inputs) -> Vec<u8> {
    debug_assert_eq!(
        scope.tenant.is_some(),
        operation.scope() == Scope::Tenant,
        "the scope is the operation's"
    );
    // A `Uuid` is written in lower case with hyphens, which is what SPEC section 3 asks for.
    let identity = json!({
        "identity_version": IDENTITY_VERSION,
        "operation": operation.as_str(),
        "scope": { "workspace": scope.workspace, "tenant": scope.tenant },
        "inputs": inputs.to_json(),
    });
    serde_json_canonicalizer::to_vec(&identity)
        .expect("a JSON value has neither NaN nor keys that are not text")
}

/// The identity of a request.
pub fn hash(operation: Operation, scope: &ScopeIds, inputs: &Inputs) -> IdentityHash {
    IdentityHash::of(&canonical(operation, scope, inputs))
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

/// Where two identities (parsed canonical JSON) differ, in the order of their paths; empty exactly when they are the
/// same. Objects are compared field by field; lists are sets here, so that a list differs as a whole.
pub fn differences(request: &Value, against: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    collect_differences("", Some(request), Some(against), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect_differences(
    path: &str,
    request: Option<&Value>,
    against: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    if request == against {
        return;
    }
    if let (Some(Value::Object(left)), Some(Value::Object(right))) = (request, against) {
        let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for key in keys {
            let token = key.replace('~', "~0").replace('/', "~1");
            collect_differences(&format!("{path}/{token}"), left.get(key), right.get(key), found);
        }
        return;
    }
    found.push(Difference {
        path: path.to_owned(),
        request: request.cloned().unwrap_or_default(),
        against: against.cloned().unwrap_or_default(),
    });
}
