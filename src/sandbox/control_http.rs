//! The control API over HTTP; see [`super::control`] for its calls.

use std::time::Duration;

use actix_web::web::{self, Data, Json, Path};
use actix_web::{HttpResponse, Responder};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::control::{ControlError, SandboxControl};
use super::edits::{Edit, ScheduledEdit};
use super::faults::Fault;
use super::gates::{Gate, GateState};
use super::state::ReadDelay;

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFilter {
    name: String,
    platform: String,
    management: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    required: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Roles {
    roles: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OthersUse {
    #[serde(default)]
    calls: usize,
    #[serde(default)]
    writes: usize,
}

#[derive(Deserialize)]
struct Patience {
    #[serde(default)]
    wait_ms: u64,
}

/// The longest wait for a gate that one request asks for.
const PATIENCE_MAX: Duration = Duration::from_secs(600);

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
        .route("/read-delay", web::put().to(set_read_delay))
        .route("/gates", web::get().to(gates))
        .route("/gates", web::post().to(place_gate))
        .route("/gates/{gate}", web::get().to(gate_reached))
        .route("/gates/{gate}", web::delete().to(discard_gate))
        .route("/gates/{gate}/release", web::post().to(release_gate))
        .route("/edits", web::get().to(scheduled_edits))
        .route("/edits", web::post().to(schedule_edit))
        .route("/edits", web::delete().to(clear_scheduled_edits))
        .route("/tenants/{tenant}/writes", web::get().to(writes))
        .route("/tenants/{tenant}/approval", web::put().to(require_approval))
        .route("/tenants/{tenant}/roles", web::put().to(set_roles))
        .route("/tenants/{tenant}/others-use", web::post().to(others_use))
        .route("/tenants/{tenant}/filters", web::post().to(add_filter))
        .route("/tenants/{tenant}/filters/{filter}", web::delete().to(delete_filter))
        .route("/tenants/{tenant}/policies/{type}/{policy}/edit", web::post().to(edit))
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

async fn set_read_delay(control: Data<SandboxControl>, body: Json<ReadDelay>) -> impl Responder {
    control.set_read_delay(body.into_inner());
    HttpResponse::NoContent()
}

async fn gates(control: Data<SandboxControl>) -> impl Responder {
    Json(control.gates())
}

async fn place_gate(control: Data<SandboxControl>, body: Json<Gate>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"gate_id": control.place_gate(body.into_inner())}))
}

/// The gate's state, at the latest after `wait_ms`; a gate that was not reached is no error here.
async fn gate_reached(
    control: Data<SandboxControl>,
    gate: Path<u64>,
    patience: web::Query<Patience>,
) -> HttpResponse {
    let patience = Duration::from_millis(patience.wait_ms).min(PATIENCE_MAX);
    match control.gate_reached(*gate, patience).await {
        Err(ControlError::NotReached(..)) => answer(Ok(Some(json!({"state": GateState::Waiting})))),
        reached => answer(reached.map(|state| Some(json!({"state": state})))),
    }
}

async fn release_gate(control: Data<SandboxControl>, gate: Path<u64>) -> HttpResponse {
    answer(control.release_gate(*gate).map(|()| None))
}

async fn discard_gate(control: Data<SandboxControl>, gate: Path<u64>) -> HttpResponse {
    answer(control.discard_gate(*gate).map(|()| None))
}

async fn scheduled_edits(control: Data<SandboxControl>) -> impl Responder {
    Json(control.scheduled_edits())
}

async fn schedule_edit(control: Data<SandboxControl>, body: Json<ScheduledEdit>) -> HttpResponse {
    answer(control.schedule_edit(body.into_inner()).map(|()| None))
}

async fn clear_scheduled_edits(control: Data<SandboxControl>) -> impl Responder {
    control.clear_scheduled_edits();
    HttpResponse::NoContent()
}

async fn edit(
    control: Data<SandboxControl>,
    path: Path<(Uuid, String, String)>,
    body: Json<Edit>,
) -> HttpResponse {
    let (tenant, policy_type, policy_id) = path.into_inner();
    answer(control.edit(tenant, &policy_type, &policy_id, body.into_inner()).map(|()| None))
}

async fn writes(control: Data<SandboxControl>, tenant: Path<Uuid>) -> impl Responder {
    Json(control.writes_of(*tenant))
}

async fn require_approval(
    control: Data<SandboxControl>,
    tenant: Path<Uuid>,
    body: Json<Approval>,
) -> HttpResponse {
    answer(control.require_approval(*tenant, body.required).map(|()| None))
}

async fn set_roles(control: Data<SandboxControl>, tenant: Path<Uuid>, body: Json<Roles>) -> HttpResponse {
    answer(control.set_roles(*tenant, body.into_inner().roles).map(|()| None))
}

async fn others_use(
    control: Data<SandboxControl>,
    tenant: Path<Uuid>,
    body: Json<OthersUse>,
) -> impl Responder {
    control.others_use(*tenant, body.calls, body.writes);
    HttpResponse::NoContent()
}

async fn add_filter(
    control: Data<SandboxControl>,
    tenant: Path<Uuid>,
    body: Json<NewFilter>,
) -> HttpResponse {
    let NewFilter { name, platform, management } = body.into_inner();
    let added = control.add_filter(*tenant, &name, &platform, &management);
    answer(added.map(|filter_id| Some(json!({"filter_id": filter_id}))))
}

async fn delete_filter(control: Data<SandboxControl>, path: Path<(Uuid, String)>) -> HttpResponse {
    let (tenant, filter_id) = path.into_inner();
    answer(control.delete_filter(tenant, &filter_id).map(|()| None))
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
