//! Tenants: list, look at, add, change.

use actix_web::{HttpResponse, get, patch, post, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::AdminState;
use super::audit;
use super::auth::{Admin, Principal, Viewer};
use super::body::{self, Body, Query};
use super::list::List;
use super::problem::{Missing, Problem};
use crate::config::Config;
use crate::domain::audit::{Action, Change, Object};
use crate::domain::names;
use crate::ids::{TenantId, WorkspaceId};
use crate::store::{NewTenant, Tenant, TenantChange};

/// Which tenants.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TenantsQuery {
    /// Of a workspace.
    #[param(value_type = Option<i64>)]
    workspace_id: Option<String>,
    /// Items at the most; 1 to `http.page_max`, default `http.page_default`.
    #[param(value_type = Option<usize>)]
    limit: Option<String>,
    /// The `next_cursor` of the part before.
    cursor: Option<String>,
}

/// Lists the tenants that the caller sees, oldest first.
#[utoipa::path(
    operation_id = "list_tenants",
    tag = "tenants",
    params(TenantsQuery),
    responses(
        (status = 200, body = List<Tenant>, description = "A part of the list"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/tenants")]
pub(super) async fn list(
    caller: Viewer,
    state: web::Data<AdminState>,
    query: Query<TenantsQuery>,
) -> Result<HttpResponse, Problem> {
    let TenantsQuery { workspace_id, limit, cursor } = query.0;
    let page = body::page(limit.as_deref(), cursor, &state.config().http)?;
    let asked: Option<WorkspaceId> =
        body::parameter("workspace_id", workspace_id.as_deref(), "the number of an id")?;
    let workspace = caller.0.narrow(asked)?;
    Ok(HttpResponse::Ok().json(List::from(state.store.tenants(workspace, page).await?)))
}

/// A tenant to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "workspace_id": 1, "external_id": "3f2b8c1e-9d47-4a5b-8e21-0c6d7f8a9b10",
    "name": "Contoso", "cloud": "global", "credential": "contoso-app"
}))]
pub(super) struct AddTenant {
    /// The owner.
    workspace_id: WorkspaceId,
    /// The directory id, immutable.
    external_id: Uuid,
    /// For people.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
    )]
    name: String,
    /// A cloud of the configuration, or a built-in one.
    cloud: String,
    /// A credential of the configuration.
    credential: String,
}

