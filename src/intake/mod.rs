//! From a request as a client writes it to [`Request`], which only needs a verdict.
//!
//! Every way in goes through here (HTTP, batches, signals, schedules), so that the same request has the same
//! identity whoever brings it. This is neither admission (the registry decides) nor authorisation of roles (the
//! admin endpoint does); what it does guard is the caller's workspace: what the caller may not see does not exist.
//!
//! Invariants: nothing is written here; the look-ups of a request whose tenant is known touch no database; what
//! leaves here holds no secret and no character that a database refuses.

pub mod context;
pub mod directory;
pub mod error;
pub mod restore;
pub mod scheduled;
pub mod snapshot_file;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

pub use directory::{Directory, TenantFacts, WorkspaceFacts};
pub use error::IntakeError;

use crate::domain::admission::Request;
use crate::domain::identity::{self, FetchInputs, IDENTITY_VERSION, IdentityHash, Inputs, ScopeIds};
use crate::domain::operation::{Operation, Scope};
use crate::domain::policy_types;
use crate::domain::run::Run;
use crate::ids::{TenantId, UserId, WorkspaceId};
use crate::store::{Snapshot, Store, Workspace};

/// A request for a run, as clients write it (SPEC section 10).
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({
    "type": "assignments.fetch",
    "tenant_external_id": "3f2b8c1e-9d47-4a5b-8e21-0c6d7f8a9b10",
    "inputs": {"policy_types": ["compliancePolicy"]},
    "context": {"ticket": "CHG-1042"}
}))]
pub struct RunRequest {
    /// The operation, such as `assignments.fetch`.
    #[serde(rename = "type")]
    #[schema(value_type = Operation)]
    pub operation: String,
    /// The tenant; this or `tenant_external_id` for operations of a tenant.
    pub tenant_id: Option<TenantId>,
    /// The tenant's directory id, a UUID.
    pub tenant_external_id: Option<Uuid>,
    /// The workspace: required for operations of a workspace, else it must be the tenant's.
    pub workspace_id: Option<WorkspaceId>,
    /// Inputs of the operation; what is left out has its default (SPEC section 3).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub inputs: Value,
    /// Whatever explains the request: no part of its identity, kept sanitised with the run.
    #[schema(value_type = Option<Object>)]
    pub context: Option<Value>,
    /// Skip the cooldown (never the rule that one run is active).
    pub force: Option<bool>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initiator {
    /// A user's or token's name, `schedule`, `signal:SIGUSR1`, `startup`, `system`.
    pub name: String,
    /// The user, when there is one.
    pub user_id: Option<UserId>,
    /// The one workspace that the asker sees; `None` sees all.
    pub workspace: Option<WorkspaceId>,
}

/// What a request is about, once its names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A tenant of a workspace.
    Tenant(TenantFacts),
    /// A whole workspace.
    Workspace(WorkspaceFacts),
}

impl Subject {
    fn workspace_id(&self) -> WorkspaceId {
        match self {
            Self::Tenant(tenant) => tenant.workspace_id,
            Self::Workspace(workspace) => workspace.id,
        }
    }

    fn tenant_id(&self) -> Option<TenantId> {
        match self {
            Self::Tenant(tenant) => Some(tenant.id),
            Self::Workspace(_) => None,
        }
    }

    /// The scope part of the identity.
    fn scope(&self) -> ScopeIds {
        match self {
            Self::Tenant(tenant) => {
                ScopeIds { workspace: tenant.workspace_slug.to_string(), tenant: Some(tenant.external_id) }
            }
            Self::Workspace(workspace) => ScopeIds { workspace: workspace.slug.to_string(), tenant: None },
        }
    }
}

/// A request with its names resolved and its inputs normalised: all that makes its identity.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The operation.
    pub operation: Operation,
    /// What it is about.
    pub subject: Subject,
    /// Normalised.
    pub inputs: Inputs,
    /// What makes it the same as another.
    pub identity: IdentityHash,
}

impl Resolved {
    fn new(operation: Operation, subject: Subject, inputs: Inputs) -> Self {
        let identity = identity::hash(operation, &subject.scope(), &inputs);
        Self { operation, subject, inputs, identity }
    }

    /// The canonical JSON that is hashed.
    pub fn canonical(&self) -> Vec<u8> {
        identity::canonical(self.operation, &self.subject.scope(), &self.inputs)
    }

