//! The actor tree and the instances.

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::AdminState;
use super::auth::{Principal, Viewer};
use super::problem::Problem;
use crate::actors::{ActorReport, SystemReport};
use crate::ids::TenantId;
use crate::store::Instance;

/// The state of the daemon.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SystemBody {
    #[serde(flatten)]
    report: SystemReport,
    /// Every process seen in the last day, newest first.
    instances: Vec<Instance>,
}

/// Shows the actor tree of the instance that answers, and all instances. A token that is bound to a workspace sees no
/// tenant of others, and of actors that work for all workspaces neither queue nor last pass.
#[utoipa::path(
    operation_id = "show_system",
    tag = "system",
    responses(
        (status = 200, body = SystemBody, description = "The daemon"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/system")]
pub(super) async fn show(caller: Viewer, state: web::Data<AdminState>) -> Result<HttpResponse, Problem> {
    let (report, instances) = visible_system(&state, &caller.0).await?;
    Ok(HttpResponse::Ok().json(SystemBody { report, instances }))
}

/// The actor tree and all instances, as far as the caller may see them.
pub(super) async fn visible_system(
    state: &AdminState,
    caller: &Principal,
) -> Result<(SystemReport, Vec<Instance>), Problem> {
    let instances = state.store.instances().await?;
    let mut report = state.handle.system().await;
    if caller.workspace.is_some() {
        hide_foreign_tenants(state, caller, &mut report).await?;
        report.actors.iter_mut().filter(|actor| tenant_of(&actor.name).is_none()).for_each(hide_counts);
    }
    Ok((report, instances))
}

/// What an actor does for all workspaces together tells how much the others do: a caller that is bound to one sees that
/// it lives, and how it is.
fn hide_counts(actor: &mut ActorReport) {
    actor.queue = 0;
    actor.last_pass_at = None;
    actor.last_pass = None;
}

/// A tenant's actor tells that the tenant exists and is at work: it is shown to those who see the tenant.
async fn hide_foreign_tenants(
    state: &AdminState,
    caller: &Principal,
    report: &mut SystemReport,
) -> Result<(), Problem> {
    let mut visible = Vec::with_capacity(report.actors.len());
    for actor in std::mem::take(&mut report.actors) {
        let shown = match tenant_of(&actor.name) {
            None => true,
            Some(tenant) => {
                state.directory.tenant(tenant).await?.is_some_and(|facts| caller.sees(facts.workspace_id))
            }
        };
        if shown {
            visible.push(actor);
        }
    }
    report.actors = visible;
    Ok(())
}

/// The tenant that an actor works for, by its name.
pub(super) fn tenant_of(name: &str) -> Option<TenantId> {
    name.strip_prefix("tenant:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_actors_are_known_by_their_name() {
        assert_eq!(tenant_of("tenant:12"), Some(TenantId(12)));
        assert_eq!(tenant_of("registry"), None);
        assert_eq!(tenant_of("tenant:x"), None);
    }
}
