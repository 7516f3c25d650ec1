//! Requests of schedules: like any other, with the schedule in the run's context and `schedule` as its initiator.

use serde_json::{Map, Value, json};

use super::{Directory, Initiator, IntakeError, RunRequest, normalise, resolve, restore};
use crate::domain::admission::Request;
use crate::domain::identity::Inputs;
use crate::domain::operation::Operation;
use crate::domain::schedule;
use crate::ids::TenantId;
use crate::store::{Ask, Store};

/// The initiator of every run that a schedule asked for (SPEC section 2).
pub const INITIATOR: &str = "schedule";

/// The inputs of a schedule in their normal form, checked as those of any request, and that no person is needed for them.
///
/// # Errors
/// [`IntakeError`], naming the field.
pub fn inputs(operation: Operation, has_tenant: bool, raw: &Value) -> Result<Value, IntakeError> {
    schedule::inputs(operation, has_tenant, raw).map_err(IntakeError::Input)?;
    Ok(normalise(operation, raw)?.to_json())
}

/// Checks that what a schedule's inputs name is there now: one that is not there today is a mistake, whatever else may go
/// until the schedule is due.
///
/// # Errors
/// [`IntakeError`], naming the field.
pub async fn check_named(
    store: &Store,
    tenant: Option<TenantId>,
    operation: Operation,
    inputs: &Value,
) -> Result<(), IntakeError> {
    match (Inputs::normalise(operation, inputs).map_err(IntakeError::Input)?, tenant) {
        (Inputs::Restore(inputs), Some(tenant)) => restore::look_up(store, &inputs, tenant).await,
        _ => Ok(()),
    }
}

/// The request that a schedule is to make now.
///
/// # Errors
/// [`IntakeError`] when the tenant or workspace is gone, or what the inputs name (a snapshot, say).
pub async fn request_of(directory: &Directory, store: &Store, ask: &Ask) -> Result<Request, IntakeError> {
    let by = Initiator { name: INITIATOR.to_owned(), user_id: None, workspace: Some(ask.workspace_id) };
    let request = RunRequest {
        operation: ask.operation.as_str().to_owned(),
        tenant_id: ask.tenant_id,
        workspace_id: Some(ask.workspace_id),
        inputs: ask.inputs.clone(),
        ..RunRequest::default()
    };
    let resolved = resolve(directory, &by, &request).await?;
    restore::check_named(store, &resolved, false).await?;
    Ok(resolved.into_request(&by, false, explained(ask)))
}

/// What the run's context says of the schedule.
fn explained(ask: &Ask) -> Map<String, Value> {
    let schedule = json!({
        "id": ask.schedule,
        "name": ask.name,
        "occurrence_at": ask.occurrence_at,
        "catch_up": ask.catch_up,
    });
    Map::from_iter([("schedule".to_owned(), schedule)])
}