    /// The request that the registry decides on. `explained` is what the run's context says beside its inputs.
    fn into_request(self, by: &Initiator, force: bool, explained: Map<String, Value>) -> Request {
        let mut context = explained;
        context.insert("identity_version".to_owned(), json!(IDENTITY_VERSION));
        context.insert("inputs".to_owned(), self.inputs.to_json());
        if force {
            context.insert("forced_by".to_owned(), json!(by.name));
        }
        Request {
            workspace_id: self.subject.workspace_id(),
            tenant_id: self.subject.tenant_id(),
            user_id: by.user_id,
            initiator_name: by.name.clone(),
            operation: self.operation,
            identity: self.identity,
            context,
            force,
        }
    }
}

/// A request that has passed every check. Its identity can be asked about before the rest of a new run is made of it:
/// most requests are duplicates, and those need no more.
#[derive(Clone, Debug)]
pub struct Prepared {
    resolved: Resolved,
    force: bool,
    context: Option<Map<String, Value>>,
}

impl Prepared {
    /// What makes it the same as another.
    pub fn identity(&self) -> IdentityHash {
        self.resolved.identity
    }

    /// The operation.
    pub fn operation(&self) -> Operation {
        self.resolved.operation
    }

    /// Whether it skips the cooldown.
    pub fn force(&self) -> bool {
        self.force
    }

    /// Whether what it names is there, where its operation names anything: to be asked of the ledger before admission,
    /// and only when nobody is known to hold its identity.
    ///
    /// # Errors
    /// As [`restore::check_named`].
    pub async fn check_named(&self, store: &Store) -> Result<(), IntakeError> {
        restore::check_named(store, &self.resolved, self.force).await
    }

    /// The request that the registry decides on.
    pub fn into_request(self, by: &Initiator) -> Request {
        let mut explained = Map::new();
        if let Some(given) = self.context {
            explained.insert("request_context".to_owned(), context::sanitised(given));
        }
        self.resolved.into_request(by, self.force, explained)
    }
}

/// Checks a client's request. The caller's own context may have `context_bytes_max` bytes of JSON
/// (`admission.context_bytes_max`).
///
/// # Errors
/// [`IntakeError`], naming the field; nothing has been written.
pub async fn prepare(
    directory: &Directory,
    by: &Initiator,
    request: RunRequest,
    context_bytes_max: usize,
) -> Result<Prepared, IntakeError> {
    let resolved = resolve(directory, by, &request).await?;
    finish(resolved, request, context_bytes_max)
}

/// What [`prepare`] does once the names are resolved: pure.
fn finish(
    resolved: Resolved,
    request: RunRequest,
    context_bytes_max: usize,
) -> Result<Prepared, IntakeError> {
    let context = context::check(request.context, context_bytes_max)?;
    Ok(Prepared { resolved, force: request.force.unwrap_or(false), context })
}

/// Checks a client's request and makes the one that the registry decides on: [`prepare`],
/// [`Prepared::check_named`] and [`Prepared::into_request`] in one.
///
/// # Errors
/// As those.
pub async fn run_request(
    directory: &Directory,
    store: &Store,
    by: &Initiator,
    request: RunRequest,
    context_bytes_max: usize,
) -> Result<Request, IntakeError> {
    let prepared = prepare(directory, by, request, context_bytes_max).await?;
    prepared.check_named(store).await?;
    Ok(prepared.into_request(by))
}

/// Resolves the names of a request and normalises its inputs, without asking whether such a run can be had now.
///
/// # Errors
/// [`IntakeError`], naming the field.
pub async fn resolve(
    directory: &Directory,
    by: &Initiator,
    request: &RunRequest,
) -> Result<Resolved, IntakeError> {
    let operation: Operation = request.operation.parse().map_err(IntakeError::UnknownOperation)?;
    check_scope(operation, request)?;
    let subject = match operation.scope() {
        Scope::Tenant => Subject::Tenant(tenant(directory, by, request).await?),
        Scope::Workspace => Subject::Workspace(workspace(directory, by, request.workspace_id).await?),
    };
    Ok(Resolved::new(operation, subject, normalise(operation, &request.inputs)?))
}

/// A run of `ops.reconcile_adapter_runs` for a workspace that the caller names; a dry run lists what it would repair.
///
/// # Errors
/// [`IntakeError`] when the workspace is unknown, or the caller may not see it.
pub async fn reconcile(
    directory: &Directory,
    workspace_id: WorkspaceId,
    dry_run: bool,
    by: &Initiator,
) -> Result<Request, IntakeError> {
    Ok(reconcile_of(workspace(directory, by, Some(workspace_id)).await?, dry_run, by))
}

/// The same for a workspace at hand, for the daemon's own triggers: `by` is one of its labels.
pub fn reconcile_request(workspace: &Workspace, dry_run: bool, by: &str, user_id: Option<UserId>) -> Request {
    let by = Initiator { name: by.to_owned(), user_id, workspace: None };
    reconcile_of(WorkspaceFacts::from(workspace), dry_run, &by)
}

