//! The embedded HTTP endpoint (SPEC section 10). Handlers parse, ask, and answer; they decide nothing about runs.
//!
//! ```text
//! open        GET   /healthz /readyz /metrics                 health
//!             GET   /api/v1/openapi.json                      openapi
//! viewer      GET   /api/v1/runs                              runs
//!             GET   /api/v1/runs/{id}                         runs
//!             GET   /api/v1/runs/{id}/attempts                runs
//!             GET   /api/v1/runs/{id}/items                   restores
//!             GET   /api/v1/workspaces                        workspaces
//!             GET   /api/v1/tenants                           tenants
//!             GET   /api/v1/tenants/{id}                      tenants
//!             GET   /api/v1/tenants/{id}/policies             snapshots
//!             GET   /api/v1/tenants/{id}/snapshots            snapshots
//!             GET   /api/v1/snapshots/{id}                    snapshots
//!             GET   /api/v1/snapshots/{id}/export             files
//!             GET   /api/v1/snapshots/{a}/diff/{b}            diff
//!             GET   /api/v1/schedules                         schedules
//!             GET   /api/v1/schedules/{id}                    schedules
//!             POST  /api/v1/identity/explain                  identity
//!             GET   /api/v1/failures                          failures
//!             GET   /api/v1/events                            events
//!             GET   /api/v1/system                            system
//! operator    POST  /api/v1/runs                              runs
//!             POST  /api/v1/runs/batch                        batch
//!             POST  /api/v1/runs/{id}/cancel                  runs
//!             POST  /api/v1/runs/{id}/retry                   runs
//!             POST  /api/v1/runs/{id}/undo                    restores
//!             POST  /api/v1/failures/retry                    retries
//!             POST  /api/v1/snapshots/{id}/drift              drift
//!             POST  /api/v1/reconcile                         reconcile
//!             POST  /api/v1/schedules                         schedules
//!             PATCH, DELETE /api/v1/schedules/{id}            schedules
//! page        GET   /login   POST /login /logout              login
//! admin       GET   /api/v1/audit                             audit
//!             POST  /api/v1/workspaces                        workspaces
//!             POST  /api/v1/tenants                           tenants
//!             PATCH /api/v1/tenants/{id}                      tenants
//!             POST  /api/v1/tenants/{id}/snapshots/import     files
//! ```
//!
//! Pages for people are in [`web`].
//!
//! Invariants: a handler may be dropped at any await (the client went away), so it owns no database future, it only
//! awaits the store's and the actors' spawned ones; every error goes through [`problem`]; the caller is known before
//! the body is read; a `POST /runs` that is refused touches no database.

pub mod audit;
mod batch;
mod body;
mod brake;
mod diff;
mod drift;
mod events;
mod failures;
mod files;
mod guard;
mod health;
mod identity;
mod list;
mod login;
mod peer;
mod plain;
mod reconcile;
mod restores;
mod retries;
mod runs;
mod schedules;
mod snapshots;
mod system;
mod tenants;
mod trace;
mod verdict;
mod workspaces;

pub mod auth;
pub mod openapi;
pub mod problem;
pub mod routes;
pub mod session;
pub mod tls;
pub mod web;

#[cfg(test)]
pub(crate) mod samples;

use std::net::TcpListener;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{Data, PathConfig, PayloadConfig, ServiceConfig};
use actix_web::{App, HttpServer};

use crate::actors::Handle;
use crate::audit::Audit;
use crate::config::{Config, HttpConfig};
use crate::intake::Directory;
use crate::store::Store;
use auth::TokenCache;
use body::BodyTimeout;
use brake::Brake;
use tls::Tls;

