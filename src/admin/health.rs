//! What monitors ask, without a token: is it up, does it admit work, its numbers.

use actix_web::http::header;
use actix_web::{HttpResponse, get, web};

use super::AdminState;
use crate::actors::Readiness;

/// The type of what Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process is up.
#[utoipa::path(
    tag = "health",
    security(()),
    responses((status = 200, body = String, content_type = "text/plain", description = "The process is up"))
)]
#[get("/healthz")]
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// The daemon admits work.
#[utoipa::path(
    tag = "health",
    security(()),
    responses(
        (status = 200, body = Readiness, description = "It admits work"),
        (status = 503, body = Readiness, description = "It does not, and why"),
    )
)]
#[get("/readyz")]
pub(super) async fn readyz(state: web::Data<AdminState>) -> HttpResponse {
    let readiness = state.handle.readiness();
    if readiness.ready {
        HttpResponse::Ok().json(readiness)
    } else {
        HttpResponse::ServiceUnavailable().json(readiness)
    }
}

/// The daemon's numbers, as OpenMetrics.
#[utoipa::path(
    tag = "health",
    security(()),
    responses((status = 200, body = String, content_type = "application/openmetrics-text", description = "Metrics"))
)]
#[get("/metrics")]
pub(super) async fn metrics(state: web::Data<AdminState>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, OPEN_METRICS)).body(state.handle.scrape())
}