fn reconcile_of(workspace: WorkspaceFacts, dry_run: bool, by: &Initiator) -> Request {
    let resolved = Resolved::new(Operation::Reconcile, Subject::Workspace(workspace), Inputs::Reconcile);
    let mut explained = Map::new();
    if dry_run {
        explained.insert("dry_run".to_owned(), Value::Bool(true));
    }
    resolved.into_request(by, false, explained)
}

/// The same request as the one that `run` came from, forced: the cooldown is skipped, never the active rule.
///
/// # Errors
/// [`IntakeError`] when the caller may not see the run's workspace, its inputs cannot be read any more, or what they
/// name is gone.
pub async fn retry_of(
    directory: &Directory,
    store: &Store,
    run: &Run,
    by: &Initiator,
) -> Result<Request, IntakeError> {
    let resolved = resolve_run(directory, run, by).await?;
    restore::check_named(store, &resolved, true).await?;
    Ok(resolved.into_request(by, true, explained_again(run)))
}

/// A restore that puts back what the restore `run` replaced; a dry run shows what that would be.
///
/// # Errors
/// [`IntakeError::RunNotCompleted`], [`IntakeError::NothingToUndo`], and as [`retry_of`].
pub async fn undo_of(
    directory: &Directory,
    store: &Store,
    run: &Run,
    undo: Undo,
    by: &Initiator,
) -> Result<Request, IntakeError> {
    let subject = subject_of(directory, run, by).await?;
    restore::check_undo(run)?;
    let replaced = store.replaced_snapshot(run.id).await?;
    let inputs = restore::undo_inputs(run.id, replaced.as_ref(), undo)?;
    let resolved = Resolved::new(Operation::Restore, subject, Inputs::Restore(inputs));
    let explained = Map::from_iter([("undo_of".to_owned(), json!(run.id))]);
    Ok(resolved.into_request(by, undo.force, explained))
}

/// How to undo.
#[derive(Clone, Copy, Debug, Default)]
pub struct Undo {
    /// Plan only.
    pub dry_run: bool,
    /// Do what widens.
    pub allow_widening: bool,
    /// Skip the cooldown.
    pub force: bool,
}

/// A fetch of the types that `snapshot` has read: compared with it, it shows what has changed since.
///
/// # Errors
/// [`IntakeError`] when the caller may not see the snapshot's tenant, or the snapshot has read no type.
pub async fn drift_of(
    directory: &Directory,
    snapshot: &Snapshot,
    force: bool,
    by: &Initiator,
) -> Result<Request, IntakeError> {
    let tenant = directory.tenant(snapshot.tenant_id).await?.ok_or(IntakeError::TenantNotFound)?;
    let policy_types: BTreeSet<String> =
        snapshot.coverage.keys().filter(|key| policy_types::find(key).is_some()).cloned().collect();
    if policy_types.is_empty() {
        return Err(IntakeError::NothingToCompare(snapshot.id));
    }
    // What a fetch of everything has read is compared with a fetch of everything: one request, one identity.
    let is_everything = policy_types::readable().all(|known| policy_types.contains(known.key));
    let policy_types = (!is_everything).then_some(policy_types);
    let inputs = Inputs::Fetch(FetchInputs { policy_types, policy_ids: None });
    let resolved = Resolved::new(Operation::Fetch, Subject::Tenant(tenant), inputs);
    let explained = Map::from_iter([("drift_of".to_owned(), json!(snapshot.id))]);
    Ok(resolved.into_request(by, force, explained))
}

/// What [`resolve`] made of the request that `run` came from.
///
/// # Errors
/// As [`retry_of`].
pub async fn resolve_run(directory: &Directory, run: &Run, by: &Initiator) -> Result<Resolved, IntakeError> {
    let subject = subject_of(directory, run, by).await?;
    let inputs = Inputs::normalise(run.operation, run.context.get("inputs").unwrap_or(&Value::Null))
        .map_err(|source| IntakeError::InputsUnreadable { run: run.id, source })?;
    Ok(Resolved::new(run.operation, subject, inputs))
}

/// What a run is about, if the caller may see it.
async fn subject_of(directory: &Directory, run: &Run, by: &Initiator) -> Result<Subject, IntakeError> {
    if by.workspace.is_some_and(|own| own != run.workspace_id) {
        return Err(IntakeError::RunNotFound(run.id));
    }
    let subject = match run.tenant_id {
        Some(id) => directory.tenant(id).await?.map(Subject::Tenant),
        None => directory.workspace(run.workspace_id).await?.map(Subject::Workspace),
    };
    subject.ok_or(IntakeError::RunNotFound(run.id))
}

