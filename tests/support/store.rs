//! A fresh database per test, on each engine. The PostgreSQL half needs `TEST_DATABASE_URL`, a server where databases
//! can be made; without it the test fails rather than pass unseen.

#![allow(dead_code, reason = "every test binary includes this file and uses its own part of it")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use atlasd::clock::Clock;
use atlasd::config::DatabaseConfig;
use atlasd::domain::admission::Request;
use atlasd::domain::counts::{CountKey, Counts};
use atlasd::domain::failure::{Code, Failure};
use atlasd::domain::identity::IdentityHash;
use atlasd::domain::operation::Operation;
use atlasd::domain::run::{Completion, Lease, Outcome, Run, Settlement};
use atlasd::ids::{InstanceId, RunId, TenantId, WorkspaceId};
use atlasd::store::{self, Admitted, Claim, DatabaseUrl, NewInstance, NewTenant, Settled, Store};
use diesel::connection::SimpleConnection;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use secrecy::ExposeSecret;

type PgConn = AsyncConnectionWrapper<AsyncPgConnection>;

/// An engine under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Declares tests whose body runs against a fresh database of each engine: `name::sqlite` and `name::postgres`.
#[macro_export]
macro_rules! on_each_engine {
    ($($(#[$doc:meta])* async fn $name:ident($lab:ident: &Lab) $body:block)*) => {$(
        $(#[$doc])*
        mod $name {
            use super::*;
            async fn body($lab: &Lab) $body
            #[test]
            fn sqlite() {
                $crate::support::run(Engine::Sqlite, |lab| Box::pin(body(lab)));
            }
            #[test]
            fn postgres() {
                $crate::support::run(Engine::Postgres, |lab| Box::pin(body(lab)));
            }
        }
    )*};
}

/// Runs `test` on a fresh, migrated database.
pub fn run(
    engine: Engine,
    test: impl for<'a> FnOnce(&'a Lab) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>,
) {
    let database = Database::create(engine);
    store::migrate(&database.url).expect("the migrations apply");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let lab = Lab::furnish(database).await;
        test(&lab).await;
        lab.store.close().await;
    });
}

/// A database that is removed when dropped.
pub struct Database {
    pub engine: Engine,
    pub url: DatabaseUrl,
    name: String,
    _directory: Option<tempfile::TempDir>,
}

impl Database {
    pub fn create(engine: Engine) -> Self {
        let name = format!("atlasd_test_{}", atlasd::ids::fresh_uuid().simple());
        match engine {
            Engine::Sqlite => {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let path = directory.path().join("ledger.db");
                Self { engine, url: DatabaseUrl::Sqlite(path), name, _directory: Some(directory) }
            }
            Engine::Postgres => {
                on_server(&format!("CREATE DATABASE {name}"));
                let url = server_url_with(&name).parse().expect("TEST_DATABASE_URL is a PostgreSQL URL");
                Self { engine, url, name, _directory: None }
            }
        }
    }

    /// Runs statements on a connection of its own, beside the store.
    pub fn execute(&self, text: &str) -> Result<(), String> {
        let (url, text) = (self.url.clone(), text.to_owned());
        off_the_runtime(move || match &url {
            DatabaseUrl::Sqlite(_) => sqlite(&url).batch_execute(&text).map_err(|error| error.to_string()),
            DatabaseUrl::Postgres(url) => {
                postgres(url.expose_secret()).batch_execute(&text).map_err(|error| error.to_string())
            }
        })
    }

