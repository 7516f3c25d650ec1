//! Who calls: bearer tokens, roles, and the one workspace that a token may be bound to (SPEC section 10).
//!
//! A token is known by its SHA-256 alone, so a look-up takes the same time for every wrong one. A known token is
//! trusted for `http.token_cache` without a look at the ledger. The role is checked by the argument that a handler
//! takes ([`Viewer`], [`Operator`], [`Admin`]), the workspace by [`Principal::sees`].

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError, web};
use sha2::{Digest, Sha256};

use super::AdminState;
use super::audit::ASKER;
use super::peer;
use super::problem::{Missing, Problem};
use super::session::{self, SessionId};
use crate::domain::audit::{Asker, Via};
use crate::ids::WorkspaceId;
use crate::intake::Initiator;
use crate::store::{ApiToken, Role, SessionLook, StoreError};

/// LIMIT: known tokens in memory. A full cache is emptied and fills again.
const TOKENS_MAX: usize = 10_000;

/// LIMIT: bytes of a token; a longer one is none of ours and is not even hashed.
const TOKEN_BYTES_MAX: usize = 512;

/// The caller behind a token.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    /// The token's label.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The one workspace that it sees; `None` sees all.
    pub workspace: Option<WorkspaceId>,
}

impl Principal {
    /// Whether what belongs to `workspace` exists for this caller.
    pub fn sees(&self, workspace: WorkspaceId) -> bool {
        self.workspace.is_none_or(|own| own == workspace)
    }

    /// What is found if the caller may see it; else it does not exist: 404, never 403.
    pub fn visible<T>(
        &self,
        found: Option<T>,
        workspace: impl FnOnce(&T) -> WorkspaceId,
        missing: Missing,
    ) -> Result<T, Problem> {
        found.filter(|thing| self.sees(workspace(thing))).ok_or_else(|| Problem::not_found(missing))
    }

    /// The workspace to list: the one asked for if it is visible, else the caller's own, else all.
    pub fn narrow(&self, asked: Option<WorkspaceId>) -> Result<Option<WorkspaceId>, Problem> {
        match asked {
            Some(workspace) if !self.sees(workspace) => Err(Problem::not_found(Missing::Workspace)),
            Some(workspace) => Ok(Some(workspace)),
            None => Ok(self.workspace),
        }
    }

    /// Who a run's ledger row names.
    pub fn initiator(&self) -> Initiator {
        Initiator { name: self.name.clone(), user_id: None, workspace: self.workspace }
    }
}

impl From<ApiToken> for Principal {
    fn from(token: ApiToken) -> Self {
        Self { name: token.name, role: token.role, workspace: token.workspace_id }
    }
}

/// A caller, and when its token was found in the ledger.
type Known = (Arc<Principal>, Instant);

/// Tokens (or sessions) that were found in the ledger a moment ago, by their SHA-256. Clones share the entries.
#[derive(Clone)]
pub struct TokenCache {
    ttl: Duration,
    known: Arc<RwLock<HashMap<[u8; 32], Known>>>,
}

impl TokenCache {
    /// Trusts a token for `ttl` after it was found (`http.token_cache`).
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, known: Arc::default() }
    }

    /// The same for a look that is no use: who was found is not remembered, or a use that follows would find it here
    /// and be noted nowhere.
    pub(super) async fn recheck(
        &self,
        sha256: [u8; 32],
        place: &Place<'_>,
        look: impl AsyncFnOnce() -> Result<Option<ApiToken>, StoreError>,
    ) -> Result<Option<Arc<Principal>>, Problem> {
        let now = Instant::now();
        let (found, is_news) = self.find(sha256, place, now, look).await?;
        if is_news && found.is_none() {
            self.note(sha256, None, now);
        }
        Ok(found)
    }

    /// The caller behind a hash; `look` asks the ledger, unless too many from the same place were unknown.
    pub(super) async fn principal(
        &self,
        sha256: [u8; 32],
        place: &Place<'_>,
        look: impl AsyncFnOnce() -> Result<Option<ApiToken>, StoreError>,
    ) -> Result<Option<Arc<Principal>>, Problem> {
        let now = Instant::now();
        let (found, is_news) = self.find(sha256, place, now, look).await?;
        if is_news {
            self.note(sha256, found.clone(), now);
        }
        Ok(found)
    }

    /// The caller behind a hash, and whether that is of the ledger.
    async fn find(
        &self,
        sha256: [u8; 32],
        place: &Place<'_>,
        now: Instant,
        look: impl AsyncFnOnce() -> Result<Option<ApiToken>, StoreError>,
    ) -> Result<(Option<Arc<Principal>>, bool), Problem> {
        if let Some(principal) = self.fresh(&sha256, now) {
            return Ok((Some(principal), false));
        }
        if !self.was_known(&sha256) {
            place.check(now)?;
        }
        let found = look().await?.map(|token| Arc::new(Principal::from(token)));
        if found.is_none() {
            place.failed(now);
        }
        Ok((found, true))
    }

    /// Whether it was good when it was last looked for, however long ago.
    pub(super) fn was_known(&self, sha256: &[u8; 32]) -> bool {
        self.known.read().expect("no code panics while it holds this lock").contains_key(sha256)
    }

    /// The caller, if it was found a moment ago.
    pub(super) fn fresh(&self, sha256: &[u8; 32], now: Instant) -> Option<Arc<Principal>> {
        let known = self.known.read().expect("no code panics while it holds this lock");
        let (principal, seen_at) = known.get(sha256)?;
        (now.saturating_duration_since(*seen_at) < self.ttl).then(|| principal.clone())
    }

    /// Remembers a token that was found, forgets one that was not (it may have been there before).
    pub(super) fn note(&self, sha256: [u8; 32], found: Option<Arc<Principal>>, now: Instant) {
        let mut known = self.known.write().expect("no code panics while it holds this lock");
        match found {
            None => {
                known.remove(&sha256);
            }
            Some(principal) => {
                if known.len() >= TOKENS_MAX && !known.contains_key(&sha256) {
                    known.clear();
                }
                known.insert(sha256, (principal, now));
            }
        }
    }
}