/// Adds a tenant to a workspace.
#[utoipa::path(
    operation_id = "add_tenant",
    tag = "tenants",
    request_body = AddTenant,
    responses(
        (status = 201, body = Tenant, description = "Added"),
        (status = 409, body = super::problem::Problem, content_type = "application/problem+json",
         description = "The workspace has a tenant with this directory id"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[post("/tenants")]
pub(super) async fn add(
    caller: Admin,
    state: web::Data<AdminState>,
    tenant: Body<AddTenant>,
) -> Result<HttpResponse, Problem> {
    let AddTenant { workspace_id, external_id, name, cloud, credential } = tenant.0;
    let owner =
        if caller.0.sees(workspace_id) { state.directory.workspace(workspace_id).await? } else { None };
    owner.ok_or_else(|| Problem::not_found(Missing::Workspace))?;
    let name = names::name(&name)?;
    check_known(&state.config(), Some(&cloud), Some(&credential))?;
    let tenant = NewTenant { workspace_id, external_id, name, cloud, credential };
    let added = state.store.add_tenant(tenant).await?;
    state.directory.added(&added);
    tracing::info!(
        by = %caller.0.name, workspace.id = workspace_id.0, tenant.id = added.id.0, "tenant added"
    );
    let change = Change::new(Action::TenantAdded).of(Object::Tenant, added.id.0);
    audit::note(&state, change.in_workspace(Some(workspace_id))).await;
    Ok(HttpResponse::Created().json(added))
}

/// Shows a tenant.
#[utoipa::path(
    operation_id = "show_tenant",
    tag = "tenants",
    params(("id" = i64, Path, description = "The tenant")),
    responses(
        (status = 200, body = Tenant, description = "The tenant"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[get("/tenants/{id}")]
pub(super) async fn show(
    caller: Viewer,
    state: web::Data<AdminState>,
    id: web::Path<TenantId>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(visible_tenant(&state, &caller.0, *id).await?))
}

/// Changes a tenant's name, cloud or credential; what is left out stays.
#[utoipa::path(
    operation_id = "change_tenant",
    tag = "tenants",
    params(("id" = i64, Path, description = "The tenant")),
    request_body = TenantChange,
    responses(
        (status = 200, body = Tenant, description = "As it is now"),
        (status = "default", body = super::problem::Problem, content_type = "application/problem+json",
         description = "A problem"),
    )
)]
#[patch("/tenants/{id}")]
pub(super) async fn update(
    caller: Admin,
    state: web::Data<AdminState>,
    id: web::Path<TenantId>,
    change: Body<TenantChange>,
) -> Result<HttpResponse, Problem> {
    let change = change.0;
    let before = visible_tenant(&state, &caller.0, *id).await?;
    if let Some(name) = &change.name {
        names::name(name)?;
    }
    check_known(&state.config(), change.cloud.as_deref(), change.credential.as_deref())?;
    let fields = changed_fields(&change);
    if fields.is_empty() {
        return Ok(HttpResponse::Ok().json(before));
    }
    let now = state.store.change_tenant(before.id, change).await?;
    let now = now.ok_or_else(|| Problem::not_found(Missing::Tenant))?;
    tracing::info!(by = %caller.0.name, tenant.id = now.id.0, ?fields, "tenant changed");
    let change = Change::new(Action::TenantChanged).of(Object::Tenant, now.id.0).with("changed", fields);
    audit::note(&state, change.in_workspace(Some(now.workspace_id))).await;
    Ok(HttpResponse::Ok().json(now))
}

/// A tenant that the caller may see.
pub(super) async fn visible_tenant(
    state: &AdminState,
    caller: &Principal,
    id: TenantId,
) -> Result<Tenant, Problem> {
    caller.visible(state.store.tenant(id).await?, |tenant| tenant.workspace_id, Missing::Tenant)
}

/// A tenant's cloud and credential must be ones that its runs will find.
fn check_known(config: &Config, cloud: Option<&str>, credential: Option<&str>) -> Result<(), Problem> {
    if let Some(name) = cloud
        && config.cloud(name).is_none()
    {
        return Err(Problem::invalid(
            "cloud",
            &format!("expected a built-in cloud or one of the configuration's [clouds], found `{name}`"),
        ));
    }
    if let Some(name) = credential
        && !config.credentials.contains_key(name)
    {
        return Err(Problem::invalid(
            "credential",
            &format!("expected one of the configuration's [credentials], found `{name}`"),
        ));
    }
    Ok(())
}

fn changed_fields(change: &TenantChange) -> Vec<&'static str> {
    [
        ("name", change.name.is_some()),
        ("cloud", change.cloud.is_some()),
        ("credential", change.credential.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, changed)| changed.then_some(field))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CredentialConfig;

    fn config() -> Config {
        let mut config = Config::default();
        let credential = CredentialConfig {
            client_id: "app".to_owned(),
            client_secret_env: Some("SECRET".to_owned()),
            client_secret_file: None,
            certificate_file: None,
            private_key_file: None,
        };
        config.credentials.insert("contoso-app".to_owned(), credential);
        config
    }

    #[test]
    fn known_clouds_and_credentials_pass() {
        assert!(check_known(&config(), Some("global"), Some("contoso-app")).is_ok());
        assert!(check_known(&config(), None, None).is_ok());
    }

    #[test]
    fn an_unknown_cloud_or_credential_is_named() {
        let json = |problem| serde_json::to_value::<Problem>(problem).unwrap();
        let cloud = json(check_known(&config(), Some("moon"), Some("contoso-app")).unwrap_err());
        assert_eq!((cloud["status"].as_u64(), cloud["field"].as_str()), (Some(422), Some("cloud")));
        let credential = json(check_known(&config(), Some("global"), Some("nobody")).unwrap_err());
        assert_eq!(credential["field"], "credential");
    }

    #[test]
    fn the_audit_names_what_changed() {
        let change = TenantChange { cloud: Some("global".to_owned()), ..TenantChange::default() };
        assert_eq!(changed_fields(&change), ["cloud"]);
        assert!(changed_fields(&TenantChange::default()).is_empty());
    }
}
