//! Counts each request and times its answer; and a span for it, where traces are wanted: method, route and status, never
//! a query, a header or a body.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::AdminState;
use crate::metrics::{Routed, Served};
use crate::telemetry::SPANS;

/// The middleware around everything.
pub(super) async fn request(
    state: web::Data<AdminState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let span = tracing::info_span!(
        target: SPANS,
        "request",
        otel.kind = "server",
        otel.name = Empty,
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.route = Empty,
        http.response.status_code = Empty,
    );
    let method = request.method().clone();
    let began = tokio::time::Instant::now();
    let answer = next.call(request).instrument(span.clone()).await;
    if let Ok(response) = &answer {
        // The pattern, not the path: routes are few.
        let route = response.request().match_pattern().unwrap_or_else(|| "unknown".to_owned());
        let status = response.status();
        let metrics = state.handle.metrics();
        let routed = Routed { method: known(&method), route: route.clone() };
        metrics.http_duration.get_or_create(&routed).observe(began.elapsed().as_secs_f64());
        let served = Served { method: routed.method, route: routed.route, status: class(status.as_u16()) };
        metrics.http_requests.get_or_create(&served).inc();
        if !span.is_disabled() {
            span.record("otel.name", format!("{} {route}", known(&method)));
            span.record("http.route", route);
            span.record("http.response.status_code", status.as_u16());
        }
        if status.is_server_error() {
            span.record("otel.status_code", "error");
        }
    }
    answer
}

/// Labels are few, whatever methods callers think of.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_few_whatever_is_asked() {
        assert_eq!(known(&Method::from_bytes(b"BREW").expect("a token")), "other");
        assert_eq!(
            (class(101), class(204), class(304), class(404), class(503)),
            ("1xx", "2xx", "3xx", "4xx", "5xx")
        );
    }
}
