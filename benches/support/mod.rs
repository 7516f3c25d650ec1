//! What the benches share: a ledger to write to, identities to ask for, and many callers at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atlasd::domain::admission::Request;
use atlasd::domain::identity::IdentityHash;
use atlasd::domain::operation::Operation;
use atlasd::ids::{TenantId, WorkspaceId};
use sha2::{Digest, Sha256};

/// Callers at the same time.
pub const CALLERS: usize = 64;

/// An engine to measure.
#[derive(Clone, Copy, Debug)]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A fresh, migrated ledger; a SQLite file goes with it, a PostgreSQL database stays in its throw-away server.
pub struct Ledger {
    pub url: String,
    _directory: Option<tempfile::TempDir>,
}

impl Ledger {
    pub fn create(engine: Engine) -> Self {
        let ledger = match engine {
            Engine::Sqlite => {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let url = format!("sqlite://{}", directory.path().join("bench.db").display());
                Self { url, _directory: Some(directory) }
            }
            Engine::Postgres => Self { url: postgres_database(), _directory: None },
        };
        atlasd::store::migrate(&ledger.url.parse().expect("a URL of ours")).expect("a fresh ledger migrates");
        ledger
    }
}

fn postgres_database() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let server =
        std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL is not set: run ./scripts/bench");
    let name = format!("bench_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let runtime = runtime();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls)
            .await
            .expect("the server of TEST_DATABASE_URL");
        let driver = tokio::spawn(connection);
        client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .expect("a role that may create databases");
        drop(client);
        let _ = driver.await;
    });
    let (head, options) =
        server.split_once('?').map_or((server.as_str(), ""), |(head, options)| (head, options));
    let base = head.rsplit_once('/').map_or(head, |(base, _)| base);
    if options.is_empty() { format!("{base}/{name}") } else { format!("{base}/{name}?{options}") }
}

/// A runtime as the daemon has it.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime builds")
}

/// A request for identity number `number`.
pub fn request(workspace: WorkspaceId, tenant: TenantId, number: u64) -> Request {
    let mut context = serde_json::Map::new();
    context.insert("identity_version".to_owned(), 1.into());
    context.insert(
        "inputs".to_owned(),
        serde_json::json!({"policy_ids": [number.to_string()], "policy_types": null}),
    );
    Request {
        workspace_id: workspace,
        tenant_id: Some(tenant),
        user_id: None,
        initiator_name: "bench".to_owned(),
        operation: Operation::Fetch,
        identity: identity(number),
        context,
        force: false,
    }
}

/// Identity number `number`.
pub fn identity(number: u64) -> IdentityHash {
    IdentityHash(Sha256::digest(number.to_le_bytes()).into())
}

/// Lets [`CALLERS`] tasks share `total` calls; how long they took together.
pub fn share<F, Fut>(runtime: &tokio::runtime::Runtime, total: u64, call: F) -> Duration
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let next = std::sync::Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    runtime.block_on(async {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let (next, call) = (next.clone(), call.clone());
            callers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return;
                    }
                    call(number).await;
                }
            });
        }
        callers.join_all().await;
    });
    began.elapsed()
}
