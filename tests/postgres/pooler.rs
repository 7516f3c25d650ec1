//! A real pgbouncer: in session mode everything works, in transaction mode a daemon says at its start why it does not.
//!
//! `TEST_PGBOUNCER` names the program (`./scripts/test` sets it); else it is looked for where packages install it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atlasd::config::DatabaseConfig;
use atlasd::sandbox::SandboxConfig;
use atlasd::store::{self, DatabaseUrl, Store, StoreError};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::bed::{Bed, block_on, run_id, until};
use crate::process::free_address;
use crate::refused;
use crate::started;
use crate::support::{Database, Engine};

/// A pooler before the server of the tests; ended when dropped.
struct Pooler {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Pooler {
    async fn start(database: &Database, settings: &str) -> Self {
        let DatabaseUrl::Postgres(url) = &database.url else { panic!("a pooler is for PostgreSQL") };
        let server: tokio_postgres::Config = url.expose_secret().parse().expect("a URL");
        let host = match &server.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        };
        let port = server.get_ports().first().copied().unwrap_or(5432);
        let password = server.get_password().map(|password| {
            format!(" password={}", String::from_utf8(password.to_vec()).expect("a password of text"))
        });
        let front = free_address().port();
        let directory = tempfile::Builder::new().prefix("atlasd-pooler").tempdir().expect("a directory");
        let file = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={host} port={port} user={}{}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {front}\nunix_socket_dir =\nauth_type = any\ndefault_pool_size = 60\n\
             max_client_conn = 300\n{settings}\n",
            server.get_user().unwrap_or("postgres"),
            password.unwrap_or_default(),
        );
        std::fs::write(&file, text).expect("the directory is writable");
        let mut command = Command::new(program());
        if !crate::disk::is_user() {
            // It refuses to be root, and changes to another user once it has read its file.
            command.args(["-u", "nobody"]);
        }
        let child =
            command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("pgbouncer starts");
        until("the pooler listens", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", front)).await.is_ok()
        })
        .await;
        Self { child, port: front, _directory: directory }
    }

    /// The database's URL through the pooler.
    fn url(&self, database: &Database) -> String {
        let url = database.url_text();
        let path = url.split('?').next().and_then(|url| url.rsplit('/').next()).expect("a database");
        format!("postgres://postgres@127.0.0.1:{}/{path}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("TEST_PGBOUNCER") {
        return program.into();
    }
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let places = on_path.into_iter().flatten().chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join("pgbouncer")).find(|program| program.exists()).unwrap_or_else(|| {
        panic!("no pgbouncer was found: run ./scripts/test, or install it, or set TEST_PGBOUNCER")
    })
}

/// Leaves the pooler with three connections to the server, as one that is in use has.
async fn used(url: &str) {
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (client, driver) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a pooler");
        tokio::spawn(driver);
        client.batch_execute("BEGIN").await.expect("a transaction has a connection to itself");
        clients.push(client);
    }
    for client in clients {
        client.batch_execute("COMMIT").await.expect("it is given back");
    }
}

/// Whichever of its connections to the server the pooler gives out next: the one used last, or each in turn.
#[test]
fn a_pooler_in_transaction_mode_is_refused_at_the_start_with_a_reason() {
    let bed = Bed::new(Engine::Postgres, SandboxConfig::single(0));
    for order in ["server_round_robin = 0", "server_round_robin = 1"] {
        let pooler = block_on(Pooler::start(&bed.database, &format!("pool_mode = transaction\n{order}")));
        let url = pooler.url(&bed.database);
        block_on(used(&url));
        let log = refused(&bed, &url);
        assert!(
            log.contains("a pooler in transaction mode") && log.contains("session mode"),
            "{order}: {log}"
        );
        let url = url.parse().expect("a URL");
        let error = store::migrate(&url).expect_err("an advisory lock, too, is a session's");
        assert!(matches!(error, StoreError::Pooler), "{order}: {error}");
        let opened = block_on(async {
            let handle = tokio::runtime::Handle::current();
            Store::open(&url, &DatabaseConfig::default(), Default::default(), handle).await
        });
        assert!(matches!(opened, Err(StoreError::Pooler)), "{order}");
    }
}

/// A client whose short transactions keep the pooler's connections going round; ends when it is told to.
async fn neighbour(url: String, stop: tokio_util::sync::CancellationToken) {
    let (client, driver) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("a pooler");
    tokio::spawn(driver);
    while !stop.is_cancelled() {
        client.batch_execute("BEGIN; SELECT pg_sleep(0.002); COMMIT").await.expect("a transaction");
    }
}

/// Beside clients that keep its connections busy, two of ours may be served by two processes for a while, as without a
/// pooler.
#[test]
fn a_pooler_in_transaction_mode_is_found_out_beside_busy_neighbours() {
    let bed = Bed::new(Engine::Postgres, SandboxConfig::single(0));
    let pooler = block_on(Pooler::start(&bed.database, "pool_mode = transaction"));
    let url = pooler.url(&bed.database);
    let stop = tokio_util::sync::CancellationToken::new();
    let runtime = tokio::runtime::Runtime::new().expect("the test can have threads");
    for _ in 0..6 {
        runtime.spawn(neighbour(url.clone(), stop.clone()));
    }
    let url = url.parse().expect("a URL");
    for look in 0..40 {
        let error = store::pending(&url).expect_err("it is a pooler");
        assert!(matches!(error, StoreError::Pooler), "look {look}: {error}");
    }
    stop.cancel();
}

#[test]
fn daemons_work_together_through_a_pooler_in_session_mode() {
    let mut config = SandboxConfig::single(60);
    config.latency = Duration::from_millis(300);
    let bed = Bed::new(Engine::Postgres, config);
    block_on(async {
        let pooler = Pooler::start(&bed.database, "pool_mode = session").await;
        let url = pooler.url(&bed.database);
        let (one, other) = (started(&bed, &url).await, started(&bed, &url).await);
        let (one, other) = (one.client(&bed), other.client(&bed));
        let (_, tenant) = one.single().await;
        let run = run_id(&one.fetch(tenant, json!({"policy_types": ["intent"]})).await);
        assert_eq!(other.completed(run).await["outcome"], "succeeded");
        // A hint from one to the other: by notification, within what a cancellation may take.
        let run = run_id(&one.fetch(tenant, json!({})).await);
        until("it executes", || async { one.get(&format!("/runs/{run}")).await.body["status"] == "running" })
            .await;
        for client in [&other, &one] {
            let asked = client.post(&format!("/runs/{run}/cancel"), json!({})).await;
            assert!(matches!(asked.status, 202 | 409), "{asked:?}");
        }
        let begun = tokio::time::Instant::now();
        assert_eq!(one.completed(run).await["failure_summary"][0]["code"], "run.cancelled");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    });
    bed.cli(&["doctor"]);
}
