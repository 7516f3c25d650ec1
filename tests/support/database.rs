//! A fresh database per test, on each engine. The PostgreSQL half needs `TEST_DATABASE_URL`, a server where databases
//! can be made; without it the test fails rather than pass unseen.

#![allow(dead_code, reason = "every test binary includes this file and uses its own part of it")]

use std::path::Path;
use std::sync::OnceLock;

use atlasd::store::DatabaseUrl;
use diesel::connection::SimpleConnection;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

type PgConn = AsyncConnectionWrapper<AsyncPgConnection>;

/// An engine under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A database that is removed when dropped.
pub struct Database {
    pub engine: Engine,
    pub url: DatabaseUrl,
    name: String,
    /// Where it is dropped again; `None` where nothing is left of it anyway.
    server: Option<String>,
    _directory: Option<tempfile::TempDir>,
}

impl Database {
    /// An empty one, without a schema.
    pub fn create(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let mut database = Self::in_directory(directory.path());
                database._directory = Some(directory);
                database
            }
            Engine::Postgres => {
                let server = server_url();
                let mut database = Self::on_server_of_the_test(&server);
                database.server = Some(server);
                database
            }
        }
    }

    /// The same with the schema.
    pub fn migrated(engine: Engine) -> Self {
        if engine == Engine::Postgres {
            let server = server_url();
            let mut database = Self::copied(&server, Some(&template(&server)));
            database.server = Some(server);
            return database;
        }
        let database = Self::create(engine);
        atlasd::store::migrate(&database.url).expect("a fresh database migrates");
        database
    }

    /// A SQLite file in a directory that goes with it.
    pub fn in_directory(directory: &Path) -> Self {
        let url = DatabaseUrl::Sqlite(directory.join("ledger.db"));
        Self { engine: Engine::Sqlite, url, name: String::new(), server: None, _directory: None }
    }

    /// A database on a server that goes with it.
    pub fn on_server_of_the_test(server: &str) -> Self {
        Self::copied(server, None)
    }

    fn copied(server: &str, template: Option<&str>) -> Self {
        let name = format!("atlasd_test_{}", atlasd::ids::fresh_uuid().simple());
        let from = template.map(|template| format!(" TEMPLATE {template}")).unwrap_or_default();
        on_server(server, &format!("CREATE DATABASE {name}{from}"));
        let url = with_database(server, &name).parse().expect("the server's URL is one of PostgreSQL");
        Self { engine: Engine::Postgres, url, name, server: None, _directory: None }
    }

    /// The URL as a command line takes it.
    pub fn url_text(&self) -> String {
        match &self.url {
            DatabaseUrl::Sqlite(path) => format!("sqlite://{}", path.display()),
            DatabaseUrl::Postgres(url) => url.expose_secret().to_owned(),
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

    /// Holds SQLite's write lock until dropped.
    pub fn lock_sqlite(&self) -> SqliteConnection {
        let mut connection = sqlite(&self.url);
        connection.batch_execute("BEGIN EXCLUSIVE").expect("nobody holds the lock for long");
        connection
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            on_server(server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
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

fn with_database(server: &str, database: &str) -> String {
    let (before, parameters) = match server.split_once('?') {
        Some((before, parameters)) => (before, format!("?{parameters}")),
        None => (server, String::new()),
    };
    let (scheme, rest) = before.split_once("://").expect("a URL");
    let authority = rest.split('/').next().unwrap_or(rest);
    format!("{scheme}://{authority}/{database}{parameters}")
}

/// A database of the server that has the schema and nothing else, for others to be copied from; made by the first test
/// that wants it. Copying takes a third of the time of migrating. It stays: on a server that outlives the tests
/// `ALTER DATABASE … IS_TEMPLATE false` goes before its removal.
fn template(server: &str) -> String {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = format!("atlasd_template_{}", &hex::encode(schema_digest())[..16]);
        let (server, template) = (server.to_owned(), name.clone());
        off_the_runtime(move || {
            let mut conn = postgres(&server);
            // RACE: tests are processes beside each other; one makes it, the others wait. The lock goes with the connection.
            conn.batch_execute("SELECT pg_advisory_lock(737373)").expect("an advisory lock");
            let made = sql_query("SELECT 1 FROM pg_database WHERE datname = $1")
                .bind::<diesel::sql_types::Text, _>(&template)
                .execute(&mut conn);
            if made.expect("the query runs") == 0 {
                let unfinished = format!("{template}_unfinished");
                conn.batch_execute(&format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)"))
                    .expect("what an interrupted test has left goes");
                conn.batch_execute(&format!("CREATE DATABASE {unfinished}"))
                    .expect("the server makes databases");
                let url = with_database(&server, &unfinished).parse().expect("a URL of PostgreSQL");
                atlasd::store::migrate(&url).expect("a fresh database migrates");
                // Nobody may be connected to what is copied.
                conn.batch_execute(&format!(
                    "ALTER DATABASE {unfinished} ALLOW_CONNECTIONS false IS_TEMPLATE true"
                ))
                .expect("its owner may");
                conn.batch_execute(&format!("ALTER DATABASE {unfinished} RENAME TO {template}"))
                    .expect("nobody uses it");
            }
        });
        name
    })
    .clone()
}

/// Of all migrations, those of the repository and those that this program has: another schema has another template.
fn schema_digest() -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");
    let entries = std::fs::read_dir(directory).expect("the repository has migrations");
    let mut directories: Vec<_> = entries.map(|entry| entry.expect("it is readable").path()).collect();
    directories.sort();
    let mut digest = Sha256::new();
    digest.update(format!("{:?}{directories:?}", atlasd::store::known_versions_postgres()));
    for directory in directories {
        digest.update(std::fs::read(directory.join("up.sql")).expect("every migration goes up"));
    }
    digest.finalize().to_vec()
}

fn on_server(server: &str, text: &str) {
    let (url, text) = (server.to_owned(), text.to_owned());
    off_the_runtime(move || postgres(&url).batch_execute(&text).expect("the server makes databases"));
}

/// Declares a test that runs on each engine: `name::sqlite` and `name::postgres`.
#[allow(unused_macros, reason = "every test binary includes this file and uses its own part of it")]
macro_rules! for_each_engine {
    ($name:ident, |$engine:ident| $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "not every body needs everything")]
            use super::*;
            fn body($engine: $crate::support::Engine) $body
            #[test]
            fn sqlite() {
                body($crate::support::Engine::Sqlite);
            }
            #[test]
            fn postgres() {
                body($crate::support::Engine::Postgres);
            }
        }
    };
}
#[allow(unused_imports, reason = "every test binary includes this file and uses its own part of it")]
pub(crate) use for_each_engine;