/// Where a token or session comes from, and how many unknown ones came from there.
pub(super) struct Place<'a> {
    state: &'a AdminState,
    /// `None` for whom nothing is counted: a reader that was let in before.
    address: Option<IpAddr>,
    /// Whether somebody asks, or what was left open asks by itself.
    look: SessionLook,
}

/// What a page sends with the requests that it makes by itself.
const REFRESH: &str = "x-atlasd-refresh";
/// What a page keeps open, and opens again by itself.
const STREAM: &str = "/api/v1/events";

/// Whether a request is a use of its session.
fn look_of(request: &HttpRequest) -> SessionLook {
    let is_by_itself = request.headers().contains_key(REFRESH) || request.path() == STREAM;
    if is_by_itself { SessionLook::Recheck } else { SessionLook::Use }
}

impl<'a> Place<'a> {
    /// Where a request comes from.
    pub(super) fn of(state: &'a AdminState, request: &HttpRequest) -> Self {
        let address = peer::of(request, state.config().http.behind_proxy);
        Self { state, address, look: look_of(request) }
    }

    /// Who signs in from there.
    pub(super) fn asker(&self, name: String) -> Asker {
        Asker { name, peer: self.address.map(|address| address.to_string()), via: Via::Page }
    }

    /// The endpoint's state.
    pub(super) fn state(&self) -> &'a AdminState {
        self.state
    }

    /// Nowhere that is counted: a stream that looks whether its reader may stay.
    pub(super) fn inside(state: &'a AdminState) -> Self {
        Self { state, address: None, look: SessionLook::Recheck }
    }

    /// Whether a session is used from there, or only looked at.
    pub(super) fn look(&self) -> SessionLook {
        self.look
    }

    /// Refuses an address that had too many failures.
    pub(super) fn check(&self, now: Instant) -> Result<(), Problem> {
        let Some(address) = self.address else { return Ok(()) };
        match self.state.brake.wait(address, &self.state.config().http, now) {
            Some(wait) => Err(Problem::too_many_failures(wait)),
            None => Ok(()),
        }
    }

    /// Counts a failure.
    pub(super) fn failed(&self, now: Instant) {
        if let Some(address) = self.address {
            self.state.brake.failed(address, &self.state.config().http, now);
        }
    }
}

/// The middleware in front of everything that needs a token: authenticates before the body is read, and tells the
/// clients of every 503 when to come back.
pub(super) async fn door(
    state: web::Data<AdminState>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let mut response = match admit(&state, &request).await {
        Ok(principal) => {
            let asker = asker(&state, &request, &principal, Via::Api);
            request.extensions_mut().insert(principal);
            let handled = next.call(request);
            let handled = match asker {
                Some(asker) => ASKER.scope(asker, handled).await,
                None => handled.await,
            };
            handled?.map_into_left_body()
        }
        Err(problem) => request.into_response(problem.error_response()).map_into_right_body(),
    };
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        let wait_s = state.config().admission.retry_after.as_secs_f64().ceil().max(1.0) as u64;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait_s));
    }
    Ok(response)
}

