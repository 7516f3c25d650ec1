//! One tenant's calls: each with a token, within the budget, with a time limit, tried again as the service asks.
//!
//! A 401 in mid-run renews the token once and repeats the call once. What else is repeated here is a read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::budget::{Cost, pause};
use super::cloud::Cloud;
use super::credential::Credential;
use super::error::GraphError;
use super::service::{Answer, TenantState, Unanswered, Wire, trace};
use super::token::{Bearer, SignIn, TokenSlot};
use crate::clock::Instant;
use crate::domain::failure::Code;
use crate::domain::retry::backoff;
use crate::ids::random_fraction;

/// A client of Microsoft Graph for one tenant; clones share everything.
#[derive(Clone)]
pub struct GraphClient {
    pub(super) wire: Arc<Wire>,
    pub(super) cloud: Arc<Cloud>,
    pub(super) tenant: Uuid,
    pub(super) credential: Arc<Credential>,
    pub(super) state: Arc<TenantState>,
    pub(super) token: Arc<TokenSlot>,
    /// Requests to Graph since the client was made, a batch as one.
    pub(super) calls: Arc<AtomicU64>,
}

/// A request to Graph that may be sent more than once.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<&'a Value>,
    /// What it counts against the budget.
    pub(super) cost: Cost,
    /// Not sent after this moment: what it was decided by is too old then.
    pub(super) no_later_than: Option<tokio::time::Instant>,
}

impl Call<'_> {
    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, body: None, cost: Cost::reads(1), no_later_than: None }
    }
}

impl GraphClient {
    /// Signs in unless there is a token already: shows whether the credential works.
    ///
    /// # Errors
    /// `graph.auth_failed` and what else the login service may answer.
    pub async fn sign_in(&self, cancel: &CancellationToken) -> Result<(), GraphError> {
        self.bearer(cancel).await.map(drop)
    }

    /// Reads one object at `path`, below the Graph version.
    ///
    /// # Errors
    /// [`GraphError`], after all tries.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        cancel: &CancellationToken,
    ) -> Result<T, GraphError> {
        self.get_json(self.cloud.call_url(path), cancel).await
    }

    /// Requests sent to Graph since the client was made; a batch is one.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Until when the tenant is throttled.
    pub fn throttled_until(&self) -> Option<Instant> {
        self.state.budget.remaining().map(|left| self.wire.clock.now() + left)
    }

    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        url: Url,
        cancel: &CancellationToken,
    ) -> Result<T, GraphError> {
        self.json(&Call::get(url), cancel).await
    }

    /// Sends a call that reads, and parses its answer.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        cancel: &CancellationToken,
    ) -> Result<T, GraphError> {
        self.retried(call, cancel, |answer, _| match answer.status {
            200 => serde_json::from_slice(&answer.body).map_err(|_| GraphError::garbled(answer.status)),
            _ => Err(self.refusal(answer)),
        })
        .await
    }

    /// What an answer that is no success says.
    pub(super) fn refusal(&self, answer: &Answer) -> GraphError {
        GraphError::of_answer(answer.status, &answer.headers, &answer.body, self.wire.clock.now())
    }

    /// Sends until `judge` accepts the answer, the error is final, or the tries are used up. A 401 renews the token and
    /// repeats the call at once; a second one in a row is final. A long wait for a throttle may outlive a token twice.
    pub(super) async fn retried<T>(
        &self,
        call: &Call<'_>,
        cancel: &CancellationToken,
        judge: impl Fn(&Answer, &Bearer) -> Result<T, GraphError>,
    ) -> Result<T, GraphError> {
        let (mut attempt, mut renewed) = (1, false);
        loop {
            // A sign-in that failed has had tries of its own.
            let bearer = self.bearer(cancel).await?;
            let error = match self.send(call, &bearer, cancel).await {
                Ok(answer) if answer.status == 401 && !renewed => {
                    renewed = true;
                    self.token.invalidate(&bearer, cancel).await?;
                    continue;
                }
                Ok(answer) => match judge(&answer, &bearer) {
                    Ok(result) => return Ok(result),
                    Err(error) => error,
                },
                Err(unanswered) => unanswered.error,
            };
            renewed = false;
            self.before_retry(attempt, &error, cancel).await?;
            attempt += 1;
        }
    }

    /// Waits before the try after `attempt`, or gives the error back when there is none.
    pub(super) async fn before_retry(
        &self,
        attempt: u32,
        error: &GraphError,
        cancel: &CancellationToken,
    ) -> Result<(), GraphError> {
        self.heed(error);
        let policy = self.wire.retry_policy();
        let wait = self.wire.retry_wait(error);
        let wait = wait.and_then(|asked| backoff(&policy, attempt, asked, random_fraction()));
        match wait {
            Some(wait) => {
                self.wire.waited("retry", wait);
                pause(wait, cancel).await
            }
            None => Err(error.clone()),
        }
    }

    /// Stops the tenant's calls for as long as a 429 asks.
    pub(super) fn heed(&self, error: &GraphError) {
        if let Some(asked) = error.retry_after.filter(|_| error.code == Code::GraphThrottled) {
            self.state.budget.pause_for(asked);
        }
    }

    pub(super) async fn bearer(&self, cancel: &CancellationToken) -> Result<Bearer, GraphError> {
        let sign_in = SignIn {
            wire: &self.wire,
            cloud: &self.cloud,
            tenant: self.tenant,
            credential: &self.credential,
        };
        self.token.bearer(&sign_in, cancel).await
    }

    /// Sends once.
    pub(super) async fn send(
        &self,
        call: &Call<'_>,
        bearer: &Bearer,
        cancel: &CancellationToken,
    ) -> Result<Answer, Unanswered> {
        let mut request = Request::new(call.method.clone(), call.url.clone());
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer.header.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(body) = call.body {
            let json = HeaderValue::from_static("application/json");
            headers.insert(reqwest::header::CONTENT_TYPE, json);
            *request.body_mut() = Some(body.to_string().into());
        }
        trace(&mut request);
        let unsent = |error| Unanswered { error, unsent: true };
        let asked = tokio::time::Instant::now();
        let _admission = self.state.budget.admit(call.cost, cancel).await.map_err(unsent)?;
        self.wire.waited("budget", asked.elapsed());
        if call.no_later_than.is_some_and(|latest| tokio::time::Instant::now() > latest) {
            return Err(unsent(GraphError::local(Code::GraphThrottled, true)));
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                return Err(Unanswered { error: GraphError::cancelled(), unsent: false });
            }
            answer = self.wire.send(request) => answer?,
        };
        self.wire.count_status(answer.status);
        Ok(answer)
    }
}
