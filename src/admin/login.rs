//! Signing in to the web page with a token, and out again.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use maud::html;
use serde::Deserialize;

use super::AdminState;
use super::audit;
use super::auth::{self, Place, Viewer};
use super::body::{Arrived, Query};
use super::plain;
use super::problem::Problem;
use super::session::{self, SessionId};
use crate::config::HttpConfig;
use crate::domain::audit::{Action, Change, Object};

/// Where to go after the sign-in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoginQuery {
    next: String,
}

/// The form of a sign-in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginForm {
    token: String,
    #[serde(default)]
    next: String,
}

/// A target on this host; the overview for any other.
fn local(next: &str) -> &str {
    if session::is_local(next) { next } else { "/" }
}

/// Shows the form.
#[get("/login")]
pub(super) async fn show(query: Query<LoginQuery>) -> HttpResponse {
    form(StatusCode::OK, local(&query.0.next), None)
}

fn form(status: StatusCode, next: &str, problem: Option<&str>) -> HttpResponse {
    plain::page(
        status,
        "Sign in",
        html! {
            @if let Some(problem) = problem { div.note.bad role="alert" { (problem) } }
            form method="post" action="/login" {
                input type="hidden" name="next" value=(next);
                div.field {
                    label for="token" { "Token" }
                    input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
                }
                button.primary { "Sign in" }
            }
            div {
                p.hint {
                    code { "atlasd demo" } " prints a token when it starts. An installation makes one, and shows it once, with"
                }
                pre { "atlasd token create --name " span.blank { "NAME" } " " span.nowrap { "--role operator" } }
            }
        },
    )
}

/// Begins a session. Its id is always a fresh one, whatever cookie came along.
#[post("/login")]
pub(super) async fn log_in(
    state: web::Data<AdminState>,
    request: HttpRequest,
    body: Arrived,
) -> HttpResponse {
    match begin(&state, &request, &body.0).await {
        Ok(response) => response,
        Err(problem) if problem.is_unauthorised() => {
            let next = session::form::<LoginForm>(&body.0).map(|form| form.next).unwrap_or_default();
            form(StatusCode::UNAUTHORIZED, local(&next), Some("This is no token of this daemon."))
        }
        Err(problem) => plain::problem(&problem),
    }
}

async fn begin(state: &AdminState, request: &HttpRequest, body: &[u8]) -> Result<HttpResponse, Problem> {
    session::check_site(request.headers())?;
    let form: LoginForm = session::form(body)?;
    let place = Place::of(state, request);
    let token = match auth::known_token(&place, form.token.trim()).await {
        Ok(token) => token,
        Err(problem) => {
            if problem.is_unauthorised() {
                refused(state, &place).await;
            }
            return Err(problem);
        }
    };
    // RACE: the token may go between the two; then the session has nothing to refer to, and the ledger refuses it.
    let session = SessionId::fresh();
    let config = state.config();
    state.store.begin_session(session.sha256(), token.id, session::limits(&config)).await?;
    if let Some(old) = SessionId::of(request.headers()) {
        end(state, old).await?;
    }
    let change = Change::new(Action::SessionBegun).of(Object::Token, token.id.0);
    state.audit.note(change.in_workspace(token.workspace_id), place.asker(token.name)).await;
    Ok(HttpResponse::build(StatusCode::SEE_OTHER)
        .insert_header((header::SET_COOKIE, session.set_cookie(&config)))
        .insert_header((header::LOCATION, local(&form.next)))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish())
}

/// Keeps that somebody tried a token that is none; so many in a minute and no more, from wherever they come.
async fn refused(state: &AdminState, place: &Place<'_>) {
    let (limits, now, all) = (HttpConfig::default(), Instant::now(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if state.refusals.wait(all, &limits, now).is_none() {
        state.refusals.failed(all, &limits, now);
        let change = Change::new(Action::SessionRefused).refused();
        state.audit.note(change, place.asker(String::new())).await;
    }
}

async fn end(state: &AdminState, session: SessionId) -> Result<(), Problem> {
    state.store.end_session(session.sha256()).await?;
    state.sessions.note(session.sha256(), None, Instant::now());
    Ok(())
}

/// Ends the session.
#[post("/logout")]
pub(super) async fn log_out(
    caller: Viewer,
    state: web::Data<AdminState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    if let Some(session) = SessionId::of(request.headers()) {
        end(&state, session).await?;
        audit::note(&state, Change::new(Action::SessionEnded).in_workspace(caller.0.workspace)).await;
    }
    Ok(HttpResponse::build(StatusCode::SEE_OTHER)
        .insert_header((header::SET_COOKIE, session::forget_cookie(&state.config())))
        .insert_header((header::LOCATION, "/login"))
        .finish())
}
