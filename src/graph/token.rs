//! Access tokens: OAuth 2 client credentials, one token per cloud, tenant and application however many callers ask.
//!
//! A token is renewed at about four fifths of its life, spread by chance so that tenants do not sign in all at once,
//! and after a call was answered 401. Who waits while another signs in gets that sign-in's result, also a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use oauth2::basic::BasicClient;
use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RequestTokenError, Scope,
    TokenResponse as _, TokenUrl,
};
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret as _;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::budget::pause;
use super::cloud::Cloud;
use super::credential::{Credential, Proof};
use super::error::GraphError;
use super::service::{Wire, trace};
use crate::clock::Instant;
use crate::domain::failure::Code;
use crate::domain::retry::backoff;
use crate::ids::{fresh_uuid, random_fraction};

/// The type of a client assertion (RFC 7523).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long a token that still works is kept after its renewal failed, before the next try.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// What a token without a stated life is trusted for.
const LIFE_UNSTATED: Duration = Duration::from_secs(300);

/// A token as it is sent; marked sensitive, so that it is never printed.
#[derive(Clone)]
pub(super) struct Bearer {
    /// The `Authorization` header.
    pub(super) header: HeaderValue,
    /// Which sign-in it came from.
    serial: u64,
}

struct Token {
    bearer: Bearer,
    renew_at: Instant,
    expires_at: Instant,
}

/// The place of one cloud's, tenant's and application's token.
#[derive(Default)]
pub(super) struct TokenSlot {
    state: Mutex<State>,
    /// Sign-ins that ended; read without the lock by those who are about to wait for it.
    rounds: AtomicU64,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// The last sign-in's refusal and its round.
    refusal: Option<(u64, GraphError)>,
    serial: u64,
}

/// What a sign-in needs.
pub(super) struct SignIn<'a> {
    pub(super) wire: &'a Wire,
    pub(super) cloud: &'a Cloud,
    pub(super) tenant: Uuid,
    pub(super) credential: &'a Arc<Credential>,
}

impl TokenSlot {
    /// A token that works, signing in when there is none.
    ///
    /// # Errors
    /// What the login service said, or cancelled.
    pub(super) async fn bearer(
        &self,
        sign_in: &SignIn<'_>,
        cancel: &CancellationToken,
    ) -> Result<Bearer, GraphError> {
        let seen = self.rounds.load(Ordering::Acquire);
        let mut state = self.locked(cancel).await?;
        let now = sign_in.wire.clock.now();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.bearer.clone());
        }
        if let Some((_, refusal)) = state.refusal.as_ref().filter(|(round, _)| *round > seen) {
            return Err(refusal.clone());
        }
        let result = sign_in.with_retries(cancel).await;
        if matches!(&result, Err(error) if error.is_cancelled()) {
            // One caller's cancellation is no answer for the others: the next of them signs in.
            return Err(GraphError::cancelled());
        }
        let round = self.rounds.fetch_add(1, Ordering::AcqRel) + 1;
        state.keep(round, result, sign_in.wire.clock.now())
    }

    /// Forgets the token that a call was refused with, unless another has replaced it meanwhile.
    ///
    /// # Errors
    /// Cancelled, while another sign-in was under way.
    pub(super) async fn invalidate(
        &self,
        refused: &Bearer,
        cancel: &CancellationToken,
    ) -> Result<(), GraphError> {
        let mut state = self.locked(cancel).await?;
        if state.token.as_ref().is_some_and(|token| token.bearer.serial == refused.serial) {
            state.token = None;
        }
        Ok(())
    }

    async fn locked(&self, cancel: &CancellationToken) -> Result<MutexGuard<'_, State>, GraphError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(GraphError::cancelled()),
            state = self.state.lock() => Ok(state),
        }
    }
}