/// Who asks for a change; nobody needs to know who only looks.
pub(super) fn asker(
    state: &AdminState,
    request: &ServiceRequest,
    principal: &Principal,
    via: Via,
) -> Option<Asker> {
    let peer = || peer::of(request.request(), state.config().http.behind_proxy);
    let name = || principal.name.clone();
    (!session::is_safe(request.method())).then(|| Asker {
        name: name(),
        peer: peer().map(|address| address.to_string()),
        via,
    })
}

/// The caller behind a request that may go on.
async fn admit(state: &AdminState, request: &ServiceRequest) -> Result<Arc<Principal>, Problem> {
    let headers = request.headers();
    let place = Place::of(state, request.request());
    let (principal, session) = authenticate(&place, headers).await?;
    if session::is_safe(request.method()) {
        return Ok(principal);
    }
    // A browser sends its cookie whoever asks it to: what changes something has to prove that our page asked.
    if let Some(session) = session {
        session::check_site(headers)?;
        session::check_script(session, headers)?;
    }
    if state.is_read_only() && !CHANGES_NOTHING.contains(&request.path()) {
        return Err(Problem::read_only());
    }
    Ok(principal)
}

/// What is asked by POST and changes nothing.
const CHANGES_NOTHING: [&str; 1] = ["/api/v1/identity/explain"];

/// The caller behind a request's token, or behind its session where it has no token.
pub(super) async fn authenticate(
    place: &Place<'_>,
    headers: &HeaderMap,
) -> Result<(Arc<Principal>, Option<SessionId>), Problem> {
    if !headers.contains_key(AUTHORIZATION)
        && let Some(session) = SessionId::of(headers)
    {
        let principal = session::principal(place, session).await?;
        return principal.map(|principal| (principal, Some(session))).ok_or_else(session::no_session);
    }
    let sha256 = Sha256::digest(bearer(headers)?).into();
    let state = place.state;
    let found = state.tokens.principal(sha256, place, async || state.store.token(sha256).await).await?;
    found.map(|principal| (principal, None)).ok_or_else(invalid_token)
}

/// The ledger's row of a token that somebody signs in with: never from memory.
pub(super) async fn known_token(place: &Place<'_>, token: &str) -> Result<ApiToken, Problem> {
    if !is_well_formed(token.as_bytes()) {
        return Err(invalid_token());
    }
    let (state, now) = (place.state, Instant::now());
    let sha256 = Sha256::digest(token).into();
    if !state.tokens.was_known(&sha256) {
        place.check(now)?;
    }
    let found = state.store.token(sha256).await?;
    if found.is_none() {
        place.failed(now);
    }
    found.ok_or_else(invalid_token)
}

/// The token of an `Authorization: Bearer TOKEN` header.
fn bearer(headers: &HeaderMap) -> Result<&[u8], Problem> {
    let mut values = headers.get_all(AUTHORIZATION);
    let Some(value) = values.next() else {
        return Err(Problem::unauthorised(
            "auth.token_missing",
            "expected `Authorization: Bearer TOKEN`, found no such header",
            "Bearer",
        ));
    };
    if values.next().is_some() {
        return Err(invalid_token());
    }
    let (scheme, token) = value.as_bytes().split_at_checked(7).ok_or_else(invalid_token)?;
    let token = token.trim_ascii();
    let well_formed = scheme.eq_ignore_ascii_case(b"bearer ") && is_well_formed(token);
    if well_formed { Ok(token) } else { Err(invalid_token()) }
}

fn is_well_formed(token: &[u8]) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic)
}

/// One answer for a malformed, an unknown and a withdrawn token.
fn invalid_token() -> Problem {
    Problem::unauthorised(
        "auth.token_invalid",
        "expected `Authorization: Bearer TOKEN` with a token of this daemon",
        "Bearer error=\"invalid_token\"",
    )
}

/// The caller, if its role is at least `needed`. Ready at once, so that it answers before a body is read.
fn at_least(needed: Role, request: &HttpRequest) -> Result<Arc<Principal>, Problem> {
    let extensions = request.extensions();
    // A route outside of the door has no principal: it is answered like a missing token, never let through.
    let principal = extensions.get::<Arc<Principal>>().ok_or_else(invalid_token)?;
    if principal.role < needed {
        return Err(Problem::forbidden(
            "auth.role_too_low",
            format!("expected a token with the role {}, found {}", word(needed), word(principal.role)),
        ));
    }
    Ok(principal.clone())
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

/// Declares the argument by which a handler says which role it needs.
macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(pub Arc<Principal>);

        impl FromRequest for $name {
            type Error = Problem;
            type Future = Ready<Result<Self, Problem>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                ready(at_least(Role::$name, request).map(Self))
            }
        }
    };
}