    /// The texts that a query gives as `word`.
    pub fn words(&self, text: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            word: String,
        }
        let (url, text) = (self.url.clone(), text.to_owned());
        let rows: Vec<Row> = off_the_runtime(move || match &url {
            DatabaseUrl::Sqlite(_) => sql_query(text).load(&mut sqlite(&url)).expect("the query runs"),
            DatabaseUrl::Postgres(url) => {
                sql_query(text).load(&mut postgres(url.expose_secret())).expect("the query runs")
            }
        });
        rows.into_iter().map(|row| row.word).collect()
    }

    /// The number that a query gives as `n`.
    pub fn number(&self, text: &str) -> i64 {
        let text = format!("SELECT CAST(n AS text) AS word FROM ({text}) q");
        self.words(&text)[0].parse().expect("a number")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.engine == Engine::Postgres {
            on_server(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

/// The connection wrapper blocks, which a thread of a runtime must not.
fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(work).join().expect("the statement runs")
}

fn sqlite(url: &DatabaseUrl) -> SqliteConnection {
    let DatabaseUrl::Sqlite(path) = url else { panic!("expected a SQLite URL") };
    let mut conn = SqliteConnection::establish(path.to_str().expect("UTF-8")).expect("the file opens");
    conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON").expect("pragmas");
    conn
}

fn postgres(url: &str) -> PgConn {
    <PgConn as Connection>::establish(url).expect("the server of TEST_DATABASE_URL answers")
}

fn server_url() -> String {
    std::env::var("TEST_DATABASE_URL").unwrap_or_else(|_| {
        panic!(
            "TEST_DATABASE_URL is not set: run ./scripts/test, which starts a PostgreSQL server for the tests"
        )
    })
}

fn server_url_with(database: &str) -> String {
    let url = server_url();
    let (before, parameters) = match url.split_once('?') {
        Some((before, parameters)) => (before.to_owned(), format!("?{parameters}")),
        None => (url, String::new()),
    };
    let (scheme, rest) = before.split_once("://").expect("a URL");
    let authority = rest.split('/').next().unwrap_or(rest);
    format!("{scheme}://{authority}/{database}{parameters}")
}

fn on_server(text: &str) {
    let (url, text) = (server_url(), text.to_owned());
    off_the_runtime(move || postgres(&url).batch_execute(&text).expect("the server makes databases"));
}

/// A store on a fresh database, with a workspace, three tenants and a live instance.
pub struct Lab {
    pub engine: Engine,
    pub store: Store,
    pub clock: Clock,
    pub database: Arc<Database>,
    pub workspace: WorkspaceId,
    pub tenants: Vec<TenantId>,
    pub instance: InstanceId,
    next_identity: AtomicU8,
}

/// The cooldown that the tests settle with.
pub const COOLDOWN: Duration = Duration::from_secs(900);
/// The lease of the tests' instances.
pub const LEASE: Duration = Duration::from_secs(10);

impl Lab {
    pub async fn furnish(database: Database) -> Self {
        let clock = Clock::system();
        let runtime = tokio::runtime::Handle::current();
        let config = DatabaseConfig::default();
        let store =
            Store::open(&database.url, &config, clock.clone(), runtime).await.expect("the store opens");
        let workspace = store.add_workspace("contoso", "Contoso").await.expect("a workspace").id;
        let mut tenants = Vec::new();
        for name in ["one", "two", "three"] {
            tenants.push(store.add_tenant(tenant_of(workspace, name)).await.expect("a tenant").id);
        }
        let lab = Self {
            engine: database.engine,
            store,
            clock,
            database: Arc::new(database),
            workspace,
            tenants,
            instance: InstanceId::fresh(),
            next_identity: AtomicU8::new(1),
        };
        lab.register(lab.instance, false).await;
        lab
    }

    pub fn tenant(&self) -> TenantId {
        self.tenants[0]
    }

    pub async fn register(&self, id: InstanceId, sole: bool) {
        let instance =
            NewInstance { id, hostname: "host".into(), pid: 7, version: "0.0.0".into(), lease: LEASE };
        self.store.register_instance(&instance, sole).await.expect("registered");
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(chrono::Duration::from_std(by).expect("a short time"));
    }

    /// A request with an identity that no other request of this lab has.
    pub fn request(&self) -> Request {
        self.request_of(self.tenant(), identity(self.next_identity.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn request_of(&self, tenant: TenantId, identity: IdentityHash) -> Request {
        Request {
            workspace_id: self.workspace,
            tenant_id: Some(tenant),
            user_id: None,
            initiator_name: "test".into(),
            operation: Operation::Fetch,
            identity,
            context: serde_json::Map::new(),
            force: false,
        }
    }

    pub fn reconcile_request(&self) -> Request {
        Request {
            tenant_id: None,
            operation: Operation::Reconcile,
            ..self.request_of(self.tenant(), identity(0))
        }
    }

    pub async fn admit(&self, request: Request) -> Admitted {
        let mut admitted = self.store.admit(vec![request]).await.expect("a verdict");
        assert_eq!(admitted.len(), 1);
        admitted.remove(0)
    }

    pub async fn accepted(&self, request: Request) -> Run {
        accepted(self.admit(request).await)
    }

    pub async fn held(&self, request: Request) -> Run {
        match self.admit(request).await {
            Admitted::Held(run) => run,
            other => panic!("expected Held, got {other:?}"),
        }
    }

    pub async fn claimed(&self) -> Run {
        self.claimed_by(self.instance).await
    }

    pub async fn claimed_by(&self, instance: InstanceId) -> Run {
        match self.store.claim_next(self.tenant(), instance).await.expect("a claim") {
            Claim::Claimed(run) => *run,
            other => panic!("expected Claimed, got {other:?}"),
        }
    }

    /// A run of the first tenant that is running.
    pub async fn running(&self) -> Run {
        self.accepted(self.request()).await;
        self.claimed().await
    }

    pub async fn settled(&self, lease: Lease, settlement: Settlement) -> Run {
        match self.store.settle(lease, settlement).await.expect("an answer") {
            Settled::Done(run) => *run,
            Settled::Stale => panic!("expected Done, got Stale"),
        }
    }

    /// A run of the first tenant that has succeeded and is in cooldown.
    pub async fn completed(&self) -> Run {
        let run = self.running().await;
        self.settled(lease(&run), succeeded()).await
    }

    pub async fn run(&self, id: RunId) -> Run {
        self.store.run(id).await.expect("an answer").expect("the run exists")
    }
}

pub fn tenant_of(workspace: WorkspaceId, name: &str) -> NewTenant {
    NewTenant {
        workspace_id: workspace,
        external_id: atlasd::ids::fresh_uuid(),
        name: name.into(),
        cloud: "global".into(),
        credential: "default".into(),
    }
}

pub fn identity(number: u8) -> IdentityHash {
    IdentityHash([number; 32])
}

pub fn accepted(admitted: Admitted) -> Run {
    match admitted {
        Admitted::Accepted(run) => run,
        other => panic!("expected Accepted, got {other:?}"),
    }
}

pub fn lease(run: &Run) -> Lease {
    Lease { run_id: run.id, token: run.lease_token }
}

pub fn counts(total: u64) -> Counts {
    Counts::default().with(CountKey::Total, total)
}

pub fn succeeded() -> Settlement {
    Settlement::Complete(Completion {
        outcome: Outcome::Succeeded,
        counts: counts(3),
        failures: Vec::new(),
        context: serde_json::Map::new(),
        cooldown: COOLDOWN,
    })
}

pub fn failed(code: Code) -> Settlement {
    Settlement::Complete(Completion {
        outcome: Outcome::Failed,
        counts: counts(2),
        failures: vec![Failure::new(code, "it did not work")],
        context: serde_json::Map::new(),
        cooldown: COOLDOWN,
    })
}
