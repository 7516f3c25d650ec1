//! From the configuration's `[schedules]` to the ledger's: the names are looked up, and what is wrong is told.

use uuid::Uuid;

use crate::config::{Config, ScheduleConfig};
use crate::ids::{TenantId, WorkspaceId};
use crate::intake::{IntakeError, scheduled};
use crate::store::{NewSchedule, ScheduleSource, Store, StoreError};

/// Makes the ledger's schedules of the configuration those of `config`; whether one of them waits, for what it names or
/// for its own name, which is told when the configuration `is_new` and not at every further look.
///
/// # Errors
/// [`StoreError`] when the ledger cannot be asked or written.
pub async fn take_over(store: &Store, config: &Config, is_new: bool) -> Result<bool, StoreError> {
    let mut wanted = Vec::new();
    let mut waits = false;
    for (name, schedule) in &config.schedules {
        match resolve(store, name, schedule).await? {
            Ok(new) => {
                if is_new {
                    warn_of_absent(store, &new).await?;
                }
                wanted.push(new);
            }
            Err(problem) => {
                waits = true;
                if !is_new {
                    continue;
                }
                tracing::warn!(
                    schedule.name = name.as_str(),
                    "[schedules.{name}] {problem}; the schedule waits until there is one"
                );
            }
        }
    }
    let done = store.configure_schedules(wanted).await?;
    waits |= !done.taken.is_empty();
    for name in done.taken.iter().filter(|_| is_new) {
        tracing::error!(
            schedule.name = name.as_str(),
            "[schedules.{name}] has the name of a schedule that was added over the endpoint, and waits until that is \
             gone: rename or remove one of them"
        );
    }
    if !done.added.is_empty() || !done.changed.is_empty() || !done.removed.is_empty() {
        tracing::info!(
            added = ?done.added, changed = ?done.changed, removed = ?done.removed,
            "the schedules of the configuration were taken over"
        );
    }
    Ok(waits)
}

/// Says that a schedule names what is not there, a snapshot say: its requests will fail until that changes.
async fn warn_of_absent(store: &Store, new: &NewSchedule) -> Result<(), StoreError> {
    match scheduled::check_named(store, new.tenant_id, new.operation, &new.inputs).await {
        Ok(()) => {}
        Err(IntakeError::Store(error)) => return Err(error),
        Err(error) => tracing::warn!(
            schedule.name = new.name.as_str(),
            error = &error as &dyn std::error::Error,
            "[schedules.{}] asks for what cannot be had; its requests will fail",
            new.name
        ),
    }
    Ok(())
}

/// The schedule with its names looked up, or what is not there.
async fn resolve(
    store: &Store,
    name: &str,
    schedule: &ScheduleConfig,
) -> Result<Result<NewSchedule, String>, StoreError> {
    let Some(workspace) = store.workspace_by_slug(&schedule.workspace).await? else {
        return Ok(Err(format!("workspace: no workspace has the slug `{}`", schedule.workspace)));
    };
    let tenant_id = match &schedule.tenant {
        None => None,
        Some(tenant) => match tenant_of(store, workspace.id, tenant).await? {
            Ok(id) => Some(id),
            Err(problem) => return Ok(Err(problem)),
        },
    };
    let checked = schedule.operation().and_then(|operation| Ok((operation, schedule.normalised()?)));
    let (operation, inputs) = match checked {
        Ok(checked) => checked,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Ok(Ok(NewSchedule {
        workspace_id: workspace.id,
        tenant_id,
        name: name.to_owned(),
        source: ScheduleSource::Config,
        operation,
        inputs,
        cron: schedule.cron.clone(),
        timezone: schedule.timezone.clone(),
        jitter: *schedule.jitter,
        enabled: schedule.enabled,
        created_by: "configuration".to_owned(),
    }))
}

/// The one tenant of the workspace with a directory id or a name.
async fn tenant_of(
    store: &Store,
    workspace: WorkspaceId,
    tenant: &str,
) -> Result<Result<TenantId, String>, StoreError> {
    let found = match tenant.parse::<Uuid>() {
        Ok(external_id) => store.tenants_by_external_id(external_id, Some(workspace)).await?,
        Err(_) => store.tenants_by_name(workspace, tenant).await?,
    };
    Ok(match found.as_slice() {
        [one] => Ok(one.id),
        [] => Err(format!("tenant: no tenant of the workspace has the directory id or name `{tenant}`")),
        _ => Err(format!("tenant: several tenants have the name `{tenant}`: expected a directory id")),
    })
}
