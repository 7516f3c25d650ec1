//! A daemon on the sandbox's demo tenants, with a token of each role.

use std::sync::Arc;
use std::time::Duration;

use atlasd::cli::seed;
use atlasd::config::Config;
use atlasd::daemon::Daemon;
use atlasd::ids::WorkspaceId;
use atlasd::sandbox::SandboxConfig;
use atlasd::store::{NewToken, Role};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::bed::{Bed, Client};
use crate::browser::Browser;
use crate::support::Engine;

/// What a test looks at.
pub struct World {
    // ORDER: the daemon stops before what it stands on.
    pub daemon: Daemon,
    pub bed: Bed,
}

/// A sandbox that answers at once.
pub fn quick() -> SandboxConfig {
    SandboxConfig { latency: Duration::ZERO, ..SandboxConfig::demo() }
}

/// A sandbox whose every answer takes so long.
pub fn slow(millis: u64) -> SandboxConfig {
    SandboxConfig { latency: Duration::from_millis(millis), ..SandboxConfig::demo() }
}

impl World {
    /// A daemon with two workspaces and their four tenants.
    pub async fn start(sandbox: SandboxConfig) -> Self {
        Self::with(sandbox, "").await
    }

    /// The same with configuration of its own.
    pub async fn with(sandbox: SandboxConfig, extra: &str) -> Self {
        let world = Self::bare(sandbox, extra).await;
        seed::plant(world.daemon.handle().store()).await.expect("the ledger takes the seed");
        world
    }

    /// A daemon that knows no workspace and no tenant.
    pub async fn empty(sandbox: SandboxConfig) -> Self {
        Self::bare(sandbox, "").await
    }

    async fn bare(sandbox: SandboxConfig, extra: &str) -> Self {
        let extra = extra.to_owned();
        // The bed blocks on futures of its own, and so does a daemon that starts.
        let made = tokio::task::spawn_blocking(move || {
            let bed = Bed::with(Engine::Sqlite, sandbox, &extra);
            let daemon = bed.daemon();
            Self { daemon, bed }
        });
        made.await.expect("the world can be made")
    }

    /// The same ledger under a daemon with another configuration.
    pub async fn reopened(self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        let made = tokio::task::spawn_blocking(move || {
            let Self { daemon, bed } = self;
            daemon.stop().expect("the daemon stops");
            let mut options = bed.options();
            change(Arc::get_mut(&mut options.config).expect("nobody else has the options"));
            Self { daemon: Daemon::start(options).expect("the daemon starts"), bed }
        });
        made.await.expect("the world can be opened again")
    }

    /// Where the pages are.
    pub fn url(&self) -> String {
        format!("http://{}", self.daemon.address())
    }

    /// A client of the API, as an administrator.
    pub fn client(&self) -> Client {
        self.bed.client(self.daemon.address())
    }

    /// A browser that is signed in with a fresh token.
    pub async fn browser(&self, role: Role) -> Browser {
        let browser = Browser::start(&self.url()).await;
        browser.sign_in(&self.token("browser", role, None).await).await;
        browser
    }

    /// A fresh token.
    pub async fn token(&self, name: &str, role: Role, workspace: Option<i64>) -> String {
        let token = format!("atlasd_test_{}", atlasd::ids::fresh_uuid().simple());
        let row = NewToken {
            name: name.to_owned(),
            sha256: Sha256::digest(&token).into(),
            role,
            workspace_id: workspace.map(WorkspaceId),
        };
        self.daemon.handle().store().add_token(row).await.expect("the token can be added");
        token
    }

    /// The id of a seeded tenant.
    pub async fn tenant(&self, name: &str) -> i64 {
        let tenants = self.client().get("/tenants").await.body;
        let items = tenants["items"].as_array().cloned().unwrap_or_default();
        let found =
            items.iter().find(|tenant| tenant["name"] == name).and_then(|tenant| tenant["id"].as_i64());
        found.unwrap_or_else(|| panic!("no tenant {name} in {tenants}"))
    }

    /// Asks for a fetch; the run's id.
    pub async fn fetch(&self, tenant: &str, inputs: Value) -> i64 {
        let tenant = self.tenant(tenant).await;
        let request = json!({"type": "assignments.fetch", "tenant_id": tenant, "inputs": inputs});
        let reply = self.client().post("/runs", request).await;
        reply.body["run"]["id"].as_i64().unwrap_or_else(|| panic!("no run in {}", reply.body))
    }

    /// Asks for a fetch and waits for its end; the run's id.
    pub async fn fetched(&self, tenant: &str, inputs: Value) -> i64 {
        let run = self.fetch(tenant, inputs).await;
        self.ended(run).await;
        run
    }

    /// Waits for a run's end; the run.
    pub async fn ended(&self, run: i64) -> Value {
        let deadline = std::time::Instant::now() + crate::bed::PATIENCE;
        loop {
            let body = self.client().get(&format!("/runs/{run}")).await.body;
            if body["status"] == "completed" {
                return body;
            }
            assert!(std::time::Instant::now() < deadline, "run {run} did not end: {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
