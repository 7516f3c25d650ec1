//! The plainest page: for the sign-in and for problems, where there is no caller yet to show a page to.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use maud::{Markup, html};

use super::problem::Problem;
use super::web::Visit;
use super::web::layout::{self, Shell};
use super::web::parts::icons;

/// A page with a title and something below it.
pub fn page(status: StatusCode, title: &str, content: Markup) -> HttpResponse {
    let visit = Visit::default();
    let markup = layout::page(
        Shell::bare(&visit, title),
        html! {
            div.door {
                div.brand { (icons::BRAND) "atlasd" }
                section.panel { div.body.stack { h1 { (title) } (content) } }
            }
        },
    );
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(markup.into_string())
}

/// A problem, for a person.
pub fn problem(problem: &Problem) -> HttpResponse {
    let status = problem.status_code();
    let title = status.canonical_reason().unwrap_or("Error");
    page(
        status,
        title,
        html! { div.note.bad role="alert" { (problem.detail()) } p { a href="/" { "To the overview" } } },
    )
}
