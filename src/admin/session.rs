//! Sessions of the web page: a browser gives a token once and gets a cookie, which stands for that token until the
//! session ends (`http.session_ttl`, `http.session_idle`), somebody signs out, or the token is withdrawn.
//!
//! The id of a session is 32 random bytes, made at sign-in and never taken from a request; the ledger has its SHA-256,
//! the log nothing of it. What proves that a form comes from our own page is derived from the id, so it is stored
//! nowhere, good on every instance, and ends with the session.
//!
//! For pages: [`page_door`] around their scope, [`Csrf`] for the hidden field of each form, [`Posted`] to take one.

use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError, web};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::AdminState;
use super::audit::ASKER;
use super::auth::{self, Place, Principal};
use super::body;
use super::problem::Problem;
use crate::config::Config;
use crate::domain::audit::Via;
use crate::ids::random_bytes;
use crate::store::{SessionLimits, SessionLook};

/// The cookie that holds a session's id.
pub const COOKIE: &str = "atlasd_session";
/// The hidden field of a form, and what it begins with in a body.
const FIELD: &str = "_csrf=";
/// The header that says the same for a script.
const HEADER: &str = "x-csrf-token";
/// What may be posted to a daemon that only shows: it concerns the browser alone.
const CHANGES_NOTHING: [&str; 2] = ["/logout", "/theme"];
/// LIMIT: bytes of a form.
const FORM_BYTES_MAX: usize = 256 * 1024;

/// The id of a session: a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionId([u8; 32]);

impl SessionId {
    /// One that nobody can guess.
    pub fn fresh() -> Self {
        Self(random_bytes())
    }

    fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// What the ledger knows it by.
    pub fn sha256(self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// What forms of this session carry.
    pub fn csrf(self) -> Csrf {
        let digest = Sha256::new().chain_update(b"atlasd csrf\n").chain_update(self.0).finalize();
        Csrf(URL_SAFE_NO_PAD.encode(digest).into())
    }

    /// The header that gives it to a browser.
    pub fn set_cookie(self, config: &Config) -> HeaderValue {
        cookie(&URL_SAFE_NO_PAD.encode(self.0), config.http.session_ttl.as_secs(), config)
    }

    /// The session that a request's cookie names. Two such cookies are none: one of them was put there by somebody else.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).filter_map(|value| value.to_str().ok());
        let mut named = cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('=').filter(|(name, _)| *name == COOKIE));
        let (_, value) = named.next()?;
        if named.next().is_some() { None } else { Self::parse(value) }
    }
}

/// The header that makes a browser forget its session.
pub(super) fn forget_cookie(config: &Config) -> HeaderValue {
    cookie("", 0, config)
}

fn cookie(value: &str, max_age_s: u64, config: &Config) -> HeaderValue {
    let secure = if config.is_https() { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age_s}{secure}");
    text.parse().expect("base64 and words make a header")
}

/// What the forms of a session carry in the hidden field `_csrf`, and scripts in the header `X-CSRF-Token`.
#[derive(Clone)]
pub struct Csrf(Arc<str>);

impl Csrf {
    /// The value.
    pub fn token(&self) -> &str {
        &self.0
    }

    fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl FromRequest for Csrf {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = request.extensions().get::<Self>().cloned();
        std::future::ready(found.ok_or_else(no_session))
    }
}

/// The limits of sessions, as configured.
pub(super) fn limits(config: &Config) -> SessionLimits {
    let http = &config.http;
    SessionLimits { ttl: *http.session_ttl, idle: *http.session_idle, per_token: http.sessions_max }
}

/// The caller behind a session; `None` when it is over.
pub(super) async fn principal(
    place: &Place<'_>,
    session: SessionId,
) -> Result<Option<Arc<Principal>>, Problem> {
    let (sha256, state) = (session.sha256(), place.state());
    let (limits, look) = (limits(&state.config()), place.look());
    let ask = async || state.store.session(sha256, limits, look).await;
    match look {
        SessionLook::Use => state.sessions.principal(sha256, place, ask).await,
        SessionLook::Recheck => state.sessions.recheck(sha256, place, ask).await,
    }
}

/// Whether a method changes nothing.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Refuses a call of a script that does not prove to be one of our page.
pub(super) fn check_script(session: SessionId, headers: &HeaderMap) -> Result<(), Problem> {
    let mut given = headers.get_all(HEADER);
    match (given.next(), given.next()) {
        (Some(value), None) if session.csrf().matches(value.as_bytes()) => Ok(()),
        _ => Err(no_proof("the header `X-CSRF-Token`")),
    }
}

/// Refuses what a browser says comes from another site's page. A browser that says nothing has to prove it by the
/// token alone.
pub(super) fn check_site(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let foreign = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) if site != "same-origin" && site != "none" => true,
        (_, Some(origin)) => !is_own(origin, text("host").unwrap_or("")),
        _ => false,
    };
    if foreign {
        return Err(Problem::forbidden("auth.cross_site", "the request comes from another site's page"));
    }
    Ok(())
}