impl State {
    fn keep(
        &mut self,
        round: u64,
        result: Result<(HeaderValue, Duration), GraphError>,
        now: Instant,
    ) -> Result<Bearer, GraphError> {
        match result {
            Ok((header, life)) => {
                self.serial += 1;
                self.refusal = None;
                let bearer = Bearer { header, serial: self.serial };
                let renew_at = now + life.mul_f64(0.75 + random_fraction() / 10.0);
                self.token = Some(Token { bearer: bearer.clone(), renew_at, expires_at: now + life });
                Ok(bearer)
            }
            Err(error) => {
                if let Some(token) = self.token.as_mut().filter(|token| now < token.expires_at) {
                    token.renew_at = now + RENEWAL_PAUSE;
                    return Ok(token.bearer.clone());
                }
                self.token = None;
                self.refusal = Some((round, error.clone()));
                Err(error)
            }
        }
    }
}

impl SignIn<'_> {
    async fn with_retries(&self, cancel: &CancellationToken) -> Result<(HeaderValue, Duration), GraphError> {
        let mut attempt = 1;
        loop {
            let result = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(GraphError::cancelled()),
                result = self.once() => result,
            };
            let error = match result {
                Ok(token) => return Ok(token),
                Err(error) => error,
            };
            let wait = self
                .wire
                .retry_wait(&error)
                .and_then(|asked| backoff(&self.wire.retry_policy(), attempt, asked, random_fraction()));
            let Some(wait) = wait else { return Err(error) };
            pause(wait, cancel).await?;
            attempt += 1;
        }
    }

    /// One call of the token endpoint. The `oauth2` crate writes the form and reads the answer; what is no success is
    /// judged by [`GraphError::of_token_answer`] before the crate sees it.
    async fn once(&self) -> Result<(HeaderValue, Duration), GraphError> {
        let url = self.cloud.token_url(self.tenant);
        let client = BasicClient::new(ClientId::new(self.credential.client_id.clone()))
            .set_auth_type(AuthType::RequestBody)
            .set_token_uri(TokenUrl::from_url(url.clone()));
        let client = match &self.credential.proof {
            Proof::Secret(secret) => {
                client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            }
            Proof::Certificate(_) => client,
        };
        let mut request = client.exchange_client_credentials().add_scope(Scope::new(self.cloud.scope()));
        if let Proof::Certificate(key) = &self.credential.proof {
            let id = &self.credential.client_id;
            let assertion = key
                .assertion(id, url.as_str(), fresh_uuid(), self.wire.clock.now())
                .ok_or_else(|| GraphError::local(Code::GraphAuthFailed, false))?;
            request = request
                .add_extra_param("client_assertion_type", ASSERTION_TYPE)
                .add_extra_param("client_assertion", assertion.expose_secret().to_owned());
        }
        let answer = request.request_async(self).await.map_err(|error| match error {
            RequestTokenError::Request(error) => error,
            // The crate's other errors carry the body, which may be a token: dropped here.
            _ => GraphError::garbled(200),
        })?;
        let text = format!("Bearer {}", answer.access_token().secret());
        let mut header = HeaderValue::from_str(&text).map_err(|_| GraphError::garbled(200))?;
        header.set_sensitive(true);
        Ok((header, answer.expires_in().unwrap_or(LIFE_UNSTATED)))
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, GraphError> {
        let mut request =
            reqwest::Request::try_from(request).map_err(|error| GraphError::of_transport(&error))?;
        trace(&mut request);
        let answer = self.wire.send(request).await?;
        self.wire.count_status(answer.status);
        if answer.status != 200 {
            let now = self.wire.clock.now();
            return Err(GraphError::of_token_answer(answer.status, &answer.headers, &answer.body, now));
        }
        let mut response = HttpResponse::new(answer.body);
        if let Some(kind) = answer.headers.get(reqwest::header::CONTENT_TYPE) {
            response.headers_mut().insert(reqwest::header::CONTENT_TYPE, kind.clone());
        }
        Ok(response)
    }
}

impl<'c> oauth2::AsyncHttpClient<'c> for SignIn<'_> {
    type Error = GraphError;
    /// Boxed: the compiler cannot prove that the future of a closure here is `Send` for every lifetime.
    type Future = BoxFuture<'c, Result<HttpResponse, GraphError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.exchange(request).boxed()
    }
}
