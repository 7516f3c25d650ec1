//! Light or dark: a choice that a browser keeps. The script makes it without a round trip; this is for the others.

use actix_web::cookie::{Cookie, SameSite, time::Duration};
use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, post};
use serde::Deserialize;

use super::visit::{THEME_COOKIE, Theme};
use crate::admin::auth::Viewer;
use crate::admin::session::{Posted, is_local};

/// The form of the toggle.
#[derive(Debug, Deserialize)]
pub struct Choice {
    theme: String,
    next: String,
}

/// Keeps the choice, and goes back to where it was made.
#[post("/theme")]
pub async fn choose(_caller: Viewer, choice: Posted<Choice>) -> HttpResponse {
    let Choice { theme, next } = choice.0;
    let theme = Theme::parse(&theme);
    let cookie = Cookie::build(THEME_COOKIE, theme.as_str())
        .path("/")
        .same_site(SameSite::Strict)
        .max_age(Duration::days(365))
        .finish();
    let to = if is_local(&next) { next.as_str() } else { "/" };
    HttpResponse::SeeOther().insert_header((LOCATION, to)).cookie(cookie).finish()
}
