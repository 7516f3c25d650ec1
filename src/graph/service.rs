//! What all tenants share: the HTTP client, the budgets, the tokens. One per process and configuration.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use tracing::Instrument as _;
use tracing::field::Empty;
use uuid::Uuid;

use super::budget::{self, TenantBudget};
use super::client::GraphClient;
use super::cloud::{Cloud, CloudError};
use super::credential::{Credential, CredentialError};
use super::error::GraphError;
use super::token::TokenSlot;
use super::window::Window;
use crate::clock::Clock;
use crate::config::{CloudConfig, Config, CredentialConfig, GraphConfig};
use crate::domain::failure::Code;
use crate::domain::retry::RetryPolicy;
use crate::ids::fresh_uuid;
use crate::metrics::{Metrics, Reason};
use crate::telemetry::SPANS;

/// Makes clients; clones share everything.
#[derive(Clone)]
pub struct GraphService(Arc<Shared>);

struct Shared {
    wire: Arc<Wire>,
    /// Read at each [`GraphService::client`], so that a new secret file is seen by the next run.
    config: Config,
    global: Arc<Window>,
    /// LIMIT: one entry per tenant and app that this process has ever worked for; a budget must outlive the runs
    /// that spend it, so nothing is removed.
    tenants: Mutex<HashMap<TenantKey, Arc<TenantState>>>,
}

/// Whom a budget belongs to.
#[derive(Clone, PartialEq, Eq, Hash)]
struct TenantKey {
    login_and_graph: (String, String),
    tenant: Uuid,
    client_id: String,
}

/// What the clients of one tenant and app share.
pub(super) struct TenantState {
    pub(super) budget: TenantBudget,
    /// Tokens, by the credential that they were given for: a credential with another secret must sign in by itself.
    tokens: Mutex<HashMap<CredentialKey, Arc<TokenSlot>>>,
}

/// A credential's name and the fingerprint of its proof.
type CredentialKey = (String, [u8; 32]);

/// LIMIT: credentials of one tenant and app whose tokens are kept; rotated secrets leave theirs behind.
const TOKENS_MAX: usize = 16;

impl TenantState {
    fn token(&self, key: CredentialKey) -> Arc<TokenSlot> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX && !tokens.contains_key(&key) {
            tokens.clear();
        }
        tokens.entry(key).or_default().clone()
    }
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GraphSetupError {
    /// No such cloud.
    #[error("expected the cloud {0} to be built in or configured as [clouds.{0}]")]
    UnknownCloud(String),
    /// Its addresses cannot be used.
    #[error("[clouds.{name}] cannot be used")]
    Cloud {
        /// The cloud.
        name: String,
        /// Why.
        #[source]
        source: CloudError,
    },
    /// No such credential.
    #[error("expected the credential {0} to be configured as [credentials.{0}]")]
    UnknownCredential(String),
    /// Its secret cannot be read.
    #[error("[credentials.{name}] cannot be read")]
    Credential {
        /// The credential.
        name: String,
        /// Why.
        #[source]
        source: CredentialError,
    },
    /// The TLS library or the system's certificates cannot be used.
    #[error("cannot set up HTTP")]
    Http(#[source] reqwest::Error),
}

impl GraphService {
    /// A service without clients yet; every configured cloud is checked.
    ///
    /// # Errors
    /// [`GraphSetupError`], for a cloud's address or the HTTP client.
    pub fn new(config: &Config, clock: Clock, metrics: Metrics) -> Result<Self, GraphSetupError> {
        for (name, cloud) in &config.clouds {
            checked_cloud(name, cloud)?;
        }
        let mut limits = config.graph.clone();
        // A configuration made in code may not have been validated; zero would wait for ever.
        limits.batch_max = limits.batch_max.clamp(1, 20);
        limits.parallel = limits.parallel.max(1);
        let global = budget::global(&limits);
        Ok(Self(Arc::new(Shared {
            wire: Arc::new(Wire::new(limits, clock, metrics).map_err(GraphSetupError::Http)?),
            config: config.clone(),
            global: Arc::new(global),
            tenants: Mutex::default(),
        })))
    }

    /// A client for one tenant; makes no call.
    ///
    /// # Errors
    /// [`GraphSetupError`]: an unknown cloud or credential, or a secret that cannot be read.
    pub fn client(
        &self,
        cloud: &str,
        tenant: Uuid,
        credential: &str,
    ) -> Result<GraphClient, GraphSetupError> {
        let shared = &self.0;
        let addresses =
            shared.config.cloud(cloud).ok_or_else(|| GraphSetupError::UnknownCloud(cloud.to_owned()))?;
        let checked = checked_cloud(cloud, &addresses)?;
        let configured: &CredentialConfig = shared
            .config
            .credentials
            .get(credential)
            .ok_or_else(|| GraphSetupError::UnknownCredential(credential.to_owned()))?;
        let loaded = Credential::load(configured)
            .map_err(|source| GraphSetupError::Credential { name: credential.to_owned(), source })?;
        let key = TenantKey {
            login_and_graph: (addresses.login_url, addresses.graph_url),
            tenant,
            client_id: loaded.client_id.clone(),
        };
        let state = shared.tenant_state(key);
        let token = state.token((credential.to_owned(), loaded.fingerprint()));
        Ok(GraphClient {
            wire: shared.wire.clone(),
            cloud: Arc::new(checked),
            tenant,
            credential: Arc::new(loaded),
            state,
            token,
            calls: Arc::new(AtomicU64::new(0)),
        })
    }
}

impl Shared {
    fn tenant_state(&self, key: TenantKey) -> Arc<TenantState> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = &self.wire.limits;
        let fresh = || {
            let budget = TenantBudget::new(limits, self.global.clone());
            Arc::new(TenantState { budget, tokens: Mutex::default() })
        };
        tenants.entry(key).or_insert_with(fresh).clone()
    }
}