/// What a retry's context keeps of the first run's: a dry run stays one, an undo says of what.
fn explained_again(run: &Run) -> Map<String, Value> {
    let mut explained = Map::new();
    for key in ["request_context", "dry_run", "undo_of", "drift_of"] {
        if let Some(value) = run.context.get(key) {
            explained.insert(key.to_owned(), value.clone());
        }
    }
    explained.insert("retry_of".to_owned(), json!(run.id));
    explained
}

/// Whether the request names what the operation's scope asks for, and no more.
fn check_scope(operation: Operation, request: &RunRequest) -> Result<(), IntakeError> {
    let tenant_named = request.tenant_id.is_some() || request.tenant_external_id.is_some();
    match operation.scope() {
        Scope::Tenant if !tenant_named => Err(IntakeError::field(
            "tenant_id",
            format!(
                "{operation} works on a tenant: expected `tenant_id` or `tenant_external_id`, found neither"
            ),
        )),
        Scope::Workspace if tenant_named => Err(IntakeError::field(
            if request.tenant_id.is_some() { "tenant_id" } else { "tenant_external_id" },
            format!("{operation} works on a workspace: expected `workspace_id` alone, found a tenant"),
        )),
        Scope::Workspace if request.workspace_id.is_none() => Err(IntakeError::field(
            "workspace_id",
            format!("{operation} works on a workspace: expected `workspace_id`, found none"),
        )),
        Scope::Tenant | Scope::Workspace => Ok(()),
    }
}

/// The tenant that a request names, if the caller may see it and everything else that the request says agrees.
async fn tenant(
    directory: &Directory,
    by: &Initiator,
    request: &RunRequest,
) -> Result<TenantFacts, IntakeError> {
    let found = match (request.tenant_id, request.tenant_external_id) {
        (Some(id), _) => directory.tenant(id).await?,
        (None, Some(external_id)) => {
            directory.tenant_by_external_id(external_id, by.workspace.or(request.workspace_id)).await?
        }
        (None, None) => None,
    };
    let tenant = found
        .filter(|tenant| by.workspace.is_none_or(|own| own == tenant.workspace_id))
        .ok_or(IntakeError::TenantNotFound)?;
    agree(&tenant, request)?;
    Ok(tenant)
}

/// Whether all that a request says about its tenant is true of `tenant`.
fn agree(tenant: &TenantFacts, request: &RunRequest) -> Result<(), IntakeError> {
    if request.tenant_external_id.is_some_and(|external_id| external_id != tenant.external_id) {
        return Err(IntakeError::field(
            "tenant_external_id",
            format!("expected the directory id of tenant {}, found another", tenant.id),
        ));
    }
    if request.workspace_id.is_some_and(|workspace| workspace != tenant.workspace_id) {
        return Err(IntakeError::field(
            "workspace_id",
            format!("expected the workspace of tenant {}, found another", tenant.id),
        ));
    }
    Ok(())
}

/// A workspace, if the caller may see it.
async fn workspace(
    directory: &Directory,
    by: &Initiator,
    id: Option<WorkspaceId>,
) -> Result<WorkspaceFacts, IntakeError> {
    let visible = id.filter(|id| by.workspace.is_none_or(|own| own == *id));
    match visible {
        Some(id) => directory.workspace(id).await?.ok_or(IntakeError::WorkspaceNotFound),
        None => Err(IntakeError::WorkspaceNotFound),
    }
}

/// Normalises inputs; NUL is refused first, because PostgreSQL has no place for it in JSON, and one such request
/// would fail the transaction that others share.
fn normalise(operation: Operation, raw: &Value) -> Result<Inputs, IntakeError> {
    if let Some(field) = context::find_nul(raw, "inputs") {
        return Err(IntakeError::field(&field, "expected text without the character U+0000".to_owned()));
    }
    let inputs = Inputs::normalise(operation, raw).map_err(IntakeError::Input)?;
    let ids = match &inputs {
        Inputs::Fetch(inputs) => inputs.policy_ids.as_ref(),
        Inputs::Restore(inputs) => inputs.policy_ids.as_ref(),
        Inputs::Reconcile => None,
    };
    if ids.into_iter().flatten().any(|id| is_no_id(id)) {
        let problem =
            "expected ids of policies, found what looks like an e-mail address or a token; it was not kept";
        return Err(IntakeError::field("inputs.policy_ids", problem.to_owned()));
    }
    Ok(inputs)
}

/// Inputs are kept and shown as they are given (SPEC section 3), and no address or token may be (section 7): so what
/// looks like one, and like no policy's id, is refused.
fn is_no_id(text: &str) -> bool {
    let is_token = text.contains("eyJ") && text.matches('.').count() >= 2;
    text.contains('@') || is_token || text.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("bearer "))
}

#[cfg(test)]
mod tests;