/// Whether an origin is that of the host asked; the scheme is the proxy's affair.
fn is_own(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    authority.is_some_and(|authority| !host.is_empty() && authority.eq_ignore_ascii_case(host))
}

pub(super) fn no_session() -> Problem {
    Problem::unauthorised("auth.session_invalid", "the session is over: sign in again", "Bearer")
}

fn no_proof(expected: &str) -> Problem {
    Problem::forbidden("auth.csrf", format!("expected {expected} with the token of this session's page"))
}

/// The middleware in front of all pages that need a session: without one the way leads to the sign-in. What changes
/// something has to prove that it comes from our own page, whatever its handler takes.
pub async fn page_door(
    state: web::Data<AdminState>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    // What is no page is not found, for whoever asks; who is known sees it within the page's frame.
    if request.match_pattern().is_none() {
        if let Some(session) = SessionId::of(request.headers())
            && let Ok(Some(caller)) = principal(&Place::of(&state, request.request()), session).await
        {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(session.csrf());
        }
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let (session, caller) = match admit(&state, &mut request).await {
        Ok(admitted) => admitted,
        Err(refusal) => return Ok(request.into_response(*refusal).map_into_right_body()),
    };
    let asker = auth::asker(&state, &request, &caller, Via::Page);
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(session.csrf());
    let handled = next.call(request);
    let handled = match asker {
        Some(asker) => ASKER.scope(asker, handled).await,
        None => handled.await,
    };
    let mut response = handled?.map_into_left_body();
    let headers = response.headers_mut();
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

/// The session of a page's request and its caller; or the answer that refuses.
async fn admit(
    state: &AdminState,
    request: &mut ServiceRequest,
) -> Result<(SessionId, Arc<Principal>), Box<HttpResponse>> {
    let refuse = |problem: Problem| Box::new(problem.error_response());
    let session = SessionId::of(request.headers());
    let found = match session {
        Some(session) => {
            let place = Place::of(state, request.request());
            let caller = principal(&place, session).await.map_err(refuse)?;
            caller.map(|caller| (session, caller))
        }
        None => None,
    };
    let Some((session, caller)) = found else {
        return Err(Box::new(to_sign_in(request)));
    };
    if !is_safe(request.method()) {
        check_site(request.headers()).map_err(refuse)?;
        match request.headers().contains_key(HEADER) {
            true => check_script(session, request.headers()).map_err(refuse)?,
            false => check_form(session, request).await.map_err(refuse)?,
        }
        if state.is_read_only() && !CHANGES_NOTHING.contains(&request.path()) {
            return Err(refuse(Problem::read_only()));
        }
    }
    Ok((session, caller))
}

/// Reads a form, looks for the token, and puts the form back for the handler.
async fn check_form(session: SessionId, request: &mut ServiceRequest) -> Result<(), Problem> {
    let mut payload = request.take_payload();
    let bytes = body::arrived(request.request(), &mut payload).await?;
    if bytes.len() > FORM_BYTES_MAX {
        return Err(Problem::too_large("what a form may hold"));
    }
    let mut given = bytes.split(|byte| *byte == b'&').filter_map(|pair| pair.strip_prefix(FIELD.as_bytes()));
    let proven = match (given.next(), given.next()) {
        (Some(value), None) => session.csrf().matches(value),
        _ => false,
    };
    if !proven {
        return Err(no_proof("the field `_csrf`"));
    }
    let again = futures_util::stream::once(std::future::ready(Ok(bytes)));
    request.set_payload(Payload::Stream { payload: Box::pin(again) });
    Ok(())
}

fn to_sign_in(request: &ServiceRequest) -> HttpResponse {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let next = if is_safe(request.method()) && is_local(target) { target } else { "/" };
    let to = format!("/login?next={}", percent_encoded(next));
    HttpResponse::build(StatusCode::SEE_OTHER)
        .insert_header((header::LOCATION, to))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish()
}

/// Whether a target stays on this host: a path of visible ASCII that no browser reads as another host's address.
pub(super) fn is_local(target: &str) -> bool {
    target.starts_with('/')
        && !target.starts_with("//")
        && target.len() <= 1024
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// A text as the value of a query's parameter.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// A form of ours, its token checked by [`page_door`] and left out. `T` is a struct of its fields, or
/// `Vec<(String, String)>` where a field may come several times.
pub struct Posted<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Posted<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        // A route outside of the door has no session: its forms are refused, never taken.
        let within = request.extensions().get::<Csrf>().is_some();
        let bytes = body::arrived(request, payload);
        Box::pin(async move {
            if !within {
                return Err(no_session());
            }
            form(&bytes.await?).map(Self)
        })
    }
}

/// A form's fields, without its token.
pub(super) fn form<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.len() > FORM_BYTES_MAX {
        return Err(Problem::too_large("what a form may hold"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::malformed("expected a form"))?;
    let fields: Vec<&str> = text.split('&').filter(|pair| !pair.starts_with(FIELD)).collect();
    body::parse_query(&fields.join("&"))
}

#[cfg(test)]
mod tests;
