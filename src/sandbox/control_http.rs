//! The control API over HTTP; see [`super::control`] for its calls.

use actix_web::web::{self, Data, Json, Path};
use actix_web::{HttpResponse, Responder};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::control::{ControlError, SandboxControl};
use super::faults::Fault;

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Box<Fault>),
    Many(Vec<Fault>),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpireTokens {
    tenant: Option<Uuid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPolicy {
    policy_type: String,
    name: Option<String>,
    #[serde(default)]
    assignments: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
}

/// The routes below `/_sandbox`.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/tenants", web::get().to(tenants))
        .route("/stats", web::get().to(stats))
        .route("/stats", web::delete().to(reset_stats))
        .route("/requests", web::get().to(requests))
        .route("/faults", web::get().to(faults))
        .route("/faults", web::post().to(add_faults))
        .route("/faults", web::delete().to(clear_faults))
        .route("/expire-tokens", web::post().to(expire_tokens))
        .route("/tenants/{tenant}/policies", web::get().to(policies))
        .route("/tenants/{tenant}/policies", web::post().to(add_policy))
        .route("/tenants/{tenant}/policies/{type}/{policy}/assignments", web::post().to(set_assignments))
        .route("/tenants/{tenant}/policies/{type}/{policy}", web::delete().to(delete_policy))
        .route("/tenants/{tenant}/groups", web::post().to(add_group))
        .route("/tenants/{tenant}/groups/{group}", web::delete().to(delete_group));
}

async fn tenants(control: Data<SandboxControl>) -> impl Responder {
    Json(control.tenants())
}

async fn stats(control: Data<SandboxControl>) -> impl Responder {
    Json(control.stats())
}

async fn reset_stats(control: Data<SandboxControl>) -> impl Responder {
    control.reset_stats();
    HttpResponse::NoContent()
}

async fn requests(control: Data<SandboxControl>) -> impl Responder {
    Json(control.requests())
}

async fn faults(control: Data<SandboxControl>) -> impl Responder {
    Json(control.faults())
}

async fn add_faults(control: Data<SandboxControl>, body: Json<OneOrMany>) -> impl Responder {
    match body.into_inner() {
        OneOrMany::One(fault) => control.add_fault(*fault),
        OneOrMany::Many(faults) => faults.into_iter().for_each(|fault| control.add_fault(fault)),
    }
    HttpResponse::NoContent()
}

async fn clear_faults(control: Data<SandboxControl>) -> impl Responder {
    control.clear_faults();
    HttpResponse::NoContent()
}

async fn expire_tokens(control: Data<SandboxControl>, body: web::Bytes) -> HttpResponse {
    let wanted = if body.is_empty() { Ok(ExpireTokens::default()) } else { serde_json::from_slice(&body) };
    match wanted {
        Ok(ExpireTokens { tenant }) => {
            HttpResponse::Ok().json(json!({"expired": control.expire_tokens(tenant)}))
        }
        Err(_) => HttpResponse::BadRequest().json(json!({"error": "expected nothing or {\"tenant\": UUID}"})),
    }
}

async fn policies(control: Data<SandboxControl>, tenant: Path<Uuid>) -> HttpResponse {
    let truth = control.expected(*tenant);
    let item = |((policy_type, policy_id), assignments)| json!({"policy_type": policy_type, "policy_id": policy_id, "assignments": Value::from(assignments)});
    HttpResponse::Ok().json(truth.into_iter().map(item).collect::<Vec<_>>())
}

async fn add_policy(
    control: Data<SandboxControl>,
    tenant: Path<Uuid>,
    body: Json<NewPolicy>,
) -> HttpResponse {
    let NewPolicy { policy_type, name, assignments } = body.into_inner();
    let added = control.add_policy(*tenant, &policy_type, name.as_deref(), assignments);
    answer(added.map(|policy_id| Some(json!({"policy_id": policy_id}))))
}

async fn set_assignments(
    control: Data<SandboxControl>,
    path: Path<(Uuid, String, String)>,
    body: Json<Vec<Value>>,
) -> HttpResponse {
    let (tenant, policy_type, policy_id) = path.into_inner();
    answer(control.set_assignments(tenant, &policy_type, &policy_id, body.into_inner()).map(|()| None))
}

async fn delete_policy(control: Data<SandboxControl>, path: Path<(Uuid, String, String)>) -> HttpResponse {
    let (tenant, policy_type, policy_id) = path.into_inner();
    answer(control.delete_policy(tenant, &policy_type, &policy_id).map(|()| None))
}

async fn add_group(control: Data<SandboxControl>, tenant: Path<Uuid>, body: Json<NewGroup>) -> HttpResponse {
    answer(control.add_group(*tenant, &body.name).map(|group_id| Some(json!({"group_id": group_id}))))
}

async fn delete_group(control: Data<SandboxControl>, path: Path<(Uuid, String)>) -> HttpResponse {
    let (tenant, group_id) = path.into_inner();
    answer(control.delete_group(tenant, &group_id).map(|()| None))
}

fn answer(result: Result<Option<Value>, ControlError>) -> HttpResponse {
    match result {
        Ok(Some(body)) => HttpResponse::Ok().json(body),
        Ok(None) => HttpResponse::NoContent().finish(),
        Err(error) => HttpResponse::NotFound().json(json!({"error": error.to_string()})),
    }
}
