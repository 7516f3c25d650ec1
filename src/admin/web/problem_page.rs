//! Problems as pages, for browsers: the same status, code and sentence as programs get them, and what to do next.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Shell};
use super::parts::facts;
use super::visit::Visit;

/// Whether the one who asks is a browser that navigates.
pub fn wants_html(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The middleware around all pages: what a browser is answered as a problem becomes a page.
///
/// # Errors
/// What is no problem of ours.
pub async fn as_pages(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let is_problem =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    if !is_problem || !wants_html(response.request()) {
        return Ok(response);
    }
    let (request, response) = response.into_parts();
    Ok(ServiceResponse::new(request.clone(), as_page(&request, response)))
}

/// A problem as `application/problem+json` has it.
#[derive(Deserialize)]
struct Told {
    title: String,
    detail: String,
    code: String,
}

/// The page of a problem that was answered as JSON; its status and headers stay.
pub fn as_page(request: &HttpRequest, response: HttpResponse) -> HttpResponse {
    let (mut head, body) = response.into_parts();
    let bytes = body.try_into_bytes().unwrap_or_default();
    let told = serde_json::from_slice(&bytes).unwrap_or_else(|_| Told {
        title: "Something went wrong".to_owned(),
        detail: "see the daemon's log".to_owned(),
        code: "internal.unexpected".to_owned(),
    });
    let visit = Visit::of(request);
    let page = layout::page(Shell::bare(&visit, &told.title), panel(&told, head.status().as_u16(), &visit));
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    head.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    head.set_body(BoxBody::new(page.into_string()))
}

/// What went wrong, and what to do about it.
fn panel(told: &Told, status: u16, visit: &Visit) -> Markup {
    html! {
        section.panel aria-labelledby="problem" {
            div.empty {
                h1 #problem { (told.title) }
                p { (facts::sentence(&told.detail)) ". " span.code { "(" (told.code) ")" } }
                p { (next_step(status)) }
                div.actions {
                    @if visit.caller.is_some() {
                        @if let Some((to, label)) = list_of(&told.code) { a.button href=(to) { (label) } }
                        a.button href="/" { "To the overview" }
                    } @else {
                        a.button href="/login" { "Sign in" }
                    }
                }
            }
        }
    }
}

/// The list in which what was not found would stand.
fn list_of(code: &str) -> Option<(&'static str, &'static str)> {
    match code {
        "run.not_found" => Some(("/runs", "All runs")),
        "tenant.not_found" | "snapshot.not_found" => Some(("/tenants", "All tenants")),
        "schedule.not_found" => Some(("/schedules", "All schedules")),
        _ => None,
    }
}

fn next_step(status: u16) -> &'static str {
    match status {
        400 | 422 => "Go back, mend what is named above, and try again.",
        401 => "Sign in with a token of this daemon.",
        403 => "Ask somebody whose token may do this, or sign in with another token.",
        404 => {
            "The address may be mistyped, what it names may have been removed by retention, or belong to a workspace that this token does not see."
        }
        409 => "Go back and look at it again: it has changed in the meantime.",
        413 => "Send less at a time.",
        429 => "Wait a moment, then try again.",
        503 => "Nothing was written. Try again in a moment.",
        _ => "Try again; the daemon's log says more.",
    }
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use actix_web::test::TestRequest;

    use super::*;
    use crate::admin::problem::{Missing, Problem};

    #[test]
    fn a_problem_page_keeps_status_code_and_sentence() {
        let request = TestRequest::default().to_http_request();
        let response = as_page(&request, Problem::not_found(Missing::Run).error_response());
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "text/html; charset=utf-8");
        let body = response.into_body().try_into_bytes().unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("No such run") && text.contains("run.not_found"), "{text}");
    }

    #[test]
    fn a_program_is_not_taken_for_a_browser() {
        let asks = |accept: &str| {
            wants_html(&TestRequest::default().insert_header((ACCEPT, accept)).to_http_request())
        };
        assert!(asks("text/html,application/xhtml+xml"));
        assert!(!asks("application/json") && !asks("*/*"));
        assert!(!wants_html(&TestRequest::default().to_http_request()));
    }
}