role!(
    /// A caller that may look.
    Viewer
);
role!(
    /// A caller that may ask for runs.
    Operator
);
role!(
    /// A caller that may add and change workspaces and tenants.
    Admin
);

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn token_of(value: &'static [u8]) -> Result<Vec<u8>, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        bearer(&headers).map(<[u8]>::to_vec).map_err(|problem| problem.code())
    }

    fn principal(role: Role, workspace: Option<i64>) -> Arc<Principal> {
        Arc::new(Principal { name: "t".to_owned(), role, workspace: workspace.map(WorkspaceId) })
    }

    #[test]
    fn what_a_page_asks_by_itself_is_no_use_of_its_session() {
        let look = |request: TestRequest| look_of(&request.to_http_request());
        assert_eq!(look(TestRequest::with_uri("/runs")), SessionLook::Use);
        assert_eq!(look(TestRequest::with_uri("/runs").insert_header((REFRESH, "1"))), SessionLook::Recheck);
        assert_eq!(look(TestRequest::with_uri("/api/v1/events?run_id=7")), SessionLook::Recheck);
        assert!(
            include_str!("web/assets/atlasd.js").contains(&format!("\"{REFRESH}\": \"1\"")),
            "the page says so"
        );
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_the_scheme() {
        assert_eq!(token_of(b"Bearer atl_abc").unwrap(), b"atl_abc");
        assert_eq!(token_of(b"bearer  atl_abc ").unwrap(), b"atl_abc");
    }

    #[test]
    fn odd_headers_are_invalid_tokens() {
        for odd in
            [&b""[..], b"Bearer", b"Bearer ", b"Basic abc", b"Bearerabc", b"Bearer a b", b"Bearer \xff\xfe"]
        {
            assert_eq!(token_of(odd).unwrap_err(), "auth.token_invalid", "{odd:?}");
        }
        let long: &'static [u8] = format!("Bearer {}", "a".repeat(TOKEN_BYTES_MAX + 1)).leak().as_bytes();
        assert_eq!(token_of(long).unwrap_err(), "auth.token_invalid");
    }

    #[test]
    fn no_header_and_two_headers_are_refused() {
        assert_eq!(bearer(&HeaderMap::new()).unwrap_err().code(), "auth.token_missing");
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert_eq!(bearer(&headers).unwrap_err().code(), "auth.token_invalid");
    }

    #[test]
    fn each_role_may_do_what_the_ones_before_it_may() {
        let request = TestRequest::default().to_http_request();
        request.extensions_mut().insert(principal(Role::Operator, None));
        assert!(at_least(Role::Viewer, &request).is_ok());
        assert!(at_least(Role::Operator, &request).is_ok());
        assert_eq!(at_least(Role::Admin, &request).unwrap_err().code(), "auth.role_too_low");
    }

    #[test]
    fn a_route_outside_the_door_lets_nobody_in() {
        let request = TestRequest::default().to_http_request();
        assert_eq!(at_least(Role::Viewer, &request).unwrap_err().code(), "auth.token_invalid");
    }

    #[test]
    fn what_is_in_a_foreign_workspace_does_not_exist() {
        let bound = principal(Role::Admin, Some(1));
        let found = bound.visible(Some(WorkspaceId(2)), |id| *id, Missing::Run);
        assert_eq!(found.unwrap_err().code(), "run.not_found");
        assert_eq!(bound.narrow(None).unwrap(), Some(WorkspaceId(1)));
        assert_eq!(bound.narrow(Some(WorkspaceId(2))).unwrap_err().code(), "workspace.not_found");
        assert_eq!(principal(Role::Viewer, None).narrow(Some(WorkspaceId(2))).unwrap(), Some(WorkspaceId(2)));
    }

    #[test]
    fn a_token_is_trusted_for_its_time_and_forgotten_when_it_is_gone() {
        let cache = TokenCache::new(Duration::from_secs(5));
        let now = Instant::now();
        cache.note([1; 32], Some(principal(Role::Viewer, None)), now);
        assert!(cache.fresh(&[1; 32], now + Duration::from_secs(4)).is_some());
        assert!(cache.fresh(&[1; 32], now + Duration::from_secs(5)).is_none());
        cache.note([1; 32], None, now);
        assert!(cache.fresh(&[1; 32], now).is_none());
    }

    #[test]
    fn the_cache_of_tokens_is_bounded() {
        let cache = TokenCache::new(Duration::from_secs(5));
        let someone = principal(Role::Viewer, None);
        for index in 0..=TOKENS_MAX {
            let mut sha256 = [0; 32];
            sha256[..8].copy_from_slice(&index.to_be_bytes());
            cache.note(sha256, Some(someone.clone()), Instant::now());
        }
        assert_eq!(cache.known.read().unwrap().len(), 1);
    }
}