fn checked_cloud(name: &str, config: &CloudConfig) -> Result<Cloud, GraphSetupError> {
    Cloud::new(config).map_err(|source| GraphSetupError::Cloud { name: name.to_owned(), source })
}

/// HTTP as this module uses it: no redirects, a cap on every body, a time limit on every call.
pub(super) struct Wire {
    http: reqwest::Client,
    /// For plain http, so for loopback addresses: never through a proxy, which would see the token in the clear.
    plain: reqwest::Client,
    pub(super) limits: GraphConfig,
    pub(super) clock: Clock,
    metrics: Metrics,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A request without a whole answer.
pub(super) struct Unanswered {
    pub(super) error: GraphError,
    /// Certain: nothing of it left.
    pub(super) unsent: bool,
}

/// Lets Microsoft's support find a call without our storing its message: an id of its own for every call.
pub(super) fn trace(request: &mut reqwest::Request) {
    let id = HeaderValue::from_str(&fresh_uuid().to_string()).expect("a UUID is visible ASCII");
    request.headers_mut().insert(HeaderName::from_static("client-request-id"), id);
}

impl From<Unanswered> for GraphError {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.error
    }
}

impl Wire {
    fn new(limits: GraphConfig, clock: Clock, metrics: Metrics) -> Result<Self, reqwest::Error> {
        let builder = || {
            reqwest::Client::builder()
                .redirect(Policy::none())
                .referer(false)
                .timeout(*limits.call_timeout)
                .connect_timeout(*limits.connect_timeout)
                .user_agent(concat!("atlasd/", env!("CARGO_PKG_VERSION")))
        };
        let http = builder().https_only(true).build()?;
        let plain = builder().no_proxy().tls_built_in_root_certs(false).build()?;
        Ok(Self { http, plain, limits, clock, metrics })
    }

    /// Sends one request and reads the answer, whatever its status.
    ///
    /// # Errors
    /// No connection, no answer in time, or a body beyond `graph.body_bytes_max`.
    pub(super) async fn send(&self, request: reqwest::Request) -> Result<Answer, Unanswered> {
        let client = if request.url().scheme() == "http" { &self.plain } else { &self.http };
        // The path alone: what follows it may be a key to the next page.
        let span = tracing::info_span!(
            target: SPANS,
            "graph",
            otel.name = %format_args!("graph {}", request.method()),
            otel.kind = "client",
            otel.status_code = Empty,
            http.request.method = request.method().as_str(),
            server.address = request.url().host_str(),
            url.path = request.url().path(),
            http.response.status_code = Empty,
            failure.code = Empty,
        );
        let read = async {
            let mut response = client.execute(request).await.map_err(|error| Unanswered {
                // Without a connection nothing was sent; whatever fails later may have been.
                unsent: error.is_connect() || error.is_builder(),
                error: GraphError::of_transport(&error),
            })?;
            let lost = |error| Unanswered { error, unsent: false };
            let status = response.status().as_u16();
            let too_large =
                || GraphError { status: Some(status), ..GraphError::local(Code::GraphProtocol, false) };
            let cap = self.limits.body_bytes_max;
            let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
            if announced.is_some_and(|length| length > cap) {
                return Err(lost(too_large()));
            }
            let mut body = Vec::with_capacity(announced.unwrap_or_default());
            while let Some(part) =
                response.chunk().await.map_err(|error| lost(GraphError::of_transport(&error)))?
            {
                if body.len() + part.len() > cap {
                    return Err(lost(too_large()));
                }
                body.extend_from_slice(&part);
            }
            Ok(Answer { status, headers: std::mem::take(response.headers_mut()), body })
        };
        let began = tokio::time::Instant::now();
        let result = read.instrument(span.clone()).await;
        self.metrics.graph_call_duration.observe(began.elapsed().as_secs_f64());
        match &result {
            Ok(answer) => {
                span.record("http.response.status_code", answer.status);
                if answer.status >= 400 {
                    span.record("otel.status_code", "error");
                }
            }
            Err(unanswered) => {
                span.record("failure.code", unanswered.error.code.as_str());
                span.record("otel.status_code", "error");
            }
        }
        if let Err(unanswered) = &result {
            self.count(match unanswered.error.code {
                Code::GraphTimeout => "timeout",
                Code::GraphNetwork => "network",
                _ => "protocol",
            });
        }
        result
    }

    /// Counts an answer, or an item of a batch.
    pub(super) fn count_status(&self, status: u16) {
        self.count(match status {
            401 => "401",
            403 => "403",
            404 => "404",
            429 => "429",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        });
    }

    /// Notes a wait before a call: `budget` or `retry`.
    pub(super) fn waited(&self, reason: &'static str, wait: Duration) {
        self.metrics.graph_waits.get_or_create(&Reason { reason }).observe(wait.as_secs_f64());
    }

    fn count(&self, reason: &'static str) {
        self.metrics.graph_calls.get_or_create(&Reason { reason }).inc();
    }

    /// The retry policy of single calls.
    pub(super) fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            attempts_max: self.limits.tries_max,
            backoff_base: *self.limits.backoff_base,
            backoff_max: *self.limits.backoff_max,
            retry_after_max: *self.limits.retry_after_max,
        }
    }

    /// Whether another try may follow `error`, and what the service asked to wait before it; `None` when the error
    /// is final or the service asks for more than `graph.retry_after_max`.
    pub(super) fn retry_wait(&self, error: &GraphError) -> Option<Option<Duration>> {
        let too_long = error.retry_after.is_some_and(|asked| asked > *self.limits.retry_after_max);
        (error.transient && !too_long).then_some(error.retry_after)
    }
}