/// What the handlers work with. Clones share everything.
#[derive(Clone)]
pub struct AdminState {
    /// The actors.
    pub handle: Handle,
    /// The ledger, for reading and for what is no run.
    pub store: Store,
    /// Tenants and workspaces that requests name.
    pub directory: Directory,
    /// The configuration as it is now.
    config: Arc<RwLock<Arc<Config>>>,
    /// The OpenAPI document of that configuration.
    document: Arc<RwLock<openapi::Document>>,
    /// Tokens seen a moment ago.
    pub tokens: TokenCache,
    /// Sessions seen a moment ago.
    sessions: TokenCache,
    /// Failures to name a good one.
    brake: Brake,
    /// Sign-ins that were refused and kept of late.
    refusals: Brake,
    /// Keeps who changed what.
    audit: Audit,
}

impl AdminState {
    /// With empty caches.
    pub fn new(handle: Handle, directory: Directory, audit: Audit, config: Arc<Config>) -> Self {
        let tokens = TokenCache::new(*config.http.token_cache);
        let sessions = TokenCache::new(*config.http.token_cache);
        let store = handle.store().clone();
        let document = openapi::Document::generate(&config);
        Self {
            handle,
            store,
            directory,
            config: Arc::new(RwLock::new(config)),
            document: Arc::new(RwLock::new(document)),
            tokens,
            sessions,
            brake: Brake::default(),
            refusals: Brake::default(),
            audit,
        }
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().expect("no code panics while it holds this lock").clone()
    }

    /// The OpenAPI document as it is now.
    fn document(&self) -> openapi::Document {
        self.document.read().expect("no code panics while it holds this lock").clone()
    }

    /// Whether every change is refused.
    pub fn is_read_only(&self) -> bool {
        self.config().http.read_only
    }

    /// Takes over another configuration (SIGHUP): limits (and the document that names them), clouds and credentials. What the server was started with
    /// (workers, sizes, time-outs) stays.
    pub fn reload(&self, config: Arc<Config>) {
        let document = openapi::Document::generate(&config);
        *self.document.write().expect("no code panics while it holds this lock") = document;
        *self.config.write().expect("no code panics while it holds this lock") = config;
    }
}

/// LIMIT: what requests under way get to end after the daemon has drained its executions; by then none waits for one.
const STOP_GRACE_S: u64 = 5;

/// The way to stop a server that was started here.
pub type HttpHandle = ServerHandle;

/// Starts to serve on `listener`. The caller runs the server and stops it through the handle: signals are the
/// daemon's, not the server's.
///
/// # Errors
/// When the listener cannot be used.
pub fn start(
    listener: TcpListener,
    state: AdminState,
    config: &HttpConfig,
    tls: Option<&Tls>,
) -> std::io::Result<(Server, ServerHandle)> {
    let parts = Parts {
        state: Data::new(state),
        body_bytes_max: config.body_bytes_max,
        client_timeout: *config.client_timeout,
    };
    let server = HttpServer::new(move || {
        App::new()
            .configure(|app| parts.configure(app))
            .wrap(from_fn(guard::around))
            .wrap(from_fn(trace::request))
    })
    .disable_signals()
    .workers(config.workers)
    .max_connections(config.connections_max.div_ceil(config.workers.max(1)))
    .client_request_timeout(*config.client_timeout)
    .client_disconnect_timeout(Duration::from_secs(1))
    .shutdown_timeout(STOP_GRACE_S);
    let server = match tls {
        None => server.listen(listener)?,
        Some(tls) => server.listen_rustls_0_23(listener, tls.server())?,
    };
    let server = server.run();
    let handle = server.handle();
    Ok((server, handle))
}

/// What every worker's application is made of.
#[derive(Clone)]
struct Parts {
    state: Data<AdminState>,
    body_bytes_max: usize,
    client_timeout: Duration,
}

impl Parts {
    fn configure(&self, app: &mut ServiceConfig) {
        app.app_data(self.state.clone())
            .app_data(PayloadConfig::new(self.body_bytes_max))
            .app_data(BodyTimeout(self.client_timeout))
            .app_data(PathConfig::default().error_handler(problem::of_path));
        routes::configure(app);
    }
}
